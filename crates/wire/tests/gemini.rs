//! Gemini against recorded expectations: requests, answers, streams and errors, each from and to another dialect too.

use std::{fs, path::Path};

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use wire::{Failure, chat, gemini, ir, losses::Losses};

fn input(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemini").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn to_gemini(request: &ir::Request) -> Value {
    let mut losses = Losses::default();
    let body = gemini::encode::request(request, &mut losses);
    json!({"body": body, "fidelity": losses.header()})
}

fn to_chat(request: &ir::Request) -> Value {
    let mut losses = Losses::default();
    let body = chat::encode::request(request, &mut losses);
    json!({"body": body, "fidelity": losses.header()})
}

fn events_of(name: &str) -> Vec<ir::Event> {
    read(&[&input(name)])
}

fn read(parts: &[&[u8]]) -> Vec<ir::Event> {
    let (mut decoder, mut events) = (gemini::stream::Decoder::new(), Vec::new());
    for part in parts {
        decoder.feed(part, &mut events).expect("short");
    }
    decoder.finish(&mut events);
    assert!(decoder.is_over());
    events
}

fn write(mut encoder: gemini::stream::Encoder, events: &[ir::Event]) -> String {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    String::from_utf8(out).expect("JSON is text")
}

const STREAMS: [&str; 5] = ["stream-text", "stream-tools", "stream-blocked", "stream-error", "stream-truncated"];

#[test]
fn requests_of_clients() {
    for name in ["request-conversation", "request-media", "request-tools", "request-schema"] {
        let request = gemini::decode::request(&input(&format!("{name}.json")), "models/gemini-mock", false).expect(name);
        assert_json_snapshot!(name, json!({"ir": request, "gemini": to_gemini(&request), "chat": to_chat(&request)}));
    }
}

#[test]
fn requests_from_chat_depend_on_the_generation() {
    let mut request = chat::decode::request(&input("chat-agent.json")).expect("chat-agent");
    for model in ["gemini-mock", "gemini-3-pro-preview", "gemini-2.5-flash", "gemini-1.5-pro"] {
        model.clone_into(&mut request.model);
        assert_json_snapshot!(format!("chat-agent-to-{model}"), to_gemini(&request));
    }
}

#[test]
fn requests_with_foreign_state() {
    let mut request: ir::Request = serde_json::from_slice(&input("foreign-state.json")).expect("foreign-state");
    assert_json_snapshot!("foreign-state", to_gemini(&request));
    "gemini-2.5-pro".clone_into(&mut request.model);
    assert_json_snapshot!("foreign-state-to-gemini-2.5-pro", to_gemini(&request));
}

#[test]
fn answers() {
    for name in ["answer-text", "answer-tools", "answer-blocked", "answer-candidates"] {
        let events = gemini::decode::response(&input(&format!("{name}.json"))).expect(name);
        let (again, to_chat) = (gemini::encode::response(&events), chat::encode::response(&events));
        assert_json_snapshot!(name, json!({"events": events, "gemini": again, "chat": to_chat}));
    }
}

#[test]
fn streams() {
    for name in STREAMS {
        let events = events_of(&format!("{name}.sse"));
        assert_json_snapshot!(format!("{name}-events"), events);
        assert_snapshot!(name, write(gemini::stream::Encoder::new(), &events));
    }
}

#[test]
fn cuts_line_ends_and_forms_change_nothing() {
    for name in STREAMS {
        let text = String::from_utf8(input(&format!("{name}.sse"))).expect("text");
        let events = read(&[text.as_bytes()]);
        let frames: Vec<&[u8]> = text.split_inclusive("\n\n").map(str::as_bytes).collect();
        assert_eq!(read(&frames), events, "{name} frame by frame");
        assert_eq!(read(&text.as_bytes().chunks(1).collect::<Vec<_>>()), events, "{name} byte by byte");
        assert_eq!(read(&[text.replace('\n', "\r\n").as_bytes()]), events, "{name} with CRLF");
        let objects: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
        let array = format!("[{}\n]\n", objects.join("\n,\r\n"));
        assert_eq!(read(&[array.as_bytes()]), events, "{name} as an array");
        assert_eq!(read(&array.as_bytes().chunks(1).collect::<Vec<_>>()), events, "{name} as an array, byte by byte");
        if !events.iter().any(|e| matches!(e, ir::Event::Failed { .. })) {
            assert_eq!(gemini::decode::response(array.as_bytes()).expect(name), events, "{name} as a whole");
        }
    }
}

#[test]
fn an_array_for_clients_without_sse_holds_the_same_chunks() {
    for name in STREAMS {
        let events = events_of(&format!("{name}.sse"));
        let sse = write(gemini::stream::Encoder::new(), &events);
        let frames: Vec<Value> = sse
            .split_terminator("\n\n")
            .map(|f| serde_json::from_str(f.strip_prefix("data: ").expect("a bare data line")).expect("JSON"))
            .collect();
        let array = write(gemini::stream::Encoder::new_array(), &events);
        assert_eq!(serde_json::from_str::<Vec<Value>>(&array).expect("an array"), frames, "{name}");
    }
}

#[test]
fn an_array_is_closed_before_it_is_opened() {
    let events = [ir::Event::Start { id: String::new(), model: String::new(), created: 0 }, ir::Event::End];
    assert_eq!(write(gemini::stream::Encoder::new_array(), &events), "[]");
}

#[test]
fn streams_of_chat_reach_gemini_clients() {
    let events = [
        json!({"event": "start", "id": "chatcmpl-1", "model": "gpt-mock", "created": 1}),
        json!({"event": "usage", "in_fresh": 11}),
        json!({"event": "block_start", "choice": 0, "block": 0, "kind": "reasoning"}),
        json!({"event": "delta", "choice": 0, "block": 0, "delta": {"reasoning": "Hm."}}),
        json!({"event": "delta", "choice": 0, "block": 0, "delta": {"state": {"family": "messages", "signature": "s"}}}),
        json!({"event": "block_stop", "choice": 0, "block": 0}),
        json!({"event": "block_start", "choice": 0, "block": 1, "kind": "refusal"}),
        json!({"event": "delta", "choice": 0, "block": 1, "delta": {"refusal": "No."}}),
        json!({"event": "block_stop", "choice": 0, "block": 1}),
        json!({"event": "block_start", "choice": 0, "block": 2, "kind": {"tool_call": {"id": "call_a", "name": "ping"}}}),
        json!({"event": "block_stop", "choice": 0, "block": 2}),
        json!({"event": "block_start", "choice": 0, "block": 3, "kind": {"tool_call": {"id": "call_b", "name": "look"}}}),
        json!({"event": "delta", "choice": 0, "block": 3, "delta": {"arguments": "{\"far\":"}}),
        json!({"event": "delta", "choice": 0, "block": 3, "delta": {"arguments": "true}"}}),
        json!({"event": "block_stop", "choice": 0, "block": 3}),
        json!({"event": "finish", "choice": 0, "reason": "tool_call"}),
        json!({"event": "usage", "in_cache_read": 3, "out_text": 5}),
        json!({"event": "end"}),
    ];
    let events: Vec<ir::Event> = events.into_iter().map(|e| serde_json::from_value(e).expect("an event")).collect();
    assert_snapshot!("stream-from-chat", write(gemini::stream::Encoder::new(), &events));
    assert_json_snapshot!("answer-from-chat", gemini::encode::response(&events));
}

#[test]
fn ends_have_googles_words() {
    use ir::Finish;
    for (reason, word) in [
        (Finish::Stop, "STOP"),
        (Finish::StopSequence(Some("x".to_owned())), "STOP"),
        (Finish::ToolCall, "STOP"),
        (Finish::Paused, "STOP"),
        (Finish::Length, "MAX_TOKENS"),
        (Finish::ContextFull, "MAX_TOKENS"),
        (Finish::Filter, "SAFETY"),
        (Finish::Refusal, "SAFETY"),
        (Finish::MalformedCall, "MALFORMED_FUNCTION_CALL"),
        (Finish::Other("OTHER_WORD".to_owned()), "OTHER_WORD"),
        (Finish::Other("eos".to_owned()), "OTHER"),
    ] {
        let answer = gemini::encode::response(&[ir::Event::Finish { choice: 0, reason }]);
        assert_eq!(answer["candidates"][0]["finishReason"], word);
    }
}

#[test]
fn bad_requests_name_the_field() {
    let text = json!([{"parts": [{"text": "hi"}]}]);
    for (body, param) in [
        (json!({}), "contents"),
        (json!({"contents": "hi"}), "contents"),
        (json!({"contents": []}), "contents"),
        (json!({"contents": [{"role": "user", "parts": {}}]}), "contents[0].parts"),
        (json!({"contents": [{"role": "user"}]}), "contents[0].parts"),
        (json!({"contents": [{"role": "robot", "parts": [{"text": "x"}]}]}), "contents[0].role"),
        (json!({"contents": [{"parts": [{"text": "x"}, {"text": 5}]}]}), "contents[0].parts[1].text"),
        (json!({"contents": [{"parts": [{}]}]}), "contents[0].parts[0]"),
        (json!({"contents": [{"parts": [{"functionCall": {"args": {}}}]}]}), "contents[0].parts[0].functionCall.name"),
        (json!({"contents": text, "generationConfig": {"temperature": "warm"}}), "generationConfig.temperature"),
        (
            json!({"contents": text, "generationConfig": {"thinkingConfig": {"thinkingLevel": "DEEP"}}}),
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (json!({"contents": text, "tools": [{"functionDeclarations": [{}]}]}), "tools[0].functionDeclarations[0].name"),
        (json!({"contents": text, "toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}), "toolConfig.functionCallingConfig.mode"),
        (json!({"contents": text, "generationConfig": {"stopSequences": [1]}}), "generationConfig.stopSequences"),
    ] {
        let failure = gemini::decode::request(body.to_string().as_bytes(), "m", false).expect_err("a failure");
        assert_eq!(failure.param.as_deref(), Some(param), "{body}");
        assert!(failure.message.contains(param) && failure.status() == 400, "{failure}");
    }
    for body in ["", "{", "[1]", "\"x\""] {
        assert_eq!(gemini::decode::request(body.as_bytes(), "m", false).expect_err("a failure").status(), 400);
    }
}

#[test]
fn counting_reads_both_forms() {
    let short = br#"{"contents":[{"parts":[{"text":"hello"}]}]}"#;
    let long = br#"{"generate_content_request":{"model":"models/x","systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"parts":[{"text":"hello"}]}]}}"#;
    let (short, long) =
        (gemini::decode::count_request(short, "m").expect("short"), gemini::decode::count_request(long, "m").expect("long"));
    assert_eq!(short.messages, long.messages[1..]);
    assert_eq!((long.messages[0].role, long.model.as_str(), long.extra.is_empty()), (ir::Role::System, "m", true));
    assert_eq!(gemini::encode::count(7), json!({"totalTokens": 7}));
    let failure = gemini::decode::count_request(br#"{"generateContentRequest":{}}"#, "m").expect_err("a failure");
    assert_eq!(failure.param.as_deref(), Some("generateContentRequest.contents"));
}

#[test]
fn models_and_errors() {
    assert_json_snapshot!("models", gemini::encode::models(&[("a/b".to_owned(), "A".to_owned())]));
    let failure = Failure::invalid("contents", "`contents` is missing").with("status", 429).with("target", "main");
    assert_json_snapshot!("failure", gemini::encode::failure(&failure, "req-1"));
}

#[test]
fn answers_that_are_none_are_failures() {
    for body in
        ["", "nonsense", "1", "[]", "{}", r#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#, r#"{"candidates":{}}"#]
    {
        assert_eq!(gemini::decode::response(body.as_bytes()).expect_err(body).status(), 502);
    }
}

#[test]
fn what_was_counted_before_a_failure_is_told() {
    let chunk =
        br#"data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2}}

"#;
    let error = br#"data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}

"#;
    for stream in [&[&chunk[..]][..], &[&chunk[..], &error[..]]] {
        let events = read(stream);
        let [.., ir::Event::Usage(usage), ir::Event::Failed { .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((usage.input(), usage.output()), (7, 2));
    }
}
