//! The decision log: what Open-LLM Router's readers of `router_decisions.jsonl` expect, one object a line, the lines of a request together.
//!
//! No line has text of a prompt or of an answer, and no previews are made.

use journey::{Attempt, AttemptOutcome, Candidate, Operation, Outcome, Receipt, Target};
use serde::{Serialize, Serializer};
use serde_json::json;
use telemetry::chronicle::Tell;

use super::{
    Decided, decision,
    line::{Repeated, member, members},
};

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    receipt: &'a Receipt,
    request_id: Repeated,
}

impl Writer<'_> {
    /// Begins a line of what happened so long after the request's arrival. An event's name has nothing to escape.
    fn begin(&mut self, after_ms: f64, event: &str) {
        let ts = self.receipt.received_at.as_millisecond().saturating_add(after_ms as i64).div_euclid(1000);
        member(self.out, "{\"ts\":", &ts);
        for part in [",\"event\":\"", event, "\""] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.request_id.append(self.out, |out| members!(out, "request_id": &*self.receipt.request_id));
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
    #[serde(serialize_with = "considered")]
    targets: &'a [Candidate],
}

fn considered<S: Serializer>(candidates: &[Candidate], out: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Considered<'a> {
        target: Label<'a>,
        reason: &'a str,
    }
    out.collect_seq(candidates.iter().map(|candidate| {
        let name = match &candidate.target {
            Target::Account { name } => name,
            Target::Fleet => "node",
            Target::Dummy => "dummy",
        };
        Considered { target: Label(name, &candidate.model), reason: candidate.reason }
    }))
}

/// `name:model`, as readers know targets.
struct Label<'a>(&'a str, &'a str);

impl<'a> Label<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        Self(&attempt.target, &attempt.model)
    }
}

impl Serialize for Label<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{}:{}", self.0, self.1))
    }
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

fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

impl Tell for Decided {
    fn tell(&self, out: &mut Vec<u8>) {
        let receipt = &*self.0;
        let mut writer = Writer { out, receipt, request_id: Repeated::default() };
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
        writer.out,
        "path": receipt.path,
        "requested_model": receipt.model_requested,
        "selected_model": models.first().copied().unwrap_or_default(),
        "source": decision::source(receipt.rule),
        "task": (),
        "complexity": (),
        "fallback_models": models.get(1..).unwrap_or_default(),
        "ranked_models": models,
        "signals": Signals { endpoint: &receipt.path, dialect: receipt.operation.name() },
        "decision_trace": Trace { rule: plan.rule, targets: &plan.candidates },
        "candidate_scores": [(); 0],
        "payload_summary": payload,
    );
    writer.end();
    let first = receipt.attempts.first().map_or(receipt.duration_ms, |attempt| attempt.started_ms);
    writer.begin(first, "proxy_start");
    members!(writer.out, "path": receipt.path, "stream": receipt.stream, "targets": plan.candidates.len());
    writer.end();
}

fn attempted(writer: &mut Writer<'_>) {
    let attempts = &writer.receipt.attempts;
    let mut number = 1;
    for (at, attempt) in attempts.iter().enumerate() {
        let mut tried = Tried { attempt, number, members: Repeated::default() };
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
    /// Of those that were sent; from 1.
    number: usize,
    members: Repeated,
}

impl Tried<'_> {
    fn begin(&mut self, writer: &mut Writer<'_>, after_ms: f64, event: &str) {
        writer.begin(after_ms, event);
        let attempt = self.attempt;
        self.members.append(writer.out, |out| {
            members!(
                out,
                "target": Label::of(attempt),
                "account": attempt.target,
                "provider": attempt.provider,
                "upstream_model": attempt.model,
                "attempt": self.number,
            );
        });
    }

    fn error(&self, writer: &mut Writer<'_>) {
        if let Some(error) = &self.attempt.error {
            members!(writer.out, "error": error);
        }
    }

    /// A line of how it came out.
    fn begin_outcome(&mut self, writer: &mut Writer<'_>, event: &str) {
        let attempt = self.attempt;
        self.begin(writer, attempt.started_ms + attempt.duration_ms, event);
        if let Some(status) = attempt.status {
            members!(writer.out, "status": status);
        }
        members!(writer.out, "latency_ms": rounded(attempt.duration_ms));
    }

    fn begin_failure(&mut self, writer: &mut Writer<'_>, event: &str) {
        self.begin_outcome(writer, event);
        members!(writer.out, "error_type": self.attempt.outcome);
        self.error(writer);
    }

    fn answered(&mut self, writer: &mut Writer<'_>, next: Option<&Attempt>) {
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
            members!(writer.out, "next_target": Label::of(next));
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
            writer.out,
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
                writer.out,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "is_estimated": receipt.usage_is_estimated,
            );
            writer.end();
        }
    } else if receipt.outcome == Outcome::Error {
        let attempted_targets: Vec<_> = receipt.attempts.iter().filter(|a| a.outcome.is_try()).map(Label::of).collect();
        let event = if attempted_targets.is_empty() { "proxy_no_target" } else { "proxy_exhausted" };
        writer.begin(after_ms, event);
        members!(
            writer.out,
            "requested_model": receipt.model_requested,
            "status": status,
            "error_type": receipt.error_code.as_deref(),
            "attempted_targets": attempted_targets,
        );
        writer.end();
    }
    writer.begin(after_ms, "proxy_terminal");
    members!(
        writer.out,
        "path": receipt.path,
        "status": status,
        "outcome": receipt.outcome.name(),
        "error_type": receipt.error_code.as_deref(),
        "key": receipt.key.as_ref().map(|key| &*key.name),
        "latency_ms": latency_ms,
    );
    if let Some(cache) = receipt.cache_word() {
        members!(writer.out, "cache": cache);
    }
    writer.end();
}
