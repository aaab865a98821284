//! What holds for requests in Messages, whatever comes in.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use wire::{
    ir::{Block, Family, Format, Generation, Media, Message, Reasoning, Request, Role, Source, State, Tool, ToolChoice},
    losses::Losses,
    messages::{decode, encode},
};

// -- what is made ----------------------------------------------------------------------------------------------------

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zé🎉\"\\\\ ]{1,12}", 1 => Just(String::new()), 1 => Just(" \n".to_owned())]
}

fn state() -> impl Strategy<Value = State> {
    let family = prop_oneof![4 => Just(Family::Messages), 1 => Just(Family::Gemini)];
    let what = prop_oneof![Just((true, false)), Just((false, true)), Just((false, false))];
    (family, what).prop_map(|(family, (signed, hidden))| State {
        family,
        id: None,
        signature: signed.then(|| "c2ln".to_owned()),
        encrypted: hidden.then(|| "aGlkZGVu".to_owned()),
    })
}

fn media() -> impl Strategy<Value = Block> {
    let source = prop_oneof![
        Just(Source::Base64("aGk=".to_owned())),
        Just(Source::Url("https://example.com/a".to_owned())),
        Just(Source::Url("gs://bucket/a".to_owned())),
        Just(Source::File("file_1".to_owned()))
    ];
    let mime = prop::sample::select(vec!["image/png", "image/*", "application/pdf", "text/plain", "audio/wav", "application/octet-stream"]);
    (mime, source, prop::option::of(Just("a.txt".to_owned())), prop::option::of(Just("high".to_owned())))
        .prop_map(|(mime, source, file_name, detail)| Block::Media(Media { mime: mime.to_owned(), source, file_name, detail }))
}

fn leaf() -> impl Strategy<Value = Block> {
    prop_oneof![
        5 => text().prop_map(|text| Block::Text { text }),
        1 => media(),
        1 => prop::option::of(prop::sample::select(vec!["5m".to_owned(), "1h".to_owned(), "30m".to_owned()])).prop_map(|ttl| Block::CacheMark { ttl }),
        1 => prop_oneof![Just(Family::Messages), Just(Family::Chat)].prop_map(|family| Block::Opaque { family, value: json!({"type": "search_result", "x": [1]}) }),
    ]
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![Just("call_0".to_owned()), Just(String::new()), "[a-z.:_]{1,6}", "esc_[a-f0-9_]{0,4}"]
}

fn block() -> impl Strategy<Value = Block> {
    let arguments = prop::sample::select(vec!["", "{}", "{\"a\":[1.5,\"x\"]}", "{\"a\":", "[1]", "null"]);
    prop_oneof![
        4 => leaf(),
        1 => text().prop_map(|text| Block::Refusal { text }),
        1 => (text(), prop::option::of(state())).prop_map(|(text, state)| Block::Reasoning { text, state }),
        2 => (id(), arguments, prop::option::of(state())).prop_map(|(id, arguments, state)| Block::ToolCall { id, name: "f_g".to_owned(), arguments: arguments.to_owned(), state }),
        2 => (id(), prop::collection::vec(leaf(), 0..3), any::<bool>()).prop_map(|(call_id, blocks, is_error)| Block::ToolResult { call_id, name: None, blocks, is_error }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let role =
        prop::sample::select(vec![Role::System, Role::Developer, Role::User, Role::User, Role::Assistant, Role::Assistant, Role::Tool]);
    (role, prop::option::of(Just("ada".to_owned())), prop::collection::vec(block(), 0..4)).prop_map(|(role, name, blocks)| Message {
        role,
        name,
        blocks,
    })
}

fn tool() -> impl Strategy<Value = Tool> {
    let parameters = prop::sample::select(vec![json!({"type": "object", "properties": {"a": {}}}), json!({}), Value::Null]);
    ("[a-z_]{1,6}", parameters, any::<Option<bool>>(), prop::option::of(Just(String::new())))
        .prop_map(|(name, parameters, strict, cache)| Tool { name, description: None, parameters, strict, cache })
}

prop_compose! {
    fn generation()(
        max_tokens in prop::option::of(1u32..10_000),
        temperature in prop::option::of((0u32..200).prop_map(|n| f64::from(n) / 100.0)),
        top_p in prop::option::of((0u32..=100).prop_map(|n| f64::from(n) / 100.0)),
        top_k in prop::option::of(1i32..100),
        seed: Option<i64>,
        n in prop::option::of(1u32..3),
        stop in prop::collection::vec("[a-z]{1,3}", 0..3),
    ) -> Generation {
        Generation { max_tokens, temperature, top_p, top_k, seed, n, stop, ..Generation::default() }
    }
}

prop_compose! {
    fn request()(
        messages in prop::collection::vec(message(), 0..6),
        tools in prop::collection::vec(tool(), 0..3),
        tool_choice in prop_oneof![Just(ToolChoice::Unset), Just(ToolChoice::Auto), Just(ToolChoice::None), Just(ToolChoice::Required), Just(ToolChoice::Function("f_g".to_owned()))],
        parallel_tool_calls: Option<bool>,
        generation in generation(),
        effort in prop::option::of(prop::sample::select(vec!["none", "minimal", "low", "max", "own"])),
        budget_tokens in prop::option::of(prop::sample::select(vec![0u32, 100, 2000, 50_000])),
        shown: Option<bool>,
        format in prop_oneof![Just(Format::Text), Just(Format::Json), Just(Format::Schema { name: "answer".to_owned(), schema: json!({"type": "object"}), strict: None })],
        user in prop::option::of(Just("u".to_owned())),
        stream: bool,
        family in prop::sample::select(vec![None, Some(Family::Messages), Some(Family::Chat)]),
        extra in prop::collection::btree_map(prop::sample::select(vec!["service_tier", "cache_control", "tools[0]", "tools[1].defer_loading", "messages[0].content[0].citations"]), Just(json!({"type": "own_1", "k": []})), 0..3),
    ) -> Request {
        let reasoning = Reasoning { effort: effort.map(str::to_owned), budget_tokens, shown };
        let extra = extra.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        Request { model: "m".to_owned(), messages, tools, tool_choice, parallel_tool_calls, generation, reasoning, format, user, stream, stream_usage: stream, family, extra }
    }
}

prop_compose! {
    /// What the dialect carries without any loss: turns in order, calls with their results, thoughts with their signatures.
    fn orderly_request()(
        system in prop::collection::vec("[a-z]{1,5}", 0..3),
        turns in prop::collection::vec((prop::collection::vec("[a-zé\\n]{0,5}[a-z]", 1..3), prop::option::of("[a-z]{1,5}"), prop::collection::vec(("[a-z.:]{1,5}", prop::sample::select(vec!["{}", "{\"a\":[1.5,null]}"]), any::<bool>()), 0..3)), 1..4),
        tools in prop::collection::vec(("[a-z_]{1,6}", any::<bool>(), prop::option::of(Just("1h".to_owned()))), 1..3),
        tool_choice in prop::sample::select(vec![ToolChoice::Auto, ToolChoice::Required, ToolChoice::Function("f".to_owned())]),
        parallel_tool_calls: Option<bool>,
        reasoning in prop::sample::select(vec![(None, None, None), (Some("none"), Some(0), None), (Some("low"), None, None), (Some("max"), None, Some(true)), (None, Some(2000), Some(true)), (None, Some(2000), Some(false)), (Some("low"), None, Some(false))]),
        max_tokens in 2001u32..9000,
        temperature in prop::option::of((0u32..=100).prop_map(|n| f64::from(n) / 100.0)),
        schema: bool,
        user in prop::option::of("[a-z]{1,4}"),
        stream: bool,
    ) -> Request {
        let text = |text: &String| Block::Text { text: text.clone() };
        let mut messages = Vec::new();
        if !system.is_empty() {
            messages.push(Message { role: Role::System, name: None, blocks: system.iter().map(text).chain([Block::CacheMark { ttl: None }]).collect() });
        }
        for (turn, (texts, thought, calls)) in turns.iter().enumerate() {
            messages.push(Message { role: Role::User, name: None, blocks: texts.iter().map(text).collect() });
            let signed = State { family: Family::Messages, id: None, signature: Some("c2ln".to_owned()), encrypted: None };
            let thought = thought.iter().map(|t| Block::Reasoning { text: t.clone(), state: Some(signed.clone()) });
            let id = |i: usize| format!("{}{turn}.{i}", calls[i].0);
            let called = calls.iter().enumerate().map(|(i, (_, arguments, _))| Block::ToolCall { id: id(i), name: "f".to_owned(), arguments: (*arguments).to_owned(), state: None });
            messages.push(Message { role: Role::Assistant, name: None, blocks: thought.chain([Block::Text { text: "so".to_owned() }]).chain(called).collect() });
            let results: Vec<Block> = calls.iter().enumerate().map(|(i, (word, _, is_error))| Block::ToolResult { call_id: id(i), name: None, blocks: vec![Block::Text { text: word.clone() }], is_error: *is_error }).collect();
            if !results.is_empty() {
                messages.push(Message { role: Role::Tool, name: None, blocks: results });
            }
        }
        let tools = tools.into_iter().map(|(name, strict, cache)| Tool { name, description: Some("d".to_owned()), parameters: json!({"type": "object"}), strict: strict.then_some(true), cache }).collect();
        let (effort, budget_tokens, shown) = reasoning;
        Request {
            model: "m".to_owned(),
            messages,
            tools,
            tool_choice,
            parallel_tool_calls,
            generation: Generation { max_tokens: Some(max_tokens), temperature, stop: vec!["END".to_owned()], ..Generation::default() },
            reasoning: Reasoning { effort: effort.map(str::to_owned), budget_tokens, shown },
            format: if schema { Format::Schema { name: "answer".to_owned(), schema: json!({"type": "object", "additionalProperties": false}), strict: None } } else { Format::Text },
            user,
            stream,
            stream_usage: stream,
            family: Some(Family::Messages),
            extra: serde_json::Map::from_iter([("service_tier".to_owned(), json!("auto"))]),
        }
    }
}

// -- what is legal ---------------------------------------------------------------------------------------------------

fn kind(block: &Value) -> &str {
    block["type"].as_str().unwrap_or_default()
}

fn blocks_of(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        other => other.as_array().cloned().unwrap_or_default(),
    }
}

/// What the API refuses, as far as it does not depend on what the conversation left out.
fn illegal(body: &Value) -> Option<String> {
    let turns = body["messages"].as_array()?;
    let mut ids = HashSet::new();
    for (i, turn) in turns.iter().enumerate() {
        let blocks = blocks_of(&turn["content"]);
        if turn["role"] != ["user", "assistant"][i % 2] {
            return Some(format!("turn {i} is not its speaker's"));
        }
        if blocks.is_empty() || blocks.iter().any(|b| kind(b) == "text" && b["text"].as_str().is_none_or(|t| t.trim().is_empty())) {
            return Some(format!("turn {i} has an empty text"));
        }
        if blocks.iter().skip_while(|b| kind(b) == "tool_result").any(|b| kind(b) == "tool_result") {
            return Some(format!("results of turn {i} do not stand first"));
        }
        for call in blocks.iter().filter(|b| kind(b) == "tool_use") {
            let id = call["id"].as_str().unwrap_or_default().to_owned();
            let is_legal = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
            if !is_legal(&id) || !is_legal(call["name"].as_str().unwrap_or_default()) || !call["input"].is_object() || !ids.insert(id) {
                return Some(format!("a wrong call: {call}"));
            }
        }
    }
    if body.to_string().matches("\"cache_control\"").count() > encode::CACHE_MARKS_MAX {
        return Some("too many cache marks".to_owned());
    }
    let limit = body["max_tokens"].as_u64().unwrap_or(0);
    if limit == 0 || body["thinking"]["budget_tokens"].as_u64().is_some_and(|b| b >= limit || b < 1024) {
        return Some(format!("limit {limit} with {}", body["thinking"]));
    }
    if body["temperature"].as_f64().is_some_and(|t| t > 1.0) || (body.get("tool_choice").is_some() && body.get("tools").is_none()) {
        return Some("a wrong temperature or choice".to_owned());
    }
    None
}

/// The request without what makes no difference: who said what, in order.
fn said(request: &Request) -> Vec<(Role, Block)> {
    let role = |r| match r {
        Role::Developer => Role::System,
        Role::Tool => Role::User,
        other => other,
    };
    let plain = |block: &Block| match block {
        Block::ToolCall { id, name, arguments, state } => {
            let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments.clone() };
            Block::ToolCall { id: id.clone(), name: name.clone(), arguments, state: state.clone() }
        }
        Block::ToolResult { call_id, blocks, is_error, .. } => {
            let blocks = blocks.iter().filter(|b| !is_empty(b)).cloned().collect();
            Block::ToolResult { call_id: call_id.clone(), name: None, blocks, is_error: *is_error }
        }
        Block::Media(media) => Block::Media(Media { mime: String::new(), ..media.clone() }),
        other => other.clone(),
    };
    let all = request.messages.iter().flat_map(|m| m.blocks.iter().map(move |b| (m.role, b)));
    all.filter(|(_, b)| !is_empty(b)).map(|(r, b)| (role(r), plain(b))).collect()
}

fn is_empty(block: &Block) -> bool {
    matches!(block, Block::Text { text } if text.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_legal_and_come_back(request in request()) {
        let mut losses = Losses::default();
        let body = encode::request(&request, &mut losses);
        prop_assert_eq!(illegal(&body), None, "{}", &body);
        let again = decode::request(body.to_string().as_bytes());
        let again = again.map_err(|e| TestCaseError::fail(format!("{e}: {body}")))?;
        let mut none = Losses::default();
        prop_assert_eq!(encode::request(&again, &mut none), body.clone(), "a second time it is the same");
        prop_assert!(none.is_exact(), "and nothing is lost: {:?} of {}", none, body);
        if losses.is_exact() {
            prop_assert_eq!(said(&again), said(&request), "nothing was noted, so nothing is lost: {}", body);
            prop_assert_eq!(again.generation.stop, request.generation.stop);
            prop_assert_eq!(again.user, request.user);
            prop_assert_eq!(again.format, request.format);
            prop_assert_eq!(again.extra.len(), request.extra.len());
        }
    }

    #[test]
    fn what_the_dialect_knows_is_carried_exactly(request in orderly_request()) {
        let mut losses = Losses::default();
        let body = encode::request(&request, &mut losses);
        prop_assert!(losses.is_exact(), "{:?}", losses);
        prop_assert_eq!(illegal(&body), None, "{}", &body);
        let again = decode::request(body.to_string().as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}: {body}")))?;
        prop_assert_eq!(again, request);
    }

    #[test]
    fn no_body_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in r#"\{("(messages|system|tools|max_tokens|thinking|content|type)":(null|5|"a"|\[\]|\{\}|\[\{"type":"text"\}\]),?){0,4}\}"#) {
        for body in [&bytes[..], text.as_bytes()] {
            let _ = decode::request(body);
            let _ = decode::count_request(body);
            let _ = decode::response(body);
        }
    }
}
