//! The members of a response object that repeat what was asked.

use serde_json::{Map, Value, json};

use super::encode;
use crate::{ir::Request, losses::Losses};

/// Members that are repeated as they were asked; not `store`, for nothing is stored.
const ECHOED: [&str; 16] = [
    "background",
    "conversation",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];

/// What the members say where nothing was asked; the official clients read them without asking whether they are there.
pub(super) fn defaults() -> Map<String, Value> {
    let asked = json!({
        "background": false,
        "conversation": null,
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": false,
        "temperature": null,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": null,
        "truncation": "disabled",
    });
    if let Value::Object(asked) = asked { asked } else { Map::new() }
}

/// What they say for a request.
pub(super) fn of(request: &Request) -> Map<String, Value> {
    let mut out = defaults();
    let Value::Object(mut asked) = encode::request(request, &mut Losses::default()) else { return out };
    for name in ECHOED {
        out.extend(asked.remove(name).map(|value| (name.to_owned(), value)));
    }
    for name in ["reasoning", "text"] {
        if let (Some(Value::Object(known)), Some(Value::Object(said))) = (out.get_mut(name), asked.remove(name)) {
            known.extend(said);
        }
    }
    out
}
