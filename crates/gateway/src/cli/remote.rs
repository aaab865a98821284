//! A running router, asked by a command.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use config::Environment;
use http::{HeaderValue, Method, Request, header};
use serde_json::Value;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

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

    /// One call; anything but success is an error that says what the router said.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let bytes = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let mut request = Request::new(net::Body::from(bytes));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.url).parse().with_context(|| format!("LLM_ROUTER_URL is no URL: {}", self.url))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            let value =
                HeaderValue::from_str(&format!("Bearer {key}")).context("LLM_ROUTER_API_KEY has characters that no header may have")?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let response = self
            .client
            .fetch(request, &net::Timeouts::default(), ANSWER_BYTES_MAX)
            .await
            .with_context(|| format!("{} cannot be asked", self.url))?;
        let said: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        if response.status().is_success() {
            return Ok(said);
        }
        let message = said["error"]["message"].as_str().unwrap_or("no reason given");
        Err(anyhow!("{} answered with status {}: {message}", self.url, response.status().as_u16()))
    }
}
