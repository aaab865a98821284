//! The entrance: every request comes in here, and goes down the hall or to the control plane on its own runtime.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use journey::Call;
use policy::Standing;
use tower::ServiceExt as _;
use wire::{Code, Dialect, Failure};

use crate::{
    admin::Asked,
    app::App,
    body,
    peer::Peer,
    render::{self, Out},
    request,
    routes::{self, CONTROL_BYTES_MAX, Hall},
    shard::Shard,
};

/// Longest request id of a client's own that is kept.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Answers any request.
pub async fn answer(shard: &Arc<Shard>, socket: SocketAddr, request: Request<Incoming>) -> Response<Out> {
    let request_id = request_id(request.headers());
    let house = shard.app.house();
    let peer = Peer::of(request.headers(), socket, &house.config.server.trusted_proxies);
    drop(house);
    let (is_post, is_preflight) = (request.method() == Method::POST, request.method() == Method::OPTIONS);
    let hall = routes::inference(request.uri()).or_else(|| if is_post || is_preflight { routes::other(request.uri()) } else { None });
    // Pages of any origin may ask for answers, and for what they can ask; of the control plane only its own.
    let is_open = hall.is_some() || routes::lists_models(request.uri().path());
    let mut response = match hall {
        _ if is_preflight && is_open => preflight(&request_id),
        Some(hall) if is_post => called(shard, hall, peer, request_id, request).await,
        Some(hall) if hall.in_path.is_none() => {
            let failure = Failure::new(Code::MethodNotAllowed, "this path takes POST only");
            let mut response = render::failure(&failure, hall.operation.dialect(), &request_id);
            response.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("POST"));
            response
        }
        _ => controlled(&shard.app, peer, request_id, request).await,
    };
    if is_open {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, http::HeaderValue::from_static("*"));
    }
    response
}

async fn called(shard: &Arc<Shard>, hall: Hall, peer: Peer, request_id: Arc<str>, request: Request<Incoming>) -> Response<Out> {
    let Hall { operation, in_path, deployment, forwarded } = hall;
    let forwarded = match forwarded.transpose() {
        Ok(forwarded) => forwarded,
        Err(failure) => return render::failure(&failure, operation.dialect(), &request_id),
    };
    let received = Instant::now();
    let received_at = jiff::Timestamp::now();
    let (head, incoming) = request.into_parts();
    let query_key = in_path.as_ref().and_then(|_| routes::query_key(head.uri.query()?));
    // Who is unknown gets no room for a large body: without it the call comes to its refusal.
    let is_known =
        !body::is_large(&head.headers) || Box::pin(request::is_known(shard, &head.headers, query_key.as_deref(), received_at)).await;
    let read = if is_known {
        body::read(operation, &head.headers, incoming, shard.limits).await
    } else {
        body::pass_over(&head.headers, incoming).await;
        Ok((Bytes::new(), None))
    };
    let (body, upload) = match read {
        Ok(read) => read,
        Err(failure) => {
            shard.app.metrics.refused(failure.code.as_str());
            let mut response = render::failure(&failure, operation.dialect(), &request_id);
            response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
            return response;
        }
    };
    let path = head.uri.path().into();
    let call = Call {
        operation,
        in_path,
        deployment,
        forwarded,
        upload,
        query_key,
        request_id,
        path,
        headers: head.headers,
        body,
        client: peer.address,
        received,
        received_at,
    };
    let response = request::handle(shard, &call).await;
    if let Some(form) = call.upload.filter(|_| !response.status().is_success()) {
        body::discard_form(&form).await;
    }
    response
}

async fn controlled(app: &Arc<App>, peer: Peer, request_id: Arc<str>, request: Request<Incoming>) -> Response<Out> {
    let dialect = dialect_of(&request);
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(Asked { peer, request_id: request_id.clone() });
    if let Some(trimmed) = without_slash(request.uri()) {
        *request.uri_mut() = trimmed;
    }
    let router = app.control();
    let answered = app.back.spawn(router.oneshot(request)).await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            return render::failure(
                &Failure::new(Code::InternalError, "this is a bug; the request id finds it in the log"),
                Dialect::Chat,
                &request_id,
            );
        }
    };
    let standing = response.extensions_mut().remove::<Standing>();
    let mut response = match response.extensions_mut().remove::<Failure>().or_else(|| unreadable(&response)) {
        Some(failure) => {
            let allow = response.headers_mut().remove(header::ALLOW);
            let mut refusal = render::failure(&failure, dialect, &request_id);
            refusal.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
            refusal
        }
        None => {
            render::put(response.headers_mut(), render::REQUEST_ID, &request_id);
            response.map(Out::Control)
        }
    };
    if let Some(standing) = standing {
        render::limits(&standing, jiff::Timestamp::now(), response.headers_mut());
    }
    response
}

/// The failure of a request that no handler saw, because its body, path or query could not be read: the framework says so in plain text.
fn unreadable(response: &Response<axum::body::Body>) -> Option<Failure> {
    let content_type = response.headers().get(header::CONTENT_TYPE)?;
    if !content_type.as_bytes().starts_with(b"text/plain") {
        return None;
    }
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the body is larger than {CONTROL_BYTES_MAX} bytes, the most that this path takes");
            Some(Failure::new(Code::PayloadTooLarge, message))
        }
        status if status.is_client_error() => Some(Failure::new(Code::InvalidRequest, "the path, its query or the body cannot be read")),
        _ => None,
    }
}

/// In which shape a caller of the control plane's shared paths (the model list) expects errors.
fn dialect_of<B>(request: &Request<B>) -> Dialect {
    if request.uri().path().contains("/v1beta/") {
        Dialect::Gemini
    } else if request.uri().path().starts_with("/anthropic/") || request.headers().contains_key("anthropic-version") {
        Dialect::Messages
    } else {
        Dialect::Chat
    }
}

/// Trailing slashes are tolerated.
fn without_slash(uri: &http::Uri) -> Option<http::Uri> {
    let path = uri.path().strip_suffix('/').filter(|p| !p.is_empty())?;
    let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    text.parse().ok()
}

/// The client's own id if it can stand in a log and a header, else a new one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(render::REQUEST_ID).and_then(|v| v.to_str().ok());
    let sane = given.filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic()));
    match sane {
        Some(id) => id.into(),
        None => {
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            let id: &str = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
            id.into()
        }
    }
}

fn preflight(request_id: &str) -> Response<Out> {
    let mut response = Response::new(Out::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    render::put(response.headers_mut(), render::REQUEST_ID, request_id);
    response
}
