//! How a model writes down what it thinks and which tools it calls, and what of its answer is which.
//!
//! Every family of models has marks of its own for that; a template shows which by how it writes an earlier turn. Answers come bit
//! by bit: text is given out as soon as it is certain, and never half a mark.
//!
//! **Invariant.** Where an answer is cut into bits changes nothing about what it is read as.

mod body;
mod family;
mod harmony;
mod marked;
mod python;
mod words;

use std::sync::Arc;

use serde_json::Value;

pub use family::{CallForm, Speech, Tags};
use harmony::Harmony;
use marked::Marked;

use crate::engine::StepEnd;

/// Longest tool call that is waited for, in bytes; a longer one is text.
pub const CALL_BYTES_MAX: usize = 1 << 20;

/// What the tools of a request mean for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There are none: whatever looks like a call is text.
    None,
    /// The model may call.
    Auto,
    /// The whole answer is a call as JSON, because the grammar allows nothing else.
    Forced,
    /// The whole answer is text of a form that the request prescribes: no thoughts, no calls.
    Plain,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// For the reader.
    Text(String),
    /// What the model thought before.
    Thought(String),
    /// A call of a tool.
    Call {
        /// The tool's name.
        name: String,
        /// JSON, as text.
        arguments: String,
    },
}

/// What an answer is read with.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Of the model.
    pub speech: Arc<Speech>,
    /// Of the request.
    pub mode: Mode,
    /// The prompt ends within the model's thoughts.
    pub is_thinking: bool,
    /// The tools offered, as the client sent them: names make bare calls certain, schemas give values their types.
    pub tools: Arc<Vec<Value>>,
    /// Whether more than one call may be made; of more only the first counts.
    pub is_parallel: bool,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
    is_parallel: bool,
    calls: u32,
    /// Tokens read, and of them those that were thought.
    tokens: u32,
    thought: u32,
}

#[derive(Debug)]
enum Kind {
    Plain,
    Forced(String),
    Marked(Box<Marked>),
    Harmony(Box<Harmony>),
}

impl Reader {
    /// At the start of an answer.
    pub fn new(manner: &Manner) -> Self {
        let kind = match manner.mode {
            Mode::Plain => Kind::Plain,
            Mode::Forced => Kind::Forced(String::new()),
            Mode::None | Mode::Auto if manner.speech.is_harmony() => Kind::Harmony(Box::new(Harmony::new(manner.mode == Mode::Auto))),
            Mode::None if !manner.speech.thinks() => Kind::Plain,
            Mode::None | Mode::Auto => Kind::Marked(Box::new(Marked::new(manner))),
        };
        Self { kind, is_parallel: manner.is_parallel, calls: 0, tokens: 0, thought: 0 }
    }

    /// Calls found so far.
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// Tokens that were thought, marks included, as far as [`Reader::push_counted`] has seen them; `None` where thoughts are not told from text.
    pub const fn thought(&self) -> Option<u32> {
        match &self.kind {
            Kind::Marked(_) | Kind::Harmony(_) => Some(self.thought),
            Kind::Plain | Kind::Forced(_) => None,
        }
    }

    const fn is_thinking(&self) -> bool {
        match &self.kind {
            Kind::Marked(marked) => marked.is_thinking(),
            Kind::Harmony(harmony) => harmony.is_thinking(),
            Kind::Plain | Kind::Forced(_) => false,
        }
    }

    /// Takes more text, where it is known which tokens brought it; gives what is certain. A token that begins or ends a thought belongs to it.
    pub fn push_counted(&mut self, text: String, ends: &[StepEnd]) -> Vec<Piece> {
        if self.thought().is_none() {
            return if text.is_empty() { Vec::new() } else { self.push(text) };
        }
        let (mut pieces, mut from) = (Vec::new(), 0);
        for end in ends {
            let was_thinking = self.is_thinking();
            if let Some(step) = text.get(from..end.bytes).filter(|step| !step.is_empty()) {
                join(&mut pieces, self.push(step.to_owned()));
                from = end.bytes;
            }
            let new = end.tokens.saturating_sub(self.tokens);
            self.tokens += new;
            self.thought += if was_thinking || self.is_thinking() { new } else { 0 };
        }
        if let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
            join(&mut pieces, self.push(rest.to_owned()));
        }
        pieces
    }

    /// Takes more text; gives what is certain.
    pub fn push(&mut self, text: String) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match &mut self.kind {
            Kind::Plain => pieces.extend((!text.is_empty()).then_some(Piece::Text(text))),
            Kind::Forced(held) if held.len() + text.len() <= CALL_BYTES_MAX => held.push_str(&text),
            Kind::Forced(held) => {
                pieces.push(Piece::Text(std::mem::take(held) + &text));
                self.kind = Kind::Plain;
            }
            Kind::Marked(marked) => marked.push(&text, &mut pieces),
            Kind::Harmony(harmony) => harmony.push(&text, &mut pieces),
        }
        self.counted(pieces)
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match &mut self.kind {
            Kind::Plain => {}
            Kind::Forced(held) => {
                let held = std::mem::take(held);
                match body::json(&held) {
                    body::Read::Calls(calls) => pieces.extend(calls),
                    _ => pieces.extend((!held.is_empty()).then_some(Piece::Text(held))),
                }
            }
            Kind::Marked(marked) => marked.finish(&mut pieces),
            Kind::Harmony(harmony) => harmony.finish(&mut pieces),
        }
        self.counted(pieces)
    }

    fn counted(&mut self, mut pieces: Vec<Piece>) -> Vec<Piece> {
        pieces.retain(|piece| {
            let is_call = matches!(piece, Piece::Call { .. });
            let is_one_too_many = is_call && !self.is_parallel && self.calls > 0;
            self.calls += u32::from(is_call && !is_one_too_many);
            !is_one_too_many
        });
        pieces
    }
}

/// Adds pieces; what goes on is one.
fn join(pieces: &mut Vec<Piece>, more: Vec<Piece>) {
    for piece in more {
        match (pieces.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) | (Some(Piece::Thought(before)), Piece::Thought(text)) => before.push_str(&text),
            (_, piece) => pieces.push(piece),
        }
    }
}

#[cfg(test)]
mod tests;
