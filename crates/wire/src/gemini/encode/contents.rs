//! Messages → `contents` and `systemInstruction`.
//!
//! What Gemini insists on: roles in turn, no empty content, all results of a turn together, in the order of its calls and without
//! anything beside them. User text beside results becomes a content of its own behind them, the only place where one role follows
//! itself.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{generation_of, is_own, media};
use crate::{
    gemini::{
        names::{is_made_up, write_name},
        parts::is_own_file,
    },
    ir::{Block, Family, Media, Message, Request, Role, Source, State},
    losses::Losses,
};

/// What stands in for a signature that a call lost or never had (Gemini API, "Thought signatures").
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The two places of a conversation.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) system: Vec<Value>,
    pub(super) contents: Vec<Value>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Kind {
    User,
    Results,
    Model,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    parts: Vec<Value>,
    /// Ids of the calls, or of those that the results answer, in step with `parts` of results.
    ids: Vec<String>,
}

struct Writer<'a> {
    request: &'a Request,
    losses: &'a mut Losses,
    entries: Vec<Entry>,
    system: Vec<Value>,
    /// The message that the last of `system` came from.
    last_system: usize,
    /// Call id → name as written, and whether the id went along.
    calls: HashMap<String, (String, bool)>,
    /// A signature whose part comes next, and whose words it signs.
    signature: Option<(Kind, String)>,
}

pub(super) fn contents(request: &Request, losses: &mut Losses) -> Written {
    let mut writer =
        Writer { request, losses, entries: Vec::new(), system: Vec::new(), last_system: 0, calls: HashMap::new(), signature: None };
    for (index, message) in request.messages.iter().enumerate() {
        writer.message(index, message);
    }
    writer.finish()
}

impl Writer<'_> {
    fn message(&mut self, index: usize, message: &Message) {
        if message.name.is_some() {
            self.losses.drop(format!("messages[{index}].name"));
        }
        let kind = match message.role {
            Role::System | Role::Developer => return self.instructions(index, message),
            Role::Assistant => Kind::Model,
            Role::User | Role::Tool => Kind::User,
        };
        for (at, block) in message.blocks.iter().enumerate() {
            self.block(kind, block, &format!("messages[{index}].blocks[{at}]"));
        }
        self.flush_signature();
    }

    /// All instructions stand at the top; those from within the conversation have moved.
    fn instructions(&mut self, index: usize, message: &Message) {
        if self.request.messages[..index].iter().any(|m| !matches!(m.role, Role::System | Role::Developer)) {
            self.losses.change(format!("messages[{index}]"));
        }
        for (at, block) in message.blocks.iter().enumerate() {
            match block {
                Block::Text { text } if text.is_empty() => {}
                Block::Text { text } => {
                    self.last_system = index;
                    self.system.push(json!({"text": text}));
                }
                _ => self.losses.drop(block.name_at(&format!("messages[{index}].blocks[{at}]"))),
            }
        }
    }

    fn block(&mut self, kind: Kind, block: &Block, path: &str) {
        match block {
            Block::Text { text } if text.is_empty() => {}
            Block::Text { text } => self.part(kind, json!({"text": text})),
            Block::Refusal { text } => {
                self.losses.change(path);
                self.part(kind, json!({"text": text}));
            }
            Block::Reasoning { text, state } => self.reasoning(kind, text, state.as_ref(), path),
            Block::ToolCall { id, name, arguments, state } => self.call((id, name, arguments), state.as_ref(), path),
            Block::ToolResult { call_id, name, blocks, is_error } => self.result(call_id, name.as_deref(), blocks, *is_error, path),
            Block::Media(media) => {
                if let Some(part) = self.media(media, path) {
                    self.part(kind, part);
                }
            }
            Block::Opaque { family: Family::Gemini, value } => {
                self.flush_signature();
                self.part(kind, value.clone());
            }
            Block::Opaque { .. } | Block::CacheMark { .. } => self.losses.drop(block.name_at(path)),
        }
    }

    /// Other families' thoughts are dropped whole when they carry a state, since only that provider knows them again.
    fn reasoning(&mut self, kind: Kind, text: &str, state: Option<&State>, path: &str) {
        let signature = match state {
            Some(State { family: Family::Gemini, signature, .. }) => signature.clone(),
            Some(_) => return self.losses.drop(path),
            None => None,
        };
        match (text.is_empty(), signature) {
            (true, None) => {}
            (true, Some(signature)) => {
                self.flush_signature();
                match self.signable(kind) {
                    Some(part) => part["thoughtSignature"] = signature.into(),
                    None => self.signature = Some((kind, signature)),
                }
            }
            (false, signature) => {
                let mut part = json!({"text": text, "thought": true});
                if let Some(signature) = signature {
                    part["thoughtSignature"] = signature.into();
                }
                self.flush_signature();
                self.part(kind, part);
            }
        }
    }

    /// The part right before, if it is a text or file without a signature.
    fn signable(&mut self, kind: Kind) -> Option<&mut Value> {
        let part = self.entries.last_mut().filter(|e| e.kind == kind && e.kind == Kind::Model)?.parts.last_mut()?;
        let is_said = part.get("thought").is_none() && ["text", "inlineData", "fileData"].iter().any(|name| part.get(*name).is_some());
        (is_said && part.get("thoughtSignature").is_none()).then_some(part)
    }

    fn call(&mut self, (id, name, arguments): (&str, &str, &str), state: Option<&State>, path: &str) {
        self.flush_signature();
        let own_state = state.filter(|s| s.family == Family::Gemini);
        if state.is_some() && own_state.is_none() {
            self.losses.drop(format!("{path}.state"));
        }
        let (name, changed) = write_name(name);
        if changed {
            self.losses.change(format!("{path}.name"));
        }
        let (args, exact) = args(arguments);
        if !exact {
            self.losses.change(format!("{path}.arguments"));
        }
        let mut call = json!({"name": name, "args": args});
        // Other families' ids mean nothing to Google, and Vertex refuses any: it goes by name and order.
        let with_id = !is_made_up(id) && (own_state.is_some() || self.request.family == Some(Family::Gemini));
        if with_id {
            call["id"] = id.into();
        }
        self.calls.insert(id.to_owned(), (name, with_id));
        let mut part = json!({"functionCall": call});
        if let Some(signature) = own_state.and_then(|s| s.signature.clone()) {
            part["thoughtSignature"] = signature.into();
        }
        self.part(Kind::Model, part);
        if let Some(entry) = self.entries.last_mut() {
            entry.ids.push(id.to_owned());
        }
    }

    fn result(&mut self, call_id: &str, name: Option<&str>, blocks: &[Block], is_error: bool, path: &str) {
        self.flush_signature();
        let (name, with_id) = match self.calls.get(call_id) {
            Some(known) => known.clone(),
            None => (write_name(name.unwrap_or(call_id)).0, false),
        };
        let (mut texts, mut attached) = (Vec::new(), Vec::new());
        for (at, block) in blocks.iter().enumerate() {
            let path = format!("{path}.blocks[{at}]");
            match block {
                Block::Text { text } => texts.push(text.as_str()),
                Block::Refusal { text } => {
                    self.losses.change(path);
                    texts.push(text.as_str());
                }
                Block::Media(media) => attached.extend(self.media(media, &path).map(|part| (path, part))),
                _ => self.losses.drop(block.name_at(&path)),
            }
        }
        if texts.len() > 1 {
            self.losses.change(format!("{path}.blocks"));
        }
        let mut response = json!({"name": name, "response": self.response(texts.join("\n"), is_error)});
        if with_id {
            response["id"] = call_id.into();
        }
        // Since the third generation a result may hold media; before, they follow in a content of their own.
        let holds_media = generation_of(&self.request.model).is_none_or(|g| g >= (3, 0));
        if holds_media && !attached.is_empty() {
            response["parts"] = std::mem::take(&mut attached).into_iter().map(|(_, part)| part).collect();
        }
        let at = self.results_entry();
        self.entries[at].parts.push(json!({"functionResponse": response}));
        self.entries[at].ids.push(call_id.to_owned());
        for (path, part) in attached {
            self.losses.change(path);
            self.part(Kind::User, part);
        }
    }

    /// `{"result": text}` or `{"error": text}`; an own object is itself.
    fn response(&self, text: String, is_error: bool) -> Value {
        if is_error {
            return json!({"error": text});
        }
        if self.request.family == Some(Family::Gemini)
            && let Ok(value @ Value::Object(_)) = crate::json::read::<Value>(&text)
        {
            return value;
        }
        json!({"result": text})
    }

    /// The entry behind the latest calls, made if it is not there.
    fn results_entry(&mut self) -> usize {
        let behind = self.entries.iter().rposition(|e| e.kind == Kind::Model).map_or(0, |at| at + 1);
        let begin = self.entries.iter().skip(behind).position(|e| e.kind == Kind::Results);
        if let Some(found) = begin {
            return behind + found;
        }
        self.entries.insert(behind, Entry { kind: Kind::Results, parts: Vec::new(), ids: Vec::new() });
        behind
    }

    fn media(&mut self, given: &Media, path: &str) -> Option<Value> {
        let own = is_own(self.request);
        match &given.source {
            Source::File(id) if !own && !is_own_file(id) => {
                self.losses.drop(path);
                return None;
            }
            // Google fetches some addresses itself, others not at all.
            Source::Url(_) if !own => self.losses.change(path),
            _ => {}
        }
        if given.detail.as_deref().is_some_and(|d| d != "auto") {
            self.losses.drop(format!("{path}.detail"));
        }
        if given.file_name.is_some() {
            self.losses.drop(format!("{path}.file_name"));
        }
        Some(media(given))
    }

    fn part(&mut self, kind: Kind, mut part: Value) {
        if let Some((_, signature)) = self.signature.take() {
            part["thoughtSignature"] = signature.into();
        }
        match self.entries.last_mut() {
            Some(last) if last.kind == kind => last.parts.push(part),
            _ => self.entries.push(Entry { kind, parts: vec![part], ids: Vec::new() }),
        }
    }

    /// A signature that no part follows stands on an empty text, as Gemini itself streams it.
    fn flush_signature(&mut self) {
        if let Some((kind, _)) = self.signature {
            self.part(kind, json!({"text": ""}));
        }
    }

    fn finish(mut self) -> Written {
        if self.entries.is_empty() {
            // Contents may not be empty: the instructions are then the question.
            let parts = match self.system.pop() {
                Some(last) => {
                    self.losses.change(format!("messages[{}]", self.last_system));
                    last
                }
                None => json!({"text": ""}),
            };
            self.entries.push(Entry { kind: Kind::User, parts: vec![parts], ids: Vec::new() });
        }
        let signs = generation_of(&self.request.model).is_some_and(|g| g >= (3, 0));
        let mut calls: Vec<String> = Vec::new();
        let mut contents = Vec::with_capacity(self.entries.len());
        for mut entry in self.entries {
            match entry.kind {
                Kind::Model => {
                    if signs {
                        stand_in(&mut entry.parts);
                    }
                    calls = entry.ids;
                }
                Kind::Results => entry.parts = in_order(entry.parts, &entry.ids, &calls),
                Kind::User => {}
            }
            let role = if entry.kind == Kind::Model { "model" } else { "user" };
            contents.push(json!({"role": role, "parts": entry.parts}));
        }
        Written { system: self.system, contents }
    }
}

/// Calls without any signature, from another provider or a client that dropped it, get the stand-in on the first of them.
fn stand_in(parts: &mut [Value]) {
    let is_call = |p: &Value| p.get("functionCall").is_some();
    if parts.iter().any(|p| is_call(p) && p.get("thoughtSignature").is_some()) {
        return;
    }
    if let Some(first) = parts.iter_mut().find(|p| is_call(p)) {
        first["thoughtSignature"] = NO_SIGNATURE.into();
    }
}

/// Results in the order of the calls; those of unknown calls last.
fn in_order(parts: Vec<Value>, ids: &[String], calls: &[String]) -> Vec<Value> {
    let place = |id: &String| calls.iter().position(|c| c == id).unwrap_or(usize::MAX);
    let mut ordered: Vec<(usize, Value)> = ids.iter().map(place).zip(parts).collect();
    ordered.sort_by_key(|(place, _)| *place);
    ordered.into_iter().map(|(_, part)| part).collect()
}

/// Arguments as the object that Gemini wants, and whether they were one.
pub(super) fn args(text: &str) -> (Value, bool) {
    if text.trim().is_empty() {
        return (json!({}), true);
    }
    match crate::json::read::<Value>(text) {
        Ok(object @ Value::Object(_)) => (object, !crate::json::has_wide_numbers(text.as_bytes())),
        Ok(other) => (json!({"arguments": other}), false),
        Err(_) => (json!({"arguments": text}), false),
    }
}
