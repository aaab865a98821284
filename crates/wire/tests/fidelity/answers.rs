//! Random answers: from every dialect's upstream to every dialect's client, whole and streamed, however the bytes are cut.

use proptest::prelude::*;
use serde_json::{Value, json};
use wire::{
    Dialect,
    chat::{stream::Encoder as ChatEncoder, types},
    dialect::{Decoder, Encoder},
    ir::{BlockKind, Citation, Delta, Event, Family, Finish, State, Usage, event::LogprobsBox},
};

use crate::answer_facts::{compare, facts};

pub(crate) fn written(dialect: Dialect, events: &[Event]) -> Vec<u8> {
    let mut encoder = match dialect {
        Dialect::Chat => Encoder::Chat(ChatEncoder::new(true)),
        Dialect::Responses => Encoder::Responses(Box::new(wire::responses::stream::Encoder::new())),
        Dialect::Messages => Encoder::Messages(Box::new(wire::messages::stream::Encoder::new(10))),
        Dialect::Gemini => Encoder::Gemini(wire::gemini::stream::Encoder::new()),
    };
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    out
}

pub(crate) fn read<'a>(dialect: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let (mut decoder, mut events) = (Decoder::new(dialect), Vec::new());
    for piece in pieces {
        decoder.feed(piece, &mut events).unwrap();
    }
    decoder.finish(&mut events);
    events
}

/// What must be true of every stream that a decoder gives: it ends once; blocks count up, close and never overlap within a choice; a tool
/// is the reason only where one was called.
pub(crate) fn check(events: &[Event]) -> Result<(), String> {
    let ends = events.iter().filter(|e| matches!(e, Event::End | Event::Failed { .. })).count();
    let has_failed = matches!(events.last(), Some(Event::Failed { .. }));
    if ends != 1 || !matches!(events.last(), Some(Event::End | Event::Failed { .. })) {
        return Err(format!("{ends} ends"));
    }
    for choice in 0..4u32 {
        let (mut open, mut next, mut called, mut finished) = (None, 0, false, false);
        for event in events {
            match event {
                Event::BlockStart { choice: c, block, kind } if *c == choice => {
                    if open.is_some() || *block != next || finished {
                        return Err(format!("{event:?} in the wrong place"));
                    }
                    (open, next) = (Some(*block), next + 1);
                    called |= matches!(kind, BlockKind::ToolCall { .. })
                        || matches!(kind, BlockKind::Opaque { value, .. } if value["type"] == "custom_tool_call");
                }
                Event::Delta { choice: c, block, .. } if *c == choice && open != Some(*block) => return Err(format!("{event:?} outside")),
                Event::BlockStop { choice: c, block } if *c == choice && open.take() != Some(*block) => return Err(format!("{event:?}")),
                Event::Finish { choice: c, reason } if *c == choice => {
                    let is_other = !matches!(reason, Finish::ToolCall | Finish::Stop | Finish::StopSequence(_));
                    if open.is_some() || finished || (!is_other && called != (*reason == Finish::ToolCall)) {
                        return Err(format!("{event:?} with a call: {called}"));
                    }
                    finished = true;
                }
                _ => {}
            }
        }
        if !has_failed && open.is_some() {
            return Err("a block is left open".to_owned());
        }
    }
    Ok(())
}

fn word() -> impl Strategy<Value = String> {
    "[a-zé日🎉\" ]{0,5}[a-z]"
}

fn citation() -> impl Strategy<Value = Delta> {
    let of = |family, url: Option<&str>, own: Value| {
        let (begin, end) = (url.map(|_| 1), url.map(|_| 4));
        let given = |text: Option<&str>| text.map(str::to_owned);
        Delta::Citation(Box::new(Citation { family, url: given(url), title: given(url.map(|_| "T")), begin, end, own }))
    };
    let url = "https://example.org/s";
    prop::sample::select(vec![
        of(
            Family::Chat,
            Some(url),
            json!({"type": "url_citation", "url_citation": {"url": url, "title": "T", "start_index": 1, "end_index": 4}}),
        ),
        of(Family::Responses, Some(url), json!({"type": "url_citation", "url": url, "title": "T", "start_index": 1, "end_index": 4})),
        of(Family::Responses, None, json!({"type": "file_citation", "file_id": "f", "filename": "a.pdf", "index": 3})),
        of(
            Family::Messages,
            None,
            json!({"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}),
        ),
        of(Family::Gemini, Some(url), json!({"uri": url, "title": "T", "startIndex": 1, "endIndex": 4})),
        of(
            Family::Gemini,
            Some(url),
            json!({"chunk": {"web": {"uri": url, "title": "T"}}, "segment": {"startIndex": 1, "endIndex": 4, "text": "abc"}}),
        ),
    ])
}

fn logprobs() -> impl Strategy<Value = Delta> {
    (word(), 0usize..3).prop_map(|(token, top)| {
        let top_logprobs = (0..top).map(|n| types::TopLogprob { token: format!("{n}"), logprob: -1.5, bytes: None }).collect();
        let token = types::Logprob { token, logprob: -0.25, bytes: None, top_logprobs };
        Delta::Logprobs(LogprobsBox(Box::new(types::Logprobs { content: Some(vec![token]), refusal: None })))
    })
}

fn block() -> impl Strategy<Value = (BlockKind, Vec<Delta>)> {
    let own = vec![
        (Family::Chat, json!({"audio": {"id": "a", "data": "UklGRg==", "transcript": "hi", "expires_at": 1}})),
        (Family::Responses, json!({"type": "web_search_call", "id": "ws_1", "status": "completed"})),
        (
            Family::Responses,
            json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_c", "name": "sql", "input": "SELECT 1", "status": "completed"}),
        ),
        (Family::Messages, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}})),
        (Family::Gemini, json!({"executableCode": {"language": "PYTHON", "code": "1"}})),
    ];
    let state = prop::sample::select(vec![Family::Messages, Family::Responses, Family::Gemini])
        .prop_map(|family| Delta::State(State { family, id: None, signature: Some("c2ln".to_owned()), encrypted: None }));
    prop_oneof![
        4 => (prop::collection::vec(word(), 1..3), prop::option::weighted(0.2, citation()), prop::option::weighted(0.2, logprobs())).prop_map(|(texts, cited, tokens)| {
            (BlockKind::Text, texts.into_iter().map(Delta::Text).chain(tokens).chain(cited).collect::<Vec<_>>())
        }),
        2 => (prop::collection::vec(word(), 1..3), prop::option::of(state)).prop_map(|(t, s)| (BlockKind::Reasoning, t.into_iter().map(Delta::Reasoning).chain(s).collect())),
        1 => word().prop_map(|t| (BlockKind::Refusal, vec![Delta::Refusal(t)])),
        3 => ("call_[a-z]{4}", prop::sample::select(vec!["look", "get.it"]), prop::sample::select(vec![vec![], vec!["{}"], vec!["{\"a\":", "[1,\"x\"]}"]])).prop_map(|(id, name, parts)| {
            (BlockKind::ToolCall { id, name: name.to_owned() }, parts.into_iter().map(|p| Delta::Arguments(p.to_owned())).collect())
        }),
        1 => prop::sample::select(own).prop_map(|(family, value)| (BlockKind::Opaque { family, value }, Vec::new())),
    ]
}

prop_compose! {
    fn usage()(fresh in 1u64..1 << 30, read in prop::option::of(0u64..999), write in prop::option::of(1u64..999), hour: bool, text in 1u64..1 << 30, thought in prop::option::of(0u64..999), kinds in prop::array::uniform4(prop::option::weighted(0.3, 0u64..9))) -> Usage {
        let [audio, image, sound, server_tools] = kinds;
        let (in_audio, in_image) = (audio.map(|n| n.min(fresh)), image.map(|n| n.min(fresh - audio.unwrap_or(0).min(fresh))));
        let totals = Usage { in_fresh: Some(fresh), in_cache_read: read, in_cache_write: write, in_cache_write_1h: write.filter(|_| hour), out_text: Some(text), out_reasoning: thought, ..Usage::default() };
        Usage { in_audio, in_image, out_audio: sound.map(|n| n.min(text)), server_tools, ..totals }
    }
}

/// Blocks of one kind side by side are one to a reader, and a state signs what follows: only their sum is compared.
fn choice(choice: u32, blocks: Vec<(BlockKind, Vec<Delta>)>, reason: Option<Finish>, events: &mut Vec<Event>) {
    let is_call = |kind: &BlockKind| match kind {
        BlockKind::ToolCall { .. } => true,
        BlockKind::Opaque { value, .. } => value["type"] == "custom_tool_call",
        _ => false,
    };
    let mut has_sound = false;
    let mut blocks = blocks;
    // A message has one sound.
    blocks.retain(|(kind, _)| !matches!(kind, BlockKind::Opaque { family: Family::Chat, .. }) || !std::mem::replace(&mut has_sound, true));
    let called = blocks.iter().any(|(kind, _)| is_call(kind));
    for (block, (mut kind, deltas)) in (0..).zip(blocks) {
        // No server gives an id twice.
        if let BlockKind::Opaque { value, .. } = &mut kind
            && value["id"].is_string()
        {
            value["id"] = format!("{}_{choice}_{block}", value["type"].as_str().unwrap_or_default()).into();
        }
        events.push(Event::BlockStart { choice, block, kind });
        events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, block, delta }));
        events.push(Event::BlockStop { choice, block });
    }
    let refused = events.iter().any(|e| matches!(e, Event::BlockStart { choice: c, kind: BlockKind::Refusal, .. } if *c == choice));
    let reason = match reason {
        Some(cut @ (Finish::Length | Finish::ContextFull | Finish::Filter)) => cut,
        _ if called => Finish::ToolCall,
        _ if refused => Finish::Refusal,
        other => other.unwrap_or(Finish::Stop),
    };
    events.push(Event::Finish { choice, reason });
}

fn reason() -> impl Strategy<Value = Option<Finish>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(Finish::Length)),
        1 => Just(Some(Finish::ContextFull)),
        1 => Just(Some(Finish::Filter)),
        1 => Just(Some(Finish::Refusal)),
        1 => Just(Some(Finish::Paused)),
        1 => Just(Some(Finish::MalformedCall)),
        1 => Just(Some(Finish::StopSequence(Some("END".to_owned())))),
        1 => Just(Some(Finish::Other("insufficient_system_resource".to_owned()))),
        1 => Just(Some(Finish::Other("IMAGE_OTHER".to_owned()))),
    ]
}

prop_compose! {
    pub(crate) fn answer()(
        first in prop::collection::vec(block(), 0..5),
        second in prop::option::weighted(0.2, prop::collection::vec(block(), 0..3)),
        reasons in (reason(), reason()),
        usage in prop::option::of(usage()),
    ) -> Vec<Event> {
        let mut events = vec![Event::Start { id: "resp_a1".to_owned(), model: "m".to_owned(), created: 5 }];
        choice(0, first, reasons.0, &mut events);
        if let Some(second) = second {
            choice(1, second, reasons.1, &mut events);
        }
        events.extend(usage.map(Event::Usage));
        events.push(Event::End);
        events
    }
}

fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

fn fail(text: String) -> TestCaseError {
    TestCaseError::fail(text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_an_answer_is_lost_without_a_word(events in answer()) {
        for dialect in Dialect::ALL {
            let stream = read(dialect, [&*written(dialect, &events)]);
            check(&stream).map_err(|e| fail(format!("{}: {e} in {stream:?}", dialect.name())))?;
            compare(dialect, &events, &stream).map_err(|e| fail(format!("streamed: {e}")))?;
            if events.iter().any(|e| matches!(e, Event::Finish { reason: Finish::MalformedCall, .. })) && dialect == Dialect::Responses {
                // A whole response that failed is an error, not an answer.
                continue;
            }
            let body = dialect.encode_response(&events);
            let whole = dialect.decode_response(body.to_string().as_bytes()).map_err(|e| fail(format!("{}: {e} in {body}", dialect.name())))?;
            check(&whole).map_err(|e| fail(format!("{}: {e} in {body}", dialect.name())))?;
            compare(dialect, &events, &whole).map_err(|e| fail(format!("whole: {e} in {body}")))?;
        }
    }

    #[test]
    fn every_pair_is_the_same_however_the_bytes_are_cut(events in answer(), cuts in prop::collection::vec(0usize..9999, 0..6)) {
        for wire in Dialect::ALL {
            let upstream = written(wire, &events);
            let text = String::from_utf8(upstream.clone()).expect("text");
            let whole = read(wire, [&*upstream]);
            prop_assert_eq!(&read(wire, upstream.chunks(1)), &whole, "{} per byte", wire.name());
            prop_assert_eq!(&read(wire, text.split_inclusive("\n\n").map(str::as_bytes)), &whole, "{} per frame", wire.name());
            prop_assert_eq!(&read(wire, cut(&upstream, &cuts)), &whole, "{} cut anywhere", wire.name());
            let crlf = text.replace('\n', "\r\n");
            prop_assert_eq!(&read(wire, cut(crlf.as_bytes(), &cuts)), &whole, "{} with CRLF", wire.name());
            for client in Dialect::ALL {
                let sent = written(client, &whole);
                let got = read(client, cut(&sent, &cuts));
                check(&got).map_err(|e| fail(format!("{} from {}: {e}", client.name(), wire.name())))?;
                compare(client, &whole, &got).map_err(|e| fail(format!("{} from {}: {e}", client.name(), wire.name())))?;
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_fails_and_has_no_normal_end(events in answer(), share in 0f64..1.0) {
        for wire in Dialect::ALL {
            let upstream = written(wire, &events);
            let text = String::from_utf8_lossy(&upstream);
            let last = text.trim_end().rfind("\n\n").map_or(0, |at| at + 2);
            // Behind the reason why it ends a chat stream may be whole: some servers leave the end mark out.
            let reason = text.find("\"finish_reason\":\"").filter(|_| wire == Dialect::Chat);
            let last = reason.map_or(last, |at| at.min(last));
            let part = &upstream[..(last as f64 * share) as usize];
            let got = read(wire, [part]);
            check(&got).map_err(|e| fail(format!("{}: {e}", wire.name())))?;
            let is_finished = got.iter().any(|e| matches!(e, Event::End));
            prop_assert!(!is_finished && matches!(got.last(), Some(Event::Failed { .. })), "{}: {:?}", wire.name(), got.last());
            for client in Dialect::ALL {
                let seen = read(client, [&*written(client, &got)]);
                prop_assert!(matches!(seen.last(), Some(Event::Failed { .. })), "{} from {}", client.name(), wire.name());
                prop_assert!(!seen.iter().any(|e| matches!(e, Event::Finish { .. } | Event::End)), "{} from {}", client.name(), wire.name());
            }
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(begin in "(data: |event: error\ndata: |\\[|\\{|)", bytes in prop::collection::vec(any::<u8>(), 0..80), cuts in prop::collection::vec(0usize..99, 0..4)) {
        let all = [begin.as_bytes(), &bytes].concat();
        for wire in Dialect::ALL {
            let whole = read(wire, [&*all]);
            prop_assert_eq!(&read(wire, cut(&all, &cuts)), &whole);
            prop_assert!(check(&whole).is_ok());
            let _ = (wire.decode_request(&all, "m", true), wire.decode_response(&all));
        }
    }
}

#[test]
fn usage_adds_up_in_every_dialect() {
    let usage = Usage {
        in_fresh: Some(70),
        in_cache_read: Some(20),
        in_cache_write: Some(10),
        in_cache_write_1h: None,
        out_text: Some(5),
        out_reasoning: Some(3),
        ..Usage::default()
    };
    let events = [
        Event::Start { id: "a".to_owned(), model: "m".to_owned(), created: 0 },
        Event::Finish { choice: 0, reason: Finish::Stop },
        Event::Usage(usage),
        Event::End,
    ];
    for dialect in Dialect::ALL {
        let lines = facts(&read(dialect, [&*written(dialect, &events)]));
        for wanted in ["input 100", "output 8", "in_cache_read 20", "out_reasoning 3"] {
            assert!(lines.iter().any(|(_, line)| line == wanted), "{}: {lines:?}", dialect.name());
        }
    }
}
