//! What administrators do with remembered answers.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Admin, Answer, trail};
use crate::app::App;

/// What was forgotten.
#[derive(Serialize, ToSchema)]
pub struct Flushed {
    /// `success`.
    status: &'static str,
    /// Answers in this router's memory, and on the shared Redis where it can be reached.
    flushed: u64,
}

/// Forget every answer of the cache. Answers to repeated calls stay.
#[utoipa::path(post, path = "/api/cache/flush", tag = "operating", responses((status = 200, description = "They are forgotten", body = Flushed)), security(("bearer" = ["admin"])))]
pub async fn flush(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<Flushed>> {
    let flushed = app.answered.cache.flush().await;
    trail::changed(None, Some(serde_json::json!({"flushed": flushed})));
    tracing::info!(flushed, "the answer cache was flushed");
    Ok(Json(Flushed { status: "success", flushed }))
}
