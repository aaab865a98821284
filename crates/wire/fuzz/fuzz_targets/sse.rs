//! Server-sent events: the same however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::sse::{SseEvent, SseReader};

fn read(bytes: &[u8], at: &[usize]) -> Vec<SseEvent> {
    let (mut reader, mut events) = (SseReader::new(), Vec::new());
    for ends in at.windows(2) {
        if reader.feed(&bytes[ends[0]..ends[1]], |e| events.push(e)).is_err() {
            return events;
        }
    }
    reader.finish(|e| events.push(e));
    events
}

fuzz_target!(|data: &[u8]| {
    let (at, bytes) = wire_fuzz::cuts(data);
    let whole = read(bytes, &[0, bytes.len()]);
    assert_eq!(read(bytes, &at), whole);
    let each: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(read(bytes, &each), whole);
});
