//! The inner language → Gemini JSON.

pub(super) mod answer;
mod config;
mod contents;

use serde_json::{Map, Value, json};

use self::answer::Assembler;
use crate::{
    error::{self, Failure},
    extra,
    ir::{Event, Family, Media, Request, Source},
    losses::Losses,
};

/// Writes a request body; what Gemini cannot carry is noted. The model and whether to stream belong into the path.
///
/// The model's name tells its generation, on which the form of schemas and of thinking depends; names without one get the newest form.
pub fn request(request: &Request, losses: &mut Losses) -> Value {
    let mut out = Map::new();
    let mut written = contents::contents(request, losses);
    written.system.extend(config::format_wish(request).map(|wish| json!({"text": wish})));
    if !written.system.is_empty() {
        out.insert("systemInstruction".to_owned(), json!({"parts": written.system}));
    }
    let tools = config::tools(request, losses);
    if !tools.is_empty() {
        out.insert("tools".to_owned(), tools.into());
    }
    if let Some(choice) = config::tool_choice(request, losses) {
        out.insert("toolConfig".to_owned(), json!({"functionCallingConfig": choice}));
    }
    out.insert("contents".to_owned(), written.contents.into());
    let generation = config::generation(request, losses);
    if !generation.is_empty() {
        out.insert("generationConfig".to_owned(), Value::Object(generation));
    }
    if request.user.is_some() {
        losses.drop("user");
    }
    put_extra(request, &mut out, losses);
    Value::Object(out)
}

/// Whether the request was made in this dialect, so that what only Google knows means the same there.
fn is_own(request: &Request) -> bool {
    request.family.is_none_or(|f| f == Family::Gemini)
}

/// Puts the caller's own fields back where they stood, by their dotted paths.
fn put_extra(request: &Request, out: &mut Map<String, Value>, losses: &mut Losses) {
    for (key, value) in &request.extra {
        if !is_own(request) {
            if extra::is_wish(request.family, key, value) {
                losses.drop(key);
            }
        } else if key.starts_with("contents[") || key.starts_with("systemInstruction.") {
            losses.drop(key);
        } else if key.starts_with("generationConfig.") || key.starts_with("toolConfig.") {
            insert(out, key, value.clone());
        } else if !key.starts_with("tools.") {
            out.insert(key.clone(), value.clone());
        }
    }
}

fn insert(out: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            out.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            if let Value::Object(inner) = out.entry(first).or_insert_with(|| json!({})) {
                insert(inner, rest, value);
            }
        }
    }
}

/// `inlineData` or `fileData`.
pub(super) fn media(media: &Media) -> Value {
    match &media.source {
        Source::Base64(data) => json!({"inlineData": {"mimeType": media.mime, "data": data}}),
        Source::Url(uri) | Source::File(uri) => {
            let mime = if media.mime.ends_with("/*") { super::parts::mime_of(uri) } else { Some(media.mime.as_str()) };
            match mime {
                Some(mime) => json!({"fileData": {"mimeType": mime, "fileUri": uri}}),
                None => json!({"fileData": {"fileUri": uri}}),
            }
        }
    }
}

/// The generation of Google's model that a name tells: `gemini-2.5-flash` is (2, 5).
fn generation_of(model: &str) -> Option<(u32, u32)> {
    let after = model.rsplit('/').next()?.strip_prefix("gemini-")?;
    let word = after.split('-').next()?;
    let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Writes a whole answer from its events.
pub fn response(events: &[Event]) -> Value {
    let (mut assembler, mut pieces) = (Assembler::whole(), Vec::new());
    for event in events {
        assembler.event(event, &mut pieces);
    }
    serde_json::to_value(assembler.answer(pieces)).unwrap_or_default()
}

/// The error body: `{"error":{code, message, status, details}}` (google.rpc.Status as JSON, Google Cloud API design guide, "Errors").
pub fn failure(failure: &Failure, request_id: &str) -> Value {
    let mut metadata = Map::new();
    metadata.insert("request_id".to_owned(), request_id.into());
    for (key, value) in &failure.details {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        metadata.insert(key.clone(), text.into());
    }
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": failure.code.as_str().to_ascii_uppercase(),
        "domain": "llm-router",
        "metadata": metadata,
    })];
    if let Some(param) = &failure.param {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": param, "description": failure.message}],
        }));
    }
    if let Some(after) = failure.retry_after {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{}s", after.as_secs_f64())}));
    }
    let status = failure.status();
    json!({"error": {"code": status, "message": failure.message, "status": status_word(status), "details": details}})
}

/// google.rpc's word for an HTTP status.
fn status_word(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        402 | 412 => "FAILED_PRECONDITION",
        409 => "ABORTED",
        429 | 507 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        405 | 501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        400..=498 => "INVALID_ARGUMENT",
        502 | 503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

/// An error inside a stream; the code may be a word of any dialect or a status.
pub(super) fn stream_error(message: &str, code: Option<&str>) -> Value {
    let status = error::status_of(code.unwrap_or_default()).unwrap_or(500);
    json!({"error": {"code": status, "message": message, "status": status_word(status)}})
}

/// The answer of `:countTokens`.
pub fn count(total: u64) -> Value {
    json!({"totalTokens": total})
}

/// The list of models: ids and the names to show.
pub fn models(ids: &[(String, String)]) -> Value {
    let list: Vec<Value> = ids.iter().map(|(id, shown)| model(id, shown)).collect();
    json!({"models": list})
}

/// One model (Gemini API reference, `Model`).
pub fn model(id: &str, shown: &str) -> Value {
    json!({
        "name": format!("models/{id}"),
        "version": "",
        "displayName": shown,
        "description": "",
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn names_tell_the_generation() {
        for (name, wanted) in [
            ("gemini-2.5-flash", Some((2, 5))),
            ("models/gemini-3-pro-preview", Some((3, 0))),
            ("google/gemini-1.5-pro-002", Some((1, 5))),
            ("gemini-flash-latest", None),
            ("gemma-3-27b", None),
        ] {
            assert_eq!(generation_of(name), wanted, "{name}");
        }
    }

    #[test]
    fn errors_have_googles_words() {
        let body = failure(&Failure::invalid("contents", "no").retry_after(std::time::Duration::from_millis(1500)), "r1");
        assert_eq!((&body["error"]["code"], &body["error"]["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        assert_eq!(body["error"]["details"][0]["metadata"]["request_id"], "r1");
        assert_eq!(body["error"]["details"][1]["fieldViolations"][0]["field"], "contents");
        assert_eq!(body["error"]["details"][2]["retryDelay"], "1.5s");
        for (code, word) in [
            (Code::InvalidApiKey, "UNAUTHENTICATED"),
            (Code::PermissionDenied, "PERMISSION_DENIED"),
            (Code::ModelNotFound, "NOT_FOUND"),
            (Code::RateLimitExceeded, "RESOURCE_EXHAUSTED"),
            (Code::BudgetExceeded, "FAILED_PRECONDITION"),
            (Code::PayloadTooLarge, "INVALID_ARGUMENT"),
            (Code::InternalError, "INTERNAL"),
            (Code::QueueFull, "UNAVAILABLE"),
            (Code::UpstreamTimeout, "DEADLINE_EXCEEDED"),
        ] {
            let body = failure(&Failure::new(code, "x"), "r");
            assert_eq!((&body["error"]["status"], &body["error"]["code"]), (&json!(word), &json!(code.status())));
        }
    }

    #[test]
    fn errors_in_streams_find_their_status() {
        for (code, status) in
            [(Some("UNAVAILABLE"), 503), (Some("429"), 429), (Some("stream_truncated"), 502), (Some("x"), 500), (None, 500)]
        {
            assert_eq!(stream_error("m", code)["error"]["code"], status, "{code:?}");
        }
    }
}
