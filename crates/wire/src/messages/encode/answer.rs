//! Answers, errors, counts and model lists for clients of the dialect.

use serde_json::{Value, json};

use super::{super::types::Usage, history::input};
use crate::{
    citations,
    error::Failure,
    ir::{BlockKind, Delta, Event, Family, Finish, State},
    names,
};

/// Writes a whole answer from its events (API reference, "Message"). The dialect has one answer: further choices are left out.
pub fn response(events: &[Event]) -> Value {
    let (mut head, mut usage, mut reason) = ((String::new(), String::new()), None, None);
    let mut blocks: Vec<(u32, Piece)> = Vec::new();
    for event in events {
        match event {
            Event::Start { id, model, .. } => head = (id.clone(), model.clone()),
            Event::BlockStart { choice: 0, block, kind } => blocks.push((*block, Piece::new(kind))),
            Event::Delta { choice: 0, block, delta } => {
                if let Some((_, piece)) = blocks.iter_mut().rev().find(|(b, _)| b == block) {
                    piece.add(delta);
                }
            }
            Event::Finish { choice: 0, reason: said } => reason = Some(said.clone()),
            Event::Usage(said) => usage = Some(*said),
            _ => {}
        }
    }
    let called = blocks.iter().any(|(_, p)| matches!(p.kind, BlockKind::ToolCall { .. }));
    let refused = blocks.iter().any(|(_, p)| matches!(p.kind, BlockKind::Refusal));
    let (stop_reason, stop_sequence) = stop(reason.as_ref(), called, refused);
    json!({
        "id": head.0,
        "type": "message",
        "role": "assistant",
        "model": head.1,
        "content": blocks.into_iter().filter_map(|(_, piece)| piece.written()).collect::<Vec<_>>(),
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": Usage::from_ir(&usage.unwrap_or_default()),
    })
}

/// A block being put together.
struct Piece {
    kind: BlockKind,
    text: String,
    state: Option<State>,
    citations: Vec<Value>,
}

impl Piece {
    fn new(kind: &BlockKind) -> Self {
        Self { kind: kind.clone(), text: String::new(), state: None, citations: Vec::new() }
    }

    fn add(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) | Delta::Arguments(text) => self.text.push_str(text),
            Delta::State(state) => self.state = Some(state.clone()),
            Delta::Citation(citation) => self.citations.extend(citations::to_messages(citation)),
            Delta::Logprobs(_) => {}
        }
    }

    fn written(self) -> Option<Value> {
        let state = self.state.filter(|s| s.family == Family::Messages);
        match self.kind {
            BlockKind::Text | BlockKind::Refusal => {
                let mut block = json!({"type": "text", "text": self.text});
                if !self.citations.is_empty() {
                    block["citations"] = self.citations.into();
                }
                (!self.text.is_empty()).then_some(block)
            }
            BlockKind::Reasoning => {
                let (signature, encrypted) = state.map_or((None, None), |s| (s.signature, s.encrypted));
                match encrypted.filter(|_| self.text.is_empty() && signature.is_none()) {
                    Some(data) => Some(json!({"type": "redacted_thinking", "data": data})),
                    None if self.text.is_empty() && signature.is_none() => None,
                    None => Some(json!({"type": "thinking", "thinking": self.text, "signature": signature.unwrap_or_default()})),
                }
            }
            BlockKind::ToolCall { id, name } => {
                Some(json!({"type": "tool_use", "id": names::escape(&id), "name": name, "input": input(&self.text).0}))
            }
            BlockKind::Opaque { family: Family::Messages, value } => Some(value),
            BlockKind::Opaque { .. } => None,
        }
    }
}

/// `stop_reason` and `stop_sequence`. A call is the reason where one was written, and only there, unless the answer was cut off.
pub(in crate::messages) fn stop(reason: Option<&Finish>, called: bool, refused: bool) -> (String, Option<String>) {
    let word = match reason {
        Some(Finish::Length) => "max_tokens",
        Some(Finish::ContextFull) => "model_context_window_exceeded",
        Some(Finish::Refusal | Finish::Filter) => "refusal",
        Some(Finish::Paused) => "pause_turn",
        Some(Finish::MalformedCall) => "malformed_tool_use",
        _ if called => "tool_use",
        _ if refused => "refusal",
        Some(Finish::StopSequence(text)) => return ("stop_sequence".to_owned(), text.clone()),
        Some(Finish::Other(own)) if !own.is_empty() => own,
        Some(Finish::Stop | Finish::ToolCall | Finish::Other(_)) | None => "end_turn",
    };
    (word.to_owned(), None)
}

/// Writes an error (API reference, "Errors"). `code`, `param` and details are members that the dialect does not know.
pub fn failure(failure: &Failure, request_id: &str) -> Value {
    let mut error = json!({"type": kind_of_status(failure.status()), "message": failure.message, "code": failure.code.as_str()});
    if let Value::Object(members) = &mut error {
        members.extend(failure.param.clone().map(|p| ("param".to_owned(), p.into())));
        failure.details.iter().for_each(|(key, value)| {
            members.entry(key).or_insert_with(|| value.clone());
        });
    }
    json!({"type": "error", "error": error, "request_id": request_id})
}

/// The dialect's word for the kind of an error, by HTTP status.
pub const fn kind_of_status(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        501 | 400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The answer of `/v1/messages/count_tokens`.
pub fn count(input_tokens: u64) -> Value {
    json!({"input_tokens": input_tokens})
}

/// When a model came out; the API says the epoch where that is unknown.
const RELEASE_UNKNOWN: &str = "1970-01-01T00:00:00Z";

/// One model of `/v1/models`: its id and its name for people.
pub fn model(id: &str, display_name: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": display_name, "created_at": RELEASE_UNKNOWN, "lifecycle": "active"})
}

/// The whole list of `/v1/models` as its only page, from ids and names for people.
pub fn models(ids: &[(String, String)]) -> Value {
    json!({
        "data": ids.iter().map(|(id, name)| model(id, name)).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": ids.first().map(|(id, _)| id),
        "last_id": ids.last().map(|(id, _)| id),
    })
}
