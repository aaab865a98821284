//! Events → parts of an answer, piece by piece for a stream or block by block for a whole.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::contents::args;
use crate::{
    citations,
    gemini::types::{Answer, Candidate, Content, LogprobsResult, TopTokens, UsageMetadata},
    ir::{BlockKind, Citation, Delta, Event, Family, Finish, Usage},
};

/// What one event adds to a candidate.
#[derive(Debug)]
pub(in crate::gemini) struct Piece {
    choice: u32,
    part: Option<Value>,
    logprobs: Option<LogprobsResult>,
}

/// An answer as far as its events came.
#[derive(Debug, Default)]
pub(in crate::gemini) struct Assembler {
    /// Parts are given out when their blocks stop, not as they come.
    whole: bool,
    id: String,
    model: String,
    usage: Option<Usage>,
    choices: BTreeMap<u32, Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    open: Option<Open>,
    /// A signature whose part comes next.
    signature: Option<String>,
    /// The block before was a text.
    is_after_text: bool,
    refused: bool,
    finish: Option<Finish>,
    citations: Vec<Citation>,
}

/// The block that is open: texts hold what was not given out yet.
#[derive(Debug)]
enum Open {
    Text { text: String },
    Thought { text: String, said: bool, signature: Option<String> },
    Call { id: String, name: String, arguments: String, signature: Option<String> },
    Opaque,
}

impl Assembler {
    /// For a whole answer.
    pub(super) fn whole() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Takes an event; what it adds goes to `out`.
    pub(in crate::gemini) fn event(&mut self, event: &Event, out: &mut Vec<Piece>) {
        match event {
            Event::Start { id, model, .. } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            Event::BlockStart { choice, kind, .. } => self.start(*choice, kind, out),
            Event::Delta { choice, delta, .. } => self.delta(*choice, delta, out),
            Event::BlockStop { choice, .. } => self.choices.entry(*choice).or_default().stop(*choice, out),
            Event::Finish { choice, reason } => {
                let state = self.choices.entry(*choice).or_default();
                state.stop(*choice, out);
                state.flush_signature(*choice, out);
                state.finish = Some(reason.clone());
            }
            Event::Usage(usage) => self.usage = Some(merged(self.usage, *usage)),
            Event::End | Event::Failed { .. } => {}
        }
    }

    fn start(&mut self, choice: u32, kind: &BlockKind, out: &mut Vec<Piece>) {
        let state = self.choices.entry(choice).or_default();
        state.stop(choice, out);
        state.open = Some(match kind {
            BlockKind::Text => Open::Text { text: String::new() },
            BlockKind::Refusal => {
                state.refused = true;
                Open::Text { text: String::new() }
            }
            BlockKind::Reasoning => Open::Thought { text: String::new(), said: false, signature: None },
            BlockKind::ToolCall { id, name } => {
                state.flush_signature(choice, out);
                Open::Call { id: id.clone(), name: name.clone(), arguments: String::new(), signature: None }
            }
            BlockKind::Opaque { family: Family::Gemini, value } => {
                state.flush_signature(choice, out);
                out.push(part(choice, value.clone()));
                Open::Opaque
            }
            // Another family's own; it means nothing here.
            BlockKind::Opaque { .. } => Open::Opaque,
        });
    }

    fn delta(&mut self, choice: u32, delta: &Delta, out: &mut Vec<Piece>) {
        let state = self.choices.entry(choice).or_default();
        match (&mut state.open, delta) {
            (Some(Open::Text { text }), Delta::Text(more) | Delta::Refusal(more))
            | (Some(Open::Thought { text, .. }), Delta::Reasoning(more)) => {
                text.push_str(more);
                if !self.whole {
                    state.say(choice, out);
                }
            }
            (Some(Open::Call { arguments, .. }), Delta::Arguments(more)) => arguments.push_str(more),
            (Some(Open::Thought { signature, .. } | Open::Call { signature, .. }), Delta::State(given))
                if given.family == Family::Gemini =>
            {
                signature.clone_from(&given.signature);
            }
            (_, Delta::Logprobs(logprobs)) => {
                out.push(Piece { choice, part: None, logprobs: Some(LogprobsResult::of(&logprobs.0)) });
            }
            (_, Delta::Citation(citation)) => state.citations.push((**citation).clone()),
            _ => {}
        }
    }

    /// A chunk that holds one piece.
    pub(in crate::gemini) fn chunk(&self, piece: Piece) -> Answer {
        let Piece { choice, part, logprobs } = piece;
        let candidate = Candidate { logprobs_result: logprobs, ..candidate(choice, part.into_iter().collect()) };
        self.with(vec![candidate])
    }

    /// The chunk that says why each candidate ended, and the usage; `None` if neither is known.
    pub(in crate::gemini) fn last_chunk(&self) -> Option<Answer> {
        let ended = |(index, choice): (&u32, &Choice)| {
            let reason = choice.finish.as_ref().map(|f| finish(f, choice.refused).to_owned())?;
            Some(Candidate { finish_reason: Some(reason), ..choice.cited(candidate(*index, Vec::new())) })
        };
        let candidates: Vec<Candidate> = self.choices.iter().filter_map(ended).collect();
        (!candidates.is_empty() || self.usage.is_some()).then(|| self.with(candidates))
    }

    /// The whole answer.
    pub(super) fn answer(self, pieces: Vec<Piece>) -> Answer {
        let mut parts: BTreeMap<u32, (Vec<Value>, Option<LogprobsResult>)> =
            self.choices.keys().map(|index| (*index, Default::default())).collect();
        for Piece { choice, part, logprobs } in pieces {
            let (all, probabilities) = parts.entry(choice).or_default();
            all.extend(part);
            match (probabilities, logprobs) {
                (Some(ours), Some(more)) => {
                    // Both lists go by place.
                    if !more.top_candidates.is_empty() {
                        ours.top_candidates.resize_with(ours.chosen_candidates.len(), TopTokens::default);
                    }
                    ours.chosen_candidates.extend(more.chosen_candidates);
                    ours.top_candidates.extend(more.top_candidates);
                }
                (none, more) => *none = none.take().or(more),
            }
        }
        let candidates = parts.into_iter().map(|(index, (parts, logprobs_result))| {
            let choice = self.choices.get(&index);
            let finish_reason = choice.and_then(|c| c.finish.as_ref().map(|f| finish(f, c.refused).to_owned()));
            let candidate = candidate(index, parts);
            let cited = choice.map_or_else(|| candidate.clone(), |c| c.cited(candidate.clone()));
            Candidate { finish_reason, logprobs_result, ..cited }
        });
        self.with(candidates.collect())
    }

    fn with(&self, candidates: Vec<Candidate>) -> Answer {
        let said = |text: &String| (!text.is_empty()).then(|| text.clone());
        Answer {
            candidates: (!candidates.is_empty()).then_some(candidates),
            prompt_feedback: None,
            usage_metadata: self.usage.as_ref().map(UsageMetadata::of),
            model_version: said(&self.model),
            response_id: said(&self.id),
        }
    }
}

impl Choice {
    /// The candidate with its sources.
    fn cited(&self, candidate: Candidate) -> Candidate {
        let is_grounding = |c: &&Citation| c.family == Family::Gemini && c.own.get("chunk").is_some();
        let sources: Vec<Value> = self.citations.iter().filter(|c| !is_grounding(c)).filter_map(citations::to_gemini).collect();
        let citation_metadata = (!sources.is_empty()).then(|| json!({ "citationSources": sources }));
        Candidate { citation_metadata, grounding_metadata: citations::to_grounding(&self.citations), ..candidate }
    }

    /// Gives out what the open block holds.
    fn say(&mut self, choice: u32, out: &mut Vec<Piece>) {
        match &mut self.open {
            Some(Open::Text { text }) if !text.is_empty() => {
                let mut value = json!({"text": std::mem::take(text)});
                if let Some(signature) = self.signature.take() {
                    value["thoughtSignature"] = signature.into();
                }
                out.push(part(choice, value));
            }
            Some(Open::Thought { text, said, .. }) if !text.is_empty() => {
                *said = true;
                let value = json!({"text": std::mem::take(text), "thought": true});
                self.flush_signature(choice, out);
                out.push(part(choice, value));
            }
            _ => {}
        }
    }

    /// The open block stops.
    fn stop(&mut self, choice: u32, out: &mut Vec<Piece>) {
        if let Some(Open::Text { .. }) = &self.open {
            self.say(choice, out);
        }
        let was_after_text = self.is_after_text;
        if let Some(open) = &self.open {
            self.is_after_text = matches!(open, Open::Text { .. });
        }
        match self.open.take() {
            Some(Open::Thought { text, said: false, signature: Some(signature) }) if text.is_empty() && was_after_text => {
                // The text has been given out: its signature stands on an empty one behind it, as Google's own streams have it.
                self.flush_signature(choice, out);
                out.push(part(choice, json!({"text": "", "thoughtSignature": signature})));
            }
            Some(Open::Thought { text, said, signature }) => self.stop_thought(choice, text, said, signature, out),
            Some(Open::Call { id, name, arguments, signature }) => {
                let mut call = json!({"name": name, "args": args(&arguments).0});
                if !id.is_empty() {
                    call["id"] = id.into();
                }
                let mut value = json!({"functionCall": call});
                if let Some(signature) = signature {
                    value["thoughtSignature"] = signature.into();
                }
                out.push(part(choice, value));
            }
            _ => {}
        }
    }

    /// A state without a thought belongs to the text that follows.
    fn stop_thought(&mut self, choice: u32, text: String, said: bool, signature: Option<String>, out: &mut Vec<Piece>) {
        if text.is_empty() && !said {
            if signature.is_some() {
                self.flush_signature(choice, out);
                self.signature = signature;
            }
            return;
        }
        if text.is_empty() && signature.is_none() {
            return;
        }
        self.flush_signature(choice, out);
        let mut value = json!({"text": text, "thought": true});
        if let Some(signature) = signature {
            value["thoughtSignature"] = signature.into();
        }
        out.push(part(choice, value));
    }

    fn flush_signature(&mut self, choice: u32, out: &mut Vec<Piece>) {
        if let Some(signature) = self.signature.take() {
            out.push(part(choice, json!({"text": "", "thoughtSignature": signature})));
        }
    }
}

fn part(choice: u32, value: Value) -> Piece {
    Piece { choice, part: Some(value), logprobs: None }
}

/// Google's own last piece says an empty text; its SDKs take one without parts for invalid, and forget the turn that it belongs to.
fn candidate(index: u32, mut parts: Vec<Value>) -> Candidate {
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    let content = Content { parts: Some(parts), role: Some("model".to_owned()) };
    Candidate { content: Some(content), index: Some(index), ..Candidate::default() }
}

/// What is said later wins; what it leaves out stays.
fn merged(before: Option<Usage>, later: Usage) -> Usage {
    let before = before.unwrap_or_default();
    Usage {
        in_fresh: later.in_fresh.or(before.in_fresh),
        in_cache_read: later.in_cache_read.or(before.in_cache_read),
        in_cache_write: later.in_cache_write.or(before.in_cache_write),
        in_cache_write_1h: later.in_cache_write_1h.or(before.in_cache_write_1h),
        out_text: later.out_text.or(before.out_text),
        out_reasoning: later.out_reasoning.or(before.out_reasoning),
        in_audio: later.in_audio.or(before.in_audio),
        in_image: later.in_image.or(before.in_image),
        out_audio: later.out_audio.or(before.out_audio),
        server_tools: later.server_tools.or(before.server_tools),
    }
}

/// Whether a word may be one of Gemini's reasons.
pub(crate) fn is_reason(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// Gemini's word for the end of a candidate.
fn finish(reason: &Finish, refused: bool) -> &str {
    match reason {
        Finish::Stop | Finish::StopSequence(_) | Finish::Paused if refused => "SAFETY",
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCall | Finish::Paused => "STOP",
        Finish::Length | Finish::ContextFull => "MAX_TOKENS",
        Finish::Refusal | Finish::Filter => "SAFETY",
        Finish::MalformedCall => "MALFORMED_FUNCTION_CALL",
        Finish::Other(own) if is_reason(own) => own,
        Finish::Other(_) => "OTHER",
    }
}
