//! How a request was carried out, as its record keeps it and as it is explained.

use journey::{Attempt, Candidate, Plan, Receipt, Remembered};
use serde::Serialize;
use wire::losses::Losses;

/// About how long a decision is.
const BYTES: usize = 1 << 10;

/// The column of a request's row.
#[derive(Serialize)]
struct Decision<'a> {
    rule: Option<&'static str>,
    source: &'static str,
    candidates: &'a [Candidate],
    attempts: &'a [Attempt],
    /// Time that was spent waiting for upstreams, up to the first byte.
    waited_ms: f64,
    /// What translations could not carry; nothing where all was.
    #[serde(skip_serializing_if = "Losses::is_exact")]
    losses: &'a Losses,
    /// The client or the upstream went before the counts were said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    usage_is_estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Cached<'a>>,
}

/// What remembered answers had to do with it.
#[derive(Serialize)]
struct Cached<'a> {
    /// `hit`, `miss` or `replayed`.
    state: &'static str,
    /// The request that the answer was made for, and how old it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
}

impl<'a> Cached<'a> {
    fn of(receipt: &'a Receipt) -> Option<Self> {
        let answer: Option<&Remembered> = receipt.remembered.as_ref();
        let state = receipt.cache_word()?;
        Some(Self { state, request_id: answer.map(|a| &*a.request_id), age_ms: answer.map(|a| a.age_ms) })
    }
}

/// The decision as JSON.
pub fn json(receipt: &Receipt) -> String {
    let decision = Decision {
        rule: receipt.rule,
        source: source(receipt.rule),
        candidates: receipt.plan.as_ref().map_or(&[], |plan| &plan.candidates),
        attempts: &receipt.attempts,
        waited_ms: waited_ms(receipt),
        losses: &receipt.losses,
        usage_is_estimated: receipt.usage_is_estimated,
        cache: Cached::of(receipt),
    };
    // Room for nearly every one: it is not copied again while it grows.
    let mut text = Vec::with_capacity(BYTES);
    let written = serde_json::to_writer(&mut text, &decision);
    written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}

/// Who chose the model: the router (`auto`), or the request that named it.
pub fn source(rule: Option<&str>) -> &'static str {
    if rule == Some("default_model") { "auto" } else { "request" }
}

/// The models of a plan, each once, in the order in which they would be tried.
pub fn models(plan: &Plan) -> Vec<&str> {
    let mut models: Vec<&str> = Vec::with_capacity(plan.candidates.len());
    for candidate in &plan.candidates {
        if !models.contains(&&*candidate.model) {
            models.push(&candidate.model);
        }
    }
    models
}

/// Milliseconds of attempts.
pub fn waited_ms(receipt: &Receipt) -> f64 {
    // The sum of nothing would be -0.
    0.0 + receipt.attempts.iter().map(|attempt| attempt.duration_ms).sum::<f64>()
}
