//! `POST /infer`: the older protocol of agents, for routers that know no other.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::header::CONTENT_LENGTH;
use serde_json::{Map, Value, json};
use wire::{Code, Failure};

use super::{
    App,
    chat::chat,
    reply::{self, Refusal, RequestId},
};

/// What holds for a bare prompt that says nothing else.
const MAX_TOKENS: u32 = 512;
const TEMPERATURE: f64 = 0.7;

/// A chat, or a bare prompt, which becomes one.
pub(super) async fn infer(State(app): State<Arc<App>>, id: Extension<RequestId>, request: Request) -> Result<Response, Refusal> {
    let (mut head, body) = request.into_parts();
    let body = reply::body(&app, Request::from_parts(head.clone(), body)).await?;
    let asked: Map<String, Value> = wire::json::parse(&body)?;
    let shelf = app.pool.library().shelf();
    let asked = as_chat(asked, |name| shelf.find(name).is_some(), || shelf.ids())?;
    head.headers.remove(CONTENT_LENGTH);
    chat(State(app), id, Request::from_parts(head, Body::from(Value::Object(asked).to_string()))).await
}

/// A request without a model is for the first there is.
fn as_chat(
    mut asked: Map<String, Value>,
    is_here: impl Fn(&str) -> bool,
    ids: impl Fn() -> Vec<String>,
) -> Result<Map<String, Value>, Failure> {
    let meant = match asked.get("model") {
        None | Some(Value::Null) => {
            let first = ids().into_iter().next();
            Some(first.ok_or_else(|| Failure::new(Code::ModelNotFound, "there is no model here").at("model"))?)
        }
        Some(Value::String(name)) if !is_here(name) => meant(name, &ids()),
        Some(_) => None,
    };
    if let Some(meant) = meant {
        asked.insert("model".to_owned(), meant.into());
    }
    if !asked.contains_key("messages")
        && let Some(prompt) = asked.remove("prompt")
    {
        asked.insert("messages".to_owned(), json!([{"role": "user", "content": prompt}]));
        asked.entry("max_tokens").or_insert(MAX_TOKENS.into());
        asked.entry("temperature").or_insert(TEMPERATURE.into());
    }
    Ok(asked)
}

/// What is meant by a name that no file has: agents announce their models by names that begin with the word `local`. Any other is unknown.
fn meant(name: &str, ids: &[String]) -> Option<String> {
    let bare = name.strip_prefix("local")?.trim_start_matches(['_', '-', '/', ':']);
    match (ids.iter().find(|id| id.eq_ignore_ascii_case(bare)), ids) {
        (Some(id), _) | (None, [id]) => Some(id.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: Value) -> Value {
        let Value::Object(asked) = asked else { unreachable!("tests give objects") };
        as_chat(asked, |name| name == "m", || vec!["first".to_owned(), "second".to_owned()]).map(Value::Object).unwrap()
    }

    #[test]
    fn a_prompt_becomes_a_chat_and_a_chat_stays_one() {
        let prompt = read(json!({"prompt": "hi", "stream": true}));
        let wanted = json!({"model": "first", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 512, "temperature": 0.7, "stream": true});
        assert_eq!(prompt, wanted);
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(read(chat.clone()), chat);
        assert_eq!(read(json!({"model": "m", "prompt": "p", "max_tokens": 3}))["max_tokens"], 3);
        assert!(as_chat(Map::new(), |_| false, Vec::new).is_err());
    }

    #[test]
    fn a_name_of_the_agents_own_leads_to_its_model() {
        let meant_of = |name: &str, ids: &[&str]| meant(name, &ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(meant_of("local_mistral-7b-instruct-q4", &["tiny"]).as_deref(), Some("tiny"), "it has no other");
        assert_eq!(meant_of("local_Second", &["first", "second"]).as_deref(), Some("second"));
        assert_eq!(meant_of("local/third", &["first", "second"]), None, "that is for the caller to say");
        assert_eq!(meant_of("third", &["tiny"]), None, "a slip of the pen finds nothing");
        assert_eq!(read(json!({"model": "local:second", "messages": []}))["model"], "second");
        assert_eq!(read(json!({"model": "third", "messages": []}))["model"], "third");
    }
}
