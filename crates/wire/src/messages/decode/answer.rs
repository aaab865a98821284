//! Whole answers of an upstream → events.

use serde_json::Value;

use super::super::types::Answer;
use crate::{
    citations,
    error::{Code, Failure},
    ir::{BlockKind, Delta, Event, Family, Finish, State},
    names,
};

/// Reads a whole answer as the events that it would have streamed (API reference, "Message").
///
/// # Errors
/// Where it is no message; [`Code::UpstreamError`] where it is an error of the upstream's.
pub fn response(body: &[u8]) -> Result<Vec<Event>, Failure> {
    let answer: Answer = match crate::json::parse(body) {
        Ok(answer) => answer,
        Err(e) => return Err(error_inside(body).unwrap_or(e)),
    };
    let mut events = vec![Event::Start { id: answer.id, model: answer.model, created: 0 }];
    let mut called = false;
    for (block, value) in (0..).zip(answer.content) {
        let (kind, deltas) = block_of(value);
        called |= matches!(kind, BlockKind::ToolCall { .. });
        events.push(Event::BlockStart { choice: 0, block, kind });
        events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, block, delta }));
        events.push(Event::BlockStop { choice: 0, block });
    }
    events.push(Event::Finish { choice: 0, reason: finish(answer.stop_reason.as_deref(), answer.stop_sequence, called) });
    events.extend(answer.usage.map(|u| Event::Usage(u.to_ir())));
    events.push(Event::End);
    Ok(events)
}

/// Reads an answer of `/v1/messages/count_tokens`: the tokens of the input.
///
/// # Errors
/// Where it is no count.
pub fn count(body: &[u8]) -> Result<u64, Failure> {
    let value: Value = crate::json::parse(body)?;
    value["input_tokens"].as_u64().ok_or_else(|| Failure::new(Code::UpstreamError, "the upstream's count has no `input_tokens`"))
}

fn error_inside(body: &[u8]) -> Option<Failure> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error").filter(|e| e.is_object())?;
    let message = error["message"].as_str().unwrap_or("the upstream reported an error");
    Some(Failure::new(Code::UpstreamError, message).with("upstream_type", error["type"].clone()))
}

/// State of this family.
pub(in crate::messages) fn state(signature: Option<&str>, encrypted: Option<&str>) -> Option<State> {
    let given = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let (signature, encrypted) = (given(signature), given(encrypted));
    (signature.is_some() || encrypted.is_some()).then_some(State { family: Family::Messages, id: None, signature, encrypted })
}

fn block_of(value: Value) -> (BlockKind, Vec<Delta>) {
    let text = |key: &str| value[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    match value["type"].as_str() {
        Some("text") => {
            let cited =
                value["citations"].as_array().into_iter().flatten().map(|own| Delta::Citation(Box::new(citations::from_messages(own))));
            (BlockKind::Text, text("text").map(Delta::Text).into_iter().chain(cited).collect())
        }
        Some("thinking") => {
            let state = state(value["signature"].as_str(), None);
            (BlockKind::Reasoning, text("thinking").map(Delta::Reasoning).into_iter().chain(state.map(Delta::State)).collect())
        }
        Some("redacted_thinking") => (BlockKind::Reasoning, state(None, value["data"].as_str()).map(Delta::State).into_iter().collect()),
        Some("tool_use") => {
            let name = names::unescape(value["name"].as_str().unwrap_or_default()).into_owned();
            let id = names::unescape(value["id"].as_str().unwrap_or_default()).into_owned();
            (BlockKind::ToolCall { id, name }, vec![Delta::Arguments(arguments(&value["input"]))])
        }
        _ => (BlockKind::Opaque { family: Family::Messages, value }, Vec::new()),
    }
}

/// The arguments' JSON text; a call without any has an empty object.
pub(in crate::messages) fn arguments(input: &Value) -> String {
    if input.is_null() { "{}".to_owned() } else { input.to_string() }
}

/// The reason in the inner language; calls that were made beat what the upstream says, unless the answer was cut off.
pub(in crate::messages) fn finish(reason: Option<&str>, sequence: Option<String>, called: bool) -> Finish {
    match reason {
        Some("max_tokens") => Finish::Length,
        Some("model_context_window_exceeded") => Finish::ContextFull,
        Some("refusal") => Finish::Refusal,
        Some("pause_turn") => Finish::Paused,
        _ if called => Finish::ToolCall,
        Some("stop_sequence") => Finish::StopSequence(sequence),
        Some("end_turn" | "tool_use" | "") | None => Finish::Stop,
        Some(other) => Finish::Other(other.to_owned()),
    }
}
