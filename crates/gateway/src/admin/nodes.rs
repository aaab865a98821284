//! Nodes and agents: joining, heartbeats, and what an administrator sees and does of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use fleet::{NodeSettings, NodeView, Origin, Summary};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::{
    Code, Failure,
    fleet::node::{Heartbeat, Registration},
};

use super::{Admin, Answer, Asked, Known, Reader, Refusal, read};
use crate::app::App;

/// Most bytes of a node's log answer.
const LOG_BYTES_MAX: usize = 4 << 20;

/// `POST /api/nodes`: 201 for a new node, 200 for one that registers again.
pub async fn register(State(app): State<Arc<App>>, asked: Asked, headers: HeaderMap, body: Bytes) -> Answer<Response> {
    let said: Registration = read(&body)?;
    let (registered, is_new) = app.fleet.register(said, origin(&asked, &headers, false)).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(registered)).into_response())
}

/// `POST /api/health`: 200 with `null`, as older nodes expect.
pub async fn heartbeat(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Answer<Json<Value>> {
    let beat: Heartbeat = read(&body)?;
    app.fleet.heartbeat(headers.get("x-node-token").and_then(|v| v.to_str().ok()), beat)?;
    Ok(Json(Value::Null))
}

#[derive(Deserialize)]
struct Agent {
    name: String,
    endpoint: String,
    #[serde(default)]
    models: Vec<String>,
}

/// `POST /register` of Router API's agents.
pub async fn register_agent(
    State(app): State<Arc<App>>,
    asked: Asked,
    headers: HeaderMap,
    known: Result<Known, Refusal>,
    body: Bytes,
) -> Answer<Json<Value>> {
    let Agent { name, endpoint, models } = read(&body)?;
    let node_id = app.fleet.register_agent(&name, &endpoint, models, origin(&asked, &headers, known.is_ok())).await?;
    Ok(Json(json!({"status": "ok", "node_id": node_id})))
}

#[derive(Deserialize)]
struct AgentBeat {
    name: String,
    #[serde(default)]
    queue_length: Option<u32>,
}

/// `POST /heartbeat` of Router API's agents.
pub async fn agent_heartbeat(
    State(app): State<Arc<App>>,
    asked: Asked,
    headers: HeaderMap,
    known: Result<Known, Refusal>,
    body: Bytes,
) -> Answer<Json<Value>> {
    let AgentBeat { name, queue_length } = read(&body)?;
    app.fleet.agent_heartbeat(&name, queue_length, origin(&asked, &headers, known.is_ok())).await?;
    Ok(Json(json!({"status": "ok"})))
}

fn origin<'a>(asked: &Asked, headers: &'a HeaderMap, keyed: bool) -> Origin<'a> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let bearer = || text("authorization").and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")));
    Origin {
        addr: asked.peer.address,
        forwarded: asked.peer.forwarded,
        trusted: asked.peer.trusted,
        join_token: text("x-join-token").or_else(bearer).map(str::trim),
        keyed,
    }
}

/// `GET /api/nodes`.
pub async fn list(State(app): State<Arc<App>>, _: Reader) -> Json<Vec<NodeView>> {
    Json(app.fleet.list())
}

/// `GET /api/nodes/metrics`.
pub async fn metrics(State(app): State<Arc<App>>, _: Reader) -> Json<Vec<Value>> {
    Json(app.fleet.metrics())
}

/// `GET /api/metrics/summary`.
pub async fn summary(State(app): State<Arc<App>>, _: Reader) -> Json<Summary> {
    Json(app.fleet.summary())
}

/// `PUT /api/nodes/{id}/settings`.
pub async fn settings(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>, body: Bytes) -> Answer<Json<NodeView>> {
    let wanted: NodeSettings = read(&body)?;
    Ok(Json(app.fleet.update_settings(&id, wanted).await?))
}

/// `POST /api/nodes/{id}/disconnect`.
pub async fn disconnect(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    app.fleet.disconnect(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `POST /api/nodes/{id}/drain`.
pub async fn drain(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    app.fleet.drain(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `DELETE /api/nodes/{id}`.
pub async fn remove(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    app.fleet.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/nodes/{id}/logs?tail=`: asked of the node itself.
pub async fn logs(
    State(app): State<Arc<App>>,
    _: Reader,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Json<Value>> {
    let view = app.fleet.view();
    let node = view.peer(&id).ok_or_else(|| Failure::new(Code::NotFound, format!("Node not found: {id}")))?;
    let tail = query.get("tail").or_else(|| query.get("limit")).and_then(|n| n.parse::<u32>().ok()).unwrap_or(200).clamp(1, 1000);
    if !view.is_there(node) {
        return Err(Failure::new(Code::NoAvailableTarget, format!("the node `{}` is offline", node.name)).into());
    }
    let away = |_| Failure::new(Code::NoAvailableTarget, format!("the node `{}` cannot be asked for its log now", node.name));
    let mut request = http::Request::new(net::Body::empty());
    *request.uri_mut() = format!("{}/api/logs?tail={tail}", node.url)
        .parse()
        .map_err(|_| Failure::new(Code::InternalError, "the node's address is not usable"))?;
    if let Ok(proof) = format!("Bearer {}", node.router_secret).parse() {
        request.headers_mut().insert(http::header::AUTHORIZATION, proof);
    }
    let limit = Duration::from_secs(10);
    let timeouts = net::Timeouts { connect: limit, first_byte: limit, idle: limit, total: limit };
    let response = app.node_client.fetch(request, &timeouts, LOG_BYTES_MAX).await.map_err(away)?;
    let mut said: Value =
        serde_json::from_slice(response.body()).map_err(|_| Failure::new(Code::UpstreamError, "the node's log answer is not JSON"))?;
    if let Some(object) = said.as_object_mut().filter(|_| response.status().is_success()) {
        object.insert("source".to_owned(), format!("node:{}", node.name).into());
        return Ok(Json(said));
    }
    Err(Failure::new(Code::UpstreamError, format!("the node answered with status {}", response.status().as_u16())).into())
}
