//! Golden tests of the Responses codec: requests, answers and streams, whole and cut anywhere.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

#[path = "responses/invariants.rs"]
mod invariants;
#[path = "responses/reading.rs"]
mod reading;

use reading::{legal, read, well_formed, written};
use serde_json::{Value, json};
use wire::{
    Failure, chat,
    ir::{Block, BlockKind, Delta, Event, Family, Finish, Format, Media, Message, Request, Role, Source, State, Tool, ToolChoice},
    losses::Losses,
    responses::{decode, encode, stream},
};

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("golden/responses/", $name))
    };
}

// -- requests ----------------------------------------------------------------------------------------------------------

fn there_and_back(body: &str) -> Value {
    let inner = decode::request(body.as_bytes()).unwrap();
    let mut losses = Losses::default();
    let again = encode::request(&inner, &mut losses);
    assert!(losses.is_exact(), "{losses:?}");
    assert_eq!(decode::request(again.to_string().as_bytes()).unwrap(), inner);
    json!({"inner": inner, "again": again})
}

#[test]
fn a_conversation_is_read_and_comes_back() {
    insta::assert_json_snapshot!(there_and_back(golden!("conversation.request.json")));
}

#[test]
fn tools_and_their_state_are_read_and_come_back() {
    insta::assert_json_snapshot!(there_and_back(golden!("tools.request.json")));
}

#[test]
fn allowed_tools_narrow_the_list() {
    insta::assert_json_snapshot!(there_and_back(golden!("allowed_tools.request.json")));
}

#[test]
fn calls_of_one_turn_become_one_message() {
    let inner = decode::request(golden!("tools.request.json").as_bytes()).unwrap();
    let roles: Vec<_> = inner.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Tool, Role::Tool, Role::Assistant, Role::User]);
    // Chat refuses anything between calls and their results.
    let chat = chat::encode::request(&inner, &mut Losses::default());
    let roles: Vec<_> = chat["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "tool", "tool", "user", "assistant", "user"],
        "an image of a result follows the last of them"
    );
}

fn encoded(request: &Request) -> Value {
    let mut losses = Losses::default();
    let body = encode::request(request, &mut losses);
    json!({"body": body, "losses": losses})
}

#[test]
fn a_chat_request_is_translated_with_its_losses() {
    let inner = chat::decode::request(golden!("full.chat.json").as_bytes()).unwrap();
    insta::assert_json_snapshot!(encoded(&inner));
}

fn foreign(family: Family, blocks: Vec<Block>) -> Request {
    let messages = vec![
        Message { role: Role::System, name: None, blocks: vec![text("One."), Block::CacheMark { ttl: Some("1h".into()) }, text("Two.")] },
        Message::text(Role::User, "Go."),
        Message { role: Role::Assistant, name: None, blocks },
        Message {
            role: Role::User,
            name: None,
            blocks: vec![
                Block::ToolResult { call_id: "c1".into(), name: Some("f".into()), blocks: vec![text("bad"), image()], is_error: true },
                Block::ToolResult { call_id: "c2".into(), name: None, blocks: vec![], is_error: false },
                text("And then?"),
                Block::CacheMark { ttl: None },
                Block::Opaque { family, value: json!({"type": "own"}) },
            ],
        },
    ];
    let tool = Tool { name: "f".into(), description: None, parameters: json!({"type": "object"}), strict: None, cache: Some("5m".into()) };
    Request { model: "m".into(), messages, tools: vec![tool], family: Some(family), ..Request::default() }
}

fn text(text: &str) -> Block {
    Block::Text { text: text.to_owned() }
}

fn image() -> Block {
    Block::Media(Media { mime: "image/png".into(), source: Source::Base64("iVBORw0KGgo=".into()), file_name: None, detail: None })
}

fn call(id: &str, state: Option<State>) -> Block {
    Block::ToolCall { id: id.to_owned(), name: "f".into(), arguments: String::new(), state }
}

fn state(family: Family, id: Option<&str>, signature: Option<&str>, encrypted: Option<&str>) -> State {
    State { family, id: id.map(str::to_owned), signature: signature.map(str::to_owned), encrypted: encrypted.map(str::to_owned) }
}

#[test]
fn a_messages_request_is_translated_with_its_losses() {
    let thought = state(Family::Messages, None, Some("sig"), None);
    let mut request = foreign(
        Family::Messages,
        vec![Block::Reasoning { text: "Hm.".into(), state: Some(thought) }, text("Yes."), call("c1", None), call("c2", None)],
    );
    request.reasoning.budget_tokens = Some(8000);
    request.reasoning.shown = Some(true);
    request.tool_choice = ToolChoice::Function("f".into());
    request.generation.stop = vec!["END".into()];
    request.extra.insert("container".into(), json!("c"));
    insta::assert_json_snapshot!(encoded(&request));
}

#[test]
fn a_gemini_request_is_translated_with_its_losses() {
    let signed = state(Family::Gemini, None, Some("sig"), None);
    let mut request = foreign(Family::Gemini, vec![call("c1", Some(signed)), call("c2", None)]);
    request.generation.top_k = Some(40);
    request.format = Format::Schema { name: "answer".into(), schema: json!({"type": "object"}), strict: None };
    insta::assert_json_snapshot!(encoded(&request));
}

#[test]
fn only_reasoning_that_its_server_knows_goes_back() {
    let kept = |family: Option<Family>, state: Option<State>| {
        let blocks = vec![Block::Reasoning { text: "Hm.".into(), state }, text("Yes.")];
        let messages = vec![Message::text(Role::User, "Go."), Message { role: Role::Assistant, name: None, blocks }];
        let mut losses = Losses::default();
        let body = encode::request(&Request { messages, family, ..Request::default() }, &mut losses);
        let is_kept = body["input"].as_array().unwrap().iter().any(|i| i["type"] == "reasoning");
        assert_eq!(losses.dropped.is_empty(), is_kept, "{losses:?}");
        is_kept
    };
    let encrypted = || Some(state(Family::Responses, Some("rs_1"), None, Some("gAAAA")));
    let by_id = || Some(state(Family::Responses, Some("rs_1"), None, None));
    assert!(kept(Some(Family::Responses), encrypted()) && kept(Some(Family::Chat), encrypted()));
    // Nothing was stored for the others, so an id alone is unknown there.
    assert!(kept(Some(Family::Responses), by_id()) && !kept(Some(Family::Chat), by_id()));
    assert!(!kept(Some(Family::Chat), None) && !kept(Some(Family::Messages), Some(state(Family::Messages, None, Some("s"), None))));
}

#[test]
fn nothing_is_stored_or_strict_on_behalf_of_others() {
    let tool = Tool { name: "f".into(), description: None, parameters: json!({}), strict: None, cache: None };
    for (family, store, strict) in [
        (Some(Family::Chat), json!(false), json!(false)),
        (None, json!(false), json!(false)),
        (Some(Family::Responses), Value::Null, Value::Null),
    ] {
        let messages = vec![Message::text(Role::User, "x")];
        let request = Request { messages, tools: vec![tool.clone()], family, ..Request::default() };
        let body = encode::request(&request, &mut Losses::default());
        assert_eq!((&body["store"], &body["tools"][0]["strict"]), (&store, &strict), "{family:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |body: &str| -> Failure { decode::request(body.as_bytes()).expect_err(body) };
    for (body, param) in [
        (r"{}", "input"),
        (r#"{"input": 5}"#, "input"),
        (r#"{"input": []}"#, "input"),
        (r#"{"input": ["x"]}"#, "input[0]"),
        (r#"{"input": [{}]}"#, "input[0].type"),
        (r#"{"input": [{"role": "tool", "content": "x"}]}"#, "input[0].role"),
        (r#"{"input": [{"role": "user", "content": 5}]}"#, "input[0].content"),
        (r#"{"input": [{"role": "user"}]}"#, "input[0].content"),
        (r#"{"input": [{"role": "user", "content": [{"type": "input_text"}]}]}"#, "input[0].content[0].text"),
        (r#"{"input": [{"role": "user", "content": [{"type": "input_image"}]}]}"#, "input[0].content[0].image_url"),
        (r#"{"input": [{"role": "user", "content": [{"type": "input_file"}]}]}"#, "input[0].content[0].file_data"),
        (r#"{"input": [{"type": "function_call", "name": "f"}]}"#, "input[0].call_id"),
        (r#"{"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": 5}]}"#, "input[0].arguments"),
        (r#"{"input": [{"type": "function_call_output", "output": "x"}]}"#, "input[0].call_id"),
        (r#"{"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]}"#, "input[0].output"),
        (r#"{"input": "x", "instructions": []}"#, "instructions"),
        (r#"{"input": "x", "max_output_tokens": "9"}"#, "max_output_tokens"),
        (r#"{"input": "x", "temperature": "hot"}"#, "temperature"),
        (r#"{"input": "x", "tools": {}}"#, "tools"),
        (r#"{"input": "x", "tools": [{"type": "function"}]}"#, "tools[0].name"),
        (r#"{"input": "x", "tool_choice": "sometimes"}"#, "tool_choice"),
        (r#"{"input": "x", "text": {"format": {"type": "json_schema"}}}"#, "text.format.schema"),
        (r#"{"input": "x", "text": {"format": {"type": "xml"}}}"#, "text.format.type"),
        (r#"{"input": "x", "reasoning": "high"}"#, "reasoning"),
    ] {
        let failure = refused(body);
        assert_eq!((failure.param.as_deref(), failure.status()), (Some(param), 400), "{body}");
        assert!(failure.message.contains(param), "{failure}");
    }
    for body in ["", "{", "[]", "\"x\""] {
        assert_eq!(refused(body).status(), 400, "{body}");
    }
    assert!(decode::request(br#"{"previous_response_id": "resp_1"}"#).is_ok());
}

#[test]
fn errors_have_the_envelope_of_openai() {
    let body = encode::failure(&Failure::invalid("input", "`input` is missing"), "req_1");
    assert_eq!(
        body,
        json!({"error": {"message": "`input` is missing", "type": "invalid_request_error", "param": "input", "code": "invalid_request", "request_id": "req_1"}})
    );
}

// -- answers -----------------------------------------------------------------------------------------------------------

fn answer(body: &str) -> Value {
    let events = decode::response(body.as_bytes()).unwrap();
    well_formed(&events);
    json!({"events": events, "again": encode::response(&events)})
}

#[test]
fn an_answer_of_text() {
    insta::assert_json_snapshot!(answer(golden!("text.answer.json")));
}

#[test]
fn an_answer_of_calls() {
    insta::assert_json_snapshot!(answer(golden!("tools.answer.json")));
}

#[test]
fn an_answer_that_refuses() {
    insta::assert_json_snapshot!(answer(golden!("refusal.answer.json")));
}

#[test]
fn an_answer_that_was_cut() {
    insta::assert_json_snapshot!(answer(golden!("cut.answer.json")));
}

#[test]
fn an_answer_that_failed() {
    insta::assert_json_snapshot!(answer(golden!("failed.answer.json")));
}

#[test]
fn what_is_no_answer_is_said() {
    for body in ["", "[]", "{}", r#"{"output": 5}"#] {
        assert_eq!(decode::response(body.as_bytes()).expect_err(body).status(), 502, "{body}");
    }
}

#[test]
fn an_answer_repeats_what_was_asked() {
    let inner = decode::request(golden!("conversation.request.json").as_bytes()).unwrap();
    let events = decode::response(golden!("refusal.answer.json").as_bytes()).unwrap();
    let answer = encode::response_to(&inner, &events);
    assert_eq!(answer["instructions"], "Answer in one line.");
    assert_eq!(answer["reasoning"], json!({"effort": "low", "summary": "detailed", "context": "current_turn"}));
    assert_eq!((&answer["temperature"], &answer["max_output_tokens"]), (&json!(0.5), &json!(300)));
    assert_eq!(answer["text"]["format"]["name"], "thing");
}

#[test]
fn every_end_has_its_status() {
    let ended = |reason: Finish, kind: BlockKind| {
        let events = [
            Event::Start { id: "x".into(), model: "m".into(), created: 1 },
            Event::BlockStart { choice: 0, block: 0, kind },
            Event::BlockStop { choice: 0, block: 0 },
            Event::Finish { choice: 0, reason },
            Event::End,
        ];
        let answer = encode::response(&events);
        (answer["status"].as_str().unwrap().to_owned(), answer["incomplete_details"]["reason"].as_str().map(str::to_owned))
    };
    let incomplete = |why: &str| ("incomplete".to_owned(), Some(why.to_owned()));
    let completed = ("completed".to_owned(), None);
    for (reason, wanted) in [
        (Finish::Stop, completed.clone()),
        (Finish::StopSequence(None), completed.clone()),
        (Finish::ToolCall, completed.clone()),
        (Finish::Paused, completed.clone()),
        (Finish::Length, incomplete("max_output_tokens")),
        (Finish::ContextFull, incomplete("max_output_tokens")),
        (Finish::Filter, incomplete("content_filter")),
        (Finish::Refusal, incomplete("content_filter")),
        (Finish::MalformedCall, ("failed".to_owned(), None)),
    ] {
        assert_eq!(ended(reason.clone(), BlockKind::Text), wanted, "{reason:?}");
    }
    assert_eq!(ended(Finish::Refusal, BlockKind::Refusal), completed);
}

// -- streams -----------------------------------------------------------------------------------------------------------

fn streamed(text: &str) -> Vec<Event> {
    let events = read(text.as_bytes(), text.len());
    for size in [1, 7, 64] {
        assert_eq!(read(text.as_bytes(), size), events, "pieces of {size} bytes");
    }
    well_formed(&events);
    events
}

#[test]
fn an_official_stream() {
    insta::assert_json_snapshot!(streamed(golden!("official.sse")));
}

#[test]
fn a_stream_without_done_events() {
    insta::assert_json_snapshot!(streamed(golden!("deltas_only.sse")));
}

#[test]
fn a_stream_of_whole_items() {
    insta::assert_json_snapshot!(streamed(golden!("done_only.sse")));
}

#[test]
fn a_stream_of_a_last_event() {
    insta::assert_json_snapshot!(streamed(golden!("last_only.sse")));
}

#[test]
fn a_stream_that_refuses() {
    insta::assert_json_snapshot!(streamed(golden!("refusal.sse")));
}

#[test]
fn streams_that_fail() {
    let failed = [golden!("failed.sse"), golden!("error.sse"), golden!("truncated.sse"), "data: {\n\n", ""].map(streamed);
    insta::assert_json_snapshot!(failed);
}

#[test]
fn the_first_piece_does_not_wait() {
    let text = golden!("deltas_only.sse");
    let cut = text.find("\"delta\":\"Yes\"").unwrap();
    let end = cut + text[cut..].find("\n\n").unwrap() + 2;
    let (mut decoder, mut events) = (stream::Decoder::new(), Vec::new());
    decoder.feed(&text.as_bytes()[..end], &mut events).unwrap();
    assert!(events.iter().any(|e| matches!(e, Event::Delta { delta: Delta::Text(t), .. } if t == "Yes")), "{events:?}");
}

#[test]
fn a_stream_is_written() {
    let text = written(&streamed(golden!("official.sse")));
    legal(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_refusal_is_written_as_a_stream() {
    let text = written(&streamed(golden!("refusal.sse")));
    legal(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_broken_stream_has_no_normal_end() {
    let mut all = String::new();
    for events in [golden!("failed.sse"), golden!("error.sse"), golden!("truncated.sse")].map(streamed) {
        let text = written(&events);
        assert!(!text.contains("response.completed") && !text.contains("response.incomplete") && !text.contains("[DONE]"));
        all += &text;
    }
    insta::assert_snapshot!(all);
}
