//! From a checked request to the running choices of its answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream::SelectAll};
use http::HeaderMap;
use wire::{
    Failure,
    fleet::worker::{Constraint, Prompt, Sampling, Submit, TokenChance, TokenLogprob},
};

use super::{App, frames::Steps};
use crate::{answer::Answer, pool::Lease};

/// A request waits so long for a place in its engine, unless it says less.
const QUEUE_WAIT: Duration = Duration::from_secs(30);

/// What all choices of a request have in common.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) max_tokens: Option<u32>,
    pub(super) sampling: Sampling,
    pub(super) constraint: Option<Constraint>,
    pub(super) stop: Vec<String>,
    /// Control tokens whose text is needed to read the answer.
    pub(super) marks: Vec<String>,
    pub(super) logprobs: Option<u8>,
    pub(super) ignore_eos: bool,
    pub(super) cache_prompt: bool,
    /// Choices per prompt.
    pub(super) choices: u32,
    pub(super) is_streamed: bool,
    /// From the request's headers.
    pub(super) hints: Hints,
}

/// What headers say about a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hints {
    queue_ms: u32,
    salt: u64,
}

impl Hints {
    /// `x-request-timeout-ms` bounds the wait for a place; prompts are shared only between requests with the same `x-cache-salt`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let wanted_ms = text("x-request-timeout-ms").and_then(|value| value.trim().parse().ok()).unwrap_or(u32::MAX);
        let salt = text("x-cache-salt").map_or(0, fnv);
        Self { queue_ms: wanted_ms.min(QUEUE_WAIT.as_millis() as u32), salt }
    }
}

/// Tells salts apart; they are no secrets.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Plan {
    /// Starts all choices: those of the first prompt first.
    pub(super) fn start(&self, app: &App, lease: &Lease, prompts: Vec<Prompt>) -> Steps {
        let mut steps = SelectAll::new();
        let each = prompts.into_iter().flat_map(|prompt| (0..self.choices).map(move |n| (prompt.clone(), n)));
        for (index, (prompt, n)) in each.enumerate() {
            let answer = Answer::new(app.pool.clone(), lease.clone(), self.submit(prompt, n), self.is_streamed);
            steps.push(answer.into_stream(index).boxed());
        }
        steps
    }

    fn submit(&self, prompt: Prompt, n: u32) -> Submit {
        let mut sampling = self.sampling.clone();
        // Choices of one seed differ from each other and are the same every time.
        sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(n));
        Submit {
            id: 0,
            prompt,
            max_tokens: self.max_tokens,
            sampling,
            constraint: self.constraint.clone(),
            stop: self.stop.clone(),
            marks: self.marks.clone(),
            logprobs: self.logprobs,
            ignore_eos: self.ignore_eos,
            cache_prompt: self.cache_prompt,
            salt: self.hints.salt,
            queue_ms: self.hints.queue_ms,
        }
    }
}

/// The name of a model, where the request has one.
pub(super) fn model_of(model: Option<&String>) -> Result<String, Failure> {
    model
        .map(|model| model.trim())
        .filter(|model| !model.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| Failure::invalid("model", "`model` is missing"))
}

/// A fresh id, and the time.
pub(super) fn stamp(prefix: &str) -> (String, i64) {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    (format!("{prefix}{}", uuid::Uuid::new_v4().simple()), created)
}

/// Tokens in words: the text of each as far as it is UTF-8.
pub(super) fn spelled(chance: &TokenChance) -> String {
    String::from_utf8_lossy(&chance.bytes).into_owned()
}

/// Log-probabilities in the form of chat completions.
pub(super) fn chat_logprobs(all: &[TokenLogprob]) -> Option<wire::chat::types::Logprobs> {
    use wire::chat::types::{Logprob, Logprobs, TopLogprob};
    let top = |c: &TokenChance| TopLogprob { token: spelled(c), logprob: f64::from(c.logprob), bytes: Some(c.bytes.clone()) };
    let one = |l: &TokenLogprob| Logprob {
        token: spelled(&l.token),
        logprob: f64::from(l.token.logprob),
        bytes: Some(l.token.bytes.clone()),
        top_logprobs: l.top.iter().map(top).collect(),
    };
    (!all.is_empty()).then(|| Logprobs { content: Some(all.iter().map(one).collect()), refusal: None })
}
