//! The head of a body: what is rewritten says the same but for the edits.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, value::RawValue};
use wire::head::{Edits, Head};

const CONTROLS: [&str; 6] = ["models", "provider", "route", "cache", "timeout_ms", "guardrails"];

/// Members as they stand, values unread: numbers beyond all bounds stay what they are.
fn members(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let all: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes).ok()?;
    Some(all.into_iter().map(|(k, v)| (k, v.get().to_owned())).collect())
}

fuzz_target!(|data: &[u8]| {
    let (Some(&first), rest) = (data.first(), data.get(1..).unwrap_or_default()) else { return };
    let body = Bytes::copy_from_slice(rest);
    let Ok(head) = Head::scan(&body) else { return };
    assert_eq!(head.rewrite(&body, Edits::default()).is_empty(), body.is_empty());
    let edits = Edits { model: (first & 1 == 1).then_some("up/\"1"), include_usage: first & 2 == 2 };
    let out = head.rewrite(&body, edits);
    let (Some(before), Some(after)) = (members(&body), members(&out)) else {
        panic!("no JSON any more: {:?}", String::from_utf8_lossy(&out));
    };
    let is_edited = |key: &str| key == "model" || key == "stream_options" || CONTROLS.contains(&key);
    let kept = |all: &[(String, String)]| all.iter().filter(|(k, _)| !is_edited(k)).cloned().collect::<Vec<_>>();
    assert_eq!(kept(&after), kept(&before));
    let value: Map<String, Value> = match serde_json::from_slice(&out) {
        Ok(value) => value,
        // A number that fits nowhere.
        Err(_) => return,
    };
    if edits.model.is_some() {
        assert_eq!(value.get("model").and_then(Value::as_str), edits.model);
    }
    if edits.include_usage {
        assert_eq!(value["stream_options"]["include_usage"], true);
    }
});
