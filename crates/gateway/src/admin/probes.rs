//! Health, metrics, and what stands at the door.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use telemetry::metrics::{OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
use wire::{Code, Failure};

use super::{Answer, Known, Refusal};
use crate::app::App;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /`.
pub async fn about(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "name": "LLM Router",
        "version": VERSION,
        "status": if app.is_draining() { "draining" } else { "running" },
        "endpoints": {"chat": "/v1/chat/completions", "models": "/v1/models", "health": "/health", "metrics": "/metrics"},
    }))
}

/// `GET /health`: 200 as long as the process serves.
pub async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let store = app.store.check().await.is_ok();
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
pub async fn live() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /_health/ready`: 503 where the router cannot serve; names the part that is missing.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let store = app.store.check().await.is_ok();
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

/// An account or a node that can be asked; the dummy does not count.
fn has_target(app: &App) -> bool {
    !app.house().accounts.is_empty() || app.fleet.view().is_ready()
}

/// `GET /metrics`.
pub async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap, known: Result<Known, Refusal>) -> Answer<Response> {
    may_scrape(&app, known)?;
    Ok(if wants_openmetrics(&headers) {
        ([(header::CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE)], app.metrics.encode_openmetrics()).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], app.metrics.encode_text()).into_response()
    })
}

/// `GET /metrics/cloud`.
pub async fn cloud_metrics(State(app): State<Arc<App>>, headers: HeaderMap, known: Result<Known, Refusal>) -> Answer<Response> {
    may_scrape(&app, known)?;
    Ok(if wants_openmetrics(&headers) {
        ([(header::CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE)], app.metrics.encode_cloud_openmetrics()).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], app.metrics.encode_cloud_text()).into_response()
    })
}

fn may_scrape(app: &App, known: Result<Known, Refusal>) -> Answer<()> {
    if app.house().config.telemetry.metrics_require_auth {
        known?;
    }
    Ok(())
}

fn wants_openmetrics(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("application/openmetrics-text"))
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
