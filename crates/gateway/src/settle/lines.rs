//! The decision log: what Open-LLM Router's readers of `router_decisions.jsonl` expect, one object a line, the lines of a request together.
//!
//! No line has text of a prompt or of an answer, and no previews are made.

use journey::{Attempt, AttemptOutcome, Operation, Outcome, Receipt, Target};
use serde::Serialize;
use serde_json::json;
use telemetry::chronicle::Tell;

use super::{Decided, decision};

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    receipt: &'a Receipt,
}

/// Appends members to the line that was begun. Their names cost a copy each, because they are known here; as members of types that serde
/// writes they took a third of the time of all lines.
macro_rules! members {
    ($writer:expr, $($name:literal: $value:expr),+ $(,)?) => {
        $($writer.member(concat!(",\"", $name, "\":"), &$value);)+
    };
}

impl Writer<'_> {
    /// Begins a line of what happened so long after the request's arrival.
    fn begin(&mut self, after_ms: f64, event: &str) {
        let ts = self.receipt.received_at.as_millisecond().saturating_add(after_ms as i64).div_euclid(1000);
        let request_id = &*self.receipt.request_id;
        self.member("{\"ts\":", &ts);
        members!(self, "event": event, "request_id": request_id);
    }

    /// `name` with what stands before and after it.
    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.out.extend_from_slice(name.as_bytes());
        // Memory refuses no bytes, and no value of these refuses to be written.
        let _ = serde_json::to_writer(&mut *self.out, value);
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"}\n");
    }
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
    let payload = Payload {
        stream: receipt.stream,
        has_tools: shape.has_tools,
        tool_choice_type: shape.tool_choice,
        reasoning_effort: shape.effort,
        messages_count: shape.messages,
        input_chars: shape.input_bytes,
        max_tokens: shape.max_tokens,
        max_output_tokens: shape.max_output_tokens,
    };
    writer.begin(0.0, "route_decision");
    members!(
        writer,
        "path": receipt.path,
        "requested_model": receipt.model_requested,
        "selected_model": models.first().copied().unwrap_or_default(),
        "source": decision::source(receipt.rule),
        "task": (),
        "complexity": (),
        "fallback_models": models.get(1..).unwrap_or_default(),
        "ranked_models": models,
        "signals": Signals { endpoint: &receipt.path, dialect: receipt.operation.name() },
        "decision_trace": Trace { rule: plan.rule, targets: targets.collect() },
        "candidate_scores": [(); 0],
        "payload_summary": payload,
    );
    writer.end();
    let first = receipt.attempts.first().map_or(receipt.duration_ms, |attempt| attempt.started_ms);
    writer.begin(first, "proxy_start");
    members!(writer, "path": receipt.path, "stream": receipt.stream, "targets": plan.candidates.len());
    writer.end();
}

fn attempted(writer: &mut Writer<'_>) {
    let attempts = &writer.receipt.attempts;
    let mut number = 1;
    for (at, attempt) in attempts.iter().enumerate() {
        let target = label(&attempt.target, &attempt.model);
        let tried = Tried { attempt, target: &target, number };
        if !attempt.outcome.is_try() {
            let event = match attempt.outcome {
                AttemptOutcome::Limited | AttemptOutcome::Cooling => "proxy_skip_rate_limited",
                AttemptOutcome::CircuitOpen => "proxy_skip_circuit_open",
                _ => "proxy_skip",
            };
            tried.begin(writer, attempt.started_ms, event);
            tried.error(writer);
            writer.end();
            continue;
        }
        tried.begin(writer, attempt.started_ms, "proxy_attempt");
        writer.end();
        let next = attempts[at + 1..].iter().find(|later| later.outcome.is_try());
        tried.answered(writer, next);
        number += 1;
    }
}

/// An attempt, as its lines name it.
struct Tried<'a> {
    attempt: &'a Attempt,
    /// `account:model`.
    target: &'a str,
    /// Of those that were sent; from 1.
    number: usize,
}

impl Tried<'_> {
    fn begin(&self, writer: &mut Writer<'_>, after_ms: f64, event: &str) {
        writer.begin(after_ms, event);
        members!(
            writer,
            "target": self.target,
            "account": self.attempt.target,
            "provider": self.attempt.provider,
            "upstream_model": self.attempt.model,
            "attempt": self.number,
        );
    }

    fn error(&self, writer: &mut Writer<'_>) {
        if let Some(error) = &self.attempt.error {
            members!(writer, "error": error);
        }
    }

    /// A line of how it came out.
    fn begin_outcome(&self, writer: &mut Writer<'_>, event: &str) {
        let attempt = self.attempt;
        self.begin(writer, attempt.started_ms + attempt.duration_ms, event);
        if let Some(status) = attempt.status {
            members!(writer, "status": status);
        }
        members!(writer, "latency_ms": rounded(attempt.duration_ms));
    }

    fn begin_failure(&self, writer: &mut Writer<'_>, event: &str) {
        self.begin_outcome(writer, event);
        members!(writer, "error_type": self.attempt.outcome);
        self.error(writer);
    }

    fn answered(&self, writer: &mut Writer<'_>, next: Option<&Attempt>) {
        let attempt = self.attempt;
        if attempt.status.is_some() {
            self.begin_outcome(writer, "proxy_upstream_connected");
            writer.end();
        }
        if attempt.outcome == AttemptOutcome::Served {
            return;
        }
        if attempt.status.is_none() {
            self.begin_failure(writer, "proxy_request_error");
            writer.end();
        }
        if attempt.status == Some(429) {
            self.begin_failure(writer, "proxy_rate_limited");
            writer.end();
        }
        if let Some(next) = next {
            self.begin_failure(writer, "proxy_retry");
            members!(writer, "next_target": label(&next.target, &next.model));
            writer.end();
        }
    }
}

fn ended(writer: &mut Writer<'_>) {
    let receipt = writer.receipt;
    let after_ms = receipt.duration_ms;
    let is_answered = receipt.attempts.iter().any(|a| a.outcome == AttemptOutcome::Served);
    let tokens = receipt.usage.unwrap_or_default();
    let (status, latency_ms) = (receipt.status, rounded(after_ms));
    if is_answered {
        writer.begin(after_ms, "proxy_response");
        members!(
            writer,
            "status": status,
            "stream": receipt.stream,
            "account": receipt.target.as_deref(),
            "provider": receipt.provider.as_deref(),
            "upstream_model": receipt.model_served.as_deref(),
            "latency_ms": latency_ms,
            "first_byte_ms": receipt.first_byte_ms.map(rounded),
            "bytes": receipt.bytes_out,
        );
        writer.end();
        if receipt.usage.is_some() && matches!(receipt.operation, Operation::Generate(_)) {
            let (prompt, completion) = (tokens.input(), tokens.output());
            writer.begin(after_ms, "proxy_chat_result");
            members!(
                writer,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "is_estimated": receipt.usage_is_estimated,
            );
            writer.end();
        }
    } else if receipt.outcome == Outcome::Error {
        let attempted_targets: Vec<String> =
            receipt.attempts.iter().filter(|a| a.outcome.is_try()).map(|a| label(&a.target, &a.model)).collect();
        let event = if attempted_targets.is_empty() { "proxy_no_target" } else { "proxy_exhausted" };
        writer.begin(after_ms, event);
        members!(
            writer,
            "requested_model": receipt.model_requested,
            "status": status,
            "error_type": receipt.error_code.as_deref(),
            "attempted_targets": attempted_targets,
        );
        writer.end();
    }
    writer.begin(after_ms, "proxy_terminal");
    members!(
        writer,
        "path": receipt.path,
        "status": status,
        "outcome": receipt.outcome.name(),
        "error_type": receipt.error_code.as_deref(),
        "key": receipt.key.as_ref().map(|key| &*key.name),
        "latency_ms": latency_ms,
    );
    if let Some(cache) = receipt.cache_word() {
        members!(writer, "cache": cache);
    }
    writer.end();
}
