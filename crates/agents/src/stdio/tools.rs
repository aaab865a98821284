//! The typed tools.

mod admin;
mod inference;
mod look;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{router::Trouble, typed::Entry};

/// What stays as it is in a part of a path or a query.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// All of them, in the order of the list.
pub(super) const ALL: [Entry; 15] = [
    Entry::of::<inference::ListModels>(),
    Entry::of::<inference::Chat>(),
    Entry::of::<inference::RouteExplain>(),
    Entry::of::<look::RequestExplain>(),
    Entry::of::<look::RequestHistory>(),
    Entry::of::<look::Usage>(),
    Entry::of::<look::RouterHealth>(),
    Entry::of::<look::ListNodes>(),
    Entry::of::<look::NodeHealth>(),
    Entry::of::<look::RegisteredModels>(),
    Entry::of::<admin::RegisterModel>(),
    Entry::of::<admin::DrainNode>(),
    Entry::of::<admin::ListApiKeys>(),
    Entry::of::<admin::CreateApiKey>(),
    Entry::of::<admin::RevokeApiKey>(),
];

/// A text as one part of a path.
fn part(text: &str) -> Result<String, Trouble> {
    // A part of dots would be another path.
    if text.is_empty() || text.chars().all(|c| c == '.') {
        return Err(Trouble::invalid("an id is missing"));
    }
    Ok(utf8_percent_encode(text, PART).to_string())
}

/// A path with a query of those values that are there.
fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let said = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", utf8_percent_encode(value.as_deref()?, PART))));
    let query = said.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// A list that the router gave, as the member of an object; results are always objects.
fn list_as(name: &str, list: Value) -> Result<Value, Trouble> {
    if list.is_array() { Ok(json!({name: list})) } else { Err(strange()) }
}

/// The form of such a result.
fn list_schema(name: &str, what: &str) -> Value {
    json!({
        "type": "object",
        "properties": {name: {"type": "array", "description": what, "items": {"type": "object"}}},
        "required": [name]
    })
}

fn object(said: Value) -> Result<Value, Trouble> {
    if said.is_object() { Ok(said) } else { Err(strange()) }
}

fn strange() -> Trouble {
    let message = "the router's answer does not have the form that this tool reads: is it a router of this version?".to_owned();
    Trouble { status: None, code: "strange_answer".to_owned(), message, is_retryable: false }
}
