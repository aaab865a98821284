//! A member that nobody knows, put into each object of a request in turn: it comes back in the caller's own dialect or is named, and it
//! is named in every other one. So no decoder passes over anything.

use serde_json::{Value, json};
use wire::{Dialect, losses::Losses};

use crate::corpus;

const PROBE: &str = "xprobe";

/// Members whose value is the caller's own data, carried whole.
const DATA: [&str; 14] = [
    "parameters",
    "schema",
    "input_schema",
    "input",
    "args",
    "arguments",
    "response",
    "metadata",
    "logit_bias",
    "parametersJsonSchema",
    "responseSchema",
    "responseJsonSchema",
    "labels",
    "properties",
];

/// Pointers to all objects that a dialect gives a meaning to.
fn objects(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            out.push(at.to_owned());
            for (key, value) in members {
                // The items of Responses stand in `input`.
                if !DATA.contains(&key.as_str()) || (key == "input" && value.is_array()) {
                    objects(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
                }
            }
        }
        Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| objects(v, &format!("{at}/{i}"), out)),
        _ => {}
    }
}

#[test]
fn no_member_is_passed_over() {
    let (mut probed, mut lost) = (0, Vec::new());
    for (name, caller, body) in corpus::requests() {
        let mut places = Vec::new();
        objects(&body, "", &mut places);
        for place in places {
            let mut body = body.clone();
            // A tool that may not be called is left out on purpose.
            if name == "allowed-tools" && place.starts_with("/tools") {
                continue;
            }
            let Some(Value::Object(object)) = body.pointer_mut(&place) else { continue };
            object.insert(PROBE.to_owned(), json!("probe-7f3a"));
            let Ok(request) = caller.decode_request(body.to_string().as_bytes(), "m", false) else {
                panic!("{name}: a member at {place} is refused");
            };
            probed += 1;
            for wire in Dialect::ALL {
                let mut losses = Losses::default();
                let written = wire.encode_request(&request, &mut losses).to_string();
                let is_named = losses.dropped.iter().chain(&losses.changed).any(|path| path.contains(PROBE));
                // What only its own dialect understands is lost whole, and named so.
                let is_whole = serde_json::to_string(&request.messages).is_ok_and(|m| m.contains(PROBE))
                    || request.extra.iter().any(|(k, v)| !k.contains(PROBE) && v.to_string().contains(PROBE) && losses.dropped.contains(k));
                let is_kept = written.contains(PROBE) || is_named || (is_whole && !losses.is_exact());
                if !is_kept {
                    lost.push(format!("{name}: {place} of {} in {}", caller.name(), wire.name()));
                }
            }
        }
    }
    assert!(lost.is_empty(), "{} of {probed}:\n{}", lost.len(), lost.join("\n"));
    assert!(probed > 200, "only {probed}");
}
