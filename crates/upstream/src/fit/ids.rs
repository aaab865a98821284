//! Ids of tool calls in the form that a provider accepts.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Fitted, same};
use crate::catalog::CallIds;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NINE: usize = 9;

/// Gives every id of calls and results that is not accepted another one, the same for the same, in every request of a conversation.
pub(super) fn fit(accepted: CallIds, messages: &mut [Value], done: &mut Vec<Fitted>) {
    if accepted == CallIds::Any {
        return;
    }
    let is_fine = |id: &str| id.len() == NINE && id.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut given: HashMap<String, String> = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    for (at, message) in messages.iter_mut().enumerate() {
        let mut change = |id: &mut Value, path: String| {
            let Some(old) = id.as_str().filter(|old| !is_fine(old)).map(str::to_owned) else { return };
            let new = given.entry(old.clone()).or_insert_with(|| {
                // One of so many is free: there are fewer ids than tries.
                let tries = 0..=taken.len() as u64;
                let free = tries.map(|salt| nine(&old, salt)).find(|new| !taken.contains(new));
                let new = free.unwrap_or_default();
                taken.insert(new.clone());
                new
            });
            *id = new.as_str().into();
            done.push(same(path));
        };
        if let Some(id) = message.get_mut("tool_call_id") {
            change(id, format!("messages[{at}].tool_call_id"));
        }
        for (call_at, call) in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            if let Some(id) = call.get_mut("id") {
                change(id, format!("messages[{at}].tool_calls[{call_at}].id"));
            }
        }
    }
}

/// Nine letters and digits out of an id (FNV-1a, since only sameness matters).
fn nine(id: &str, salt: u64) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ salt;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (0..NINE)
        .map(|_| {
            let letter = ALPHABET[(hash % 62) as usize];
            hash /= 62;
            char::from(letter)
        })
        .collect()
}
