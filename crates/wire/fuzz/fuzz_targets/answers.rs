//! Every decoder of whole answers: no panic, whole blocks, and what it reads can be written for every client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::Dialect;

fuzz_target!(|data: &[u8]| {
    let (Some(&first), rest) = (data.first(), data.get(1..).unwrap_or_default()) else { return };
    let upstream = Dialect::ALL[usize::from(first) % 4];
    let Ok(events) = upstream.decode_response(rest) else { return };
    wire_fuzz::check(&events);
    for client in Dialect::ALL {
        assert!(client.encode_response(&events).is_object());
        let _ = client.answer_losses(&events);
    }
    let _ = wire::completions::encode::response(&events);
    let _ = wire::tap::whole(rest);
});
