//! Messages → turns: instructions to the top, the results of a turn's calls first in the next one, speakers in alternation.

use serde_json::{Map, Value, json};

use super::part::{Marks, part};
use crate::{
    ir::{Block, Family, Message, Role, State},
    losses::Losses,
    names::{self, CallIds},
};

/// What the user says where a conversation lacks the user's first word, which the API demands.
const USER_PLACEHOLDER: &str = "(continue)";

/// The turns so far.
pub(super) struct History<'a> {
    /// The request came in this dialect.
    is_own: bool,
    marks: Marks,
    losses: &'a mut Losses,
    calls: CallIds,
    system: Vec<Value>,
    turns: Vec<Turn>,
    /// Someone besides the instructions has spoken.
    has_begun: bool,
    /// Where the block that was written last stood.
    last_path: String,
}

struct Turn {
    role: &'static str,
    results: Vec<Value>,
    blocks: Vec<Value>,
}

/// What was written last, where a cache mark belongs.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Result,
    Block,
}

impl<'a> History<'a> {
    pub(super) fn new(is_own: bool, marks: Marks, losses: &'a mut Losses) -> Self {
        Self {
            is_own,
            marks,
            losses,
            calls: CallIds::default(),
            system: Vec::new(),
            turns: Vec::new(),
            has_begun: false,
            last_path: String::new(),
        }
    }

    /// Adds a message; `index` is its place in the request.
    pub(super) fn message(&mut self, index: usize, message: &Message) {
        let path = format!("messages[{index}]");
        if message.name.is_some() && message.role != Role::Tool {
            self.losses.drop(format!("{path}.name"));
        }
        let is_instruction = matches!(message.role, Role::System | Role::Developer);
        match message.role {
            Role::System | Role::Developer if !self.has_begun => self.system(&path, &message.blocks),
            Role::System | Role::Developer => self.late_system(&path, &message.blocks),
            Role::User | Role::Tool => self.turn("user", &path, &message.blocks),
            Role::Assistant => self.turn("assistant", &path, &message.blocks),
        }
        self.has_begun |= !is_instruction;
    }

    /// Adds a text to the instructions at the top.
    pub(super) fn system_text(&mut self, text: &str) {
        self.system.push(json!({"type": "text", "text": text}));
    }

    /// `system`, if there are instructions, and `messages`.
    pub(super) fn finish(mut self) -> (Option<Value>, Vec<Value>) {
        if self.turns.first().is_none_or(|t| t.role != "user") {
            self.losses.change("messages");
            let blocks = vec![json!({"type": "text", "text": USER_PLACEHOLDER})];
            self.turns.insert(0, Turn { role: "user", results: Vec::new(), blocks });
        }
        self.trim_prefill();
        let system = (!self.system.is_empty()).then(|| content(self.system));
        let turns = self.turns.into_iter().map(|mut turn| {
            turn.results.append(&mut turn.blocks);
            json!({"role": turn.role, "content": content(turn.results)})
        });
        (system, turns.collect())
    }

    /// An answer that the model is to go on with must not end in white space.
    fn trim_prefill(&mut self) {
        let Some(last) = self.turns.last_mut().filter(|t| t.role == "assistant").and_then(|t| t.blocks.last_mut()) else { return };
        if let Some(Value::String(text)) = last.get_mut("text") {
            let kept = text.trim_end().len();
            if kept < text.len() {
                text.truncate(kept);
                self.losses.change(self.last_path.clone());
            }
        }
    }

    fn system(&mut self, path: &str, blocks: &[Block]) {
        for (at, block) in blocks.iter().enumerate() {
            let path = format!("{path}.blocks[{at}]");
            match block {
                Block::CacheMark { ttl } => self.marks.put(ttl.as_deref(), self.system.last_mut(), &path, self.losses),
                Block::Text { .. } | Block::Opaque { .. } => self.system.extend(part(block, self.is_own, &path, self.losses)),
                _ => self.losses.drop(path),
            }
        }
    }

    /// Instructions in the middle become text of the user's, marked as what they are.
    fn late_system(&mut self, path: &str, blocks: &[Block]) {
        self.losses.change(path);
        let marked = blocks.iter().map(|block| match block {
            Block::Text { text } if !text.trim().is_empty() => Block::Text { text: format!("<system>\n{text}\n</system>") },
            other => other.clone(),
        });
        self.turn("user", path, &marked.collect::<Vec<_>>());
    }

    fn turn(&mut self, role: &'static str, path: &str, blocks: &[Block]) {
        let keeps_thoughts = role == "assistant" && keeps_thoughts(blocks);
        let mut last = Last::Nothing;
        for (at, block) in blocks.iter().enumerate() {
            let path = format!("{path}.blocks[{at}]");
            let at_path = path.clone();
            match block {
                Block::CacheMark { ttl } => {
                    let turn = self.turns.last_mut();
                    let target = match last {
                        Last::Nothing => None,
                        Last::Result => turn.and_then(|t| t.results.last_mut()),
                        Last::Block => turn.and_then(|t| t.blocks.last_mut()),
                    };
                    self.marks.put(ttl.as_deref(), target, &path, self.losses);
                }
                Block::ToolResult { call_id, blocks, is_error, .. } if role == "user" => {
                    let result = self.result(&path, call_id, blocks, *is_error);
                    let turn = self.turn_of(role);
                    let is_late = !turn.blocks.is_empty();
                    turn.results.push(result);
                    last = Last::Result;
                    if is_late {
                        self.losses.change(path);
                    }
                }
                _ => {
                    let written = match block {
                        Block::Reasoning { text, state } if keeps_thoughts => state.as_ref().and_then(|s| thought(text, s)),
                        Block::ToolCall { id, name, arguments, state } if role == "assistant" => {
                            if state.is_some() {
                                self.losses.drop(format!("{path}.state"));
                            }
                            Some(self.call(&path, id, name, arguments))
                        }
                        Block::Media(_) if role == "assistant" => {
                            self.losses.drop(path);
                            None
                        }
                        other => part(other, self.is_own, &path, self.losses),
                    };
                    if let Some(written) = written {
                        self.last_path = at_path;
                        self.turn_of(role).blocks.push(written);
                        last = Last::Block;
                    }
                }
            }
        }
    }

    /// Neighbours of one speaker are one turn.
    fn turn_of(&mut self, role: &'static str) -> &mut Turn {
        if self.turns.last().is_none_or(|t| t.role != role) {
            self.turns.push(Turn { role, results: Vec::new(), blocks: Vec::new() });
        }
        let at = self.turns.len() - 1;
        &mut self.turns[at]
    }

    fn call(&mut self, path: &str, id: &str, name: &str, arguments: &str) -> Value {
        let wire_id = self.calls.call(id);
        if names::unescape(&wire_id) != id {
            self.losses.change(format!("{path}.id"));
        }
        let (input, is_changed) = input(arguments);
        if is_changed {
            self.losses.change(format!("{path}.arguments"));
        }
        json!({"type": "tool_use", "id": wire_id, "name": names::escape(name), "input": input})
    }

    fn result(&mut self, path: &str, call_id: &str, blocks: &[Block], is_error: bool) -> Value {
        let mut inner = Vec::with_capacity(blocks.len());
        for (at, block) in blocks.iter().enumerate() {
            let path = format!("{path}.blocks[{at}]");
            match block {
                Block::CacheMark { ttl } => self.marks.put(ttl.as_deref(), inner.last_mut(), &path, self.losses),
                other => inner.extend(part(other, self.is_own, &path, self.losses)),
            }
        }
        let mut out = Map::new();
        out.insert("type".into(), "tool_result".into());
        out.insert("tool_use_id".into(), self.calls.result(call_id).into());
        if !inner.is_empty() {
            out.insert("content".into(), content(inner));
        }
        if is_error {
            out.insert("is_error".into(), true.into());
        }
        out.into()
    }
}

/// A message's thoughts travel all or not at all: the API takes them only unchanged, complete and signed by itself.
fn keeps_thoughts(blocks: &[Block]) -> bool {
    blocks.iter().all(|block| match block {
        Block::Reasoning { state, .. } => state.as_ref().is_some_and(|s| thought("", s).is_some()),
        _ => true,
    })
}

/// A single plain text is written as text.
fn content(mut blocks: Vec<Value>) -> Value {
    match blocks.as_mut_slice() {
        [one] if one["type"] == "text" && one.as_object().is_some_and(|o| o.len() == 2) => one["text"].take(),
        _ => blocks.into(),
    }
}

fn thought(text: &str, state: &State) -> Option<Value> {
    if state.family != Family::Messages {
        return None;
    }
    match (&state.signature, &state.encrypted) {
        (Some(signature), _) => Some(json!({"type": "thinking", "thinking": text, "signature": signature})),
        (None, Some(data)) => Some(json!({"type": "redacted_thinking", "data": data})),
        (None, None) => None,
    }
}

/// A call's arguments as the object that the dialect wants, and whether they had to be changed for it.
pub(super) fn input(arguments: &str) -> (Value, bool) {
    if arguments.trim().is_empty() {
        return (json!({}), false);
    }
    match crate::json::read::<Value>(arguments) {
        Ok(object @ Value::Object(_)) => (object, crate::json::has_wide_numbers(arguments.as_bytes())),
        Ok(Value::Null) => (json!({}), true),
        _ => (json!({"raw": arguments}), true),
    }
}
