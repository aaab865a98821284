//! What the first pages of the dashboard show: nodes, sums, the last hour, the log.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Query, State},
};
use fleet::{NodeView, Summary};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Reader};
use crate::app::App;

/// Points of the last hour, one a minute.
const MINUTES: i64 = 60;
const MINUTE_MS: i64 = 60_000;

/// Entries of the log that are shown if nothing is said.
const LOG_ENTRIES: usize = 200;

/// Sums over everything that the router did since its start, and over its nodes.
#[derive(Serialize)]
pub struct Stats {
    #[serde(flatten)]
    nodes: Summary,
    /// Of some providers, whether an account has a key.
    #[serde(flatten)]
    keys: BTreeMap<&'static str, bool>,
    last_registered_at: Option<String>,
    last_seen_at: Option<String>,
}

/// Requests of one minute.
#[derive(Serialize)]
struct Point {
    /// Its begin.
    minute: String,
    success: u64,
    error: u64,
}

/// What the first page shows. Written as it is: a tree of values of a thousand nodes would take longer than all the rest.
#[derive(Serialize)]
pub struct Overview {
    nodes: Vec<NodeView>,
    stats: Stats,
    history: Vec<Point>,
    generated_at: String,
    generation_time_ms: f64,
}

/// `GET /api/dashboard/overview`: all that the first page needs.
#[utoipa::path(
    get,
    path = "/api/dashboard/overview",
    tag = "dashboard",
    summary = "Nodes, sums and the last hour at once",
    responses((status = 200, description = "The overview", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn overview(State(app): State<Arc<App>>, _: Reader) -> Answer<Json<Overview>> {
    let began = Instant::now();
    let nodes = app.fleet.list();
    let stats = sums(&app, &nodes);
    let history = last_hour(&app).await?;
    let generation_time_ms = began.elapsed().as_secs_f64() * 1e3;
    let generated_at = Timestamp::now().to_string();
    Ok(Json(Overview { nodes, stats, history, generated_at, generation_time_ms }))
}

/// `GET /api/dashboard/nodes`.
#[utoipa::path(
    get,
    path = "/api/dashboard/nodes",
    tag = "dashboard",
    summary = "All nodes with what they did",
    responses((status = 200, description = "The list", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn nodes(State(app): State<Arc<App>>, _: Reader) -> Json<Vec<NodeView>> {
    Json(app.fleet.list())
}

/// `GET /api/dashboard/stats`.
#[utoipa::path(
    get,
    path = "/api/dashboard/stats",
    tag = "dashboard",
    summary = "Sums since the start",
    responses((status = 200, description = "The sums", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn stats(State(app): State<Arc<App>>, _: Reader) -> Json<Stats> {
    Json(sums(&app, &app.fleet.list()))
}

/// `GET /api/dashboard/request-history`.
#[utoipa::path(
    get,
    path = "/api/dashboard/request-history",
    tag = "dashboard",
    summary = "Requests of the last hour by minute",
    responses((status = 200, description = "60 points, oldest first", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn request_history(State(app): State<Arc<App>>, _: Reader) -> Answer<Json<Value>> {
    Ok(Json(json!(last_hour(&app).await?)))
}

#[derive(Deserialize)]
pub struct LogQuery {
    limit: Option<usize>,
}

/// `GET /api/dashboard/logs/router?limit=`.
#[utoipa::path(
    get,
    path = "/api/dashboard/logs/router",
    tag = "dashboard",
    summary = "The end of the router's log",
    params(("limit" = Option<u32>, Query, description = "Entries, 1 to 1000; 200 if nothing is said")),
    responses((status = 200, description = "Its entries, oldest first", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn log(State(app): State<Arc<App>>, _: Reader, Query(query): Query<LogQuery>) -> Json<Value> {
    let entries_max = query.limit.unwrap_or(LOG_ENTRIES).clamp(1, telemetry::logs::TAIL_ENTRIES_MAX);
    let path = app.log_path();
    let (dir, prefix) = path.as_deref().map(|path| (path.parent(), path.file_name().and_then(|name| name.to_str()))).unwrap_or_default();
    let entries = match (dir.map(ToOwned::to_owned), prefix.map(ToOwned::to_owned)) {
        (Some(dir), Some(prefix)) => {
            tokio::task::spawn_blocking(move || telemetry::logs::tail(&dir, &prefix, entries_max)).await.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Json(json!({"source": "router", "entries": entries, "path": path}))
}

fn sums(app: &App, nodes: &[NodeView]) -> Stats {
    let ended = app.tally.ended();
    let house = app.house();
    let has_key = |providers: &[&str]| house.written.iter().any(|a| providers.contains(&a.provider.as_str()) && a.api_key.is_some());
    Stats {
        nodes: Summary {
            total_requests: ended.successes + ended.errors + ended.cancelled,
            successful_requests: ended.successes,
            failed_requests: ended.errors,
            cancelled_requests: ended.cancelled,
            average_response_time_ms: ended.average_ms,
            ..app.fleet.summary()
        },
        keys: config::account::SHOWN_KEYS.into_iter().map(|(word, providers)| (word, has_key(providers))).collect(),
        last_registered_at: nodes.iter().map(|node| node.registered_at.clone()).max(),
        last_seen_at: nodes.iter().map(|node| node.last_seen.clone()).max(),
    }
}

async fn last_hour(app: &App) -> Result<Vec<Point>, store::StoreError> {
    let first = store::now_ms() / MINUTE_MS - MINUTES + 1;
    let counted = store::history::minutes(&app.store, first * MINUTE_MS).await?;
    let point = |minute: i64| {
        let found = counted.iter().find(|counts| counts.minute == minute).copied().unwrap_or_default();
        let begin = Timestamp::from_millisecond(minute * MINUTE_MS).map(|time| time.to_string()).unwrap_or_default();
        Point { minute: begin, success: found.successes, error: found.errors }
    };
    Ok((first..first + MINUTES).map(point).collect())
}
