//! Where receipts go: metrics, counts, one log line, one row, the decision log. On the path, so nothing here waits.

pub mod bodies;
pub mod decision;
mod line;
pub mod lines;
pub mod tally;

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use dispatch::Health;
use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use journey::{AttemptOutcome, CacheUse, Kept, Outcome as ReceiptOutcome, Receipt, Remembered, Settle};
use ledger::Recorder;
use store::{Text, bodies::Bodies, requests::Row};
use telemetry::{
    chronicle::Chronicle,
    logs::ReadyLines,
    metrics::{Metrics, Outcome},
};

use self::{
    line::{member, members},
    tally::Tally,
};
use crate::{price::Consumption, snapshot::House};

/// The desk that settles.
pub struct Desk {
    metrics: Arc<Metrics>,
    recorder: Recorder<Settled>,
    health: Arc<Health>,
    lines: Option<ReadyLines>,
    tally: Arc<Tally>,
    /// Where decisions are told, if they are.
    decisions: Option<Chronicle<Decided>>,
    /// Whose credentials are which.
    house: Arc<ArcSwap<House>>,
}

/// A request that is over: a row is made of it behind the path.
#[derive(Debug)]
pub struct Settled {
    pub receipt: Arc<Receipt>,
    /// Its texts, taken out of the receipt: they go when they are written down, whoever else holds the receipt for longer.
    pub kept: Option<Kept>,
}

/// A request that is over: lines are made of it behind the path.
#[derive(Debug)]
pub struct Decided(pub Arc<Receipt>);

/// What a desk is made of.
pub struct Places {
    pub metrics: Arc<Metrics>,
    pub recorder: Recorder<Settled>,
    pub health: Arc<Health>,
    pub tally: Arc<Tally>,
    /// Where the line of a request goes; as an event where there is none.
    pub lines: Option<ReadyLines>,
    pub decisions: Option<Chronicle<Decided>>,
    pub house: Arc<ArcSwap<House>>,
}

impl Desk {
    /// A desk with these places.
    pub fn new(places: Places) -> Self {
        let Places { metrics, recorder, health, tally, lines, decisions, house } = places;
        Self { metrics, recorder, health, lines, tally, decisions, house }
    }

    fn count(&self, receipt: &Receipt) {
        let seconds = |ms: f64| Duration::from_secs_f64(ms.max(0.0) / 1e3).as_secs_f64();
        self.metrics.responded(receipt.status);
        self.tally.settled(receipt);
        for attempt in &receipt.attempts {
            self.metrics.backend(&attempt.target).attempted(match (attempt.outcome, attempt.status) {
                (AttemptOutcome::Served, _) => Outcome::Success,
                (AttemptOutcome::Refused, Some(429)) => Outcome::RateLimited,
                (AttemptOutcome::Refused, _) => Outcome::Error,
                (AttemptOutcome::Limited, _) => Outcome::Limited,
                (AttemptOutcome::TimedOut, _) => Outcome::Timeout,
                (AttemptOutcome::Unreachable, _) => Outcome::Unreachable,
                (AttemptOutcome::Broken, _) => Outcome::Broken,
                (AttemptOutcome::Left, _) => Outcome::Cancelled,
                (AttemptOutcome::Skipped | AttemptOutcome::Cooling | AttemptOutcome::CircuitOpen, _) => continue,
            });
        }
        if let Some(went_on) = receipt.resumed {
            self.metrics.resumed(went_on);
        }
        if let Some(remembered) = &receipt.remembered {
            self.recalled(receipt, remembered, seconds(receipt.duration_ms));
            return;
        }
        if let Some(target) = &receipt.target {
            let backend = self.metrics.backend(target);
            backend.requests.inc();
            backend.latency.observe(seconds(receipt.duration_ms));
            if let Some(first) = receipt.first_byte_ms {
                backend.first_byte.observe(seconds(first));
            }
        }
        if let (true, 200, Some(target)) = (receipt.stream, receipt.status, &receipt.target)
            && matches!(receipt.outcome, ReceiptOutcome::Success | ReceiptOutcome::Error)
        {
            self.health.ended(target, receipt.outcome == ReceiptOutcome::Error, Instant::now());
        }
        if let (true, Some(target), Some(first), Some(usage)) = (receipt.stream, &receipt.target, receipt.first_byte_ms, receipt.usage) {
            self.health.streamed(target, usage.output(), Duration::from_secs_f64((receipt.duration_ms - first).max(0.0) / 1e3));
        }
        if let (Some(model), Some(usage)) = (&receipt.model_served, receipt.usage) {
            let model = self.metrics.model(model);
            model.input_tokens.inc_by(usage.input());
            model.cached_tokens.inc_by(usage.in_cache_read.unwrap_or_default());
            model.output_tokens.inc_by(usage.output());
        }
        if let (Some(model), CacheUse::Miss) = (&receipt.model_served, receipt.cache) {
            self.metrics.model(model).cache_misses.inc();
        }
    }

    /// No backend was asked and no token used.
    fn recalled(&self, receipt: &Receipt, remembered: &Remembered, took_s: f64) {
        let memory = self.metrics.backend(if remembered.is_replay { "replay" } else { "cache" });
        memory.requests.inc();
        memory.latency.observe(took_s);
        if let (Some(model), CacheUse::Hit) = (&receipt.model_served, receipt.cache) {
            self.metrics.model(model).cache_hits.inc();
        }
    }
}

impl Settle for Desk {
    fn settle(&self, mut receipt: Arc<Receipt>) {
        let kept = Arc::get_mut(&mut receipt).and_then(|receipt| receipt.kept.take());
        self.count(&receipt);
        if tracing::enabled!(target: "request", tracing::Level::INFO) {
            match &self.lines {
                Some(lines) => ready_line(&receipt, |line| lines.write(line)),
                None => event(&receipt),
            }
        }
        if let Some(decisions) = &self.decisions {
            decisions.add(Decided(receipt.clone()));
        }
        self.recorder.record(Settled { receipt, kept });
    }

    fn hidden(&self, receipt: &Receipt, piece: Bytes) -> Bytes {
        let house = self.house.load();
        match receipt.target.as_ref().and_then(|name| house.accounts.get(name)) {
            Some(account) => account.hidden(piece),
            None => piece,
        }
    }
}

/// What the one line of a request says.
struct Fields<'a> {
    message: &'static str,
    request_id: &'a str,
    model: &'a str,
    backend: &'a str,
    status: u16,
    outcome: &'static str,
    error: Option<&'a str>,
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
            cache_hit: receipt.cache == CacheUse::Hit,
        }
    }

    /// As members of an object that was begun.
    fn write(&self, line: &mut Vec<u8>) {
        member(line, "\"message\":", self.message);
        members!(line, "request_id": self.request_id, "model": self.model, "backend": self.backend, "status": self.status, "outcome": self.outcome);
        if let Some(error) = self.error {
            members!(line, "error": error);
        }
        if let Some(key) = self.key {
            members!(line, "key": key);
        }
        members!(
            line,
            "stream": self.stream,
            "attempts": self.attempts,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "latency_ms": self.latency_ms,
            "cache_hit": self.cache_hit,
        );
    }
}

/// The line in the form of all others, made without the machinery of events.
fn ready_line(receipt: &Receipt, write: impl FnOnce(&[u8])) {
    thread_local! {
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LINE.with_borrow_mut(|line| {
        line.clear();
        line.extend_from_slice(b"{\"timestamp\":\"");
        // Memory refuses no bytes.
        let _ = DateTimePrinter::new().print_timestamp(&Timestamp::now(), &mut *line);
        line.extend_from_slice(b"\",\"level\":\"INFO\",\"fields\":{");
        Fields::of(receipt).write(line);
        line.extend_from_slice(b"},\"target\":\"request\"}\n");
        write(line);
    });
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

impl Settled {
    /// What is kept of the request's texts, as this instant's settings want them. Behind the path.
    pub fn bodies(&self, house: &House) -> Option<Bodies> {
        bodies::of(&self.receipt, self.kept.as_ref()?, house)
    }

    /// The row of the request, charged by this instant's prices. Behind the path.
    pub fn row(&self, house: &House) -> Row {
        let receipt = &*self.receipt;
        let usage = receipt.usage;
        Row {
            bodies: None,
            id: receipt.request_id.clone().into(),
            started_at_ms: receipt.received_at.as_millisecond(),
            duration_ms: receipt.duration_ms as i64,
            first_byte_ms: receipt.first_byte_ms.map(|ms| ms as i64),
            key_id: receipt.key.as_ref().map(|k| k.id.clone().into()),
            key_name: receipt.key.as_ref().map(|k| k.name.clone().into()),
            client_ip: Some(receipt.client.to_string().into()),
            dialect: Text::Static(receipt.operation.name()),
            path: receipt.path.clone().into(),
            model_requested: Some(receipt.model_requested.clone().into()),
            model_served: receipt.model_served.clone().map(Into::into),
            target: receipt.target.clone().map(Into::into),
            provider: receipt.provider.clone().map(Into::into),
            node_id: receipt.node.clone().map(Into::into),
            attempts: receipt.tries() as u32,
            status: receipt.status,
            outcome: Text::Static(receipt.outcome.name()),
            error_code: receipt.error_code.clone().map(Into::into),
            stream: receipt.stream,
            prompt_tokens: usage.map(|u| u.input()),
            completion_tokens: usage.map(|u| u.output()),
            cached_tokens: usage.and_then(|u| u.in_cache_read),
            reasoning_tokens: usage.and_then(|u| u.out_reasoning),
            usage_raw: usage.map(|u| serde_json::to_string(&u).unwrap_or_default().into()),
            overhead_us: receipt.overhead_ms.map(|ms| (ms * 1e3) as u64),
            bytes_in: receipt.bytes_in,
            bytes_out: receipt.bytes_out,
            decision: Some(decision::json(receipt).into()),
            metadata: None,
            cache: receipt.cache_word().map(Text::Static),
            cost_nano: house.prices.cost_nano(&Consumption::from(receipt)),
            price_version: Some(Text::Shared(house.prices.version().clone())),
        }
    }
}
