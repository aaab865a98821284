//! Every dialect against every wire: a request, a whole answer and a stream keep their meaning on the way there and back.

use serde_json::json;
use wire::{
    Dialect,
    chat::stream::Encoder as ChatEncoder,
    dialect::{Decoder, Encoder},
    ir::{Block, BlockKind, Delta, Event, Finish, Usage},
    losses::Losses,
};

/// A conversation that every dialect can carry.
fn conversation() -> serde_json::Value {
    json!({
        "model": "m", "max_tokens": 64, "temperature": 0.5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Tromsø?"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Tromsø\"}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "snow"},
            {"role": "user", "content": "Thanks."}
        ],
        "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
        "tool_choice": "auto"
    })
}

fn texts(request: &wire::ir::Request) -> Vec<String> {
    let mut found = Vec::new();
    let mut each = |block: &Block| match block {
        Block::Text { text } if !text.is_empty() => found.push(text.clone()),
        Block::ToolCall { name, arguments, .. } => found.push(format!("{name}({arguments})")),
        _ => {}
    };
    for block in request.messages.iter().flat_map(|m| &m.blocks) {
        match block {
            Block::ToolResult { blocks, .. } => blocks.iter().for_each(&mut each),
            other => each(other),
        }
    }
    found
}

#[test]
fn a_conversation_keeps_its_words_between_all_dialects() {
    let first = Dialect::Chat.decode_request(conversation().to_string().as_bytes(), "m", false).expect("a chat request");
    let wanted = ["Be brief.", "Weather in Tromsø?", "get_weather({\"city\":\"Tromsø\"})", "snow", "Thanks."];
    assert_eq!(texts(&first), wanted);
    for caller in Dialect::ALL {
        let body = caller.encode_request(&first, &mut Losses::default());
        let read = caller.decode_request(body.to_string().as_bytes(), "m", false).expect("own words");
        for wire in Dialect::ALL {
            let mut losses = Losses::default();
            let sent = wire.encode_request(&read, &mut losses);
            let got = wire.decode_request(sent.to_string().as_bytes(), "m", false).expect("the wire's words");
            let name = format!("{} to {}: {sent}", caller.name(), wire.name());
            assert_eq!(texts(&got), wanted, "{name}");
            assert_eq!(got.tools.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["get_weather"], "{name}");
            assert_eq!(got.generation.max_tokens, Some(64), "{name}");
        }
    }
}

fn answer() -> Vec<Event> {
    let (choice, text, call) = (0, 0, 1);
    let kind = BlockKind::ToolCall { id: "call_1".to_owned(), name: "ping".to_owned() };
    vec![
        Event::Start { id: "a-1".to_owned(), model: "m".to_owned(), created: 5 },
        Event::BlockStart { choice, block: text, kind: BlockKind::Text },
        Event::Delta { choice, block: text, delta: Delta::Text("På vei – ".to_owned()) },
        Event::Delta { choice, block: text, delta: Delta::Text("日本".to_owned()) },
        Event::BlockStop { choice, block: text },
        Event::BlockStart { choice, block: call, kind },
        Event::BlockStop { choice, block: call },
        Event::Finish { choice, reason: Finish::ToolCall },
        Event::Usage(Usage { in_fresh: Some(7), in_cache_read: Some(3), out_text: Some(2), ..Usage::default() }),
        Event::End,
    ]
}

/// Text, calls with their arguments, the reason, input and output tokens.
type Meaning = (String, Vec<String>, Option<Finish>, Option<(u64, u64)>);

fn meaning(events: &[Event]) -> Meaning {
    let (mut text, mut calls, mut finish, mut usage) = (String::new(), Vec::new(), None, None);
    for event in events {
        match event {
            Event::Delta { delta: Delta::Text(more), .. } => text.push_str(more),
            Event::BlockStart { kind: BlockKind::ToolCall { name, .. }, .. } => calls.push(name.clone()),
            Event::Delta { delta: Delta::Arguments(more), .. } if more != "{}" => calls.push(more.clone()),
            Event::Finish { reason, .. } => finish = Some(reason.clone()),
            Event::Usage(said) => usage = Some((said.input(), said.output())),
            _ => {}
        }
    }
    (text, calls, finish, usage)
}

#[test]
fn whole_answers_keep_their_meaning() {
    let wanted = meaning(&answer());
    for dialect in Dialect::ALL {
        let body = dialect.encode_response(&answer());
        let read = dialect.decode_response(body.to_string().as_bytes()).expect("own words");
        assert_eq!(meaning(&read), wanted, "{}: {body}", dialect.name());
    }
}

fn encoder(dialect: Dialect) -> Encoder {
    match dialect {
        Dialect::Chat => Encoder::Chat(ChatEncoder::new(true)),
        Dialect::Responses => Encoder::Responses(Box::new(wire::responses::stream::Encoder::new())),
        Dialect::Messages => Encoder::Messages(Box::new(wire::messages::stream::Encoder::new(10))),
        Dialect::Gemini => Encoder::Gemini(wire::gemini::stream::Encoder::new()),
    }
}

fn written(dialect: Dialect, events: &[Event]) -> Vec<u8> {
    let (mut encoder, mut out) = (encoder(dialect), Vec::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    out
}

fn read(dialect: Dialect, bytes: &[u8], piece: usize) -> Vec<Event> {
    let (mut decoder, mut events) = (Decoder::new(dialect), Vec::new());
    for part in bytes.chunks(piece) {
        decoder.feed(part, &mut events).expect("within bounds");
    }
    decoder.finish(&mut events);
    events
}

#[test]
fn streams_keep_their_meaning_over_every_pair_and_however_they_are_cut() {
    let wanted = meaning(&answer());
    for wire in Dialect::ALL {
        let upstream = written(wire, &answer());
        for caller in Dialect::ALL {
            for piece in [1, 7, upstream.len()] {
                let events = read(wire, &upstream, piece);
                let client = written(caller, &events);
                let name = format!("{} from {} in pieces of {piece}", caller.name(), wire.name());
                assert_eq!(meaning(&read(caller, &client, 5)), wanted, "{name}");
            }
        }
    }
}

#[test]
fn a_cut_stream_is_an_error_in_every_dialect() {
    for wire in Dialect::ALL {
        let whole = written(wire, &answer()[..4]);
        assert!(matches!(read(wire, &whole, 64).last(), Some(Event::Failed { .. })), "{}", wire.name());
    }
}
