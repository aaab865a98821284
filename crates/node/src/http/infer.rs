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
    let first = || app.pool.library().shelf().ids().into_iter().next();
    let asked = as_chat(asked, first)?;
    head.headers.remove(CONTENT_LENGTH);
    chat(State(app), id, Request::from_parts(head, Body::from(Value::Object(asked).to_string()))).await
}

/// A request without a model is for the first there is.
fn as_chat(mut asked: Map<String, Value>, first: impl Fn() -> Option<String>) -> Result<Map<String, Value>, Failure> {
    if asked.get("model").is_none_or(Value::is_null) {
        let first = first().ok_or_else(|| Failure::new(Code::ModelNotFound, "there is no model here").at("model"))?;
        asked.insert("model".to_owned(), first.into());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: Value) -> Value {
        let Value::Object(asked) = asked else { unreachable!("tests give objects") };
        as_chat(asked, || Some("first".to_owned())).map(Value::Object).unwrap()
    }

    #[test]
    fn a_prompt_becomes_a_chat_and_a_chat_stays_one() {
        let prompt = read(json!({"prompt": "hi", "stream": true}));
        let wanted = json!({"model": "first", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 512, "temperature": 0.7, "stream": true});
        assert_eq!(prompt, wanted);
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(read(chat.clone()), chat);
        assert_eq!(read(json!({"model": "m", "prompt": "p", "max_tokens": 3}))["max_tokens"], 3);
        assert!(as_chat(Map::new(), || None).is_err());
    }
}
