//! What an account was found to speak.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use wire::Dialect;

use crate::{
    catalog::Provider,
    classify::{Kind, judge},
};

/// How long a wire that was not spoken is not asked for again.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

/// What an answer taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The account speaks this wire.
    Speaks,
    /// It does not: the call belongs on the wire that [`crate::Account::wire_for`] now names.
    NotSpoken,
    /// Nothing: the answer is to be judged as any other.
    Unclear,
}

/// How an account stands to a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The operator named it; no other is spoken.
    Named,
    /// The provider's reference says so.
    Sure,
    /// It may be; nobody asked yet.
    Possible,
    /// It was asked and answered.
    Spoken,
    /// It was asked and did not know it, less than an hour ago.
    NotSpoken,
    /// Not at all.
    Never,
}

impl Standing {
    /// The word in displays.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Sure => "sure",
            Self::Possible => "possible",
            Self::Spoken => "spoken",
            Self::NotSpoken => "not_spoken",
            Self::Never => "never",
        }
    }
}

const UNKNOWN: u64 = 0;
const SPOKEN: u64 = 1;

/// One mark per wire: [`UNKNOWN`], [`SPOKEN`], or 2 + the milliseconds from `began` to the answer that did not know it.
#[derive(Debug)]
pub(crate) struct Marks {
    began: Instant,
    marks: [AtomicU64; Dialect::ALL.len()],
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), marks: Default::default() }
    }

    fn mark(&self, wire: Dialect) -> &AtomicU64 {
        let [chat, responses, messages, gemini] = &self.marks;
        match wire {
            Dialect::Chat => chat,
            Dialect::Responses => responses,
            Dialect::Messages => messages,
            Dialect::Gemini => gemini,
        }
    }

    /// How a possible wire stands at `now`.
    pub(crate) fn standing(&self, wire: Dialect, now: Instant) -> Standing {
        match self.mark(wire).load(Relaxed) {
            UNKNOWN => Standing::Possible,
            SPOKEN => Standing::Spoken,
            since => {
                let then = Duration::from_millis(since - 2);
                let is_fresh = now.saturating_duration_since(self.began).saturating_sub(then) < FORGOTTEN_AFTER;
                if is_fresh { Standing::NotSpoken } else { Standing::Possible }
            }
        }
    }

    /// Keeps what an answer taught.
    pub(crate) fn keep(&self, wire: Dialect, learned: Learned, now: Instant) {
        let mark = match learned {
            Learned::Speaks => SPOKEN,
            Learned::NotSpoken => 2 + now.saturating_duration_since(self.began).as_millis().min(u128::from(u64::MAX - 2)) as u64,
            Learned::Unclear => return,
        };
        self.mark(wire).store(mark, Relaxed);
    }

    /// Takes over what another one of the same upstream knows.
    pub(crate) fn inherit(&self, older: &Self, now: Instant) {
        for wire in Dialect::ALL {
            match older.standing(wire, now) {
                Standing::Spoken => self.keep(wire, Learned::Speaks, now),
                Standing::NotSpoken => {
                    let then = Duration::from_millis(older.mark(wire).load(Relaxed).saturating_sub(2));
                    self.keep(wire, Learned::NotSpoken, older.began.checked_add(then).unwrap_or(now));
                }
                _ => {}
            }
        }
    }
}

/// What an answer on a possible wire teaches. `is_new`: nobody had an answer on it yet.
pub(crate) fn lesson(row: &Provider, wire: Dialect, is_new: bool, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Learned {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if status.is_success() {
        // A server for pages answers every path with one.
        let is_page = content_type.trim_start().to_ascii_lowercase().starts_with("text/html");
        return if is_page { Learned::NotSpoken } else { Learned::Speaks };
    }
    let judgement = judge(row, status, body, &[]);
    match (status.as_u16(), judgement.kind) {
        (404, Some(Kind::Model)) if is_error_of(wire, body) => Learned::Speaks,
        (404 | 405 | 501, _) | (400, Some(Kind::Endpoint)) => Learned::NotSpoken,
        // Compatible endpoints may want the key in another header; if the key is wrong, the sure wire will say so too.
        (401 | 403, Some(Kind::Key)) if is_new => Learned::NotSpoken,
        (400 | 422, _) if is_error_of(wire, body) && wire == Dialect::Messages => Learned::Speaks,
        _ => Learned::Unclear,
    }
}

/// Whether a body is an error in the shape of a dialect.
fn is_error_of(wire: Dialect, body: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
    match wire {
        Dialect::Messages => value["type"] == "error" && value["error"]["type"].is_string(),
        Dialect::Gemini => value["error"]["status"].is_string(),
        Dialect::Chat | Dialect::Responses => value["error"]["message"].is_string() || value["object"] == "error",
    }
}
