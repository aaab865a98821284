//! Tool calls of a chat stream, put in order.
//!
//! Servers differ: most send one call after the other, some mix the fragments of several, leave out the index, or use 0 for each. Blocks
//! never overlap here, so a later call waits while the arguments of the one before it are not whole.

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;

use super::super::{
    decode::unescaped,
    types::{FunctionCall, ToolCall},
};
use crate::{
    custom,
    ir::{BlockKind, Delta, Event, Family, State},
    names,
};

/// Most bytes of calls that wait, and of one call's arguments that are looked through.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Most calls of one choice.
const CALLS_MAX: usize = 4096;

const TOO_LONG: &str = "the upstream's tool calls are longer than can be held";

/// The calls of one choice.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The answer's id, for calls that come without one of their own.
    answer: String,
    /// The call that is written, and its block.
    open: Option<(u32, Call)>,
    waiting: VecDeque<Call>,
    held_bytes: usize,
    /// Upstream indexes of the calls that have ended.
    ended: BTreeSet<u32>,
    count: usize,
}

#[derive(Debug)]
struct Call {
    index: u32,
    id: String,
    /// The id as it came; empty where it was made up.
    given: String,
    name: String,
    is_custom: bool,
    /// All of them so far: arguments of a function, input of a custom tool.
    text: String,
    state: Option<State>,
}

impl Call {
    /// Whether nothing may follow: the arguments are one JSON value.
    fn is_whole(&self) -> bool {
        !self.is_custom && self.text.trim_end().ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(&self.text).is_ok()
    }

    /// Whether a fragment that names a call begins another one: some servers repeat id and name in each fragment, some leave out ids.
    fn is_another(&self, id: &str, name: &str, text: &str) -> bool {
        (!id.is_empty() && !self.given.is_empty() && id != self.given) || name != self.name || (!text.is_empty() && self.is_whole())
    }
}

impl Calls {
    /// The calls of an answer with this id.
    pub(super) fn of(answer: &str) -> Self {
        Self { answer: answer.to_owned(), ..Self::default() }
    }

    /// Whether there was any call.
    pub(super) fn has_called(&self) -> bool {
        self.count > 0
    }

    /// Takes a fragment; `raw` is the same as it came, where it holds what is seldom there.
    pub(super) fn piece(
        &mut self,
        choice: u32,
        call: ToolCall,
        raw: &Value,
        next: &mut u32,
        out: &mut Vec<Event>,
    ) -> Result<(), &'static str> {
        let custom = raw.get("custom").filter(|c| c.is_object());
        let FunctionCall { name, arguments } = call.function;
        let (name, text) = match custom {
            Some(custom) => (custom["name"].as_str().map(str::to_owned), custom["input"].as_str().unwrap_or_default().to_owned()),
            None => (name, arguments.unwrap_or_default()),
        };
        let index = call.index.or(self.latest()).unwrap_or(0);
        let given = call.id.unwrap_or_default();
        let name = unescaped(name);
        let before = self.waiting.iter().rev().chain(self.open.as_ref().map(|(_, open)| open)).find(|known| known.index == index);
        let is_new = !name.is_empty() && before.is_none_or(|known| known.is_another(&given, &name, &text));
        let known = before.is_some();
        self.held_bytes += text.len() + name.len();
        if self.held_bytes > HELD_BYTES_MAX {
            return Err(TOO_LONG);
        }
        if is_new || (!known && !self.ended.contains(&index)) {
            let signature = raw["extra_content"]["google"]["thought_signature"].as_str().filter(|s| !s.is_empty());
            let state = signature.map(|s| State { family: Family::Gemini, id: None, signature: Some(s.to_owned()), encrypted: None });
            if name.is_empty() {
                return Err("the upstream sent a tool call without a name");
            }
            let id = if given.is_empty() { names::answer_call_id(&self.answer, self.count as u32) } else { given.clone() };
            return self.begin(choice, Call { index, id, given, name, is_custom: custom.is_some(), text, state }, next, out);
        }
        if !known {
            return if text.is_empty() { Ok(()) } else { Err("the upstream went back to a tool call that had ended") };
        }
        self.go_on(choice, index, &text, next, out);
        Ok(())
    }

    fn latest(&self) -> Option<u32> {
        self.waiting.back().or(self.open.as_ref().map(|(_, call)| call)).map(|call| call.index)
    }

    fn begin(&mut self, choice: u32, call: Call, next: &mut u32, out: &mut Vec<Event>) -> Result<(), &'static str> {
        self.count += 1;
        if self.count > CALLS_MAX {
            return Err(TOO_LONG);
        }
        // The same index again is a new call, so the one before it has ended.
        if let Some(before) = self.waiting.iter_mut().rev().find(|c| c.index == call.index) {
            before.index = u32::MAX;
        }
        let may_close = self.open.as_ref().is_none_or(|(_, open)| open.index == call.index || open.is_whole());
        self.waiting.push_back(call);
        if may_close {
            self.close(choice, next, out);
            self.release(choice, next, out);
        }
        Ok(())
    }

    fn go_on(&mut self, choice: u32, index: u32, text: &str, next: &mut u32, out: &mut Vec<Event>) {
        if let Some(call) = self.waiting.iter_mut().rev().find(|c| c.index == index) {
            call.text.push_str(text);
            return;
        }
        let Some((block, call)) = &mut self.open else { return };
        call.text.push_str(text);
        if !call.is_custom && !text.is_empty() {
            out.push(Event::Delta { choice, block: *block, delta: Delta::Arguments(text.to_owned()) });
        }
        if !self.waiting.is_empty() && call.is_whole() {
            self.close(choice, next, out);
            self.release(choice, next, out);
        }
    }

    /// Writes what waits, up to a call that is not whole.
    fn release(&mut self, choice: u32, next: &mut u32, out: &mut Vec<Event>) {
        while self.open.is_none()
            && let Some(call) = self.waiting.pop_front()
        {
            let block = *next;
            if !call.is_custom {
                *next += 1;
                let kind = BlockKind::ToolCall { id: call.id.clone(), name: call.name.clone() };
                out.push(Event::BlockStart { choice, block, kind });
                out.extend(call.state.clone().map(|state| Event::Delta { choice, block, delta: Delta::State(state) }));
                if !call.text.is_empty() {
                    out.push(Event::Delta { choice, block, delta: Delta::Arguments(call.text.clone()) });
                }
            }
            let is_whole = call.is_whole();
            self.open = Some((block, call));
            if is_whole && !self.waiting.is_empty() {
                self.close(choice, next, out);
            }
        }
    }

    fn close(&mut self, choice: u32, next: &mut u32, out: &mut Vec<Event>) {
        let Some((mut block, call)) = self.open.take() else { return };
        if call.is_custom {
            block = *next;
            *next += 1;
            out.push(Event::BlockStart { choice, block, kind: custom::call_kind(&call.id, &call.name, &call.text) });
        }
        out.push(Event::BlockStop { choice, block });
        self.ended.insert(call.index);
        if self.waiting.is_empty() {
            self.held_bytes = 0;
        }
    }

    /// Something else begins: every call so far has ended.
    pub(super) fn pause(&mut self, choice: u32, next: &mut u32, out: &mut Vec<Event>) {
        self.end(choice, next, out);
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, choice: u32, next: &mut u32, out: &mut Vec<Event>) {
        while self.open.is_some() || !self.waiting.is_empty() {
            self.close(choice, next, out);
            self.release(choice, next, out);
        }
    }
}
