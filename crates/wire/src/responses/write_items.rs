//! Messages and blocks → `input` items.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::types::call_id;
use crate::{
    chat::sound_format,
    ir::{Block, Family, Media, Message, Role, Source, State},
    losses::Losses,
    names,
};

/// Writes messages as items; `first` is the index of the first one in the request, for the paths of losses.
///
/// `own`: the request came in this dialect, so state without its encrypted form may still be known to the server.
pub(super) fn items(messages: &[Message], first: usize, own: bool, losses: &mut Losses) -> Vec<Value> {
    let mut writer = Writer { out: Vec::new(), losses, own };
    for (index, message) in messages.iter().enumerate() {
        writer.message(&format!("messages[{}]", first + index), message);
    }
    writer.out
}

struct Writer<'a> {
    out: Vec<Value>,
    losses: &'a mut Losses,
    own: bool,
}

/// The message item that is being collected.
#[derive(Default)]
struct Parts {
    parts: Vec<Value>,
    phase: Option<Value>,
}

impl Writer<'_> {
    fn message(&mut self, path: &str, message: &Message) {
        if message.name.is_some() {
            self.losses.drop(format!("{path}.name"));
        }
        if message.blocks.is_empty() {
            self.losses.drop(path);
        }
        let mut open = Parts::default();
        for (at, block) in message.blocks.iter().enumerate() {
            self.block(&format!("{path}.blocks[{at}]"), message.role, block, &mut open);
        }
        self.flush(message.role, &mut open);
    }

    fn block(&mut self, path: &str, role: Role, block: &Block, open: &mut Parts) {
        // A message has one phase: with the next one another message begins.
        if matches!(block, Block::Opaque { family: Family::Responses, value } if value.get("phase").is_some()) {
            self.flush(role, open);
        }
        let item = match block {
            Block::Reasoning { text, state } => self.reasoning(path, text, state.as_ref()),
            Block::ToolCall { id, name, arguments, state } => {
                if state.is_some() {
                    self.losses.drop(format!("{path}.state"));
                }
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                Some(json!({"type": "function_call", "call_id": self.id(path, id), "name": self.name(name), "arguments": arguments}))
            }
            Block::ToolResult { call_id, name, blocks, is_error } => Some(self.output(path, call_id, name.as_deref(), blocks, *is_error)),
            Block::Opaque { family: Family::Responses, value } if is_item(role, value) => Some(value.clone()),
            _ => {
                self.part(path, role, block, open);
                return;
            }
        };
        if let Some(item) = item {
            self.flush(role, open);
            self.out.push(item);
        }
    }

    fn flush(&mut self, role: Role, open: &mut Parts) {
        let Parts { parts, phase } = std::mem::take(open);
        if parts.is_empty() && phase.is_none() {
            return;
        }
        let role = match role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let mut item = json!({"type": "message", "role": role, "content": content(parts)});
        if let Some(phase) = phase {
            item["phase"] = phase;
        }
        self.out.push(item);
    }

    /// Names of other dialects may have signs that OpenAI refuses; answers bring the original back.
    fn name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.own { Cow::Borrowed(name) } else { names::escape(name) }
    }

    fn id(&mut self, path: &str, id: &str) -> String {
        let short = call_id(id);
        if short != id {
            self.losses.change(format!("{path}.id"));
        }
        short
    }

    /// Reasoning goes back only with the state that its provider knows it by: a bare text would be refused or ignored.
    fn reasoning(&mut self, path: &str, text: &str, state: Option<&State>) -> Option<Value> {
        let known = state.filter(|s| s.family == Family::Responses && (s.encrypted.is_some() || (self.own && s.id.is_some())));
        let Some(state) = known else {
            self.losses.drop(path);
            return None;
        };
        let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
        let mut item = json!({"type": "reasoning", "summary": summary});
        if let Some(id) = &state.id {
            item["id"] = id.as_str().into();
        }
        if let Some(encrypted) = &state.encrypted {
            item["encrypted_content"] = encrypted.as_str().into();
        }
        Some(item)
    }

    fn output(&mut self, path: &str, call: &str, name: Option<&str>, blocks: &[Block], is_error: bool) -> Value {
        if is_error {
            self.losses.drop(format!("{path}.is_error"));
        }
        let mut inner = Parts::default();
        for (at, block) in blocks.iter().enumerate() {
            self.part(&format!("{path}.blocks[{at}]"), Role::Tool, block, &mut inner);
        }
        let output = if inner.parts.is_empty() { json!("") } else { content(inner.parts) };
        let mut item = json!({"type": "function_call_output", "call_id": self.id(path, call), "output": output});
        if let Some(name) = name.filter(|_| self.own) {
            item["name"] = name.into();
        }
        item
    }

    fn part(&mut self, path: &str, role: Role, block: &Block, open: &mut Parts) {
        let by_assistant = role == Role::Assistant;
        match block {
            Block::Text { text } if by_assistant => open.parts.push(json!({"type": "output_text", "text": text, "annotations": []})),
            Block::Text { text } => open.parts.push(json!({"type": "input_text", "text": text})),
            Block::Refusal { text } if by_assistant => open.parts.push(json!({"type": "refusal", "refusal": text})),
            Block::Media(media) if !by_assistant && (self.own || is_carried(media)) => {
                let part = media_part(media);
                if media.file_name.is_some() && part["type"] != "input_file" {
                    self.losses.drop(format!("{path}.file_name"));
                }
                if media.detail.as_deref().is_some_and(|d| d != "auto") && part["type"] == "input_audio" {
                    self.losses.drop(format!("{path}.detail"));
                }
                open.parts.push(part);
            }
            // Breakpoints are known to few models: only a caller of this dialect can mean them.
            Block::CacheMark { ttl } if self.own && ttl.is_none() => match open.parts.last_mut() {
                Some(part) if part.get("prompt_cache_breakpoint").is_none() => {
                    part["prompt_cache_breakpoint"] = json!({"mode": "explicit"});
                }
                _ => self.losses.drop(block.name_at(path)),
            },
            Block::Opaque { family: Family::Responses, value } => {
                match (value.get("phase"), value.get("annotations"), open.parts.last_mut()) {
                    _ if value.get("type").is_some() => open.parts.push(value.clone()),
                    (Some(phase), ..) => open.phase = Some(phase.clone()),
                    (None, Some(annotations), Some(part)) => part["annotations"] = annotations.clone(),
                    _ => self.losses.drop(path),
                }
            }
            _ => self.losses.drop(block.name_at(path)),
        }
    }
}

/// Whether an opaque value is an item of its own or a part of a message.
fn is_item(role: Role, value: &Value) -> bool {
    let kind = value["type"].as_str().unwrap_or_default();
    !kind.is_empty() && matches!(role, Role::Assistant | Role::Tool) && !kind.starts_with("output_")
}

/// A single plain text is written as text.
fn content(mut parts: Vec<Value>) -> Value {
    let is_plain = |part: &Value| {
        let members = part.as_object().map_or(0, serde_json::Map::len);
        match part["type"].as_str() {
            Some("input_text") => members == 2,
            Some("output_text") => members == 3 && part["annotations"].as_array().is_some_and(Vec::is_empty),
            _ => false,
        }
    };
    match parts.as_mut_slice() {
        [part] if is_plain(part) => part["text"].take(),
        _ => parts.into(),
    }
}

/// What another dialect's caller may send here: others' ids of files mean nothing, and sound and films are refused (API reference, "Create a
/// model response": text, images and files).
fn is_carried(media: &Media) -> bool {
    !matches!(media.source, Source::File(_)) && !["audio/", "video/"].iter().any(|kind| media.mime.starts_with(kind))
}

/// `input_image`, `input_audio` or `input_file`.
fn media_part(media: &Media) -> Value {
    let data = || match &media.source {
        Source::Base64(data) => format!("data:{};base64,{data}", media.mime),
        Source::Url(text) | Source::File(text) => text.clone(),
    };
    if media.mime.starts_with("image/") {
        let name = if matches!(media.source, Source::File(_)) { "file_id" } else { "image_url" };
        return json!({"type": "input_image", "detail": media.detail.as_deref().unwrap_or("auto"), name: data()});
    }
    if let (Some(format), Source::Base64(data)) = (sound_format(&media.mime), &media.source) {
        return json!({"type": "input_audio", "input_audio": {"data": data, "format": format}});
    }
    let name = match media.source {
        Source::Base64(_) => "file_data",
        Source::Url(_) => "file_url",
        Source::File(_) => "file_id",
    };
    let mut part = json!({"type": "input_file", name: data()});
    match (&media.file_name, &media.source) {
        (Some(file_name), _) => part["filename"] = file_name.as_str().into(),
        // Data without a name is refused.
        (None, Source::Base64(_)) => part["filename"] = default_name(&media.mime).into(),
        _ => {}
    }
    if let Some(detail) = &media.detail {
        part["detail"] = detail.as_str().into();
    }
    part
}

pub(crate) fn default_name(mime: &str) -> String {
    let end = match mime {
        "application/pdf" => "pdf",
        "text/plain" => "txt",
        "text/markdown" => "md",
        "text/csv" => "csv",
        "text/html" => "html",
        "application/json" => "json",
        _ => "bin",
    };
    format!("file.{end}")
}
