//! Names of functions and ids of calls: what Gemini takes, and ids for the calls that it leaves without.

use std::{collections::HashSet, fmt::Write};

/// Longest name of a function (Gemini API reference, `FunctionDeclaration.name`).
const NAME_CHARS_MAX: usize = 128;
/// Begins an escaped name. Names that begin with it by chance are escaped too, so that each escaped name has one meaning.
const ESCAPED: &str = "x__";

/// The name under which a function is declared to Gemini, and whether it had to be cut at [`NAME_CHARS_MAX`]: it does not come back then.
pub(super) fn write_name(name: &str) -> (String, bool) {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let legal = begins && chars.all(is_legal) && name.len() <= NAME_CHARS_MAX;
    if legal && !name.starts_with(ESCAPED) {
        return (name.to_owned(), false);
    }
    let mut out = ESCAPED.to_owned();
    for byte in name.bytes() {
        if byte != b':' && is_legal(char::from(byte)) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, ":{byte:02x}");
        }
    }
    let is_cut = out.len() > NAME_CHARS_MAX;
    out.truncate(NAME_CHARS_MAX);
    (out, is_cut)
}

/// Whether a name is too long to come back.
pub(crate) fn is_cut(name: &str) -> bool {
    write_name(name).1
}

/// The name that [`write_name`] was given.
pub(super) fn read_name(name: String) -> String {
    let Some(escaped) = name.strip_prefix(ESCAPED) else { return name };
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b':' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { return name };
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap_or(name)
}

fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')
}

/// Whether an id is one that we made; Gemini need not see it.
pub(super) fn is_made_up(id: &str) -> bool {
    let Some(rest) = id.strip_prefix("call_") else { return id.is_empty() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && matches!(rest.as_bytes().get(digits), None | Some(b'_'))
}

/// Gives ids to the calls of a conversation and finds the call that a result answers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    taken: HashSet<String>,
    next: u32,
    /// Calls without a result so far, in order.
    open: Vec<(String, String)>,
}

impl Calls {
    /// `taken`: ids that stand in the conversation.
    pub(super) fn new(taken: HashSet<String>) -> Self {
        Self { taken, ..Self::default() }
    }

    /// A new round of calls: what was not answered stays so.
    pub(super) fn new_turn(&mut self) {
        self.open.clear();
    }

    /// The id of a call.
    pub(super) fn call(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.make_up());
        self.open.push((id.clone(), name.to_owned()));
        id
    }

    /// The id of the call that a result answers: by its id, else the first one of that name, else one of its own.
    pub(super) fn result(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty());
        let by_id = id.as_ref().and_then(|id| self.open.iter().position(|(open, _)| open == id));
        let at = by_id.or_else(|| self.open.iter().position(|(_, open)| open == name));
        let found = at.map(|at| self.open.remove(at).0);
        id.or(found).unwrap_or_else(|| self.make_up())
    }

    fn make_up(&mut self) -> String {
        loop {
            let id = format!("call_{}", self.next);
            self.next += 1;
            if self.taken.insert(id.clone()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::answer_call_id;

    proptest! {
        #[test]
        fn names_come_back(name in "[ -~é日]{1,12}") {
            let (written, is_cut) = write_name(&name);
            prop_assert!(written.len() <= NAME_CHARS_MAX && written.chars().all(is_legal));
            prop_assert!(!written.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '_'));
            prop_assert!(!is_cut);
            prop_assert_eq!(read_name(written), name);
        }

        #[test]
        fn reading_a_name_never_panics(name in "(x__)?[:0-9a-zé]{0,12}") {
            read_name(name);
        }
    }

    #[test]
    fn results_find_their_calls_by_id_name_and_order() {
        let mut calls = Calls::new(HashSet::from(["call_0".to_owned()]));
        assert_eq!(calls.call(None, "a"), "call_1");
        assert_eq!(calls.call(Some("call_0".to_owned()), "b"), "call_0");
        assert_eq!(calls.call(None, "a"), "call_2");
        assert_eq!(calls.result(None, "b"), "call_0");
        assert_eq!(calls.result(None, "a"), "call_1");
        assert_eq!(calls.result(None, "a"), "call_2");
        assert_eq!(calls.result(None, "a"), "call_3", "no call is left");
    }

    #[test]
    fn made_up_ids_are_known_again() {
        for id in ["", "call_0", "call_12", &answer_call_id("r/é-9", 3)] {
            assert!(is_made_up(id), "{id}");
        }
        for id in ["call_", "call_9fXa", "toolu_1", "call_x_1"] {
            assert!(!is_made_up(id), "{id}");
        }
    }
}
