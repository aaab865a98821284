//! What makes two requests equal: SHA-256 over what they mean, whoever may see the answer first of all.
//!
//! The order of members, white space and escapes mean nothing; the order of lists does. Members that only say how an answer is
//! delivered, or for whom, are left out.

use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

/// Top-level members of a body that do not change what is answered.
const MEANINGLESS: [&str; 10] = [
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "cache",
    "timeout_ms",
];
/// Members whose answers come from outside of the model, or have effects there.
const TOOLS: [&str; 4] = ["tools", "functions", "web_search_options", "plugins"];
/// Integers from here on are read as floating point: two could look the same.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a request is remembered by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// Who may see an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tenant([u8; 32]);

impl Tenant {
    /// Everybody together.
    pub const EVERYBODY: Self = Self([0; 32]);

    /// A caller: the id of its key, and credentials where something else than the key tells callers apart.
    pub fn of<'a>(key_id: Option<&str>, credentials: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sum = Sum::new("tenant");
        sum.field(&[u8::from(key_id.is_some())]);
        sum.field(key_id.unwrap_or_default().as_bytes());
        for credential in credentials {
            sum.field(credential.as_bytes());
        }
        Self(sum.end())
    }
}

impl Key {
    /// The key of these parts, in this order.
    pub(crate) fn of<'a>(kind: &str, tenant: &Tenant, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sum = Sum::new(kind);
        sum.field(&tenant.0);
        for part in parts {
            sum.field(part);
        }
        Self(sum.end())
    }

    /// Which of so many parts it belongs to.
    pub(crate) fn shard(&self, shards: usize) -> usize {
        usize::from(self.0[0]) % shards
    }

    #[cfg(test)]
    pub(crate) fn of_number(n: u8) -> Self {
        Self::of("test", &Tenant::EVERYBODY, [&[n][..]])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// A sum over fields that cannot run into each other.
pub(crate) struct Sum(Sha256);

impl Sum {
    pub(crate) fn new(kind: &str) -> Self {
        let mut sum = Self(Sha256::new());
        sum.field(kind.as_bytes());
        sum
    }

    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// What a body means, and what speaks against remembering its answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) sum: [u8; 32],
    /// Its answer may come from outside of the model.
    pub(crate) has_tools: bool,
    /// Whether the provider is to keep the answer, if it says so.
    pub(crate) store: Option<bool>,
    /// It goes on from an answer that a provider has kept.
    pub(crate) goes_on: bool,
    /// Its answer depends on what was said before, or is not there at once.
    pub(crate) is_moving: bool,
}

impl Meaning {
    /// Reads a body; `None` for one that cannot be compared.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        reader.deserialize_map(Members).ok()
    }
}

/// The top-level members.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Meaning;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meaning, A::Error> {
        let mut meaning = Meaning::default();
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let name = &*name;
            if MEANINGLESS.contains(&name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let mut sum = Sum::new(name);
            let said = map.next_value_seed(Summed(&mut sum))?;
            members.push(sum.end());
            meaning.has_tools |= TOOLS.contains(&name) && said != Said::Nothing;
            meaning.goes_on |= name == "previous_response_id" && said != Said::Nothing;
            meaning.is_moving |= matches!((name, said), ("background", Said::Yes)) || (name == "conversation" && said != Said::Nothing);
            if name == "store" && said != Said::Nothing {
                meaning.store = Some(said == Said::Yes);
            }
        }
        let mut sum = Sum::new("body");
        members.sort_unstable();
        for member in &members {
            sum.field(member);
        }
        meaning.sum = sum.end();
        Ok(meaning)
    }
}

/// What a value says, as far as it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Null, or an empty list.
    Nothing,
    No,
    Yes,
    Something,
}

/// Adds a value to a sum.
struct Summed<'a>(&'a mut Sum);

impl<'de> DeserializeSeed<'de> for Summed<'_> {
    type Value = Said;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Said, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Summed<'_> {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Said, E> {
        self.0.field(b"n");
        Ok(Said::Nothing)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Said, E> {
        self.0.field(if value { b"t" } else { b"f" });
        Ok(if value { Said::Yes } else { Said::No })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Said, E> {
        self.0.field(b"u");
        self.0.field(&value.to_le_bytes());
        Ok(Said::Something)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Said, E> {
        self.0.field(b"i");
        self.0.field(&value.to_le_bytes());
        Ok(Said::Something)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Said, E> {
        if value.abs() >= EXACT_MAX {
            return Err(E::custom("a number that is not exact"));
        }
        self.0.field(b"d");
        self.0.field(&value.to_bits().to_le_bytes());
        Ok(Said::Something)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Said, E> {
        self.0.field(b"s");
        self.0.field(value.as_bytes());
        Ok(Said::Something)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Said, A::Error> {
        self.0.field(b"[");
        let mut is_empty = true;
        while list.next_element_seed(Summed(self.0))?.is_some() {
            is_empty = false;
        }
        self.0.field(b"]");
        Ok(if is_empty { Said::Nothing } else { Said::Something })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let mut sum = Sum::new(&name);
            map.next_value_seed(Summed(&mut sum))?;
            members.push(sum.end());
        }
        members.sort_unstable();
        self.0.field(b"{");
        for member in &members {
            self.0.field(member);
        }
        self.0.field(b"}");
        Ok(Said::Something)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn sum(body: &str) -> [u8; 32] {
        Meaning::of(body.as_bytes()).unwrap().sum
    }

    #[test]
    fn form_means_nothing_and_content_everything() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hé"},{"role":"a","content":"b"}],"temperature":0.5}"#;
        let same = r#" { "temperature" : 5e-1, "stream":true, "user":"u", "metadata":{"a":1}, "cache":{"ttl":1},
            "messages":[{"content":"h\u00e9","role":"user"},{"role":"a","content":"b"}],"model":"m","stream_options":{}} "#;
        assert_eq!(sum(body), sum(same));
        let others = [
            body.replace("0.5", "0.25"),
            body.replace("\"m\"", "\"n\""),
            body.replace(r#"{"role":"user","content":"hé"},"#, ""),
            body.replace(
                r#"{"role":"user","content":"hé"},{"role":"a","content":"b"}"#,
                r#"{"role":"a","content":"b"},{"role":"user","content":"hé"}"#,
            ),
            body.replace(r#""content":"b""#, r#""content":["b"]"#),
            body.replace("}]", "},{}]"),
            body.replace(r#""role":"a","#, ""),
            body.replace("0.5", "null"),
        ];
        for other in others {
            assert_ne!(sum(body), sum(&other), "{other}");
        }
        // Lists and texts do not run into each other.
        assert_ne!(sum(r#"{"input":["a","b"]}"#), sum(r#"{"input":["ab"]}"#));
        assert_ne!(sum(r#"{"input":[["a"],"b"]}"#), sum(r#"{"input":[["a","b"]]}"#));
        assert_ne!(sum(r#"{"input":"1"}"#), sum(r#"{"input":1}"#));
    }

    #[test]
    fn what_speaks_against_remembering_is_seen() {
        let of = |body: Value| Meaning { sum: [0; 32], ..Meaning::of(body.to_string().as_bytes()).unwrap() };
        assert_eq!(of(json!({"tools": [], "functions": null, "store": null})), Meaning::default());
        assert!(of(json!({"tools": [{}]})).has_tools && of(json!({"web_search_options": {}})).has_tools);
        assert_eq!((of(json!({"store": true})).store, of(json!({"store": false})).store), (Some(true), Some(false)));
        assert!(of(json!({"previous_response_id": "r"})).goes_on);
        assert!(of(json!({"conversation": "c"})).is_moving && of(json!({"background": true})).is_moving);
        assert!(!of(json!({"background": false})).is_moving);
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        for body in ["", "[]", "{", r#"{"seed":18446744073709551617}"#, r#"{"x":1e300}"#] {
            assert_eq!(Meaning::of(body.as_bytes()), None, "{body}");
        }
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Meaning::of(deep.as_bytes()), None);
    }

    #[test]
    fn callers_are_apart() {
        let of = |id: Option<&str>, shown: &[&str]| Tenant::of(id, shown.iter().copied()).0;
        let all = [
            of(None, &[]),
            of(Some(""), &[]),
            of(Some("a"), &[]),
            of(Some("b"), &[]),
            of(None, &["a"]),
            of(None, &["a", "b"]),
            of(None, &["ab"]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-d]{1,2}", inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn reversed(value: &Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(map.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect()),
            Value::Array(list) => list.iter().map(reversed).collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn equal_values_have_equal_sums_and_others_have_not(a in any_json(), b in any_json()) {
            let body = |value: &Value| json!({"messages": value}).to_string();
            prop_assert_eq!(sum(&body(&a)), sum(&body(&reversed(&a))));
            prop_assert_eq!(sum(&body(&a)) == sum(&body(&b)), a == b);
        }
    }
}
