//! Each value in the corpus is changed in turn: what is written for another dialect differs then, or the record of losses names it. No
//! reader of this product's own stands between, so that one that passes over what a writer forgot cannot hide it.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::{Dialect, losses::Losses};

use crate::corpus;

/// What is written for a dialect, and how many losses are named; nothing where it is refused.
type Told = Option<(Value, usize)>;

/// Pointers to all members and items.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                out.push(at.clone());
                places(value, &at, out);
            }
        }
        Value::Array(all) => {
            for (i, value) in all.iter().enumerate() {
                let at = format!("{at}/{i}");
                out.push(at.clone());
                places(value, &at, out);
            }
        }
        _ => {}
    }
}

fn without(body: &Value, place: &str) -> Value {
    let mut body = body.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    match body.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.shift_remove(&key.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(all)) => drop(all.remove(key.parse().unwrap())),
        _ => {}
    }
    body
}

fn with_another(body: &Value, place: &str) -> Option<Value> {
    let mut body = body.clone();
    let value = body.pointer_mut(place)?;
    *value = match value {
        Value::String(text) => format!("{text}z").into(),
        Value::Number(n) if n.is_f64() => (n.as_f64()? / 2.0).into(),
        Value::Number(n) => (n.as_i64()? + 1).into(),
        Value::Bool(is) => (!*is).into(),
        _ => return None,
    };
    Some(body)
}

/// A path without its numbers.
fn kind_of(place: &str) -> String {
    let is_number = |step: &str| !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
    place.split('/').map(|step| if is_number(step) { "*" } else { step }).collect::<Vec<_>>().join("/")
}

/// Whether something around `place` is named as lost: without it, fewer losses are named.
fn is_named(body: &Value, place: &str, whole: &(Value, usize), told: &impl Fn(&Value) -> Told) -> bool {
    let steps = place.match_indices('/').map(|(at, _)| at).skip(1).chain([place.len()]);
    let around: Vec<&str> = steps.map(|end| &place[..end]).collect();
    around.iter().rev().any(|around| told(&without(body, around)).is_some_and(|(_, named)| named < whole.1))
}

/// The values of `body` whose change is not told.
fn silent(body: &Value, told: impl Fn(&Value) -> Told) -> BTreeSet<String> {
    let Some(whole) = told(body) else { return BTreeSet::new() };
    let (mut all, mut kinds) = (Vec::new(), BTreeSet::new());
    places(body, "", &mut all);
    // Of many alike, one is enough.
    all.retain(|place| with_another(body, place).is_some() && kinds.insert(kind_of(place)));
    all.retain(|place| {
        with_another(body, place).and_then(|other| told(&other)).is_some_and(|other| other == whole)
            && !is_named(body, place, &whole, &told)
    });
    all.iter().map(|place| kind_of(place)).collect()
}

fn request_told(caller: Dialect, body: &Value, wire: Dialect) -> Told {
    let request = caller.decode_request(body.to_string().as_bytes(), "m", false).ok()?;
    wire.check_request(&request).ok()?;
    let mut losses = Losses::default();
    let written = wire.encode_request(&request, &mut losses);
    Some((written, losses.dropped.len() + losses.changed.len()))
}

fn answer_told(upstream: Dialect, body: &Value, client: Dialect) -> Told {
    let events = upstream.decode_response(body.to_string().as_bytes()).ok()?;
    let losses = client.answer_losses(&events);
    Some((client.encode_response(&events), losses.dropped.len() + losses.changed.len()))
}

#[test]
fn every_value_of_a_request_makes_a_difference() {
    let mut lost = BTreeSet::new();
    for (name, caller, body) in corpus::requests() {
        for wire in Dialect::ALL {
            for kind in silent(&body, |body| request_told(caller, body, wire)) {
                if !says_nothing(&REQUEST_LABELS, &kind) {
                    lost.insert(format!("{} to {}: {kind} in {name}", caller.name(), wire.name()));
                }
            }
        }
    }
    assert!(lost.is_empty(), "{} changes are not told:\n{}", lost.len(), lost.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_value_of_an_answer_makes_a_difference() {
    let mut lost = BTreeSet::new();
    for (name, upstream, bytes) in corpus::files("answer") {
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        for client in Dialect::ALL {
            for kind in silent(&body, |body| answer_told(upstream, body, client)) {
                if !says_nothing(&ANSWER_LABELS, &kind) {
                    lost.insert(format!("{} to {}: {kind} in {name}", upstream.name(), client.name()));
                }
            }
        }
    }
    assert!(lost.is_empty(), "{} changes are not told:\n{}", lost.len(), lost.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Labels without a meaning of their own, and what another place of the same body says too. By the ends of their paths.
const REQUEST_LABELS: [&str; 22] = [
    "/type",
    "/mode",
    "/status",
    "/input/*/id",
    // In the path of Gemini's requests.
    "/model",
    "/stream",
    "/include_usage",
    // Of tools that may not be called, or of none.
    "/tools/*/description",
    "/tools/*/name",
    "/tools/*/function/description",
    "/tools/*/function/name",
    "/functionDeclarations/*/description",
    "/functionDeclarations/*/name",
    "/parallel_tool_calls",
    // Beside `logprobs`, which is named.
    "/top_logprobs",
    // The call that is answered has it too.
    "/functionResponse/name",
    // Hints beside an address, or beside a schema.
    "/fileData/mimeType",
    "/responseMimeType",
    "/propertyOrdering/*",
    // Chat leaves it to the server.
    "/includeThoughts",
    // Below the least that Responses takes.
    "/max_tokens",
    "/thinking/*/type",
];

/// The same of answers, state that the router keeps for the conversation, and what a provider tells of its own run.
const ANSWER_LABELS: [&str; 25] = [
    "/type",
    "/role",
    "/object",
    "/status",
    "/closed",
    "/created",
    "/created_at",
    "/output/*/id",
    "/system_fingerprint",
    "/finishMessage",
    "/blockReason",
    // Calls and refusals say by themselves why an answer ended.
    "/finish_reason",
    "/finishReason",
    "/stop_reason",
    "/stop_sequence",
    // Sums and differences of other counts.
    "/total_tokens",
    "/totalTokenCount",
    "/ephemeral_5m_input_tokens",
    // The bytes of the token beside them.
    "/bytes/*",
    "/thoughtSignature",
    "/signature",
    "/data",
    "/encrypted_content",
    // The first error is the answer.
    "/error/code",
    "/error/message",
];

/// All sources are one loss, so that none of several is found by the number of losses; `answer_facts` compares them one by one.
const SOURCES: [&str; 2] = ["/citationMetadata/", "/groundingMetadata/"];

fn says_nothing(labels: &[&str], kind: &str) -> bool {
    labels.iter().any(|label| kind.ends_with(label)) || SOURCES.iter().any(|part| kind.contains(part))
}
