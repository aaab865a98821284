//! Random rich requests, each from every dialect's own view to every wire and back.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::{
    Dialect,
    ir::{Block, Family, Format, Generation, Media, Message, Reasoning, Request, Role, Source, State, Tool, ToolChoice},
    losses::Losses,
};

use crate::facts::compare;

/// Names of models on which an encoder's form depends.
fn model() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["m", "gemini-3-pro", "gemini-2.5-flash", "gemini-1.5-pro"]).prop_map(str::to_owned)
}

fn word() -> impl Strategy<Value = String> {
    "[a-zé日🎉\"]{1,6}[a-z]"
}

fn text() -> impl Strategy<Value = Block> {
    prop_oneof![8 => word(), 1 => Just(String::new())].prop_map(|text| Block::Text { text })
}

fn media() -> impl Strategy<Value = Block> {
    let kinds = vec![
        ("image/png", Source::Base64("iVBORw0KGgo=".to_owned())),
        ("image/*", Source::Url("https://example.org/a".to_owned())),
        ("image/png", Source::Url("https://example.org/a.png".to_owned())),
        ("application/pdf", Source::Base64("JVBERi0=".to_owned())),
        ("application/pdf", Source::Url("https://example.org/a.pdf".to_owned())),
        ("application/octet-stream", Source::File("file-1".to_owned())),
        ("image/*", Source::File("file-2".to_owned())),
        ("audio/wav", Source::Base64("UklGRg==".to_owned())),
        ("audio/mpeg", Source::Base64("SUQz".to_owned())),
        ("text/plain", Source::Base64("aGVsbG8=".to_owned())),
        ("video/mp4", Source::Base64("AAAA".to_owned())),
    ];
    (prop::sample::select(kinds), prop::option::of(Just("a.bin".to_owned())), prop::option::of(prop::sample::select(vec!["high", "auto"])))
        .prop_map(|((mime, source), file_name, detail)| {
            Block::Media(Media { mime: mime.to_owned(), source, file_name, detail: detail.map(str::to_owned) })
        })
}

fn state() -> impl Strategy<Value = Option<State>> {
    let of = |family, signature: Option<&str>, encrypted: Option<&str>| {
        Some(State { family, id: None, signature: signature.map(str::to_owned), encrypted: encrypted.map(str::to_owned) })
    };
    prop_oneof![
        2 => Just(None),
        1 => Just(of(Family::Messages, Some("c2ln"), None)),
        1 => Just(of(Family::Responses, None, Some("gAAAA"))),
        1 => Just(of(Family::Gemini, Some("Z2Vt"), None)),
    ]
}

fn mark() -> impl Strategy<Value = Block> {
    prop::option::of(prop::sample::select(vec!["5m", "1h"])).prop_map(|ttl| Block::CacheMark { ttl: ttl.map(str::to_owned) })
}

fn foreign() -> impl Strategy<Value = Block> {
    let own = vec![
        (Family::Chat, json!({"type": "video_url", "video_url": {"url": "https://example.org/v"}})),
        (Family::Messages, json!({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]})),
        (Family::Gemini, json!({"executableCode": {"language": "PYTHON", "code": "1"}})),
    ];
    prop::sample::select(own).prop_map(|(family, value)| Block::Opaque { family, value })
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec(prop_oneof![6 => text(), 2 => media(), 1 => mark(), 1 => foreign()], 1..4)
}

/// A call's name and arguments, its result, whether that is an error.
type Called = (String, String, Vec<Block>, bool);

fn call() -> impl Strategy<Value = Called> {
    let name = prop::sample::select(vec!["look", "get.it", "7 ping", "esc_x", "x__y"]);
    let arguments = prop::sample::select(vec!["", "{}", "{\"a\":[1,\"x\"]}", "{\"a\":", "[1]"]);
    let result = prop::collection::vec(prop_oneof![4 => word().prop_map(|text| Block::Text { text }), 1 => media()], 1..3);
    (name, arguments, result, any::<bool>()).prop_map(|(n, a, r, e)| (n.to_owned(), a.to_owned(), r, e))
}

/// What the user says, what the model thinks and says, what it calls, and whether instructions follow.
type Turn = (Vec<Block>, Option<(String, Option<State>)>, Option<Block>, Vec<(Called, Option<State>)>, Option<String>);

fn turn() -> impl Strategy<Value = Turn> {
    let said = prop::option::of(prop_oneof![3 => text(), 1 => word().prop_map(|text| Block::Refusal { text })]);
    (
        blocks(),
        prop::option::of((word(), state())),
        said,
        prop::collection::vec((call(), state()), 0..3),
        prop::option::weighted(0.2, word()),
    )
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let system = prop::collection::vec(prop_oneof![3 => word().prop_map(|text| Block::Text { text }), 1 => mark()], 0..3);
    let role = prop_oneof![Just(Role::System), Just(Role::Developer)];
    (role, system, prop::collection::vec(turn(), 1..4), prop::option::of(Just("ada".to_owned()))).prop_map(|(role, system, turns, name)| {
        let mut out = Vec::new();
        let message = |role, blocks| Message { role, name: None, blocks };
        if !system.is_empty() {
            out.push(message(role, system));
        }
        for (number, (asked, thought, said, calls, late)) in turns.into_iter().enumerate() {
            out.push(Message { name: name.clone(), ..message(Role::User, asked) });
            let id = |i: usize| format!("call_a{number}{i}");
            let mut blocks: Vec<Block> = thought.into_iter().map(|(text, state)| Block::Reasoning { text, state }).collect();
            blocks.extend(said);
            let mut results = Vec::new();
            for (i, ((name, arguments, result, is_error), state)) in calls.into_iter().enumerate() {
                blocks.push(Block::ToolCall { id: id(i), name: name.clone(), arguments, state });
                results.push(Block::ToolResult { call_id: id(i), name: Some(name), blocks: result, is_error });
            }
            if !blocks.is_empty() {
                out.push(message(Role::Assistant, blocks));
            }
            if !results.is_empty() {
                out.push(message(Role::Tool, results));
            }
            out.extend(late.map(|text| Message::text(Role::System, text)));
        }
        out
    })
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let schema = prop::sample::select(vec![
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
        json!({"type": "object", "properties": {}}),
        json!({"type": "object", "properties": {"a": {"type": "integer", "enum": [1, 2]}, "b": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"const": "x"}}}),
    ]);
    let tool = (schema, prop::option::of(word()), any::<Option<bool>>(), prop::option::weighted(0.2, Just(String::new())));
    prop::collection::vec(tool, 0..3).prop_map(|all| {
        let named = all.into_iter().zip(["look", "get.it", "7 ping"]);
        named
            .map(|((parameters, description, strict, cache), name)| Tool { name: name.to_owned(), description, parameters, strict, cache })
            .collect()
    })
}

prop_compose! {
    fn generation()(
        max_tokens in prop::option::of(prop::sample::select(vec![1u32, 64, 5000])),
        temperature in prop::option::of(prop::sample::select(vec![0.0, 0.5, 1.0, 1.7])),
        top_p in prop::option::of(prop::sample::select(vec![0.25, 0.99, 1.0])),
        top_k in prop::option::of(1i32..100),
        penalties in prop::option::of(prop::sample::select(vec![0.0, 0.5])),
        seed in prop::option::of(prop::sample::select(vec![7i64, 1 << 40])),
        stop in prop::collection::vec("[A-Z]{1,3}", 0..7),
        n in prop::option::of(1u32..3),
        logprobs in prop::option::of(0u8..3),
    ) -> Generation {
        Generation { max_tokens, temperature, top_p, top_k, presence_penalty: penalties, frequency_penalty: penalties, seed, stop, n, logprobs }
    }
}

/// Members of a dialect's own, some of which ask for nothing.
fn extra() -> impl Strategy<Value = (Family, Vec<(String, Value)>)> {
    let chat = vec![
        ("logit_bias", json!({"50256": -100})),
        ("store", json!(false)),
        ("store", json!(true)),
        ("metadata", json!({"a": "b"})),
        ("metadata", json!({})),
        ("service_tier", json!("auto")),
        ("service_tier", json!("flex")),
        ("verbosity", json!("low")),
        ("verbosity", json!("medium")),
        ("prompt_cache_key", json!("k")),
        ("web_search_options", json!({})),
        ("modalities", json!(["text"])),
        ("modalities", json!(["text", "audio"])),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("stream_options.include_obfuscation", json!(true)),
        ("route", json!({"strict": false})),
        ("tools[0]", json!({"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}})),
    ];
    let responses = vec![
        ("store", json!(false)),
        ("store", json!(true)),
        ("include", json!(["reasoning.encrypted_content"])),
        ("include", json!(["file_search_call.results"])),
        ("truncation", json!("disabled")),
        ("truncation", json!("auto")),
        ("background", json!(false)),
        ("max_tool_calls", json!(3)),
        ("metadata", json!({"a": "b"})),
        ("text.verbosity", json!("high")),
        ("reasoning.summary", json!("detailed")),
        ("safety_identifier", json!("s")),
        ("service_tier", json!("priority")),
        ("tools[0]", json!({"type": "web_search"})),
        ("tools[0]", json!({"type": "custom", "name": "sql"})),
    ];
    let messages = vec![
        ("service_tier", json!("standard_only")),
        ("container", json!("c")),
        ("context_management", json!({"edits": []})),
        ("cache_control", json!({"type": "ephemeral"})),
        ("mcp_servers", json!([{"type": "url", "url": "https://example.org", "name": "x"}])),
        ("tools[0]", json!({"type": "web_search_20250305", "name": "web_search"})),
    ];
    let gemini = vec![
        ("safetySettings", json!([{"category": "c", "threshold": "BLOCK_NONE"}])),
        ("labels", json!({})),
        ("labels", json!({"a": "b"})),
        ("generationConfig.responseModalities", json!(["TEXT"])),
        ("generationConfig.mediaResolution", json!("LOW")),
        ("tools.googleSearch", json!({})),
        ("toolConfig.retrievalConfig", json!({"languageCode": "no"})),
    ];
    prop_oneof![
        Just((Family::Chat, chat)),
        Just((Family::Responses, responses)),
        Just((Family::Messages, messages)),
        Just((Family::Gemini, gemini))
    ]
    .prop_flat_map(|(family, all)| {
        let some = prop::collection::vec(prop::sample::select(all), 0..4);
        some.prop_map(move |some| (family, some.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
    })
}

/// Gives each text, file and state a number, so that what is lost of one is not found at another.
fn tell_apart(request: &mut Request) {
    fn each(blocks: &mut [Block], count: &mut u32) {
        for block in blocks {
            *count += 1;
            match block {
                Block::Text { text } | Block::Refusal { text } if !text.is_empty() => *text = format!("{text}{count}"),
                Block::Reasoning { text, state } => {
                    *text = format!("{text}{count}.");
                    number(state, *count);
                }
                Block::ToolCall { state, .. } => number(state, *count),
                Block::ToolResult { blocks, .. } => each(blocks, count),
                Block::Media(Media { source: Source::Base64(data), .. }) => *data = STANDARD.encode(format!("bytes {count}")),
                Block::Media(Media { source: Source::Url(url), .. }) => *url = format!("{url}?n={count}"),
                Block::Media(Media { source: Source::File(id), .. }) => *id = format!("{id}{count}"),
                _ => {}
            }
        }
    }
    fn number(state: &mut Option<State>, count: u32) {
        if let Some(state) = state {
            for text in [&mut state.signature, &mut state.encrypted].into_iter().flatten() {
                *text = format!("{text}{count}");
            }
        }
    }
    let mut count = 0;
    request.messages.iter_mut().for_each(|m| each(&mut m.blocks, &mut count));
}

prop_compose! {
    pub(crate) fn request()(
        model in model(),
        messages in messages(),
        tools in tools(),
        tool_choice in prop::sample::select(vec![ToolChoice::Unset, ToolChoice::Auto, ToolChoice::None, ToolChoice::Required, ToolChoice::Function("look".to_owned())]),
        parallel_tool_calls: Option<bool>,
        generation in generation(),
        effort in prop::option::of(prop::sample::select(vec!["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
        budget_tokens in prop::option::weighted(0.3, prop::sample::select(vec![0u32, 100, 2000, 50_000])),
        format in prop::sample::select(vec![Format::Text, Format::Text, Format::Json, Format::Schema { name: "answer".to_owned(), schema: json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": false}), strict: Some(true) }]),
        user in prop::option::of(word()),
        stream: bool,
        (family, extra) in extra(),
    ) -> Request {
        // No thinking and a budget for it contradict each other.
        let budget_tokens = budget_tokens.filter(|n| effort.is_none() || (effort != Some("none") && *n > 0));
        let reasoning = Reasoning { effort: effort.map(str::to_owned), budget_tokens, shown: None };
        let extra = extra.into_iter().collect();
        let mut request = Request { model, messages, tools, tool_choice, parallel_tool_calls, generation, reasoning, format, user, stream, stream_usage: stream, family: Some(family), extra };
        tell_apart(&mut request);
        request
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// What a dialect's own decoder gives is the start: the random request is first said in that dialect.
    #[test]
    fn nothing_is_lost_without_a_word(random in request()) {
        let caller = Dialect::ALL.into_iter().find(|d| Some(d.family()) == random.family).unwrap();
        let body = caller.encode_request(&random, &mut Losses::default());
        let sent = caller.decode_request(body.to_string().as_bytes(), &random.model, random.stream).map_err(|e| TestCaseError::fail(format!("{e} in {body}")))?;
        for request in [&random, &sent] {
            for wire in Dialect::ALL {
                let mut losses = Losses::default();
                let body = wire.encode_request(request, &mut losses);
                let got = wire.decode_request(body.to_string().as_bytes(), &request.model, request.stream).map_err(|e| TestCaseError::fail(format!("{e} in {body}")))?;
                if let Err(problem) = compare(wire, request, &got, &losses) {
                    return Err(TestCaseError::fail(format!("{} to {}: {problem}\n{body}", caller.name(), wire.name())));
                }
            }
        }
    }
}
