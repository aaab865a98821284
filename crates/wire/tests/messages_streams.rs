//! What holds for answers and streams in Messages, whatever comes in.

use proptest::prelude::*;
use serde_json::{Value, json};
use wire::{
    ir::{BlockKind, Delta, Event, Family, Finish, State, Usage},
    messages::{
        decode, encode,
        stream::{Decoder, Encoder},
    },
    sse::{SseEvent, SseReader, write_data},
};

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

fn id() -> impl Strategy<Value = String> {
    prop_oneof![Just("call_0".to_owned()), Just(String::new()), "[a-z.:_]{1,6}", "esc_[a-f0-9_]{0,4}"]
}

fn kind(block: &Value) -> &str {
    block["type"].as_str().unwrap_or_default()
}

/// Events in any order, however little sense they make.
fn event() -> impl Strategy<Value = Event> {
    let choice = prop_oneof![8 => Just(0u32), 1 => Just(1)];
    let kind = prop_oneof![
        Just(BlockKind::Text),
        Just(BlockKind::Reasoning),
        Just(BlockKind::Refusal),
        id().prop_map(|id| BlockKind::ToolCall { id, name: "f".to_owned() }),
        prop_oneof![Just(Family::Messages), Just(Family::Chat)]
            .prop_map(|family| BlockKind::Opaque { family, value: json!({"type": "web_search_tool_result"}) }),
    ];
    let delta = prop_oneof![
        text().prop_map(Delta::Text),
        text().prop_map(Delta::Reasoning),
        text().prop_map(Delta::Arguments),
        state().prop_map(Delta::State),
    ];
    let reason =
        prop_oneof![Just(Finish::Stop), Just(Finish::ToolCall), Just(Finish::Length), Just(Finish::StopSequence(Some("END".to_owned())))];
    prop_oneof![
        4 => (choice.clone(), 0u32..4, kind).prop_map(|(choice, block, kind)| Event::BlockStart { choice, block, kind }),
        8 => (choice.clone(), 0u32..4, delta).prop_map(|(choice, block, delta)| Event::Delta { choice, block, delta }),
        4 => (choice.clone(), 0u32..4).prop_map(|(choice, block)| Event::BlockStop { choice, block }),
        1 => (choice, reason).prop_map(|(choice, reason)| Event::Finish { choice, reason }),
    ]
}

fn encoded(events: &[Event]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(3), Vec::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    out
}

fn frames(bytes: &[u8]) -> Vec<Value> {
    let (mut reader, mut out) = (SseReader::new(), Vec::new());
    let mut each = |e: SseEvent| {
        let value: Value = serde_json::from_str(&e.data).expect("frames are JSON");
        assert_eq!(e.name.as_deref(), value["type"].as_str());
        out.push(value);
    };
    reader.feed(bytes, &mut each).expect("short frames");
    reader.finish(&mut each);
    out
}

/// Follows a stream as a strict client does.
fn check_order(frames: &[Value]) -> Result<(), TestCaseError> {
    let (mut open, mut next, mut called) = (None::<(u64, String)>, 0, false);
    let wanted = |delta: &str| match delta {
        "text_delta" => "text",
        "input_json_delta" => "tool_use",
        _ => "thinking",
    };
    for (at, frame) in frames.iter().enumerate() {
        let index = frame["index"].as_u64();
        match kind(frame) {
            "message_start" => prop_assert_eq!(at, 0),
            "content_block_start" => {
                prop_assert!(open.is_none() && index == Some(next));
                let block = kind(&frame["content_block"]).to_owned();
                called |= block == "tool_use";
                open = Some((next, block));
                next += 1;
            }
            "content_block_delta" => {
                let (now, block) = open.as_ref().ok_or_else(|| TestCaseError::fail("a delta outside"))?;
                prop_assert_eq!(index, Some(*now));
                prop_assert_eq!(block.as_str(), wanted(kind(&frame["delta"])));
            }
            "content_block_stop" => {
                prop_assert_eq!(index, open.take().map(|(now, _)| now));
            }
            "message_delta" => {
                prop_assert_eq!(at + 2, frames.len());
                let reason = frame["delta"]["stop_reason"].as_str();
                prop_assert!(
                    reason.is_some_and(|r| r == "max_tokens" || (r == "tool_use") == called),
                    "{:?} with calls: {}",
                    reason,
                    called
                );
                prop_assert!(frame["usage"]["output_tokens"].is_u64());
            }
            "message_stop" => prop_assert_eq!(at + 1, frames.len()),
            other => return Err(TestCaseError::fail(format!("{other} in a good stream"))),
        }
    }
    prop_assert!(open.is_none(), "left open");
    prop_assert_eq!(frames.last().map(kind), Some("message_stop"));
    Ok(())
}

/// A well-formed answer: what a decoder gives.
fn answer() -> impl Strategy<Value = Vec<Event>> {
    let visible = "[a-zé🎉 ]{1,8}";
    let block = prop_oneof![
        prop::collection::vec(visible, 1..3).prop_map(|t| (BlockKind::Text, t.into_iter().map(Delta::Text).collect::<Vec<_>>())),
        (prop::collection::vec(visible, 1..3), any::<bool>()).prop_map(|(t, signed)| {
            let state = signed
                .then(|| Delta::State(State { family: Family::Messages, id: None, signature: Some("s".to_owned()), encrypted: None }));
            (BlockKind::Reasoning, t.into_iter().map(Delta::Reasoning).chain(state).collect())
        }),
        Just((
            BlockKind::Reasoning,
            vec![Delta::State(State { family: Family::Messages, id: None, signature: None, encrypted: Some("x".to_owned()) })]
        )),
        (id(), prop::sample::select(vec![vec!["{}"], vec!["{\"a\":", "1}"]])).prop_map(|(id, parts)| (
            BlockKind::ToolCall { id, name: "f".to_owned() },
            parts.into_iter().map(|p| Delta::Arguments(p.to_owned())).collect()
        )),
        Just((BlockKind::Opaque { family: Family::Messages, value: json!({"type": "server_tool_use", "input": {"q": 1}}) }, Vec::new())),
    ];
    (prop::collection::vec(block, 0..4), any::<bool>()).prop_map(|(blocks, cut)| {
        let mut events = vec![Event::Start { id: "msg".to_owned(), model: "m".to_owned(), created: 0 }];
        let called = blocks.iter().any(|(kind, _)| matches!(kind, BlockKind::ToolCall { .. }));
        for (block, (kind, deltas)) in (0..).zip(blocks) {
            events.push(Event::BlockStart { choice: 0, block, kind });
            events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, block, delta }));
            events.push(Event::BlockStop { choice: 0, block });
        }
        let reason = if cut {
            Finish::Length
        } else if called {
            Finish::ToolCall
        } else {
            Finish::Stop
        };
        events.push(Event::Finish { choice: 0, reason });
        events.push(Event::Usage(Usage { in_fresh: Some(7), in_cache_read: Some(0), out_text: Some(3), ..Usage::default() }));
        events.push(Event::End);
        events
    })
}

fn decoded(parts: &[&[u8]]) -> Vec<Event> {
    let (mut decoder, mut out) = (Decoder::new(), Vec::new());
    for part in parts {
        decoder.feed(part, &mut out).expect("short frames");
    }
    decoder.finish(&mut out);
    assert!(decoder.is_over());
    out
}

/// Neighbouring pieces of a block as one, which is how a whole answer has them.
fn joined(events: &[Event]) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Event::Delta { delta: Delta::Text(a), .. }), Event::Delta { delta: Delta::Text(b), .. })
            | (Some(Event::Delta { delta: Delta::Reasoning(a), .. }), Event::Delta { delta: Delta::Reasoning(b), .. })
            | (Some(Event::Delta { delta: Delta::Arguments(a), .. }), Event::Delta { delta: Delta::Arguments(b), .. }) => a.push_str(b),
            _ => out.push(event.clone()),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_that_ends_is_legal(events in prop::collection::vec(event(), 0..24)) {
        let events: Vec<Event> = events.into_iter().chain([Event::End]).collect();
        check_order(&frames(&encoded(&events)))?;
    }

    #[test]
    fn nothing_follows_an_error(events in prop::collection::vec(event(), 0..12), more in prop::collection::vec(event(), 0..4)) {
        let failed = Event::Failed { message: "broke".to_owned(), code: Some("rate_limit_exceeded".to_owned()) };
        let all: Vec<Event> = events.into_iter().chain([failed]).chain(more).chain([Event::End]).collect();
        let frames = frames(&encoded(&all));
        prop_assert_eq!(frames.last(), Some(&json!({"type": "error", "error": {"type": "rate_limit_error", "message": "broke"}})));
        prop_assert!(frames.iter().all(|f| !["message_delta", "message_stop"].contains(&kind(f))));
    }

    #[test]
    fn answers_come_back(events in answer()) {
        let stream = encoded(&events);
        check_order(&frames(&stream))?;
        prop_assert_eq!(decoded(&[&stream]), events.clone());
        let whole = encode::response(&events).to_string();
        let again = decode::response(whole.as_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(again, joined(&events));
    }

    #[test]
    fn splitting_the_bytes_anywhere_changes_nothing(events in answer(), cuts in prop::collection::vec(0usize..4000, 0..6), crlf: bool) {
        let mut stream = encoded(&events);
        if crlf {
            stream = String::from_utf8(stream).expect("text").replace('\n', "\r\n").into_bytes();
        }
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(decoded(&bytes), events.clone());
        let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(stream.len())).chain([0, stream.len()]).collect();
        cuts.sort_unstable();
        let parts: Vec<_> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
        prop_assert_eq!(decoded(&parts), events);
    }

    #[test]
    fn a_stream_cut_anywhere_fails_once_and_last(events in answer(), share in 0f64..1.0) {
        let stream = encoded(&events);
        let end = stream.windows(12).rposition(|w| w == b"message_stop").expect("an end mark") - 20;
        let out = decoded(&[&stream[..(end as f64 * share) as usize]]);
        let fails: Vec<_> = out.iter().filter(|e| matches!(e, Event::Failed { .. })).collect();
        prop_assert_eq!(fails.len(), 1);
        let is_last = matches!(out.last(), Some(Event::Failed { code, .. }) if code.as_deref() == Some("stream_truncated"));
        prop_assert!(is_last, "{:?}", out.last());
    }

    #[test]
    fn no_frames_make_it_panic(frames in prop::collection::vec(("(message_start|content_block_start|content_block_delta|content_block_stop|message_delta|message_stop|error|x)", 0u32..3, "(text|thinking|tool_use|redacted_thinking|x|text_delta|input_json_delta|signature_delta|thinking_delta)"), 0..12)) {
        let mut text = Vec::new();
        for (kind, index, inner) in &frames {
            let part = json!({"type": inner, "text": "a", "thinking": "b", "partial_json": "{", "signature": "c", "input": {}, "id": "d", "name": "e", "data": "f"});
            let frame = json!({"type": kind, "index": index, "content_block": part, "delta": part, "usage": {"output_tokens": 1}});
            write_data(&mut text, frame.to_string().as_bytes());
        }
        let out = decoded(&[&text]);
        let last = out.iter().position(|e| matches!(e, Event::End | Event::Failed { .. }));
        prop_assert_eq!(last, out.len().checked_sub(1), "one end, and it is last");
        let starts = out.iter().filter(|e| matches!(e, Event::BlockStart { .. })).count();
        let stops = out.iter().filter(|e| matches!(e, Event::BlockStop { .. })).count();
        let failed = matches!(out.last(), Some(Event::Failed { .. }));
        prop_assert!(starts == stops || (starts == stops + 1 && failed));
        let called = out.iter().any(|e| matches!(e, Event::BlockStart { kind: BlockKind::ToolCall { .. }, .. }));
        let said = out.iter().any(|e| matches!(e, Event::Finish { reason: Finish::ToolCall, .. }));
        prop_assert!(called || !said);
    }
}
