//! What servers write where OpenAI writes something else: an answer that was paid for is not thrown away for it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer},
};
use serde_json::{Map, Number, Value};

use super::types::Message;

/// `null` where there is nothing to say.
pub(super) fn null_as_nothing<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// Unix seconds, also with a fraction.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let said: Option<Number> = Option::deserialize(from)?;
    // A cast of a float cuts its fraction, and stops at the ends.
    Ok(said.and_then(|n| n.as_i64().or_else(|| n.as_f64().map(|seconds| seconds as i64))).unwrap_or_default())
}

/// An answer's message, which needs no role to be known as the assistant's.
pub(super) fn answer<'de, D: Deserializer<'de>>(from: D) -> Result<Message, D::Error> {
    let mut message: Map<String, Value> = Map::deserialize(from)?;
    let role = message.entry("role").or_insert(Value::Null);
    if role.is_null() {
        *role = "assistant".into();
    }
    Message::deserialize(Value::Object(message)).map_err(Error::custom)
}

/// JSON as text, or as itself.
pub(super) fn json_as_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    struct Arguments;

    impl<'de> Visitor<'de> for Arguments {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON as text, or a JSON object")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
            Ok(Some(text))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Value::deserialize(MapAccessDeserializer::new(map)).map(|object| Some(object.to_string()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Value::deserialize(SeqAccessDeserializer::new(list)).map(|list| Some(list.to_string()))
        }
    }

    from.deserialize_any(Arguments)
}
