//! What every answer has: a request id, the error envelope, CORS for inference. And how bodies are read.

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{Code, Failure};

use super::{App, access::Peer};

/// Largest request body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;
/// Most KiB of bodies in memory, over all requests.
pub(super) const BODIES_KIB_MAX: usize = 512 << 10;
/// What is read of a body that is too large, so that its sender gets to see the answer.
const REFUSED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// Longest time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest request id that is taken over.
const ID_BYTES_MAX: usize = 128;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of a request, as its answer and the log have it.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// A failure as a handler returns it; [`around`] gives it its body.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

pub(super) async fn not_found(request: Request) -> Refusal {
    Refusal(Failure::new(Code::NotFound, format!("there is nothing at {} {}", request.method(), request.uri().path())))
}

pub(super) async fn method_not_allowed(request: Request) -> Refusal {
    Refusal(Failure::new(Code::MethodNotAllowed, format!("{} is not allowed at {}", request.method(), request.uri().path())))
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Stands around all handlers.
pub(super) async fn around(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (id, started) = (request_id(&request), Instant::now());
    let traceparent = request.headers().get(TRACEPARENT).cloned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = if method == Method::OPTIONS {
        preflight()
    } else {
        let peer = request.extensions().get::<Peer>().copied();
        match app.access.check(&path, peer, request.headers()) {
            Ok(()) => next.run(request).await,
            Err(_) if app.access.has_ticket(request.uri()) => next.run(request).await,
            Err(failure) => Refusal(failure).into_response(),
        }
    };
    if let Some(failure) = response.extensions_mut().remove::<Arc<Failure>>() {
        log(&id, &method, &path, &failure);
        response = envelope(&failure, &id);
    }
    tracing::debug!(request_id = id, %method, path, status = response.status().as_u16(), head_ms = started.elapsed().as_millis() as u64, "answered");
    let headers = response.headers_mut();
    if path.starts_with("/v1/") {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT, traceparent);
    }
    response
}

fn log(id: &str, method: &Method, path: &str, failure: &Failure) {
    let (status, code) = (failure.status(), failure.code.as_str());
    if status >= 500 {
        tracing::warn!(request_id = id, %method, path, status, code, message = failure.message, "a request failed");
    }
}

fn envelope(failure: &Failure, id: &str) -> Response {
    let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &failure.to_openai(Some(id)));
    if let Some(after) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
    }
    response
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, x-request-id"));
    response
}

fn request_id(request: &Request) -> String {
    let shown = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::trim);
    match shown {
        Some(shown) if !shown.is_empty() && shown.len() <= ID_BYTES_MAX => shown.to_owned(),
        _ => uuid::Uuid::now_v7().to_string(),
    }
}

/// A body that was read; gives its share of [`BODIES_KIB_MAX`] back when dropped.
pub(super) struct Text {
    bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body of at most [`BODY_BYTES_MAX`].
pub(super) async fn body(app: &App, request: Request) -> Result<Text, Failure> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, read(&app.bodies, request.into_body()));
    reading.await.unwrap_or_else(|_elapsed| {
        let mut failure = Failure::new(Code::InvalidRequest, format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()));
        failure.status = Some(408);
        Err(failure)
    })
}

async fn read(bodies: &Arc<Semaphore>, mut body: Body) -> Result<Text, Failure> {
    let broken = |e: axum::Error| Failure::new(Code::InvalidRequest, format!("the body broke off: {e}"));
    let (mut parts, mut length) = (Vec::new(), 0);
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(broken)?.into_data() else { continue };
        length += part.len();
        if length <= BODY_BYTES_MAX {
            let more = claim(bodies, part.len())?;
            share = Some(match share.take() {
                Some(mut share) => {
                    share.merge(more);
                    share
                }
                None => more,
            });
            parts.push(part);
        } else {
            parts.clear();
            share = None;
        }
        if length > REFUSED_BYTES_MAX {
            break;
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(Failure::new(Code::PayloadTooLarge, format!("the body is larger than {BODY_BYTES_MAX} bytes")));
    }
    let bytes = if parts.len() == 1 { parts.remove(0) } else { Bytes::from(parts.concat()) };
    Ok(Text { bytes, _share: share })
}

fn claim(bodies: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let kibibytes = bytes.div_ceil(1024) as u32;
    bodies.clone().try_acquire_many_owned(kibibytes).map_err(|_| {
        Failure::new(Code::QueueFull, "the bodies of the requests under way take all the memory meant for them")
            .retry_after(Duration::from_secs(1))
    })
}
