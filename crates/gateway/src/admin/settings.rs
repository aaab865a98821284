//! The configuration: shown with origins, read again on demand.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};
use wire::{Code, Failure};

use super::{Admin, Answer};
use crate::app::App;

/// `GET /api/config`: what `config show --json` prints; secrets are masked.
pub async fn show(State(app): State<Arc<App>>, _: Admin) -> Json<Value> {
    Json(config::show_json(&app.loaded()))
}

/// `POST /config/reload`: file and environment are read again; what is not valid changes nothing.
pub async fn reload(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<Value>> {
    match app.reload().await {
        Ok(warnings) => Ok(Json(json!({"status": "ok", "warnings": warnings}))),
        Err(error) => Err(Failure::new(Code::InvalidRequest, error.to_string()).into()),
    }
}
