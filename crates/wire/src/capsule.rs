//! A provider's state in the luggage of a client of another dialect.
//!
//! Signatures and encrypted reasoning mean something only where they were made. On their way to a client of another dialect they are
//! put, with the name of that place, into the field that the client gives back untouched. On the way back they are taken out again:
//! at the same place they are what they were, anywhere else they are known as foreign and dropped whole.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::ir::State;

/// Begins every capsule; twelve bytes, so that base64 always writes them in the same way.
const MARK: &[u8; 12] = b"llmrouter-1:";
/// [`MARK`] as it stands in bodies.
const MARK_TEXT: &str = "bGxtcm91dGVyLTE6";
/// Longest capsule that is opened.
const BYTES_MAX: usize = 8 << 20;

/// What is inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capsule {
    /// Where the state was made.
    #[serde(rename = "o")]
    pub origin: String,
    /// `None` for thoughts that came without one, so that they too are known as foreign.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

impl Capsule {
    /// Writes it as text that every dialect takes for a signature: standard base64.
    pub fn seal(&self) -> String {
        let mut bytes = MARK.to_vec();
        // Strings and a unit enum: nothing that JSON cannot say.
        let _ = serde_json::to_writer(&mut bytes, self);
        STANDARD.encode(bytes)
    }

    /// Reads one; `None` for any other text.
    pub fn open(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX || !text.starts_with(MARK_TEXT) {
            return None;
        }
        let bytes = STANDARD.decode(text).ok()?;
        serde_json::from_slice(bytes.strip_prefix(MARK)?).ok()
    }

    /// The capsule that a state is in, if it is one.
    pub fn of(state: &State) -> Option<Self> {
        [&state.signature, &state.encrypted].into_iter().flatten().find_map(|text| Self::open(text))
    }
}

/// Whether a body may hold a capsule.
pub fn may_hold(body: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK_TEXT));
    FINDER.find(body).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ir::Family;

    #[test]
    fn the_mark_is_what_bodies_show() {
        assert_eq!(STANDARD.encode(MARK), MARK_TEXT);
        assert_eq!(Capsule::open(MARK_TEXT), None, "a mark alone is no capsule");
        assert_eq!(Capsule::open("EqQBCgIYAhIM"), None);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(origin in ".{0,20}", id: Option<String>, signature: Option<String>, encrypted: Option<String>, has_state: bool) {
            let state = State { family: Family::Gemini, id, signature, encrypted };
            let capsule = Capsule { origin, state: has_state.then_some(state) };
            let text = capsule.seal();
            let body = format!("{{\"signature\":\"{text}\"}}");
            prop_assert!(may_hold(body.as_bytes()));
            prop_assert_eq!(Capsule::open(&text), Some(capsule));
        }

        #[test]
        fn any_text_is_survived(text in "(bGxtcm91dGVyLTE6)?[A-Za-z0-9+/=]{0,40}") {
            Capsule::open(&text);
        }
    }
}
