//! Servers that write chat a little differently: what they answered is read all the same.

use serde_json::{Value, json};
use wire::{
    Dialect,
    dialect::{Decoder, Encoder},
    gemini,
    ir::{BlockKind, Delta, Event, Finish},
    messages,
};

fn whole(answer: &Value) -> Vec<Event> {
    Dialect::Chat.decode_response(answer.to_string().as_bytes()).unwrap_or_else(|e| panic!("{answer}: {}", e.message))
}

fn streamed(frames: &[Value]) -> Vec<Event> {
    let mut decoder = Decoder::new(Dialect::Chat);
    let mut events = Vec::new();
    let frames = frames.iter().map(Value::to_string).chain(["[DONE]".to_owned()]);
    for frame in frames {
        decoder.feed(format!("data: {frame}\n\n").as_bytes(), &mut events).expect("short");
    }
    decoder.finish(&mut events);
    events
}

fn text(events: &[Event]) -> String {
    let pieces =
        events.iter().filter_map(|event| if let Event::Delta { delta: Delta::Text(text), .. } = event { Some(&**text) } else { None });
    pieces.collect()
}

fn arguments(events: &[Event]) -> String {
    let piece = |event: &Event| if let Event::Delta { delta: Delta::Arguments(text), .. } = event { Some(text.clone()) } else { None };
    events.iter().filter_map(piece).collect()
}

fn answer() -> Value {
    json!({"id": "c", "object": "chat.completion", "created": 5, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
}

fn chunk(delta: Value, finish: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

#[test]
fn a_whole_answer_needs_its_message_and_little_else() {
    for (place, odd) in [
        ("/id", Value::Null),
        ("/object", Value::Null),
        ("/model", Value::Null),
        ("/created", Value::Null),
        ("/created", json!(1.5)),
        ("/choices/0/index", Value::Null),
        ("/choices/0/message/role", Value::Null),
        ("/usage/completion_tokens", Value::Null),
    ] {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut said = answer();
        said.pointer_mut(place).unwrap().clone_from(&odd);
        let mut silent = answer();
        silent.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name);
        for answer in [said, silent] {
            let events = whole(&answer);
            assert_eq!((text(&events), events.last()), ("Hi.".to_owned(), Some(&Event::End)), "{answer}");
        }
    }
    let mut probable = answer();
    probable["choices"][0]["logprobs"] = json!({"content": [{"token": "Hi", "logprob": -0.1, "bytes": null, "top_logprobs": null}]});
    assert_eq!(text(&whole(&probable)), "Hi.");
}

#[test]
fn arguments_may_be_the_object_itself() {
    let calls = json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]);
    let mut said = answer();
    said["choices"][0]["message"]["tool_calls"] = calls.clone();
    assert_eq!(arguments(&whole(&said)), r#"{"a":1}"#);
    let events = streamed(&[chunk(json!({"tool_calls": calls}), Value::Null), chunk(json!({}), json!("tool_calls"))]);
    assert_eq!(arguments(&events), r#"{"a":1}"#);
}

#[test]
fn nothing_in_a_frame_ends_a_stream() {
    let mut first = chunk(json!({"role": "assistant", "content": "Hi."}), Value::Null);
    for member in ["id", "object", "created", "model"] {
        first[member] = Value::Null;
    }
    let last = json!({"id": "c", "choices": null, "usage": {"prompt_tokens": 3, "completion_tokens": null, "total_tokens": 3}});
    let events = streamed(&[first, chunk(json!({}), json!("stop")), last]);
    assert_eq!((text(&events), events.last()), ("Hi.".to_owned(), Some(&Event::End)), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Usage(usage) if usage.in_fresh == Some(3))), "{events:?}");
}

#[test]
fn an_answer_has_the_name_that_comes_behind_what_azures_filter_says() {
    let filter = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]});
    let events = streamed(&[filter, chunk(json!({"content": "Hi."}), Value::Null), chunk(json!({}), json!("stop"))]);
    assert_eq!(events[0], Event::Start { id: "c".to_owned(), model: "m".to_owned(), created: 5 });
    assert_eq!(text(&events), "Hi.");
}

#[test]
fn the_one_call_of_old_is_read_from_a_stream() {
    let events = streamed(&[
        chunk(json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}}), Value::Null),
        chunk(json!({"function_call": {"arguments": "{\"a\":"}}), Value::Null),
        chunk(json!({"function_call": {"arguments": "1}"}}), Value::Null),
        chunk(json!({}), json!("function_call")),
    ]);
    let is_f = |event: &Event| matches!(event, Event::BlockStart { kind: BlockKind::ToolCall { name, .. }, .. } if name == "f");
    assert_eq!(events.iter().filter(|event| is_f(event)).count(), 1, "{events:?}");
    assert_eq!(arguments(&events), r#"{"a":1}"#);
    assert!(events.contains(&Event::Finish { choice: 0, reason: Finish::ToolCall }), "{events:?}");
}

#[test]
fn a_status_says_more_than_that_it_was_the_server() {
    for (kind, code, wanted) in [
        ("server_error", json!(503), "503"),
        ("overloaded_error", json!(503), "overloaded_error"),
        ("server_error", json!(1211), "server_error"),
        ("server_error", json!("queue_full"), "queue_full"),
    ] {
        let error = json!({"error": {"message": "no", "type": kind, "code": code}});
        let events = streamed(&[chunk(json!({"content": "Hi."}), Value::Null), error]);
        let said = events.iter().find_map(|event| if let Event::Failed { code, .. } = event { code.as_deref() } else { None });
        assert_eq!(said, Some(wanted));
    }
    let busy = Event::Failed { message: "no".to_owned(), code: Some("503".to_owned()) };
    let heard = |mut encoder: Encoder| {
        let mut out = Vec::new();
        encoder.event(&busy, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert!(heard(Encoder::Messages(Box::new(messages::stream::Encoder::new(10)))).contains("overloaded_error"));
    assert!(heard(Encoder::Gemini(gemini::stream::Encoder::new())).contains("UNAVAILABLE"));
}

#[test]
fn half_of_a_surrogate_pair_is_no_reason_to_throw_an_answer_away() {
    let halved = |json: &Value| json.to_string().replace("HALF", r"\ud83d");
    let said = "Hi HALF";
    let mut chat = answer();
    chat["choices"][0]["message"]["content"] = said.into();
    let part = json!({"type": "output_text", "text": said, "annotations": []});
    let item = json!({"type": "message", "id": "i", "status": "completed", "role": "assistant", "content": [part]});
    let responses = json!({"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [item],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
    let messages = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": said}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let gemini = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": said}]}, "finishReason": "STOP", "index": 0}]});
    for (wire, whole) in
        [(Dialect::Chat, chat), (Dialect::Responses, responses), (Dialect::Messages, messages), (Dialect::Gemini, gemini.clone())]
    {
        let events = wire.decode_response(halved(&whole).as_bytes()).unwrap_or_else(|e| panic!("{wire:?}: {}", e.message));
        assert_eq!(text(&events), "Hi \u{fffd}", "{wire:?}");
    }
    let start = json!({"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said}});
    for (wire, frames) in [
        (Dialect::Chat, vec![chunk(json!({"content": said}), Value::Null)]),
        (Dialect::Responses, vec![json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": said})]),
        (Dialect::Messages, vec![start, block, delta]),
        (Dialect::Gemini, vec![gemini]),
    ] {
        let (mut decoder, mut events) = (Decoder::new(wire), Vec::new());
        for frame in &frames {
            decoder.feed(format!("data: {}\n\n", halved(frame)).as_bytes(), &mut events).expect("short");
        }
        assert_eq!(text(&events), "Hi \u{fffd}", "{wire:?}: {events:?}");
    }
}
