//! Each value in the corpus is changed in turn: what is written for another dialect differs then, or the record of losses names it. No
//! reader of this product's own stands between, so that one that passes over what a writer forgot cannot hide it.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::{Dialect, ir::Event, losses::Losses};

use crate::{
    answers::{read, written},
    corpus,
};

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

/// A stream as its frames: a list of `{event, data}`.
fn frames(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let field = |frame: &str, name: &str| {
        let lines: Vec<&str> = frame.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    };
    let frame = |frame: &str| {
        let data = field(frame, "data")?;
        Some(serde_json::json!({"event": field(frame, "event"), "data": serde_json::from_str(&data).unwrap_or(Value::String(data))}))
    };
    text.split("\n\n").filter_map(frame).collect()
}

fn as_stream(frames: &Value) -> Vec<u8> {
    let one = |frame: &Value| {
        let data = frame["data"].as_str().map_or_else(|| frame["data"].to_string(), str::to_owned);
        let event = frame["event"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
        format!("{event}data: {data}\n\n")
    };
    frames.as_array().into_iter().flatten().map(one).collect::<String>().into_bytes()
}

fn stream_told(upstream: Dialect, frames: &Value, client: Dialect) -> (Value, usize) {
    let events = read(upstream, [as_stream(frames).as_slice()]);
    let losses = client.answer_losses(&events);
    // Counts have a place in the record of a request that failed, too.
    let counts: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Usage(_))).collect();
    let told = serde_json::json!([String::from_utf8(written(client, &events)).unwrap(), counts]);
    (told, losses.dropped.len() + losses.changed.len())
}

/// As [`silent`], of frames: those of one type are alike, and one of the alike that tells is enough, since running counts and parts that are
/// said again at the end count once.
fn silent_in_frames(stream: &Value, told: impl Fn(&Value) -> Told) -> BTreeSet<String> {
    let Some(whole) = told(stream) else { return BTreeSet::new() };
    let mut all = Vec::new();
    places(stream, "", &mut all);
    let (mut heard, mut unheard) = (BTreeSet::new(), BTreeSet::new());
    for place in all.iter().filter(|place| !place.ends_with("/event")) {
        let Some(other) = with_another(stream, place) else { continue };
        let frame = place.split('/').nth(1).unwrap_or_default();
        let kind = format!("{}{}", stream[frame.parse::<usize>().unwrap()]["data"]["type"].as_str().unwrap_or_default(), kind_of(place));
        let is_again = SAID_AGAIN.iter().any(|frame| kind.starts_with(frame));
        if is_again || says_nothing(&ANSWER_LABELS, &kind) || says_nothing(&FRAME_LABELS, &kind) || heard.contains(&kind) {
            continue;
        }
        if told(&other).is_some_and(|other| other == whole) && !is_named(stream, place, &whole, &told) {
            unheard.insert(kind);
        } else {
            unheard.remove(&kind);
            heard.insert(kind);
        }
    }
    unheard
}

#[test]
fn every_value_of_a_stream_makes_a_difference() {
    let mut lost = BTreeSet::new();
    // What was cut off is an error, whatever was in it.
    for (name, upstream, bytes) in corpus::files("stream").into_iter().filter(|(name, ..)| name != "truncated") {
        let stream = frames(&bytes);
        for client in Dialect::ALL {
            for kind in silent_in_frames(&stream, |stream| Some(stream_told(upstream, stream, client))) {
                lost.insert(format!("{} to {}: {kind} in {name}", upstream.name(), client.name()));
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

/// The same of frames of streams.
const FRAME_LABELS: [&str; 14] = [
    "/obfuscation",
    "/sequence_number",
    "/output_index",
    "/content_index",
    "/summary_index",
    "/annotation_index",
    "/item_id",
    "/item/id",
    // Blocks close in the order of their beginnings.
    "content_block_stop/*/data/index",
    // What a provider tells of its own run.
    "/safetyRatings/*/category",
    "/safetyRatings/*/probability",
    "/prompt_filter_results/*/prompt_index",
    // The class of an error is found in it, not its letters.
    "error/*/data/code",
    // A guess, until `message_delta` knows.
    "message_start/*/data/message/usage/output_tokens",
];

/// Frames of Responses that say again what others have said. That they are read where nobody did is tested below.
const SAID_AGAIN: [&str; 19] = [
    "response.in_progress/",
    "response.content_part.added/",
    "response.content_part.done/",
    "response.output_text.done/",
    "response.output_text.annotation.added/*/data/annotation/",
    "response.refusal.done/",
    "response.reasoning_summary_part.added/",
    "response.reasoning_summary_part.done/",
    "response.reasoning_summary_text.done/",
    "response.function_call_arguments.done/",
    "response.custom_tool_call_input.",
    "response.output_item.added/*/data/item/",
    "response.output_item.done/*/data/item/",
    "response.completed/*/data/response/output/",
    "response.completed/*/data/response/id",
    "response.completed/*/data/response/model",
    "response.incomplete/*/data/response/",
    "response.failed/*/data/response/id",
    "response.failed/*/data/response/model",
];

/// What of an answer is not the frames that it came in.
fn content(events: &[Event]) -> Value {
    let mut body = Dialect::Responses.encode_response(events);
    body.as_object_mut().unwrap().retain(|key, _| ["output", "status", "incomplete_details", "usage"].contains(&key.as_str()));
    body
}

#[test]
fn servers_that_say_things_once_are_understood() {
    let streams = corpus::files("stream").into_iter().filter(|(_, dialect, _)| *dialect == Dialect::Responses);
    let mut compared = 0;
    for (name, _, bytes) in streams {
        let whole = frames(&bytes);
        let read = |frames: &Value| read(Dialect::Responses, [as_stream(frames).as_slice()]);
        let keep = |kept: &[&str]| -> Value {
            let is_kept = |frame: &&Value| kept.iter().any(|kind| frame["data"]["type"] == **kind);
            whole.as_array().unwrap().iter().filter(is_kept).cloned().collect()
        };
        let ends = ["response.completed", "response.incomplete"];
        if !whole.as_array().unwrap().iter().any(|frame| ends.iter().any(|end| frame["data"]["type"] == *end)) {
            continue;
        }
        compared += 1;
        let expected = content(&read(&whole));
        let items = keep(&["response.created", "response.output_item.added", "response.output_item.done", ends[0], ends[1]]);
        assert_eq!(content(&read(&items)), expected, "items only: {name}");
        let last = keep(&["response.created", ends[0], ends[1]]);
        assert_eq!(content(&read(&last)), expected, "the end only: {name}");
    }
    assert!(compared >= 10, "{compared}");
}

/// All sources are one loss, so that none of several is found by the number of losses; `answer_facts` compares them one by one.
const SOURCES: [&str; 2] = ["/citationMetadata/", "/groundingMetadata/"];

fn says_nothing(labels: &[&str], kind: &str) -> bool {
    labels.iter().any(|label| kind.ends_with(label)) || SOURCES.iter().any(|part| kind.contains(part))
}
