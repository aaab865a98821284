//! What an upstream's answer means for the next step.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

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

/// Judges a status and, for 400, the body (credit runs out as 400 at one provider). `also_retried` are the operator's own additions.
pub fn classify(status: StatusCode, body: &[u8], also_retried: &[u16]) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Serve,
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        409 if says(body, &["lock"]) => Verdict::Retry,
        code if also_retried.contains(&code) => Verdict::Retry,
        401..=404 => Verdict::NextTarget,
        400 if says(body, &["credit balance", "insufficient_quota", "billing"]) => Verdict::NextTarget,
        _ => Verdict::GiveBack,
    }
}

fn says(body: &[u8], words: &[&str]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_lowercase();
    words.iter().any(|w| text.contains(w))
}

/// How long the upstream asks to wait: `retry-after-ms`, or `Retry-After` in seconds. Dates are taken as unset.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let seconds = number("retry-after-ms").map(|ms| ms / 1e3).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The upstream's words in an error body of any usual shape, cut to a bound.
pub fn message_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // Google's compatible endpoints answer with a list of one.
    let value = value.get(0).unwrap_or(&value);
    let error = value.get("error").unwrap_or(value);
    let text = error["message"].as_str().or(error.as_str()).or(value["detail"].as_str()).or(value["message"].as_str())?;
    Some(text.chars().take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged() {
        let judge = |code: u16, body: &str| classify(StatusCode::from_u16(code).unwrap(), body.as_bytes(), &[418]);
        for code in [408, 425, 429, 500, 502, 503, 504, 529, 418] {
            assert_eq!(judge(code, ""), Verdict::Retry, "{code}");
        }
        for code in [401, 402, 403, 404] {
            assert_eq!(judge(code, ""), Verdict::NextTarget, "{code}");
        }
        for code in [400, 405, 409, 413, 422] {
            assert_eq!(judge(code, "{}"), Verdict::GiveBack, "{code}");
        }
        assert_eq!(judge(400, "Your credit balance is too low"), Verdict::NextTarget);
        assert_eq!(judge(409, "lock timeout"), Verdict::Retry);
        assert_eq!(judge(200, ""), Verdict::Serve);
    }

    #[test]
    fn waits_are_read() {
        let of = |pairs: &[(&'static str, &str)]| {
            retry_after(&pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap())).collect())
        };
        assert_eq!(of(&[("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(of(&[("retry-after", "3"), ("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(of(&[("retry-after", "-1")]), None);
        assert_eq!(of(&[("retry-after", "1e300")]), None);
        assert_eq!(of(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), None);
    }

    #[test]
    fn messages_are_found_in_every_shape() {
        for body in [
            r#"{"error":{"message":"no"}}"#,
            r#"[{"error":{"message":"no"}}]"#,
            r#"{"error":"no"}"#,
            r#"{"detail":"no"}"#,
            r#"{"message":"no"}"#,
        ] {
            assert_eq!(message_of(body.as_bytes()).as_deref(), Some("no"), "{body}");
        }
        assert_eq!(message_of(b"<html>"), None);
    }
}
