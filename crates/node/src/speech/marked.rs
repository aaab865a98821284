//! Answers in which marks stand around thoughts and calls.

use std::sync::Arc;

use serde_json::Value;

use super::{
    CALL_BYTES_MAX, Manner, Mode, Piece, Speech,
    body::{self, Body, Read},
    family::{Bare, Section},
    words::{self, Balance},
};

/// First keys of a call as a bare object. Others are an answer in JSON.
const FIRST_KEYS: [&str; 7] = ["\"name\"", "\"type\"", "\"function\"", "\"tool_name\"", "\"parameters\"", "\"arguments\"", "\"id\""];

#[derive(Debug)]
enum State {
    /// Nothing but blanks so far: a bare call may begin.
    Start,
    /// The same after a bare call: Llama writes several with semicolons between them.
    Next,
    Text,
    Thought,
    Call(&'static Section),
    Bare(Bare, Balance),
}

/// What `held` is, as far as that can be told.
enum Guess {
    Certain(Bare),
    Perhaps,
    No,
}

#[derive(Debug)]
pub(super) struct Marked {
    speech: Arc<Speech>,
    tools: Arc<Vec<Value>>,
    finds_calls: bool,
    state: State,
    /// Not given out yet.
    held: String,
    /// So much of it has no mark.
    searched: usize,
    /// Blanks at the end of what was given out, which do not count in front of a mark.
    blanks: String,
    /// Blanks do not count here: after a mark.
    trims: bool,
    has_text: bool,
}

impl Marked {
    pub(super) fn new(manner: &Manner) -> Self {
        Self {
            speech: manner.speech.clone(),
            tools: manner.tools.clone(),
            finds_calls: manner.mode == Mode::Auto,
            state: if manner.is_thinking { State::Thought } else { State::Start },
            held: String::new(),
            searched: 0,
            blanks: String::new(),
            trims: manner.is_thinking,
            has_text: false,
        }
    }

    pub(super) const fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thought)
    }

    pub(super) fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        self.held.push_str(text);
        while self.step(out) {}
    }

    /// One decision; false where more text is needed.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match self.state {
            State::Start => self.start(),
            State::Next => {
                let rest = self.held.trim_start_matches(|c: char| c.is_whitespace() || c == ';').len();
                self.take(self.held.len() - rest);
                self.start()
            }
            State::Text => self.text_step(out),
            State::Thought => self.thought_step(out),
            State::Call(section) => self.call_step(section, out),
            State::Bare(..) => self.bare_step(out),
        }
    }

    fn enter(&mut self, state: State) -> bool {
        self.state = state;
        self.searched = 0;
        true
    }

    /// Takes `length` bytes from the front.
    fn take(&mut self, length: usize) -> String {
        let rest = self.held.split_off(length);
        self.searched = 0;
        std::mem::replace(&mut self.held, rest)
    }

    fn start(&mut self) -> bool {
        if !self.finds_calls || self.speech.bare().is_empty() {
            return self.enter(State::Text);
        }
        match self.guess() {
            Guess::Certain(bare) => self.enter(State::Bare(bare, Balance::default())),
            Guess::Perhaps => false,
            Guess::No => self.enter(State::Text),
        }
    }

    fn guess(&self) -> Guess {
        let text = self.held.trim_start();
        let Some(first) = text.chars().next() else { return Guess::Perhaps };
        let inside = text[first.len_utf8()..].trim_start();
        let guesses = self.speech.bare().iter().map(|bare| match bare {
            Bare::Json if first == '{' => match FIRST_KEYS.iter().find(|key| inside.starts_with(**key)) {
                Some(_) => Guess::Certain(Bare::Json),
                None if FIRST_KEYS.iter().any(|key| key.starts_with(inside)) => Guess::Perhaps,
                None => Guess::No,
            },
            Bare::Python if first == '[' => {
                let length = inside.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(inside.len());
                let is_name = inside.starts_with(|c: char| c.is_alphabetic() || c == '_');
                match &inside[length..] {
                    "" if is_name || inside.is_empty() => Guess::Perhaps,
                    rest if is_name && rest.starts_with('(') => Guess::Certain(Bare::Python),
                    _ => Guess::No,
                }
            }
            _ => Guess::No,
        });
        let mut best = Guess::No;
        for guess in guesses {
            match guess {
                Guess::Certain(_) => return guess,
                Guess::Perhaps => best = Guess::Perhaps,
                Guess::No => {}
            }
        }
        best
    }

    fn bare_step(&mut self, out: &mut Vec<Piece>) -> bool {
        let State::Bare(bare, balance) = &mut self.state else { return false };
        let bare = *bare;
        let Some(end) = balance.end(&self.held) else {
            if self.held.len() <= CALL_BYTES_MAX {
                return false;
            }
            return self.enter(State::Text);
        };
        let text = self.take(end);
        match self.read_bare(bare, &text) {
            Some(calls) => {
                self.calls(calls, out);
                self.enter(State::Next)
            }
            None => {
                self.text(&text, out);
                self.enter(State::Text)
            }
        }
    }

    /// Without marks only the names of offered tools make a call certain.
    fn read_bare(&self, bare: Bare, text: &str) -> Option<Vec<Piece>> {
        let read = match bare {
            Bare::Python => Body::Python.read(text, &self.tools),
            Bare::Json => body::json(text),
        };
        let Read::Calls(calls) = read else { return None };
        let is_offered =
            |piece: &Piece| matches!(piece, Piece::Call { name, .. } if body::names(&self.tools).any(|offered| offered == name));
        calls.iter().all(is_offered).then_some(calls)
    }

    fn text_step(&mut self, out: &mut Vec<Piece>) -> bool {
        let speech = self.speech.clone();
        // Thoughts come first or between calls; the same mark in the midst of a text is text.
        let think = speech.tags().map(|(open, _)| open).filter(|_| !self.has_text);
        let opens = speech.sections().iter().map(|section| section.open).filter(|_| self.finds_calls);
        let marks: Vec<&str> = think.into_iter().chain(opens).chain(speech.drops().iter().copied()).collect();
        if let Some((at, mark)) = words::first(&self.held, self.searched, marks.iter().copied()) {
            let before = self.take(at);
            let is_first = self.text(&before, out);
            if Some(mark) == think && !is_first {
                // There was text in front of it after all.
                let mark = self.take(mark.len());
                self.text(&mark, out);
                return true;
            }
            self.take(mark.len());
            let section = speech.sections().iter().find(|section| section.open == mark);
            return match section {
                _ if Some(mark) == think => {
                    self.trims = true;
                    self.blanks.clear();
                    self.enter(State::Thought)
                }
                Some(section) if self.finds_calls => self.enter(State::Call(section)),
                _ => true,
            };
        }
        let keep = words::beginning(&self.held, marks.iter().copied());
        let ready = self.held.len() - keep;
        let text = self.take(ready);
        self.text(&text, out);
        self.searched = 0;
        false
    }

    fn thought_step(&mut self, out: &mut Vec<Piece>) -> bool {
        let Some((_, close)) = self.speech.tags() else { return self.enter(State::Text) };
        if let Some(at) = self.held.find(close) {
            let before = self.take(at);
            self.thought(&before, out);
            self.take(close.len());
            self.blanks.clear();
            self.trims = true;
            return self.enter(State::Start);
        }
        let ready = self.held.len() - words::beginning(&self.held, std::iter::once(close));
        let text = self.take(ready);
        self.thought(&text, out);
        false
    }

    fn call_step(&mut self, section: &'static Section, out: &mut Vec<Piece>) -> bool {
        let mark = section.close.unwrap_or(section.open);
        let Some((at, _)) = words::first(&self.held, self.searched, std::iter::once(mark)) else {
            // A mark may begin at the end of what was searched.
            self.searched = self.held.len() - words::beginning(&self.held, std::iter::once(mark));
            if self.held.len() <= CALL_BYTES_MAX {
                return false;
            }
            let held = std::mem::take(&mut self.held);
            self.text(&format!("{}{held}", section.open), out);
            return self.enter(State::Text);
        };
        match section.body.read(&self.held[..at], &self.tools) {
            // The mark stands in a text of the call's arguments.
            Read::Unfinished => {
                self.searched = at + mark.len();
                return true;
            }
            Read::Calls(calls) => {
                self.take(at + mark.len());
                self.calls(calls, out);
            }
            Read::No => {
                let inside = self.take(at);
                self.take(mark.len());
                self.text(&format!("{}{inside}{}", section.open, section.close.unwrap_or_default()), out);
            }
        }
        self.enter(if section.close.is_some() { State::Text } else { State::Call(section) })
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Text) {
            State::Start | State::Next | State::Text => {
                self.text(&held, out);
            }
            State::Thought => {
                self.thought(&held, out);
                self.blanks.clear();
            }
            // Models end with the call, and some forget to close it.
            State::Call(section) => match section.body.read(&held, &self.tools) {
                Read::Calls(calls) => self.calls(calls, out),
                _ if held.trim().is_empty() && section.close.is_none() => {}
                _ => {
                    self.text(&format!("{}{held}", section.open), out);
                }
            },
            State::Bare(bare, _) => match self.read_bare(bare, &held) {
                Some(calls) => self.calls(calls, out),
                None => {
                    self.text(&held, out);
                }
            },
        }
        let blanks = std::mem::take(&mut self.blanks);
        if !blanks.is_empty() {
            out.push(Piece::Text(blanks));
        }
    }

    fn calls(&mut self, calls: Vec<Piece>, out: &mut Vec<Piece>) {
        self.blanks.clear();
        self.trims = true;
        self.has_text = false;
        out.extend(calls);
    }

    /// Gives out text, but blanks only with what follows. Whether nothing but blanks has come in this answer's text.
    fn text(&mut self, text: &str, out: &mut Vec<Piece>) -> bool {
        if let Some(text) = self.unblanked(text) {
            self.has_text = true;
            out.push(Piece::Text(text));
        }
        !self.has_text
    }

    fn thought(&mut self, text: &str, out: &mut Vec<Piece>) {
        out.extend(self.unblanked(text).map(Piece::Thought));
    }

    fn unblanked(&mut self, text: &str) -> Option<String> {
        let text = if self.trims { text.trim_start() } else { text };
        let solid = text.trim_end();
        if solid.is_empty() {
            self.blanks.push_str(text);
            return None;
        }
        self.trims = false;
        let given = std::mem::take(&mut self.blanks) + solid;
        text[solid.len()..].clone_into(&mut self.blanks);
        Some(given)
    }
}
