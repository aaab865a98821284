//! A remembered answer, and its form on a shared Redis.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::{ir::Usage, losses::Losses};

/// What an answer costs besides its texts: the entry, its key, the counts of the memory.
const ANSWER_BYTES: usize = 512;
/// Bytes before the head on Redis: its length.
const LENGTH_BYTES: usize = 4;

/// Who made an answer, and for which request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The request that it was made for.
    pub request_id: String,
    pub target: String,
    pub provider: String,
    pub node: Option<String>,
    /// The model's name there.
    pub model: String,
    pub usage: Option<Usage>,
    /// What translations could not carry.
    pub losses: Losses,
    /// It was given with its `router{…}`, since several targets could have made it.
    pub is_explained: bool,
}

/// A whole answer in its caller's dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub made: Made,
    pub body: Bytes,
    /// Unix milliseconds.
    pub(crate) stored_at_ms: i64,
    pub(crate) expires_at_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    content_type: Option<String>,
    made: Made,
    stored_at_ms: i64,
    expires_at_ms: i64,
}

impl Answer {
    /// An answer that is not kept yet. Its bytes are copied: those that came may be a part of a larger buffer.
    pub fn new(status: u16, content_type: Option<String>, made: Made, body: &[u8]) -> Self {
        Self { status, content_type, made, body: Bytes::copy_from_slice(body), stored_at_ms: 0, expires_at_ms: 0 }
    }

    /// How old it is; a clock that is behind another router's makes it new.
    pub fn age(&self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(now_ms.saturating_sub(self.stored_at_ms)).unwrap_or(0))
    }

    /// The bytes that it takes.
    pub fn weight(&self) -> usize {
        let made = &self.made;
        let lists = [&made.losses.dropped, &made.losses.changed];
        let losses: usize = lists.into_iter().flatten().map(|path| path.len() + size_of::<String>()).sum();
        let texts = [&made.request_id, &made.target, &made.provider, &made.model].map(String::len).iter().sum::<usize>();
        let optional = made.node.as_ref().map_or(0, String::len) + self.content_type.as_ref().map_or(0, String::len);
        ANSWER_BYTES + self.body.len() + losses + texts + optional
    }

    /// The answer as it is kept from `now_ms` on for `ttl`.
    pub(crate) fn kept(mut self, now_ms: i64, ttl: Duration) -> Self {
        self.stored_at_ms = now_ms;
        self.expires_at_ms = now_ms.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        self
    }

    /// Whether it may be given at `now_ms` to someone who takes none older than `age_max`.
    pub(crate) fn is_fresh(&self, now_ms: i64, age_max: Duration) -> bool {
        now_ms < self.expires_at_ms && self.age(now_ms) < age_max
    }

    /// Its bytes on Redis: the length of the head, the head as JSON, the body.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            status: self.status,
            content_type: self.content_type.clone(),
            made: self.made.clone(),
            stored_at_ms: self.stored_at_ms,
            expires_at_ms: self.expires_at_ms,
        };
        let head = serde_json::to_vec(&head).unwrap_or_default();
        let mut out = Vec::with_capacity(LENGTH_BYTES + head.len() + self.body.len());
        out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.body);
        out
    }

    /// What [`Self::to_bytes`] wrote; `None` for anything else, as a later version's.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Bytes::from(bytes);
        let length = u32::from_le_bytes(bytes.get(..LENGTH_BYTES)?.try_into().ok()?);
        let body_at = LENGTH_BYTES.checked_add(usize::try_from(length).ok()?)?;
        let head: Head = serde_json::from_slice(bytes.get(LENGTH_BYTES..body_at)?).ok()?;
        let Head { status, content_type, made, stored_at_ms, expires_at_ms } = head;
        Some(Self { status, content_type, made, body: bytes.slice(body_at..), stored_at_ms, expires_at_ms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_fresh_for_as_long_as_it_and_its_reader_say() {
        let answer = Answer::new(200, None, Made::default(), b"{}").kept(1000, Duration::from_secs(2));
        let hour = Duration::from_hours(1);
        assert_eq!([999, 1000, 2999, 3000].map(|now| answer.is_fresh(now, hour)), [true, true, true, false]);
        let second = Duration::from_secs(1);
        assert_eq!([1999, 2000].map(|now| answer.is_fresh(now, second)), [true, false]);
        assert_eq!(answer.age(5), Duration::ZERO, "another router's clock is ahead");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bytes_make_the_same_answer(body: Vec<u8>, request_id: String, node: Option<String>, dropped: Vec<String>) {
            let losses = Losses { dropped, changed: Vec::new() };
            let made = Made { request_id, node, losses, usage: Some(Usage::default()), ..Made::default() };
            let answer = Answer::new(200, Some("application/json".into()), made, &body).kept(7, Duration::from_secs(1));
            prop_assert_eq!(Answer::from_bytes(answer.to_bytes()), Some(answer));
        }

        #[test]
        fn other_bytes_are_no_answer_and_no_panic(bytes: Vec<u8>) {
            prop_assert_eq!(Answer::from_bytes(bytes), None);
        }
    }
}
