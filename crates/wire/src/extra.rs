//! Members of the caller's own dialect on their way to another one.

use serde_json::Value;

use crate::{
    head::CONTROLS,
    ir::{Family, Request},
    losses::Losses,
};

/// Notes the members that another dialect has no place for, less those that ask for nothing.
pub(crate) fn note(request: &Request, losses: &mut Losses) {
    request.extra.iter().filter(|(key, value)| is_wish(request.family, key, value)).for_each(|(key, _)| losses.drop(key));
}

/// Whether leaving a member out changes anything: not where it says a default, where its wish is fulfilled anyway, or where the router
/// itself was meant.
pub(crate) fn is_wish(family: Option<Family>, key: &str, value: &Value) -> bool {
    let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
    if is_empty || CONTROLS.contains(&key) {
        return false;
    }
    let is_default = match (family, key) {
        (Some(Family::Chat | Family::Responses), "store" | "background" | "stream_options.include_obfuscation") => *value == false,
        (Some(Family::Chat | Family::Responses | Family::Messages), "service_tier") => value == "auto",
        (Some(Family::Chat), "verbosity") | (Some(Family::Responses), "text.verbosity") => value == "medium",
        (Some(Family::Chat), "modalities") => is_list_of(value, "text"),
        (Some(Family::Responses), "truncation") => value == "disabled",
        (Some(Family::Responses), "reasoning.context") => value == "auto",
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
