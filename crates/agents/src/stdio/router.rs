//! The running router: one request, bounded in time and size.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Settings, TIMEOUT_S_MAX, mask, origin::Origin};

/// Most bytes of an answer that an assistant gets to see; the rest is not read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Most bytes of the description of all paths.
pub(super) const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Requests at once; more wait for their turn.
const REQUESTS_MAX: usize = 16;

/// Paths at which a session's token is shown rather than the key, if there is one.
const SESSION_PATHS: [&str; 2] = ["/api/users", "/api/api-keys"];

/// Headers that already say who asks.
const CREDENTIALS: [&str; 3] = ["authorization", "x-api-key", "api-key"];

/// The router, as the settings name it.
pub(super) struct Router {
    pub(super) origin: Origin,
    client: net::Client,
    key: Option<HeaderValue>,
    session: Option<HeaderValue>,
    /// What is masked wherever it appears.
    secrets: Vec<String>,
    pub(super) timeout: Duration,
    turns: Semaphore,
}

/// What is asked of the router.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the credentials of the settings are shown.
    pub(super) with_credentials: bool,
    pub(super) timeout: Duration,
    pub(super) bytes_max: usize,
}

/// What the router said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// There was more than the bound.
    pub(super) is_cut: bool,
}

/// Why a tool has no result. It reads as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The router's status; `None`: it said nothing.
    pub(super) status: Option<u16>,
    pub(super) code: String,
    pub(super) message: String,
    /// The same call may do later.
    pub(super) is_retryable: bool,
}

impl Trouble {
    /// The call cannot be made as it is.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { status: None, code: "invalid_arguments".to_owned(), message: message.into(), is_retryable: false }
    }

    pub(super) fn shown(&self) -> Value {
        json!({"status": self.status, "code": self.code, "message": self.message, "retryable": self.is_retryable})
    }
}

impl Said {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON, else as text; empty is null.
    pub(super) fn value(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| String::from_utf8_lossy(&self.body).into_owned().into())
    }

    /// What an answer that is no success says.
    pub(super) fn trouble(&self) -> Trouble {
        let said = self.value();
        let error = &said["error"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message = text(&error["message"]).or_else(|| text(error)).or_else(|| text(&said["message"])).or_else(|| text(&said));
        let message = message.unwrap_or_else(|| "no reason given".to_owned());
        Trouble {
            status: Some(self.status),
            code: text(&error["code"]).or_else(|| text(&error["type"])).unwrap_or_else(|| format!("http_{}", self.status)),
            message: format!("the router answered with status {}: {message}", self.status),
            is_retryable: matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504 | 529),
        }
    }
}

impl Router {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let credential = |name: &str, secret: &Option<String>| {
            let text = secret.as_ref().map(|secret| HeaderValue::from_str(&format!("Bearer {secret}")));
            text.transpose().map_err(|_| format!("{name} has characters that no header may have"))
        };
        let secrets: Vec<String> = [&settings.api_key, &settings.session_token].into_iter().flatten().cloned().collect();
        Ok(Self {
            origin: Origin::of(&settings.url)?,
            client: net::Client::new(net::Settings::default()),
            key: credential("LLM_ROUTER_API_KEY", &settings.api_key)?,
            session: credential("LLM_ROUTER_JWT_TOKEN", &settings.session_token)?,
            secrets,
            timeout: settings.timeout.clamp(Duration::from_secs(1), Duration::from_secs(TIMEOUT_S_MAX)),
            turns: Semaphore::new(REQUESTS_MAX),
        })
    }

    /// A request to a path of the router, as a typed tool makes it.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Ask, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Ask {
            method,
            uri: self.origin.at(path).map_err(Trouble::invalid)?,
            headers,
            body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
            with_credentials: true,
            timeout: self.timeout,
            bytes_max: ANSWER_BYTES_MAX,
        })
    }

    /// Most bytes that an answer may have.
    pub(super) const fn answer_bytes_max() -> usize {
        ANSWER_BYTES_MAX
    }

    /// Sends a request and reads the answer, of any status.
    pub(super) async fn send(&self, ask: Ask) -> Result<Said, Trouble> {
        let (began, limit) = (Instant::now(), ask.timeout);
        let (method, path) = (ask.method.clone(), self.origin.path(&ask.uri).to_owned());
        let done = tokio::time::timeout(limit, self.exchange(ask)).await;
        let answered = done.unwrap_or_else(|_elapsed| Err(self.late(limit)));
        let (status, code) = match &answered {
            Ok(said) => (Some(said.status), None),
            Err(trouble) => (None, Some(&*trouble.code)),
        };
        tracing::info!(%method, path, status, code, duration_ms = began.elapsed().as_millis() as u64, "asked the router");
        answered
    }

    fn late(&self, limit: Duration) -> Trouble {
        let message = format!("no whole answer came from {} within {} s", self.origin, limit.as_secs());
        Trouble { status: None, code: "timeout".to_owned(), message, is_retryable: true }
    }

    async fn exchange(&self, ask: Ask) -> Result<Said, Trouble> {
        let _turn = self.turns.acquire().await;
        let credentials = if ask.with_credentials { self.credentials(&ask) } else { None };
        let mut request = Request::new(net::Body::from(ask.body));
        *request.method_mut() = ask.method;
        *request.uri_mut() = ask.uri;
        *request.headers_mut() = ask.headers;
        if let Some(value) = credentials {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let timeouts = net::Timeouts { first_byte: ask.timeout, idle: ask.timeout, total: ask.timeout, ..net::Timeouts::default() };
        let response = self.client.send(request, &timeouts).await.map_err(|error| self.unreachable(&error))?;
        let (head, body) = response.into_parts();
        let (mut body, mut read, mut is_cut) = (pin!(body), BytesMut::new(), false);
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|error| self.unreachable(&error))?.into_data() else { continue };
            let room = ask.bytes_max - read.len();
            read.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                is_cut = true;
                break;
            }
        }
        Ok(Said { status: head.status.as_u16(), headers: head.headers, body: read.freeze(), is_cut })
    }

    fn unreachable(&self, error: &net::Error) -> Trouble {
        let message = format!("the router at {} cannot be asked: {error}", self.origin);
        Trouble { status: None, code: "unreachable".to_owned(), message, is_retryable: true }
    }

    /// What says who asks; `None` where the request says so itself.
    fn credentials(&self, ask: &Ask) -> Option<HeaderValue> {
        if CREDENTIALS.iter().any(|name| ask.headers.contains_key(HeaderName::from_static(name))) {
            return None;
        }
        let path = self.origin.path(&ask.uri);
        let is_below = |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let of_session = self.session.as_ref().filter(|_| SESSION_PATHS.iter().any(|base| is_below(base)));
        of_session.or(self.key.as_ref()).or(self.session.as_ref()).cloned()
    }

    /// Masks secrets in what is told of a call.
    pub(super) fn mask(&self, mut value: Value) -> Value {
        mask::value(&mut value, &self.secrets);
        value
    }

    /// Masks secrets in a command.
    pub(super) fn mask_command(&self, command: &str) -> String {
        mask::command(command, &self.secrets)
    }

    /// Masks this process's own secrets and what looks like one, in a text.
    pub(super) fn mask_text(&self, text: &str) -> String {
        mask::text(text, &self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Said {
        Said { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()), is_cut: false }
    }

    #[test]
    fn troubles_say_what_the_router_said() {
        let trouble = said(401, r#"{"error":{"message":"unknown key","code":"invalid_api_key"}}"#).trouble();
        assert_eq!((trouble.code.as_str(), trouble.is_retryable), ("invalid_api_key", false));
        assert!(trouble.message.contains("401") && trouble.message.contains("unknown key"), "{}", trouble.message);
        assert_eq!(said(503, r#"{"error":"busy"}"#).trouble().message, "the router answered with status 503: busy");
        assert!(said(503, "busy").trouble().is_retryable);
        assert_eq!(said(418, "").trouble().code, "http_418");
    }

    #[test]
    fn users_and_keys_are_asked_with_the_session_and_the_rest_with_the_key() {
        let settings = Settings {
            url: "http://127.0.0.1:8080".into(),
            api_key: Some("the-key".into()),
            session_token: Some("the-session".into()),
            openapi_path: None,
            timeout: Duration::from_secs(1),
        };
        let router = Router::new(&settings).expect("settings");
        let shown = |router: &Router, path: &str| router.credentials(&router.ask(Method::GET, path, None).expect("a path"));
        assert_eq!(shown(&router, "/api/users/1").expect("credentials"), "Bearer the-session");
        assert_eq!(shown(&router, "/api/usersx").expect("credentials"), "Bearer the-key");
        assert_eq!(shown(&router, "/v1/models").expect("credentials"), "Bearer the-key");
        let mut own = router.ask(Method::GET, "/v1/models", None).expect("a path");
        own.headers.insert("x-api-key", HeaderValue::from_static("theirs"));
        assert!(router.credentials(&own).is_none());
        let only_session = Router::new(&Settings { api_key: None, ..settings }).expect("settings");
        assert_eq!(shown(&only_session, "/v1/models").expect("credentials"), "Bearer the-session");
    }
}
