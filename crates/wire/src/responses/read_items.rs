//! `input` items → messages and blocks.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    decode::keep_unknown,
    read::{Fields, unknown, wrong},
    types::{data_url, joined},
};
use crate::{
    chat::sound,
    error::Failure,
    ir::{Block, Family, Media, Message, Role, Source, State},
};

/// Members of items that a server gives to each and that say nothing in a request.
const LABELS: [&str; 3] = ["type", "id", "status"];

/// Appends the messages that `input` stands for.
///
/// # Errors
/// A failure that names the item and field: neither text nor list, an item without a type, an unknown role, a wrong type.
pub(super) fn messages(input: Value, out: &mut Vec<Message>, extra: &mut Map<String, Value>) -> Result<(), Failure> {
    match input {
        Value::String(text) => out.push(Message::text(Role::User, text)),
        Value::Array(items) => {
            let first = out.len();
            let mut turns = Turns { out, extra, first, opaque_calls: HashSet::new() };
            for (index, item) in items.into_iter().enumerate() {
                turns.item(Fields::from_value(item, format!("input[{index}]"))?)?;
            }
        }
        other => return Err(wrong("input", "a text or a list of items", &other)),
    }
    Ok(())
}

struct Turns<'a> {
    out: &'a mut Vec<Message>,
    /// What items say beyond the inner language, by path.
    extra: &'a mut Map<String, Value>,
    /// Where the input begins; `instructions` stand before it.
    first: usize,
    /// Ids of calls that travel as they are, whose outputs then must as well.
    opaque_calls: HashSet<String>,
}

impl Turns<'_> {
    fn item(&mut self, mut item: Fields) -> Result<(), Failure> {
        let kind = match item.peek("type") {
            Some(Value::String(kind)) => kind.clone(),
            None if item.peek("role").is_some() => "message".to_owned(),
            Some(other) => return Err(wrong(&item.at("type"), "a text", other)),
            None => {
                return item.needed(
                    "type",
                    None,
                    "message, function_call, function_call_output, reasoning or another item's type is needed",
                );
            }
        };
        match kind.as_str() {
            "message" => self.message(item),
            "reasoning" => self.reasoning(item),
            "function_call" if is_plain_call(item.peek("caller"), item.peek("namespace")) => {
                let id = item.text("call_id")?.or(item.text("id")?);
                let block = Block::ToolCall {
                    id: item.needed("call_id", id, "the id that the call's output names")?,
                    name: item.text("name").and_then(|name| item.needed("name", name, "the function's name is needed"))?,
                    arguments: match item.take("arguments") {
                        Some(Value::String(text)) if !text.trim().is_empty() => text,
                        None | Some(Value::String(_)) => "{}".to_owned(),
                        Some(object @ Value::Object(_)) => object.to_string(),
                        Some(other) => return Err(wrong(&item.at("arguments"), "JSON as a text", &other)),
                    },
                    state: None,
                };
                item.take("caller");
                keep_rest(item, self.extra);
                self.assistant().push(block);
                Ok(())
            }
            "function_call_output" if !self.answers_opaque_call(&item) => self.output(item),
            _ => {
                self.opaque(&kind, item);
                Ok(())
            }
        }
    }

    fn answers_opaque_call(&self, item: &Fields) -> bool {
        item.peek("call_id").and_then(Value::as_str).is_some_and(|id| self.opaque_calls.contains(id))
    }

    /// The turn of the assistant that is open, or a new one.
    fn assistant(&mut self) -> &mut Vec<Block> {
        if !matches!(self.out[self.first..].last(), Some(m) if m.role == Role::Assistant) {
            self.out.push(Message { role: Role::Assistant, name: None, blocks: Vec::new() });
        }
        let last = self.out.len() - 1;
        &mut self.out[last].blocks
    }

    fn message(&mut self, mut item: Fields) -> Result<(), Failure> {
        let role = item.text("role")?;
        let role = match item.needed("role", role, "user, assistant, system or developer is needed")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            other => return Err(unknown(&item.at("role"), other, "user, assistant, system and developer")),
        };
        let mut blocks = Vec::new();
        if let Some(phase) = item.text("phase")? {
            blocks.push(Block::Opaque { family: Family::Responses, value: json!({ "phase": phase }) });
        }
        match item.take("content") {
            Some(Value::String(text)) => blocks.push(Block::Text { text }),
            Some(Value::Array(parts)) => read_parts(parts, &item.at("content"), &mut blocks, self.extra)?,
            None if role == Role::Assistant => {}
            None => return item.needed("content", None, "a text or a list of parts is needed"),
            Some(other) => return Err(wrong(&item.at("content"), "a text or a list of parts", &other)),
        }
        keep_rest(item, self.extra);
        if role == Role::Assistant && !self.ends_a_turn_of_text() {
            self.assistant().extend(blocks);
        } else {
            self.out.push(Message { role, name: None, blocks });
        }
        Ok(())
    }

    /// Whether the open turn is only text (and the thinking before it): another message is then a turn of its own. After a call it
    /// isn't, since nothing may stand between calls and their outputs.
    fn ends_a_turn_of_text(&self) -> bool {
        matches!(self.out[self.first..].last(), Some(Message { role: Role::Assistant, blocks, .. })
            if matches!(blocks.last(), Some(Block::Text { .. } | Block::Refusal { .. }))
                && blocks.iter().all(|b| matches!(b, Block::Text { .. } | Block::Refusal { .. } | Block::Reasoning { .. })
                    || matches!(b, Block::Opaque { value, .. } if value.get("type").is_none())))
    }

    fn reasoning(&mut self, mut item: Fields) -> Result<(), Failure> {
        let (id, encrypted) = (item.text("id")?, item.text("encrypted_content")?);
        let mut texts = |name: &str| -> Result<String, Failure> {
            let list = item.list(name)?.unwrap_or_default();
            for (at, part) in list.iter().enumerate() {
                keep_unknown(part, &format!("{}[{at}]", item.at(name)), &["type", "text"], self.extra);
            }
            Ok(joined(&list.into()))
        };
        let (summary, content) = (texts("summary")?, texts("content")?);
        keep_rest(item, self.extra);
        let text = if summary.is_empty() { content } else { summary };
        let state = (id.is_some() || encrypted.is_some()).then_some(State { family: Family::Responses, id, signature: None, encrypted });
        self.assistant().push(Block::Reasoning { text, state });
        Ok(())
    }

    fn output(&mut self, mut item: Fields) -> Result<(), Failure> {
        let call_id = item.text("call_id")?;
        let call_id = item.needed("call_id", call_id, "it names the call that this output answers")?;
        let mut blocks = Vec::new();
        match item.take("output") {
            Some(Value::String(text)) => blocks.push(Block::Text { text }),
            Some(Value::Array(parts)) => read_parts(parts, &item.at("output"), &mut blocks, self.extra)?,
            None => return item.needed("output", None, "a text or a list of parts is needed"),
            Some(other) => return Err(wrong(&item.at("output"), "a text or a list of parts", &other)),
        }
        let result = Block::ToolResult { call_id, name: item.text("name")?, blocks, is_error: false };
        keep_rest(item, self.extra);
        self.out.push(Message { role: Role::Tool, name: None, blocks: vec![result] });
        Ok(())
    }

    /// An item that only Responses understands: hosted and custom tools, compaction, references.
    fn opaque(&mut self, kind: &str, item: Fields) {
        let value = Value::Object(item.into_map());
        let block = |value| Block::Opaque { family: Family::Responses, value };
        if kind.ends_with("_output") {
            self.out.push(Message { role: Role::Tool, name: None, blocks: vec![block(value)] });
            return;
        }
        if let Some(id) = value["call_id"].as_str() {
            self.opaque_calls.insert(id.to_owned());
        }
        self.assistant().push(block(value));
    }
}

/// Calls made by a program or inside a namespace mean nothing to other dialects.
pub(super) fn is_plain_call(caller: Option<&Value>, namespace: Option<&Value>) -> bool {
    caller.is_none_or(|c| c.is_null() || c["type"] == "direct") && namespace.is_none_or(Value::is_null)
}

/// Keeps what was not read, less the labels.
fn keep_rest(item: Fields, extra: &mut Map<String, Value>) {
    let path = item.at("");
    let says_something = |v: &Value| v.as_array().is_none_or(|a| !a.is_empty());
    let rest = item.rest().into_iter().filter(|(name, v)| !LABELS.contains(&name.as_str()) && says_something(v));
    extra.extend(rest.map(|(name, value)| (format!("{path}{name}"), value)));
}

fn read_parts(parts: Vec<Value>, path: &str, out: &mut Vec<Block>, extra: &mut Map<String, Value>) -> Result<(), Failure> {
    for (at, part) in parts.into_iter().enumerate() {
        let mut part = Fields::from_value(part, format!("{path}[{at}]"))?;
        let mark = part.take("prompt_cache_breakpoint");
        let is_marked = mark.is_some();
        keep_unknown(&mark.unwrap_or_default(), &part.at("prompt_cache_breakpoint"), &["mode"], extra);
        let annotations = part.take("annotations").filter(|a| a.as_array().is_some_and(|a| !a.is_empty()));
        // Echoed from an answer.
        part.take("logprobs");
        out.push(read_part(part, extra)?);
        if let Some(annotations) = annotations {
            out.push(Block::Opaque { family: Family::Responses, value: json!({ "annotations": annotations }) });
        }
        if is_marked {
            out.push(Block::CacheMark { ttl: None });
        }
    }
    Ok(())
}

fn read_part(mut part: Fields, extra: &mut Map<String, Value>) -> Result<Block, Failure> {
    let kind = part.peek("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            let text = part.text("text")?;
            let text = part.needed("text", text, "the part's text is needed")?;
            keep_rest(part, extra);
            Ok(Block::Text { text })
        }
        "refusal" => {
            let text = part.text("refusal")?;
            let text = part.needed("refusal", text, "the refusal's text is needed")?;
            keep_rest(part, extra);
            Ok(Block::Refusal { text })
        }
        "input_image" => image(part, extra),
        "input_file" => file(part, extra),
        "input_audio" => {
            let audio = part.object("input_audio")?;
            let mut audio = part.needed("input_audio", audio, "an object with data and format is needed")?;
            let data = audio.text("data")?;
            let source = Source::Base64(audio.needed("data", data, "the sound as base64 is needed")?);
            let mime = sound(audio.text("format")?.as_deref().unwrap_or("wav"));
            keep_rest(audio, extra);
            keep_rest(part, extra);
            Ok(Block::Media(Media { mime, source, file_name: None, detail: None }))
        }
        "" => part.needed("type", None, "input_text, input_image, input_file, output_text or refusal is needed"),
        _ => Ok(Block::Opaque { family: Family::Responses, value: Value::Object(part.into_map()) }),
    }
}

fn image(mut part: Fields, extra: &mut Map<String, Value>) -> Result<Block, Failure> {
    // The default everywhere; this dialect's clients have to say it.
    let detail = part.text("detail")?.filter(|d| d != "auto");
    let url = match part.take("image_url") {
        // Chat's form, which some clients keep.
        Some(Value::Object(mut image)) => image.remove("url"),
        other => other,
    };
    let (mime, source) = match (url, part.text("file_id")?) {
        (Some(Value::String(url)), _) => match data_url(&url) {
            Some((mime, data)) => (mime.to_owned(), Source::Base64(data.to_owned())),
            None => ("image/*".to_owned(), Source::Url(url)),
        },
        (Some(other), _) => return Err(wrong(&part.at("image_url"), "a URL or data URL as a text", &other)),
        (None, Some(id)) => ("image/*".to_owned(), Source::File(id)),
        (None, None) => return part.needed("image_url", None, "a URL, a data URL or a file_id is needed"),
    };
    keep_rest(part, extra);
    Ok(Block::Media(Media { mime, source, file_name: None, detail }))
}

fn file(mut part: Fields, extra: &mut Map<String, Value>) -> Result<Block, Failure> {
    let (file_name, detail) = (part.text("filename")?, part.text("detail")?);
    let guess = |name: &str| mime_of_name(file_name.as_deref().unwrap_or(name)).to_owned();
    let (mime, source) = match (part.text("file_data")?, part.text("file_url")?, part.text("file_id")?) {
        (Some(data), _, _) => match data_url(&data) {
            Some((mime, data)) => (mime.to_owned(), Source::Base64(data.to_owned())),
            None => (guess(""), Source::Base64(data)),
        },
        (None, Some(url), _) => (guess(url.split(['?', '#']).next().unwrap_or_default()), Source::Url(url)),
        (None, None, Some(id)) => (guess(""), Source::File(id)),
        (None, None, None) => return part.needed("file_data", None, "file_data, file_url or file_id is needed"),
    };
    keep_rest(part, extra);
    Ok(Block::Media(Media { mime, source, file_name, detail }))
}

/// What a file's name says about its kind, for dialects that need to be told.
fn mime_of_name(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
        Some("pdf") => "application/pdf",
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("csv") => "text/csv",
        Some("html" | "htm") => "text/html",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
