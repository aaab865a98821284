//! An upstream's stream → events.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::{
    decode::{arguments, finish, state},
    types::{Delta as FrameDelta, Frame, Usage},
};
use crate::{
    citations,
    ir::{BlockKind, Delta, Event, Family},
    names,
    sse::{EVENT_BYTES_MAX, SseEvent, SseReader, TooLong},
};

/// Reads an upstream's stream into events. Counts are given once, at the end, or before a failure as far as they are known.
#[derive(Debug, Default)]
pub struct Decoder {
    sse: SseReader,
    started: bool,
    open: Option<Open>,
    /// Number of the next block.
    next: u32,
    called: bool,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Option<Usage>,
    over: bool,
}

/// The block that is being written.
#[derive(Debug)]
struct Open {
    /// The upstream's index.
    index: u32,
    block: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Reasoning {
        signature: String,
    },
    Call {
        /// What the block began with; usually an empty object.
        input: Value,
        has_fragments: bool,
    },
    /// Given out whole when it stops.
    Opaque {
        value: Value,
        json: String,
    },
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the normal end or a failure was seen.
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
        sse.finish(|event| {
            // The beginning of a frame is no frame of another dialect: it was cut off.
            if serde_json::from_str::<IgnoredAny>(&event.data).is_ok() {
                self.event(&event, out);
            }
        });
        self.fail("the upstream's stream ended before its end mark", Some(Event::TRUNCATED), out);
    }

    fn event(&mut self, event: &SseEvent, out: &mut Vec<Event>) {
        // Some servers add chat's end mark; it says nothing here.
        if self.over || event.data.trim() == "[DONE]" {
            return;
        }
        let Ok(frame) = crate::json::read::<Frame>(&event.data) else {
            return self.fail("the upstream sent a frame that is not of its dialect", None, out);
        };
        match frame.kind.as_deref().or(event.name.as_deref()).unwrap_or_default() {
            "message_start" => self.start(frame, out),
            "content_block_start" => self.block_start(frame.index, frame.content_block.unwrap_or_default(), out),
            "content_block_delta" => self.delta(frame.index, frame.delta.unwrap_or_default(), &event.data, out),
            "content_block_stop" => {
                if self.open.as_ref().is_some_and(|o| o.index == frame.index) {
                    self.block_stop(out);
                }
            }
            "message_delta" => {
                let delta = frame.delta.unwrap_or_default();
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                self.stop_sequence = delta.stop_sequence.or(self.stop_sequence.take());
                self.count(frame.usage.as_ref());
            }
            "message_stop" => self.end(out),
            "error" => self.error(&frame.error.unwrap_or_default(), out),
            // Pings, and kinds that came after this was written.
            _ if frame.error.as_ref().is_none_or(Value::is_null) => {}
            _ => self.error(&frame.error.unwrap_or_default(), out),
        }
    }

    fn start(&mut self, frame: Frame, out: &mut Vec<Event>) {
        let head = frame.message.unwrap_or_default();
        self.count(head.usage.as_ref());
        if !self.started {
            self.started = true;
            out.push(Event::Start { id: head.id, model: head.model, created: 0 });
        }
    }

    fn count(&mut self, said: Option<&Usage>) {
        if let Some(said) = said {
            self.usage.get_or_insert_default().update(said);
        }
    }

    fn error(&mut self, error: &Value, out: &mut Vec<Event>) {
        let message = error["message"].as_str().or(error.as_str()).unwrap_or("the upstream reported an error");
        self.fail(message, error["type"].as_str(), out);
    }

    fn fail(&mut self, message: &str, code: Option<&str>, out: &mut Vec<Event>) {
        if !self.over {
            self.over = true;
            out.extend(self.usage.take().map(|u| Event::Usage(u.to_ir())));
            out.push(Event::Failed { message: message.to_owned(), code: code.map(str::to_owned) });
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        self.block_stop(out);
        if self.over {
            return;
        }
        self.over = true;
        let reason = finish(self.stop_reason.as_deref(), self.stop_sequence.take(), self.called);
        out.push(Event::Finish { choice: 0, reason });
        out.extend(self.usage.take().map(|u| Event::Usage(u.to_ir())));
        out.push(Event::End);
    }

    fn block_start(&mut self, index: u32, value: Value, out: &mut Vec<Event>) {
        // A server that forgets to stop a block has ended it all the same.
        self.block_stop(out);
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let (kind, block_kind, first) = match value["type"].as_str() {
            Some("text") => (Kind::Text, Some(BlockKind::Text), Some(Delta::Text(text("text")))),
            Some("thinking") => {
                (Kind::Reasoning { signature: text("signature") }, Some(BlockKind::Reasoning), Some(Delta::Reasoning(text("thinking"))))
            }
            Some("redacted_thinking") => {
                let state = state(None, value["data"].as_str()).map(Delta::State);
                (Kind::Reasoning { signature: String::new() }, Some(BlockKind::Reasoning), state)
            }
            Some("tool_use") => {
                self.called = true;
                let kind = BlockKind::ToolCall {
                    id: names::unescape(&text("id")).into_owned(),
                    name: names::unescape(&text("name")).into_owned(),
                };
                (Kind::Call { input: value["input"].clone(), has_fragments: false }, Some(kind), None)
            }
            _ => (Kind::Opaque { value, json: String::new() }, None, None),
        };
        let block = self.next;
        self.next += 1;
        self.open = Some(Open { index, block, kind });
        if let Some(kind) = block_kind {
            out.push(Event::BlockStart { choice: 0, block, kind });
        }
        if let Some(delta) = first.filter(says_something) {
            out.push(Event::Delta { choice: 0, block, delta });
        }
    }

    /// `data` is the whole frame, for what only an opaque block has.
    fn delta(&mut self, index: u32, delta: FrameDelta, data: &str, out: &mut Vec<Event>) {
        let Some(open) = self.open.as_mut().filter(|o| o.index == index) else {
            return self.fail("the upstream went on with a block that is not open", None, out);
        };
        let given = match (&mut open.kind, delta.kind.as_deref()) {
            (Kind::Text, Some("text_delta")) => delta.text.map(Delta::Text),
            (Kind::Text, Some("citations_delta")) => delta.citation.map(|own| Delta::Citation(Box::new(citations::from_messages(&own)))),
            (Kind::Reasoning { .. }, Some("thinking_delta")) => delta.thinking.map(Delta::Reasoning),
            (Kind::Reasoning { signature }, Some("signature_delta")) => {
                signature.push_str(delta.signature.as_deref().unwrap_or_default());
                if signature.len() > EVENT_BYTES_MAX {
                    return self.fail("the upstream's signature is too long", None, out);
                }
                None
            }
            (Kind::Call { has_fragments, .. }, Some("input_json_delta")) => {
                let fragment = delta.partial_json.filter(|t| !t.is_empty());
                *has_fragments |= fragment.is_some();
                fragment.map(Delta::Arguments)
            }
            (Kind::Opaque { value, json }, _) => {
                if add_opaque(value, json, data).is_none() {
                    return self.fail("the upstream's block is too long", None, out);
                }
                None
            }
            (_, Some("text_delta" | "thinking_delta" | "input_json_delta")) => {
                return self.fail("the upstream sent a delta of another kind than its block", None, out);
            }
            // Kinds that came after this was written: nothing in the inner language says them.
            _ => None,
        };
        let block = open.block;
        if let Some(delta) = given.filter(says_something) {
            out.push(Event::Delta { choice: 0, block, delta });
        }
    }

    fn block_stop(&mut self, out: &mut Vec<Event>) {
        let Some(Open { block, kind, .. }) = self.open.take() else { return };
        let last = match kind {
            Kind::Text => None,
            Kind::Reasoning { signature } => state(Some(&signature), None).map(Delta::State),
            Kind::Call { input, has_fragments } => (!has_fragments).then(|| Delta::Arguments(arguments(&input))),
            Kind::Opaque { mut value, json } => {
                if let Ok(input) = crate::json::read::<Value>(&json)
                    && let Value::Object(members) = &mut value
                {
                    members.insert("input".to_owned(), input);
                }
                out.push(Event::BlockStart { choice: 0, block, kind: BlockKind::Opaque { family: Family::Messages, value } });
                None
            }
        };
        out.extend(last.map(|delta| Event::Delta { choice: 0, block, delta }));
        out.push(Event::BlockStop { choice: 0, block });
    }
}

fn says_something(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) | Delta::Arguments(text) => !text.is_empty(),
        Delta::State(_) | Delta::Logprobs(_) | Delta::Citation(_) => true,
    }
}

/// Most members of a block that is carried whole.
const OPAQUE_MEMBERS_MAX: usize = 256;

/// Puts a delta into a block that is carried whole: JSON fragments apart, texts behind what is there, other members in its place.
/// `None` if the block grows beyond [`EVENT_BYTES_MAX`].
fn add_opaque(value: &mut Value, json: &mut String, data: &str) -> Option<()> {
    let mut frame: Value = crate::json::read(data).ok()?;
    let (Value::Object(delta), Value::Object(members)) = (frame["delta"].take(), value) else { return Some(()) };
    for (key, given) in delta {
        match (key.as_str(), members.get_mut(&key), given) {
            ("type", ..) => {}
            ("partial_json", _, Value::String(text)) => {
                json.push_str(&text);
                (json.len() <= EVENT_BYTES_MAX).then_some(())?;
            }
            (_, Some(Value::String(said)), Value::String(text)) => {
                said.push_str(&text);
                (said.len() <= EVENT_BYTES_MAX).then_some(())?;
            }
            (_, _, given) => {
                members.insert(key, given);
                (members.len() <= OPAQUE_MEMBERS_MAX).then_some(())?;
            }
        }
    }
    Some(())
}
