//! What holds for every request, answer and stream.

use proptest::prelude::*;

use serde_json::{Value, json};
use wire::{
    ir::{Block, BlockKind, Delta, Event, Family, Finish, Message, Request, Role, State, Usage},
    losses::Losses,
    responses::{decode, encode},
};

use super::{
    call, image,
    reading::{legal, read, well_formed, written},
    state, text,
};

const OFFICIAL: &str = include_str!("../golden/responses/official.sse");
const DONE_ONLY: &str = include_str!("../golden/responses/done_only.sse");

fn words() -> impl Strategy<Value = String> {
    "[a-zé 日🎉\\n\"]{1,12}"
}

fn block() -> impl Strategy<Value = (BlockKind, Vec<Delta>)> {
    let pieces = |wrap: fn(String) -> Delta| prop::collection::vec(words().prop_map(wrap), 0..4);
    let own = |id: String, encrypted: bool| {
        Delta::State(State { family: Family::Responses, id: Some(format!("rs_{id}")), signature: None, encrypted: encrypted.then_some(id) })
    };
    prop_oneof![
        pieces(Delta::Text).prop_map(|d| (BlockKind::Text, d)),
        pieces(Delta::Refusal).prop_map(|d| (BlockKind::Refusal, d)),
        (pieces(Delta::Reasoning), "[a-z]{6}", any::<bool>()).prop_map(move |(mut d, id, encrypted)| {
            d.push(own(id, encrypted));
            (BlockKind::Reasoning, d)
        }),
        ("call_[a-z]{8}", "[a-z]{1,8}", prop::option::of("[0-9]{1,9}")).prop_map(|(id, name, x)| {
            let pieces = x.map(|x| vec![Delta::Arguments("{\"x\":".into()), Delta::Arguments(format!("{x}}}"))]);
            (BlockKind::ToolCall { id, name }, pieces.unwrap_or_default())
        }),
        "[a-z]{6}".prop_map(|id| {
            let value = json!({"type": "web_search_call", "id": format!("ws_{id}"), "status": "completed"});
            (BlockKind::Opaque { family: Family::Responses, value }, Vec::new())
        }),
    ]
}

fn usage() -> impl Strategy<Value = Usage> {
    (0u64..1 << 40, 0u64..1 << 20, 0u64..1 << 20, 0u64..1 << 30, 0u64..1 << 30).prop_map(|(fresh, read, write, text, reasoning)| Usage {
        in_fresh: Some(fresh),
        in_cache_read: Some(read),
        in_cache_write: Some(write),
        out_text: Some(text),
        out_reasoning: Some(reasoning),
        ..Usage::default()
    })
}

prop_compose! {
    fn answer()(blocks in prop::collection::vec(block(), 0..6), usage in usage(), is_cut in any::<bool>()) -> Vec<Event> {
        let mut events = vec![Event::Start { id: "resp_x".into(), model: "m".into(), created: 7 }];
        let called = blocks.iter().any(|(kind, _)| matches!(kind, BlockKind::ToolCall { .. }));
        for (block, (kind, deltas)) in blocks.into_iter().enumerate() {
            let block = block as u32;
            events.push(Event::BlockStart { choice: 0, block, kind });
            events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, block, delta }));
            events.push(Event::BlockStop { choice: 0, block });
        }
        let reason = if is_cut { Finish::Length } else if called { Finish::ToolCall } else { Finish::Stop };
        events.extend([Event::Finish { choice: 0, reason }, Event::Usage(usage), Event::End]);
        events
    }
}

/// What an answer says, however its text is cut: (kind, text, id, state) of each block that says anything, and the end.
fn said(events: &[Event]) -> Vec<(String, String, Option<String>)> {
    let mut out: Vec<(String, String, Option<String>)> = Vec::new();
    for event in events {
        match event {
            Event::BlockStart { kind: BlockKind::ToolCall { id, name }, .. } => {
                out.push((format!("call {id} {name}"), String::new(), None));
            }
            Event::BlockStart { kind, .. } => out.push((format!("{kind:?}"), String::new(), None)),
            Event::Delta { delta: Delta::State(state), .. } => out.last_mut().unwrap().2.clone_from(&state.encrypted),
            Event::Delta { delta: Delta::Text(t) | Delta::Refusal(t) | Delta::Reasoning(t) | Delta::Arguments(t), .. } => {
                out.last_mut().unwrap().1.push_str(t);
            }
            Event::BlockStop { .. } => {
                let last = out.last_mut().unwrap();
                if last.0.starts_with("call") && last.1.is_empty() {
                    last.1 = "{}".into();
                } else if last.1.is_empty() && last.2.is_none() && !last.0.starts_with("Opaque") {
                    out.pop();
                }
            }
            Event::Usage(usage) => out.push((format!("{usage:?}"), String::new(), None)),
            Event::Finish { reason, .. } => out.push((format!("{reason:?}"), String::new(), None)),
            _ => {}
        }
    }
    // Refused or stopped: decided by whether a refusal said anything.
    out.iter_mut().filter(|(kind, ..)| kind == "Refusal" || kind == "Stop").for_each(|(kind, text, _)| {
        if text.is_empty() {
            "an end".clone_into(kind);
        }
    });
    out
}

fn roles() -> impl Strategy<Value = Vec<Message>> {
    let user = prop::collection::vec(prop_oneof![words().prop_map(|t| text(&t)), Just(image())], 1..3)
        .prop_map(|blocks| vec![Message { role: Role::User, name: None, blocks }]);
    let system = (prop_oneof![Just(Role::System), Just(Role::Developer)], words()).prop_map(|(role, t)| vec![Message::text(role, t)]);
    let turn = (prop::option::of(words()), prop::collection::vec(("call_[a-z]{8}", words()), 0..3), words()).prop_map(
        |(thought, calls, answer)| {
            let state = Some(state(Family::Responses, Some("rs_1"), None, Some("gAAAA")));
            let mut blocks: Vec<_> = thought.map(|text| Block::Reasoning { text, state }).into_iter().collect();
            blocks.push(text(&answer));
            blocks.extend(calls.iter().map(|(id, _)| call(id, None)));
            let result = |(id, said): (String, String)| {
                let result = Block::ToolResult { call_id: id, name: None, blocks: vec![text(&said)], is_error: false };
                Message { role: Role::Tool, name: None, blocks: vec![result] }
            };
            std::iter::once(Message { role: Role::Assistant, name: None, blocks }).chain(calls.into_iter().map(result)).collect()
        },
    );
    prop::collection::vec(prop_oneof![user, system, turn], 1..6).prop_map(|turns| turns.concat())
}

fn normal(mut request: Request) -> Request {
    for block in request.messages.iter_mut().flat_map(|m| &mut m.blocks) {
        match block {
            Block::ToolCall { arguments, .. } if arguments.is_empty() => "{}".clone_into(arguments),
            _ => {}
        }
    }
    request
}

proptest! {
    #[test]
    fn a_written_stream_is_legal_and_says_the_same(events in answer()) {
        let text = written(&events);
        legal(&text);
        let again = read(text.as_bytes(), text.len());
        well_formed(&again);
        prop_assert_eq!(said(&again), said(&events));
    }

    #[test]
    fn a_whole_answer_is_the_last_event_of_the_stream(events in answer()) {
        let whole = encode::response(&events);
        let text = written(&events);
        let last: Value = serde_json::from_str(text.trim_end().rsplit_once("data: ").unwrap().1).unwrap();
        prop_assert_eq!(&last["response"], &whole);
        let again = decode::response(whole.to_string().as_bytes()).unwrap();
        well_formed(&again);
        prop_assert_eq!(said(&again), said(&events));
    }

    #[test]
    fn cutting_the_bytes_anywhere_changes_nothing(events in answer(), size in 1usize..40) {
        let text = written(&events);
        prop_assert_eq!(read(text.as_bytes(), size), read(text.as_bytes(), text.len()));
    }

    #[test]
    fn frames_in_any_order_are_read_without_panic(picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20), noise in prop::collection::vec(any::<u8>(), 0..40)) {
        let frames: Vec<_> = OFFICIAL.split_inclusive("\n\n").chain(DONE_ONLY.split_inclusive("\n\n")).collect();
        let mut bytes: Vec<u8> = picks.iter().flat_map(|p| p.get(&frames).bytes()).collect();
        let whole = read(&bytes, bytes.len());
        well_formed(&whole);
        bytes.extend(&noise);
        read(&bytes, 16);
        let _ = decode::request(&bytes);
        let _ = decode::response(&noise);
    }

    #[test]
    fn a_request_comes_back(messages in roles(), max_tokens in prop::option::of(16u32..1000), logprobs in prop::option::of(0u8..5)) {
        let mut request = Request { model: "m".into(), messages, family: Some(Family::Responses), stream_usage: true, ..Request::default() };
        request.generation.max_tokens = max_tokens;
        request.generation.logprobs = logprobs;
        let mut losses = Losses::default();
        let body = encode::request(&request, &mut losses);
        prop_assert!(losses.is_exact(), "{:?}", losses);
        // Two turns of the assistant without anything between them that end in a call are read as one.
        let pairs = request.messages.windows(2);
        prop_assume!(!pairs.into_iter().any(|w| w[0].role == Role::Assistant && w[1].role == Role::Assistant));
        prop_assert_eq!(decode::request(body.to_string().as_bytes()).unwrap(), normal(request));
    }
}
