//! Models, and what they say.

use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{super::TIMEOUT_S_MAX, list_as, object, strange};
use crate::stdio::{
    router::Trouble,
    typed::{Call, Effect, Typed},
};

/// How long a chat may take if nothing is said, seconds.
const CHAT_S: u64 = 120;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListModels {}

impl Typed for ListModels {
    const NAME: &'static str = "list_models";
    const TITLE: &'static str = "List models";
    const DESCRIPTION: &'static str =
        "Lists the models that these credentials may use, with owner, context length, capabilities and price where known.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get("/v1/models"))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {"models": {"type": "array", "items": {
                "type": "object",
                "properties": {"id": {"type": "string", "description": "What a request calls it"}},
                "required": ["id"]
            }}},
            "required": ["models"]
        })
    }

    fn shape(self, mut said: Value) -> Result<Value, Trouble> {
        list_as("models", said["data"].take())
    }
}

/// A message of a conversation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// system, user or assistant.
    role: Role,
    /// Its text.
    content: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    User,
    Assistant,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chat {
    /// A model of list_models, or `auto` where the router is to choose.
    model: String,
    /// The conversation so far; the last message is answered.
    messages: Vec<Message>,
    /// Most tokens of the answer.
    max_tokens: Option<u32>,
    /// 0 to 2.
    temperature: Option<f64>,
    /// Seconds until the answer is given up: 120 if not said, at most 300.
    #[schemars(range(min = 1, max = 300))]
    timeout: Option<u64>,
}

impl Typed for Chat {
    const NAME: &'static str = "chat";
    const TITLE: &'static str = "Ask a model";
    const DESCRIPTION: &'static str =
        "Sends a conversation to a model through the router and returns its answer, whole. It uses tokens, which may cost money.";
    const EFFECT: Effect = Effect::Adds;

    fn call(&self) -> Result<Call, Trouble> {
        if self.messages.is_empty() {
            return Err(Trouble::invalid("`messages` needs at least one message"));
        }
        let seconds = self.timeout.unwrap_or(CHAT_S);
        if !(1..=TIMEOUT_S_MAX).contains(&seconds) {
            return Err(Trouble::invalid(format!("`timeout` is a number of seconds from 1 to {TIMEOUT_S_MAX}")));
        }
        let mut body = Map::new();
        body.insert("model".to_owned(), self.model.clone().into());
        body.insert("messages".to_owned(), json!(self.messages));
        body.extend(self.max_tokens.map(|n| ("max_tokens".to_owned(), n.into())));
        body.extend(self.temperature.map(|t| ("temperature".to_owned(), t.into())));
        let call = Call::send(Method::POST, "/v1/chat/completions", Some(body.into()));
        Ok(Call { timeout: Some(Duration::from_secs(seconds)), ..call })
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {
                "content": {"type": ["string", "null"], "description": "What the model said"},
                "model": {"type": "string", "description": "The model that answered"},
                "finish_reason": {"type": ["string", "null"]},
                "usage": {"type": ["object", "null"], "description": "Tokens"}
            },
            "required": ["content", "model", "finish_reason", "usage"]
        })
    }

    fn shape(self, mut said: Value) -> Result<Value, Trouble> {
        let mut choice = said["choices"].get_mut(0).map(Value::take).ok_or_else(strange)?;
        let model = said["model"].as_str().unwrap_or(&self.model).to_owned();
        let content = choice["message"]["content"].take();
        Ok(json!({"content": content, "model": model, "finish_reason": choice["finish_reason"].take(), "usage": said["usage"].take()}))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteExplain {
    /// The text that would be asked.
    query: String,
    /// A name other than `auto`.
    model: Option<String>,
}

impl Typed for RouteExplain {
    const NAME: &'static str = "route_explain";
    const TITLE: &'static str = "Explain a choice";
    const DESCRIPTION: &'static str = "Says which model and service the router would choose for a text, in which order it would try others, and by which rule. Nothing is asked.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        let mut body = json!({"query": self.query});
        if let Some(model) = &self.model {
            body["model"] = model.clone().into();
        }
        Ok(Call::send(Method::POST, "/router/route", Some(body)))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {
                "selected_model": {"type": "string"},
                "rule": {"type": "string"},
                "candidates": {"type": "array", "items": {"type": "object"}}
            },
            "required": ["selected_model"]
        })
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        object(said)
    }
}
