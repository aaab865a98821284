//! What a file says, before anybody asked what it means: a tree of values that know their lines.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::secret::{MASK, mask_keys, mask_url};

/// A value with its line in the file, 0 where there is no file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
    /// Where the text of a number stands in the source, in bytes, until [`Node::restore_numbers`] has looked there.
    source: Option<Range<usize>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number as it is printed, so that no digit is lost.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: u64,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) const NOTHING: Self = Self { line: 0, value: Value::Null, source: None };

    /// The value of `key` if this is a map that has it with a value; a null counts as not written.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.node).filter(|n| !n.is_null())
    }

    /// The value at a dotted path.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.get(key))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The entries of a map; none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; a single value counts as a list of one, nothing as none.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// The text of a single value, `None` for lists, maps and null.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(b) => Some(b.to_string()),
            Value::Number(n) => Some(n.clone()),
            Value::Text(t) => Some(t.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value in a few words, for messages.
    pub(crate) fn brief(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Null => "nothing".to_owned(),
            _ => shorten(&self.scalar().unwrap_or_default()),
        }
    }

    /// The same as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(n) => serde_json::from_str(n).unwrap_or_else(|_| Json::String(n.clone())),
            Value::Text(t) => Json::String(t.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect(),
        }
    }

    /// The tree of a JSON value, on no line.
    pub(crate) fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => Value::Number(n.to_string()),
            Json::String(t) => Value::Text(t.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => {
                Value::Map(map.iter().map(|(key, value)| Entry { key: key.clone(), line: 0, node: Self::from_json(value) }).collect())
            }
        };
        Self { line: 0, value, source: None }
    }

    /// A text on no line.
    pub(crate) fn text(text: &str) -> Self {
        Self { line: 0, value: Value::Text(text.to_owned()), source: None }
    }

    /// Gives numbers the text that was written for them: `1.10` may be a model's name, and `0123` a key.
    pub(crate) fn restore_numbers(&mut self, text: &str) {
        let source = self.source.take();
        match &mut self.value {
            Value::Number(number) => {
                let same = |w: &&str| number.parse::<f64>().is_ok_and(|n| w.parse::<f64>().is_ok_and(|m| n.total_cmp(&m).is_eq()));
                let written = source.and_then(|range| text.get(range)).filter(same);
                if let Some(written) = written {
                    written.clone_into(number);
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.restore_numbers(text)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| entry.node.restore_numbers(text)),
            Value::Null | Value::Bool(_) | Value::Text(_) => {}
        }
    }

    /// Every single value below, with its path beneath `path`; what stands under a name that sounds secret is masked.
    pub(crate) fn flatten(&self, path: &str, out: &mut Vec<(String, String, u64)>) {
        match &self.value {
            Value::List(items) => items.iter().enumerate().for_each(|(i, item)| item.flatten(&format!("{path}[{i}]"), out)),
            Value::Map(entries) => {
                for entry in entries {
                    let below = format!("{path}.{}", entry.key);
                    if sounds_secret(&entry.key) && !entry.node.is_null() {
                        out.push((below, MASK.to_owned(), entry.line));
                    } else {
                        entry.node.flatten(&below, out);
                    }
                }
            }
            Value::Null => {}
            _ => out.push((path.to_owned(), mask_url(&self.scalar().unwrap_or_default()), self.line)),
        }
    }
}

/// Whether what stands under `key` may be a credential. `api_key_env` names a variable and is none; `max_tokens` counts.
pub fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let ends = ["key", "keys", "secret", "token", "password", "credential", "credentials", "authorization"];
    ends.iter().any(|end| key.ends_with(end))
        || matches!(key.as_str(), "headers" | "extra_headers" | "static_headers" | "environment_variables")
}

/// Whether a key was written where the name of its variable belongs: `api_key_env: sk-…`.
pub fn is_key_itself(member: &str, value: &str) -> bool {
    member.strip_suffix("_env").is_some_and(sounds_secret) && mask_keys(value) != value
}

/// A value short enough for one line of a message.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX).collect();
    if text.chars().count() > CHARS_MAX { format!("{line}…") } else { line }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_u128<E>(self, v: u128) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            items.push(node(item));
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Value>>()?;
            entries.push(Entry { line: key.referenced.line(), key: key.value, node: node(value) });
        }
        Ok(Value::Map(entries))
    }
}

fn node(spanned: Spanned<Value>) -> Node {
    let span = spanned.defined.span();
    let byte = |at: Option<u64>| usize::try_from(at?).ok();
    let source = byte(span.byte_offset()).and_then(|start| Some(start..start.checked_add(byte(span.byte_len())?)?));
    let source = source.filter(|_| matches!(spanned.value, Value::Number(_)));
    Node { line: spanned.referenced.line(), value: spanned.value, source }
}

/// The tree of a document that [`Spanned`] read from `text`.
pub(crate) fn root(document: Option<Spanned<Value>>, text: &str) -> Node {
    let mut root = document.map_or(Node::NOTHING, node);
    root.restore_numbers(text);
    root
}
