//! Chunks of an answer → events: the state machine that whole answers and streams share.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Frame, partial::Arguments};
use crate::{
    citations,
    gemini::{
        decode,
        names::read_name,
        parts::{Call, Data, Part},
        types::{Answer, Candidate, UsageMetadata},
    },
    ir::{BlockKind, Citation, Delta, Event, Family, Finish, State, event::LogprobsBox},
    names::answer_call_id,
};

/// Most candidates of one answer.
const CANDIDATES_MAX: usize = 128;

/// An answer as far as it was read.
#[derive(Debug, Default)]
pub(in crate::gemini) struct Chunks {
    id: String,
    started: bool,
    candidates: BTreeMap<u32, Open>,
    usage: Option<UsageMetadata>,
    /// The prompt was refused.
    blocked: bool,
    over: bool,
}

/// One candidate.
#[derive(Debug, Default)]
struct Open {
    block: Option<(u32, Kind)>,
    next: u32,
    calls: u32,
    reason: Option<String>,
    /// The call whose arguments are still coming.
    partial: Option<Arguments>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Signed text takes no more: what follows is another part.
    SignedText,
    Reasoning,
    Call,
}

impl Chunks {
    pub(in crate::gemini) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn frame(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        match frame {
            Frame::End => self.end(out),
            Frame::Json(text) => match Frame::parse(&text) {
                Ok(value) => self.read(value, out),
                Err(message) => self.fail(message, None, out),
            },
        }
    }

    /// Reads one chunk, or a whole answer.
    pub(in crate::gemini) fn read(&mut self, value: Value, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
            let message = error["message"].as_str().or(error.as_str()).unwrap_or("the upstream reported an error").to_owned();
            let number = error["code"].as_u64().map(|n| n.to_string());
            let code = error["status"].as_str().or(error["code"].as_str()).map(str::to_owned).or(number);
            return self.fail(message, code, out);
        }
        let result = decode::answer(value).and_then(|answer| self.chunk(answer, out));
        if let Err(message) = result {
            self.fail(message, None, out);
        }
    }

    /// What is known of the counts is said before: it was paid for.
    fn fail(&mut self, message: String, code: Option<String>, out: &mut Vec<Event>) {
        self.over = true;
        out.extend(self.usage.take().map(|u| Event::Usage(u.buckets())));
        out.push(Event::Failed { message, code });
    }

    fn chunk(&mut self, answer: Answer, out: &mut Vec<Event>) -> Result<(), String> {
        if !self.started {
            self.started = true;
            self.id = answer.response_id.unwrap_or_default();
            out.push(Event::Start { id: self.id.clone(), model: answer.model_version.unwrap_or_default(), created: 0 });
        }
        if let Some(usage) = answer.usage_metadata {
            self.usage.get_or_insert_default().update(usage);
        }
        self.blocked |= answer.prompt_feedback.is_some_and(|f| f.block_reason.is_some());
        for candidate in answer.candidates.unwrap_or_default() {
            let index = candidate.index.unwrap_or(0);
            if self.candidates.len() >= CANDIDATES_MAX && !self.candidates.contains_key(&index) {
                return Err(format!("the upstream sent more than {CANDIDATES_MAX} candidates"));
            }
            self.candidates.entry(index).or_default().read(index, &self.id, candidate, out)?;
        }
        Ok(())
    }

    /// The bytes have ended, or the array.
    pub(in crate::gemini) fn end(&mut self, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let unfinished = self.candidates.values().any(|c| c.reason.is_none() || c.partial.is_some());
        if unfinished || (self.candidates.is_empty() && !self.blocked) {
            let message = "the upstream's stream ended before its answer was finished".to_owned();
            return self.fail(message, Some(Event::TRUNCATED.to_owned()), out);
        }
        self.over = true;
        if self.candidates.is_empty() {
            out.push(Event::Finish { choice: 0, reason: Finish::Filter });
        }
        for (index, mut candidate) in std::mem::take(&mut self.candidates) {
            candidate.close(index, out);
            out.push(Event::Finish { choice: index, reason: finish(candidate.reason, candidate.calls > 0) });
        }
        out.extend(self.usage.take().map(|u| Event::Usage(u.buckets())));
        out.push(Event::End);
    }
}

/// The reason in the inner language. Google says STOP for calls too; calls that were made beat what the upstream says.
fn finish(reason: Option<String>, called: bool) -> Finish {
    let reason = reason.unwrap_or_default();
    match reason.as_str() {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Finish::Filter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => Finish::MalformedCall,
        _ if called => Finish::ToolCall,
        "STOP" | "FINISH_REASON_UNSPECIFIED" | "" => Finish::Stop,
        _ => Finish::Other(reason),
    }
}

/// Most sources of one chunk.
const CITATIONS_MAX: usize = 4096;

/// The sources that a candidate names, each passage by itself.
fn citations_of(cited: Option<&Value>, grounding: Option<&Value>) -> Vec<Citation> {
    let list = |value: Option<&Value>, camel: &str, snake: &str| -> Vec<Value> {
        let list = value.and_then(|v| v.get(camel).or_else(|| v.get(snake)));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut out: Vec<Citation> = list(cited, "citationSources", "citation_sources").iter().map(citations::from_gemini).collect();
    let chunks = list(grounding, "groundingChunks", "grounding_chunks");
    let mut used = vec![false; chunks.len()];
    for support in list(grounding, "groundingSupports", "grounding_supports") {
        for at in list(Some(&support), "groundingChunkIndices", "grounding_chunk_indices") {
            let Some((at, chunk)) = at.as_u64().and_then(|at| Some((at as usize, chunks.get(at as usize)?))) else { continue };
            used[at] = true;
            out.push(citations::from_grounding(chunk, &support["segment"]));
        }
    }
    let unused = chunks.iter().zip(used).filter(|(_, used)| !used);
    out.extend(unused.map(|(chunk, _)| citations::from_grounding(chunk, &Value::Null)));
    out.truncate(CITATIONS_MAX);
    out
}

impl Open {
    fn read(&mut self, choice: u32, id: &str, candidate: Candidate, out: &mut Vec<Event>) -> Result<(), String> {
        for part in candidate.content.and_then(|c| c.parts).unwrap_or_default() {
            let part = Part::read(part, "part").map_err(|e| format!("the upstream sent a part of another shape: {}", e.message))?;
            self.part(choice, id, part, out)?;
        }
        if let Some(logprobs) = candidate.logprobs_result.as_ref().filter(|l| !l.chosen_candidates.is_empty()) {
            let block = match self.block {
                Some((block, Kind::Text | Kind::SignedText)) => block,
                _ => self.open(choice, Kind::Text, BlockKind::Text, out),
            };
            out.push(Event::Delta { choice, block, delta: Delta::Logprobs(LogprobsBox(Box::new(logprobs.to_chat()))) });
        }
        let cited = citations_of(candidate.citation_metadata.as_ref(), candidate.grounding_metadata.as_ref());
        for citation in cited {
            let block = self.open(choice, Kind::Text, BlockKind::Text, out);
            out.push(Event::Delta { choice, block, delta: Delta::Citation(Box::new(citation)) });
        }
        self.reason = candidate.finish_reason.filter(|r| !r.is_empty()).or(self.reason.take());
        Ok(())
    }

    fn part(&mut self, choice: u32, id: &str, part: Part, out: &mut Vec<Event>) -> Result<(), String> {
        let Part { data, signature, .. } = part;
        if self.partial.is_some() && !matches!(data, Data::Call(_)) {
            return Err("the upstream left a call unfinished".to_owned());
        }
        match data {
            Data::Text(text) => self.text(choice, text, signature, out),
            Data::Thought(text) => self.thought(choice, text, signature, out),
            Data::Call(call) => return self.call(choice, id, call, signature, out),
            Data::Opaque(value) => self.opaque(choice, value, out),
            Data::Media(media) => {
                let mut value = crate::gemini::encode::media(&media);
                if let Some(signature) = signature {
                    value["thoughtSignature"] = signature.into();
                }
                self.opaque(choice, value, out);
            }
            Data::Result { .. } => return Err("the upstream sent a function's result".to_owned()),
        }
        Ok(())
    }

    /// A signature becomes a block that holds only a state. It stands before the text that it signs, but behind it where that text goes on
    /// with a text before it, which is given out already: see [`crate::gemini`].
    fn text(&mut self, choice: u32, text: String, signature: Option<String>, out: &mut Vec<Event>) {
        let Some(signature) = signature else {
            if !text.is_empty() {
                let block = self.open(choice, Kind::Text, BlockKind::Text, out);
                out.push(Event::Delta { choice, block, delta: Delta::Text(text) });
            }
            return;
        };
        let is_behind = matches!(self.block, Some((_, Kind::Text | Kind::SignedText)));
        if is_behind && !text.is_empty() {
            let block = self.open(choice, Kind::Text, BlockKind::Text, out);
            out.push(Event::Delta { choice, block, delta: Delta::Text(text.clone()) });
        }
        self.close(choice, out);
        let block = self.open(choice, Kind::Reasoning, BlockKind::Reasoning, out);
        out.push(signed(choice, block, signature));
        self.close(choice, out);
        if !is_behind && !text.is_empty() {
            let block = self.open(choice, Kind::SignedText, BlockKind::Text, out);
            out.push(Event::Delta { choice, block, delta: Delta::Text(text) });
        }
    }

    fn thought(&mut self, choice: u32, text: String, signature: Option<String>, out: &mut Vec<Event>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let block = self.open(choice, Kind::Reasoning, BlockKind::Reasoning, out);
        if !text.is_empty() {
            out.push(Event::Delta { choice, block, delta: Delta::Reasoning(text) });
        }
        if let Some(signature) = signature {
            out.push(signed(choice, block, signature));
            self.close(choice, out);
        }
    }

    fn call(&mut self, choice: u32, id: &str, call: Call, signature: Option<String>, out: &mut Vec<Event>) -> Result<(), String> {
        let mut arguments = match (self.partial.take(), call.name) {
            (Some(arguments), None) => arguments,
            (Some(_), Some(_)) => return Err("the upstream left a call unfinished".to_owned()),
            (None, None) => return Err("the upstream sent a call without a name".to_owned()),
            (None, Some(name)) => {
                self.close(choice, out);
                let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| answer_call_id(id, self.calls));
                self.calls += 1;
                let kind = BlockKind::ToolCall { id, name: read_name(name) };
                self.open(choice, Kind::Call, kind, out);
                Arguments::default()
            }
        };
        let block = self.block.map_or(0, |(block, _)| block);
        out.extend(signature.map(|s| signed(choice, block, s)));
        if let Some(args) = call.args {
            arguments.set(args);
        }
        call.partial.into_iter().try_for_each(|piece| arguments.add(piece))?;
        if call.will_continue {
            self.partial = Some(arguments);
        } else {
            out.push(Event::Delta { choice, block, delta: Delta::Arguments(arguments.into_text()) });
            self.close(choice, out);
        }
        Ok(())
    }

    fn opaque(&mut self, choice: u32, value: Value, out: &mut Vec<Event>) {
        self.close(choice, out);
        let block = self.next;
        self.next += 1;
        out.push(Event::BlockStart { choice, block, kind: BlockKind::Opaque { family: Family::Gemini, value } });
        out.push(Event::BlockStop { choice, block });
    }

    fn open(&mut self, choice: u32, wanted: Kind, kind: BlockKind, out: &mut Vec<Event>) -> u32 {
        match self.block {
            Some((block, open)) if open == wanted => block,
            _ => {
                self.close(choice, out);
                let block = self.next;
                self.next += 1;
                self.block = Some((block, wanted));
                out.push(Event::BlockStart { choice, block, kind });
                block
            }
        }
    }

    fn close(&mut self, choice: u32, out: &mut Vec<Event>) {
        if let Some((block, _)) = self.block.take() {
            out.push(Event::BlockStop { choice, block });
        }
    }
}

fn signed(choice: u32, block: u32, signature: String) -> Event {
    let state = State { family: Family::Gemini, id: None, signature: Some(signature), encrypted: None };
    Event::Delta { choice, block, delta: Delta::State(state) }
}
