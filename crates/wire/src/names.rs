//! Ids and names in the alphabet `[A-Za-z0-9_-]` that Messages and both dialects of OpenAI's demand, and back.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
};

/// Begins every escaped text. Behind it each byte outside of `[A-Za-z0-9-]` stands as `_` and two hex digits.
const MARK: &str = "esc_";

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// The text in the alphabet; one that is in it already stays as it is.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let is_legal = !text.is_empty() && text.bytes().all(|b| is_plain(b) || b == b'_');
    if is_legal && !text.starts_with(MARK) {
        return Cow::Borrowed(text);
    }
    let mut out = MARK.to_owned();
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(byte.into());
        } else {
            out.push('_');
            out.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
        }
    }
    Cow::Owned(out)
}

/// Undoes [`escape`]; what it has not made stays as it is.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    decoded(text).filter(|original| escape(original) == text).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn decoded(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix(MARK)?.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'_' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    String::from_utf8(out).ok()
}

/// What [`tagged`] puts behind a beginning.
pub(crate) const TAG_BYTES: usize = 1 + 16;

/// A beginning of `whole`, and a hash of the whole that keeps it apart from others.
pub(crate) fn tagged(beginning: &str, whole: &str) -> String {
    // FNV-1a: short, without a dependency, the same everywhere.
    let hash = whole.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{beginning}_{hash:016x}")
}

/// A name of at most `chars_max` signs that every dialect takes as it is, told apart from others by its tag.
pub(crate) fn short(name: &str, chars_max: usize) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut out: String = name.chars().map(legal).take(chars_max.saturating_sub(TAG_BYTES)).collect();
    // Nothing that looks as if it were escaped, and Gemini wants a letter first.
    if !out.starts_with(|c: char| c.is_ascii_alphabetic()) || out.starts_with(MARK) || out.starts_with("x__") {
        out.replace_range(..1.min(out.len()), "n");
    }
    tagged(&out, name)
}

/// Gives every call of a conversation an id of its own, as the dialect demands, and every result the id of its call.
#[derive(Debug, Default)]
pub(crate) struct CallIds {
    used: HashSet<String>,
    /// Id → how often it was asked for, so that many repetitions cost no search each.
    asked: HashMap<String, usize>,
    /// Original id → ids of its calls that have no result yet, oldest first.
    open: HashMap<String, VecDeque<String>>,
}

impl CallIds {
    /// The id of a call on the wire.
    pub(crate) fn call(&mut self, id: &str) -> String {
        let asked = self.asked.entry(id.to_owned()).or_default();
        let mut chosen = escape(id).into_owned();
        while !self.used.insert(chosen.clone()) {
            *asked += 1;
            chosen = escape(&format!("{id}-{}", *asked + 1)).into_owned();
        }
        self.open.entry(id.to_owned()).or_default().push_back(chosen.clone());
        chosen
    }

    /// The id of the call that a result answers; a result without a call keeps its own.
    pub(crate) fn result(&mut self, id: &str) -> String {
        self.open.get_mut(id).and_then(VecDeque::pop_front).unwrap_or_else(|| escape(id).into_owned())
    }
}

/// Longest part of a response's id that goes into the ids of its calls.
const RESPONSE_ID_CHARS_MAX: usize = 40;

/// The id of an answer's call that came without one: the same for the same answer, another in each answer of a conversation.
pub(crate) fn answer_call_id(response_id: &str, index: u32) -> String {
    let kept: String = response_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(RESPONSE_ID_CHARS_MAX).collect();
    if kept.is_empty() { format!("call_{index}") } else { format!("call_{index}_{kept}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_ids_stay_as_they_are() {
        for id in ["toolu_01A-b", "call_0", "functions-x"] {
            assert_eq!(escape(id), id);
            assert_eq!(unescape(id), id);
        }
        assert_eq!(escape("functions.get:0"), "esc_functions_2eget_3a0");
        assert_eq!(unescape("esc_abc"), "esc_abc", "nothing that was escaped");
    }

    #[test]
    fn repeated_ids_are_told_apart_in_order() {
        let mut ids = CallIds::default();
        assert_eq!([ids.call("call_0"), ids.result("call_0")], ["call_0", "call_0"]);
        assert_eq!([ids.call("call_0"), ids.call("call_0")], ["call_0-2", "call_0-3"]);
        assert_eq!([ids.result("call_0"), ids.result("call_0"), ids.result("nobody's")], ["call_0-2", "call_0-3", "esc_nobody_27s"]);
    }

    proptest! {
        #[test]
        fn escaping_is_legal_and_reversible(text in prop_oneof![".{0,12}", "(esc_)?[a-z_0-9]{0,8}"]) {
            let wire = escape(&text).into_owned();
            prop_assert!(!wire.is_empty() && wire.bytes().all(|b| is_plain(b) || b == b'_'));
            prop_assert_eq!(unescape(&wire), text);
        }
    }
}
