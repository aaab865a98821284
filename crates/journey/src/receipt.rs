//! What it came to: exactly one receipt per admitted request.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;
use wire::{head::Shape, ir::Usage, losses::Losses};

use crate::{call::Operation, caller::KeyRef, flow::WentOn, kept::Kept, plan::Plan};

/// How a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Success,
    Error,
    /// The client went before the end.
    #[default]
    Cancelled,
}

impl Outcome {
    /// The word in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What the answer cache had to do with a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// Nothing: it is off, or the request takes no part.
    #[default]
    Off,
    /// It had no answer.
    Miss,
    /// The answer is from there.
    Hit,
}

impl CacheUse {
    /// The word in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Miss => "miss",
            Self::Hit => "hit",
        }
    }
}

/// An answer that was there before: it costs nothing again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The request that it was made for.
    pub request_id: Arc<str>,
    /// How old it was.
    pub age_ms: u64,
    /// The same call was made again with its `Idempotency-Key`.
    pub is_replay: bool,
    /// It was given with its `router{…}`.
    pub is_explained: bool,
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    Served,
    Refused,
    TimedOut,
    Unreachable,
    Broken,
    /// Asked, and left before it had answered: the caller went, or the time of the whole request was over.
    Left,
    /// Not asked: it lacks something that a call needs.
    Skipped,
    /// Not asked: its own limit was full.
    Limited,
    /// Not asked: it answered 429 before, and its rest is not over.
    Cooling,
    /// Not asked: it failed several times before.
    CircuitOpen,
}

impl AttemptOutcome {
    /// Whether the target was asked.
    pub const fn is_try(self) -> bool {
        !matches!(self, Self::Skipped | Self::Limited | Self::Cooling | Self::CircuitOpen)
    }
}

/// Why a node was taken, and how long the request stood in line for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pick {
    /// The balancer's name.
    pub policy: &'static str,
    /// What put the node before the others.
    pub reason: &'static str,
    /// Nodes that could have been asked.
    pub candidates: u32,
    /// Requests in flight there before this one.
    pub active: u32,
    /// 1 for the first in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_wait_ms: Option<f64>,
}

/// One try of one target.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// The account's or node's name.
    pub target: Arc<str>,
    pub provider: Arc<str>,
    pub model: Arc<str>,
    pub outcome: AttemptOutcome,
    /// The upstream's status, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the request's arrival.
    pub started_ms: f64,
    pub duration_ms: f64,
    /// Of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
}

/// The record of a request, filled along its way.
#[derive(Debug)]
pub struct Receipt {
    pub request_id: Arc<str>,
    pub operation: Operation,
    pub path: Arc<str>,
    pub client: IpAddr,
    pub key: Option<KeyRef>,
    pub received_at: jiff::Timestamp,
    pub duration_ms: f64,
    /// Arrival to the first byte of the answer.
    pub first_byte_ms: Option<f64>,
    /// Time that was not spent waiting for an upstream, up to the first byte.
    pub overhead_ms: Option<f64>,
    pub model_requested: Arc<str>,
    pub model_served: Option<Arc<str>>,
    /// The account's or node's name.
    pub target: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    /// The rule that resolved the model's name.
    pub rule: Option<&'static str>,
    /// Every target that was thought of, in order, with the reasons; `None` where the name led nowhere.
    pub plan: Option<Arc<Plan>>,
    pub attempts: Vec<Attempt>,
    pub stream: bool,
    /// What the request asked for, in counts.
    pub shape: Shape,
    /// The status that the client saw; 499 if it went before one was sent.
    pub status: u16,
    pub outcome: Outcome,
    pub error_code: Option<String>,
    pub usage: Option<Usage>,
    /// The upstream was left before it said its counts: these are what had flowed, a token for four bytes in and one for a piece out.
    pub usage_is_estimated: bool,
    /// What translations could not carry, of the request and of the answer.
    pub losses: Losses,
    pub cache: CacheUse,
    /// Who served, and what it used, are those of the request that the answer was made for.
    pub remembered: Option<Remembered>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Its node was lost within the stream, and whether that was gone on with elsewhere; `None` where nothing of the kind happened.
    pub resumed: Option<bool>,
    /// The text of the request and of the answer, where it is kept.
    pub kept: Option<Kept>,
}

impl Receipt {
    /// Takes in how its stream went on elsewhere.
    pub fn went_on(&mut self, went: &WentOn) {
        let is_resumed = went.attempt.as_ref().is_none_or(|attempt| attempt.outcome == AttemptOutcome::Served);
        if let Some(first) = self.attempts.last_mut() {
            let then = if is_resumed { "the stream was resumed" } else { "the stream could not be resumed" };
            first.outcome = AttemptOutcome::Broken;
            first.error = Some(format!("lost after {} tokens: {}; {then}", went.after_tokens, went.why));
        }
        self.attempts.extend(went.attempt.clone());
        self.resumed = Some(is_resumed);
    }

    /// Targets that were asked.
    pub fn tries(&self) -> usize {
        self.attempts.iter().filter(|a| a.outcome.is_try()).count()
    }

    /// What remembered answers had to do with it, in a word of records; `None`: nothing.
    pub fn cache_word(&self) -> Option<&'static str> {
        match (&self.remembered, self.cache) {
            (Some(Remembered { is_replay: true, .. }), _) => Some("replayed"),
            (_, CacheUse::Off) => None,
            (_, used) => Some(used.name()),
        }
    }

    /// Tokens that the request came to: said or guessed, none where it failed or was answered before, `None` where nobody knows.
    pub fn tokens(&self) -> Option<u64> {
        match self.usage {
            _ if self.remembered.is_some() => Some(0),
            Some(usage) => Some(usage.input().saturating_add(usage.output())),
            None => (self.outcome == Outcome::Error).then_some(0),
        }
    }
}
