//! The one list of all paths. Inference goes straight down the hall; everything else is the control plane's, on its own runtime.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};
use journey::{Forwarded, InPath, Operation};
use wire::{Dialect, Failure, head::MODEL_BYTES_MAX};

use crate::{admin, app::App, ui};

/// Most bytes of a control-plane body.
pub const CONTROL_BYTES_MAX: usize = 1 << 20;

/// A path that leads down the hall.
pub struct Hall {
    pub operation: Operation,
    pub in_path: Option<InPath>,
    /// The model that Azure's clients name in the path.
    pub deployment: Option<String>,
    pub forwarded: Option<Result<Forwarded, Failure>>,
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

/// Where clients of each dialect look for the models; what one is, is told below it.
const MODEL_LISTS: [&str; 5] = ["/v1/models", "/models", "/anthropic/v1/models", "/v1beta/models", "/gemini/v1beta/models"];

const V2_RERANK: &str = "/v2/rerank";

/// Paths that lead down the hall, each also without its version.
pub fn inference(uri: &http::Uri) -> Option<Hall> {
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

/// Whether a path lists the models, or tells of one.
pub fn lists_models(path: &str) -> bool {
    let below = |list: &str| path.strip_prefix(list).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    MODEL_LISTS.iter().any(|list| below(list))
}

/// Any other path below `/v1`, for the account that serves the body's `model`.
pub fn other(uri: &http::Uri) -> Option<Hall> {
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path()).strip_prefix("/v1")?;
    let is_own = OWN.iter().any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    (!is_own && path.len() > 1 && path.starts_with('/')).then(|| Hall::forwarded(path, uri.query()))
}

/// `/v1beta/models/{model}:{verb}`, also below `/gemini`, as `/v1/models/…`, which Google's SDK says, and without a version.
fn gemini(path: &str, query: &str) -> Option<Hall> {
    let path = path.strip_prefix("/gemini").unwrap_or(path);
    let path = path.strip_prefix("/v1beta").or_else(|| path.strip_prefix("/v1")).unwrap_or(path);
    let rest = path.strip_prefix("/models/")?;
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
    let router = MODEL_LISTS.iter().fold(Router::new(), |router, list| {
        router.route(list, get(admin::models::list)).route(&format!("{list}/{{*id}}"), get(admin::models::one))
    });
    router.route_layer(axum::middleware::from_fn_with_state(app.clone(), admin::models::counted))
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
