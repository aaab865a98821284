//! The router's metrics.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{
    exposition,
    fleet::{NodeSample, Nodes, Shown},
    labelled::Labelled,
    process::Process,
};
use crate::names::{self, Metric, labels};

type One = [(&'static str, String); 1];
type Two = [(&'static str, String); 2];

/// Seconds: from a cache hit to a long generation.
const LATENCY_BUCKETS: [f64; 18] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Counters on `/metrics`, described even before their first sample.
const COUNTERS: [Metric; 12] = [
    names::REQUESTS,
    names::RESPONSES,
    names::REFUSALS,
    names::ATTEMPTS,
    names::CACHE_HITS,
    names::CACHE_MISSES,
    names::TOKENS,
    names::NODE_ENDED,
    names::DROPPED_ROWS,
    names::BODIES_LEFT_OUT,
    names::REDIS_FAILURES,
    names::DROPPED_DECISIONS,
];
/// Counters on `/metrics/cloud`.
const CLOUD_COUNTERS: [Metric; 1] = [names::CLOUD_REQUESTS];

/// How one attempt on a backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The caller went away.
    Cancelled,
    /// Answered with a status that is not success and not a rate limit.
    Error,
    RateLimited,
    Timeout,
    /// No connection, or it broke before an answer.
    Unreachable,
    /// The answer broke off after it had begun.
    Broken,
    /// Not asked: its own limit was full.
    Limited,
}

impl Outcome {
    const ALL: [Self; 8] =
        [Self::Success, Self::Cancelled, Self::Error, Self::RateLimited, Self::Timeout, Self::Unreachable, Self::Broken, Self::Limited];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Limited => "limited",
        }
    }
}

/// The handles of one backend (an account or a node's model). Keep it where the backend is kept.
#[derive(Debug)]
pub struct Backend {
    /// Requests served.
    pub requests: Counter,
    /// Seconds from arrival to the answer's end.
    pub latency: Histogram,
    /// Seconds from arrival to the answer's first byte.
    pub first_byte: Histogram,
    attempts: [Counter; Outcome::ALL.len()],
}

impl Backend {
    /// Counts an attempt.
    pub fn attempted(&self, outcome: Outcome) {
        self.attempts[outcome as usize].inc();
    }
}

/// The handles of one model.
#[derive(Debug)]
pub struct Model {
    /// Answers from the cache.
    pub cache_hits: Counter,
    /// Answers that the cache did not have.
    pub cache_misses: Counter,
    /// Input tokens, cached ones included.
    pub input_tokens: Counter,
    /// Of those, the ones that a cache had.
    pub cached_tokens: Counter,
    /// Output tokens, reasoning included.
    pub output_tokens: Counter,
}

/// The handles of one cloud provider.
#[derive(Debug)]
pub struct Cloud {
    provider: String,
    requests: Family<Two, Counter>,
    latency: Histogram,
}

impl Cloud {
    /// Counts one call that was answered with `status` after `elapsed`.
    pub fn called(&self, status: u16, elapsed: Duration) {
        let labels = [(labels::PROVIDER, self.provider.clone()), (labels::STATUS, status.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.latency.observe(elapsed.as_secs_f64());
    }
}

/// All metrics of a router. Made once, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    cloud_registry: Registry,
    backends: Labelled<Backend>,
    models: Labelled<Model>,
    clouds: Labelled<Cloud>,
    responses: Labelled<Counter>,
    refusals: Labelled<Counter>,
    resumed: Labelled<Counter>,
    process: Process,
    nodes: Nodes,
    /// Inference calls under way; see [`hold`].
    pub active_requests: Gauge,
    /// Streamed answers under way; see [`hold`].
    pub open_streams: Gauge,
    /// Calls waiting for a node; see [`hold`].
    pub queued_requests: Gauge,
    /// Records waiting to be written.
    pub pending_rows: Gauge,
    /// Records in the spill file.
    pub spilled_rows: Gauge,
    /// Bytes of texts that wait to be recorded.
    pub body_bytes: Gauge,
    /// Texts that found no room.
    pub bodies_left_out: Counter,
    /// Bytes of remembered answers.
    pub cache_bytes: Gauge,
    /// Records lost.
    pub dropped_rows: Counter,
    /// Uses of the shared Redis that failed.
    pub redis_failures: Counter,
    /// Requests that the decision log lost.
    pub dropped_decisions: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let mut cloud_registry = Registry::default();
        let process = Process::register(&mut registry);
        let backends = backends(&mut registry);
        let models = models(&mut registry);
        let nodes = Nodes::register(&mut registry);
        let responses = by_one(&mut registry, names::RESPONSES, labels::STATUS);
        let refusals = by_one(&mut registry, names::REFUSALS, labels::CODE);
        let resumed = by_one(&mut registry, names::RESUMED, labels::OUTCOME);
        let clouds = clouds(&mut cloud_registry);
        let mut gauge = |metric: Metric| {
            let made = Gauge::default();
            registry.register(metric.name, metric.help, made.clone());
            made
        };
        let active_requests = gauge(names::ACTIVE_REQUESTS);
        let open_streams = gauge(names::OPEN_STREAMS);
        let queued_requests = gauge(names::QUEUED_REQUESTS);
        let pending_rows = gauge(names::PENDING_ROWS);
        let spilled_rows = gauge(names::SPILLED_ROWS);
        let body_bytes = gauge(names::BODY_BYTES);
        let cache_bytes = gauge(names::CACHE_BYTES);
        let bodies_left_out = Counter::default();
        registry.register(names::BODIES_LEFT_OUT.name, names::BODIES_LEFT_OUT.help, bodies_left_out.clone());
        let dropped_rows = Counter::default();
        registry.register(names::DROPPED_ROWS.name, names::DROPPED_ROWS.help, dropped_rows.clone());
        let redis_failures = Counter::default();
        registry.register(names::REDIS_FAILURES.name, names::REDIS_FAILURES.help, redis_failures.clone());
        let dropped_decisions = Counter::default();
        registry.register(names::DROPPED_DECISIONS.name, names::DROPPED_DECISIONS.help, dropped_decisions.clone());
        Self {
            registry,
            cloud_registry,
            backends,
            models,
            clouds,
            responses,
            refusals,
            resumed,
            process,
            nodes,
            active_requests,
            open_streams,
            queued_requests,
            pending_rows,
            spilled_rows,
            body_bytes,
            bodies_left_out,
            cache_bytes,
            dropped_rows,
            redis_failures,
            dropped_decisions,
        }
    }

    /// The handles of a backend by its name; beyond the most names kept, those of `other`.
    pub fn backend(&self, name: &str) -> Arc<Backend> {
        self.backends.get(name)
    }

    /// The handles of a model by its public name. Give it names that were served, not whatever a caller wrote.
    pub fn model(&self, name: &str) -> Arc<Model> {
        self.models.get(name)
    }

    /// The handles of a cloud provider.
    pub fn cloud(&self, provider: &str) -> Arc<Cloud> {
        self.clouds.get(provider)
    }

    /// Counts an answer to an inference call by its HTTP status.
    pub fn responded(&self, status: u16) {
        let mut digits = [0; 3];
        self.responses.get(three_digits(status, &mut digits)).inc();
    }

    /// Counts a call refused before any backend was asked, by the error's code.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get(code).inc();
    }

    /// Counts a stream whose node was lost and that was to go on elsewhere.
    pub fn resumed(&self, went_on: bool) {
        self.resumed.get(if went_on { "resumed" } else { "failed" }).inc();
    }

    /// Puts what is known of nodes on the page, and how many requests wait for each model; hold what comes back while the page is written.
    pub fn show_nodes(&self, samples: &[NodeSample], waiting: &[(String, usize)]) -> Shown<'_> {
        self.queued_requests.set(i64::try_from(waiting.iter().map(|(_, n)| n).sum::<usize>()).unwrap_or(i64::MAX));
        self.nodes.show(samples, waiting)
    }

    /// `/metrics` in the Prometheus text format ([`super::TEXT_CONTENT_TYPE`]).
    pub fn encode_text(&self) -> String {
        self.process.look();
        exposition::prometheus(&self.registry, &COUNTERS)
    }

    /// `/metrics` in OpenMetrics ([`super::OPENMETRICS_CONTENT_TYPE`]).
    pub fn encode_openmetrics(&self) -> String {
        self.process.look();
        exposition::openmetrics(&self.registry)
    }

    /// `/metrics/cloud` in the Prometheus text format.
    pub fn encode_cloud_text(&self) -> String {
        exposition::prometheus(&self.cloud_registry, &CLOUD_COUNTERS)
    }

    /// `/metrics/cloud` in OpenMetrics.
    pub fn encode_cloud_openmetrics(&self) -> String {
        exposition::openmetrics(&self.cloud_registry)
    }
}

/// One more on a gauge until the guard is dropped, however the work ends.
#[derive(Debug)]
#[must_use]
pub struct Held(Gauge);

/// Raises a gauge until the guard is dropped.
pub fn hold(gauge: &Gauge) -> Held {
    gauge.inc();
    Held(gauge.clone())
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

fn backends(registry: &mut Registry) -> Labelled<Backend> {
    let requests = Family::<One, Counter>::default();
    let latencies = Family::<One, Histogram>::new_with_constructor(latency as fn() -> Histogram);
    let first_bytes = Family::<One, Histogram>::new_with_constructor(latency as fn() -> Histogram);
    let attempts = Family::<Two, Counter>::default();
    registry.register(names::REQUESTS.name, names::REQUESTS.help, requests.clone());
    registry.register(names::REQUEST_LATENCY.name, names::REQUEST_LATENCY.help, latencies.clone());
    registry.register(names::FIRST_BYTE.name, names::FIRST_BYTE.help, first_bytes.clone());
    registry.register(names::ATTEMPTS.name, names::ATTEMPTS.help, attempts.clone());
    Labelled::new(move |backend| {
        let one = [(labels::BACKEND, backend.to_owned())];
        Backend {
            requests: requests.get_or_create_owned(&one),
            latency: latencies.get_or_create_owned(&one),
            first_byte: first_bytes.get_or_create_owned(&one),
            attempts: Outcome::ALL.map(|outcome| {
                attempts.get_or_create_owned(&[(labels::BACKEND, backend.to_owned()), (labels::OUTCOME, outcome.as_str().to_owned())])
            }),
        }
    })
}

fn models(registry: &mut Registry) -> Labelled<Model> {
    let cache_hits = Family::<One, Counter>::default();
    let cache_misses = Family::<One, Counter>::default();
    let tokens = Family::<Two, Counter>::default();
    registry.register(names::CACHE_HITS.name, names::CACHE_HITS.help, cache_hits.clone());
    registry.register(names::CACHE_MISSES.name, names::CACHE_MISSES.help, cache_misses.clone());
    registry.register(names::TOKENS.name, names::TOKENS.help, tokens.clone());
    Labelled::new(move |model| {
        let direction = |name: &str| [(labels::MODEL, model.to_owned()), (labels::DIRECTION, name.to_owned())];
        Model {
            cache_hits: cache_hits.get_or_create_owned(&[(labels::MODEL, model.to_owned())]),
            cache_misses: cache_misses.get_or_create_owned(&[(labels::MODEL, model.to_owned())]),
            input_tokens: tokens.get_or_create_owned(&direction("input")),
            cached_tokens: tokens.get_or_create_owned(&direction("cached")),
            output_tokens: tokens.get_or_create_owned(&direction("output")),
        }
    })
}

fn clouds(registry: &mut Registry) -> Labelled<Cloud> {
    let requests = Family::<Two, Counter>::default();
    let latencies = Family::<One, Histogram>::new_with_constructor(latency as fn() -> Histogram);
    registry.register(names::CLOUD_REQUESTS.name, names::CLOUD_REQUESTS.help, requests.clone());
    registry.register(names::CLOUD_LATENCY.name, names::CLOUD_LATENCY.help, latencies.clone());
    Labelled::new(move |provider| Cloud {
        provider: provider.to_owned(),
        requests: requests.clone(),
        latency: latencies.get_or_create_owned(&[(labels::PROVIDER, provider.to_owned())]),
    })
}

fn by_one(registry: &mut Registry, metric: Metric, label: &'static str) -> Labelled<Counter> {
    let family = Family::<One, Counter>::default();
    registry.register(metric.name, metric.help, family.clone());
    Labelled::new(move |value| family.get_or_create_owned(&[(label, value.to_owned())]))
}

/// A status without an allocation.
fn three_digits(status: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    *digits = [digit(status / 100), digit(status / 10), digit(status)];
    std::str::from_utf8(digits).expect("digits are text")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, Outcome, hold};

    #[test]
    fn names_are_there_before_anything_happened() {
        let text = Metrics::new().encode_text();
        for name in [
            "router_requests_total",
            "router_cache_hits_total",
            "router_tokens_total",
            "router_dropped_rows_total 0",
            "router_dropped_decisions_total 0",
            "process_uptime_seconds",
        ] {
            assert!(text.contains(name), "{name} in\n{text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    }

    #[test]
    fn one_sample_per_backend() {
        let metrics = Metrics::new();
        for (name, times) in [("alpha", 2), ("be\"ta", 3)] {
            for _ in 0..times {
                let backend = metrics.backend(name);
                backend.requests.inc();
                backend.latency.observe(0.02);
                backend.attempted(Outcome::Success);
            }
        }
        let text = metrics.encode_text();
        let samples: Vec<_> = text.lines().filter(|line| line.starts_with("router_requests_total{")).collect();
        assert_eq!(samples.len(), 2, "{text}");
        assert!(text.contains("router_requests_total{backend=\"alpha\"} 2\n"), "{text}");
        assert!(text.contains("router_requests_total{backend=\"be\\\"ta\"} 3\n"), "{text}");
        assert!(text.contains("router_request_latency_seconds_count{backend=\"alpha\"} 2\n"), "{text}");
        assert!(text.contains("router_request_latency_seconds_bucket{le=\"+Inf\",backend=\"alpha\"} 2\n"), "{text}");
        assert!(text.contains("router_attempts_total{backend=\"alpha\",outcome=\"success\"} 2\n"), "{text}");
        assert!(text.contains("# TYPE router_requests_total counter\n"), "{text}");
        assert_eq!(text.matches("# TYPE router_requests_total ").count(), 1);
    }

    #[test]
    fn openmetrics_ends_as_it_must() {
        let metrics = Metrics::new();
        metrics.backend("a").requests.inc();
        let text = metrics.encode_openmetrics();
        assert!(text.ends_with("# EOF\n") && text.contains("# TYPE router_requests counter\n"), "{text}");
    }

    #[test]
    fn cloud_calls_have_their_own_page() {
        let metrics = Metrics::new();
        metrics.cloud("openai").called(200, Duration::from_millis(30));
        metrics.cloud("openai").called(429, Duration::from_millis(1));
        let text = metrics.encode_cloud_text();
        assert!(text.contains("cloud_requests_total{provider=\"openai\",status=\"429\"} 1\n"), "{text}");
        assert!(text.contains("cloud_request_latency_seconds_count{provider=\"openai\"} 2\n"), "{text}");
        assert!(!metrics.encode_text().contains("cloud_"));
    }

    #[test]
    fn a_held_gauge_falls_when_the_holder_goes() {
        let metrics = Metrics::new();
        let one = hold(&metrics.active_requests);
        let two = hold(&metrics.active_requests);
        assert_eq!(metrics.active_requests.get(), 2);
        drop((one, two));
        assert_eq!(metrics.active_requests.get(), 0);
    }

    #[test]
    fn every_outcome_has_its_own_counter() {
        let metrics = Metrics::new();
        for outcome in Outcome::ALL {
            metrics.backend("a").attempted(outcome);
        }
        let text = metrics.encode_text();
        assert_eq!(text.lines().filter(|line| line.starts_with("router_attempts_total{") && line.ends_with(" 1")).count(), 8, "{text}");
        metrics.responded(503);
        metrics.refused("invalid_api_key");
        let text = metrics.encode_text();
        assert!(
            text.contains("router_responses_total{status=\"503\"} 1\n")
                && text.contains("router_refusals_total{code=\"invalid_api_key\"} 1\n")
        );
    }
}
