//! What holds for any Gemini request, answer and stream.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wire::{
    gemini::{
        decode, encode,
        stream::{Decoder, Encoder},
    },
    ir::{
        Block, BlockKind, Delta, Event, Family, Finish, Format, Generation, Media, Message, Reasoning, Request, Role, Source, State, Tool,
        ToolChoice,
    },
    losses::Losses,
};

// -- streams -------------------------------------------------------------------------------------------------------

fn any_part() -> impl Strategy<Value = Value> {
    let sign = |part: Value, signed: bool| {
        let mut part = part;
        if signed {
            part["thoughtSignature"] = "c2ln".into();
        }
        part
    };
    let part = prop_oneof![
        4 => "[a-zé🎿\"\\\\ ]{0,6}".prop_map(|t| json!({"text": t})),
        3 => "[a-z]{0,6}".prop_map(|t| json!({"text": t, "thought": true})),
        2 => any::<bool>().prop_map(|id| if id { json!({"functionCall": {"id": "g-1", "name": "f", "args": {"a": [1, "}"]}}}) } else { json!({"functionCall": {"name": "f"}}) }),
        1 => Just(json!({"executableCode": {"code": "1"}})),
        1 => Just(json!({"inlineData": {"mimeType": "image/png", "data": "YQ=="}})),
    ];
    (part, any::<bool>()).prop_map(move |(part, signed)| sign(part, signed))
}

/// A legal stream of chunks: the last word of each candidate is a reason.
fn any_chunks() -> impl Strategy<Value = Vec<Value>> {
    let reason = prop::sample::select(vec!["STOP", "MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL", "OTHER"]);
    let parts = prop::collection::vec((0u32..2, prop::collection::vec(any_part(), 0..3)), 0..6);
    (parts, prop::collection::vec(reason, 2), any::<Option<u32>>()).prop_map(|(parts, reasons, tokens)| {
        let mut chunks: Vec<Value> = parts
            .into_iter()
            .map(|(index, parts)| json!({"candidates": [{"index": index, "content": {"role": "model", "parts": parts}}], "responseId": "r", "modelVersion": "m"}))
            .collect();
        let ends: Vec<Value> = (0u32..).zip(reasons).map(|(index, r)| json!({"index": index, "finishReason": r})).collect();
        let mut last = json!({"candidates": ends, "responseId": "r", "modelVersion": "m"});
        if let Some(tokens) = tokens {
            last["usageMetadata"] = json!({"promptTokenCount": tokens, "cachedContentTokenCount": tokens / 2, "candidatesTokenCount": 3, "thoughtsTokenCount": 2});
        }
        chunks.push(last);
        chunks
    })
}

fn sse(chunks: &[Value]) -> Vec<u8> {
    chunks.iter().flat_map(|c| format!("data: {c}\r\n\r\n").into_bytes()).collect()
}

fn read(bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    let (mut decoder, mut events) = (Decoder::new(), Vec::new());
    for ends in at.windows(2) {
        decoder.feed(&bytes[ends[0]..ends[1]], &mut events).expect("short");
    }
    decoder.finish(&mut events);
    events
}

/// Order, closing and ends of a stream without a failure; a broken rule is the error.
fn check(events: &[Event]) -> Result<(), String> {
    let (mut open, mut next, mut called, mut ended) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start { .. } if at == 0 => {}
            Event::BlockStart { choice, block, kind } => {
                if open.insert(*choice, *block).is_some()
                    || next.insert(*choice, block + 1).unwrap_or(0) != *block
                    || ended.contains(choice)
                {
                    return Err(format!("{event:?} in the wrong place"));
                }
                let is_call = matches!(kind, BlockKind::ToolCall { .. });
                *called.entry(*choice).or_insert(false) |= is_call;
            }
            Event::Delta { choice, block, .. } if open.get(choice) == Some(block) => {}
            Event::BlockStop { choice, block } if open.remove(choice) == Some(*block) => {}
            Event::Finish { choice, reason } => {
                let has_call = called.get(choice).copied().unwrap_or(false);
                let other_end = matches!(reason, Finish::Length | Finish::Filter | Finish::MalformedCall);
                if open.contains_key(choice) || ended.contains(choice) || (!other_end && has_call != (*reason == Finish::ToolCall)) {
                    return Err(format!("{event:?} with a call: {has_call}"));
                }
                ended.push(*choice);
            }
            Event::Usage(_) => {}
            Event::End if at + 1 == events.len() => {}
            other => return Err(format!("{other:?} in the wrong place")),
        }
    }
    if open.is_empty() && events.last() == Some(&Event::End) { Ok(()) } else { Err("left open".to_owned()) }
}

/// What a reader understands: texts joined, calls whole, states in order, reasons and usage.
fn meaning(events: &[Event]) -> BTreeMap<u32, Vec<String>> {
    let mut said: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for event in events {
        let (choice, word, joins) = match event {
            Event::BlockStart { choice, kind: BlockKind::ToolCall { id, name }, .. } => (*choice, format!("call {id} {name}"), false),
            Event::BlockStart { choice, kind: BlockKind::Opaque { value, .. }, .. } => (*choice, format!("opaque {value}"), false),
            Event::Delta { choice, delta: Delta::Text(t), .. } => (*choice, format!("text {t}"), true),
            Event::Delta { choice, delta: Delta::Reasoning(t), .. } => (*choice, format!("thought {t}"), true),
            Event::Delta { choice, delta: Delta::Arguments(t), .. } => (*choice, format!("arguments {t}"), false),
            Event::Delta { choice, delta: Delta::State(s), .. } => (*choice, format!("state {:?}", s.signature), false),
            Event::Finish { choice, reason } => (*choice, format!("finish {reason:?}"), false),
            Event::Usage(usage) => (u32::MAX, format!("{usage:?}"), false),
            _ => continue,
        };
        let list = said.entry(choice).or_default();
        let kind = word.split(' ').next().unwrap_or_default().to_owned();
        match list.last_mut() {
            Some(before) if joins && last.get(&choice) == Some(&kind) => before.push_str(&word[kind.len() + 1..]),
            _ => list.push(word),
        }
        last.insert(choice, kind);
    }
    // A state may come before or after what its part says.
    for list in said.values_mut() {
        list.sort();
    }
    said
}

fn write(mut encoder: Encoder, events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_are_legal_however_they_are_cut(chunks in any_chunks(), cuts in prop::collection::vec(0usize..4000, 0..8)) {
        let events = read(&sse(&chunks), &[]);
        prop_assert_eq!(check(&events), Ok(()));
        prop_assert_eq!(&read(&sse(&chunks), &cuts), &events);
        let array = Value::from(chunks).to_string();
        prop_assert_eq!(&read(array.as_bytes(), &cuts), &events);
        prop_assert_eq!(&decode::response(array.as_bytes()).expect("legal"), &events);
    }

    #[test]
    fn streams_and_answers_come_back(chunks in any_chunks(), cuts in prop::collection::vec(0usize..4000, 0..8)) {
        let events = read(&sse(&chunks), &[]);
        let written = write(Encoder::new(), &events);
        prop_assert_eq!(meaning(&read(&written, &cuts)), meaning(&events));
        let array = write(Encoder::new_array(), &events);
        prop_assert_eq!(read(&array, &cuts), read(&written, &[]));
        let whole = encode::response(&events).to_string();
        prop_assert_eq!(meaning(&decode::response(whole.as_bytes()).expect("legal")), meaning(&events));
    }

    #[test]
    fn cut_streams_are_never_whole(chunks in any_chunks(), at in 0usize..4000) {
        let bytes = sse(&chunks);
        let events = read(&bytes[..at % (bytes.len() - 5)], &[]);
        let is_truncated = matches!(events.last(), Some(Event::Failed { code: Some(code), .. }) if code == "stream_truncated");
        let is_ended = events.iter().any(|e| matches!(e, Event::End | Event::Finish { .. }));
        prop_assert!(is_truncated && !is_ended);
        let written = String::from_utf8(write(Encoder::new(), &events)).expect("JSON is text");
        prop_assert!(written.contains("\"error\"") && !written.contains("finishReason"));
    }

    #[test]
    fn no_bytes_panic(begin in "(data: |\\[|\\{\"contents\":|)", bytes in prop::collection::vec(any::<u8>(), 0..60), cuts in prop::collection::vec(0usize..60, 0..4)) {
        let all = [begin.as_bytes(), &bytes].concat();
        let events = read(&all, &cuts);
        let is_over = matches!(events.last(), Some(Event::Failed { .. } | Event::End));
        prop_assert!(is_over);
        let _ = (decode::request(&all, "m", true), decode::count_request(&all, "m"), decode::response(&all));
    }

    #[test]
    fn no_json_panics(value in any_json()) {
        let text = value.to_string();
        if let Ok(request) = decode::request(text.as_bytes(), "gemini-1.5-pro", true) {
            encode::request(&request, &mut Losses::default());
        }
        if let Ok(events) = decode::response(text.as_bytes()) {
            write(Encoder::new(), &events);
            encode::response(&events);
        }
    }
}

/// JSON out of the dialect's own words, mostly of the wrong shape.
fn any_json() -> impl Strategy<Value = Value> {
    let word = "contents|parts|role|text|thought|thoughtSignature|functionCall|functionResponse|name|args|id|response|inlineData|data|fileData|fileUri|tools|functionDeclarations|parameters|type|toolConfig|functionCallingConfig|mode|generationConfig|responseSchema|thinkingConfig|candidates|content|index|finishReason|usageMetadata|promptTokenCount|error";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "user|model|STOP|ANY|[a-z]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from),
            prop::collection::vec((word, inner), 1..6).prop_map(|m| Value::Object(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

// -- requests ------------------------------------------------------------------------------------------------------

fn any_state() -> impl Strategy<Value = Option<State>> {
    let state = |family, signature: &str| State { family, id: None, signature: Some(signature.to_owned()), encrypted: None };
    prop_oneof![2 => Just(None), 1 => Just(Some(state(Family::Gemini, "c2ln"))), 1 => Just(Some(state(Family::Messages, "s")))]
}

fn any_block() -> impl Strategy<Value = Block> {
    let source = prop_oneof![
        Just(Source::Base64("YQ==".to_owned())),
        Just(Source::Url("https://example.org/a.png".to_owned())),
        Just(Source::File("file-1".to_owned())),
        Just(Source::File("gs://b/a.png".to_owned()))
    ];
    let media = (source, any::<bool>()).prop_map(|(source, low)| {
        Block::Media(Media { mime: "image/png".to_owned(), source, file_name: None, detail: low.then(|| "low".to_owned()) })
    });
    prop_oneof![
        4 => "[a-z]{1,4}".prop_map(|text| Block::Text { text }),
        2 => ("[a-z]{0,3}", any_state()).prop_map(|(text, state)| Block::Reasoning { text, state }),
        2 => media,
        1 => "[a-z]{1,3}".prop_map(|text| Block::Refusal { text }),
        1 => Just(Block::CacheMark { ttl: None }),
        1 => Just(Block::Opaque { family: Family::Gemini, value: json!({"executableCode": {"code": "1"}}) }),
        1 => Just(Block::Opaque { family: Family::Chat, value: json!({"type": "x"}) }),
    ]
}

fn any_call() -> impl Strategy<Value = Called> {
    let arguments = prop::sample::select(vec!["", "{}", "{\"a\":[1]}", "{broken", "[1]"]);
    (prop::sample::select(vec!["look", "get.it", "7 ping", "x__a"]), arguments, any_state())
        .prop_map(|(n, a, s)| (n.to_owned(), a.to_owned(), s))
}

/// A call's name, arguments and state.
type Called = (String, String, Option<State>);
/// A user's words, an answer, its calls, their results (and whether they are errors), and whether these come in the other order.
type Turn = (Vec<Block>, Vec<Block>, Vec<Called>, Vec<(String, bool)>, bool);

fn any_turn() -> impl Strategy<Value = Turn> {
    let blocks = || prop::collection::vec(any_block(), 0..4);
    let results = prop::collection::vec(("[a-z]{0,3}|\\{\"a\":1\\}", any::<bool>()), 3);
    (blocks(), blocks(), prop::collection::vec(any_call(), 0..3), results, any::<bool>())
}

prop_compose! {
    fn any_generation()(temperature in prop::option::of((0u8..9).prop_map(|n| f64::from(n) / 4.0)), max_tokens: Option<u32>, top_k: Option<i32>, seed: Option<i64>, n in prop::option::of(1u32..4),
                        stop in prop::collection::vec("[a-z]{1,2}", 0..8), logprobs in prop::option::of(0u8..5)) -> Generation {
        Generation { max_tokens, temperature, top_p: temperature, top_k, presence_penalty: temperature, frequency_penalty: None, seed, stop, n, logprobs }
    }
}

prop_compose! {
    fn any_request()(turns in prop::collection::vec(any_turn(), 1..4), system in "[a-z]{0,4}", generation in any_generation(), own: bool, strict: Option<bool>,
                     choice in prop::sample::select(vec![ToolChoice::Unset, ToolChoice::Auto, ToolChoice::None, ToolChoice::Required, ToolChoice::Function("look".to_owned())]),
                     tools in prop::collection::vec(prop::sample::select(vec!["look", "7 ping"]), 0..3), parallel_tool_calls: Option<bool>, user in prop::option::of("[a-z]"),
                     effort in prop::option::of(prop::sample::select(vec!["none", "minimal", "low", "high", "max"])), budget_tokens in prop::option::of(0u32..9000),
                     shown: Option<bool>, model in prop::sample::select(vec!["gemini-mock", "gemini-3-pro", "gemini-2.5-flash"]), schema: bool) -> Request {
        let mut messages = vec![Message { role: Role::System, name: None, blocks: vec![Block::Text { text: system }] }];
        for (turn, (asked, said, calls, results, reversed)) in turns.into_iter().enumerate() {
            messages.push(Message { role: Role::User, name: None, blocks: asked });
            let id = |i: usize| format!("id-{turn}-{i}");
            let mut results: Vec<Block> = calls.iter().enumerate().zip(results)
                .map(|((i, call), (text, is_error))| Block::ToolResult { call_id: id(i), name: Some(call.0.clone()), blocks: vec![Block::Text { text }], is_error }).collect();
            let calls = calls.into_iter().enumerate().map(|(i, (name, arguments, state))| Block::ToolCall { id: id(i), name, arguments, state });
            messages.push(Message { role: Role::Assistant, name: None, blocks: said.into_iter().chain(calls).collect() });
            if reversed {
                results.reverse();
            }
            messages.push(Message { role: Role::Tool, name: None, blocks: results });
        }
        let parameters = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let tools: Vec<Tool> = tools.into_iter().map(|name| Tool { name: name.to_owned(), description: None, parameters: parameters.clone(), strict, cache: None }).collect();
        Request {
            model: model.to_owned(), messages, tools, tool_choice: choice, parallel_tool_calls, generation, user,
            reasoning: Reasoning { effort: effort.map(str::to_owned), budget_tokens, shown },
            format: if schema { Format::Schema { name: "answer".to_owned(), schema: parameters, strict: None } } else { Format::Text },
            stream: true, stream_usage: true,
            family: Some(if own { Family::Gemini } else { Family::Chat }), extra: Map::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn contents_obey_the_protocol(request in any_request()) {
        let body = encode::request(&request, &mut Losses::default());
        let contents = body["contents"].as_array().expect("contents");
        prop_assert!(!contents.is_empty());
        let (mut before, mut asked) = ("", Vec::new());
        for content in contents {
            let parts = content["parts"].as_array().expect("parts");
            prop_assert!(!parts.is_empty());
            let names = |kind: &str| -> Vec<String> { parts.iter().filter_map(|p| p[kind]["name"].as_str()).map(str::to_owned).collect() };
            let answered = names("functionResponse");
            prop_assert_eq!(&answered, &asked, "results follow their calls, in order");
            prop_assert!(answered.is_empty() || answered.len() == parts.len(), "results stand alone");
            let role = content["role"].as_str().expect("a role");
            prop_assert!(role != before || before == "user" && asked.is_empty(), "{}", body);
            asked = names("functionCall");
            before = if answered.is_empty() { role } else { "user" };
        }
        prop_assert!(asked.is_empty());
    }
}
