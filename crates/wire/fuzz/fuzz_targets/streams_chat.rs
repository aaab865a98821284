//! A stream of Chat: the same however it is cut, legal, and legal for every client.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire_fuzz::stream(wire::Dialect::Chat, data));
