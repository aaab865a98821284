//! `/api/models…`: the models whose files the router keeps.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use jiff::Timestamp;
use journey::{Caller, Scope};
use serde::Deserialize;
use serde_json::{Value, json};
use store::model_tasks::ModelTask;
use wire::Failure;

use super::{Admin, Answer, Reader, read, trail};
use crate::{
    app::App,
    registry::{ConversionWanted, MEMORY_FACTOR, RegistrationWanted, SearchWanted, Shown},
};

const GIB: f64 = (1u64 << 30) as f64;

/// `GET /api/models/available`.
#[utoipa::path(
    get,
    path = "/api/models/available",
    tag = "models",
    summary = "Models with GGUF files on the hub",
    params(("source" = Option<String>, Query), ("search" = Option<String>, Query), ("limit" = Option<u32>, Query), ("offset" = Option<u32>, Query)),
    responses((status = 200, description = "A page of them", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn available(State(app): State<Arc<App>>, _: Reader, Query(query): Query<HashMap<String, String>>) -> Answer<Json<Value>> {
    let number = |name: &str| -> Result<Option<usize>, Failure> {
        let text = query.get(name).filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| Failure::invalid(name, format!("`{name}` must be a number")))).transpose()
    };
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).cloned();
    let wanted =
        SearchWanted { source: text("source"), search: text("search"), limit: number("limit")?, offset: number("offset")?.unwrap_or(0) };
    Ok(Json(app.registry.available(&wanted).await?))
}

#[derive(Deserialize)]
struct Discovered {
    #[serde(default)]
    model: String,
}

/// `POST /api/models/discover-gguf`.
#[utoipa::path(
    post,
    path = "/api/models/discover-gguf",
    tag = "models",
    summary = "GGUF forms of a model on the hub",
    request_body = serde_json::Value,
    responses((status = 200, description = "Repositories, trusted owners first", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn discover(State(app): State<Arc<App>>, _: Reader, body: Bytes) -> Answer<Json<Value>> {
    let Discovered { model } = read(&body)?;
    Ok(Json(app.registry.discover(&model).await?))
}

/// `POST /api/models/register`.
#[utoipa::path(
    post,
    path = "/api/models/register",
    tag = "models",
    summary = "Register a model of the hub; its file is brought behind the answer",
    request_body = serde_json::Value,
    responses((status = 201, description = "Registered", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn register(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Response> {
    let wanted: RegistrationWanted = read(&body)?;
    let registered = app.registry.register(wanted).await?;
    let registered = json!(registered);
    trail::about(registered["name"].as_str().unwrap_or_default());
    trail::changed(None, Some(registered.clone()));
    Ok((StatusCode::CREATED, Json(registered)).into_response())
}

/// `GET /api/models/registered`.
#[utoipa::path(
    get,
    path = "/api/models/registered",
    tag = "models",
    summary = "Models whose files the router keeps, or is bringing",
    responses((status = 200, description = "The list", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn registered(State(app): State<Arc<App>>, Reader(caller): Reader) -> Json<Vec<Value>> {
    Json(app.registry.list().iter().map(|model| shown(&app, model, &caller)).collect())
}

fn shown(app: &App, model: &Shown, caller: &Caller) -> Value {
    let Shown { row, manifest, progress } = model;
    let is_ready = manifest.is_some();
    // Where files stand on this machine is for those who administer it.
    let path = manifest.as_ref().filter(|_| policy::may_call(caller, Scope::Admin).is_ok());
    let path = path.map(|manifest| app.registry.home(&row.name).join(&manifest.files[0].file).to_string_lossy().into_owned());
    json!({
        "name": row.name,
        "display_name": row.display_name,
        "description": row.display_name.as_ref().unwrap_or(&row.repo),
        "status": row.status,
        "ready": is_ready,
        "progress": progress,
        "error": row.error,
        "path": path,
        "download_url": app.registry.hub_url(row),
        "source": "hf",
        "repo": row.repo,
        "revision": row.revision,
        "filename": row.filename,
        "quantization": row.quantization.as_ref().map(|quant| quant.to_uppercase()),
        "size_bytes": row.size_bytes,
        "size_gb": row.size_bytes as f64 / GIB,
        "required_memory_gb": row.size_bytes as f64 * MEMORY_FACTOR / GIB,
        "sha256": manifest.as_ref().map(|manifest| manifest.sha256()),
        "parts": manifest.as_ref().map(|manifest| manifest.files.len()),
        "tags": row.tags,
        "created_at": time(row.created_at_ms),
        "updated_at": time(row.updated_at_ms),
    })
}

/// `DELETE /api/models/{name}`.
#[utoipa::path(
    delete,
    path = "/api/models/{id}",
    tag = "models",
    summary = "Forget a model and remove its files from the router",
    params(("id" = String, Path)),
    responses((status = 204, description = "Removed")),
    security(("bearer" = ["admin"]))
)]
pub async fn remove(State(app): State<Arc<App>>, _: Admin, Path(name): Path<String>) -> Answer<StatusCode> {
    app.registry.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/models/convert`.
#[utoipa::path(
    post,
    path = "/api/models/convert",
    tag = "models",
    summary = "Convert a repository's safetensors to GGUF",
    request_body = serde_json::Value,
    responses((status = 202, description = "Queued", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn convert(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Response> {
    let wanted: ConversionWanted = read(&body)?;
    let (task, _) = app.registry.convert(wanted).await?;
    trail::about(&task.id);
    Ok((StatusCode::ACCEPTED, Json(json!({"task_id": task.id, "status": task.status, "model": task.model}))).into_response())
}

/// `GET /api/models/convert`.
#[utoipa::path(
    get,
    path = "/api/models/convert",
    tag = "models",
    summary = "All conversions, the newest first",
    responses((status = 200, description = "The list", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn conversions(State(app): State<Arc<App>>, Reader(caller): Reader) -> Answer<Json<Vec<Value>>> {
    Ok(Json(app.registry.conversions().await?.iter().map(|task| task_shown(task, &caller)).collect()))
}

/// `GET /api/models/convert/{id}`.
#[utoipa::path(
    get,
    path = "/api/models/convert/{id}",
    tag = "models",
    summary = "One conversion",
    params(("id" = String, Path)),
    responses((status = 200, description = "The conversion", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn conversion(State(app): State<Arc<App>>, Reader(caller): Reader, Path(id): Path<String>) -> Answer<Json<Value>> {
    Ok(Json(task_shown(&app.registry.conversion(&id).await?, &caller)))
}

/// `DELETE /api/models/convert/{id}`.
#[utoipa::path(
    delete,
    path = "/api/models/convert/{id}",
    tag = "models",
    summary = "Forget a conversion; one that runs is stopped",
    params(("id" = String, Path)),
    responses((status = 204, description = "Forgotten")),
    security(("bearer" = ["admin"]))
)]
pub async fn forget_conversion(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    app.registry.forget_conversion(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn task_shown(task: &ModelTask, caller: &Caller) -> Value {
    let path = task.path.as_ref().filter(|_| policy::may_call(caller, Scope::Admin).is_ok());
    json!({
        "id": task.id,
        "repo": task.repo,
        "filename": task.filename,
        "revision": task.revision,
        "quantization": task.quantization,
        "chat_template": task.chat_template,
        "model": task.model,
        "status": task.status,
        "progress": task.progress,
        "error": task.error,
        "path": path,
        "created_at": time(task.created_at_ms),
        "updated_at": time(task.updated_at_ms),
    })
}

fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}
