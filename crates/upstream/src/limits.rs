//! What an answer says about the provider's limits, and how long it asks to wait.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde_json::Value;

mod time;

use time::{duration, wait};

/// One limit of a provider; what was not said is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// What a window takes.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// Until it is full again.
    pub reset_after: Option<Duration>,
}

impl Bucket {
    fn is_unsaid(&self) -> bool {
        *self == Self::default()
    }
}

/// A provider's limits as an answer told them. Of several windows or sorts of tokens the one that is nearest to its end counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub requests: Bucket,
    pub tokens: Bucket,
    /// What the provider asks to wait, in so many words.
    pub retry_after: Option<Duration>,
}

impl Limits {
    /// How long to wait: what was asked for, else until the exhausted limit is full again.
    pub fn wait(&self) -> Option<Duration> {
        let exhausted = [self.requests, self.tokens].into_iter().filter(|b| b.remaining == Some(0));
        self.retry_after.or_else(|| exhausted.filter_map(|b| b.reset_after).max())
    }
}

/// The headers of one limit.
struct Names {
    limit: &'static str,
    remaining: &'static str,
    reset: &'static str,
}

const fn names(limit: &'static str, remaining: &'static str, reset: &'static str) -> Names {
    Names { limit, remaining, reset }
}

/// Limits of requests: OpenAI's names (Azure, Groq, xAI, Fireworks, Venice and others use them), Anthropic's, Cerebras' and Mistral's
/// windows, and the short ones (OpenRouter, Together).
const REQUESTS: [Names; 7] = [
    names("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    names("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    names("x-ratelimit-limit-requests-minute", "x-ratelimit-remaining-requests-minute", "x-ratelimit-reset-requests-minute"),
    names("x-ratelimit-limit-requests-day", "x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"),
    names("x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute", "x-ratelimit-reset-req-minute"),
    names("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    names("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
];

/// Limits of tokens.
const TOKENS: [Names; 8] = [
    names("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    names("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    names("anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    names(
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ),
    names("x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),
    names("x-ratelimit-limit-tokens-day", "x-ratelimit-remaining-tokens-day", "x-ratelimit-reset-tokens-day"),
    names("x-tokenlimit-limit", "x-tokenlimit-remaining", "x-tokenlimit-reset"),
    names("ratelimitbysize-limit", "ratelimitbysize-remaining", "ratelimitbysize-reset"),
];

/// Reads the limits of an answer out of its headers and, for an error, its body. `now` is the wall clock.
pub fn limits(headers: &HeaderMap, body: &[u8], now: SystemTime) -> Limits {
    let read = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let mut limits = Limits { requests: tightest(&REQUESTS, read, now), tokens: tightest(&TOKENS, read, now), retry_after: None };
    let ms = read("retry-after-ms").and_then(|text| text.trim().parse::<f64>().ok()).and_then(|ms| duration(ms / 1e3));
    limits.retry_after = ms.or_else(|| read("retry-after").and_then(|text| wait(text, now)));
    if limits.retry_after.is_none() && !body.is_empty() {
        in_body(&mut limits, body, now);
    }
    limits
}

/// How long the upstream's headers ask to wait: `retry-after-ms`, `Retry-After` in seconds or as a date, else the reset of an exhausted
/// limit. See [`limits`] for those that stand in the body.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    limits(headers, &[], SystemTime::now()).wait()
}

fn tightest<'a>(table: &[Names], read: impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Bucket {
    let number = |name| read(name).and_then(count);
    let buckets = table.iter().map(|names| Bucket {
        limit: number(names.limit),
        remaining: number(names.remaining),
        reset_after: read(names.reset).and_then(|text| wait(text, now)),
    });
    let share = |b: &Bucket| match (b.remaining, b.limit) {
        (Some(left), Some(all)) if all > 0 => left as f64 / all as f64,
        (Some(0), _) => 0.0,
        (Some(_), _) => 1.0,
        (None, _) => 2.0,
    };
    buckets.filter(|b| !b.is_unsaid()).min_by(|a, b| share(a).total_cmp(&share(b))).unwrap_or_default()
}

/// A whole number, as some write it with a fraction.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|n| (0.0..9e15).contains(n)).map(|n| n as u64))
}

/// Google's `RetryInfo`, and the headers that OpenRouter repeats in its error.
fn in_body(limits: &mut Limits, body: &[u8], now: SystemTime) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let error = &value.get(0).unwrap_or(&value)["error"];
    let delays = error["details"].as_array().into_iter().flatten().filter_map(|d| wait(d["retryDelay"].as_str()?, now));
    limits.retry_after = delays.max();
    let Some(repeated) = error["metadata"]["headers"].as_object() else { return };
    let read = |name: &str| repeated.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).and_then(|(_, v)| v.as_str());
    limits.retry_after = limits.retry_after.or_else(|| read("retry-after").and_then(|text| wait(text, now)));
    if limits.requests.is_unsaid() {
        limits.requests = tightest(&REQUESTS, read, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    fn at(unix_s: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s)
    }

    #[test]
    fn waits_are_read() {
        // Wed, 21 Oct 2026 07:28:00 GMT is 1792567680.
        let of = |pairs| limits(&map(pairs), &[], at(1_792_567_680 - 90)).wait();
        assert_eq!(of(&[("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(of(&[("retry-after", "3"), ("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(of(&[("retry-after", "3"), ("retry-after-ms", "soon")]), Some(Duration::from_secs(3)));
        assert_eq!(of(&[("retry-after", "-1")]), None);
        assert_eq!(of(&[("retry-after", "1e300")]), None);
        assert_eq!(of(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), Some(Duration::from_secs(90)));
        assert_eq!(of(&[("retry-after", "Wed, 21 Oct 2020 07:28:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(of(&[("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT")]), None);
    }

    #[test]
    fn only_an_exhausted_limit_makes_wait() {
        let left = |n| [("x-ratelimit-remaining-tokens", n), ("x-ratelimit-reset-tokens", "6m0s")];
        assert_eq!(retry_after(&map(&left("0"))), Some(Duration::from_mins(6)));
        assert_eq!(retry_after(&map(&left("1"))), None);
    }

    #[test]
    fn the_tightest_window_counts() {
        let headers = map(&[
            ("anthropic-ratelimit-input-tokens-limit", "1000"),
            ("anthropic-ratelimit-input-tokens-remaining", "900"),
            ("anthropic-ratelimit-output-tokens-limit", "100"),
            ("anthropic-ratelimit-output-tokens-remaining", "1"),
            ("anthropic-ratelimit-output-tokens-reset", "1970-01-01T00:01:40Z"),
        ]);
        let tokens = limits(&headers, &[], at(40)).tokens;
        assert_eq!(tokens, Bucket { limit: Some(100), remaining: Some(1), reset_after: Some(Duration::from_mins(1)) });
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            values in prop::collection::vec(prop::collection::vec(32_u8..127, 0..24), 45),
            body in prop::collection::vec(any::<u8>(), 0..64),
            seconds in 0_u64..1 << 40,
        ) {
            let table = REQUESTS.iter().chain(&TOKENS).flat_map(|n| [n.limit, n.remaining, n.reset]);
            let mut headers = HeaderMap::new();
            for (name, value) in table.zip(&values) {
                headers.insert(name, http::HeaderValue::from_bytes(value).unwrap());
            }
            headers.insert("retry-after", http::HeaderValue::from_bytes(&values[43]).unwrap());
            headers.insert("retry-after-ms", http::HeaderValue::from_bytes(&values[44]).unwrap());
            let read = limits(&headers, &body, at(seconds));
            prop_assert!(read.wait().is_none_or(|w| w <= time::WAIT_MAX));
        }

        #[test]
        fn numbers_and_times_in_any_place_are_bounded(text in "[0-9dhmsTZ:.+e -]{0,28}", seconds in 0_u64..1 << 34) {
            prop_assert!(wait(&text, at(seconds)).is_none_or(|w| w <= time::WAIT_MAX));
        }
    }
}
