//! Gemini JSON → the inner language.

mod config;
mod contents;

use serde_json::Value;

use super::{fields::Fields, stream::chunks::Chunks, types::Answer};
use crate::{
    error::{Code, Failure},
    ir::{Event, Family, Message, Request, Role},
};

/// Reads a request body. `model` and `stream` stand in the path (`…/{model}:generateContent`, `:streamGenerateContent`); a model in the
/// body is ignored.
///
/// # Errors
/// A failure that names the field: not JSON, a wrong type, no contents, an unknown role or mode, an empty part.
pub fn request(body: &[u8], model: &str, stream: bool) -> Result<Request, Failure> {
    let value: Value = crate::json::parse(body)?;
    read(Fields::of(value, "")?, model, stream)
}

/// Reads the body of `:countTokens`: `contents` alone, or a whole `generateContentRequest`.
///
/// # Errors
/// As [`request`].
pub fn count_request(body: &[u8], model: &str) -> Result<Request, Failure> {
    let value: Value = crate::json::parse(body)?;
    let mut fields = Fields::of(value, "")?;
    let inner = fields.object("generateContentRequest")?;
    read(inner.unwrap_or(fields), model, false)
}

fn read(mut fields: Fields, model: &str, stream: bool) -> Result<Request, Failure> {
    let mut request = Request {
        model: model.strip_prefix("models/").unwrap_or(model).to_owned(),
        stream,
        stream_usage: true,
        family: Some(Family::Gemini),
        ..Request::default()
    };
    fields.take("model");
    if let Some(system) = system(&mut fields, &mut request)? {
        request.messages.push(system);
    }
    let path = fields.at("contents");
    let missing = || Failure::invalid(path.clone(), format!("`{path}` is missing: a list of contents is needed"));
    let list = fields.list("contents")?.filter(|list| !list.is_empty()).ok_or_else(missing)?;
    let messages = contents::messages(list, &path, &mut request.extra)?;
    if messages.is_empty() {
        return Err(missing());
    }
    request.messages.extend(messages);
    if let Some(tools) = fields.list("tools")? {
        config::tools(tools, &fields.at("tools"), &mut request)?;
    }
    if let Some(choice) = fields.object("toolConfig")? {
        config::tool_config(choice, &mut request)?;
    }
    if let Some(generation) = fields.object("generationConfig")? {
        config::generation(generation, &mut request)?;
    }
    request.extra.extend(fields.rest());
    Ok(request)
}

/// `systemInstruction`: a content, or plain text as some clients write it.
fn system(fields: &mut Fields, request: &mut Request) -> Result<Option<Message>, Failure> {
    let path = fields.at("systemInstruction");
    let Some(value) = fields.take("systemInstruction") else { return Ok(None) };
    if let Value::String(text) = value {
        return Ok(Some(Message::text(Role::System, text)));
    }
    let blocks = contents::system(Fields::of(value, path)?, &mut request.extra)?;
    Ok((!blocks.is_empty()).then_some(Message { role: Role::System, name: None, blocks }))
}

/// Reads a whole answer (or the list of chunks that a stream without `alt=sse` is) as the events that it would have streamed.
///
/// # Errors
/// [`Code::UpstreamError`] where it is no answer of `generateContent`, where it is cut off, or where it holds an error.
pub fn response(body: &[u8]) -> Result<Vec<Event>, Failure> {
    let bad = |what: String| Failure::new(Code::UpstreamError, what);
    let value: Value = serde_json::from_slice(body).map_err(|e| bad(format!("the upstream's answer is not JSON: {e}")))?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let (mut chunks, mut events) = (Chunks::default(), Vec::new());
    for one in list {
        chunks.read(one, &mut events);
    }
    chunks.end(&mut events);
    match events.last() {
        Some(Event::Failed { message, .. }) => Err(bad(message.clone())),
        _ => Ok(events),
    }
}

/// Reads one chunk's JSON.
pub(super) fn answer(value: Value) -> Result<Answer, String> {
    if !value.is_object() {
        return Err("the upstream sent a frame that is not a JSON object".to_owned());
    }
    serde_json::from_value(value).map_err(|e| format!("the upstream sent a frame of another shape: {e}"))
}
