//! The list of models, and loading and unloading them by hand.

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::{Code, Failure};

use super::{
    App,
    reply::{self, Refusal},
};
use crate::library::{Found, Model};

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    let shelf = app.pool.library().fresh().await;
    let status = app.pool.status();
    let state = |id: &str| status.iter().find(|s| s.id == id).map_or("on_disk", |s| if s.is_ready { "ready" } else { "loading" });
    let data: Vec<_> = shelf.models.iter().map(|model| entry(model, state(&model.id))).collect();
    let ready = status.iter().filter(|s| s.is_ready).count();
    let body = json!({"object": "list", "data": data, "ready_models": [ready, status.len()], "initializing": ready < status.len()});
    reply::json(StatusCode::OK, &body)
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let shelf = app.pool.library().fresh().await;
    let Some(Found::Model(model)) = shelf.find(&id) else {
        return Err(Failure::new(Code::ModelNotFound, format!("the model `{id}` does not exist on this node")).at("model").into());
    };
    let status = app.pool.status();
    let state = status.iter().find(|s| s.id == model.id).map_or("on_disk", |s| if s.is_ready { "ready" } else { "loading" });
    Ok(reply::json(StatusCode::OK, &entry(model, state)))
}

fn entry(model: &Model, state: &str) -> Value {
    let created = model.modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "id": model.id,
        "object": "model",
        "created": created,
        "owned_by": "node",
        "state": state,
        "size_bytes": model.bytes,
        "quantization": model.quant,
        "architecture": model.header.architecture,
        "context_length": model.header.context_train,
    })
}

/// `{"model": …}` or `{"name": …}`.
#[derive(Debug, Deserialize)]
struct Named {
    model: Option<String>,
    name: Option<String>,
}

async fn named(app: &App, request: Request) -> Result<String, Failure> {
    let named: Named = wire::json::parse(&reply::body(app, request).await?)?;
    let name = named.model.or(named.name).filter(|name| !name.trim().is_empty());
    name.ok_or_else(|| Failure::invalid("model", "`model` is missing"))
}

pub(super) async fn load(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let lease = app.pool.acquire(&named(&app, request).await?).await?;
    let body = json!({"model": lease.model.id, "status": "loaded", "memory_bytes": lease.memory_bytes, "context_length": lease.engine.info().context});
    Ok(reply::json(StatusCode::OK, &body))
}

pub(super) async fn unload(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let name = named(&app, request).await?;
    let id = app.pool.find(&name).await?.id.clone();
    let was_loaded = app.pool.unload(&id).await?;
    Ok(reply::json(StatusCode::OK, &json!({"model": id, "status": if was_loaded { "unloaded" } else { "not_loaded" }})))
}
