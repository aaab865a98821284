//! What goes over the wire to the client: answers, streams and errors in the caller's dialect.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body::{Body, Frame, SizeHint};
use jiff::Timestamp;
use journey::{BodyError, Meter, Operation, Passage, Request};
use policy::Standing;
use telemetry::metrics::Held;
use tokio::time::{Instant, Sleep, sleep_until};
use wire::{Code, Dialect, Failure, dialect::Encoder, ir::Event};

use crate::{app::RequestPlace, patience::Handed};

pub use journey::REQUEST_ID;

/// How many targets were tried.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-llm-router-attempts");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of an answer.
pub enum Out {
    /// All of it; `None` when it is sent.
    Whole(Option<Bytes>),
    /// A stream that is metered and kept alive.
    Stream(Box<KeepAlive>),
    /// An answer of another kind, metered. What is held lives as long as it.
    Passage(Box<Passage>, (Held, RequestPlace)),
    /// From the control plane.
    Control(axum::body::Body),
    /// One of these, from the task that hands it over to a caller of HTTP/2.
    Handed(Handed),
}

impl From<Bytes> for Out {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Self::Passage(passage, _) => Pin::new(passage).poll_frame(cx),
            Self::Control(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Handed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.meter.is_end_stream(),
            Self::Passage(..) | Self::Handed(_) => false,
            Self::Control(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(_) | Self::Passage(..) | Self::Handed(_) => SizeHint::default(),
            Self::Control(body) => body.size_hint(),
        }
    }
}

/// A stream into whose silences comments are put, at frame boundaries only, so that no proxy takes it for dead.
pub struct KeepAlive {
    meter: Meter,
    /// What is sent into silences; nothing where the dialect has nothing.
    word: Option<Bytes>,
    interval: Duration,
    /// Made at the first wait; looked at when it fires, so a frame costs no timer of its own.
    sleep: Option<Pin<Box<Sleep>>>,
    last: Instant,
    at_boundary: bool,
    _held: (Held, RequestPlace),
}

impl KeepAlive {
    /// Keeps `meter` alive; `held` counts the stream and its request while it lives.
    pub fn new(meter: Meter, word: Option<Bytes>, interval: Duration, held: (Held, RequestPlace)) -> Self {
        Self { meter, word, interval, sleep: None, last: Instant::now(), at_boundary: true, _held: held }
    }
}

impl Body for KeepAlive {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.meter).poll_frame(cx) {
            if let Some(Ok(data)) = frame.as_ref().map(|f| f.as_ref().map(|f| f.data_ref())) {
                this.at_boundary = data.is_some_and(|d| d.ends_with(b"\n\n") || d.ends_with(b"\r\n\r\n"));
            }
            this.last = Instant::now();
            return Poll::Ready(frame);
        }
        let Some(word) = &this.word else { return Poll::Pending };
        let due = this.last + this.interval;
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            if now >= this.last + this.interval && this.at_boundary {
                this.last = now;
                sleep.as_mut().reset(now + this.interval);
                return Poll::Ready(Some(Ok(Frame::data(word.clone()))));
            }
            let next = if this.at_boundary { this.last + this.interval } else { now + this.interval };
            sleep.as_mut().reset(next);
        }
    }
}

/// Writes the request's id where a dialect's clients look for it.
pub fn name(headers: &mut HeaderMap, dialect: Dialect, request_id: &str) {
    put(headers, REQUEST_ID, request_id);
    // Anthropic's SDKs read this one (API reference, "Errors", "Request id").
    if dialect == Dialect::Messages {
        put(headers, HeaderName::from_static("request-id"), request_id);
    }
}

/// An error answer in a caller's dialect.
pub fn failure(failure: &Failure, dialect: Dialect, request_id: &str) -> Response<Out> {
    let body = Bytes::from(dialect.failure(failure, request_id).to_string());
    let mut response = Response::new(Out::from(body));
    *response.status_mut() = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    failure_headers(failure, headers);
    name(headers, dialect, request_id);
    if let Some(attempts) = failure.details.get("attempts").and_then(serde_json::Value::as_array) {
        let asked = attempts.iter().filter(|attempt| attempt.get("skipped").is_none()).count();
        put(headers, ATTEMPTS, &asked.to_string());
    }
    response
}

/// The headers that go with an error.
pub fn failure_headers(failure: &Failure, headers: &mut HeaderMap) {
    if let Some(after) = failure.retry_after {
        put(headers, RETRY_AFTER, &after.as_secs_f64().ceil().max(1.0).to_string());
    }
    match failure.code {
        Code::InvalidApiKey => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Code::BudgetExceeded => {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        _ => {}
    }
}

/// How the caller's limits stand: the short names, whose reset is a Unix time in seconds at which the next place is free, and OpenAI's,
/// whose resets are durations until everything is free again. An upstream's own are never passed on.
pub fn limits(standing: &Standing, at: Timestamp, headers: &mut HeaderMap) {
    let mut put = |name: &'static str, text: &str| put(headers, HeaderName::from_static(name), text);
    if let Some(requests) = standing.requests() {
        let (limit, remaining) = (requests.limit.to_string(), requests.remaining().to_string());
        let reset_ms = at.as_millisecond().saturating_add(i64::try_from(requests.first_free.as_millis()).unwrap_or(i64::MAX));
        put("x-ratelimit-limit", &limit);
        put("x-ratelimit-remaining", &remaining);
        put("x-ratelimit-reset", &(reset_ms / 1000 + 1).to_string());
        put("x-ratelimit-limit-requests", &limit);
        put("x-ratelimit-remaining-requests", &remaining);
        put("x-ratelimit-reset-requests", &span(requests.all_free));
    }
    if let Some(tokens) = standing.tokens {
        put("x-ratelimit-limit-tokens", &tokens.limit.to_string());
        put("x-ratelimit-remaining-tokens", &tokens.remaining().to_string());
        put("x-ratelimit-reset-tokens", &span(tokens.all_free));
    }
}

/// A duration as OpenAI's headers have it: `1h0m3s`, `6m0s`, `1.5s`, `20ms`.
fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    if ms < 60_000 {
        return format!("{}s", ms as f64 / 1e3);
    }
    let seconds = ms.div_ceil(1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}h{minutes}m{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

/// A whole answer from events.
pub fn whole(operation: Operation, events: &[Event]) -> Bytes {
    let written = match operation {
        Operation::Completions => serde_json::to_vec(&wire::completions::encode::response(events)),
        other => serde_json::to_vec(&other.dialect().encode_response(events)),
    };
    written.unwrap_or_default().into()
}

/// A whole answer to a request: one of Responses repeats what was asked.
pub fn answer(request: &Request, events: &[Event]) -> Bytes {
    match (request.operation, request.inner()) {
        (Operation::Generate(Dialect::Responses), Ok(asked)) => {
            serde_json::to_vec(&wire::responses::encode::response_to(asked, events)).unwrap_or_default().into()
        }
        (operation, _) => whole(operation, events),
    }
}

/// The frames of a stream from events, all at once.
pub fn stream(mut encoder: Encoder, events: &[Event]) -> Vec<Bytes> {
    let frames = events.iter().map(|event| {
        let mut out = Vec::new();
        encoder.event(event, &mut out);
        Bytes::from(out)
    });
    frames.filter(|f| !f.is_empty()).collect()
}

/// Headers of a streamed answer: no cache, no buffering on the way.
pub fn stream_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// Sets a header if the text can stand in one.
pub fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Puts a member at the end of a JSON object; anything else stays as it is.
pub fn with_member(body: Bytes, name: &str, value: &serde_json::Value) -> Bytes {
    let trimmed = body.trim_ascii_end();
    let Some(inner) = trimmed.strip_suffix(b"}") else { return body };
    let comma = if inner.trim_ascii_end().ends_with(b"{") { "" } else { "," };
    let mut out = Vec::with_capacity(body.len() + 256);
    out.extend_from_slice(inner);
    out.extend_from_slice(format!("{comma}\"{name}\":{value}}}").as_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_are_written_as_clients_read_them() {
        for (ms, text) in [(0, "0ms"), (999, "999ms"), (1500, "1.5s"), (59_999, "59.999s"), (360_000, "6m0s"), (3_603_000, "1h0m3s")] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn members_are_put_last() {
        let put = |text: &'static str| {
            String::from_utf8(with_member(Bytes::from_static(text.as_bytes()), "router", &json!({"a": 1})).to_vec()).unwrap()
        };
        assert_eq!(put("{\"x\":1} \n"), "{\"x\":1,\"router\":{\"a\":1}}");
        assert_eq!(put("{ }"), "{ \"router\":{\"a\":1}}");
        assert_eq!(put("[1]"), "[1]");
    }
}
