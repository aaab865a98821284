//! Content blocks of requests → blocks.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{answer::state, fields::Fields};
use crate::{
    error::Failure,
    ir::{Block, Family, Media, Source},
    names,
};

/// Reads content. What a block says beyond the inner language is kept under its path (`messages[0].content[1].citations`).
pub(super) struct ContentReader<'a> {
    pub(super) extra: &'a mut Map<String, Value>,
}

impl ContentReader<'_> {
    /// A text or a list of blocks; `None` is nothing.
    pub(super) fn content(&mut self, value: Option<Value>, path: &str) -> Result<Vec<Block>, Failure> {
        match value {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![Block::Text { text }]),
            Some(Value::Array(items)) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.into_iter().enumerate() {
                    self.block(item, format!("{path}[{i}]"), &mut out)?;
                }
                Ok(out)
            }
            Some(_) => Err(Failure::invalid(path, format!("`{path}` must be a string or a list of content blocks"))),
        }
    }

    fn block(&mut self, value: Value, path: String, out: &mut Vec<Block>) -> Result<(), Failure> {
        let mut fields = Fields::of(value, path)?;
        let kind = fields.needed_text("type")?;
        let mark = cache_mark(&mut fields)?;
        let block = match kind.as_str() {
            "text" => Block::Text { text: fields.needed_text("text")? },
            "thinking" => {
                let text = fields.text("thinking")?.unwrap_or_default();
                Block::Reasoning { text, state: state(fields.text("signature")?.as_deref(), None) }
            }
            "redacted_thinking" => {
                let data = fields.needed_text("data")?;
                Block::Reasoning { text: String::new(), state: state(None, Some(&data)) }
            }
            "tool_use" => call(&mut fields)?,
            "tool_result" => self.result(&mut fields)?,
            "image" | "document" => media(&kind, &mut fields, self.extra)?,
            _ => opaque(&kind, &mut fields),
        };
        fields.keep_rest(self.extra);
        out.push(block);
        out.extend(mark);
        Ok(())
    }

    fn result(&mut self, fields: &mut Fields) -> Result<Block, Failure> {
        let call_id = names::unescape(&fields.needed_text("tool_use_id")?).into_owned();
        let path = fields.path("content");
        let blocks = or_empty_text(self.content(fields.any("content"), &path)?);
        Ok(Block::ToolResult { call_id, name: None, blocks, is_error: fields.flag("is_error")?.unwrap_or(false) })
    }
}

/// Other dialects need something to be said, even if it is nothing.
pub(super) fn or_empty_text(blocks: Vec<Block>) -> Vec<Block> {
    if blocks.is_empty() { vec![Block::Text { text: String::new() }] } else { blocks }
}

/// How long `cache_control`, if there is one, wants to keep: empty where the provider's default is meant.
pub(super) fn cache_ttl(fields: &mut Fields) -> Result<Option<String>, Failure> {
    let Some(mut control) = fields.object("cache_control")? else { return Ok(None) };
    let ttl = control.text("ttl")?.unwrap_or_default();
    control.any("type");
    let rest = control.drain();
    if !rest.is_empty() {
        fields.put("cache_control", rest.into());
    }
    Ok(Some(ttl))
}

fn cache_mark(fields: &mut Fields) -> Result<Option<Block>, Failure> {
    Ok(cache_ttl(fields)?.map(|ttl| Block::CacheMark { ttl: Some(ttl).filter(|t| !t.is_empty()) }))
}

fn call(fields: &mut Fields) -> Result<Block, Failure> {
    let id = names::unescape(&fields.needed_text("id")?).into_owned();
    let name = fields.needed_text("name")?;
    let arguments = match fields.any("input") {
        None => "{}".to_owned(),
        Some(input @ Value::Object(_)) => input.to_string(),
        Some(_) => return Err(fields.wrong("input", "must be an object")),
    };
    // The usual caller, the model itself, goes without saying.
    if let Some(caller) = fields.any("caller").filter(|c| c["type"] != "direct") {
        fields.put("caller", caller);
    }
    Ok(Block::ToolCall { id, name, arguments, state: None })
}

/// What is not understood is carried whole, its members in their order.
fn opaque(kind: &str, fields: &mut Fields) -> Block {
    let mut value = Map::from_iter([("type".to_owned(), Value::from(kind))]);
    value.extend(fields.drain());
    Block::Opaque { family: Family::Messages, value: value.into() }
}

fn media(kind: &str, fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Block, Failure> {
    let (hidden, is_image) = if kind == "image" { ("image/*", true) } else { ("application/pdf", false) };
    let mut source =
        fields.object("source")?.ok_or_else(|| fields.wrong("source", "is missing: it holds the data, a URL or a file's id"))?;
    let form = source.needed_text("type")?;
    let (mime, bytes) = match form.as_str() {
        "base64" => {
            let mime = source.needed_text("media_type")?;
            (mime, Source::Base64(source.needed_text("data")?))
        }
        "url" => (hidden.to_owned(), Source::Url(source.needed_text("url")?)),
        "file" => {
            let mime = if is_image { hidden } else { "application/octet-stream" };
            (mime.to_owned(), Source::File(source.needed_text("file_id")?))
        }
        "text" if !is_image => {
            let mime = source.text("media_type")?.unwrap_or_else(|| "text/plain".to_owned());
            (mime, Source::Base64(STANDARD.encode(source.needed_text("data")?)))
        }
        // A document made of blocks.
        _ => {
            let mut whole = source.drain();
            whole.shift_insert(0, "type".to_owned(), form.into());
            fields.put("source", whole.into());
            return Ok(opaque(kind, fields));
        }
    };
    source.keep_rest(extra);
    let file_name = if is_image { None } else { fields.text("title")? };
    Ok(Block::Media(Media { mime, source: bytes, file_name, detail: None }))
}
