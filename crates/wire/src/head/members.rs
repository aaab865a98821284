//! The members of a body by their names.

use std::borrow::Cow;

use memchr::{memchr_iter, memmem};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

/// The members of an object in their order, values unread.
pub(super) struct Ordered<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Ordered<'de> {
    fn deserialize<D: de::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> de::Visitor<'de> for Visit {
            type Value = Ordered<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((member.0.0, member.1));
                }
                Ok(Ordered(members))
            }
        }
        reader.deserialize_map(Visit)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A member whose name is `model` but for the case of its letters. Servers in Go (`encoding/json`) take it for the model, and of two the last one,
/// which nobody here has looked up.
pub(super) fn twin_of_model(body: &str) -> Option<String> {
    let bytes = body.as_bytes();
    let is_twin = |name: &str| name != "model" && name.eq_ignore_ascii_case("model");
    // Nearly no body has the word in other letters, or letters that are written by their numbers.
    let looks_so = |at: usize| body.get(at + 1..at + 6).is_some_and(is_twin);
    let is_spelt = |at: usize| matches!(bytes.get(at + 4), Some(b'4' | b'6'));
    if !memchr_iter(b'"', bytes).any(looks_so) && !memmem::find_iter(bytes, br"\u00").any(is_spelt) {
        return None;
    }
    let Ordered(members) = serde_json::from_str(body).ok()?;
    members.into_iter().map(|(name, _)| name).find(|name| is_twin(name)).map(Cow::into_owned)
}
