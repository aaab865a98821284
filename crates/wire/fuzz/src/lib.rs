//! What the fuzz targets share.

use wire::{
    Dialect,
    dialect::{Decoder, Encoder},
    ir::{BlockKind, Delta, Event},
};

/// The first bytes say where to cut the others.
pub fn cuts(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let (head, rest) = data.split_at(data.len().min(4));
    let mut at: Vec<usize> = head.iter().map(|b| usize::from(*b) * (rest.len() + 1) / 256).chain([0, rest.len()]).collect();
    at.sort_unstable();
    (at, rest)
}

/// The events of a stream in the pieces that `at` says.
pub fn read(dialect: Dialect, bytes: &[u8], at: &[usize]) -> Vec<Event> {
    let (mut decoder, mut events) = (Decoder::new(dialect), Vec::new());
    for ends in at.windows(2) {
        if decoder.feed(&bytes[ends[0]..ends[1]], &mut events).is_err() {
            return events;
        }
    }
    decoder.finish(&mut events);
    events
}

/// The stream of a dialect.
pub fn written(dialect: Dialect, events: &[Event]) -> Vec<u8> {
    let mut encoder = match dialect {
        Dialect::Chat => Encoder::Chat(wire::chat::stream::Encoder::new(true)),
        Dialect::Responses => Encoder::Responses(Box::default()),
        Dialect::Messages => Encoder::Messages(Box::new(wire::messages::stream::Encoder::new(1))),
        Dialect::Gemini => Encoder::Gemini(wire::gemini::stream::Encoder::new()),
    };
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    out
}

/// The text of each choice.
pub fn texts(events: &[Event]) -> Vec<(u32, String)> {
    let mut out: Vec<(u32, String)> = Vec::new();
    for event in events {
        if let Event::Delta { choice, delta: Delta::Text(text), .. } = event {
            match out.iter_mut().find(|(c, _)| c == choice) {
                Some((_, said)) => said.push_str(text),
                None => out.push((*choice, text.clone())),
            }
        }
    }
    out.sort();
    out
}

/// One end, and it is the last; blocks of a choice count up, close and never overlap.
pub fn check(events: &[Event]) {
    let ends = events.iter().filter(|e| matches!(e, Event::End | Event::Failed { .. })).count();
    assert_eq!(ends, 1, "{events:?}");
    assert!(matches!(events.last(), Some(Event::End | Event::Failed { .. })), "{events:?}");
    let mut open: Vec<(u32, Option<u32>, u32)> = Vec::new();
    for event in events {
        let (Event::BlockStart { choice, .. } | Event::BlockStop { choice, .. } | Event::Delta { choice, .. }) = event else { continue };
        let at = open.iter().position(|(c, ..)| c == choice).unwrap_or_else(|| {
            open.push((*choice, None, 0));
            open.len() - 1
        });
        let (_, now, next) = &mut open[at];
        match event {
            Event::BlockStart { block, .. } => {
                assert_eq!((*now, *block), (None, *next), "{events:?}");
                (*now, *next) = (Some(*block), *next + 1);
            }
            Event::BlockStop { block, .. } => assert_eq!(now.take(), Some(*block), "{events:?}"),
            Event::Delta { block, .. } => assert_eq!(*now, Some(*block), "{events:?}"),
            _ => {}
        }
    }
    if matches!(events.last(), Some(Event::End)) {
        assert!(open.iter().all(|(_, now, _)| now.is_none()), "{events:?}");
    }
}

/// Whether an answer has anything that its whole form may say in another place.
pub fn is_plain(events: &[Event]) -> bool {
    events.iter().all(|event| match event {
        Event::BlockStart { kind: BlockKind::Refusal | BlockKind::Opaque { .. }, .. } => false,
        // Nobody could run it, and Gemini's readers refuse it.
        Event::BlockStart { kind: BlockKind::ToolCall { name, .. }, .. } => !name.is_empty(),
        _ => true,
    })
}

/// A stream however it is cut gives the same events, in order; and what is written of them can be read again.
pub fn stream(dialect: Dialect, data: &[u8]) {
    let (at, bytes) = cuts(data);
    let whole = read(dialect, bytes, &[0, bytes.len()]);
    check(&whole);
    assert_eq!(read(dialect, bytes, &at), whole);
    for client in Dialect::ALL {
        let _ = client.answer_losses(&whole);
        let sent = written(client, &whole);
        let got = read(client, &sent, &[0, sent.len()]);
        check(&got);
        let has_failed = matches!(whole.last(), Some(Event::Failed { .. }));
        assert!(!has_failed || matches!(got.last(), Some(Event::Failed { .. })), "{}: {whole:?}", client.name());
    }
}
