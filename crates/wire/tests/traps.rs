//! The traps between the dialects, one test each.
//!
//! | trap | about | where it is held |
//! |---|---|---|
//! | 1 | function tools nested and flat; `strict` is on by default in Responses | `t01` |
//! | 2 | Responses stores by default | `t02` |
//! | 3 | ids of calls | `t03` |
//! | 4 | alphabets of functions' names | `t04` |
//! | 5 | arguments as text and as object | `t05` |
//! | 6 | results first in the next user turn of Messages | `t06` |
//! | 7 | Gemini's turns: alternation, results alone and in order, objects | `t07` |
//! | 8 | Gemini's signature on the first parallel call | `t08` |
//! | 9 | thoughts of Messages travel all or not at all | `t09` |
//! | 10 | reasoning items stand before their calls | `t10` |
//! | 11 | `max_tokens` is required in Messages | `t11` |
//! | 12 | temperatures above 1, `top_p` beside them, what has no twin | `t12` |
//! | 13 | stop strings | `t13` |
//! | 14 | images by data, by address, by file | `t14` |
//! | 15 | tools that run at the provider | `t15` |
//! | 16 | metadata stays at home | `t16` |
//! | 17 | reasoning with tools through Responses | `a_model_that_thinks_with_tools_on_responses_only_is_asked_there` |
//! | 18 | unknown members | `fidelity/members.rs`, `t18` |
//! | 19 | server-sent events by the letter | `sse.rs`, `t19` |
//! | 20 | one id and time for all chunks | `t20` |
//! | 21 | the role once | `t21` |
//! | 22 | blocks never overlap, fragments of calls may | `t22` |
//! | 23 | calls without arguments | `t23` |
//! | 24 | usage after the reason | `t24` |
//! | 25 | `message_start` wants counts before they are known | `t25` |
//! | 26 | Gemini's counts run | `t26` |
//! | 27 | signatures without words | `t27` |
//! | 28 | errors inside a stream | `t28` |
//! | 29 | truncation | `fidelity/corpus.rs`, `t28`; `an_account_whose_streams_keep_breaking_off_is_left_alone` |
//! | 30 | keepalives | `t30`; when they are sent: `a_silent_stream_is_kept_alive` |
//! | 31 | buffering by proxies | `it_streams_chats_on_every_form_of_the_path`, `every_frame_of_a_translated_stream_goes_on_at_once` |
//! | 32 | clients that hang up | `ten_thousand_streams_leave_one_record_each_and_nothing_else` |
//! | 33 | replays of a cache | `with_streams_a_whole_answer_makes_a_stream_and_a_stream_a_whole_answer` |
//! | 34 | slow clients | `a_caller_that_takes_nothing_is_left` and its like; what encoders hold is bounded: `messages.rs` |
//! | 35 | errors in the caller's dialect | `t35` |
//! | 36 | what an error means for routing | `upstream/src/classify.rs`, `other_failures_are_the_upstreams` |
//! | 37 | headers of limits | read: `upstream/src/limits.rs`; never passed on: `what_an_upstream_says_of_its_limits_is_not_told_to_callers` |
//! | 38 | headers per family | `each_family_sees_its_own`, `a_familys_own_headers_stay_in_the_family` |
//! | 39 | ids, targets and cost in headers | `a_whole_answer_comes_back_untouched`, `use_stands_beside_its_price_and_where_that_is_from` |
//! | 40 | three lists of models | `t40`; which one: `gateway` |

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

use serde_json::{Value, json};
use wire::{
    Code, Dialect, Failure, chat,
    dialect::{Decoder, Encoder},
    gemini,
    ir::{BlockKind, Delta, Event, Finish, Request},
    losses::Losses,
    messages, responses,
};

fn read(dialect: Dialect, body: &Value) -> Request {
    dialect.decode_request(body.to_string().as_bytes(), "m", false).unwrap()
}

fn sent(request: &Request, wire: Dialect) -> (Value, Losses) {
    let mut losses = Losses::default();
    let body = wire.encode_request(request, &mut losses);
    (body, losses)
}

/// From a dialect's body to a wire's.
fn translated(caller: Dialect, body: Value, wire: Dialect) -> (Value, Losses) {
    sent(&read(caller, &body), wire)
}

fn events(dialect: Dialect, stream: &str) -> Vec<Event> {
    let (mut decoder, mut events) = (Decoder::new(dialect), Vec::new());
    decoder.feed(stream.as_bytes(), &mut events).unwrap();
    decoder.finish(&mut events);
    events
}

fn written(dialect: Dialect, events: &[Event]) -> String {
    let mut encoder = match dialect {
        Dialect::Chat => Encoder::Chat(chat::stream::Encoder::new(true)),
        Dialect::Responses => Encoder::Responses(Box::new(responses::stream::Encoder::new())),
        Dialect::Messages => Encoder::Messages(Box::new(messages::stream::Encoder::new(10))),
        Dialect::Gemini => Encoder::Gemini(gemini::stream::Encoder::new()),
    };
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn frames(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|d| *d != "[DONE]").map(|d| serde_json::from_str(d).unwrap()).collect()
}

fn chat_stream(chunks: &[Value]) -> String {
    let frames: String = chunks
        .iter()
        .map(|c| format!("data: {}\n\n", json!({"id": "c", "created": 7, "model": "m", "choices": [c]})))
        .fold(String::new(), |a, b| a + &b);
    frames + "data: [DONE]\n\n"
}

/// A whole answer of text.
fn answer() -> Vec<Event> {
    vec![
        Event::Start { id: "a".to_owned(), model: "m".to_owned(), created: 7 },
        Event::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
        Event::Delta { choice: 0, block: 0, delta: Delta::Text("Hi".to_owned()) },
        Event::Delta { choice: 0, block: 0, delta: Delta::Text(".".to_owned()) },
        Event::BlockStop { choice: 0, block: 0 },
        Event::Finish { choice: 0, reason: Finish::Stop },
        Event::End,
    ]
}

fn with_tool(mut body: Value) -> Value {
    body["messages"] = json!([{"role": "user", "content": "hi"}]);
    body["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}]);
    body
}

fn history(messages: Value) -> Value {
    json!({"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[test]
fn t01_functions_are_flat_in_responses_and_not_strict_unless_they_say_so() {
    let (body, _) = translated(Dialect::Chat, with_tool(json!({})), Dialect::Responses);
    assert_eq!((&body["tools"][0]["name"], &body["tools"][0]["strict"]), (&json!("f"), &json!(false)));
    let flat = json!({"input": "hi", "tools": [{"type": "function", "name": "f", "strict": true}]});
    assert_eq!(translated(Dialect::Responses, flat, Dialect::Chat).0["tools"][0]["function"]["strict"], true);
}

#[test]
fn t02_nothing_is_stored_for_callers_of_other_dialects() {
    for caller in [Dialect::Chat, Dialect::Messages, Dialect::Gemini] {
        let body = match caller {
            Dialect::Gemini => json!({"contents": [{"parts": [{"text": "hi"}]}]}),
            _ => json!({"max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}),
        };
        assert_eq!(translated(caller, body, Dialect::Responses).0["store"], false, "{}", caller.name());
    }
    assert_eq!(translated(Dialect::Responses, json!({"input": "hi"}), Dialect::Responses).0.get("store"), None);
}

#[test]
fn t03_ids_of_calls_are_legal_and_come_back() {
    let odd = history(
        json!([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call("functions.f:0", "{}")]}, {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"}]),
    );
    let (body, _) = translated(Dialect::Chat, odd.clone(), Dialect::Messages);
    let id = body["messages"][1]["content"][0]["id"].as_str().unwrap();
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{id}");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], id);
    let answer = json!({"content": [{"type": "tool_use", "id": id, "name": "f", "input": {}}]});
    let back = Dialect::Messages.decode_response(answer.to_string().as_bytes()).unwrap();
    assert!(back.iter().any(|e| matches!(e, Event::BlockStart { kind: BlockKind::ToolCall { id, .. }, .. } if id == "functions.f:0")));
    let (body, _) = translated(Dialect::Chat, odd, Dialect::Responses);
    assert_eq!((&body["input"][1]["call_id"], body["input"][1].get("id")), (&json!("functions.f:0"), None), "never the item's own id");
    // Gemini's calls come without one.
    let nameless = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}], "responseId": "r"});
    // Some servers of chat leave them out too, in streams with the index.
    let bare = json!([{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "f", "arguments": "{}"}}]);
    let message = json!({"message": {"role": "assistant", "tool_calls": bare}, "index": 0, "finish_reason": "tool_calls"});
    let whole = json!({"id": "c-1", "object": "", "created": 1, "model": "m", "choices": [message]});
    let streamed =
        chat_stream(&[json!({"index": 0, "delta": {"tool_calls": bare}}), json!({"index": 0, "delta": {}, "finish_reason": "tool_calls"})]);
    for called in [
        Dialect::Gemini.decode_response(nameless.to_string().as_bytes()).unwrap(),
        Dialect::Chat.decode_response(whole.to_string().as_bytes()).unwrap(),
        events(Dialect::Chat, &streamed),
    ] {
        let chat = Dialect::Chat.encode_response(&called);
        let calls = chat["choices"][0]["message"]["tool_calls"].as_array().unwrap();
        assert!(calls[0]["id"] != calls[1]["id"] && calls[0]["id"] != "" && calls[1]["id"] != "", "{calls:?}");
    }
}

#[test]
fn t04_names_beyond_an_alphabet_are_mapped_and_come_back() {
    let own = json!({"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"functionDeclarations": [{"name": "fs.read:all"}]}]});
    let request = read(Dialect::Gemini, &own);
    for wire in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
        let (body, losses) = sent(&request, wire);
        let name = body["tools"][0]["name"].as_str().or(body["tools"][0]["function"]["name"].as_str()).unwrap().to_owned();
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{}: {name}", wire.name());
        assert!(losses.is_exact(), "what comes back is not lost");
        let called = [
            Event::Start { id: "a".to_owned(), model: "m".to_owned(), created: 0 },
            Event::BlockStart { choice: 0, block: 0, kind: BlockKind::ToolCall { id: "c".to_owned(), name } },
            Event::BlockStop { choice: 0, block: 0 },
            Event::Finish { choice: 0, reason: Finish::ToolCall },
            Event::End,
        ];
        for back in
            [events(wire, &written(wire, &called)), wire.decode_response(wire.encode_response(&called).to_string().as_bytes()).unwrap()]
        {
            let is_back =
                |e: &Event| matches!(e, Event::BlockStart { kind: BlockKind::ToolCall { name, .. }, .. } if name == "fs.read:all");
            assert!(back.iter().any(is_back), "{}: {back:?}", wire.name());
        }
    }
    let odd = json!({"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function", "function": {"name": "7 ping"}}]});
    assert_eq!(translated(Dialect::Chat, odd, Dialect::Gemini).0["tools"][0]["functionDeclarations"][0]["name"], "x__7:20ping");
}

#[test]
fn t05_arguments_are_objects_where_they_must_be_and_nothing_is_refused() {
    for (arguments, object) in
        [("", json!({})), ("{\"a\":1}", json!({"a": 1})), ("{\"a\":", json!({"raw": "{\"a\":"})), ("[1]", json!({"raw": "[1]"}))]
    {
        let body = history(
            json!([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call("c", arguments)]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]),
        );
        let (messages, losses) = translated(Dialect::Chat, body.clone(), Dialect::Messages);
        assert_eq!(messages["messages"][1]["content"][0]["input"], object, "{arguments}");
        assert_eq!(losses.changed.is_empty(), object.get("raw").is_none(), "{arguments}: {losses:?}");
        assert!(translated(Dialect::Chat, body.clone(), Dialect::Gemini).0["contents"][1]["parts"][0]["functionCall"]["args"].is_object());
        let text = translated(Dialect::Chat, body, Dialect::Responses).0["input"][1]["arguments"].clone();
        assert_eq!(text, if arguments.is_empty() { "{}" } else { arguments });
    }
}

#[test]
fn t06_results_stand_together_and_first_in_the_next_user_turn() {
    let body = history(json!([
        {"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call("a", "{}"), call("b", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "2"}, {"role": "tool", "tool_call_id": "a", "content": "1"}, {"role": "user", "content": "and?"}
    ]));
    let (body, _) = translated(Dialect::Chat, body, Dialect::Messages);
    let turn = &body["messages"][2];
    let kinds: Vec<&str> = turn["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!(
        (turn["role"].as_str(), kinds, body["messages"].as_array().unwrap().len()),
        (Some("user"), vec!["tool_result", "tool_result", "text"], 3)
    );
}

#[test]
fn t07_gemini_has_turns_in_alternation_and_results_alone_in_the_order_of_calls() {
    let body = history(json!([
        {"role": "user", "content": "hi"}, {"role": "user", "content": "there"}, {"role": "assistant", "tool_calls": [call("a", "{}"), call("b", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "2"}, {"role": "tool", "tool_call_id": "a", "content": "1"}, {"role": "user", "content": "and?"}
    ]));
    let (body, _) = translated(Dialect::Chat, body, Dialect::Gemini);
    let contents = body["contents"].as_array().unwrap();
    let roles: Vec<&str> = contents.iter().map(|c| c["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "model", "user", "user"], "what the user says stands behind the results");
    let results: Vec<&Value> = contents[2]["parts"].as_array().unwrap().iter().map(|p| &p["functionResponse"]["response"]).collect();
    assert_eq!(results, [&json!({"result": "1"}), &json!({"result": "2"})]);
    let only_system = json!({"messages": [{"role": "system", "content": "Be."}]});
    assert_eq!(translated(Dialect::Chat, only_system, Dialect::Gemini).0["contents"][0]["parts"][0]["text"], "Be.", "never empty");
}

#[test]
fn t08_a_signature_stands_on_the_first_parallel_call_and_has_a_stand_in() {
    let body = history(
        json!([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call("a", "{}"), call("b", "{}")]}, {"role": "tool", "tool_call_id": "a", "content": "1"}, {"role": "tool", "tool_call_id": "b", "content": "2"}]),
    );
    let mut request = read(Dialect::Chat, &body);
    "gemini-3-pro".clone_into(&mut request.model);
    let parts = sent(&request, Dialect::Gemini).0["contents"][1]["parts"].clone();
    assert_eq!((&parts[0]["thoughtSignature"], parts[1].get("thoughtSignature")), (&json!("skip_thought_signature_validator"), None));
    // Google's own chat endpoint carries it, and so do we.
    let mut signed = body;
    signed["messages"][1]["tool_calls"][0]["extra_content"] = json!({"google": {"thought_signature": "c2ln"}});
    let parts = translated(Dialect::Chat, signed, Dialect::Gemini).0["contents"][1]["parts"].clone();
    assert_eq!(parts[0]["thoughtSignature"], "c2ln");
    // On a text it comes back to that text.
    let own = json!({"contents": [{"parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "a"}, {"text": "b", "thoughtSignature": "c2ln"}]}, {"parts": [{"text": "and?"}]}]});
    assert_eq!(translated(Dialect::Gemini, own.clone(), Dialect::Gemini).0["contents"][1], own["contents"][1]);
}

#[test]
fn t09_thoughts_travel_unchanged_and_in_order_or_not_at_all() {
    let thoughts = json!([{"type": "redacted_thinking", "data": "aGlk"}, {"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]);
    let own = json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "messages": [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": thoughts}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}]});
    let (body, losses) = translated(Dialect::Messages, own.clone(), Dialect::Messages);
    assert_eq!((&body["messages"][1]["content"], losses.is_exact()), (&thoughts, true));
    for wire in [Dialect::Chat, Dialect::Responses, Dialect::Gemini] {
        let (body, losses) = translated(Dialect::Messages, own.clone(), wire);
        assert!(!body.to_string().contains("aGlk") && !body.to_string().contains("\"s\""), "{}: {body}", wire.name());
        assert!(losses.dropped.iter().any(|p| p.starts_with("messages[1].blocks[0]")), "{}: {losses:?}", wire.name());
    }
}

#[test]
fn t10_reasoning_stands_before_its_call_and_only_with_what_its_server_knows_it_by() {
    let reasoning = |encrypted: Value| {
        json!({"store": false, "input": [{"role": "user", "content": "hi"}, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": "x"}]})
    };
    let (body, _) = translated(Dialect::Responses, reasoning(json!("gAAAA")), Dialect::Responses);
    let kinds: Vec<&str> = body["input"].as_array().unwrap().iter().map(|i| i["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "reasoning", "function_call", "function_call_output"]);
    let mut foreign = read(Dialect::Responses, &reasoning(Value::Null));
    foreign.family = Some(wire::ir::Family::Chat);
    let (body, losses) = sent(&foreign, Dialect::Responses);
    assert!(!body.to_string().contains("rs_1") && losses.dropped == ["messages[1].blocks[0]"], "a bare id is nothing: {losses:?}");
    // The next turn needs the encrypted form, which has to be asked for.
    let (body, _) =
        translated(Dialect::Chat, json!({"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "low"}), Dialect::Responses);
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    let (body, _) = translated(Dialect::Chat, json!({"messages": [{"role": "user", "content": "hi"}]}), Dialect::Responses);
    assert_eq!(body.get("include"), None, "models that do not think refuse it");
}

#[test]
fn t11_messages_always_has_a_limit_of_use() {
    let request = read(Dialect::Chat, &json!({"messages": [{"role": "user", "content": "hi"}]}));
    let (body, losses) = sent(&request, Dialect::Messages);
    assert_eq!((body["max_tokens"].as_u64(), losses.is_exact()), (Some(u64::from(messages::encode::MAX_TOKENS_DEFAULT)), true));
    let body = Dialect::Messages.encode_request_within(&request, Some(64_000), &mut Losses::default());
    assert_eq!(body["max_tokens"], 64_000, "the model's own, where it is known");
    // Thinking has to fit below the limit, and both into what the model writes.
    for (limit, budget, most, wanted) in [
        (Some(500), 2000, None, (2500, 2000)),
        (None, 20_000, Some(32_000), (32_000, 20_000)),
        (None, 50_000, Some(32_000), (32_000, 16_000)),
    ] {
        let mut request = request.clone();
        (request.generation.max_tokens, request.reasoning.budget_tokens) = (limit, Some(budget));
        let mut losses = Losses::default();
        let body = Dialect::Messages.encode_request_within(&request, most, &mut losses);
        assert_eq!(
            (body["max_tokens"].as_u64(), body["thinking"]["budget_tokens"].as_u64()),
            (Some(wanted.0), Some(wanted.1)),
            "{losses:?}"
        );
        assert_eq!(losses.changed.is_empty(), limit.is_none() && wanted.1 == u64::from(budget), "{losses:?}");
    }
}

#[test]
fn t12_what_messages_refuses_is_clamped_or_named() {
    let odd = json!({"messages": [{"role": "user", "content": "hi"}], "temperature": 1.6, "top_p": 0.5, "n": 2, "logprobs": true, "seed": 1, "logit_bias": {"1": 1}});
    let (body, losses) = translated(Dialect::Chat, odd, Dialect::Messages);
    assert_eq!((&body["temperature"], body.get("top_p")), (&json!(1.0), None));
    assert_eq!(
        (losses.changed, losses.dropped),
        (vec!["temperature".to_owned()], ["top_p", "logit_bias", "n", "logprobs", "seed"].map(str::to_owned).to_vec())
    );
}

#[test]
fn t13_stop_strings_are_named_where_there_is_no_place() {
    let many = json!({"messages": [{"role": "user", "content": "hi"}], "stop": ["a", "b", "c", "d", "e", "f"]});
    assert_eq!(translated(Dialect::Chat, many.clone(), Dialect::Responses).1.dropped, ["stop"]);
    let (body, losses) = translated(Dialect::Chat, many.clone(), Dialect::Gemini);
    assert_eq!((body["generationConfig"]["stopSequences"].as_array().unwrap().len(), losses.changed), (5, vec!["stop".to_owned()]));
    assert_eq!(translated(Dialect::Chat, many, Dialect::Messages).0["stop_sequences"].as_array().unwrap().len(), 6);
}

#[test]
fn t14_images_by_data_by_address_and_by_file() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]});
    let content = translated(Dialect::Chat, body.clone(), Dialect::Messages).0["messages"][0]["content"].clone();
    assert_eq!((&content[0]["source"]["media_type"], &content[1]["source"]["type"]), (&json!("image/png"), &json!("url")));
    let (body, losses) = translated(Dialect::Chat, body, Dialect::Gemini);
    let parts = &body["contents"][0]["parts"];
    assert_eq!((&parts[0]["inlineData"]["data"], &parts[1]["fileData"]["mimeType"]), (&json!("AAAA"), &json!("image/png")));
    assert_eq!(losses.changed, ["messages[0].blocks[1]"], "Google does not open every address");
    let foreign = json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}, {"type": "input_file", "file_id": "file-1"}]}]});
    for wire in [Dialect::Chat, Dialect::Messages, Dialect::Gemini] {
        let (body, losses) = translated(Dialect::Responses, foreign.clone(), wire);
        assert!(!body.to_string().contains("file-1") && losses.dropped == ["messages[0].blocks[1]"], "{}: {body}", wire.name());
    }
}

#[test]
fn t15_tools_of_a_provider_are_named_where_they_are_unknown() {
    let body = json!({"input": "hi", "tools": [{"type": "web_search"}]});
    for wire in [Dialect::Chat, Dialect::Messages, Dialect::Gemini] {
        let (body, losses) = translated(Dialect::Responses, body.clone(), wire);
        assert!(!body.to_string().contains("web_search") && losses.dropped == ["tools[0]"], "{}: {losses:?}", wire.name());
    }
}

#[test]
fn t16_metadata_does_not_cross_but_the_user_does() {
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}, "user": "u"});
    let (body, losses) = translated(Dialect::Chat, body, Dialect::Messages);
    assert_eq!((&body["metadata"], losses.dropped), (&json!({"user_id": "u"}), vec!["metadata".to_owned()]));
    let own = json!({"max_tokens": 16, "messages": [{"role": "user", "content": "hi"}], "metadata": {"user_id": "u"}});
    assert_eq!(translated(Dialect::Messages, own, Dialect::Responses).0.get("metadata"), None);
}

#[test]
fn t18_what_another_server_keeps_is_refused_by_name() {
    for (body, param) in [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"input": "hi", "conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"input": "hi", "background": true}), "background"),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "hi"}]}), "input"),
    ] {
        let request = read(Dialect::Responses, &body);
        Dialect::Responses.check_request(&request).unwrap();
        for wire in [Dialect::Chat, Dialect::Messages, Dialect::Gemini] {
            let failure = wire.check_request(&request).unwrap_err();
            assert_eq!((failure.code, failure.param.as_deref()), (Code::UnsupportedParameter, Some(param)));
        }
    }
    let cached = json!({"contents": [{"parts": [{"text": "hi"}]}], "cachedContent": "cachedContents/1"});
    assert_eq!(Dialect::Chat.check_request(&read(Dialect::Gemini, &cached)).unwrap_err().param.as_deref(), Some("cachedContent"));
    let usual = json!({"input": "hi", "store": false, "include": ["reasoning.encrypted_content"], "truncation": "disabled", "parallel_tool_calls": true, "background": false});
    let request = read(Dialect::Responses, &usual);
    for wire in Dialect::ALL {
        wire.check_request(&request).unwrap();
        assert!(sent(&request, wire).1.is_exact(), "{}: defaults and wishes that are fulfilled are no losses", wire.name());
    }
}

#[test]
fn t19_events_are_read_by_the_letter() {
    let odd = "\u{feff}: hello\r\nevent: message\r\ndata: {\"id\":\"c\",\"model\":\"m\",\r\ndata: \"choices\":[{\"index\":0,\"delta\":{\"content\":\"日本\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata:[DONE]\r\n\r\n";
    let whole = events(Dialect::Chat, odd);
    assert!(whole.contains(&Event::Delta { choice: 0, block: 0, delta: Delta::Text("日本".to_owned()) }), "{whole:?}");
    let long = "x".repeat(3 << 20);
    let stream = chat_stream(&[json!({"index": 0, "delta": {"content": long}}), json!({"index": 0, "delta": {}, "finish_reason": "stop"})]);
    assert_eq!(events(Dialect::Chat, &stream).last(), Some(&Event::End));
}

#[test]
fn t20_one_id_and_time_for_all_chunks() {
    let chunks = frames(&written(Dialect::Chat, &answer()));
    assert!(chunks.len() > 3 && chunks.iter().all(|c| c["id"] == "a" && c["created"] == 7 && c["object"] == "chat.completion.chunk"));
    let numbers: Vec<u64> =
        frames(&written(Dialect::Responses, &answer())).iter().map(|f| f["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn t21_the_role_is_said_once() {
    let with_role = frames(&written(Dialect::Chat, &answer())).iter().filter(|c| c["choices"][0]["delta"].get("role").is_some()).count();
    assert_eq!(with_role, 1);
}

#[test]
fn t22_calls_whose_fragments_are_mixed_come_one_after_the_other() {
    let piece = |index: u32, id: Option<&str>, text: &str| {
        let function = if id.is_some() { json!({"name": "f", "arguments": text}) } else { json!({"arguments": text}) };
        json!({"index": 0, "delta": {"tool_calls": [{"index": index, "id": id, "function": function}]}})
    };
    let mixed = chat_stream(&[
        piece(0, Some("a"), ""),
        piece(1, Some("b"), ""),
        piece(0, None, "{\"x\":"),
        piece(1, None, "{\"y\":"),
        piece(2, Some("c"), "{}"),
        piece(1, None, "2}"),
        piece(0, None, "1}"),
        json!({"index": 0, "delta": {}, "finish_reason": "tool_calls"}),
    ]);
    let stream = written(Dialect::Messages, &events(Dialect::Chat, &mixed));
    let shown: Vec<String> = frames(&stream)
        .iter()
        .filter_map(|f| match f["type"].as_str()? {
            "content_block_start" => Some(format!("+{}", f["content_block"]["id"].as_str()?)),
            "content_block_delta" => Some(f["delta"]["partial_json"].as_str()?.to_owned()),
            "content_block_stop" => Some("-".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["+a", "{\"x\":", "1}", "-", "+b", "{\"y\":2}", "-", "+c", "{}", "-"]);
    // Some servers use one index for all.
    let reused = chat_stream(&[
        piece(0, Some("a"), "{}"),
        piece(0, Some("b"), "{\"z\":1}"),
        json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
    ]);
    // And some repeat id and name in each fragment.
    let repeated = chat_stream(&[
        piece(0, Some("a"), "{\"x\":"),
        piece(0, Some("a"), "1}"),
        piece(0, Some("a"), ""),
        piece(1, Some("b"), "{}"),
        json!({"index": 0, "delta": {}, "finish_reason": "tool_calls"}),
    ]);
    for stream in [reused, repeated] {
        let calls = events(Dialect::Chat, &stream);
        let calls = calls.iter().filter(|e| matches!(e, Event::BlockStart { kind: BlockKind::ToolCall { .. }, .. })).count();
        assert_eq!(calls, 2, "{stream}");
    }
}

#[test]
fn t23_a_call_without_arguments_has_an_empty_object_everywhere() {
    let called = [
        Event::Start { id: "a".to_owned(), model: "m".to_owned(), created: 0 },
        Event::BlockStart { choice: 0, block: 0, kind: BlockKind::ToolCall { id: "c".to_owned(), name: "f".to_owned() } },
        Event::BlockStop { choice: 0, block: 0 },
        Event::Finish { choice: 0, reason: Finish::ToolCall },
        Event::End,
    ];
    let chat = Dialect::Chat.encode_response(&called);
    assert_eq!(chat["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(Dialect::Responses.encode_response(&called)["output"][0]["arguments"], "{}");
    assert_eq!(Dialect::Messages.encode_response(&called)["content"][0]["input"], json!({}));
    assert_eq!(Dialect::Gemini.encode_response(&called)["candidates"][0]["content"]["parts"][0]["functionCall"]["args"], json!({}));
    for dialect in Dialect::ALL {
        for client in Dialect::ALL {
            let again = events(client, &written(client, &events(dialect, &written(dialect, &called))));
            let arguments: String = again
                .iter()
                .filter_map(|e| if let Event::Delta { delta: Delta::Arguments(a), .. } = e { Some(a.as_str()) } else { None })
                .collect();
            assert!(arguments == "{}" || arguments.is_empty(), "{} to {}: {arguments}", dialect.name(), client.name());
        }
    }
}

#[test]
fn t24_usage_may_come_after_the_reason_or_with_it() {
    let last = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":0}}";
    for stream in [
        format!("{last}data: {{\"id\":\"c\",\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"),
        format!("{}data: [DONE]\n\n", last.replace("}]}\n", &format!("}}],\"usage\":{usage}}}\n"))),
    ] {
        let frames = frames(&written(Dialect::Messages, &events(Dialect::Chat, &stream)));
        let delta = frames.iter().find(|f| f["type"] == "message_delta").unwrap();
        assert_eq!(delta["usage"], json!({"input_tokens": 3, "cache_read_input_tokens": 0, "output_tokens": 2}), "zero is not nothing");
    }
}

#[test]
fn t25_counts_are_estimated_first_and_right_at_the_end() {
    let mut with_usage = answer();
    with_usage.insert(6, Event::Usage(wire::ir::Usage { in_fresh: Some(33), out_text: Some(2), ..wire::ir::Usage::default() }));
    let frames = frames(&written(Dialect::Messages, &with_usage));
    assert_eq!(frames[0]["message"]["usage"], json!({"input_tokens": 10, "output_tokens": 0}));
    assert_eq!(frames[frames.len() - 2]["usage"], json!({"input_tokens": 33, "output_tokens": 2}));
}

#[test]
fn t26_only_the_last_of_running_counts_is_given_on() {
    let chunk = |text: &str, n: u32, finish: Value| {
        format!(
            "data: {}\n\n",
            json!({"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}, "finishReason": finish}], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": n}})
        )
    };
    let got = events(Dialect::Gemini, &[chunk("a", 1, Value::Null), chunk("b", 2, Value::Null), chunk("", 3, json!("STOP"))].concat());
    let usages: Vec<_> = got.iter().filter_map(|e| if let Event::Usage(u) = e { Some((u.input(), u.output())) } else { None }).collect();
    assert_eq!(usages, [(5, 3)]);
    assert_eq!(got.iter().filter(|e| matches!(e, Event::BlockStart { .. })).count(), 1, "an empty text is no block");
}

#[test]
fn t27_a_signature_comes_before_its_block_stops() {
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2ln\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let kinds: Vec<String> = frames(&written(Dialect::Messages, &events(Dialect::Messages, stream)))
        .iter()
        .map(|f| f["delta"]["type"].as_str().or(f["type"].as_str()).unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["message_start", "content_block_start", "signature_delta", "content_block_stop", "message_delta", "message_stop"]);
}

#[test]
fn t28_errors_and_truncation_inside_a_stream_have_no_normal_end() {
    let failed =
        [answer()[..3].to_vec(), vec![Event::Failed { message: "busy".to_owned(), code: Some("overloaded_error".to_owned()) }]].concat();
    let chat = written(Dialect::Chat, &failed);
    assert!(
        chat.contains("data: {\"error\":{\"message\":\"busy\"") && !chat.contains("[DONE]") && !chat.contains("\"finish_reason\":\"stop\"")
    );
    let responses = written(Dialect::Responses, &failed);
    assert!(responses.contains("event: response.failed") && !responses.contains("response.completed"));
    let messages = written(Dialect::Messages, &failed);
    assert!(
        messages.ends_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n")
    );
    let gemini = written(Dialect::Gemini, &failed);
    assert!(gemini.contains("\"error\":{\"code\":503") && !gemini.contains("finishReason"));
    for dialect in Dialect::ALL {
        let cut = written(dialect, &answer()[..3]);
        let is_cut = matches!(events(dialect, &cut).last(), Some(Event::Failed { code: Some(code), .. }) if code == "stream_truncated");
        assert!(is_cut, "{}", dialect.name());
    }
}

#[test]
fn t30_a_keepalive_is_nothing_to_a_reader() {
    for dialect in Dialect::ALL {
        let stream = written(dialect, &answer());
        let Some(keepalive) = dialect.keepalive() else { continue };
        let between = stream.replace("\n\n", &format!("\n\n{}", String::from_utf8_lossy(&keepalive)));
        assert_eq!(events(dialect, &between), events(dialect, &stream), "{}", dialect.name());
    }
}

#[test]
fn t35_errors_have_the_callers_words_and_are_read_in_every_form() {
    let failure = Failure::new(Code::RateLimitExceeded, "slow down");
    assert_eq!(Dialect::Chat.failure(&failure, "r")["error"]["code"], "rate_limit_exceeded");
    assert_eq!(Dialect::Messages.failure(&failure, "r")["error"]["type"], "rate_limit_error");
    assert_eq!(Dialect::Gemini.failure(&failure, "r")["error"]["status"], "RESOURCE_EXHAUSTED");
    // Google's chat endpoint wraps errors in a list.
    let listed =
        Dialect::Gemini.decode_response(br#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]"#).unwrap_err();
    assert_eq!(listed.message, "slow");
    for dialect in Dialect::ALL {
        let seen = events(dialect, &String::from_utf8_lossy(&dialect.error_frame(&failure, "r")));
        assert!(matches!(seen.as_slice(), [Event::Failed { message, .. }] if message == "slow down"), "{}: {seen:?}", dialect.name());
    }
}

#[test]
fn t40_models_are_listed_in_three_shapes() {
    let ids = [("a".to_owned(), "A".to_owned())];
    let messages = messages::encode::models(&ids);
    assert_eq!(
        (&messages["has_more"], &messages["first_id"], &messages["data"][0]["lifecycle"]),
        (&json!(false), &json!("a"), &json!("active"))
    );
    assert_eq!(gemini::encode::models(&ids)["models"][0]["name"], "models/a");
}
