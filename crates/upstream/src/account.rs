//! An account, ready to be called.

use std::sync::Arc;

use bytes::Bytes;
use config::account::{AccountAuth, Wire};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use wire::{Code, Dialect, Failure};

use crate::catalog::{self, Provider, Scheme};

/// An account with everything that its calls have in common made beforehand.
#[derive(Debug)]
pub struct Account {
    pub name: Arc<str>,
    pub provider: Arc<str>,
    pub timeouts: net::Timeouts,
    row: Provider,
    /// The one wire that the operator named, if any.
    wire: Option<Dialect>,
    base_url: String,
    headers: HeaderMap,
    key: Option<HeaderValue>,
    bearer: Option<HeaderValue>,
    /// Why it cannot be called, if it cannot.
    obstacle: Option<Failure>,
}

impl Account {
    /// Prepares an account of the configuration. What is missing (a key, a wire that is not spoken) is said when it is called.
    ///
    /// # Errors
    /// A header or credential that cannot stand in a header; never shows the value.
    pub fn new(account: &config::account::Account) -> Result<Self, String> {
        let row = catalog::provider(&account.provider);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &account.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("account `{}`: `{name}` is no header name", account.name))?;
            headers.insert(name, secret(value.expose(), account)?);
        }
        for (name, value) in [("openai-organization", &account.organization), ("openai-project", &account.project)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), secret(value, account)?);
            }
        }
        let key = account.api_key.as_ref().filter(|_| account.auth_mode == AccountAuth::ApiKey);
        let bearer = key.map(|key| secret(&format!("Bearer {}", key.expose()), account)).transpose()?;
        let key = key.map(|key| secret(key.expose(), account)).transpose()?;
        Ok(Self {
            name: account.name.as_str().into(),
            provider: account.provider.as_str().into(),
            timeouts: net::Timeouts {
                connect: account.timeouts.connect,
                first_byte: account.timeouts.first_byte,
                idle: account.timeouts.idle,
                total: account.timeouts.total,
            },
            row,
            wire: named(account.wire),
            key,
            bearer,
            base_url: account.base_url.clone(),
            headers,
            obstacle: obstacle(account),
        })
    }

    /// Whether the provider knows `stream_options.include_usage`.
    pub fn knows_stream_usage(&self) -> bool {
        self.row.stream_usage
    }

    /// The wire on which a caller's dialect is served: its own where the account speaks it.
    pub fn wire_for(&self, caller: Dialect) -> Dialect {
        match self.wire {
            Some(named) => named,
            None if self.row.wires.contains(&caller) => caller,
            None => self.row.wires.first().copied().unwrap_or(Dialect::Chat),
        }
    }

    /// A POST to one of the account's paths (`/chat/completions`, …) on a wire. Nothing of the client's headers is in it.
    ///
    /// # Errors
    /// [`Code::ProviderKeyMissing`] naming the variable, [`Code::Unsupported`] where the account's auth mode is not carried out.
    pub fn post(&self, wire: Dialect, path: &str, body: Bytes, streams: bool) -> Result<Request<net::Body>, Failure> {
        if let Some(failure) = &self.obstacle {
            return Err(failure.clone());
        }
        let uri: Uri = format!("{}{path}", self.base_url)
            .parse()
            .map_err(|_| Failure::new(Code::UpstreamError, format!("the base URL of the account `{}` is not usable", self.name)))?;
        let mut request = Request::new(net::Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        let accept = if streams { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let (name, value) = match (self.row.scheme, wire) {
            (Scheme::Header(name), _) => (HeaderName::from_static(name), &self.key),
            (_, Dialect::Messages) => (HeaderName::from_static("x-api-key"), &self.key),
            (_, Dialect::Gemini) => (HeaderName::from_static("x-goog-api-key"), &self.key),
            (_, Dialect::Chat | Dialect::Responses) => (AUTHORIZATION, &self.bearer),
        };
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
        if wire == Dialect::Messages {
            headers.entry("anthropic-version").or_insert(HeaderValue::from_static(MESSAGES_VERSION));
        }
        Ok(request)
    }
}

/// The version of Messages that is asked for where the caller names none.
const MESSAGES_VERSION: &str = "2023-06-01";

fn named(wire: Wire) -> Option<Dialect> {
    match wire {
        Wire::Auto => None,
        Wire::Chat => Some(Dialect::Chat),
        Wire::Responses => Some(Dialect::Responses),
        Wire::Messages => Some(Dialect::Messages),
        Wire::Gemini => Some(Dialect::Gemini),
    }
}

fn secret(text: &str, account: &config::account::Account) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("account `{}`: its key or a header has characters that no header may have", account.name))?;
    value.set_sensitive(true);
    Ok(value)
}

fn obstacle(account: &config::account::Account) -> Option<Failure> {
    match account.auth_mode {
        AccountAuth::ApiKey if account.api_key.is_none() => {
            let variable = account.api_key_variable.as_deref().unwrap_or("api_key");
            Some(Failure::new(
                Code::ProviderKeyMissing,
                format!("the key of the account `{}` is not configured: set {variable}", account.name),
            ))
        }
        AccountAuth::Oauth | AccountAuth::Passthrough => {
            let message = format!(
                "the account `{}` has `auth_mode: {}`, which this version does not carry out",
                account.name,
                account.auth_mode.as_str()
            );
            Some(Failure::new(Code::Unsupported, message))
        }
        AccountAuth::ApiKey | AccountAuth::None => None,
    }
}
