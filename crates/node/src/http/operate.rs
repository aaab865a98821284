//! What operators and the router look at: health, counters, the log.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    extract::{Query, Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use telemetry::logs::TAIL_ENTRIES_MAX;
use wire::{Code, Failure};

use super::{
    App,
    reply::{self, Refusal},
};
use crate::{gpu, pool::Status};

/// Entries of the log where a request names no number.
const TAIL_DEFAULT: usize = 200;

pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    // Of the last look: a probe must not wait for a vendor's tool.
    let gpus = app.gpus.get().map(|gpus| gpus.last()).unwrap_or_default();
    let body = json!({
        "status": "ok",
        "gpu_available": !gpus.is_empty(),
        "gpu_count": gpus.len(),
        "gpu_devices": gpu::devices(&gpus),
        "gpu_model": gpus.first().map(|gpu| &gpu.model),
    });
    reply::json(StatusCode::OK, &body)
}

pub(super) async fn startup(State(app): State<Arc<App>>) -> Response {
    if app.is_ready.load(Ordering::Relaxed) {
        reply::json(StatusCode::OK, &json!({"status": "ready"}))
    } else {
        reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "starting"}))
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let models: Vec<_> = app
        .pool
        .status()
        .into_iter()
        .map(|status| {
            let stats = status.stats;
            json!({
                "model": status.id,
                "ready": status.is_ready,
                "active_requests": status.active,
                "memory_bytes": status.memory_bytes,
                "slots_total": stats.slots_total,
                "slots_busy": stats.slots_busy,
                "queue_len": stats.queue_len,
                "kv_total": stats.kv_total,
                "kv_used": stats.kv_used,
                "backlog_tokens": stats.backlog_tokens,
                "prompt_tokens_total": stats.prompt_tokens_total,
                "cached_tokens_total": stats.cached_tokens_total,
                "completion_tokens_total": stats.completion_tokens_total,
                "requests_total": stats.requests_total,
                "prefill_tps": stats.prefill_tps,
                "tpot_ms": stats.tpot_ms,
            })
        })
        .collect();
    let gpus = app.gpus().await;
    let details: Vec<_> = gpus
        .iter()
        .map(|gpu| {
            json!({
                "vendor": gpu.vendor.name(),
                "model": gpu.model,
                "memory_bytes": gpu.memory_bytes,
                "memory_used_bytes": gpu.used_bytes,
                "usage": gpu.usage,
                "temperature": gpu.temperature,
                "compute_capability": gpu.compute,
                "driver_version": gpu.driver,
            })
        })
        .collect();
    let body = json!({
        "uptime_seconds": app.started.elapsed().as_secs(),
        "gpu_devices": gpus.len(),
        "gpu_memory_bytes": gpu::memory_bytes(&gpus),
        "gpu_capability": gpu::capability(&gpus),
        "gpus": details,
        "active_requests": app.activity.active(),
        "requests_total": app.activity.total(),
        "average_response_time_ms": app.activity.average_ms(),
        "models": models,
    });
    reply::json(StatusCode::OK, &body)
}

/// Places of the loaded models, as llama.cpp's server lists them. Places are alike, for cells are shared: the first ones are shown busy.
pub(super) async fn slots(State(app): State<Arc<App>>, Query(query): Query<HashMap<String, String>>) -> Result<Response, Refusal> {
    let wanted = query.get("model").filter(|model| !model.is_empty());
    let wanted = match wanted {
        Some(model) => Some(app.pool.find(model).await?.id.clone()),
        None => None,
    };
    let all = app.pool.status().into_iter().filter(|status| status.is_ready && wanted.as_ref().is_none_or(|id| *id == status.id));
    let place = |status: &Status, n: u32| json!({"id": n, "model": status.id, "n_ctx": status.context, "speculative": false, "is_processing": n < status.stats.slots_busy});
    let places: Vec<Value> = all.flat_map(|status| (0..status.stats.slots_total).map(|n| place(&status, n)).collect::<Vec<_>>()).collect();
    let is_any_free = places.iter().any(|place| place["is_processing"] == false);
    if query.contains_key("fail_on_no_slot") && !is_any_free {
        return Err(Failure::new(Code::NoAvailableTarget, "no slot is free").retry_after(Duration::from_secs(1)).into());
    }
    Ok(reply::json(StatusCode::OK, &places))
}

pub(super) async fn logs(State(app): State<Arc<App>>, Query(query): Query<HashMap<String, String>>) -> Result<Response, Refusal> {
    let wanted = match query.get("tail").or_else(|| query.get("limit")) {
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Failure::invalid("tail", format!("`tail` must be a number between 1 and {TAIL_ENTRIES_MAX}")))?,
        None => TAIL_DEFAULT,
    };
    let log = app.logs.clone();
    let wanted: usize = wanted;
    let tail = tokio::task::spawn_blocking(move || log.tail(wanted.clamp(1, TAIL_ENTRIES_MAX)));
    let entries = tail.await.map_err(|e| Failure::new(Code::InternalError, format!("the log can't be read: {e}")))?;
    let path = app.logs.path().map_or(Value::Null, |path| path.to_string_lossy().into_owned().into());
    Ok(reply::json(StatusCode::OK, &json!({"entries": entries, "path": path})))
}

pub(super) async fn level(State(app): State<Arc<App>>) -> Response {
    reply::json(StatusCode::OK, &json!({"level": app.logs.level()}))
}

#[derive(Debug, Deserialize)]
struct Level {
    level: Option<String>,
}

pub(super) async fn set_level(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let wanted: Level = wire::json::parse(&reply::body(&app, request).await?)?;
    let level = wanted.level.filter(|level| !level.trim().is_empty()).ok_or_else(|| Failure::invalid("level", "`level` is missing"))?;
    app.logs.set_level(&level).map_err(|e| Failure::invalid("level", e.to_string()))?;
    tracing::info!(level, "the log level was changed");
    Ok(reply::json(StatusCode::OK, &json!({"level": app.logs.level()})))
}

pub(super) async fn internal_error() -> Refusal {
    Refusal(Failure::new(Code::InternalError, "boom"))
}
