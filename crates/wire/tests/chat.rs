//! Golden tests of the chat codec: requests, answers and streams, whole and cut anywhere.

use serde_json::{Value, json};
use wire::{
    chat::{decode, encode, stream},
    ir::Event,
    losses::Losses,
};

fn request() -> Value {
    json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,CCCC", "filename": "a.pdf"}},
                {"type": "brand_new", "x": 1}
            ]},
            {"role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"it\"}"}},
                {"id": "call_2", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "pong"}]}
        ],
        "tools": [
            {"type": "function", "function": {"name": "look", "description": "Looks", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}, "strict": true}},
            {"type": "function", "function": {"name": "ping"}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}},
        "max_completion_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop": ["END", ""], "seed": 7, "n": 2,
        "logprobs": true, "top_logprobs": 3, "reasoning_effort": "low", "user": "u-1",
        "stream": true, "stream_options": {"include_usage": true},
        "service_tier": "flex", "metadata": {"a": "b"}
    })
}

#[test]
fn a_request_becomes_blocks() {
    insta::assert_json_snapshot!(decode::request(request().to_string().as_bytes()).unwrap());
}

#[test]
fn a_request_comes_back_as_it_was() {
    let inner = decode::request(request().to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let again = encode::request(&inner, &mut losses);
    assert!(losses.is_exact(), "{losses:?}");
    assert_eq!(decode::request(again.to_string().as_bytes()).unwrap(), inner);
    insta::assert_json_snapshot!(again);
}

#[test]
fn what_is_wrong_is_named() {
    for (body, param) in [
        (json!({"model": "m"}), "messages"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
        (json!({"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}), "temperature"),
        (json!({"messages": [{"role": "user", "content": "x"}], "tool_choice": "perhaps"}), "tool_choice"),
        (json!({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "xml"}}), "response_format.type"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema"}}),
            "response_format.json_schema.schema",
        ),
    ] {
        let failure = decode::request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!((failure.status(), failure.param.as_deref()), (400, Some(param)), "{body}: {failure}");
    }
}

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"m-1","choices":[
    {"index":0,"message":{"role":"assistant","content":"Hi","reasoning_content":"Hm."},"finish_reason":"stop","logprobs":{"content":[{"token":"Hi","logprob":-0.1,"bytes":[72,105],"top_logprobs":[]}]}},
    {"index":1,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":"stop"},
    {"index":2,"message":{"role":"assistant","refusal":"No."},"finish_reason":"length"}],
    "usage":{"prompt_tokens":10,"completion_tokens":7,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}"#;

#[test]
fn an_answer_becomes_events_and_comes_back() {
    let events = decode::response(ANSWER.as_bytes()).unwrap();
    insta::assert_json_snapshot!("answer_events", events);
    insta::assert_json_snapshot!("answer_again", encode::response(&events));
}

const STREAM: &str = r#": a comment

data: {"id":"c-1","object":"chat.completion.chunk","created":5,"model":"m-1","choices":[]}

data: {"id":"c-1","object":"chat.completion.chunk","created":5,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{"reasoning":"Hm – "},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{"content":"日本"},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"1}"}}]},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"b","type":"function","function":{"name":"ping","arguments":""}}]},"finish_reason":null}]}

data: {"id":"c-1","created":5,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}

data: [DONE]

"#;

fn read(parts: &[&[u8]]) -> Vec<Event> {
    let (mut decoder, mut events) = (stream::Decoder::new(), Vec::new());
    for part in parts {
        decoder.feed(part, &mut events).expect("within bounds");
    }
    decoder.finish(&mut events);
    events
}

/// Neighbouring deltas of one block as one: pieces may differ with the cut, the text may not.
#[test]
fn a_stream_is_the_same_however_it_is_cut() {
    let whole = read(&[STREAM.as_bytes()]);
    let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
    let frames: Vec<&[u8]> = STREAM.split_inclusive("\n\n").map(str::as_bytes).collect();
    assert_eq!(read(&bytes), whole);
    assert_eq!(read(&frames), whole);
    insta::assert_json_snapshot!("stream_events", whole);
    let mut encoder = stream::Encoder::new(true);
    let mut out = Vec::new();
    for event in &whole {
        encoder.event(event, &mut out);
    }
    insta::assert_snapshot!("stream_again", String::from_utf8(out).unwrap());
}

#[test]
fn choices_of_one_number_are_told_apart() {
    let choice = |text: &str| json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice("One."), choice("Two.")]});
    let events = decode::response(body.to_string().as_bytes()).unwrap();
    let finished: Vec<u32> =
        events.iter().filter_map(|e| if let Event::Finish { choice, .. } = e { Some(*choice) } else { None }).collect();
    assert_eq!(finished, [0, 1]);
}

#[test]
fn an_answer_of_nothing_has_an_end() {
    let stream = "data: {\"id\":\"c\",\"choices\":[]}\n\ndata: [DONE]\n\n";
    let body = br#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}"#;
    for events in [read(&[stream.as_bytes()]), decode::response(body).unwrap()] {
        assert!(matches!(&events[1..], [Event::Finish { choice: 0, .. }, Event::End]), "{events:?}");
    }
}

#[test]
fn a_stream_that_breaks_says_so() {
    let cut = &STREAM[..STREAM.rfind("\"finish_reason\":\"").unwrap()];
    assert!(matches!(read(&[cut.as_bytes()]).last(), Some(Event::Failed { code: Some(code), .. }) if code == "stream_truncated"));
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"code\":\"busy\"}}\n\n";
    assert!(
        matches!(read(&[error.as_bytes()]).last(), Some(Event::Failed { message, code: Some(code) }) if message == "overloaded" && code == "busy")
    );
    let nameless =
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\ndata: [DONE]\n\n";
    assert!(matches!(read(&[nameless.as_bytes()]).last(), Some(Event::Failed { .. })), "nobody could run a call without a name");
    let back = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}}]}}]}\n\n\
                data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\"}}]}}]}\n\n\
                data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\n";
    assert!(matches!(read(&[back.as_bytes()]).last(), Some(Event::Failed { .. })), "arguments for a call that has ended");
}
