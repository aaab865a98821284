//! What an upstream's answer means: its kind, and what to do next.

use http::StatusCode;

use crate::{catalog::Provider, said::Said};

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Serve,
    /// A passing fault: the same or another target may do it.
    Retry,
    /// A fault of our credential or of the model's place there: another target may do it, this one will not.
    NextTarget,
    /// The client's own fault: goes back as it is.
    GiveBack,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Too many requests or tokens in a time.
    RateLimit,
    /// No money: credit, quota or spending limit.
    Credit,
    /// The key is wrong, or may not do this.
    Key,
    /// The model is not there, or not for this key.
    Model,
    /// The path is not there.
    Endpoint,
    /// More tokens than the model takes.
    ContextLength,
    /// Refused for what it says.
    ContentPolicy,
    /// More bytes than the server takes.
    TooLarge,
    /// Too busy.
    Overloaded,
    /// The model is on its way into memory.
    Loading,
    /// It took too long there.
    Timeout,
    /// It collides with another request.
    Conflict,
    /// A fault of the server.
    Server,
    /// The request is wrong in another way.
    Invalid,
}

impl Kind {
    /// The word in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Credit => "credit",
            Self::Key => "key",
            Self::Model => "model",
            Self::Endpoint => "endpoint",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::Loading => "loading",
            Self::Timeout => "timeout",
            Self::Conflict => "conflict",
            Self::Server => "server",
            Self::Invalid => "invalid",
        }
    }
}

/// Where in an error a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// One of the error's identifiers (`code`, `type`, `status`, a detail's `reason`), whole, whatever its case.
    Name,
    /// Somewhere in its message, whatever the case.
    Message,
}

/// An error that tells what it is by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tell {
    /// Only with these statuses; empty: with any refusal.
    pub statuses: &'static [u16],
    pub field: Field,
    /// In lower case.
    pub says: &'static str,
    pub kind: Kind,
}

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// `None` for a success.
    pub kind: Option<Kind>,
}

/// Judges an answer of any provider. `also_retried` are the operator's own additions.
pub fn classify(status: StatusCode, body: &[u8], also_retried: &[u16]) -> Verdict {
    judge(&crate::catalog::provider(""), status, body, also_retried).verdict
}

/// Judges an answer of a provider by its status and the body of its error. `also_retried` are the operator's own additions.
pub fn judge(row: &Provider, status: StatusCode, body: &[u8], also_retried: &[u16]) -> Judgement {
    if status.is_success() {
        return Judgement { verdict: Verdict::Serve, kind: None };
    }
    let said = Said::read(body);
    let kind = kind(row, status.as_u16(), &said);
    Judgement { verdict: verdict(status.as_u16(), kind, &said, also_retried), kind: Some(kind) }
}

fn verdict(status: u16, kind: Kind, said: &Said, also_retried: &[u16]) -> Verdict {
    match (status, kind) {
        // Waiting fills no purse, and a model that loads was waited for already.
        (400..=499, Kind::Credit) | (503, Kind::Loading) => Verdict::NextTarget,
        (408 | 425 | 429 | 500..=599, _) => Verdict::Retry,
        (409, _) if said.message_has("lock") => Verdict::Retry,
        (status, _) if also_retried.contains(&status) => Verdict::Retry,
        (400..=499, Kind::Server | Kind::Overloaded | Kind::Timeout) => Verdict::Retry,
        (400..=499, Kind::ContextLength | Kind::ContentPolicy) => Verdict::GiveBack,
        // A credential and a prompt are not carried to wherever an answer points. One request beyond the whole limit of a window will not
        // fit later either.
        (..=399 | 401..=404, _) | (400..=499, Kind::Key | Kind::Model | Kind::RateLimit) | (400, Kind::Endpoint) => Verdict::NextTarget,
        _ => Verdict::GiveBack,
    }
}

fn kind(row: &Provider, status: u16, said: &Said) -> Kind {
    let hit = |tell: &&Tell| {
        (tell.statuses.is_empty() || tell.statuses.contains(&status))
            && match tell.field {
                Field::Name => said.is_named(tell.says),
                Field::Message => said.message_has(tell.says),
            }
    };
    if let Some(tell) = row.tells.iter().find(hit) {
        return tell.kind;
    }
    // Servers' own faults quote all sorts of things; only what they are named counts.
    let common = COMMON.iter().filter(|tell| status < 500 || tell.field == Field::Name);
    if let Some(tell) = common.into_iter().find(hit) {
        return tell.kind;
    }
    match status {
        401 | 403 => Kind::Key,
        402 => Kind::Credit,
        404 if said.message_has("model") || said.message_has("deployment") => Kind::Model,
        404 | 405 | 501 => Kind::Endpoint,
        408 | 504 => Kind::Timeout,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        425 | 429 => Kind::RateLimit,
        503 | 529 => Kind::Overloaded,
        ..=399 | 500..=599 => Kind::Server,
        _ => Kind::Invalid,
    }
}

pub(crate) const fn named(says: &'static str, kind: Kind) -> Tell {
    Tell { statuses: &[], field: Field::Name, says, kind }
}

pub(crate) const fn message(statuses: &'static [u16], says: &'static str, kind: Kind) -> Tell {
    Tell { statuses, field: Field::Message, says, kind }
}

/// Statuses of a request that is found wrong.
pub(crate) const WRONG: &[u16] = &[400, 413, 422];

/// What most providers have in common; names before messages.
const COMMON: &[Tell] = &[
    named("context_length_exceeded", Kind::ContextLength),
    named("exceed_context_size_error", Kind::ContextLength),
    named("content_filter", Kind::ContentPolicy),
    named("content_policy_violation", Kind::ContentPolicy),
    named("responsibleaipolicyviolation", Kind::ContentPolicy),
    named("insufficient_quota", Kind::Credit),
    named("insufficient_balance", Kind::Credit),
    named("billing_error", Kind::Credit),
    named("billing_hard_limit_reached", Kind::Credit),
    named("billing_not_active", Kind::Credit),
    named("payment_required", Kind::Credit),
    named("invalid_api_key", Kind::Key),
    named("authentication_error", Kind::Key),
    named("permission_error", Kind::Key),
    named("model_not_found", Kind::Model),
    named("deploymentnotfound", Kind::Model),
    named("unknown_url", Kind::Endpoint),
    named("rate_limit_exceeded", Kind::RateLimit),
    named("rate_limit_error", Kind::RateLimit),
    named("overloaded_error", Kind::Overloaded),
    named("model_loading", Kind::Loading),
    named("request_too_large", Kind::TooLarge),
    named("timeout_error", Kind::Timeout),
    message(WRONG, "maximum context length", Kind::ContextLength),
    message(WRONG, "context window", Kind::ContextLength),
    message(WRONG, "context length", Kind::ContextLength),
    message(WRONG, "context size", Kind::ContextLength),
    message(WRONG, "prompt is too long", Kind::ContextLength),
    message(WRONG, "too many tokens", Kind::ContextLength),
    message(WRONG, "input token count", Kind::ContextLength),
    message(WRONG, "credit balance", Kind::Credit),
    message(WRONG, "insufficient_quota", Kind::Credit),
    message(WRONG, "billing", Kind::Credit),
    message(&[400], "content management policy", Kind::ContentPolicy),
    message(&[400], "safety system", Kind::ContentPolicy),
    message(&[400, 404], "unknown request url", Kind::Endpoint),
    message(&[400, 404], "invalid url", Kind::Endpoint),
    message(&[400, 404], "unknown endpoint", Kind::Endpoint),
    message(&[400, 404], "unsupported endpoint", Kind::Endpoint),
    message(&[400, 404], "no such endpoint", Kind::Endpoint),
];

/// The upstream's words in an error body of any usual shape, cut to a bound; `None` where the body is no JSON or has none.
pub fn message_of(body: &[u8]) -> Option<String> {
    let said = Said::read(body);
    (said.is_json && !said.message.is_empty()).then(|| said.message.chars().take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged() {
        let judge = |code: u16, body: &str| classify(StatusCode::from_u16(code).unwrap(), body.as_bytes(), &[418]);
        for code in [408, 425, 429, 500, 501, 502, 503, 504, 529, 418] {
            assert_eq!(judge(code, ""), Verdict::Retry, "{code}");
        }
        for code in [301, 302, 304, 307, 308, 401, 402, 403, 404] {
            assert_eq!(judge(code, ""), Verdict::NextTarget, "{code}");
        }
        for code in [400, 405, 409, 413, 415, 422] {
            assert_eq!(judge(code, "{}"), Verdict::GiveBack, "{code}");
        }
        assert_eq!(judge(400, "Your credit balance is too low"), Verdict::NextTarget);
        assert_eq!(judge(409, "lock timeout"), Verdict::Retry);
        assert_eq!(judge(503, r#"{"error": {"message": "still loading", "code": "model_loading"}}"#), Verdict::NextTarget);
        assert_eq!(judge(200, ""), Verdict::Serve);
    }

    #[test]
    fn an_empty_purse_is_no_rate() {
        let body = br#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        let judgement = judge(&crate::catalog::provider("openai"), StatusCode::TOO_MANY_REQUESTS, body, &[429]);
        assert_eq!(judgement, Judgement { verdict: Verdict::NextTarget, kind: Some(Kind::Credit) });
    }

    #[test]
    fn a_servers_own_fault_is_not_read_by_its_words() {
        let body = br#"{"error":{"message":"worker died at maximum context length"}}"#;
        let judgement = judge(&crate::catalog::provider("vllm"), StatusCode::INTERNAL_SERVER_ERROR, body, &[]);
        assert_eq!(judgement, Judgement { verdict: Verdict::Retry, kind: Some(Kind::Server) });
    }

    #[test]
    fn messages_are_found_in_every_shape() {
        for body in [
            r#"{"error":{"message":"no"}}"#,
            r#"[{"error":{"message":"no"}}]"#,
            r#"{"error":"no"}"#,
            r#"{"detail":"no"}"#,
            r#"{"message":"no"}"#,
            r#"{"detail":[{"msg":"no"}]}"#,
            r#"{"object":"error","message":{"detail":[{"msg":"no"}]}}"#,
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"no\"}}"}}}"#,
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"no"}}}"#,
        ] {
            assert_eq!(message_of(body.as_bytes()).as_deref(), Some("no"), "{body}");
        }
        assert_eq!(message_of(br#"{"detail":[{"loc":["body","n"],"msg":"no"}]}"#).as_deref(), Some("body.n: no"));
        for body in [&b"<html>"[..], b"{}", b"", b"[]", b"{\"error\":{}}"] {
            assert_eq!(message_of(body), None);
        }
    }
}
