//! The decision log: what Open-LLM Router's readers of `router_decisions.jsonl` expect, one object a line, the lines of a request together.
//!
//! No line has text of a prompt or of an answer, and no previews are made.

use journey::{Attempt, AttemptOutcome, Operation, Outcome, Receipt, Target};
use serde::Serialize;
use serde_json::json;
use telemetry::chronicle::Tell;

use super::{Decided, decision};

/// What every line begins with; its other members follow.
#[derive(Serialize)]
struct Beginning<'a> {
    /// Unix seconds.
    ts: i64,
    event: &'static str,
    request_id: &'a str,
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    receipt: &'a Receipt,
}

impl Writer<'_> {
    /// A line of what happened so long after the request's arrival.
    fn line(&mut self, after_ms: f64, event: &'static str, fields: &impl Serialize) {
        let ts = self.receipt.received_at.as_millisecond().saturating_add(after_ms as i64).div_euclid(1000);
        let beginning = Beginning { ts, event, request_id: &self.receipt.request_id };
        let before = self.out.len();
        let mut write = || {
            serde_json::to_writer(&mut *self.out, &beginning)?;
            let end = self.out.len() - 1;
            serde_json::to_writer(&mut *self.out, fields)?;
            // Two objects become one: half the cost of a flattened member, in which every value is looked at before it is written.
            self.out[end] = b',';
            self.out.remove(end + 1);
            Ok::<_, serde_json::Error>(())
        };
        match write() {
            Ok(()) => self.out.push(b'\n'),
            // Half a line would spoil the next.
            Err(_) => self.out.truncate(before),
        }
    }
}

#[derive(Serialize)]
struct RouteDecision<'a> {
    path: &'a str,
    requested_model: &'a str,
    selected_model: &'a str,
    source: &'static str,
    task: Option<&'static str>,
    complexity: Option<&'static str>,
    fallback_models: &'a [&'a str],
    ranked_models: &'a [&'a str],
    signals: Signals<'a>,
    decision_trace: Trace<'a>,
    candidate_scores: [(); 0],
    payload_summary: Payload,
}

#[derive(Serialize)]
struct Signals<'a> {
    endpoint: &'a str,
    dialect: &'static str,
}

#[derive(Serialize)]
struct Trace<'a> {
    rule: &'static str,
    targets: Vec<Considered<'a>>,
}

#[derive(Serialize)]
struct Considered<'a> {
    target: String,
    reason: &'a str,
}

#[derive(Serialize)]
struct Payload {
    stream: bool,
    has_tools: bool,
    tool_choice_type: Option<&'static str>,
    reasoning_effort: Option<&'static str>,
    messages_count: Option<u32>,
    input_chars: Option<u64>,
    max_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
}

#[derive(Serialize)]
struct Tried<'a> {
    /// `account:model`.
    target: &'a str,
    account: &'a str,
    provider: &'a str,
    upstream_model: &'a str,
    attempt: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<AttemptOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_target: Option<&'a str>,
}

#[derive(Serialize)]
struct Start<'a> {
    path: &'a str,
    stream: bool,
    targets: usize,
}

#[derive(Serialize)]
struct Responded<'a> {
    status: u16,
    stream: bool,
    account: Option<&'a str>,
    provider: Option<&'a str>,
    upstream_model: Option<&'a str>,
    latency_ms: f64,
    first_byte_ms: Option<f64>,
    bytes: u64,
}

#[derive(Serialize)]
struct ChatResult {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    is_estimated: bool,
}

#[derive(Serialize)]
struct Failed<'a> {
    requested_model: &'a str,
    status: u16,
    error_type: Option<&'a str>,
    attempted_targets: Vec<String>,
}

#[derive(Serialize)]
struct Terminal<'a> {
    path: &'a str,
    status: u16,
    outcome: &'static str,
    error_type: Option<&'a str>,
    key: Option<&'a str>,
    latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
}

fn label(name: &str, model: &str) -> String {
    format!("{name}:{model}")
}

fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

impl Tell for Decided {
    fn tell(&self, out: &mut Vec<u8>) {
        let receipt = &*self.0;
        let mut writer = Writer { out, receipt };
        decided(&mut writer);
        attempted(&mut writer);
        ended(&mut writer);
    }

    fn tell_lost(lost: u64, out: &mut Vec<u8>) {
        let line = json!({"ts": jiff::Timestamp::now().as_second(), "event": "audit_logger_dropped_records", "dropped": lost});
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
    }
}

fn decided(writer: &mut Writer<'_>) {
    let receipt = writer.receipt;
    let Some(plan) = &receipt.plan else { return };
    let models = decision::models(plan);
    let targets = plan.candidates.iter().map(|candidate| {
        let name = match &candidate.target {
            Target::Account { name } => name,
            Target::Fleet => "node",
            Target::Dummy => "dummy",
        };
        Considered { target: label(name, &candidate.model), reason: candidate.reason }
    });
    let shape = receipt.shape;
    writer.line(
        0.0,
        "route_decision",
        &RouteDecision {
            path: &receipt.path,
            requested_model: &receipt.model_requested,
            selected_model: models.first().copied().unwrap_or_default(),
            source: decision::source(receipt.rule),
            task: None,
            complexity: None,
            fallback_models: models.get(1..).unwrap_or_default(),
            ranked_models: &models,
            signals: Signals { endpoint: &receipt.path, dialect: receipt.operation.name() },
            decision_trace: Trace { rule: plan.rule, targets: targets.collect() },
            candidate_scores: [],
            payload_summary: Payload {
                stream: receipt.stream,
                has_tools: shape.has_tools,
                tool_choice_type: shape.tool_choice,
                reasoning_effort: shape.effort,
                messages_count: shape.messages,
                input_chars: shape.input_bytes,
                max_tokens: shape.max_tokens,
                max_output_tokens: shape.max_output_tokens,
            },
        },
    );
    let first = receipt.attempts.first().map_or(receipt.duration_ms, |attempt| attempt.started_ms);
    writer.line(first, "proxy_start", &Start { path: &receipt.path, stream: receipt.stream, targets: plan.candidates.len() });
}

fn attempted(writer: &mut Writer<'_>) {
    let attempts = &writer.receipt.attempts;
    let labels: Vec<String> = attempts.iter().map(|a| label(&a.target, &a.model)).collect();
    let mut tries = 0;
    for (at, attempt) in attempts.iter().enumerate() {
        let tried = Tried {
            target: &labels[at],
            account: &attempt.target,
            provider: &attempt.provider,
            upstream_model: &attempt.model,
            attempt: tries + 1,
            status: None,
            latency_ms: None,
            error_type: None,
            error: None,
            next_target: None,
        };
        if !attempt.outcome.is_try() {
            let event = match attempt.outcome {
                AttemptOutcome::Limited | AttemptOutcome::Cooling => "proxy_skip_rate_limited",
                AttemptOutcome::CircuitOpen => "proxy_skip_circuit_open",
                _ => "proxy_skip",
            };
            writer.line(attempt.started_ms, event, &Tried { error: attempt.error.as_deref(), ..tried });
            continue;
        }
        tries += 1;
        writer.line(attempt.started_ms, "proxy_attempt", &tried);
        let next = (at + 1..attempts.len()).find(|later| attempts[*later].outcome.is_try());
        answered(writer, attempt, tried, next.map(|next| &*labels[next]));
    }
}

fn answered(writer: &mut Writer<'_>, attempt: &Attempt, tried: Tried<'_>, next_target: Option<&str>) {
    let after_ms = attempt.started_ms + attempt.duration_ms;
    let tried = Tried { status: attempt.status, latency_ms: Some(rounded(attempt.duration_ms)), ..tried };
    let is_served = attempt.outcome == AttemptOutcome::Served;
    if attempt.status.is_some() {
        writer.line(after_ms, "proxy_upstream_connected", &tried);
    }
    let failed = Tried { error_type: (!is_served).then_some(attempt.outcome), error: attempt.error.as_deref(), ..tried };
    if attempt.status.is_none() && !is_served {
        writer.line(after_ms, "proxy_request_error", &failed);
    }
    if !is_served && attempt.status == Some(429) {
        writer.line(after_ms, "proxy_rate_limited", &failed);
    }
    if let (false, Some(_)) = (is_served, next_target) {
        writer.line(after_ms, "proxy_retry", &Tried { next_target, ..failed });
    }
}

fn ended(writer: &mut Writer<'_>) {
    let receipt = writer.receipt;
    let after_ms = receipt.duration_ms;
    let is_answered = receipt.attempts.iter().any(|a| a.outcome == AttemptOutcome::Served);
    let tokens = receipt.usage.unwrap_or_default();
    let (status, latency_ms) = (receipt.status, rounded(after_ms));
    if is_answered {
        let response = Responded {
            status,
            stream: receipt.stream,
            account: receipt.target.as_deref(),
            provider: receipt.provider.as_deref(),
            upstream_model: receipt.model_served.as_deref(),
            latency_ms,
            first_byte_ms: receipt.first_byte_ms.map(rounded),
            bytes: receipt.bytes_out,
        };
        writer.line(after_ms, "proxy_response", &response);
        if receipt.usage.is_some() && matches!(receipt.operation, Operation::Generate(_)) {
            let (prompt_tokens, completion_tokens) = (tokens.input(), tokens.output());
            let total_tokens = prompt_tokens + completion_tokens;
            let result = ChatResult { prompt_tokens, completion_tokens, total_tokens, is_estimated: receipt.usage_is_estimated };
            writer.line(after_ms, "proxy_chat_result", &result);
        }
    } else if receipt.outcome == Outcome::Error {
        let attempted_targets: Vec<String> =
            receipt.attempts.iter().filter(|a| a.outcome.is_try()).map(|a| label(&a.target, &a.model)).collect();
        let event = if attempted_targets.is_empty() { "proxy_no_target" } else { "proxy_exhausted" };
        let failure =
            Failed { requested_model: &receipt.model_requested, status, error_type: receipt.error_code.as_deref(), attempted_targets };
        writer.line(after_ms, event, &failure);
    }
    let terminal = Terminal {
        path: &receipt.path,
        status,
        outcome: receipt.outcome.name(),
        error_type: receipt.error_code.as_deref(),
        key: receipt.key.as_ref().map(|key| &*key.name),
        latency_ms,
        cache: receipt.cache_word(),
    };
    writer.line(after_ms, "proxy_terminal", &terminal);
}
