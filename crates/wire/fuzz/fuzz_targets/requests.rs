//! Every decoder of requests: no panic, and what it reads can be written for every wire.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Dialect, losses::Losses};

fuzz_target!(|data: &[u8]| {
    let (Some(&first), rest) = (data.first(), data.get(1..).unwrap_or_default()) else { return };
    let caller = Dialect::ALL[usize::from(first) % 4];
    let read =
        if first & 64 == 0 { caller.decode_request(rest, "gemini-2.0-flash", true) } else { wire::completions::decode::request(rest) };
    let Ok(request) = read else { return };
    for wire in Dialect::ALL {
        let mut losses = Losses::default();
        let _ = wire.check_request(&request);
        let body = wire.encode_request(&request, &mut losses);
        assert!(body.is_object() && losses.header().bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
    }
});
