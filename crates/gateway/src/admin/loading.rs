//! Models in the memory of nodes: brought there and taken from there by hand. Requests do the first by themselves.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::Request};
use bytes::Bytes;
use fleet::Peer;
use futures_util::future::join_all;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{Admin, Answer, nodes, read, trail};
use crate::app::App;

/// What is to be done, and where.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Wanted {
    /// As `/v1/models` has it, with or without `node:`.
    model: String,
    /// Id or name of the node. Without it: one that has the file, to load; all that have it in memory, to unload.
    node: Option<String>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = LoadDone)]
pub struct Done {
    model: String,
    /// loaded, unloaded or not_loaded: of at least one node.
    status: String,
    nodes: Vec<OnNode>,
}

/// The same on one node.
#[derive(Serialize, ToSchema)]
pub struct OnNode {
    id: String,
    name: String,
    /// loaded, unloaded, not_loaded or failed.
    status: String,
    /// Of a model that is loaded.
    memory_bytes: Option<u64>,
    context_length: Option<u64>,
    /// Why it failed.
    error: Option<String>,
}

/// `POST /api/models/load`: answers when it is there.
#[utoipa::path(
    post,
    path = "/api/models/load",
    tag = "nodes",
    summary = "Load a model into the memory of a node",
    request_body = Wanted,
    responses(
        (status = 200, description = "It is there", body = Done),
        (status = 404, description = "No node that is there has it"),
        (status = 502, description = "The node could not"),
        (status = 503, description = "The node cannot be reached, has no room now, or has not fetched the model from the router yet")
    ),
    security(("bearer" = ["admin"]))
)]
pub async fn load(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Json<Done>> {
    let (model, holders) = holders(&app, read(&body)?)?;
    // Where it is already, else where the least is going on.
    let best = holders.into_iter().min_by_key(|(peer, is_loaded)| (!is_loaded, peer.active()));
    carry_out(&app, "load", model, best.into_iter().map(|(peer, _)| peer).collect()).await
}

/// `POST /api/models/unload`: what a node is answering with it is finished first.
#[utoipa::path(
    post,
    path = "/api/models/unload",
    tag = "nodes",
    summary = "Take a model out of the memory of nodes",
    request_body = Wanted,
    responses(
        (status = 200, description = "It is gone, or was not there", body = Done),
        (status = 404, description = "No node that is there has it"),
        (status = 502, description = "The node could not"),
        (status = 503, description = "The node cannot be reached")
    ),
    security(("bearer" = ["admin"]))
)]
pub async fn unload(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Json<Done>> {
    let (model, holders) = holders(&app, read(&body)?)?;
    let is_anywhere = holders.iter().any(|(_, is_loaded)| *is_loaded);
    // A node may have loaded it since its last report: where nobody has it, all are asked.
    let asked = holders.into_iter().filter(|(_, is_loaded)| *is_loaded || !is_anywhere);
    carry_out(&app, "unload", model, asked.map(|(peer, _)| peer).collect()).await
}

/// How soon it is worth asking again for a model that nodes are still fetching.
const FETCH_PAUSE: Duration = Duration::from_secs(5);

/// Nodes, and whether each has the model in memory.
type Holders = Vec<(Arc<Peer>, bool)>;

/// The model and the nodes that are meant.
fn holders(app: &App, wanted: Wanted) -> Result<(String, Holders), Failure> {
    let model = wanted.model.trim();
    let model = model.strip_prefix("node:").unwrap_or(model).to_owned();
    if model.is_empty() {
        return Err(Failure::invalid("model", "`model` is missing"));
    }
    trail::about(&model);
    let mut holders = app.fleet.view().holding(&model);
    if let Some(node) = wanted.node.filter(|node| !node.is_empty()) {
        holders.retain(|(peer, _)| *peer.id == *node || *peer.name == *node);
        if holders.is_empty() {
            return Err(Failure::new(Code::NotFound, format!("no node `{node}` is there that has the model `{model}`")).at("node"));
        }
    }
    if holders.is_empty() && app.registry.get(&model).is_some_and(|kept| kept.manifest.is_some()) {
        let message = format!("no node has fetched the model `{model}` from the router yet");
        return Err(Failure::new(Code::NoAvailableTarget, message).at("model").retry_after(FETCH_PAUSE));
    }
    if holders.is_empty() {
        return Err(
            Failure::new(Code::ModelNotFound, format!("no node of the router's own that is there has the model `{model}`")).at("model")
        );
    }
    Ok((model, holders))
}

async fn carry_out(app: &App, verb: &str, model: String, peers: Vec<Arc<Peer>>) -> Answer<Json<Done>> {
    let body = json!({"model": model}).to_string();
    let time_max = app.house().config.fleet.node_request_timeout;
    let ask = async |peer: Arc<Peer>| {
        let request = Request::post(format!("/api/models/{verb}")).header("content-type", "application/json");
        let said = match nodes::asked(app, &peer, request, &body, time_max).await {
            Ok((status, said)) if status.is_success() => Ok(said),
            Ok((status, said)) => Err(refusal(&peer, status, &said)),
            Err(failure) => Err(failure),
        };
        (peer, said)
    };
    let said = join_all(peers.into_iter().map(ask)).await;
    if let Some(failure) =
        said.iter().all(|(_, said)| said.is_err()).then(|| said.iter().find_map(|(_, said)| said.as_ref().err())).flatten()
    {
        return Err(failure.clone().into());
    }
    let nodes: Vec<OnNode> = said.into_iter().map(|(peer, said)| on_node(&peer, said)).collect();
    let status = ["loaded", "unloaded", "not_loaded"].into_iter().find(|word| nodes.iter().any(|node| node.status == *word));
    trail::changed(
        None,
        Some(json!({"nodes": nodes.iter().map(|node| json!({"name": node.name, "status": node.status})).collect::<Vec<_>>()})),
    );
    Ok(Json(Done { model, status: status.unwrap_or("failed").to_owned(), nodes }))
}

fn on_node(peer: &Peer, said: Result<Value, Failure>) -> OnNode {
    let (said, error) = match said {
        Ok(said) => (said, None),
        Err(failure) => (Value::Null, Some(failure.message)),
    };
    OnNode {
        id: peer.id.to_string(),
        name: peer.name.to_string(),
        status: said["status"].as_str().unwrap_or("failed").to_owned(),
        memory_bytes: said["memory_bytes"].as_u64(),
        context_length: said["context_length"].as_u64(),
        error,
    }
}

/// What a node said instead, as the caller is told.
fn refusal(peer: &Peer, status: StatusCode, said: &Value) -> Failure {
    let why = said["error"]["message"].as_str().unwrap_or("it did not say why");
    let code = match status.as_u16() {
        404 => Code::ModelNotFound,
        503 => Code::NoAvailableTarget,
        507 => Code::InsufficientStorage,
        _ => Code::UpstreamError,
    };
    Failure::new(code, format!("the node `{}` answered with status {}: {why}", peer.name, status.as_u16()))
}
