//! The configuration: shown with origins, read again on demand.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{Admin, Answer, read};
use crate::app::App;

/// `GET /api/config`: what `config show --json` prints; secrets are masked.
#[utoipa::path(
    get,
    path = "/api/config",
    tag = "configuration",
    summary = "Every setting with its origin; secrets masked",
    responses((status = 200, description = "The settings", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn show(State(app): State<Arc<App>>, _: Admin) -> Json<Value> {
    Json(config::show_json(&app.loaded()))
}

/// What `POST /config/reload` may say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Reload {
    /// Ask the object store too, where one is followed.
    force_sync: bool,
}

/// The configuration is in force.
#[derive(Serialize, ToSchema)]
pub struct Reloaded {
    /// `success`.
    status: &'static str,
    message: &'static str,
    /// Whether it came from an object store.
    synced_from_remote: bool,
    warnings: Vec<String>,
}

/// `POST /config/reload`: file and environment are read again; what is not valid changes nothing.
#[utoipa::path(
    post,
    path = "/config/reload",
    tag = "configuration",
    summary = "Read file and environment again; what is not valid changes nothing",
    request_body = Reload,
    responses((status = 200, description = "In force", body = Reloaded), (status = 400, description = "It is not valid")),
    security(("bearer" = ["admin"]))
)]
pub async fn reload(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Json<Reloaded>> {
    let Reload { force_sync: _ } = read(&body)?;
    let warnings = app.reload().await.map_err(|error| Failure::new(Code::InvalidRequest, error.to_string()))?;
    // No object store is followed.
    Ok(Json(Reloaded { status: "success", message: "Config reloaded", synced_from_remote: false, warnings }))
}

/// The strategies were read again.
#[derive(Serialize, ToSchema)]
pub struct StrategiesReloaded {
    /// `success`.
    status: &'static str,
    /// Strategies that routes name.
    reloaded: Vec<String>,
    #[schema(value_type = Vec<Object>)]
    errors: Vec<Value>,
}

/// `POST /router/reload`: the same, told by strategies.
#[utoipa::path(
    post,
    path = "/router/reload",
    tag = "configuration",
    summary = "Read the routes again, and everything else",
    responses((status = 200, description = "In force", body = StrategiesReloaded), (status = 400, description = "It is not valid")),
    security(("bearer" = ["admin"]))
)]
pub async fn reload_strategies(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<StrategiesReloaded>> {
    app.reload().await.map_err(|error| Failure::new(Code::InvalidRequest, error.to_string()))?;
    let house = app.house();
    let named: BTreeSet<&String> = house.config.routes.values().map(|route| &route.strategy).collect();
    Ok(Json(StrategiesReloaded { status: "success", reloaded: named.into_iter().cloned().collect(), errors: Vec::new() }))
}
