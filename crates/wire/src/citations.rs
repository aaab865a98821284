//! Sources of an answer between the dialects' forms of them.
//!
//! OpenAI's two dialects have the same kinds. What is tied to documents of one provider (files, pages of a document that the caller sent)
//! has no twin elsewhere; an address and its title have, except in Messages, whose form needs a proof of Anthropic's own.

use serde_json::{Value, json};

use crate::{
    dialect::Dialect,
    ir::{Citation, Family},
};

/// How a citation arrives in a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Exactly,
    /// As address and title only.
    InPart,
    No,
}

/// Whether a dialect can show a citation.
pub(crate) fn carried(citation: &Citation, dialect: Dialect) -> Carried {
    let is_openai = |family| matches!(family, Family::Chat | Family::Responses);
    match dialect {
        _ if dialect.family() == citation.family => Carried::Exactly,
        Dialect::Messages => Carried::No,
        _ if citation.url.is_none() => Carried::No,
        Dialect::Chat | Dialect::Responses if is_openai(citation.family) => Carried::Exactly,
        _ => Carried::InPart,
    }
}

/// Reads one of chat's `annotations`.
pub(crate) fn from_chat(own: &Value) -> Citation {
    let url = if own["url_citation"].is_object() { &own["url_citation"] } else { own };
    of(Family::Chat, url, ["url", "title", "start_index", "end_index"], own)
}

/// Reads one of Responses' `annotations`.
pub(crate) fn from_responses(own: &Value) -> Citation {
    of(Family::Responses, own, ["url", "title", "start_index", "end_index"], own)
}

/// Reads one of Messages' `citations`.
pub(crate) fn from_messages(own: &Value) -> Citation {
    of(Family::Messages, own, ["url", "title", "", ""], own)
}

/// Reads one of Gemini's `citationSources`.
pub(crate) fn from_gemini(own: &Value) -> Citation {
    of(Family::Gemini, own, ["uri", "title", "startIndex", "endIndex"], own)
}

/// Reads one of Gemini's `groundingChunks`, and the passage that rests on it.
pub(crate) fn from_grounding(chunk: &Value, segment: &Value) -> Citation {
    let place = ["web", "retrievedContext", "maps"].map(|kind| &chunk[kind]).into_iter().find(|p| p.is_object()).unwrap_or(&Value::Null);
    let mut own = json!({ "chunk": chunk });
    if segment.is_object() {
        own["segment"] = segment.clone();
    }
    let number = |name: &str| segment[name].as_u64();
    Citation { begin: number("startIndex"), end: number("endIndex"), ..of(Family::Gemini, place, ["uri", "title", "", ""], &own) }
}

fn of(family: Family, value: &Value, [url, title, begin, end]: [&str; 4], own: &Value) -> Citation {
    let text = |name: &str| value[name].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let number = |name: &str| value[name].as_u64();
    Citation { family, url: text(url), title: text(title), begin: number(begin), end: number(end), own: own.clone() }
}

/// Writes one of chat's `annotations`.
pub(crate) fn to_chat(citation: &Citation) -> Option<Value> {
    match carried(citation, Dialect::Chat) {
        Carried::No => None,
        Carried::Exactly if citation.family == Family::Chat => Some(citation.own.clone()),
        _ => Some(json!({"type": "url_citation", "url_citation": url_citation(citation)})),
    }
}

/// Writes one of Responses' `annotations`.
pub(crate) fn to_responses(citation: &Citation) -> Option<Value> {
    match carried(citation, Dialect::Responses) {
        Carried::No => None,
        Carried::Exactly if citation.family == Family::Responses => Some(citation.own.clone()),
        _ => {
            let mut out = url_citation(citation);
            out["type"] = "url_citation".into();
            Some(out)
        }
    }
}

/// The official clients read all four members without asking.
fn url_citation(citation: &Citation) -> Value {
    let begin = citation.begin.unwrap_or(0);
    json!({
        "url": citation.url.as_deref().unwrap_or_default(),
        "title": citation.title.as_deref().unwrap_or_default(),
        "start_index": begin,
        "end_index": citation.end.unwrap_or(begin),
    })
}

/// Writes one of Messages' `citations`.
pub(crate) fn to_messages(citation: &Citation) -> Option<Value> {
    (citation.family == Family::Messages).then(|| citation.own.clone())
}

/// Writes one of Gemini's `citationSources`; a grounding chunk of its own is written as one too.
pub(crate) fn to_gemini(citation: &Citation) -> Option<Value> {
    if citation.family == Family::Gemini && citation.own.get("chunk").is_none() {
        return Some(citation.own.clone());
    }
    let mut out = json!({ "uri": citation.url.as_deref()? });
    for (name, value) in [("startIndex", citation.begin), ("endIndex", citation.end)] {
        if let Some(value) = value {
            out[name] = value.into();
        }
    }
    if let Some(title) = &citation.title {
        out["title"] = title.as_str().into();
    }
    Some(out)
}

/// Writes `groundingMetadata` of the citations that came as such.
pub(crate) fn to_grounding(citations: &[Citation]) -> Option<Value> {
    let (mut chunks, mut supports): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for own in citations.iter().filter(|c| c.family == Family::Gemini).filter_map(|c| c.own.get("chunk").map(|chunk| (chunk, &c.own))) {
        let (chunk, own) = own;
        let at = chunks.iter().position(|known| known == chunk).unwrap_or_else(|| {
            chunks.push(chunk.clone());
            chunks.len() - 1
        });
        if let Some(segment) = own.get("segment") {
            match supports.iter_mut().find(|s| &s["segment"] == segment).and_then(|s| s["groundingChunkIndices"].as_array_mut()) {
                Some(indices) => indices.push(at.into()),
                None => supports.push(json!({"segment": segment, "groundingChunkIndices": [at]})),
            }
        }
    }
    let mut out = json!({ "groundingChunks": chunks });
    if !supports.is_empty() {
        out["groundingSupports"] = supports.into();
    }
    (out["groundingChunks"] != json!([])).then_some(out)
}
