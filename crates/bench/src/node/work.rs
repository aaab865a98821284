//! The requests: greedy, as many tokens as asked for, prompts that no cache has seen.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use serde_json::{Value, json};
use tokio::{
    task::{LocalSet, spawn_local},
    time::timeout,
};

use super::servers::Server;
use crate::{
    clock::now_ns,
    figures::{Times, tenths},
    http::{Connection, post},
};

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_mins(5);
const WORDS: [&str; 32] = [
    "river", "stone", "winter", "garden", "letter", "copper", "engine", "harbour", "silver", "market", "window", "forest", "candle",
    "bridge", "meadow", "thunder", "paper", "orchard", "lantern", "village", "mountain", "shadow", "kitchen", "compass", "feather",
    "violin", "castle", "pepper", "saddle", "anchor", "blanket", "mirror",
];

/// Makes prompts that begin differently and never come twice.
pub(super) struct Work {
    words: usize,
    tokens: u32,
    seed: u64,
}

/// Prompts to be sent at the same time.
pub(super) struct Requests {
    prompts: Vec<String>,
    tokens: u32,
}

impl Work {
    pub(super) fn new(words: usize, tokens: u32) -> Self {
        Self { words, tokens, seed: words as u64 }
    }

    pub(super) fn batch(&mut self, count: usize) -> Requests {
        Requests { prompts: (0..count).map(|_| self.prompt()).collect(), tokens: self.tokens }
    }

    fn prompt(&mut self) -> String {
        let words: Vec<_> = (0..self.words).map(|_| WORDS[self.next() % WORDS.len()]).collect();
        format!("{} {}: tell a story about {}", self.next() % 100_000, self.next() % 100_000, words.join(" "))
    }

    fn next(&mut self) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize
    }
}

/// What one batch cost and gave.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) cpu_s: f64,
    pub(super) tokens_per_s: f64,
    /// The median.
    pub(super) ttft_ms: f64,
    pub(super) short_answers: usize,
}

/// Sends all requests at the same time and waits for all answers.
pub(super) fn run_batch(server: &mut Server, requests: &Requests) -> Result<Batch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cpu_before = server.cpu_s();
    let started_ns = now_ns();
    let answers = LocalSet::new().block_on(&runtime, send_all(server, requests))?;
    let wall_s = (now_ns() - started_ns) as f64 / 1e9;
    let cpu_s = server.cpu_s() - cpu_before;
    let mut ttft = Times::new();
    for answer in &answers {
        ttft.record(answer.ttft_ns);
    }
    let generated: u64 = answers.iter().map(|answer| answer.tokens).sum();
    Ok(Batch {
        cpu_s,
        tokens_per_s: tenths(generated as f64 / wall_s),
        ttft_ms: tenths(ttft.us(0.5) / 1000.0),
        short_answers: answers.iter().filter(|answer| answer.tokens != u64::from(requests.tokens)).count(),
    })
}

struct Generated {
    ttft_ns: u64,
    tokens: u64,
}

async fn send_all(server: &Server, requests: &Requests) -> Result<Vec<Generated>> {
    let tasks: Vec<_> = requests
        .prompts
        .iter()
        .map(|prompt| {
            let body = json!({
                "model": server.model, "prompt": prompt, "max_tokens": requests.tokens, "temperature": 0, "ignore_eos": true,
                "stream": true, "stream_options": {"include_usage": true},
            });
            let address = server.address.to_string();
            spawn_local(generate(address.clone(), post(&address, "/v1/completions", &[], body.to_string().as_bytes())))
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await?.with_context(|| format!("{} failed", server.name))?);
    }
    Ok(answers)
}

async fn generate(address: String, request: Vec<u8>) -> Result<Generated> {
    let first_ns = Rc::new(RefCell::new(None));
    let seen = first_ns.clone();
    let mut connection = Connection::open(&address).await?;
    let sent_ns = now_ns();
    let on = move |body: &[u8], time_ns: u64| {
        if seen.borrow().is_none() && memmem::find(body, b"\"text\":").is_some() {
            *seen.borrow_mut() = Some(time_ns);
        }
    };
    let answer = timeout(ANSWER_LIMIT, connection.call(&request, on)).await.context("no answer in time")??;
    if answer.status != 200 {
        bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    let first_ns = first_ns.borrow().context("an answer without text")?;
    Ok(Generated { ttft_ns: first_ns - sent_ns, tokens: completion_tokens(&answer.body).context("an answer without usage")? })
}

/// The tokens that the last usage of a stream names.
fn completion_tokens(body: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(body);
    let mut events = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?.trim()).ok());
    events.find_map(|event| event["usage"]["completion_tokens"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::{Work, completion_tokens};

    #[test]
    fn prompts_differ_and_come_again_in_another_run() {
        let prompts = |work: &mut Work| work.batch(8).prompts;
        let (mut one, mut two) = (Work::new(10, 5), Work::new(10, 5));
        let first = prompts(&mut one);
        assert_eq!(first, prompts(&mut two));
        let mut all = [first, prompts(&mut one)].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 16);
    }

    #[test]
    fn usage_is_read_from_the_end() {
        let body = b"data: {\"choices\":[],\"usage\":null}\n\ndata: {\"usage\":{\"completion_tokens\":7}}\n\ndata: [DONE]\n\n";
        assert_eq!(completion_tokens(body), Some(7));
        assert_eq!(completion_tokens(b""), None);
    }
}
