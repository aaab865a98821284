//! Whether a request may be answered from what is remembered, and whether its answer is.

use std::time::Duration;

use http::HeaderMap;
use journey::{Call, Operation, Request};
use wire::{
    Dialect, Failure,
    caching::{Caching, Mode},
};

use crate::key::{Key, Meaning, Sum, Tenant};

/// Longest namespace, in bytes.
const NAMESPACE_BYTES_MAX: usize = 256;
/// Controls in headers begin so.
const CONTROL: &str = "x-llm-router-";
/// Controls in headers that do not change what is answered.
const MEANINGLESS: [&str; 4] = ["cache", "ttl", "namespace", "timeout-ms"];

/// What the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long an answer is kept at most.
    pub ttl: Duration,
    /// Streamed answers too.
    pub streams: bool,
    /// Answers to requests with tools or kept state too, without being asked.
    pub tools: bool,
}

/// How a request takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub key: Key,
    /// How long its answer is kept.
    pub ttl: Duration,
    /// How old another's may be; zero for none.
    pub age_max: Duration,
}

/// How a request takes part in the answer cache; `None` if it does not. `shaping` are headers that go to upstreams and may change what
/// they answer.
///
/// # Errors
/// [`wire::Code::InvalidRequest`] for a control that is none.
pub fn wanted<'a>(
    rules: &Rules,
    tenant: &Tenant,
    shaping: impl IntoIterator<Item = &'a http::HeaderName>,
    call: &Call,
    request: &Request,
) -> Result<Option<Wanted>, Failure> {
    let is_streamed = request.head.stream;
    let takes_part = match request.operation {
        Operation::Generate(_) => rules.streams || !is_streamed,
        Operation::Completions | Operation::Embeddings => !is_streamed,
        Operation::Count(_) | Operation::Other => false,
    };
    if !takes_part {
        return Ok(None);
    }
    let said = caching(request.head.caching.as_deref(), &call.headers)?;
    let directive = directive(&call.headers);
    if said.mode == Some(Mode::Off) || directive == Some(Directive::NoStore) {
        return Ok(None);
    }
    let ttl = said.ttl.map_or(Ok(rules.ttl), |s| seconds(s, rules.ttl))?;
    let Some(meaning) = Meaning::of(&call.body) else { return Ok(None) };
    let is_asked = said.mode.is_some() || rules.tools;
    if ttl.is_zero() || meaning.is_moving || (has_effects(request.operation, &meaning) && !is_asked) {
        return Ok(None);
    }
    let namespace = said.namespace.unwrap_or_default();
    let shape = shape(shaping, &call.headers);
    let parts = [
        request.operation.name().as_bytes(),
        request.model().as_bytes(),
        namespace.as_bytes(),
        &[u8::from(request.strict)],
        &shape,
        &meaning.sum,
    ];
    let age_max = if directive == Some(Directive::NoCache) { Duration::ZERO } else { ttl };
    Ok(Some(Wanted { key: Key::of("exact", tenant, parts), ttl, age_max }))
}

/// What tells one repeated call from others: its caller, its path, its `Idempotency-Key` and every byte of its body.
pub fn repeated(tenant: &Tenant, call: &Call, idempotency_key: &[u8]) -> Key {
    let query = call.forwarded.as_ref().map_or("", |forwarded| forwarded.path());
    Key::of("repeated", tenant, [call.path.as_bytes(), query.as_bytes(), idempotency_key, &call.body])
}

/// Whether more comes of a request than its answer, or more goes into it than its body.
fn has_effects(operation: Operation, meaning: &Meaning) -> bool {
    // Responses are kept by their provider unless the request says otherwise.
    let is_stored = meaning.store.unwrap_or(operation == Operation::Generate(Dialect::Responses));
    meaning.has_tools || meaning.goes_on || is_stored
}

/// What body and headers say; the body wins.
fn caching(body: Option<&Caching>, headers: &HeaderMap) -> Result<Caching, Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wrong = |name: &str, wanted: &str| Failure::invalid(name, format!("`{name}` must be {wanted}"));
    let mut said = body.cloned().unwrap_or_default();
    if let (None, Some(word)) = (said.mode, text("x-llm-router-cache")) {
        said.mode = Some(Mode::from_name(word).ok_or_else(|| wrong("x-llm-router-cache", "off, exact or semantic"))?);
    }
    if let (None, Some(number)) = (said.ttl, text("x-llm-router-ttl")) {
        said.ttl = Some(number.parse().map_err(|_| wrong("x-llm-router-ttl", "a number of seconds"))?);
    }
    if let (None, Some(name)) = (&said.namespace, text("x-llm-router-namespace")) {
        said.namespace = Some(name.to_owned());
    }
    if said.namespace.as_ref().is_some_and(|name| name.len() > NAMESPACE_BYTES_MAX) {
        return Err(wrong("cache.namespace", &format!("a text of at most {NAMESPACE_BYTES_MAX} bytes")));
    }
    Ok(said)
}

/// The caller's lifetime, which can only be shorter than the operator's.
fn seconds(said: f64, most: Duration) -> Result<Duration, Failure> {
    if !said.is_finite() || said < 0.0 {
        return Err(Failure::invalid("cache.ttl", "`cache.ttl` must be a number of seconds that is not negative"));
    }
    Ok(Duration::try_from_secs_f64(said).unwrap_or(most).min(most))
}

/// What `Cache-Control` says, as HTTP means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    /// Nothing that was remembered; the new answer may be.
    NoCache,
    /// Neither.
    NoStore,
}

fn directive(headers: &HeaderMap) -> Option<Directive> {
    let values = ["cache-control", "x-routeiq-cache-control"].into_iter().flat_map(|name| headers.get_all(name));
    let words = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let said = words.filter_map(|word| match word.trim().to_ascii_lowercase().as_str() {
        "no-store" => Some(Directive::NoStore),
        "no-cache" | "max-age=0" => Some(Directive::NoCache),
        _ => None,
    });
    said.reduce(|a, b| if a == Directive::NoStore { a } else { b })
}

/// The headers that may change what is answered, whatever their order: those that go to upstreams, and our own controls.
fn shape<'a>(shaping: impl IntoIterator<Item = &'a http::HeaderName>, headers: &HeaderMap) -> [u8; 32] {
    let sum_of = |name: &str, value: &[u8]| {
        let mut sum = Sum::new(name);
        sum.field(value);
        sum.end()
    };
    let passed = shaping.into_iter().flat_map(|name| headers.get_all(name).into_iter().map(move |value| (name.as_str(), value)));
    let is_control = |name: &str| name.strip_prefix(CONTROL).is_some_and(|rest| !MEANINGLESS.contains(&rest));
    let controls = headers.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| is_control(name));
    let mut sums: Vec<_> = passed.chain(controls).map(|(name, value)| sum_of(name, value.as_bytes())).collect();
    sums.sort_unstable();
    let mut sum = Sum::new("headers");
    for one in &sums {
        sum.field(one);
    }
    sum.end()
}

#[cfg(test)]
mod tests;
