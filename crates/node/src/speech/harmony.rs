//! gpt-oss: an answer is several messages, each with a head that names its channel and perhaps a tool.
//!
//! `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>`

use super::{CALL_BYTES_MAX, Piece, words};

const START: &str = "<|start|>";
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
const CONSTRAIN: &str = "<|constrain|>";
/// What ends a message; the last two only where a model forgets the others.
const ENDS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", START, CHANNEL];
/// Longest head of a message, in bytes; a longer one is none.
const HEAD_BYTES_MAX: usize = 1024;

#[derive(Debug)]
enum State {
    /// Up to the mark of the message.
    Head,
    Text,
    Thought,
    Call(String),
}

#[derive(Debug)]
pub(super) struct Harmony {
    state: State,
    held: String,
    finds_calls: bool,
}

impl Harmony {
    pub(super) const fn new(finds_calls: bool) -> Self {
        Self { state: State::Head, held: String::new(), finds_calls }
    }

    pub(super) const fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thought)
    }

    pub(super) fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        self.held.push_str(text);
        while self.step(out) {}
    }

    fn take(&mut self, length: usize) -> String {
        let rest = self.held.split_off(length);
        std::mem::replace(&mut self.held, rest)
    }

    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match &self.state {
            State::Head => self.head(),
            State::Call(_) => self.call(out),
            State::Text | State::Thought => self.body(out),
        }
    }

    fn head(&mut self) -> bool {
        if let Some(at) = self.held.find(MESSAGE) {
            let head = self.take(at);
            self.take(MESSAGE.len());
            self.state = self.state_of(&head);
            return true;
        }
        let begun = self.held.trim_start();
        let is_head = [START, CHANNEL].iter().any(|mark| mark.starts_with(begun) || begun.starts_with(mark))
            || begun.starts_with("assistant")
            || "assistant".starts_with(begun)
            || begun.starts_with("to=")
            || "to=".starts_with(begun);
        if is_head && self.held.len() <= HEAD_BYTES_MAX {
            return false;
        }
        // A model that has left its form: what it says is for the reader.
        self.state = State::Text;
        true
    }

    fn state_of(&self, head: &str) -> State {
        let channel = head.rsplit_once(CHANNEL).map_or("", |(_, channel)| channel).trim_start();
        let name = head.split_once("to=").map(|(_, to)| {
            let to = to.trim_start();
            let end = to.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(to.len());
            to[..end].strip_prefix("functions.").unwrap_or(&to[..end]).to_owned()
        });
        match name {
            Some(name) if self.finds_calls && !name.is_empty() => State::Call(name),
            _ if channel.starts_with("analysis") => State::Thought,
            _ => State::Text,
        }
    }

    fn body(&mut self, out: &mut Vec<Piece>) -> bool {
        let piece = if matches!(self.state, State::Thought) { Piece::Thought } else { Piece::Text };
        let marks = ENDS.iter().copied().chain([CONSTRAIN, MESSAGE]);
        if let Some((at, mark)) = words::first(&self.held, 0, marks.clone()) {
            let text = self.take(at);
            out.extend((!text.is_empty()).then(|| piece(text)));
            match mark {
                // The beginning of the next head.
                START | CHANNEL => self.state = State::Head,
                // Marks that are out of place say nothing.
                CONSTRAIN | MESSAGE => drop(self.take(mark.len())),
                _ => {
                    self.take(mark.len());
                    self.state = State::Head;
                }
            }
            return true;
        }
        let ready = self.held.len() - words::beginning(&self.held, marks);
        let text = self.take(ready);
        out.extend((!text.is_empty()).then(|| piece(text)));
        false
    }

    fn call(&mut self, out: &mut Vec<Piece>) -> bool {
        let Some((at, mark)) = words::first(&self.held, 0, ENDS.iter().copied()) else {
            if self.held.len() <= CALL_BYTES_MAX {
                return false;
            }
            self.state = State::Text;
            return true;
        };
        let arguments = self.take(at);
        if !matches!(mark, START | CHANNEL) {
            self.take(mark.len());
        }
        if let State::Call(name) = std::mem::replace(&mut self.state, State::Head) {
            out.push(call(name, &arguments));
        }
        true
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Head) {
            State::Call(name) => out.push(call(name, &held)),
            State::Thought => out.extend((!held.is_empty()).then_some(Piece::Thought(held))),
            State::Text => out.extend((!held.is_empty()).then_some(Piece::Text(held))),
            // A head without a message says nothing; what never became one is text.
            State::Head if held.contains("<|") => {}
            State::Head => out.extend((!held.trim().is_empty()).then_some(Piece::Text(held))),
        }
    }
}

fn call(name: String, arguments: &str) -> Piece {
    let arguments = arguments.trim();
    Piece::Call { name, arguments: if arguments.is_empty() { "{}".to_owned() } else { arguments.to_owned() } }
}
