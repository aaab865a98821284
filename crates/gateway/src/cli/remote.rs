//! A running router, asked by a command.

use std::{future::poll_fn, pin::Pin};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use config::Environment;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Failed;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Most bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A path with what is said of it as its query.
pub(super) fn asked<'a>(path: &str, said: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut asked = path.to_owned();
    for (name, value) in said.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let sign = if asked.contains('?') { "&" } else { "?" };
        asked.extend([sign, name, "="]);
        asked.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    asked
}

/// The router that `LLM_ROUTER_URL` names, with `LLM_ROUTER_API_KEY`.
pub(super) struct Remote {
    url: String,
    key: Option<String>,
    client: net::Client,
}

impl Remote {
    /// `None` where no URL is named.
    pub(super) fn of(environment: &Environment) -> Option<Self> {
        let url = environment.get("LLM_ROUTER_URL")?.trim_end_matches('/').to_owned();
        let key = environment.get("LLM_ROUTER_API_KEY").map(str::to_owned);
        Some(Self { url, key, client: net::Client::new(net::Settings::default()) })
    }

    /// Reads a long answer piece by piece; anything but success is an error that says what the router said.
    pub(super) async fn copy(&self, path: &str, mut take: impl FnMut(&[u8]) -> Result<(), Failed>) -> Result<(), Failed> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        let asked = self.client.send(request, &net::Timeouts::default()).await;
        let (head, mut body) = asked.with_context(|| format!("{} cannot be asked", self.url))?.into_parts();
        let mut refusal = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.with_context(|| format!("{} broke off", self.url))?;
            let Some(piece) = frame.data_ref() else { continue };
            if head.status.is_success() {
                take(piece)?;
            } else if refusal.len() < REFUSAL_BYTES_MAX {
                refusal.extend_from_slice(piece);
            }
        }
        if head.status.is_success() { Ok(()) } else { Err(self.refused(head.status, &refusal).into()) }
    }

    /// One call; anything but success is an error that says what the router said.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let bytes = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let request = self.request(method, path, bytes)?;
        let response = self
            .client
            .fetch(request, &net::Timeouts::default(), ANSWER_BYTES_MAX)
            .await
            .with_context(|| format!("{} cannot be asked", self.url))?;
        if response.status().is_success() {
            return Ok(serde_json::from_slice(response.body()).unwrap_or(Value::Null));
        }
        Err(self.refused(response.status(), response.body()))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Request<net::Body>> {
        let mut request = Request::new(net::Body::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.url).parse().with_context(|| format!("LLM_ROUTER_URL is no URL: {}", self.url))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            let value =
                HeaderValue::from_str(&format!("Bearer {key}")).context("LLM_ROUTER_API_KEY has characters that no header may have")?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> anyhow::Error {
        let said: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let message = said["error"]["message"].as_str().unwrap_or("no reason given");
        anyhow!("{} answered with status {}: {message}", self.url, status.as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked() {
        assert_eq!(asked("/api/x", [("a", None)]), "/api/x");
        let both = asked("/api/x", [("from", Some("2027-01-01T00:00:00+01:00")), ("no", None), ("to", Some("x&y"))]);
        assert_eq!(both, "/api/x?from=2027%2D01%2D01T00%3A00%3A00%2B01%3A00&to=x%26y");
    }
}
