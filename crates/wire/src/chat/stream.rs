//! Chat's stream, both ways, as pure state machines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    decode, encode,
    types::{ChatChunk, ChunkChoice, Delta as ChunkDelta, FunctionCall, ToolCall},
};
use crate::{
    ir::{BlockKind, Delta, Event, Usage, event::LogprobsBox},
    sse::{SseEvent, SseReader, TooLong, write_data},
};

/// Reads an upstream's chat stream into events.
#[derive(Debug, Default)]
pub struct Decoder {
    sse: SseReader,
    started: bool,
    choices: BTreeMap<u32, OpenChoice>,
    usage: Option<Usage>,
    over: bool,
}

#[derive(Debug, Default)]
struct OpenChoice {
    open: Option<(u32, Open)>,
    next: u32,
    called: bool,
    reason: Option<String>,
    /// Upstream indexes of the calls so far.
    begun: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Reasoning,
    Refusal,
    Call(u32),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the normal end was seen.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Reads more bytes.
    ///
    /// # Errors
    /// [`TooLong`]: an event beyond all bounds.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLong> {
        let mut sse = std::mem::take(&mut self.sse);
        let result = sse.feed(bytes, |event| self.event(&event, out));
        self.sse = sse;
        result
    }

    /// The bytes have ended; a stream that had no normal end gives [`Event::Failed`].
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        let mut sse = std::mem::take(&mut self.sse);
        sse.finish(|event| self.event(&event, out));
        if !self.over {
            self.over = true;
            out.push(Event::Failed {
                message: "the upstream's stream ended before its end mark".to_owned(),
                code: Some("stream_truncated".to_owned()),
            });
        }
    }

    fn event(&mut self, event: &SseEvent, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if event.data.trim() == "[DONE]" {
            self.end(out);
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(&event.data) else {
            self.fail("the upstream sent a frame that is not JSON".to_owned(), None, out);
            return;
        };
        if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
            let message = error["message"].as_str().or(error.as_str()).unwrap_or("the upstream reported an error").to_owned();
            let code = error["code"].as_str().or(error["type"].as_str()).map(str::to_owned);
            self.fail(message, code, out);
            return;
        }
        match serde_json::from_value::<ChatChunk>(value) {
            Ok(chunk) => self.chunk(chunk, out),
            Err(e) => self.fail(format!("the upstream sent a frame of another shape: {e}"), None, out),
        }
    }

    fn fail(&mut self, message: String, code: Option<String>, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Failed { message, code });
    }

    fn chunk(&mut self, chunk: ChatChunk, out: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            out.push(Event::Start { id: chunk.id, model: chunk.model, created: chunk.created });
        }
        for choice in chunk.choices {
            let ChunkChoice { index, delta, finish_reason, logprobs } = choice;
            let open = self.choices.entry(index).or_default();
            if !open.delta(index, delta, out) {
                return self.fail("the upstream went back to a tool call that had ended".to_owned(), None, out);
            }
            if let (Some(logprobs), Some((block, Open::Text))) = (logprobs, open.open) {
                out.push(Event::Delta { choice: index, block, delta: Delta::Logprobs(LogprobsBox(Box::new(logprobs))) });
            }
            if let Some(reason) = finish_reason {
                open.reason = Some(reason);
            }
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(Usage::from_chat(&usage));
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        self.over = true;
        for (index, mut choice) in std::mem::take(&mut self.choices) {
            choice.close(index, out);
            let reason = decode::finish(choice.reason.as_deref(), choice.called);
            out.push(Event::Finish { choice: index, reason });
        }
        out.extend(self.usage.take().map(Event::Usage));
        out.push(Event::End);
    }
}

impl OpenChoice {
    /// False if the upstream went back to a call that had ended.
    fn delta(&mut self, choice: u32, delta: ChunkDelta, out: &mut Vec<Event>) -> bool {
        let reasoning = delta.reasoning_content.or(delta.reasoning);
        for (text, open, kind, wrap) in [
            (reasoning, Open::Reasoning, BlockKind::Reasoning, Delta::Reasoning as fn(String) -> Delta),
            (delta.content, Open::Text, BlockKind::Text, Delta::Text),
            (delta.refusal, Open::Refusal, BlockKind::Refusal, Delta::Refusal),
        ] {
            if let Some(text) = text.filter(|t| !t.is_empty()) {
                let block = self.open(choice, open, kind, out);
                out.push(Event::Delta { choice, block, delta: wrap(text) });
            }
        }
        delta.tool_calls.unwrap_or_default().into_iter().all(|call| self.call(choice, call, out))
    }

    /// Some servers leave out the index, or use 0 for each call: a new id begins a new call. False if the fragment belongs to a
    /// call that has ended: its arguments would be incomplete.
    fn call(&mut self, choice: u32, call: ToolCall, out: &mut Vec<Event>) -> bool {
        let is_new = call.id.as_deref().is_some_and(|id| !id.is_empty()) && call.function.name.is_some();
        let current = match self.open {
            Some((block, Open::Call(index))) => Some((block, index)),
            _ => None,
        };
        let index = call.index.or(current.map(|(_, i)| i)).unwrap_or(0);
        match current {
            Some((block, now)) if now == index && !is_new => push_arguments(choice, block, call.function.arguments, out),
            _ if is_new || self.begun.insert(index) => self.begin_call(choice, index, call, out),
            _ => return call.function.arguments.is_none_or(|a| a.is_empty()),
        }
        true
    }

    fn begin_call(&mut self, choice: u32, index: u32, call: ToolCall, out: &mut Vec<Event>) {
        self.called = true;
        self.begun.insert(index);
        self.close(choice, out);
        let kind = BlockKind::ToolCall { id: call.id.unwrap_or_default(), name: call.function.name.unwrap_or_default() };
        let block = self.open(choice, Open::Call(index), kind, out);
        push_arguments(choice, block, call.function.arguments, out);
    }

    fn open(&mut self, choice: u32, wanted: Open, kind: BlockKind, out: &mut Vec<Event>) -> u32 {
        match self.open {
            Some((block, open)) if open == wanted => block,
            _ => {
                self.close(choice, out);
                let block = self.next;
                self.next += 1;
                self.open = Some((block, wanted));
                out.push(Event::BlockStart { choice, block, kind });
                block
            }
        }
    }

    fn close(&mut self, choice: u32, out: &mut Vec<Event>) {
        if let Some((block, _)) = self.open.take() {
            out.push(Event::BlockStop { choice, block });
        }
    }
}

fn push_arguments(choice: u32, block: u32, arguments: Option<String>, out: &mut Vec<Event>) {
    if let Some(text) = arguments.filter(|t| !t.is_empty()) {
        out.push(Event::Delta { choice, block, delta: Delta::Arguments(text) });
    }
}

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
                self.write(*choice, ChunkDelta::default(), Some(encode::finish(reason)), None, out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            Event::Failed { message, code } => {
                let error = json!({"error": {"message": message, "type": "api_error", "param": null, "code": code}});
                write_data(out, error.to_string().as_bytes());
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            let usage = self.usage.unwrap_or_default().to_chat();
            let chunk = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": [], "usage": usage});
            write_data(out, chunk.to_string().as_bytes());
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
        if let BlockKind::ToolCall { id, name } = kind {
            let state = self.roles.entry(choice).or_default();
            let index = state.calls;
            state.calls += 1;
            state.has_arguments = false;
            state.index.insert(block, index);
            let function = FunctionCall { name: Some(name.clone()), arguments: Some(String::new()) };
            self.call(choice, ToolCall { index: Some(index), id: Some(id.clone()), kind: Some("function".to_owned()), function }, out);
        }
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
            Delta::State(_) | Delta::Citation(_) => return,
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
