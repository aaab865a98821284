//! Small shapes and words of Responses that both directions share.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    chat::types as chat,
    ir::{self, Finish},
    names,
};

/// Token counts as Responses gives them: `input_tokens` includes cached, `output_tokens` includes reasoning
/// (API reference, "The response object", `usage`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub input_tokens: u64,
    #[serde(default)]
    pub input_tokens_details: Option<InputDetails>,
    #[serde(default)]
    pub output_tokens: u64,
    #[serde(default)]
    pub output_tokens_details: Option<OutputDetails>,
    #[serde(default)]
    pub total_tokens: u64,
}

/// Parts of `input_tokens`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDetails {
    #[serde(default)]
    pub cached_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
}

/// Parts of `output_tokens`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDetails {
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Into disjoint buckets. A detail larger than its total is cut to the total.
    pub fn to_ir(self) -> ir::Usage {
        let (input, output) = (self.input_tokens_details.unwrap_or_default(), self.output_tokens_details.unwrap_or_default());
        ir::Usage::from_chat(&chat::Usage {
            prompt_tokens: self.input_tokens,
            completion_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            prompt_tokens_details: Some(chat::PromptDetails {
                cached_tokens: input.cached_tokens,
                cache_write_tokens: input.cache_write_tokens,
                ..chat::PromptDetails::default()
            }),
            completion_tokens_details: Some(chat::CompletionDetails { reasoning_tokens: output.reasoning_tokens, audio_tokens: None }),
        })
    }

    /// From disjoint buckets. The details are always there, since the official clients read them without asking.
    pub fn from_ir(usage: &ir::Usage) -> Self {
        Self {
            input_tokens: usage.input(),
            input_tokens_details: Some(InputDetails {
                cached_tokens: Some(usage.in_cache_read.unwrap_or(0)),
                cache_write_tokens: Some(usage.in_cache_write.unwrap_or(0)),
            }),
            output_tokens: usage.output(),
            output_tokens_details: Some(OutputDetails { reasoning_tokens: Some(usage.out_reasoning.unwrap_or(0)) }),
            total_tokens: usage.input().saturating_add(usage.output()),
        }
    }
}

/// How a response ends: the last event's name after `response.`, and the object's `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    /// With `incomplete_details.reason`: `max_output_tokens` or `content_filter`, nothing else is documented.
    Incomplete(&'static str),
    Failed {
        code: String,
        message: String,
    },
}

impl Ending {
    /// `refused`: a refusal was written, which says why by itself.
    pub(super) fn of(reason: &Finish, refused: bool) -> Self {
        match reason {
            Finish::Length | Finish::ContextFull => Self::Incomplete("max_output_tokens"),
            Finish::Filter => Self::Incomplete("content_filter"),
            Finish::Refusal if !refused => Self::Incomplete("content_filter"),
            Finish::MalformedCall => Self::Failed { code: "server_error".to_owned(), message: Finish::MALFORMED_CALL.to_owned() },
            _ => Self::Completed,
        }
    }

    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The reason in the inner language; `called` and `refused` say which blocks there were.
pub(super) fn finish(response: &Map<String, Value>, called: bool, refused: bool) -> Finish {
    if response.get("status").and_then(Value::as_str) == Some("incomplete") {
        return match response.get("incomplete_details").and_then(|d| d["reason"].as_str()) {
            Some("max_output_tokens" | "max_tokens" | "length") | None => Finish::Length,
            Some("content_filter") => Finish::Filter,
            Some("context_length_exceeded" | "model_context_window_exceeded") => Finish::ContextFull,
            Some(other) => Finish::Other(other.to_owned()),
        };
    }
    match (called, refused) {
        (true, _) => Finish::ToolCall,
        (_, true) => Finish::Refusal,
        _ => Finish::Stop,
    }
}

/// The counts of a response object, if it has any.
pub(super) fn usage_of(response: &Map<String, Value>) -> Option<ir::Usage> {
    let usage = response.get("usage").filter(|u| u.is_object())?;
    serde_json::from_value::<Usage>(usage.clone()).ok().map(Usage::to_ir)
}

/// The response's id in this dialect's form: `resp_…`.
pub(super) fn response_id(id: &str) -> String {
    let clean: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    match clean.strip_prefix("resp_").unwrap_or(&clean) {
        "" => "resp_0".to_owned(),
        rest => format!("resp_{rest}"),
    }
}

/// An item's id, which follows from the response's id and the item's place, so that a stream and a whole answer agree.
pub(super) fn item_id(prefix: &str, response_id: &str, output_index: usize) -> String {
    format!("{prefix}_{}_{output_index}", response_id.strip_prefix("resp_").unwrap_or(response_id))
}

/// Most bytes of a `call_id` (API reference, "Function tool call output").
pub(super) const CALL_ID_BYTES_MAX: usize = 64;

/// A call's id within Responses' limit. A longer one is cut, and a hash of the whole keeps it apart from others; call and output
/// come out alike.
pub(super) fn call_id(id: &str) -> String {
    if id.len() <= CALL_ID_BYTES_MAX {
        return id.to_owned();
    }
    names::tagged(&id[..id.floor_char_boundary(CALL_ID_BYTES_MAX - names::TAG_BYTES)], id)
}

/// `data:image/png;base64,…` → (`image/png`, bytes as base64).
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}

/// An object's member as text; empty where it is none.
pub(super) fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The text of a reasoning item's `summary` or `content`; parts are apart by an empty line.
pub(super) fn joined(parts: &Value) -> String {
    let texts: Vec<&str> = parts.as_array().map(|all| all.iter().filter_map(|p| p["text"].as_str()).collect()).unwrap_or_default();
    texts.join(SUMMARY_BREAK)
}

/// Between the parts of a reasoning summary.
pub(super) const SUMMARY_BREAK: &str = "\n\n";

/// Log-probabilities as Responses has them: a plain list.
pub(super) fn logprobs_out(logprobs: &chat::Logprobs) -> Vec<Value> {
    let tokens = logprobs.content.as_deref().or(logprobs.refusal.as_deref()).unwrap_or_default();
    tokens.iter().filter_map(|t| serde_json::to_value(t).ok()).map(|mut t| bytes_as_list(&mut t)).collect()
}

/// `bytes` is a list here, never null.
fn bytes_as_list(token: &mut Value) -> Value {
    if token["bytes"].is_null() {
        token["bytes"] = json!([]);
    }
    if let Some(tops) = token["top_logprobs"].as_array_mut() {
        tops.iter_mut().filter(|t| t["bytes"].is_null()).for_each(|t| t["bytes"] = json!([]));
    }
    token.take()
}

/// Reads Responses' list of log-probabilities; `None` if there are none.
pub(super) fn logprobs_in(value: &Value) -> Option<chat::Logprobs> {
    let tokens: Vec<Value> = value.as_array().filter(|l| !l.is_empty())?.clone();
    let tokens = tokens.into_iter().filter_map(|mut token| {
        if let Some(tops) = token["top_logprobs"].as_array_mut() {
            // The stream's form may leave the token out of an alternative.
            tops.retain(|t| t["token"].is_string() && t["logprob"].is_number());
        }
        serde_json::from_value(token).ok()
    });
    Some(chat::Logprobs { content: Some(tokens.collect()), refusal: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_have_their_prefix_and_follow_from_the_response() {
        assert_eq!(response_id("resp_abc"), "resp_abc");
        assert_eq!(response_id("chatcmpl-1 2"), "resp_chatcmpl-12");
        assert_eq!(response_id(""), "resp_0");
        assert_eq!(item_id("msg", "resp_abc", 3), "msg_abc_3");
    }

    #[test]
    fn long_call_ids_are_cut_and_stay_apart() {
        let (a, b) = (format!("{}a", "ü".repeat(60)), format!("{}b", "ü".repeat(60)));
        assert!(call_id(&a).len() <= CALL_ID_BYTES_MAX);
        assert_ne!(call_id(&a), call_id(&b));
        assert_eq!(call_id("call_1"), "call_1");
    }

    proptest! {
        #[test]
        fn usage_adds_up(input in 0u64..1 << 40, output in 0u64..1 << 40, cached: Option<u32>, written: Option<u32>, reasoning: Option<u32>) {
            let said = Usage {
                input_tokens: input,
                input_tokens_details: Some(InputDetails { cached_tokens: cached.map(u64::from), cache_write_tokens: written.map(u64::from) }),
                output_tokens: output,
                output_tokens_details: Some(OutputDetails { reasoning_tokens: reasoning.map(u64::from) }),
                total_tokens: input + output,
            };
            let usage = said.to_ir();
            prop_assert_eq!((usage.input(), usage.output()), (input, output));
            let back = Usage::from_ir(&usage);
            prop_assert_eq!((back.input_tokens, back.output_tokens, back.total_tokens), (input, output, input + output));
            prop_assert_eq!(Usage::from_ir(&back.to_ir()), back);
        }
    }
}
