//! Text completions JSON → the inner language, for models that only know conversations.

use serde_json::{Map, Value};

use super::types::{CompletionRequest, PromptInput};
use crate::{
    error::{Code, Failure},
    ir::{Family, Format, Generation, Message, Request, Role},
};

/// Members that have a place of their own in the inner language.
const KNOWN: [&str; 15] = [
    "model",
    "prompt",
    "stream",
    "stream_options",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "user",
];

/// Reads a request body: the prompt becomes what the user says.
///
/// What has no twin in a conversation (`echo`, `suffix`, `best_of`, `logprobs`, …) is in `extra`, so that each encoder names it; members
/// that ask for nothing (`echo: false`, `best_of: 1`) are left out.
///
/// # Errors
/// A failure that names the field: not JSON, a wrong type, no prompt. [`Code::UnsupportedParameter`] for several prompts, and for token
/// ids, which only the model's own server can read.
pub fn request(body: &[u8]) -> Result<Request, Failure> {
    let asked = CompletionRequest::parse(body)?;
    let all: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let prompt = prompt(asked.prompt)?;
    let user = match all.get("user") {
        None | Some(Value::Null) => None,
        Some(Value::String(user)) => Some(user.clone()),
        Some(_) => return Err(Failure::invalid("user", "`user` must be a string")),
    };
    Ok(Request {
        model: asked.model.unwrap_or_default(),
        messages: vec![Message::text(Role::User, prompt)],
        generation: Generation {
            max_tokens: asked.max_tokens,
            temperature: asked.temperature,
            top_p: asked.top_p,
            top_k: asked.top_k,
            presence_penalty: asked.presence_penalty,
            frequency_penalty: asked.frequency_penalty,
            seed: asked.seed,
            stop: asked.stop.map(crate::chat::types::Stop::into_vec).unwrap_or_default(),
            n: asked.n,
            // The older form of log-probabilities cannot be made from another's.
            logprobs: None,
        },
        format: asked.response_format.as_ref().map_or(Ok(Format::Text), crate::chat::decode::format_of)?,
        stream: asked.stream.unwrap_or(false),
        stream_usage: asked.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
        user,
        // No wire has this dialect: what is in `extra` is foreign everywhere.
        family: Some(Family::Completions),
        extra: all.into_iter().filter(|(key, value)| !KNOWN.contains(&key.as_str()) && !asks_for_nothing(key, value)).collect(),
        ..Request::default()
    })
}

fn prompt(prompt: Option<PromptInput>) -> Result<String, Failure> {
    let refuse = |what: &str| {
        let message = format!("`prompt` is {what}: a model that answers in conversations takes one text");
        Err(Failure::new(Code::UnsupportedParameter, message).at("prompt"))
    };
    match prompt {
        Some(PromptInput::Text(text)) => Ok(text),
        Some(PromptInput::Texts(mut texts)) if texts.len() == 1 => Ok(texts.remove(0)),
        Some(PromptInput::Texts(texts)) if texts.is_empty() => Err(Failure::invalid("prompt", "`prompt` is empty: a text is needed")),
        Some(PromptInput::Texts(_)) => refuse("a list of several texts"),
        Some(PromptInput::Tokens(_) | PromptInput::TokenLists(_)) => refuse("a list of token ids"),
        None => Err(Failure::invalid("prompt", "`prompt` is missing: a text is needed")),
    }
}

fn asks_for_nothing(key: &str, value: &Value) -> bool {
    match key {
        _ if value.is_null() => true,
        "echo" | "ignore_eos" => *value == false,
        "best_of" => *value == 1,
        "suffix" => value == "",
        // A hint for llama-server's own cache.
        "cache_prompt" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Dialect, losses::Losses};

    fn read(body: Value) -> Result<Request, Failure> {
        request(body.to_string().as_bytes())
    }

    #[test]
    fn a_prompt_is_what_the_user_says_in_every_dialect() {
        for prompt in [json!("Once upon"), json!(["Once upon"])] {
            let asked = read(json!({"model": "m", "prompt": prompt, "max_tokens": 20, "temperature": 0.5, "stop": "END", "stream": true, "stream_options": {"include_usage": true}})).unwrap();
            assert!(asked.stream && asked.stream_usage);
            for wire in Dialect::ALL {
                let mut losses = Losses::default();
                let body = wire.encode_request(&asked, &mut losses);
                let got = wire.decode_request(body.to_string().as_bytes(), "m", true).unwrap();
                assert_eq!(got.messages, [Message::text(Role::User, "Once upon")]);
                assert_eq!((got.generation.max_tokens, got.generation.temperature), (Some(20), Some(0.5)));
                let wanted: &[&str] = if wire == Dialect::Responses { &["stop"] } else { &[] };
                assert_eq!(losses.dropped, wanted, "{}", wire.name());
            }
        }
    }

    #[test]
    fn what_a_conversation_has_no_word_for_is_named_everywhere() {
        let odd = json!({"prompt": "x", "echo": true, "suffix": "end", "best_of": 3, "logprobs": 2, "logit_bias": {"1": -1}, "own": 1, "route": {"strict": true}});
        let none = json!({"prompt": "x", "echo": false, "suffix": "", "best_of": 1, "logprobs": null, "cache_prompt": true, "n": 1});
        for wire in Dialect::ALL {
            let mut losses = Losses::default();
            let body = wire.encode_request(&read(odd.clone()).unwrap(), &mut losses);
            let wanted: &[&str] = if wire == Dialect::Chat {
                &["echo", "suffix", "best_of", "logprobs", "own"]
            } else {
                &["echo", "suffix", "best_of", "logprobs", "logit_bias", "own"]
            };
            assert_eq!(losses.dropped, wanted, "{}", wire.name());
            assert!(!body.to_string().contains("suffix"));
            let mut losses = Losses::default();
            wire.encode_request(&read(none.clone()).unwrap(), &mut losses);
            assert!(losses.is_exact(), "{}: {losses:?}", wire.name());
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        for (body, code) in [
            (json!({}), Code::InvalidRequest),
            (json!({"prompt": []}), Code::InvalidRequest),
            (json!({"prompt": ["a", "b"]}), Code::UnsupportedParameter),
            (json!({"prompt": [1, 2]}), Code::UnsupportedParameter),
            (json!({"prompt": [[1], [2]]}), Code::UnsupportedParameter),
            (json!({"prompt": {}}), Code::InvalidRequest),
        ] {
            let failure = read(body.clone()).unwrap_err();
            assert_eq!((failure.code, failure.param.as_deref()), (code, Some("prompt")), "{body}: {failure}");
        }
        assert_eq!(read(json!({"prompt": "x", "user": 1})).unwrap_err().param.as_deref(), Some("user"));
    }
}
