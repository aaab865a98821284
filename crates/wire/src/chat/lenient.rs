//! What servers write where OpenAI writes something else: an answer that was paid for is not thrown away for it.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer},
};
use serde_json::{Map, Number, Value};

use super::types::{CompletionDetails, Message, PromptDetails, Usage};

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

/// Token counts, where they say how much went in and how much came out. `None` where they do not: what was used is not known then, which is not
/// nothing.
pub(crate) fn usage<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Usage>, D::Error> {
    Ok(object::<Counted, D>(from)?.and_then(Counted::usage))
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "object")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default, deserialize_with = "object")]
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's own word for what its cache covered (API reference, `usage`).
    #[serde(default, deserialize_with = "count")]
    prompt_cache_hit_tokens: Option<u64>,
}

impl Counted {
    fn usage(self) -> Option<Usage> {
        let of_total = |other: u64| self.total_tokens.map(|total| total.saturating_sub(other));
        let prompt_tokens = self.prompt_tokens.or_else(|| of_total(self.completion_tokens?))?;
        let completion_tokens = self.completion_tokens.or_else(|| of_total(prompt_tokens)).unwrap_or(0);
        let mut prompt_tokens_details = self.prompt_tokens_details;
        if let Some(hit) = self.prompt_cache_hit_tokens {
            prompt_tokens_details.get_or_insert_default().cached_tokens.get_or_insert(hit);
        }
        Some(Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: self.total_tokens.unwrap_or_else(|| prompt_tokens.saturating_add(completion_tokens)),
            prompt_tokens_details,
            completion_tokens_details: self.completion_tokens_details,
        })
    }
}

/// Visits that find nothing that is wanted.
macro_rules! nothing {
    ($($visit:ident $(($kind:ty))?),*) => {
        $(fn $visit<E: Error>(self $(, _: $kind)?) -> Result<Self::Value, E> {
            Ok(None)
        })*
    };
}

/// A count, also as a number with a fraction of nothing or as text; anything else says nothing.
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    struct Count;

    impl<'de> Visitor<'de> for Count {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a count")
        }

        fn visit_u64<E: Error>(self, count: u64) -> Result<Self::Value, E> {
            Ok(Some(count))
        }

        fn visit_f64<E: Error>(self, count: f64) -> Result<Self::Value, E> {
            // Beyond these neighbours are no longer told apart.
            Ok((count.fract() == 0.0 && (0.0..9e15).contains(&count)).then_some(count as u64))
        }

        fn visit_str<E: Error>(self, count: &str) -> Result<Self::Value, E> {
            Ok(count.parse().ok())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_seq(list).map(|_| None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_map(map).map(|_| None)
        }

        nothing!(visit_bool(bool), visit_i64(i64), visit_unit);
    }

    from.deserialize_any(Count)
}

/// An object; anything else says nothing.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_seq(list).map(|_| None)
        }

        nothing!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str), visit_unit);
    }

    from.deserialize_any(Object(PhantomData))
}
