//! Responses' stream, both ways, as pure state machines.

use serde_json::{Map, Value};

pub use super::output::Encoder;
use super::{
    decode,
    lanes::Overfull,
    stream_items::{Items, Part, Shown},
    types::usage_of,
};
use crate::{
    ir::Event,
    sse::{SseEvent, SseReader, TooLong},
};

/// Reads an upstream's Responses stream into events (API reference, "Streaming events").
#[derive(Debug, Default)]
pub struct Decoder {
    sse: SseReader,
    has_started: bool,
    items: Items,
    is_over: bool,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the stream has ended, well or not.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Reads more bytes.
    ///
    /// # Errors
    /// [`TooLong`]: an event beyond all bounds.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLong> {
        let mut sse = std::mem::take(&mut self.sse);
        let result = sse.feed(bytes, |event| self.frame(&event, out));
        self.sse = sse;
        result
    }

    /// The bytes have ended; a stream that had no last event gives [`Event::Failed`].
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        let mut sse = std::mem::take(&mut self.sse);
        sse.finish(|event| {
            // The beginning of a frame is no frame of another dialect: it was cut off.
            if serde_json::from_str::<serde::de::IgnoredAny>(&event.data).is_ok() {
                self.frame(&event, out);
            }
        });
        if !self.is_over {
            let message = "the upstream's stream ended before its last event".to_owned();
            self.fail(message, Some(Event::TRUNCATED.to_owned()), out);
        }
    }

    fn fail(&mut self, message: String, code: Option<String>, out: &mut Vec<Event>) {
        self.is_over = true;
        out.push(Event::Failed { message, code });
    }

    fn frame(&mut self, frame: &SseEvent, out: &mut Vec<Event>) {
        // Some servers close with chat's mark; it says nothing that the last event does not.
        if self.is_over || frame.data.trim() == "[DONE]" {
            return;
        }
        let Ok(Value::Object(event)) = crate::json::read(&frame.data) else {
            return self.fail("the upstream sent a frame that is no JSON object".to_owned(), None, out);
        };
        let kind = event.get("type").and_then(Value::as_str).or(frame.name.as_deref()).unwrap_or_default().to_owned();
        let read = match kind.as_str() {
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" | "response.done" => {
                self.last(&kind, &event, out)
            }
            "error" => {
                let (message, code) = decode::said(event.get("error").filter(|e| !e.is_null()).unwrap_or(&Value::Object(event.clone())));
                self.fail(message, code, out);
                Ok(())
            }
            "" if event.get("error").is_some_and(|e| !e.is_null()) => {
                let (message, code) = decode::said(&event["error"]);
                self.fail(message, code, out);
                Ok(())
            }
            _ => self.step(&kind, &event, out),
        };
        if read.is_err() {
            self.fail("the upstream's stream has more open or more items than can be held".to_owned(), None, out);
        }
    }

    fn start(&mut self, event: &Map<String, Value>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.has_started, true) {
            let empty = Map::new();
            out.push(decode::start(event.get("response").and_then(Value::as_object).unwrap_or(&empty)));
        }
    }

    fn last(&mut self, kind: &str, event: &Map<String, Value>, out: &mut Vec<Event>) -> Result<(), Overfull> {
        self.start(event, out);
        let empty = Map::new();
        let response = event.get("response").and_then(Value::as_object).unwrap_or(&empty);
        if matches!(kind, "response.failed" | "response.cancelled") || decode::failed(response).is_some() {
            let failed = decode::failed(response)
                .unwrap_or_else(|| Event::Failed { message: "the upstream reported that the response failed".to_owned(), code: None });
            self.is_over = true;
            out.extend(usage_of(response).map(Event::Usage));
            out.push(failed);
            return Ok(());
        }
        if let Some(output) = response.get("output").and_then(Value::as_array) {
            self.items.all(output, out)?;
        }
        self.is_over = true;
        if kind == "response.incomplete" && response.get("status").is_none() {
            let mut said = response.clone();
            said.insert("status".to_owned(), "incomplete".into());
            self.items.end(&said, out);
        } else {
            self.items.end(response, out);
        }
        Ok(())
    }

    /// An event before the last one. Those not named here add nothing that the inner language has a place for, or come again with
    /// their whole item.
    fn step(&mut self, kind: &str, event: &Map<String, Value>, out: &mut Vec<Event>) -> Result<(), Overfull> {
        let null = Value::Null;
        let member = |name: &str| event.get(name).unwrap_or(&null);
        let number = |name: &str| member(name).as_u64();
        let text = |name: &str| member(name).as_str().unwrap_or_default();
        let (index, id) = (number("output_index"), text("item_id"));
        let part = number("content_index").unwrap_or(0);
        if kind.starts_with("response.") {
            self.start(event, out);
        }
        match kind {
            "response.output_item.added" => self.items.added(index, member("item"), out),
            "response.output_item.done" => self.items.whole(index, member("item"), out),
            "response.output_text.delta" => {
                self.items.delta(index, id, Part::Text(part), text("delta"), out)?;
                self.items.logprobs(index, id, Part::Text(part), member("logprobs"), out)
            }
            "response.output_text.done" => self.items.text_done(index, id, Part::Text(part), text("text"), out),
            "response.output_text.annotation.added" => self.items.citation(index, id, Part::Text(part), member("annotation"), out),
            "response.refusal.delta" => self.items.delta(index, id, Part::Refusal(part), text("delta"), out),
            "response.refusal.done" => self.items.text_done(index, id, Part::Refusal(part), text("refusal"), out),
            "response.content_part.done" => self.items.part_done(index, id, part, member("part"), out),
            "response.function_call_arguments.delta" => self.items.delta(index, id, Part::Call, text("delta"), out),
            "response.function_call_arguments.done" => self.items.text_done(index, id, Part::Call, text("arguments"), out),
            "response.reasoning_summary_text.delta" => {
                self.items.thought(index, id, Shown::Summary, number("summary_index").unwrap_or(0), text("delta"), out)
            }
            "response.reasoning_text.delta" => self.items.thought(index, id, Shown::Content, part, text("delta"), out),
            _ => Ok(()),
        }
    }
}
