//! Text, media and cache marks, which stand in messages, in results and in the system prompt alike.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::CACHE_MARKS_MAX;
use crate::{
    ir::{Block, Family, Media, Source},
    losses::Losses,
};

/// Writes one block that is neither a thought nor a call nor a result; what cannot be carried is noted.
/// `is_own`: ids of files are of this family.
pub(super) fn part(block: &Block, is_own: bool, path: &str, losses: &mut Losses) -> Option<Value> {
    let written = match block {
        // The API refuses text of white space alone.
        Block::Text { text } if text.is_empty() => return None,
        Block::Text { text } if !text.trim().is_empty() => Some(json!({"type": "text", "text": text})),
        Block::Refusal { text } if !text.trim().is_empty() => {
            losses.change(path);
            Some(json!({"type": "text", "text": text}))
        }
        Block::Media(media) => {
            if media.detail.as_deref().is_some_and(|d| d != "auto") {
                losses.drop(format!("{path}.detail"));
            }
            let written = source(media, is_own);
            if media.file_name.is_some() && written.as_ref().is_some_and(|w| w["type"] == "image") {
                losses.drop(format!("{path}.file_name"));
            }
            written
        }
        Block::Opaque { family: Family::Messages, value } if value.is_object() => Some(value.clone()),
        _ => None,
    };
    if written.is_none() {
        losses.drop(path);
    }
    written
}

fn source(media: &Media, is_own: bool) -> Option<Value> {
    let mime = document_mime(media);
    let is_image = mime.starts_with("image/");
    let source = match &media.source {
        Source::File(id) => is_own.then(|| json!({"type": "file", "file_id": id}))?,
        Source::Url(url) if !url.starts_with("https://") && !url.starts_with("http://") => return None,
        Source::Url(url) if is_image || mime == "application/pdf" => json!({"type": "url", "url": url}),
        Source::Base64(data) if is_image || mime == "application/pdf" => json!({"type": "base64", "media_type": mime, "data": data}),
        Source::Base64(data) if is_text(mime) => {
            let text = String::from_utf8(STANDARD.decode(data).ok()?).ok()?;
            json!({"type": "text", "media_type": "text/plain", "data": text})
        }
        _ => return None,
    };
    let mut out = Map::new();
    out.insert("type".into(), if is_image { "image" } else { "document" }.into());
    out.insert("source".into(), source);
    if let Some(name) = media.file_name.as_ref().filter(|_| !is_image) {
        out.insert("title".into(), name.clone().into());
    }
    Some(out.into())
}

/// Clients that only know a file's name send it as bytes without a type.
fn document_mime(media: &Media) -> &str {
    let ending = || media.file_name.as_deref().and_then(|n| n.rsplit_once('.')).map(|(_, e)| e.to_ascii_lowercase());
    match media.mime.as_str() {
        "image/jpg" => "image/jpeg",
        "application/octet-stream" => match ending().as_deref() {
            Some("pdf") => "application/pdf",
            Some("txt" | "md" | "csv" | "json" | "xml" | "html") => "text/plain",
            _ => "application/octet-stream",
        },
        other => other,
    }
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || mime == "application/json" || mime == "application/xml"
}

/// Places cache marks, never more than the API takes. The last ones win: they cover the longest prefixes.
#[derive(Debug)]
pub(super) struct Marks {
    /// First marks to leave out.
    skip: usize,
}

impl Marks {
    /// `asked`: marks in the whole request.
    pub(super) fn new(asked: usize) -> Self {
        Self { skip: asked.saturating_sub(CACHE_MARKS_MAX) }
    }

    /// Marks a block that was written; without one, or where a mark is not allowed, it is noted as dropped.
    /// `ttl` is `None` or empty for the provider's default.
    pub(super) fn put(&mut self, ttl: Option<&str>, target: Option<&mut Value>, path: &str, losses: &mut Losses) {
        if self.skip > 0 {
            self.skip -= 1;
            return losses.drop(format!("{path}.cache_control"));
        }
        let allowed = |v: &Value| !matches!(v["type"].as_str(), Some("thinking" | "redacted_thinking")) && v.get("cache_control").is_none();
        let Some(Value::Object(target)) = target.filter(|v| allowed(v)) else {
            return losses.drop(format!("{path}.cache_control"));
        };
        let mut control = json!({"type": "ephemeral"});
        match ttl {
            None | Some("") => {}
            Some(ttl @ ("5m" | "1h")) => control["ttl"] = ttl.into(),
            Some(_) => {
                // Others know other times; the longer of the two keeps what was to be kept.
                losses.change(format!("{path}.cache_control"));
                control["ttl"] = "1h".into();
            }
        }
        target.insert("cache_control".into(), control);
    }
}
