//! Members of the caller's own dialect on their way to another one.

use serde_json::Value;

use crate::{
    error::{Code, Failure},
    head::CONTROLS,
    ir::{Block, Family, Request},
};

/// Refuses what stands for input that another server keeps.
pub(crate) fn check(request: &Request, wire: &str) -> Result<(), Failure> {
    let refuse = |param: &str, what: &str| {
        let message = format!("`{param}` {what}, which an account that speaks `{wire}` does not know");
        Err(Failure::new(Code::UnsupportedParameter, message).at(param))
    };
    let of_responses = [
        ("previous_response_id", "names a stored response"),
        ("conversation", "names a stored conversation"),
        ("prompt", "names a stored prompt"),
    ];
    let known: &[(&str, &str)] = match request.family {
        Some(Family::Responses) => &of_responses,
        Some(Family::Gemini) => &[("cachedContent", "names a stored prefix")],
        _ => &[],
    };
    if let Some((param, what)) = known.iter().find(|(key, _)| request.extra.get(*key).is_some_and(|v| !v.is_null())) {
        return refuse(param, what);
    }
    if request.family == Some(Family::Responses) && request.extra.get("background") == Some(&Value::Bool(true)) {
        return refuse("background", "asks for an answer that is fetched later");
    }
    let is_reference = |b: &Block| matches!(b, Block::Opaque { family: Family::Responses, value } if value["type"] == "item_reference");
    if request.messages.iter().flat_map(|m| &m.blocks).any(is_reference) {
        return refuse(
            "input",
            "refers to a stored item instead of saying it (the Vercel AI SDK says it with `providerOptions.openai.store: false`)",
        );
    }
    Ok(())
}

/// Whether leaving a member out changes anything: not where it says a default, where its wish is fulfilled anyway, or where the router
/// itself was meant.
pub(crate) fn is_wish(family: Option<Family>, key: &str, value: &Value) -> bool {
    // An empty object may still switch something on, as `web_search_options` does.
    let is_map = ["metadata", "labels", "logit_bias", "chat_template_kwargs"].contains(&key);
    let is_empty = match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(members) => is_map && members.is_empty(),
        _ => false,
    };
    if is_empty || CONTROLS.contains(&key) {
        return false;
    }
    let is_default = match (family, key) {
        (Some(Family::Chat | Family::Responses), "store" | "background" | "stream_options.include_obfuscation") => *value == false,
        (Some(Family::Chat | Family::Responses | Family::Messages), "service_tier") | (Some(Family::Responses), "reasoning.context") => {
            value == "auto"
        }
        (Some(Family::Chat), "verbosity") | (Some(Family::Responses), "text.verbosity") => value == "medium",
        (Some(Family::Chat), "modalities") => is_list_of(value, "text"),
        (Some(Family::Responses), "truncation") => value == "disabled",
        (Some(Family::Responses), "reasoning.mode") => value == "standard",
        // Encrypted thinking is kept by the router, whichever provider thinks.
        (Some(Family::Responses), "include") => is_list_of(value, "reasoning.encrypted_content"),
        // Whether thoughts are shown is said in the inner language.
        (Some(Family::Messages), "thinking") => {
            value.as_object().is_some_and(|m| m.keys().all(|k| matches!(k.as_str(), "type" | "display")))
        }
        (Some(Family::Gemini), "generationConfig.responseModalities") => is_list_of(value, "TEXT"),
        // The model decides.
        (Some(Family::Gemini), "generationConfig.thinkingConfig.thinkingBudget") => *value == -1,
        _ => false,
    };
    !is_default
}

fn is_list_of(value: &Value, word: &str) -> bool {
    value.as_array().is_some_and(|all| all.iter().all(|one| one.as_str().is_some_and(|w| w.eq_ignore_ascii_case(word))))
}
