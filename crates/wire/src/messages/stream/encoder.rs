//! Events → the stream for a client.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{
    encode::{kind_of_status, stop},
    types::Usage,
};
use crate::{
    citations, error,
    ir::{self, BlockKind, Delta, Event, Family, Finish, State},
    names,
};

/// Most bytes of blocks that wait for an earlier one to stop; an answer beyond that ends with an error.
pub const HELD_BYTES_MAX: usize = 8 << 20;
/// Most blocks that wait.
pub const HELD_BLOCKS_MAX: usize = 1024;
/// What a waiting piece counts besides its text.
const HELD_PIECE_BYTES: usize = 64;

/// Writes events as a stream of Messages. Blocks are numbered in the order in which they are written and never overlap; the dialect
/// has one answer, so further choices are left out.
#[derive(Debug)]
pub struct Encoder {
    /// Said in `message_start`, when nobody knows the true count yet.
    input_tokens: u64,
    started: bool,
    /// Index of the next block.
    next: u32,
    open: Option<Open>,
    held: VecDeque<Held>,
    held_bytes: usize,
    called: bool,
    refused: bool,
    reason: Option<Finish>,
    usage: Option<ir::Usage>,
    over: bool,
}

#[derive(Debug)]
struct Open {
    block: u32,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Text,
    /// Thoughts are begun by their first piece, which shows whether they may be read.
    Thought {
        begun: bool,
        state: Option<State>,
    },
    Call,
    /// Whole already, or not for clients of this dialect.
    Silent,
}

/// A block that came while another was open.
#[derive(Debug)]
struct Held {
    block: u32,
    kind: BlockKind,
    deltas: Vec<Delta>,
    stopped: bool,
}

#[derive(Serialize)]
struct DeltaFrame<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    delta: DeltaOut<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the dialect's own words")]
enum DeltaOut<'a> {
    TextDelta { text: &'a str },
    ThinkingDelta { thinking: &'a str },
    SignatureDelta { signature: &'a str },
    InputJsonDelta { partial_json: &'a str },
    CitationsDelta { citation: Value },
}

impl Encoder {
    /// `input_tokens`: an estimate of the input for `message_start`, 0 if there is none; the true count comes at the end.
    pub fn new(input_tokens: u64) -> Self {
        Self {
            input_tokens,
            started: false,
            next: 0,
            open: None,
            held: VecDeque::new(),
            held_bytes: 0,
            called: false,
            refused: false,
            reason: None,
            usage: None,
            over: false,
        }
    }

    /// Appends the frames of one event. Nothing follows the end or an error.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, model, .. } => self.start(id, model, out),
            Event::BlockStart { choice: 0, block, kind } => self.block_start(*block, kind, out),
            Event::Delta { choice: 0, block, delta } => self.delta(*block, delta, out),
            Event::BlockStop { choice: 0, block } => self.block_stop(*block, out),
            Event::Finish { choice: 0, reason } => self.reason = Some(reason.clone()),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            Event::Failed { message, code } => self.fail(message, code.as_deref(), out),
            Event::BlockStart { .. } | Event::Delta { .. } | Event::BlockStop { .. } | Event::Finish { .. } => {}
        }
    }

    fn start(&mut self, id: &str, model: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            let message = json!({
                "id": id, "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": self.input_tokens, "output_tokens": 0},
            });
            frame(out, "message_start", &json!({"type": "message_start", "message": message}));
        }
    }

    fn block_start(&mut self, block: u32, kind: &BlockKind, out: &mut Vec<u8>) {
        self.start("", "", out);
        if self.open.is_none() {
            return self.begin(block, kind, out);
        }
        let bytes = match kind {
            BlockKind::ToolCall { id, name } => id.len() + name.len(),
            BlockKind::Opaque { value, .. } => value.to_string().len(),
            _ => 0,
        };
        if self.held.len() == HELD_BLOCKS_MAX {
            return self.fail_overlap(out);
        }
        if self.may_hold(bytes, out) {
            self.held.push_back(Held { block, kind: kind.clone(), deltas: Vec::new(), stopped: false });
        }
    }

    fn may_hold(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        self.held_bytes += bytes + HELD_PIECE_BYTES;
        let may = self.held_bytes <= HELD_BYTES_MAX;
        if !may {
            self.fail_overlap(out);
        }
        may
    }

    fn fail_overlap(&mut self, out: &mut Vec<u8>) {
        self.fail("the upstream's blocks overlap beyond what can be held", None, out);
    }

    fn begin(&mut self, block: u32, kind: &BlockKind, out: &mut Vec<u8>) {
        let form = match kind {
            BlockKind::Text | BlockKind::Refusal => {
                self.refused |= matches!(kind, BlockKind::Refusal);
                self.write_start(&json!({"type": "text", "text": ""}), out);
                Form::Text
            }
            BlockKind::Reasoning => Form::Thought { begun: false, state: None },
            BlockKind::ToolCall { id, name } => {
                self.called = true;
                self.write_start(&json!({"type": "tool_use", "id": names::escape(id), "name": name, "input": {}}), out);
                Form::Call
            }
            BlockKind::Opaque { family: Family::Messages, value } => {
                self.write_start(value, out);
                self.write_stop(out);
                Form::Silent
            }
            BlockKind::Opaque { .. } => Form::Silent,
        };
        self.open = Some(Open { block, form });
    }

    fn delta(&mut self, block: u32, delta: &Delta, out: &mut Vec<u8>) {
        if self.open.as_ref().is_some_and(|o| o.block == block) {
            return self.write(delta, out);
        }
        if matches!(delta, Delta::Logprobs(_)) {
            return;
        }
        let bytes = delta.held_bytes();
        if self.held.iter().any(|h| h.block == block)
            && self.may_hold(bytes, out)
            && let Some(held) = self.held.iter_mut().find(|h| h.block == block)
        {
            held.deltas.push(delta.clone());
        }
    }

    /// Writes a delta of the open block.
    fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let Some(Open { form, .. }) = &mut self.open else { return };
        match (form, delta) {
            (Form::Text, Delta::Text(text) | Delta::Refusal(text)) if !text.is_empty() => {
                self.write_delta(DeltaOut::TextDelta { text }, out);
            }
            (Form::Text, Delta::Citation(citation)) => {
                if let Some(citation) = citations::to_messages(citation) {
                    self.write_delta(DeltaOut::CitationsDelta { citation }, out);
                }
            }
            (Form::Call, Delta::Arguments(text)) if !text.is_empty() => {
                self.write_delta(DeltaOut::InputJsonDelta { partial_json: text }, out);
            }
            (Form::Thought { begun, .. }, Delta::Reasoning(text)) if !text.is_empty() => {
                if !std::mem::replace(begun, true) {
                    self.write_start(&json!({"type": "thinking", "thinking": "", "signature": ""}), out);
                }
                self.write_delta(DeltaOut::ThinkingDelta { thinking: text }, out);
            }
            (Form::Thought { state, .. }, Delta::State(said)) if said.family == Family::Messages => *state = Some(said.clone()),
            _ => {}
        }
    }

    fn block_stop(&mut self, block: u32, out: &mut Vec<u8>) {
        if self.open.as_ref().is_some_and(|o| o.block == block) {
            self.close(out);
            self.release(out);
        } else if let Some(held) = self.held.iter_mut().find(|h| h.block == block) {
            held.stopped = true;
        }
    }

    /// Writes the blocks that waited, up to one that is still being written.
    fn release(&mut self, out: &mut Vec<u8>) {
        while self.open.is_none()
            && let Some(held) = self.held.pop_front()
        {
            self.begin(held.block, &held.kind, out);
            held.deltas.iter().for_each(|delta| self.write(delta, out));
            if held.stopped {
                self.close(out);
            }
        }
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(Open { form, .. }) = self.open.take() else { return };
        match form {
            Form::Text | Form::Call => self.write_stop(out),
            Form::Silent => {}
            Form::Thought { begun, state } => {
                let (signature, encrypted) = state.map_or((None, None), |s| (s.signature, s.encrypted));
                match (begun, signature, encrypted) {
                    (false, None, None) => return,
                    (false, None, Some(data)) => self.write_start(&json!({"type": "redacted_thinking", "data": data}), out),
                    (_, signature, _) => {
                        if !begun {
                            self.write_start(&json!({"type": "thinking", "thinking": "", "signature": ""}), out);
                        }
                        if let Some(signature) = signature {
                            self.write_delta(DeltaOut::SignatureDelta { signature: &signature }, out);
                        }
                    }
                }
                self.write_stop(out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start("", "", out);
        while self.open.is_some() {
            self.close(out);
            self.release(out);
        }
        self.over = true;
        let (stop_reason, stop_sequence) = stop(self.reason.as_ref(), self.called, self.refused);
        let usage = match &self.usage {
            Some(usage) => Usage::from_ir(usage),
            None => Usage { input_tokens: Some(self.input_tokens), output_tokens: Some(0), ..Usage::default() },
        };
        let delta = json!({"stop_reason": stop_reason, "stop_sequence": stop_sequence});
        frame(out, "message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}));
        frame(out, "message_stop", &json!({"type": "message_stop"}));
    }

    fn fail(&mut self, message: &str, code: Option<&str>, out: &mut Vec<u8>) {
        self.over = true;
        self.held.clear();
        let error = json!({"type": kind_of_code(code), "message": message});
        frame(out, "error", &json!({"type": "error", "error": error}));
    }

    fn write_start(&self, block: &Value, out: &mut Vec<u8>) {
        frame(out, "content_block_start", &json!({"type": "content_block_start", "index": self.next, "content_block": block}));
    }

    fn write_delta(&self, delta: DeltaOut<'_>, out: &mut Vec<u8>) {
        frame(out, "content_block_delta", &DeltaFrame { kind: "content_block_delta", index: self.next, delta });
    }

    fn write_stop(&mut self, out: &mut Vec<u8>) {
        frame(out, "content_block_stop", &json!({"type": "content_block_stop", "index": self.next}));
        self.next += 1;
    }
}

/// The dialect's word for a code of ours, of its own or of another dialect.
fn kind_of_code(code: Option<&str>) -> &'static str {
    const OWN: [&str; 10] = [
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "timeout_error",
        "overloaded_error",
        "api_error",
    ];
    let code = code.unwrap_or_default();
    OWN.into_iter().find(|own| *own == code).unwrap_or_else(|| kind_of_status(error::status_of(code).unwrap_or(500)))
}

fn frame(out: &mut Vec<u8>, name: &str, data: &impl Serialize) {
    let began = out.len();
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    match serde_json::to_writer(&mut *out, data) {
        Ok(()) => out.extend_from_slice(b"\n\n"),
        // Cannot happen for these shapes; half a frame would spoil the ones after it.
        Err(_) => out.truncate(began),
    }
}
