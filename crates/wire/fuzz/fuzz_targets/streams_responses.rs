//! A stream of Responses: the same however it is cut, legal, and legal for every client.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wire_fuzz::stream(wire::Dialect::Responses, data));
