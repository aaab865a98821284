//! Messages against recorded expectations: requests, answers, streams and errors, each from and to another dialect too.

use std::{fs, path::Path};

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use wire::{Code, Failure, chat, ir, losses::Losses, messages};

fn input(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn to_messages(request: &ir::Request) -> Value {
    let mut losses = Losses::default();
    let body = messages::encode::request(request, &mut losses);
    json!({"body": body, "fidelity": losses.header()})
}

fn to_chat(request: &ir::Request) -> Value {
    let mut losses = Losses::default();
    let body = chat::encode::request(request, &mut losses);
    json!({"body": body, "fidelity": losses.header()})
}

#[test]
fn requests_of_clients() {
    for name in ["request-conversation", "request-media", "request-tools", "request-thinking", "request-effort"] {
        let request = messages::decode::request(&input(&format!("{name}.json"))).expect(name);
        assert_json_snapshot!(name, json!({"ir": request, "messages": to_messages(&request), "chat": to_chat(&request)}));
    }
}

#[test]
fn requests_from_chat() {
    for name in ["chat-agent", "chat-media", "chat-odd"] {
        let request = chat::decode::request(&input(&format!("{name}.json"))).expect(name);
        assert_json_snapshot!(name, to_messages(&request));
    }
}

#[test]
fn answers() {
    for name in ["answer-text", "answer-tools", "answer-cut", "answer-refusal"] {
        let events = messages::decode::response(&input(&format!("{name}.json"))).expect(name);
        assert_json_snapshot!(
            name,
            json!({"events": events, "messages": messages::encode::response(&events), "chat": chat::encode::response(&events)})
        );
    }
}

fn streamed(events: &[ir::Event]) -> String {
    let (mut encoder, mut out) = (messages::stream::Encoder::new(12), Vec::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    String::from_utf8(out).expect("JSON is text")
}

#[test]
fn streams() {
    for name in ["stream-text", "stream-tools", "stream-cut", "stream-refusal", "stream-error", "stream-truncated", "stream-mixed-up"] {
        let (mut decoder, mut events) = (messages::stream::Decoder::new(), Vec::new());
        decoder.feed(&input(&format!("{name}.sse")), &mut events).expect(name);
        decoder.finish(&mut events);
        assert!(decoder.is_over());
        let lines: Vec<String> = events.iter().map(|e| serde_json::to_string(e).expect("an event is JSON")).collect();
        assert_snapshot!(name, format!("{}\n\n{}", lines.join("\n"), streamed(&events)));
    }
}

#[test]
fn streams_from_chat() {
    for name in ["chat-stream-text", "chat-stream-tools", "chat-stream-refusal", "chat-stream-error"] {
        let (mut decoder, mut events) = (chat::stream::Decoder::new(), Vec::new());
        decoder.feed(&input(&format!("{name}.sse")), &mut events).expect(name);
        decoder.finish(&mut events);
        assert_snapshot!(name, streamed(&events));
    }
}

#[test]
fn a_file_of_another_provider_is_not_asked_for() {
    let mut request = messages::decode::request(&input("request-media.json")).expect("a request");
    request.family = Some(ir::Family::Gemini);
    let written = to_messages(&request);
    assert!(!written.to_string().contains("file_1"));
    assert!(written["fidelity"].as_str().is_some_and(|f| f.contains("messages[0].blocks[3]")), "{written}");
}

#[test]
fn foreign_state_is_dropped_whole() {
    let mut request = messages::decode::request(&input("request-thinking.json")).expect("a request");
    let thoughts = request.messages.iter_mut().flat_map(|m| &mut m.blocks).filter_map(|b| match b {
        ir::Block::Reasoning { state, .. } => state.as_mut(),
        _ => None,
    });
    // One of two: the other must not travel alone.
    thoughts.last().expect("a thought").family = ir::Family::Responses;
    request.family = Some(ir::Family::Responses);
    let written = to_messages(&request);
    assert_eq!(written["body"]["messages"][1]["content"].as_array().map(Vec::len), Some(1), "only the call is left: {written}");
    assert_eq!(written["fidelity"], "lossy; dropped=messages[1].blocks[0],messages[1].blocks[1],reasoning");
    assert_eq!(written["body"].get("thinking"), None, "a turn of calls without its thoughts cannot go on thinking");
}

#[test]
fn a_budget_raises_the_limit_above_itself() {
    for (limit, budget, wanted) in [(None, 20_000, 28_192), (None, 2000, 8192), (Some(500), 100, 1524), (Some(4000), 2000, 4000)] {
        let request = ir::Request {
            messages: vec![ir::Message::text(ir::Role::User, "hi")],
            generation: ir::Generation { max_tokens: limit, ..ir::Generation::default() },
            reasoning: ir::Reasoning { budget_tokens: Some(budget), ..ir::Reasoning::default() },
            ..ir::Request::default()
        };
        let body = &to_messages(&request)["body"];
        assert_eq!(body["max_tokens"], wanted, "{limit:?} with {budget}");
        assert!(body["thinking"]["budget_tokens"].as_u64() < body["max_tokens"].as_u64());
    }
}

#[test]
fn only_four_cache_marks_are_written_and_the_last_ones_win() {
    let mark = || ir::Block::CacheMark { ttl: Some("30m".to_owned()) };
    let blocks = (0..6).flat_map(|i| [ir::Block::Text { text: format!("part {i}") }, mark()]).collect();
    let request = ir::Request {
        messages: vec![ir::Message { role: ir::Role::User, name: None, blocks }],
        family: Some(ir::Family::Chat),
        ..ir::Request::default()
    };
    let written = to_messages(&request);
    let content = written["body"]["messages"][0]["content"].as_array().expect("blocks");
    let marked: Vec<bool> = content.iter().map(|b| b["cache_control"]["ttl"] == "1h").collect();
    assert_eq!(marked, [false, false, true, true, true, true]);
    assert!(
        written["fidelity"]
            .as_str()
            .is_some_and(|f| f.starts_with("lossy; dropped=messages[0].blocks[1].cache_control,messages[0].blocks[3].cache_control;"))
    );
}

#[test]
fn a_name_beyond_the_alphabet_is_mapped_and_restored() {
    let tool =
        ir::Tool { name: "files.read".to_owned(), description: None, parameters: json!({"type": "object"}), strict: None, cache: None };
    let request = ir::Request {
        messages: vec![ir::Message::text(ir::Role::User, "hi")],
        tools: vec![tool],
        tool_choice: ir::ToolChoice::Function("files.read".to_owned()),
        ..ir::Request::default()
    };
    let written = to_messages(&request);
    let name = written["body"]["tools"][0]["name"].as_str().expect("a name");
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
    assert_eq!((&written["body"]["tool_choice"]["name"], &written["fidelity"]), (&json!(name), &json!("exact")));
    let answer = json!({"content": [{"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}], "stop_reason": "tool_use"});
    let events = messages::decode::response(answer.to_string().as_bytes()).expect("an answer");
    let called = ir::BlockKind::ToolCall { id: "toolu_1".to_owned(), name: "files.read".to_owned() };
    assert!(events.contains(&ir::Event::BlockStart { choice: 0, block: 0, kind: called }));
}

fn refusal(body: &Value) -> Failure {
    messages::decode::request(body.to_string().as_bytes()).expect_err("a wrong request")
}

#[test]
fn wrong_fields_are_named() {
    let hi = json!([{"role": "user", "content": "hi"}]);
    for (body, param) in [
        (json!({"messages": hi}), "max_tokens"),
        (json!({"max_tokens": 0, "messages": hi}), "max_tokens"),
        (json!({"max_tokens": "5", "messages": hi}), "max_tokens"),
        (json!({"max_tokens": 5}), "messages"),
        (json!({"max_tokens": 5, "messages": {}}), "messages"),
        (json!({"max_tokens": 5, "messages": []}), "messages"),
        (json!({"max_tokens": 5, "messages": [7]}), "messages[0]"),
        (json!({"max_tokens": 5, "messages": [{"role": "robot", "content": "hi"}]}), "messages[0].role"),
        (json!({"max_tokens": 5, "messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"max_tokens": 5, "messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
        (json!({"max_tokens": 5, "messages": [{"role": "user", "content": [{"text": "hi"}]}]}), "messages[0].content[0].type"),
        (json!({"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}), "messages[0].content[0].text"),
        (json!({"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "image"}]}]}), "messages[0].content[0].source"),
        (
            json!({"max_tokens": 5, "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}]}]}),
            "messages[0].content[0].input",
        ),
        (
            json!({"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}),
            "messages[0].content[0].tool_use_id",
        ),
        (json!({"max_tokens": 5, "messages": hi, "system": 5}), "system"),
        (json!({"max_tokens": 5, "messages": hi, "temperature": "hot"}), "temperature"),
        (json!({"max_tokens": 5, "messages": hi, "stop_sequences": "END"}), "stop_sequences"),
        (json!({"max_tokens": 5, "messages": hi, "tools": [{"name": "f", "input_schema": 1}]}), "tools[0].input_schema"),
        (json!({"max_tokens": 5, "messages": hi, "tools": [{}]}), "tools[0].name"),
        (json!({"max_tokens": 5, "messages": hi, "tool_choice": {"type": "some"}}), "tool_choice.type"),
        (json!({"max_tokens": 5, "messages": hi, "tool_choice": {"type": "tool"}}), "tool_choice.name"),
        (json!({"max_tokens": 5, "messages": hi, "thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"max_tokens": 5, "messages": hi, "output_config": {"format": {"type": "json_schema"}}}), "output_config.format.schema"),
        (json!({"max_tokens": 5, "messages": hi, "stream": "yes"}), "stream"),
    ] {
        let failure = refusal(&body);
        assert_eq!((failure.code, failure.param.as_deref()), (Code::InvalidRequest, Some(param)), "{body}: {failure}");
        assert!(failure.message.contains(param), "{failure}");
    }
    for body in [&b""[..], b"{", b"[1]", b"\"text\"", b"\xff\xfe{}"] {
        assert_eq!(messages::decode::request(body).expect_err("no object").status(), 400);
    }
}

#[test]
fn counting_needs_no_limit() {
    let body =
        br#"{"model":"claude-x","messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#;
    let request = messages::decode::count_request(body).expect("a request without a limit");
    let asked = messages::encode::count_request(&request, &mut Losses::default());
    assert_eq!(
        asked,
        json!({"model": "claude-x", "messages": [{"role": "user", "content": "hi"}], "tools": [{"name": "f", "input_schema": {"type": "object"}}]})
    );
    assert_eq!(messages::decode::count(messages::encode::count(7).to_string().as_bytes()).expect("a count"), 7);
    assert_eq!(messages::decode::count(b"{}").expect_err("no count").code, Code::UpstreamError);
}

#[test]
fn models_are_one_page() {
    let ids = [("a/b".to_owned(), "A B".to_owned()), ("c".to_owned(), "C".to_owned())];
    assert_json_snapshot!("models", messages::encode::models(&ids));
    assert_eq!(messages::encode::models(&[]), json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
}

#[test]
fn errors_have_the_dialects_words() {
    let failure = Failure::invalid("max_tokens", "`max_tokens` is missing").with("attempts", 2).with("type", "not overridden");
    assert_json_snapshot!("failure", messages::encode::failure(&failure, "req-1"));
    let word = |status| messages::encode::kind_of_status(status);
    assert_eq!([401, 402, 403, 404].map(word), ["authentication_error", "billing_error", "permission_error", "not_found_error"]);
    assert_eq!([413, 422, 429, 500].map(word), ["request_too_large", "invalid_request_error", "rate_limit_error", "api_error"]);
    assert_eq!([502, 503, 504, 529].map(word), ["api_error", "overloaded_error", "timeout_error", "overloaded_error"]);
}

#[test]
fn an_error_instead_of_an_answer_is_the_upstreams() {
    let failure =
        messages::decode::response(br#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#).expect_err("an error");
    assert_eq!((failure.code, failure.message.as_str()), (Code::UpstreamError, "busy"));
    assert_eq!(messages::decode::response(b"{}").expect_err("no message").param.as_deref(), None);
    assert!(messages::decode::response(b"<html>").is_err());
}

#[test]
fn what_waits_is_bounded() {
    let (mut encoder, mut out) = (messages::stream::Encoder::new(0), Vec::new());
    for block in 0..=u32::try_from(messages::stream::HELD_BLOCKS_MAX).expect("a small number") {
        encoder.event(&ir::Event::BlockStart { choice: 0, block, kind: ir::BlockKind::Text }, &mut out);
    }
    assert!(!String::from_utf8_lossy(&out).contains("event: error"), "so many may wait");
    encoder.event(&ir::Event::BlockStart { choice: 0, block: 5000, kind: ir::BlockKind::Text }, &mut out);
    assert!(String::from_utf8_lossy(&out).contains("event: error"));

    let (mut encoder, mut out) = (messages::stream::Encoder::new(0), Vec::new());
    for block in 0..2 {
        encoder.event(&ir::Event::BlockStart { choice: 0, block, kind: ir::BlockKind::Text }, &mut out);
    }
    let long = ir::Event::Delta { choice: 0, block: 1, delta: ir::Delta::Text("x".repeat(messages::stream::HELD_BYTES_MAX / 2)) };
    encoder.event(&long, &mut out);
    assert!(!String::from_utf8_lossy(&out).contains("event: error"));
    encoder.event(&long, &mut out);
    assert!(String::from_utf8_lossy(&out).contains("event: error"));
}
