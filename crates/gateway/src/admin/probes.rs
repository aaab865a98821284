//! Health, metrics, and what stands at the door.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use config::account::Account;
use serde::Serialize;
use serde_json::{Value, json};
use telemetry::metrics::{NodeSample, OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{Answer, Known, Refusal, operate::accounts};
use crate::app::App;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What runs here.
#[derive(Serialize, ToSchema)]
pub struct About {
    name: &'static str,
    message: &'static str,
    version: &'static str,
    /// `running` or `draining`.
    status: &'static str,
    /// Where the paths are described.
    docs: &'static str,
    /// `router`.
    mode: &'static str,
    services_count: usize,
    /// Accounts in the order in which they are tried.
    services: Vec<ServiceShown>,
    /// The first of them.
    primary_backend: Option<String>,
    authentication: Authentication,
    /// Where to begin.
    endpoints: BTreeMap<&'static str, &'static str>,
}

/// An account.
#[derive(Serialize, ToSchema)]
pub struct ServiceShown {
    name: String,
    /// Its provider.
    r#type: String,
    /// Lower first.
    priority: i32,
}

/// Who may call.
#[derive(Serialize, ToSchema)]
pub struct Authentication {
    /// Whether a key is needed.
    enabled: bool,
    valid_keys_count: usize,
    /// The header that may carry a key besides the usual ones.
    auth_header: String,
    /// What people may log in at instead, if there is such a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc: Option<String>,
}

/// `GET /`.
#[utoipa::path(
    get,
    path = "/",
    tag = "probes",
    summary = "What runs here",
    responses((status = 200, description = "The service", body = About), (status = 303, description = "A browser is sent to the dashboard")),
    security(())
)]
pub async fn about(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if accepts(&headers, "text/html") {
        return Redirect::to("/dashboard").into_response();
    }
    let house = app.house();
    let service =
        |account: &Account| ServiceShown { name: account.name.clone(), r#type: account.provider.clone(), priority: account.priority };
    let services: Vec<ServiceShown> = accounts(&house).map(service).collect();
    Json(About {
        name: "LLM Router",
        message: "One gateway for every language model",
        version: VERSION,
        status: if app.is_draining() { "draining" } else { "running" },
        docs: "/docs",
        mode: "router",
        services_count: services.len(),
        primary_backend: services.first().map(|first| first.name.clone()),
        services,
        authentication: Authentication {
            enabled: !house.keys.is_open(),
            valid_keys_count: house.keys.count(jiff::Timestamp::now()),
            auth_header: house.config.auth.header_name.clone(),
            oidc: house.config.auth.oidc.as_ref().map(|oidc| oidc.name.clone()),
        },
        endpoints: [("chat", "/v1/chat/completions"), ("models", "/v1/models"), ("health", "/health"), ("metrics", "/metrics")].into(),
    })
    .into_response()
}

/// `GET /health`: 200 as long as the process serves.
#[utoipa::path(
    get,
    path = "/health",
    tag = "probes",
    summary = "Whether it is well",
    responses((status = 200, description = "200 as long as the process serves", body = serde_json::Value)),
    security(())
)]
pub async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let store = is_stored(&app).await;
    let redis = app.redis_is_up();
    let ready = has_target(&app);
    let status = if store && redis != Some(false) { "healthy" } else { "degraded" };
    let mut details = json!({"store": word(store), "targets": word(ready), "uptime_seconds": app.started.elapsed().as_secs()});
    if let Some(redis) = redis {
        details["redis"] = word(redis).into();
    }
    Json(json!({"status": status, "version": VERSION, "mode": "router", "details": details}))
}

/// `GET /_health/live`.
#[utoipa::path(
    get,
    path = "/_health/live",
    tag = "probes",
    summary = "Whether it lives",
    responses((status = 200, description = "It does", body = serde_json::Value)),
    security(())
)]
pub async fn live() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /_health/ready`: 503 where the router cannot serve; names the part that is missing.
#[utoipa::path(
    get,
    path = "/_health/ready",
    tag = "probes",
    summary = "Whether it can serve; names the part that is missing",
    responses(
        (status = 200, description = "It can", body = serde_json::Value),
        (status = 503, description = "It cannot; the same form", body = serde_json::Value)
    ),
    security(())
)]
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let store = is_stored(&app).await;
    let target = has_target(&app);
    let redis = app.redis_is_up();
    let is_whole = store && redis != Some(false);
    let strict = app.house().config.health.strict;
    let can_serve = target && !app.is_draining() && (is_whole || !strict);
    let status = match (can_serve, is_whole) {
        (true, true) => "ready",
        (true, false) => "degraded",
        (false, _) if app.is_draining() => "draining",
        (false, _) => "not_ready",
    };
    let code = if can_serve { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut checks = json!({"store": word(store), "targets": word(target)});
    if let Some(redis) = redis {
        checks["redis"] = word(redis).into();
    }
    (code, Json(json!({"status": status, "checks": checks})))
}

fn word(is_well: bool) -> &'static str {
    if is_well { "ok" } else { "missing" }
}

/// Whether the database can be read, and took what it was last given.
async fn is_stored(app: &App) -> bool {
    !app.books.recorder.is_away() && app.store.check().await.is_ok()
}

/// An account or a node that can be asked; the dummy does not count.
fn has_target(app: &App) -> bool {
    !app.house().accounts.is_empty() || app.fleet.view().is_ready()
}

/// `GET /metrics`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "probes",
    summary = "Metrics for Prometheus",
    responses((status = 200, description = "Prometheus text, or OpenMetrics where that is accepted", body = String, content_type = "text/plain")),
    security(())
)]
pub async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap, known: Result<Known, Refusal>) -> Answer<Response> {
    may_scrape(&app, known)?;
    let (samples, waiting) = samples(&app);
    let _shown = app.metrics.show_nodes(&samples, &waiting);
    Ok(exposition(&headers, || app.metrics.encode_openmetrics(), || app.metrics.encode_text()))
}

/// What is known of nodes, and how many requests wait for each model.
fn samples(app: &App) -> (Vec<NodeSample>, Vec<(String, usize)>) {
    let (instances, waiting) = app.fleet.instances();
    let sample = |i: fleet::InstanceView| NodeSample {
        node: i.node.to_string(),
        model: i.model.to_string(),
        active: i.active_requests,
        slots: i.slots,
        ended: [("success", i.successful_requests), ("failed", i.failed_requests), ("cancelled", i.cancelled_requests)],
    };
    (instances.into_iter().map(sample).collect(), waiting.into_iter().map(|(model, n)| (model.to_string(), n)).collect())
}

/// `GET /metrics/cloud`.
#[utoipa::path(
    get,
    path = "/metrics/cloud",
    tag = "probes",
    summary = "Metrics of cloud providers for Prometheus",
    responses((status = 200, description = "Prometheus text, or OpenMetrics where that is accepted", body = String, content_type = "text/plain")),
    security(())
)]
pub async fn cloud_metrics(State(app): State<Arc<App>>, headers: HeaderMap, known: Result<Known, Refusal>) -> Answer<Response> {
    may_scrape(&app, known)?;
    Ok(exposition(&headers, || app.metrics.encode_cloud_openmetrics(), || app.metrics.encode_cloud_text()))
}

/// Metrics in the format that is accepted.
fn exposition(headers: &HeaderMap, openmetrics: impl FnOnce() -> String, text: impl FnOnce() -> String) -> Response {
    if accepts(headers, "application/openmetrics-text") {
        ([(header::CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE)], openmetrics()).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], text()).into_response()
    }
}

fn may_scrape(app: &App, known: Result<Known, Refusal>) -> Answer<()> {
    if app.house().config.telemetry.metrics_require_auth {
        known?;
    }
    Ok(())
}

fn accepts(headers: &HeaderMap, what: &str) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|accepted| accepted.contains(what))
}

/// Any other path.
pub async fn nowhere(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal(Failure::new(Code::NotFound, format!("there is nothing at `{path}`")))
}

/// A path that is there, asked in another way.
pub async fn wrong_method(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal(Failure::new(Code::MethodNotAllowed, format!("`{path}` does not take this method")))
}
