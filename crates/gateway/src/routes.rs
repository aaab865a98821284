//! The one list of all paths. Inference goes straight down the hall; everything else is the control plane's, on its own runtime.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use journey::{Call, Forwarded, InPath, Operation, Upload};
use policy::Standing;
use tokio::time::{Duration, timeout};
use tower::ServiceExt as _;
use wire::{Code, Dialect, Failure, head::MODEL_BYTES_MAX, multipart::Scanner};

use crate::{
    admin::{self, Asked},
    app::App,
    peer::Peer,
    render::{self, Out},
    request,
    shard::{Limits, Shard},
    ui,
};

/// How long a client may take to send a body.
const BODY_TIME_MAX: Duration = Duration::from_mins(2);

/// How long a client may send nothing of a form that is passed on as it comes.
const BODY_GAP_MAX: Duration = Duration::from_mins(1);

/// Most bytes of a body that is read before it is known whose it is.
const STRANGER_BYTES_MAX: usize = 64 << 10;

/// Of a body that is too large, how much is read and thrown away so that the client gets to read why.
const DISCARD_BYTES_MAX: usize = 256 << 20;

/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(20);

/// Most bytes of a control-plane body.
const CONTROL_BYTES_MAX: usize = 1 << 20;

/// Longest request id of a client's own that is kept.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A path that leads down the hall.
struct Hall {
    operation: Operation,
    in_path: Option<InPath>,
    deployment: Option<String>,
    forwarded: Option<Result<Forwarded, Failure>>,
}

impl Hall {
    const fn new(operation: Operation) -> Self {
        Self { operation, in_path: None, deployment: None, forwarded: None }
    }

    /// To a path below the version.
    fn forwarded(path: &str, query: Option<&str>) -> Self {
        Self { forwarded: Some(Forwarded::new(path, query.unwrap_or_default())), ..Self::new(Operation::Other) }
    }
}

/// Paths of sound, pictures, moderation and reranking: known, so that they answer without their version too, and to POST only.
const MEDIA: [&str; 8] = [
    "/images/generations",
    "/images/edits",
    "/images/variations",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/moderations",
    "/rerank",
];

/// Below these a path is never forwarded: they are the router's own.
const OWN: [&str; 5] = ["/mcp", "/llmrouter", "/skills", "/models", "/router"];

const V2_RERANK: &str = "/v2/rerank";

/// Paths that lead down the hall, each also without its version.
fn inference(uri: &http::Uri) -> Option<Hall> {
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let hall = |operation| Some(Hall::new(operation));
    let generate = |dialect| hall(Operation::Generate(dialect));
    if let Some(hall) = deployment(path, uri.query()) {
        return Some(hall);
    }
    // Some clients of rerankers say the second version.
    let path = if path == V2_RERANK { "/rerank" } else { path };
    match path.strip_prefix("/v1").unwrap_or(path) {
        "/chat/completions" => return generate(Dialect::Chat),
        "/responses" => return generate(Dialect::Responses),
        "/messages" | "/anthropic/v1/messages" => return generate(Dialect::Messages),
        "/messages/count_tokens" | "/anthropic/v1/messages/count_tokens" => {
            return hall(Operation::Count(Dialect::Messages));
        }
        "/completions" => return hall(Operation::Completions),
        "/embeddings" => return hall(Operation::Embeddings),
        media if MEDIA.contains(&media) => return Some(Hall::forwarded(media, uri.query())),
        _ => {}
    }
    gemini(path, uri.query().unwrap_or_default())
}

/// `/openai/deployments/{model}/…`, as Azure's clients say it: the same paths, with the model in front and a version in the query.
fn deployment(path: &str, query: Option<&str>) -> Option<Hall> {
    let (model, rest) = path.strip_prefix("/openai/deployments/")?.split_once('/')?;
    let model = percent_encoding::percent_decode_str(model).decode_utf8().ok().filter(|m| !m.is_empty() && m.len() <= MODEL_BYTES_MAX)?;
    let rest = format!("/{rest}");
    let hall = match &*rest {
        "/chat/completions" => Hall::new(Operation::Generate(Dialect::Chat)),
        "/completions" => Hall::new(Operation::Completions),
        "/embeddings" => Hall::new(Operation::Embeddings),
        media if MEDIA.contains(&media) => {
            let query: Vec<&str> = query.unwrap_or_default().split('&').filter(|pair| !pair.starts_with("api-version=")).collect();
            Hall::forwarded(media, Some(&query.join("&")))
        }
        _ => return None,
    };
    Some(Hall { deployment: Some(model.into_owned()), ..hall })
}

/// Whether a path is one of [`models`].
fn lists_models(path: &str) -> bool {
    let path = path.strip_prefix("/anthropic").or_else(|| path.strip_prefix("/gemini")).unwrap_or(path);
    let path = path.strip_prefix("/v1beta").or_else(|| path.strip_prefix("/v1")).unwrap_or(path);
    path.strip_prefix("/models").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Any other path below `/v1`, for the account that serves the body's `model`.
fn other(uri: &http::Uri) -> Option<Hall> {
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path()).strip_prefix("/v1")?;
    let is_own = OWN.iter().any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    (!is_own && path.len() > 1 && path.starts_with('/')).then(|| Hall::forwarded(path, uri.query()))
}

/// `/v1beta/models/{model}:{verb}`, also below `/gemini` and as `/v1/models/…`, which Google's SDK says.
fn gemini(path: &str, query: &str) -> Option<Hall> {
    let path = path.strip_prefix("/gemini").unwrap_or(path);
    let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"))?;
    let (model, verb) = rest.rsplit_once(':')?;
    let model = percent_encoding::percent_decode_str(model).decode_utf8().ok()?.into_owned();
    let (operation, stream) = match verb {
        "generateContent" => (Operation::Generate(Dialect::Gemini), false),
        "streamGenerateContent" => (Operation::Generate(Dialect::Gemini), true),
        "countTokens" => (Operation::Count(Dialect::Gemini), false),
        _ => return None,
    };
    let as_array = stream && !query.split('&').any(|pair| pair == "alt=sse");
    Some(Hall { in_path: Some(InPath { model, stream, as_array }), ..Hall::new(operation) })
}

/// The value of `key` in a query.
pub fn query_key(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

/// The paths of the control plane.
pub fn control(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(admin::probes::about))
        .route("/health", get(admin::probes::health))
        .route("/health/liveliness", get(admin::probes::live))
        .route("/health/readiness", get(admin::probes::ready))
        .route("/_health/live", get(admin::probes::live))
        .route("/_health/ready", get(admin::probes::ready))
        .route("/metrics", get(admin::probes::metrics))
        .route("/metrics/cloud", get(admin::probes::cloud_metrics))
        .merge(models(app))
        .route("/register", post(admin::nodes::register_agent))
        .route("/heartbeat", post(admin::nodes::agent_heartbeat))
        .route("/api/nodes", get(admin::nodes::list).post(admin::nodes::register))
        .route("/api/health", post(admin::nodes::heartbeat))
        .route("/api/nodes/metrics", get(admin::nodes::metrics))
        .route("/api/metrics/summary", get(admin::nodes::summary))
        .route("/api/nodes/{id}", delete(admin::nodes::remove))
        .route("/api/nodes/{id}/settings", put(admin::nodes::settings))
        .route("/api/nodes/{id}/disconnect", post(admin::nodes::disconnect))
        .route("/api/nodes/{id}/drain", post(admin::nodes::drain))
        .route("/api/nodes/{id}/logs", get(admin::nodes::logs))
        .route("/api/nodes/{id}/approve", post(admin::nodes::approve))
        .route("/api/nodes/adopt", post(admin::nodes::adopt))
        .route("/api/nodes/join-tokens", get(admin::nodes::join_tokens).post(admin::nodes::make_join_token))
        .route("/api/nodes/join-tokens/{id}", delete(admin::nodes::revoke_join_token))
        .merge(dashboard())
        .merge(registry())
        .merge(pages())
        .merge(settings())
        .merge(callers())
        .route("/router/info", get(admin::choices::info))
        .route("/router/route", post(admin::choices::route))
        .route("/router/stats", get(admin::operate::stats))
        .route("/router/reset-stats", post(admin::operate::reset_stats))
        .route("/router/health", get(admin::operate::health))
        .route("/router/rate-limits", get(admin::operate::rate_limits))
        .route("/backend/info", get(admin::operate::backend))
        .route("/v1/router/policy", get(admin::choices::policy))
        .route("/v1/router/live-metrics", get(admin::choices::live_metrics))
        .route("/auth/status", get(admin::credentials::status))
        .route("/auth/metrics", get(admin::credentials::metrics))
        .route("/auth/reset-metrics", post(admin::credentials::reset_metrics))
        .route("/auth/reload-keys", post(admin::credentials::reload))
        .route("/api/feedback", post(admin::feedback::give))
        .route("/api/usage", get(admin::usage::list))
        .route("/api/ledger", get(admin::ledger::list))
        .route("/api/ledger/verify", get(admin::ledger::verify))
        .route("/api/ledger/recompute", post(admin::ledger::recompute))
        .route("/api/requests/{id}/explain", get(admin::explain::explain))
        .fallback(admin::probes::nowhere)
        .method_not_allowed_fallback(admin::probes::wrong_method)
        .layer(axum::middleware::from_fn_with_state(app.clone(), admin::trail::follow))
        .layer(DefaultBodyLimit::max(CONTROL_BYTES_MAX))
        .with_state(app.clone())
}

/// The paths on which clients see what they can ask for.
fn models(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/v1/models", get(admin::models::list))
        .route("/models", get(admin::models::list))
        .route("/anthropic/v1/models", get(admin::models::list))
        .route("/v1beta/models", get(admin::models::list))
        .route("/gemini/v1beta/models", get(admin::models::list))
        .route("/v1/models/{*id}", get(admin::models::one))
        .route("/models/{*id}", get(admin::models::one))
        .route("/anthropic/v1/models/{*id}", get(admin::models::one))
        .route("/v1beta/models/{*id}", get(admin::models::one))
        .route("/gemini/v1beta/models/{*id}", get(admin::models::one))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), admin::models::counted))
}

/// The paths of who may call: people, and keys.
fn callers() -> Router<Arc<App>> {
    Router::new()
        .route("/api/auth/login", post(admin::session::login))
        .route("/api/auth/logout", post(admin::session::logout))
        .route("/api/auth/me", get(admin::session::me))
        .route("/api/auth/oidc/login", get(admin::oidc::login))
        .route("/api/auth/oidc/callback", get(admin::oidc::callback))
        .route("/api/users", get(admin::users::list).post(admin::users::create))
        .route("/api/users/{id}", put(admin::users::change).delete(admin::users::remove))
        .route("/api/api-keys", get(admin::keys::list).post(admin::keys::create))
        .route("/api/api-keys/{id}", put(admin::keys::change).delete(admin::keys::revoke))
        .route("/api/api-keys/{id}/rotate", post(admin::keys::rotate))
}

/// The paths of the dashboard's data.
fn dashboard() -> Router<Arc<App>> {
    Router::new()
        .route("/api/dashboard/overview", get(admin::dashboard::overview))
        .route("/api/dashboard/nodes", get(admin::dashboard::nodes))
        .route("/api/dashboard/stats", get(admin::dashboard::stats))
        .route("/api/dashboard/request-history", get(admin::dashboard::request_history))
        .route("/api/dashboard/metrics/{node_id}", get(admin::nodes::history))
        .route("/api/dashboard/request-responses", get(admin::history::list))
        .route("/api/dashboard/request-responses/export", get(admin::history::export::export))
        .route("/api/dashboard/request-responses/stream", get(admin::history::live::stream))
        .route("/api/dashboard/request-responses/{id}", get(admin::history::one))
        .route("/api/dashboard/logs/router", get(admin::dashboard::log))
}

/// The paths of models whose files are here.
fn registry() -> Router<Arc<App>> {
    Router::new()
        .route("/api/models/available", get(admin::registry::available))
        .route("/api/models/discover-gguf", post(admin::registry::discover))
        .route("/api/models/register", post(admin::registry::register))
        .route("/api/models/load", post(admin::loading::load))
        .route("/api/models/unload", post(admin::loading::unload))
        .route("/api/models/registered", get(admin::registry::registered))
        .route("/api/models/convert", get(admin::registry::conversions).post(admin::registry::convert))
        .route("/api/models/convert/{id}", get(admin::registry::conversion).delete(admin::registry::forget_conversion))
        .route("/api/models/blob/{id}", get(admin::blob::blob))
        .route("/api/models/blob/{id}/manifest", get(admin::blob::manifest))
        .route("/api/models/{*id}", delete(admin::registry::remove))
}

/// The paths of what is in force, and of who changed it.
fn settings() -> Router<Arc<App>> {
    Router::new()
        .route("/api/config", get(admin::settings::show).put(admin::settings::change))
        .route("/api/config/versions", get(admin::settings::versions))
        .route("/api/config/versions/{id}", get(admin::settings::version))
        .route("/config/reload", post(admin::settings::reload))
        .route("/router/reload", post(admin::settings::reload_strategies))
        .route("/config/sync/status", get(admin::choices::sync_status))
        .route("/api/audit", get(admin::audit::list))
        .route("/api/audit/export", get(admin::audit::export))
        .route("/api/cache/flush", post(admin::cache::flush))
}

/// What people look at: the description of all paths, the dashboard and the playground.
fn pages() -> Router<Arc<App>> {
    Router::new()
        .route("/openapi.json", get(admin::openapi::document))
        .route("/docs", get(admin::openapi::page))
        .route("/redoc", get(admin::openapi::page))
        .route("/docs/viewer.js", get(admin::openapi::script))
        .route("/docs/viewer.css", get(admin::openapi::style))
        .route("/dashboard", get(ui::dashboard))
        .route("/dashboard/{*path}", get(ui::dashboard_file))
        .route("/playground", get(ui::playground))
        .route("/playground/{*path}", get(ui::playground_place))
}

/// Answers any request.
pub async fn answer(shard: &Arc<Shard>, socket: SocketAddr, request: Request<Incoming>) -> Response<Out> {
    let request_id = request_id(request.headers());
    let house = shard.app.house();
    let peer = Peer::of(request.headers(), socket, &house.config.server.trusted_proxies);
    drop(house);
    let (is_post, is_preflight) = (request.method() == Method::POST, request.method() == Method::OPTIONS);
    let hall = inference(request.uri()).or_else(|| if is_post || is_preflight { other(request.uri()) } else { None });
    // Pages of any origin may ask for answers, and for what they can ask; of the control plane only its own.
    let is_open = hall.is_some() || lists_models(request.uri().path());
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
    let (head, body) = request.into_parts();
    let query_key = in_path.as_ref().and_then(|_| query_key(head.uri.query()?));
    // Who is unknown gets no room for a large body: without it the call comes to its refusal.
    let is_known = !is_large(&head.headers) || Box::pin(request::is_known(shard, &head.headers, query_key.as_deref(), received_at)).await;
    let payload = if is_known { payload(operation, &head.headers, body, shard.limits).await } else { unread(&head.headers, body).await };
    let (body, upload) = match payload {
        Ok(payload) => payload,
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
        let _ = timeout(DISCARD_TIME_MAX, form.discard(DISCARD_BYTES_MAX as u64)).await;
    }
    response
}

/// Whether a body may be larger than what anybody has room for.
fn is_large(headers: &HeaderMap) -> bool {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    announced.is_none_or(|bytes| bytes > STRANGER_BYTES_MAX)
}

/// A body that nobody wants.
async fn unread(headers: &HeaderMap, body: Incoming) -> Result<(Bytes, Option<Upload>), Failure> {
    pass_over(headers, body).await;
    Ok((Bytes::new(), None))
}

/// The body in memory, or a form that is passed on as it comes.
async fn payload(operation: Operation, headers: &HeaderMap, body: Incoming, limits: Limits) -> Result<(Bytes, Option<Upload>), Failure> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = format!("the body's `content-encoding` {coding:?} is not taken: send it uncompressed");
        return Err(refuse_large(headers, body, Failure::new(Code::UnsupportedMediaType, message)).await);
    }
    let form = headers.get(header::CONTENT_TYPE).filter(|_| operation == Operation::Other);
    let Some((kind, scanner)) = form.and_then(|kind| Some((kind, Scanner::of(kind.to_str().ok()?)?))) else {
        return Ok((body_of(headers, body, limits.body_bytes_max).await?, None));
    };
    let scanner = scanner?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limits.form_bytes_max) {
        return Err(refuse_large(headers, body, Failure::too_large(limits.form_bytes_max, "server.max_upload")).await);
    }
    let body = body.map_err(|e| net::Error::RequestBody(e.to_string()));
    let body = net::IdleTimeout::new(body, BODY_GAP_MAX).map_err(Into::into);
    let upload = Upload::open(Box::pin(body), kind.clone(), scanner, announced, limits.form_bytes_max).await?;
    Ok((Bytes::new(), Some(upload)))
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::too_large(bytes_max as u64, "server.max_body")
}

async fn refuse_large(headers: &HeaderMap, body: Incoming, refusal: Failure) -> Failure {
    pass_over(headers, body).await;
    refusal
}

/// Reads a body within its bounds.
async fn body_of(headers: &HeaderMap, mut body: Incoming, bytes_max: usize) -> Result<Bytes, Failure> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > bytes_max) {
        return Err(refuse_large(headers, body, too_large(bytes_max)).await);
    }
    match timeout(BODY_TIME_MAX, Limited::new(&mut body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            discard(body).await;
            Err(too_large(bytes_max))
        }
        Ok(Err(_)) => Err(Failure::new(Code::InvalidRequest, "the body broke off before its end")),
        Err(_) => Err(Failure::new(Code::InvalidRequest, format!("the body did not come within {} s", BODY_TIME_MAX.as_secs()))),
    }
}

/// Reads away what a client may be writing: it would not see the answer. One that waits for "100 Continue" has sent nothing.
async fn pass_over(headers: &HeaderMap, body: Incoming) {
    if !headers.contains_key(header::EXPECT) {
        discard(body).await;
    }
}

async fn discard(mut body: Incoming) {
    let mut read = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_TIME_MAX, reading).await;
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
        Some(failure) => render::failure(&failure, dialect, &request_id),
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
