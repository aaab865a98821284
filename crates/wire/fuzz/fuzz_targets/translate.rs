//! From every upstream through every client and back: no panic, and the text stays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    Dialect,
    ir::{Event, Finish},
};
use wire_fuzz::{check, is_plain, read, texts, written};

fn is_malformed(events: &[Event]) -> bool {
    events.iter().any(|e| matches!(e, Event::Finish { reason: Finish::MalformedCall, .. }))
}

fuzz_target!(|data: &[u8]| {
    let (Some(&first), rest) = (data.first(), data.get(1..).unwrap_or_default()) else { return };
    let upstream = Dialect::ALL[usize::from(first) % 4];
    let events = read(upstream, rest, &[0, rest.len()]);
    if !matches!(events.last(), Some(Event::End)) || !is_plain(&events) {
        return;
    }
    for client in Dialect::ALL {
        let has_all = |all: &[(u32, String)]| -> Vec<(u32, String)> {
            let shows = |choice: u32| choice == 0 || matches!(client, Dialect::Chat | Dialect::Gemini);
            all.iter().filter(|(choice, text)| shows(*choice) && !text.is_empty()).cloned().collect()
        };
        let sent = written(client, &events);
        let got = read(client, &sent, &[0, sent.len()]);
        check(&got);
        // A call that cannot be read fails a whole response there.
        if !matches!(got.last(), Some(Event::End)) {
            assert!(is_malformed(&events), "{}: {:?} of {events:?}", client.name(), got.last());
            continue;
        }
        assert_eq!(has_all(&texts(&got)), has_all(&texts(&events)), "{}: {}", client.name(), String::from_utf8_lossy(&sent));
        let body = client.encode_response(&events).to_string();
        if let Ok(whole) = client.decode_response(body.as_bytes()) {
            check(&whole);
            assert_eq!(has_all(&texts(&whole)), has_all(&texts(&events)), "{}: {body}", client.name());
        }
    }
});
