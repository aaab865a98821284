//! Messages → chat's messages.

use serde_json::{Value, json};

use super::{cache_control, tool_name};
use crate::{
    chat::{details, media},
    custom,
    ir::{Block, Family, Message, Request, Role},
    losses::Losses,
};

/// What one inner message becomes.
#[derive(Default)]
struct Pieces {
    results: Vec<Value>,
    /// Media of results, which chat takes only from the user.
    moved: Vec<Value>,
    parts: Vec<Value>,
    calls: Vec<Value>,
    reasoning: String,
    /// `reasoning_details` of the provider that this goes to.
    details: Vec<Value>,
    refusal: Option<String>,
}

/// Nothing may stand between calls and their results, so media of results wait for the last of them.
pub(super) fn messages(request: &Request, is_own: bool, losses: &mut Losses) -> Vec<Value> {
    let (mut out, mut moved) = (Vec::new(), Vec::new());
    for (index, message) in request.messages.iter().enumerate() {
        if message.role != Role::Tool {
            flush(&mut moved, &mut out);
        }
        self::message(index, message, is_own, &mut moved, &mut out, losses);
    }
    flush(&mut moved, &mut out);
    out
}

/// Puts what an assistant said behind what it said right before: results must come behind all calls of a turn, and a turn is one message here.
fn push(message: Value, out: &mut Vec<Value>) {
    let is_calling = |m: &&mut Value| m["role"] == "assistant" && m.get("tool_calls").is_some();
    let Some(before) = out.last_mut().filter(is_calling).filter(|_| message["role"] == "assistant") else { return out.push(message) };
    let Value::Object(message) = message else { return };
    for (name, more) in message {
        match (before.get_mut(&name), more) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(Value::String(text)), Value::String(more)) if name == "reasoning_content" => text.push_str(&more),
            (Some(content), more) if name == "content" => {
                let mut parts = parts_of(content.take());
                parts.extend(parts_of(more));
                *content = self::content(parts, true);
            }
            (Some(_), _) => {}
            (None, more) => before[name] = more,
        }
    }
}

fn parts_of(content: Value) -> Vec<Value> {
    match content {
        Value::Array(parts) => parts,
        Value::String(text) if !text.is_empty() => vec![json!({"type": "text", "text": text})],
        _ => Vec::new(),
    }
}

fn flush(moved: &mut Vec<Value>, out: &mut Vec<Value>) {
    if !moved.is_empty() {
        out.push(json!({"role": "user", "content": std::mem::take(moved)}));
    }
}

/// One inner message may hold several tool results, each of which is a chat message of its own.
fn message(index: usize, m: &Message, is_own: bool, moved: &mut Vec<Value>, out: &mut Vec<Value>, losses: &mut Losses) {
    let mut writer = Writer { is_own, losses, pieces: Pieces::default() };
    for (at, block) in m.blocks.iter().enumerate() {
        writer.block(m.role, block, &format!("messages[{index}].blocks[{at}]"));
    }
    let Pieces { mut results, moved: mut media, parts, calls, reasoning, details, refusal } = writer.pieces;
    let has_results = !results.is_empty();
    out.append(&mut results);
    moved.append(&mut media);
    let is_silent = parts.is_empty() && calls.is_empty() && refusal.is_none() && reasoning.is_empty() && details.is_empty();
    let role = match m.role {
        Role::System => "system",
        Role::Developer => "developer",
        // What a user says beside results, or what they hold besides text.
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    if is_silent && (has_results || m.role == Role::Tool) {
        return;
    }
    flush(moved, out);
    if is_silent && m.blocks.is_empty() {
        losses.drop(format!("messages[{index}]"));
    }
    let says_more = !calls.is_empty() || refusal.is_some();
    let mut written = json!({"role": role, "content": content(parts, says_more)});
    if let Some(name) = &m.name {
        written["name"] = name.as_str().into();
    }
    if !reasoning.is_empty() {
        written["reasoning_content"] = reasoning.into();
    }
    if !details.is_empty() {
        written["reasoning_details"] = details.into();
    }
    if let Some(refusal) = refusal {
        written["refusal"] = refusal.into();
    }
    if !calls.is_empty() {
        written["tool_calls"] = calls.into();
    }
    if is_own { out.push(written) } else { push(written, out) }
}

struct Writer<'a> {
    is_own: bool,
    losses: &'a mut Losses,
    pieces: Pieces,
}

impl Writer<'_> {
    fn block(&mut self, role: Role, block: &Block, path: &str) {
        match block {
            Block::Reasoning { text, state } if role == Role::Assistant => match state.as_ref().map(details::of_state) {
                // The text stands in them too.
                Some(Some(mut own)) => self.pieces.details.append(&mut own),
                state => {
                    self.pieces.reasoning.push_str(text);
                    if state.is_some() {
                        self.losses.drop(format!("{path}.state"));
                    }
                }
            },
            Block::Refusal { text } if role == Role::Assistant => self.pieces.refusal.get_or_insert_default().push_str(text),
            Block::ToolCall { id, name, arguments, state } if role == Role::Assistant => {
                if state.is_some() {
                    self.losses.drop(format!("{path}.state"));
                }
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                let function = json!({"name": tool_name(name, self.is_own), "arguments": arguments});
                self.pieces.calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            Block::ToolResult { call_id, name, blocks, is_error } => self.result(call_id, name.as_deref(), blocks, *is_error, path),
            Block::Opaque { family: Family::Responses, value } if custom::is_call(value) => {
                self.note_item(value, &["call_id", "name", "input"], path);
                self.pieces.calls.push(custom::chat_call(value));
            }
            Block::Opaque { family: Family::Responses, value } if custom::is_output(value) => {
                self.note_item(value, &["call_id", "output"], path);
                self.pieces.results.push(custom::chat_output(value));
            }
            Block::CacheMark { ttl } if self.is_own => {
                let place =
                    if role == Role::Tool { self.pieces.results.last_mut().and_then(last_part) } else { self.pieces.parts.last_mut() };
                let is_free = |part: &&mut Value| part.get("prompt_cache_breakpoint").or(part.get("cache_control")).is_none();
                match (place.filter(is_free), ttl) {
                    (Some(part), None) => part["prompt_cache_breakpoint"] = json!({"mode": "explicit"}),
                    (Some(part), Some(ttl)) => part["cache_control"] = cache_control(Some(ttl)),
                    (None, _) => self.losses.drop(block.name_at(path)),
                }
            }
            other => {
                if let Some(part) = self.part(other, path) {
                    self.pieces.parts.push(part);
                }
            }
        }
    }

    fn result(&mut self, call_id: &str, name: Option<&str>, blocks: &[Block], is_error: bool, path: &str) {
        if is_error {
            self.losses.drop(format!("{path}.is_error"));
        }
        let mut inner = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            let path = format!("{path}.blocks[{at}]");
            let Some(part) = self.part(block, &path) else { continue };
            if self.is_own || part["type"] == "text" {
                inner.push(part);
            } else {
                self.losses.change(path);
                self.pieces.moved.push(part);
            }
        }
        let mut result = json!({"role": "tool", "tool_call_id": call_id, "content": content(inner, false)});
        if let Some(name) = name.filter(|_| self.is_own) {
            result["name"] = name.into();
        }
        self.pieces.results.push(result);
    }

    fn part(&mut self, block: &Block, path: &str) -> Option<Value> {
        let written = match block {
            Block::Text { text } => Some(json!({"type": "text", "text": text})),
            Block::Refusal { text } => {
                self.losses.change(path);
                return Some(json!({"type": "text", "text": text}));
            }
            Block::Media(media) => {
                let written = media::written(media, self.is_own);
                if let Some(part) = &written {
                    self.note_media(media, part, path);
                }
                written
            }
            Block::Opaque { family: Family::Chat, value } => Some(value.clone()),
            _ => None,
        };
        if written.is_none() {
            self.losses.drop(block.name_at(path));
        }
        written
    }

    /// What an item of Responses says beyond what chat has a member for; labels say nothing.
    fn note_item(&mut self, item: &Value, read: &[&str], path: &str) {
        let names = item.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        names
            .filter(|name| !read.contains(name) && !["type", "id", "status"].contains(name))
            .for_each(|name| self.losses.drop(format!("{path}.{name}")));
    }

    /// What the part has no member for.
    fn note_media(&mut self, media: &crate::ir::Media, part: &Value, path: &str) {
        if media.file_name.is_some() && part["type"] != "file" {
            self.losses.drop(format!("{path}.file_name"));
        }
        if media.detail.as_deref().is_some_and(|d| d != "auto") && part["type"] != "image_url" {
            self.losses.drop(format!("{path}.detail"));
        }
    }
}

/// The last part of a message; a text of its own becomes a part.
fn last_part(message: &mut Value) -> Option<&mut Value> {
    if let Value::String(text) = &mut message["content"] {
        let text = std::mem::take(text);
        message["content"] = json!([{"type": "text", "text": text}]);
    }
    message["content"].as_array_mut()?.last_mut()
}

/// A single text is written as text; nothing as null beside what else is said, else as an empty text.
fn content(mut parts: Vec<Value>, says_more: bool) -> Value {
    match parts.as_mut_slice() {
        [] if says_more => Value::Null,
        [] => "".into(),
        [one] if one["type"] == "text" && one.as_object().is_some_and(|o| o.len() == 2) => one["text"].take(),
        _ => parts.into(),
    }
}
