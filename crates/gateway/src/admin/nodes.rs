//! Nodes and agents: joining, heartbeats, and what an administrator sees and does of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, Request, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use fleet::{Adoption, AgentRegistration, NewJoinToken, NodeSettings, NodeView, Origin, Summary};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::{
    Code, Failure,
    fleet::node::{Heartbeat, Registration},
};

use super::{Admin, Answer, Asked, Known, Reader, Refusal, read, trail};
use crate::app::App;

/// Most bytes of a node's answer.
const NODE_BYTES_MAX: usize = 4 << 20;

/// How long a node may take for its log, and to be reached at all.
const LOG_TIME_MAX: Duration = Duration::from_secs(10);
const NODE_CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// `POST /api/nodes`: 201 for a new node, 200 for one that registers again.
#[utoipa::path(
    post,
    path = "/api/nodes",
    tag = "nodes",
    summary = "Register a node",
    request_body = serde_json::Value,
    responses((status = 201, description = "It is new; 200 where it was known", body = serde_json::Value)),
    security(("join_token" = []))
)]
pub async fn register(State(app): State<Arc<App>>, asked: Asked, headers: HeaderMap, body: Bytes) -> Answer<Response> {
    let said: Registration = read(&body)?;
    trail::by("node", None, Some(&said.machine_name));
    let (registered, is_new) = app.fleet.register(said, origin(&asked, &headers, false)).await?;
    trail::about(&registered.node_id);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(registered)).into_response())
}

/// `POST /api/health`: 200 with `null`, as older nodes expect.
#[utoipa::path(
    post,
    path = "/api/health",
    tag = "nodes",
    summary = "A report of a node",
    request_body = serde_json::Value,
    responses((status = 200, description = "Taken")),
    security(("node_token" = []))
)]
pub async fn heartbeat(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Answer<Json<Value>> {
    let token = headers.get("x-node-token").and_then(|v| v.to_str().ok());
    // Who shows no token is told so, whatever else is wrong.
    let beat: Heartbeat = if token.is_none() { Heartbeat::default() } else { read(&body)? };
    app.fleet.heartbeat(token, beat)?;
    Ok(Json(Value::Null))
}

/// `POST /register` of Router API's agents.
#[utoipa::path(
    post,
    path = "/register",
    tag = "nodes",
    summary = "Register an agent",
    request_body = serde_json::Value,
    responses((status = 200, description = "Registered", body = serde_json::Value)),
    security(("join_token" = []), ("bearer" = []))
)]
pub async fn register_agent(
    State(app): State<Arc<App>>,
    asked: Asked,
    headers: HeaderMap,
    known: Result<Known, Refusal>,
    body: Bytes,
) -> Answer<Json<Value>> {
    let said: AgentRegistration = read(&body)?;
    trail::by("node", None, Some(&said.name));
    let made = app.fleet.register_agent(said, origin(&asked, &headers, known.is_ok())).await?;
    trail::about(&made.node_id);
    Ok(Json(json!({"status": "ok", "node_id": made.node_id, "router_secret": made.router_secret})))
}

#[derive(Deserialize)]
struct AgentBeat {
    name: String,
    #[serde(default)]
    queue_length: Option<u32>,
}

/// `POST /heartbeat` of Router API's agents.
#[utoipa::path(
    post,
    path = "/heartbeat",
    tag = "nodes",
    summary = "A sign of life of an agent",
    request_body = serde_json::Value,
    responses((status = 200, description = "Taken; 404 for an unknown name", body = serde_json::Value)),
    security(("join_token" = []), ("bearer" = []))
)]
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
#[utoipa::path(
    get,
    path = "/api/nodes",
    tag = "nodes",
    summary = "All nodes and agents",
    responses((status = 200, description = "The list", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn list(State(app): State<Arc<App>>, _: Reader) -> Json<Vec<NodeView>> {
    Json(app.fleet.list())
}

/// `GET /api/nodes/metrics`.
#[utoipa::path(
    get,
    path = "/api/nodes/metrics",
    tag = "nodes",
    summary = "The last reports of nodes",
    responses((status = 200, description = "By node", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn metrics(State(app): State<Arc<App>>, _: Reader) -> Json<Vec<Value>> {
    Json(app.fleet.metrics())
}

/// `GET /api/metrics/summary`.
#[utoipa::path(
    get,
    path = "/api/metrics/summary",
    tag = "nodes",
    summary = "Sums over all nodes",
    responses((status = 200, description = "The sums", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn summary(State(app): State<Arc<App>>, _: Reader) -> Json<Summary> {
    Json(app.fleet.summary())
}

/// `PUT /api/nodes/{id}/settings`.
#[utoipa::path(
    put,
    path = "/api/nodes/{id}/settings",
    tag = "nodes",
    summary = "Name, tags and notes of a node",
    params(("id" = String, Path)),
    request_body = serde_json::Value,
    responses((status = 200, description = "The node", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn settings(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>, body: Bytes) -> Answer<Json<NodeView>> {
    let wanted: NodeSettings = read(&body)?;
    let before = app.fleet.get(&id).map(|node| json!(node));
    let node = app.fleet.update_settings(&id, wanted).await?;
    trail::changed(before, Some(json!(node)));
    Ok(Json(node))
}

/// `POST /api/nodes/{id}/disconnect`.
#[utoipa::path(
    post,
    path = "/api/nodes/{id}/disconnect",
    tag = "nodes",
    summary = "Take a node off line",
    params(("id" = String, Path)),
    responses((status = 202, description = "Done")),
    security(("bearer" = ["admin"]))
)]
pub async fn disconnect(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    app.fleet.disconnect(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize)]
struct Drain {
    #[serde(default = "yes")]
    draining: bool,
}

const fn yes() -> bool {
    true
}

/// `POST /api/nodes/{id}/drain`; `{"draining": false}` takes it back.
#[utoipa::path(
    post,
    path = "/api/nodes/{id}/drain",
    tag = "nodes",
    summary = "Send no new requests to a node, or send them again",
    params(("id" = String, Path)),
    request_body = serde_json::Value,
    responses((status = 202, description = "Done")),
    security(("bearer" = ["admin"]))
)]
pub async fn drain(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>, body: Bytes) -> Answer<StatusCode> {
    let Drain { draining } = read(&body)?;
    trail::changed(None, Some(json!({"draining": draining})));
    app.fleet.drain(&id, draining).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `POST /api/nodes/{id}/approve`.
#[utoipa::path(
    post,
    path = "/api/nodes/{id}/approve",
    tag = "nodes",
    summary = "Consent to a node that waits for it",
    params(("id" = String, Path)),
    responses((status = 200, description = "The node", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn approve(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<Json<NodeView>> {
    Ok(Json(app.fleet.approve(&id).await?))
}

/// `POST /api/nodes/adopt`: 201 for a new one, 200 for one that is brought up to date.
#[utoipa::path(
    post,
    path = "/api/nodes/adopt",
    tag = "nodes",
    summary = "Take another server in as a node",
    request_body = serde_json::Value,
    responses((status = 201, description = "The node; 200 where one of this name was known", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn adopt(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Response> {
    let wanted: Adoption = read(&body)?;
    let (node, is_new) = app.fleet.adopt(wanted).await?;
    trail::about(&node.id);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(node)).into_response())
}

/// `GET /api/nodes/join-tokens`.
#[utoipa::path(
    get,
    path = "/api/nodes/join-tokens",
    tag = "nodes",
    summary = "Tokens that nodes may register with",
    responses((status = 200, description = "Newest first, without their secrets", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn join_tokens(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<Value>> {
    Ok(Json(json!({"join_tokens": app.fleet.join_tokens().await?})))
}

/// `POST /api/nodes/join-tokens`: its secret is shown once.
#[utoipa::path(
    post,
    path = "/api/nodes/join-tokens",
    tag = "nodes",
    summary = "Make a token that nodes may register with",
    request_body = serde_json::Value,
    responses((status = 201, description = "The token with its secret", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn make_join_token(State(app): State<Arc<App>>, Admin(caller): Admin, body: Bytes) -> Answer<Response> {
    let wanted: NewJoinToken = read(&body)?;
    let (made, secret) = app.fleet.make_join_token(wanted, caller.key.map(|key| key.name.to_string())).await?;
    let mut shown = json!(made);
    trail::about(&made.id);
    trail::changed(None, Some(shown.clone()));
    shown["token"] = secret.into();
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `DELETE /api/nodes/join-tokens/{id}`.
#[utoipa::path(
    delete,
    path = "/api/nodes/join-tokens/{id}",
    tag = "nodes",
    summary = "Revoke a join token",
    params(("id" = String, Path)),
    responses((status = 204, description = "Revoked; nodes that came with it stay")),
    security(("bearer" = ["admin"]))
)]
pub async fn revoke_join_token(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    app.fleet.revoke_join_token(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/dashboard/metrics/{node_id}`.
#[utoipa::path(
    get,
    path = "/api/dashboard/metrics/{node_id}",
    tag = "nodes",
    summary = "The last hour of a node's reports",
    params(("node_id" = String, Path)),
    responses((status = 200, description = "Oldest first, at most 360", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn history(State(app): State<Arc<App>>, _: Reader, Path(id): Path<String>) -> Answer<Json<Value>> {
    let points = app.fleet.history(&id).ok_or_else(|| Failure::new(Code::NotFound, "Node not found"))?;
    Ok(Json(json!(points)))
}

/// `DELETE /api/nodes/{id}`.
#[utoipa::path(
    delete,
    path = "/api/nodes/{id}",
    tag = "nodes",
    summary = "Remove a node",
    params(("id" = String, Path)),
    responses((status = 204, description = "Removed")),
    security(("bearer" = ["admin"]))
)]
pub async fn remove(State(app): State<Arc<App>>, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    trail::changed(app.fleet.get(&id).map(|node| json!(node)), None);
    app.fleet.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/nodes/{id}/logs?tail=`: asked of the node itself.
#[utoipa::path(
    get,
    path = "/api/nodes/{id}/logs",
    tag = "nodes",
    summary = "The end of a node's log",
    params(("id" = String, Path)),
    responses((status = 200, description = "Its lines", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
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
    let (status, mut said) = asked(&app, node, Request::get(format!("/api/logs?tail={tail}")), "", LOG_TIME_MAX).await?;
    if let Some(object) = said.as_object_mut().filter(|_| status.is_success()) {
        object.insert("source".to_owned(), format!("node:{}", node.name).into());
        return Ok(Json(said));
    }
    Err(Failure::new(Code::UpstreamError, format!("the node answered with status {}", status.as_u16())).into())
}

/// Asks a node of ours something of its control plane; `request` names the path, `body` is JSON or nothing.
///
/// # Errors
/// [`Code::NoAvailableTarget`] where it cannot be reached, [`Code::UpstreamError`] where it answers with something that is no JSON.
pub(super) async fn asked(
    app: &App,
    node: &fleet::Peer,
    request: http::request::Builder,
    body: &str,
    time_max: Duration,
) -> Result<(StatusCode, Value), Failure> {
    let unusable = || Failure::new(Code::InternalError, "the node's address is not usable");
    let mut request = request.body(net::Body::from(body.as_bytes().to_vec())).map_err(|_| unusable())?;
    *request.uri_mut() = format!("{}{}", node.url, request.uri()).parse().map_err(|_| unusable())?;
    if let Ok(proof) = format!("Bearer {}", node.router_secret).parse() {
        request.headers_mut().insert(http::header::AUTHORIZATION, proof);
    }
    let timeouts = net::Timeouts { connect: NODE_CONNECT_TIME_MAX.min(time_max), first_byte: time_max, idle: time_max, total: time_max };
    let away = |_| Failure::new(Code::NoAvailableTarget, format!("the node `{}` cannot be asked now", node.name));
    let response = app.node_client.fetch(request, &timeouts, NODE_BYTES_MAX).await.map_err(away)?;
    let no_json = |_| Failure::new(Code::UpstreamError, format!("the node `{}` answered with something that is no JSON", node.name));
    let said = serde_json::from_slice(response.body()).map_err(no_json)?;
    Ok((response.status(), said))
}
