//! Where receipts go: metrics, one log line, one row. On the path, so nothing here waits.

use std::{cell::RefCell, sync::Arc, time::Duration};

use dispatch::Health;
use jiff::Timestamp;
use journey::{Attempt, AttemptOutcome, Receipt, Settle};
use ledger::Recorder;
use serde::Serialize;
use store::{Text, requests::Row};
use telemetry::{
    logs::ReadyLines,
    metrics::{Metrics, Outcome},
};
use wire::losses::Losses;

/// The desk that settles.
pub struct Desk {
    metrics: Arc<Metrics>,
    recorder: Recorder,
    health: Arc<Health>,
    lines: Option<ReadyLines>,
}

impl Desk {
    /// A desk that counts in `metrics`, records through `recorder` and writes its line to `lines`, or as an event where there are none.
    pub fn new(metrics: Arc<Metrics>, recorder: Recorder, health: Arc<Health>, lines: Option<ReadyLines>) -> Self {
        Self { metrics, recorder, health, lines }
    }

    fn count(&self, receipt: &Receipt) {
        let seconds = |ms: f64| Duration::from_secs_f64(ms.max(0.0) / 1e3).as_secs_f64();
        self.metrics.responded(receipt.status);
        for attempt in &receipt.attempts {
            self.metrics.backend(&attempt.target).attempted(match (attempt.outcome, attempt.status) {
                (AttemptOutcome::Served, _) => Outcome::Success,
                (AttemptOutcome::Refused, Some(429)) => Outcome::RateLimited,
                (AttemptOutcome::Refused | AttemptOutcome::Skipped, _) => Outcome::Error,
                (AttemptOutcome::Limited, _) => Outcome::Limited,
                (AttemptOutcome::TimedOut, _) => Outcome::Timeout,
                (AttemptOutcome::Unreachable, _) => Outcome::Unreachable,
                (AttemptOutcome::Broken, _) => Outcome::Broken,
            });
        }
        if let Some(target) = &receipt.target {
            let backend = self.metrics.backend(target);
            backend.requests.inc();
            backend.latency.observe(seconds(receipt.duration_ms));
            if let Some(first) = receipt.first_byte_ms {
                backend.first_byte.observe(seconds(first));
            }
        }
        if let (true, Some(target), Some(first), Some(usage)) = (receipt.stream, &receipt.target, receipt.first_byte_ms, receipt.usage) {
            self.health.streamed(target, usage.output(), Duration::from_secs_f64((receipt.duration_ms - first).max(0.0) / 1e3));
        }
        if let (Some(model), Some(usage)) = (&receipt.model_served, receipt.usage) {
            let model = self.metrics.model(model);
            model.input_tokens.inc_by(usage.input());
            model.output_tokens.inc_by(usage.output());
        }
    }
}

impl Settle for Desk {
    fn settle(&self, receipt: Receipt) {
        self.count(&receipt);
        if tracing::enabled!(target: "request", tracing::Level::INFO) {
            match &self.lines {
                Some(lines) => ready_line(&receipt, |line| lines.write(line)),
                None => event(&receipt),
            }
        }
        self.recorder.record(row(receipt));
    }
}

/// What the one line of a request says.
#[derive(Serialize)]
struct Fields<'a> {
    message: &'static str,
    request_id: &'a str,
    model: &'a str,
    backend: &'a str,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    stream: bool,
    attempts: usize,
    prompt_tokens: u64,
    completion_tokens: u64,
    latency_ms: f64,
    cache_hit: bool,
}

impl<'a> Fields<'a> {
    fn of(receipt: &'a Receipt) -> Self {
        let usage = receipt.usage.unwrap_or_default();
        Self {
            message: "request",
            request_id: &receipt.request_id,
            model: &receipt.model_requested,
            backend: receipt.target.as_deref().unwrap_or("none"),
            status: receipt.status,
            outcome: receipt.outcome.name(),
            error: receipt.error_code.as_deref(),
            key: receipt.key.as_ref().map(|k| &*k.name),
            stream: receipt.stream,
            attempts: receipt.tries(),
            prompt_tokens: usage.input(),
            completion_tokens: usage.output(),
            latency_ms: (receipt.duration_ms * 1e3).round() / 1e3,
            cache_hit: false,
        }
    }
}

/// The line in the form of all others, made without the machinery of events.
fn ready_line(receipt: &Receipt, write: impl FnOnce(&[u8])) {
    thread_local! {
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(serialize_with = "as_text")]
        timestamp: Timestamp,
        level: &'static str,
        fields: Fields<'a>,
        target: &'static str,
    }
    LINE.with_borrow_mut(|text| {
        text.clear();
        let line = Line { timestamp: Timestamp::now(), level: "INFO", fields: Fields::of(receipt), target: "request" };
        if serde_json::to_writer(&mut *text, &line).is_ok() {
            text.push(b'\n');
            write(text);
        }
    });
}

fn as_text<S: serde::Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
}

fn event(receipt: &Receipt) {
    let Fields { message, request_id, model, backend, status, outcome, error, key, stream, attempts, .. } = Fields::of(receipt);
    let Fields { prompt_tokens, completion_tokens, latency_ms, cache_hit, .. } = Fields::of(receipt);
    tracing::info!(
        target: "request",
        request_id, model, backend, status, outcome, error, key, stream, attempts, prompt_tokens, completion_tokens, latency_ms, cache_hit,
        "{message}"
    );
}

/// What the record keeps of how the request was carried out.
#[derive(Serialize)]
struct Decision<'a> {
    rule: Option<&'static str>,
    attempts: &'a [Attempt],
    /// What translations could not carry; nothing where all was.
    #[serde(skip_serializing_if = "Losses::is_exact")]
    losses: &'a Losses,
    /// The client or the upstream went before the counts were said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    usage_is_estimated: bool,
}

fn row(receipt: Receipt) -> Row {
    let usage = receipt.usage;
    let attempts = receipt.tries() as u32;
    let decision = serde_json::to_string(&Decision {
        rule: receipt.rule,
        attempts: &receipt.attempts,
        losses: &receipt.losses,
        usage_is_estimated: receipt.usage_is_estimated,
    })
    .ok();
    Row {
        id: receipt.request_id.into(),
        started_at_ms: receipt.received_at.as_millisecond(),
        duration_ms: receipt.duration_ms as i64,
        first_byte_ms: receipt.first_byte_ms.map(|ms| ms as i64),
        key_id: receipt.key.as_ref().map(|k| k.id.clone().into()),
        key_name: receipt.key.map(|k| k.name.into()),
        client_ip: Some(receipt.client.to_string().into()),
        dialect: Text::Static(receipt.operation.name()),
        path: receipt.path.into(),
        model_requested: Some(receipt.model_requested.into()),
        model_served: receipt.model_served.map(Into::into),
        target: receipt.target.map(Into::into),
        provider: receipt.provider.map(Into::into),
        node_id: receipt.node.map(Into::into),
        attempts,
        status: receipt.status,
        outcome: Text::Static(receipt.outcome.name()),
        error_code: receipt.error_code.map(Into::into),
        stream: receipt.stream,
        prompt_tokens: usage.map(|u| u.input()),
        completion_tokens: usage.map(|u| u.output()),
        cached_tokens: usage.and_then(|u| u.in_cache_read),
        reasoning_tokens: usage.and_then(|u| u.out_reasoning),
        usage_raw: usage.and_then(|u| serde_json::to_string(&u).ok()).map(Into::into),
        overhead_us: receipt.overhead_ms.map(|ms| (ms * 1e3) as u64),
        bytes_in: receipt.bytes_in,
        bytes_out: receipt.bytes_out,
        decision: decision.map(Into::into),
        metadata: None,
    }
}
