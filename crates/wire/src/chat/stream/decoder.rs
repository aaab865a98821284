//! An upstream's chat stream → events.

use std::{collections::BTreeMap, sync::LazyLock};

use memchr::memmem::Finder;
use serde_json::{Map, Value, json};

use super::{
    super::{
        decode,
        details::{self, Details},
        parts::Parts,
        types::{ChatChunk, ChunkChoice, Delta as ChunkDelta},
    },
    calls::Calls,
};
use crate::{
    citations,
    ir::{BlockKind, Delta, Event, Family, Finish, Usage, event::LogprobsBox},
    sse::{EVENT_BYTES_MAX, SseEvent, SseReader, TooLong},
};

/// Most choices of one answer.
const CHOICES_MAX: usize = 128;

/// Types of errors that do not say what went wrong.
const GENERIC: [&str; 5] = ["server_error", "api_error", "internal_error", "upstream_error", "error"];

/// Members for which a chunk is looked through.
static RARE: LazyLock<[Finder<'static>; 8]> = LazyLock::new(|| {
    let members = ["error", "annotations", "audio", "images", "custom", "extra_content", "reasoning_details", "function_call"];
    members.map(|member| Finder::new(&format!("\"{member}\"")).into_owned())
});

/// Reads an upstream's chat stream into events.
#[derive(Debug, Default)]
pub struct Decoder {
    sse: SseReader,
    started: bool,
    id: String,
    choices: BTreeMap<u32, OpenChoice>,
    usage: Option<Usage>,
    over: bool,
    /// Choices that were asked for.
    expected: usize,
}

#[derive(Debug, Default)]
struct OpenChoice {
    open: Option<(u32, Open)>,
    next: u32,
    calls: Calls,
    refused: bool,
    reason: Option<String>,
    /// Not given out yet.
    details: Details,
    /// Sound so far; given out whole.
    audio: Map<String, Value>,
    audio_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Reasoning,
    Refusal,
}

/// Members of a chunk's choice that are seldom there.
#[derive(Debug, Default)]
struct Rare {
    annotations: Vec<Value>,
    details: Vec<Value>,
    audio: Option<Map<String, Value>>,
    /// Pictures, and parts of `content` that only chat has: given out whole.
    own: Vec<Value>,
    /// `tool_calls` as they came.
    calls: Value,
}

impl Rare {
    fn of(chunk: &mut Value) -> Vec<Self> {
        let choices = chunk.get_mut("choices").and_then(Value::as_array_mut);
        choices.into_iter().flatten().map(|choice| choice.get_mut("delta").map(Self::of_delta).unwrap_or_default()).collect()
    }

    fn of_delta(delta: &mut Value) -> Self {
        let Value::Object(delta) = delta else { return Self::default() };
        let is_rare = |call: &Value| call.get("custom").is_some() || call.get("extra_content").is_some();
        let calls = delta.get("tool_calls").filter(|all| all.as_array().is_some_and(|all| all.iter().any(is_rare)));
        let calls = calls.cloned().unwrap_or_default();
        // The one call of old, which has no id.
        if let Some(function @ Value::Object(_)) = delta.shift_remove("function_call") {
            delta.insert("tool_calls".to_owned(), json!([{ "index": 0, "function": function }]));
        }
        let mut list = |name: &str| match delta.get_mut(name).map(Value::take) {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let (annotations, details) = (list("annotations"), list("reasoning_details"));
        let audio = match delta.get_mut("audio").map(Value::take) {
            Some(Value::Object(audio)) => Some(audio),
            _ => None,
        };
        let mut own = Vec::new();
        if let Some(images) = delta.shift_remove("images").filter(|all| all.as_array().is_some_and(|all| !all.is_empty())) {
            own.push(json!({ "images": images }));
        }
        if let Some(Value::Array(parts)) = delta.get("content") {
            let parts = Parts::of(parts);
            own.extend(parts.own());
            delta.insert("content".to_owned(), parts.text.into());
            if !parts.thought.is_empty() {
                delta.insert("reasoning_content".to_owned(), parts.thought.into());
            }
        }
        Self { annotations, details, audio, own, calls }
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many choices were asked for: without its end mark a stream is whole only where all of them say why they end.
    #[must_use]
    pub fn expecting(mut self, choices: u32) -> Self {
        self.expected = choices as usize;
        self
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
        let mut is_cut = false;
        sse.finish(|event| {
            // The beginning of a frame is no frame of another shape: it was cut off.
            is_cut = event.data.trim() != "[DONE]" && serde_json::from_str::<serde::de::IgnoredAny>(&event.data).is_err();
            if !is_cut {
                self.event(&event, out);
            }
        });
        // Some servers leave the mark out behind the reasons why the choices end.
        let is_said = self.choices.len() >= self.expected.max(1) && self.choices.values().all(|choice| choice.reason.is_some());
        if !self.over && !is_cut && is_said {
            self.end(out);
        }
        if !self.over {
            self.fail("the upstream's stream ended before its end mark".to_owned(), Some(Event::TRUNCATED.to_owned()), out);
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
        // Most chunks hold nothing that has to be looked for.
        let has_rare = RARE.iter().any(|word| word.find(event.data.as_bytes()).is_some());
        if !has_rare && let Ok(chunk) = serde_json::from_str::<ChatChunk>(&event.data) {
            return self.chunk(chunk, Vec::new(), out);
        }
        let Ok(mut value) = crate::json::read::<Value>(&event.data) else {
            return self.fail("the upstream sent a frame that is not JSON".to_owned(), None, out);
        };
        // vLLM's own shape has the error's members at the top.
        let is_error = value["object"] == "error";
        if let Some(error) = value.get("error").filter(|e| !e.is_null()).or(Some(&value).filter(|_| is_error)) {
            let message = error["message"].as_str().or(error.as_str()).unwrap_or("the upstream reported an error").to_owned();
            let number = error["code"].as_u64().filter(|n| (400..600).contains(n)).map(|n| n.to_string());
            // A status says more than that it was the server.
            let kind = error["type"].as_str().filter(|kind| number.is_none() || !GENERIC.contains(kind));
            let code = error["code"].as_str().or(kind).map(str::to_owned).or(number);
            self.fail(message, code, out);
            return;
        }
        let rare = Rare::of(&mut value);
        match serde_json::from_value::<ChatChunk>(value) {
            Ok(chunk) => self.chunk(chunk, rare, out),
            Err(e) => self.fail(format!("the upstream sent a frame of another shape: {e}"), Some(Event::UNREADABLE.to_owned()), out),
        }
    }

    /// What is known of the counts is said before.
    fn fail(&mut self, message: String, code: Option<String>, out: &mut Vec<Event>) {
        self.over = true;
        out.extend(self.usage.take().map(Event::Usage));
        out.push(Event::Failed { message, code });
    }

    fn chunk(&mut self, chunk: ChatChunk, rare: Vec<Rare>, out: &mut Vec<Event>) {
        // Azure's first chunk says what its filter thinks of the prompt, and neither the id nor the model.
        let is_nameless = chunk.id.is_empty() && chunk.model.is_empty() && chunk.choices.is_empty();
        if !self.started && !is_nameless {
            self.started = true;
            self.id.clone_from(&chunk.id);
            out.push(Event::Start { id: chunk.id, model: chunk.model, created: chunk.created });
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(Usage::from_chat(&usage));
        }
        for (choice, rare) in chunk.choices.into_iter().zip(rare.into_iter().chain(std::iter::repeat_with(Rare::default))) {
            if self.choices.len() >= CHOICES_MAX && !self.choices.contains_key(&choice.index) {
                return self.fail(format!("the upstream sent more than {CHOICES_MAX} choices"), None, out);
            }
            let open = self.choices.entry(choice.index);
            let open = open.or_insert_with(|| OpenChoice { calls: Calls::of(&self.id), ..OpenChoice::default() });
            if let Err(message) = open.read(choice, rare, out) {
                return self.fail(message.to_owned(), None, out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        self.over = true;
        if self.choices.is_empty() {
            // An answer of nothing is still an answer, which other dialects' clients read to its end.
            out.push(Event::Finish { choice: 0, reason: Finish::Stop });
        }
        for (index, mut choice) in std::mem::take(&mut self.choices) {
            choice.close(index, out);
            choice.calls.end(index, &mut choice.next, out);
            if !choice.details.is_empty() {
                choice.open(index, Open::Reasoning, BlockKind::Reasoning, out);
                choice.close(index, out);
            }
            if !choice.audio.is_empty() {
                let audio = std::mem::take(&mut choice.audio);
                choice.whole(index, json!({ "audio": audio }), out);
            }
            let reason = decode::finish(choice.reason.as_deref(), choice.calls.has_called(), choice.refused);
            out.push(Event::Finish { choice: index, reason });
        }
        out.extend(self.usage.take().map(Event::Usage));
        out.push(Event::End);
    }
}

impl OpenChoice {
    /// The error is a message for the caller.
    fn read(&mut self, said: ChunkChoice, rare: Rare, out: &mut Vec<Event>) -> Result<(), &'static str> {
        let ChunkChoice { index: choice, mut delta, finish_reason, logprobs } = said;
        if !rare.details.is_empty() {
            if delta.reasoning_content.is_none() && delta.reasoning.is_none() {
                delta.reasoning = Some(details::words(&rare.details));
            }
            self.details.add(rare.details)?;
            if matches!(self.open, None | Some((_, Open::Reasoning))) {
                self.open(choice, Open::Reasoning, BlockKind::Reasoning, out);
            }
        }
        self.texts(choice, &mut delta, out);
        for value in rare.own {
            self.whole(choice, value, out);
        }
        for own in rare.annotations {
            let block = self.open_text(choice, out);
            out.push(Event::Delta { choice, block, delta: Delta::Citation(Box::new(citations::from_chat(&own))) });
        }
        if let Some(audio) = rare.audio {
            self.sound(audio)?;
        }
        if let Some(logprobs) = logprobs.filter(|l| l.content.is_some() || l.refusal.is_some()) {
            let block = match self.open {
                Some((block, Open::Refusal)) => block,
                _ => self.open_text(choice, out),
            };
            out.push(Event::Delta { choice, block, delta: Delta::Logprobs(LogprobsBox(Box::new(logprobs))) });
        }
        for (at, call) in delta.tool_calls.unwrap_or_default().into_iter().enumerate() {
            self.close(choice, out);
            self.calls.piece(choice, call, &rare.calls[at], &mut self.next, out)?;
        }
        self.reason = finish_reason.filter(|reason| !reason.is_empty()).or(self.reason.take());
        Ok(())
    }

    fn texts(&mut self, choice: u32, delta: &mut ChunkDelta, out: &mut Vec<Event>) {
        let reasoning = delta.reasoning_content.take().or(delta.reasoning.take());
        for (text, open, kind, wrap) in [
            (reasoning, Open::Reasoning, BlockKind::Reasoning, Delta::Reasoning as fn(String) -> Delta),
            (delta.content.take(), Open::Text, BlockKind::Text, Delta::Text),
            (delta.refusal.take(), Open::Refusal, BlockKind::Refusal, Delta::Refusal),
        ] {
            if let Some(text) = text.filter(|t| !t.is_empty()) {
                self.refused |= open == Open::Refusal;
                let block = self.open(choice, open, kind, out);
                out.push(Event::Delta { choice, block, delta: wrap(text) });
            }
        }
    }

    fn open_text(&mut self, choice: u32, out: &mut Vec<Event>) -> u32 {
        self.open(choice, Open::Text, BlockKind::Text, out)
    }

    /// Data and transcript come in pieces.
    fn sound(&mut self, audio: Map<String, Value>) -> Result<(), &'static str> {
        for (key, value) in audio {
            self.audio_bytes += key.len() + value.as_str().map_or(8, str::len);
            match (self.audio.get_mut(&key), value) {
                (Some(Value::String(said)), Value::String(more)) if key == "data" || key == "transcript" => said.push_str(&more),
                (_, value) => {
                    self.audio.insert(key, value);
                }
            }
        }
        if self.audio_bytes > EVENT_BYTES_MAX { Err("the upstream's sound is too long") } else { Ok(()) }
    }

    /// A block that only chat understands.
    fn whole(&mut self, choice: u32, value: Value, out: &mut Vec<Event>) {
        self.close(choice, out);
        self.calls.pause(choice, &mut self.next, out);
        let block = self.next;
        self.next += 1;
        out.push(Event::BlockStart { choice, block, kind: BlockKind::Opaque { family: Family::Chat, value } });
        out.push(Event::BlockStop { choice, block });
    }

    fn open(&mut self, choice: u32, wanted: Open, kind: BlockKind, out: &mut Vec<Event>) -> u32 {
        match self.open {
            Some((block, open)) if open == wanted => block,
            _ => {
                self.close(choice, out);
                self.calls.pause(choice, &mut self.next, out);
                let block = self.next;
                self.next += 1;
                self.open = Some((block, wanted));
                out.push(Event::BlockStart { choice, block, kind });
                block
            }
        }
    }

    fn close(&mut self, choice: u32, out: &mut Vec<Event>) {
        let Some((block, open)) = self.open.take() else { return };
        if open == Open::Reasoning {
            out.extend(self.details.state().map(|state| Event::Delta { choice, block, delta: Delta::State(state) }));
        }
        out.push(Event::BlockStop { choice, block });
    }
}
