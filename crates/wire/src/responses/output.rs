//! Events → output items, as frames of a stream or as one response object.
//!
//! One machine writes both, so that a stream's last event and a whole answer cannot differ. Texts and refusals that follow each other
//! are parts of one message item. An item stays open until the next one begins or the answer ends, since only then its status is known.

use serde_json::{Map, Value, json};

use super::{
    asked,
    types::{Ending, Usage, item_id, logprobs_out, response_id},
};
use crate::{
    citations,
    ir::{self, BlockKind, Delta, Event, Family, Finish, Request, State},
    sse::write_json,
};

/// Most bytes of an answer that are held for the last event, which repeats it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Writes events as a Responses stream for a client (API reference, "Streaming events"). Only the first choice is written: there are
/// no others here.
#[derive(Debug)]
pub struct Encoder {
    /// Members of the response object that say what was asked.
    asked: Map<String, Value>,
    id: String,
    model: String,
    created: i64,
    sequence: u64,
    /// Only the object at the end is wanted.
    is_quiet: bool,
    has_started: bool,
    is_over: bool,
    output: Vec<Value>,
    open: Open,
    /// The block that deltas belong to.
    block: Option<u32>,
    reason: Option<Finish>,
    has_refused: bool,
    usage: Option<ir::Usage>,
    held_bytes: usize,
    last: Option<Value>,
}

/// The item that is being written; it stands at `output.len()`.
#[derive(Debug)]
enum Open {
    None,
    Message {
        id: String,
        parts: Vec<Value>,
        part: Option<Part>,
    },
    /// Announced with its first text or state: thinking of which nothing is known leaves no trace.
    Reasoning {
        id: String,
        encrypted: Option<String>,
        text: String,
        is_announced: bool,
        is_shown: bool,
    },
    Call {
        id: String,
        call_id: String,
        name: String,
        arguments: String,
    },
    Opaque(Value),
}

#[derive(Debug)]
struct Part {
    is_refusal: bool,
    text: String,
    annotations: Vec<Value>,
    logprobs: Vec<Value>,
}

impl Part {
    fn value(&self) -> Value {
        if self.is_refusal {
            json!({"type": "refusal", "refusal": self.text})
        } else {
            json!({"type": "output_text", "text": self.text, "annotations": self.annotations, "logprobs": self.logprobs})
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder whose response object has the defaults for what was asked.
    pub fn new() -> Self {
        Self {
            asked: asked::defaults(),
            id: response_id(""),
            model: String::new(),
            created: 0,
            sequence: 0,
            is_quiet: false,
            has_started: false,
            is_over: false,
            output: Vec::new(),
            open: Open::None,
            block: None,
            reason: None,
            has_refused: false,
            usage: None,
            held_bytes: 0,
            last: None,
        }
    }

    /// An encoder whose response object repeats what was asked, as the official server does.
    pub fn for_request(request: &Request) -> Self {
        Self { asked: asked::of(request), ..Self::new() }
    }

    /// The whole answer.
    pub(super) fn whole(mut self, events: &[Event]) -> Value {
        self.is_quiet = true;
        let mut nothing = Vec::new();
        for event in events {
            self.event(event, &mut nothing);
        }
        self.end(&mut nothing);
        self.last.take().unwrap_or_default()
    }

    /// Appends the frames of one event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match event {
            Event::Start { id, model, created } => {
                self.id = response_id(id);
                self.model.clone_from(model);
                self.created = *created;
                self.start(out);
            }
            Event::BlockStart { choice: 0, block, kind } => {
                self.start(out);
                self.close_block(out);
                self.block = Some(*block);
                self.begin(kind, out);
            }
            Event::Delta { choice: 0, block, delta } if self.block == Some(*block) => self.delta(delta, out),
            Event::BlockStop { choice: 0, block } if self.block == Some(*block) => self.close_block(out),
            Event::Finish { choice: 0, reason } => {
                self.close_block(out);
                self.reason = Some(reason.clone());
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            Event::Failed { message, code } => self.fail(message, code.as_deref(), out),
            _ => {}
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_started, true) && !self.is_quiet {
            for kind in ["response.created", "response.in_progress"] {
                let response = self.object("in_progress", Value::Null, Value::Null);
                self.put(kind, json!({ "response": response }), out);
            }
        }
    }

    fn put(&mut self, kind: &str, fields: Value, out: &mut Vec<u8>) {
        if self.is_quiet {
            return;
        }
        let mut frame = json!({"type": kind, "sequence_number": self.sequence});
        self.sequence += 1;
        if let (Value::Object(frame), Value::Object(fields)) = (&mut frame, fields) {
            frame.extend(fields);
        }
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'\n');
        write_json(out, &frame);
    }

    /// A frame about the open item.
    fn put_item(&mut self, kind: &str, id: &str, fields: Value, out: &mut Vec<u8>) {
        if self.is_quiet {
            return;
        }
        let mut all = json!({"item_id": id, "output_index": self.output.len()});
        if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
            all.extend(fields);
        }
        self.put(kind, all, out);
    }

    fn announce(&mut self, item: Value, out: &mut Vec<u8>) {
        let at = self.output.len();
        self.put("response.output_item.added", json!({"output_index": at, "item": item}), out);
    }

    fn new_id(&self, prefix: &str) -> String {
        item_id(prefix, &self.id, self.output.len())
    }

    fn begin(&mut self, kind: &BlockKind, out: &mut Vec<u8>) {
        if let BlockKind::Text | BlockKind::Refusal = kind {
            return self.begin_part(matches!(kind, BlockKind::Refusal), out);
        }
        self.close_item("completed", out);
        match kind {
            BlockKind::Reasoning => {
                let (encrypted, text) = (None, String::new());
                self.open = Open::Reasoning { id: self.new_id("rs"), encrypted, text, is_announced: false, is_shown: false };
            }
            BlockKind::ToolCall { id: call_id, name } => {
                let id = self.new_id("fc");
                let call_id = if call_id.is_empty() { self.new_id("call") } else { call_id.clone() };
                self.announce(call_item(&id, &call_id, name, "", "in_progress"), out);
                self.open = Open::Call { id, call_id, name: name.clone(), arguments: String::new() };
            }
            BlockKind::Opaque { family: Family::Responses, value } => {
                self.announce(value.clone(), out);
                self.open = Open::Opaque(value.clone());
            }
            _ => {}
        }
    }

    fn begin_part(&mut self, is_refusal: bool, out: &mut Vec<u8>) {
        self.has_refused |= is_refusal;
        if !matches!(self.open, Open::Message { .. }) {
            self.close_item("completed", out);
            let id = self.new_id("msg");
            self.announce(message_item(&id, &[], "in_progress"), out);
            self.open = Open::Message { id, parts: Vec::new(), part: None };
        }
        let Open::Message { id, parts, part } = &mut self.open else { return };
        let new = part.insert(Part { is_refusal, text: String::new(), annotations: Vec::new(), logprobs: Vec::new() });
        let (id, fields) = (id.clone(), json!({"content_index": parts.len(), "part": new.value()}));
        self.put_item("response.content_part.added", &id, fields, out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let bytes = match delta {
            Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) | Delta::Arguments(text) => text.len(),
            Delta::State(_) | Delta::Logprobs(_) | Delta::Citation(_) => 0,
        };
        self.held_bytes += bytes;
        if self.held_bytes > ANSWER_BYTES_MAX {
            return self.fail("the answer is longer than a response object can be here", Some("server_error"), out);
        }
        match (&mut self.open, delta) {
            (Open::Message { id, parts, part: Some(part) }, Delta::Text(text) | Delta::Refusal(text)) => {
                part.text.push_str(text);
                let (id, at) = (id.clone(), parts.len());
                if part.is_refusal {
                    self.put_item("response.refusal.delta", &id, json!({"content_index": at, "delta": text}), out);
                } else {
                    self.put_item("response.output_text.delta", &id, json!({"content_index": at, "delta": text, "logprobs": []}), out);
                }
            }
            (Open::Message { id, parts, part: Some(part) }, Delta::Logprobs(more)) => {
                let more = logprobs_out(&more.0);
                let (id, fields) = (id.clone(), json!({"content_index": parts.len(), "delta": "", "logprobs": more}));
                part.logprobs.extend(more);
                self.put_item("response.output_text.delta", &id, fields, out);
            }
            (Open::Message { id, parts, part: Some(part) }, Delta::Citation(citation)) => {
                let Some(own) = citations::to_responses(citation) else { return };
                let (id, place) = (id.clone(), part.annotations.len());
                let fields = json!({"content_index": parts.len(), "annotation_index": place, "annotation": own});
                part.annotations.push(own);
                self.put_item("response.output_text.annotation.added", &id, fields, out);
            }
            (Open::Reasoning { .. }, Delta::State(state)) => self.state(state, out),
            (Open::Reasoning { .. }, Delta::Reasoning(text)) => self.thought(text, out),
            (Open::Call { id, arguments, .. }, Delta::Arguments(text)) if !text.is_empty() => {
                arguments.push_str(text);
                let id = id.clone();
                self.put_item("response.function_call_arguments.delta", &id, json!({ "delta": text }), out);
            }
            _ => {}
        }
    }

    /// Only state of Responses' own can come back here; another provider's would be taken for it.
    fn state(&mut self, state: &State, out: &mut Vec<u8>) {
        let Open::Reasoning { id, encrypted, is_announced, .. } = &mut self.open else { return };
        if state.family != Family::Responses {
            return;
        }
        if let Some(own) = state.id.as_ref().filter(|_| !*is_announced) {
            id.clone_from(own);
        }
        if state.encrypted.is_some() {
            encrypted.clone_from(&state.encrypted);
        }
        self.announce_reasoning(out);
    }

    fn announce_reasoning(&mut self, out: &mut Vec<u8>) {
        let Open::Reasoning { id, is_announced, .. } = &mut self.open else { return };
        if !std::mem::replace(is_announced, true) {
            let item = json!({"id": id, "type": "reasoning", "status": "in_progress", "summary": []});
            self.announce(item, out);
        }
    }

    fn thought(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.announce_reasoning(out);
        let Open::Reasoning { id, text: all, is_shown, .. } = &mut self.open else { return };
        all.push_str(text);
        let (id, is_first) = (id.clone(), !std::mem::replace(is_shown, true));
        if is_first {
            let part = json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}});
            self.put_item("response.reasoning_summary_part.added", &id, part, out);
        }
        self.put_item("response.reasoning_summary_text.delta", &id, json!({"summary_index": 0, "delta": text}), out);
    }

    /// Ends the block; its item may go on.
    fn close_block(&mut self, out: &mut Vec<u8>) {
        if self.block.take().is_none() {
            return;
        }
        match &mut self.open {
            Open::Message { id, parts, part } => {
                let Some(part) = part.take() else { return };
                let (id, at, value) = (id.clone(), parts.len(), part.value());
                parts.push(value.clone());
                if part.is_refusal {
                    self.put_item("response.refusal.done", &id, json!({"content_index": at, "refusal": part.text}), out);
                } else {
                    let done = json!({"content_index": at, "text": part.text, "logprobs": part.logprobs});
                    self.put_item("response.output_text.done", &id, done, out);
                }
                self.put_item("response.content_part.done", &id, json!({"content_index": at, "part": value}), out);
            }
            Open::Reasoning { id, text, is_shown: true, .. } => {
                let (id, text) = (id.clone(), text.clone());
                self.put_item("response.reasoning_summary_text.done", &id, json!({"summary_index": 0, "text": text}), out);
                let part = json!({"summary_index": 0, "part": {"type": "summary_text", "text": text}});
                self.put_item("response.reasoning_summary_part.done", &id, part, out);
            }
            Open::Call { id, name, arguments, .. } => {
                let is_empty = arguments.trim().is_empty();
                if is_empty {
                    "{}".clone_into(arguments);
                }
                let (id, done) = (id.clone(), json!({"name": name, "arguments": arguments}));
                if is_empty {
                    self.put_item("response.function_call_arguments.delta", &id, json!({"delta": "{}"}), out);
                }
                self.put_item("response.function_call_arguments.done", &id, done, out);
            }
            _ => {}
        }
    }

    fn close_item(&mut self, status: &str, out: &mut Vec<u8>) {
        let item = match std::mem::replace(&mut self.open, Open::None) {
            Open::None | Open::Reasoning { is_announced: false, .. } => return,
            Open::Message { id, parts, .. } => message_item(&id, &parts, status),
            Open::Reasoning { id, encrypted, text, .. } => {
                let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
                let mut item = json!({"id": id, "type": "reasoning", "status": status, "summary": summary});
                if let Some(encrypted) = encrypted {
                    item["encrypted_content"] = encrypted.into();
                }
                item
            }
            Open::Call { id, call_id, name, arguments } => call_item(&id, &call_id, &name, &arguments, status),
            Open::Opaque(value) => value,
        };
        let at = self.output.len();
        if !self.is_quiet {
            self.put("response.output_item.done", json!({"output_index": at, "item": item}), out);
        }
        self.output.push(item);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        self.start(out);
        self.close_block(out);
        let ending = Ending::of(self.reason.as_ref().unwrap_or(&Finish::Stop), self.has_refused);
        if let Ending::Failed { code, message } = ending {
            self.close_item("incomplete", out);
            return self.fail(&message, Some(&code), out);
        }
        self.close_item(ending.status(), out);
        let details = if let Ending::Incomplete(reason) = ending { json!({ "reason": reason }) } else { Value::Null };
        self.finish(ending.status(), Value::Null, details, out);
    }

    /// Ends with an error; before the first event of a response there is nothing that could be called failed.
    fn fail(&mut self, message: &str, code: Option<&str>, out: &mut Vec<u8>) {
        let code = code.unwrap_or("server_error");
        if self.has_started || self.is_quiet {
            self.finish("failed", json!({"code": code, "message": message}), Value::Null, out);
        } else {
            self.is_over = true;
            self.put("error", json!({"code": code, "message": message, "param": null}), out);
        }
    }

    fn finish(&mut self, status: &str, error: Value, details: Value, out: &mut Vec<u8>) {
        self.is_over = true;
        let response = self.object(status, error, details);
        if self.is_quiet {
            self.last = Some(response);
        } else {
            self.put(&format!("response.{status}"), json!({ "response": response }), out);
        }
    }

    fn object(&mut self, status: &str, error: Value, details: Value) -> Value {
        let mut out = Map::new();
        let output = if status == "in_progress" { Vec::new() } else { std::mem::take(&mut self.output) };
        for (name, value) in [
            ("id", self.id.as_str().into()),
            ("object", "response".into()),
            ("created_at", self.created.into()),
            ("status", status.into()),
            ("error", error),
            ("incomplete_details", details),
            ("model", self.model.as_str().into()),
            ("output", output.into()),
        ] {
            out.insert(name.to_owned(), value);
        }
        out.extend(self.asked.clone());
        let usage = self.usage.map(|u| json!(Usage::from_ir(&u)));
        out.insert("usage".to_owned(), usage.unwrap_or_default());
        Value::Object(out)
    }
}

fn message_item(id: &str, parts: &[Value], status: &str) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": parts})
}

fn call_item(id: &str, call_id: &str, name: &str, arguments: &str, status: &str) -> Value {
    json!({"id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments})
}
