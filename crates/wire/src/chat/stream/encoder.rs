//! Events → the stream for a client.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{
    encode,
    types::{ChatChunk, ChunkChoice, Delta as ChunkDelta, FunctionCall, ToolCall},
};
use crate::{
    citations, custom,
    ir::{BlockKind, Delta, Event, Family, Finish, Usage, event::LogprobsBox},
    sse::{write_data, write_json},
};

/// Writes events as a chat stream for a client.
#[derive(Debug, Default)]
pub struct Encoder {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
    usage: Option<Usage>,
    roles: BTreeMap<u32, ChoiceOut>,
}

#[derive(Debug, Default)]
struct ChoiceOut {
    calls: u32,
    /// Block → index of the call in the stream.
    index: BTreeMap<u32, u32>,
    has_arguments: bool,
    refused: bool,
}

impl Encoder {
    /// `include_usage`: the client asked for a last chunk with usage.
    pub fn new(include_usage: bool) -> Self {
        Self { include_usage, ..Self::default() }
    }

    /// Appends the frames of one event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.created = *created;
            }
            Event::BlockStart { choice, block, kind } => self.start(*choice, *block, kind, out),
            Event::Delta { choice, block, delta } => self.delta(*choice, *block, delta, out),
            Event::BlockStop { choice, block } => {
                let state = self.roles.entry(*choice).or_default();
                if let Some(index) = state.index.get(block).copied().filter(|_| !state.has_arguments) {
                    self.call(*choice, ToolCall { index: Some(index), function: arguments("{}"), ..ToolCall::default() }, out);
                }
            }
            Event::Finish { choice, reason } => {
                self.role(*choice, out);
                let refused = self.roles.get(choice).is_some_and(|c| c.refused);
                // Beside a refusal in words, the official server says `stop`.
                let reason = if refused && *reason == Finish::Refusal { &Finish::Stop } else { reason };
                self.write(*choice, ChunkDelta::default(), Some(encode::finish(reason)), None, out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            Event::Failed { message, code } => {
                let error = json!({"error": {"message": message, "type": "api_error", "param": null, "code": code}});
                write_json(out, &error);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            let usage = self.usage.unwrap_or_default().to_chat();
            let chunk = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": [], "usage": usage});
            write_json(out, &chunk);
        }
        write_data(out, b"[DONE]");
    }

    /// The role is said once per choice, before anything else.
    fn role(&mut self, choice: u32, out: &mut Vec<u8>) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.roles.entry(choice) {
            place.insert(ChoiceOut::default());
            let delta = ChunkDelta { role: Some("assistant".to_owned()), content: Some(String::new()), ..ChunkDelta::default() };
            self.write(choice, delta, None, None, out);
        }
    }

    fn start(&mut self, choice: u32, block: u32, kind: &BlockKind, out: &mut Vec<u8>) {
        self.role(choice, out);
        let state = self.roles.entry(choice).or_default();
        match kind {
            BlockKind::ToolCall { id, name } => {
                let index = state.calls;
                state.calls += 1;
                state.has_arguments = false;
                state.index.insert(block, index);
                let function = FunctionCall { name: Some(name.clone()), arguments: Some(String::new()) };
                self.call(choice, ToolCall { index: Some(index), id: Some(id.clone()), kind: Some("function".to_owned()), function }, out);
            }
            BlockKind::Opaque { family: Family::Responses, value } if custom::is_call(value) => {
                let mut call = custom::chat_call(value);
                call["index"] = state.calls.into();
                state.calls += 1;
                self.write_rare(choice, &json!({ "tool_calls": [call] }), out);
            }
            BlockKind::Opaque { family: Family::Chat, value } if value.is_object() => self.write_rare(choice, value, out),
            BlockKind::Refusal => state.refused = true,
            BlockKind::Text | BlockKind::Reasoning | BlockKind::Opaque { .. } => {}
        }
    }

    /// A delta with members that are seldom there.
    fn write_rare(&self, choice: u32, delta: &Value, out: &mut Vec<u8>) {
        let choice = json!({"index": choice, "delta": delta, "finish_reason": null});
        let chunk =
            json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": [choice]});
        write_json(out, &chunk);
    }

    fn delta(&mut self, choice: u32, block: u32, delta: &Delta, out: &mut Vec<u8>) {
        let mut said = ChunkDelta::default();
        match delta {
            Delta::Text(text) => said.content = Some(text.clone()),
            Delta::Reasoning(text) => said.reasoning_content = Some(text.clone()),
            Delta::Refusal(text) => said.refusal = Some(text.clone()),
            Delta::Arguments(text) => {
                let state = self.roles.entry(choice).or_default();
                state.has_arguments |= !text.is_empty();
                let index = state.index.get(&block).copied();
                return self.call(choice, ToolCall { index, function: arguments(text), ..ToolCall::default() }, out);
            }
            Delta::State(_) => return,
            Delta::Citation(citation) => {
                if let Some(own) = citations::to_chat(citation) {
                    self.write_rare(choice, &json!({ "annotations": [own] }), out);
                }
                return;
            }
            Delta::Logprobs(logprobs) => return self.write(choice, said, None, Some(logprobs), out),
        }
        self.write(choice, said, None, None, out);
    }

    fn call(&self, choice: u32, call: ToolCall, out: &mut Vec<u8>) {
        self.write(choice, ChunkDelta { tool_calls: Some(vec![call]), ..ChunkDelta::default() }, None, None, out);
    }

    fn write(&self, choice: u32, delta: ChunkDelta, finish: Option<&str>, logprobs: Option<&LogprobsBox>, out: &mut Vec<u8>) {
        let choice =
            ChunkChoice { index: choice, delta, finish_reason: finish.map(str::to_owned), logprobs: logprobs.map(|l| (*l.0).clone()) };
        let chunk = ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices: vec![choice],
            usage: None,
            system_fingerprint: None,
        };
        if let Ok(text) = serde_json::to_vec(&chunk) {
            write_data(out, &text);
        }
    }
}

fn arguments(text: &str) -> FunctionCall {
    FunctionCall { name: None, arguments: Some(text.to_owned()) }
}
