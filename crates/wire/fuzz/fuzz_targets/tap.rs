//! Reading along: the bytes that come out are those that went in, however they are cut.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::{Dialect, tap::Tap};

fn run(dialect: Dialect, strip: bool, bytes: &[u8], at: &[usize]) -> (Vec<u8>, Tap) {
    let (mut tap, mut out) = (Tap::new(dialect, strip), Vec::new());
    for ends in at.windows(2) {
        out.extend_from_slice(&tap.feed(Bytes::copy_from_slice(&bytes[ends[0]..ends[1]])));
    }
    out.extend_from_slice(&tap.finish(true));
    (out, tap)
}

fuzz_target!(|data: &[u8]| {
    let (Some(&first), rest) = (data.first(), data.get(1..).unwrap_or_default()) else { return };
    let dialect = Dialect::ALL[usize::from(first) % 4];
    let (at, bytes) = wire_fuzz::cuts(rest);
    let (out, one) = run(dialect, false, bytes, &at);
    assert_eq!(out, bytes);
    let (out, other) = run(dialect, false, bytes, &[0, bytes.len()]);
    assert_eq!(out, bytes);
    assert_eq!(one.seen(), other.seen());
    // Only whole frames may be taken out.
    let (out, _) = run(dialect, true, bytes, &at);
    assert_eq!(out, run(dialect, true, bytes, &[0, bytes.len()]).0);
});
