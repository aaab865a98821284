//! `GET /v1/models`: the union of nodes, accounts and aliases.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use axum::{
    Json,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, Uri},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use config::account::Reach;
use fleet::Peer;
use jiff::Timestamp;
use journey::Scope;
use models::{Manifest, ticket};
use serde_json::{Value, json};
use store::model_files::ModelFile;
use wire::{Code, Dialect, Failure};

use super::{Answer, Asked, Known, Refusal, blob};
use crate::{app::App, snapshot::House};

/// Most other nodes that a node is told of for one model.
const PEERS_MAX: usize = 3;
/// How long a node may fetch a model's files from another one with one ticket, in seconds.
const TICKET_S: u64 = 24 * 3600;

/// In which of three shapes a client lists models.
fn shape(uri: &Uri, headers: &HeaderMap) -> Dialect {
    if uri.path().contains("/v1beta/") || headers.contains_key("x-goog-api-key") {
        Dialect::Gemini
    } else if uri.path().starts_with("/anthropic/") || headers.contains_key("anthropic-version") {
        Dialect::Messages
    } else {
        Dialect::Chat
    }
}

/// Counts a look at the models against its client's address, as calls are counted; a node that looks for its files is not counted.
pub async fn counted(State(app): State<Arc<App>>, asked: Asked, request: Request, next: Next) -> Response {
    let house = app.house();
    if house.limits.address.is_none() || matches!(blob::node_of(&app, request.headers()), Ok(Some(_))) {
        return next.run(request).await;
    }
    let mut standing = None;
    let arrived = policy::arrive(&house.limits, &app.counters, asked.peer.address, Instant::now(), &mut standing).await;
    let mut response = match arrived {
        Ok(()) => next.run(request).await,
        Err(failure) => {
            app.metrics.refused(failure.code.as_str());
            Refusal(failure).into_response()
        }
    };
    // It is said where the failure gets its shape.
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    response
}

/// All models that the caller may use.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    summary = "Models that the caller may use",
    responses((status = 200, description = "In OpenAI's form, or that of the client's own dialect", body = serde_json::Value)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    known: Result<Known, Refusal>,
    uri: Uri,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Json<Value>> {
    if known.is_err()
        && let Some(node) = blob::node_of(&app, &headers)?
    {
        // All names, so that a node removes what was deleted here and keeps what is only not ready.
        let registry = json!({"id": app.registry.id(), "known": app.registry.names()});
        return Ok(Json(json!({"object": "list", "data": files_for_nodes(&app, Some(&node)), "registry": registry})));
    }
    let Known(caller) = known?;
    policy::may_call(&caller, Scope::Inference).or_else(|_| policy::may_call(&caller, Scope::Read))?;
    app.catch_up().await;
    let mut models = all(&app);
    if query.get("source").is_some_and(|source| source == "cached") {
        if policy::may_call(&caller, Scope::Admin).is_ok() {
            return Ok(Json(json!({"object": "list", "data": files_for_nodes(&app, None)})));
        }
        let here: HashSet<String> = app.registry.ready().into_iter().map(|(row, _)| row.name).collect();
        models.retain(|id, _| here.contains(id));
    }
    let models = models.into_iter().filter(|(id, _)| caller.may_use(id));
    let named = |models: &mut dyn Iterator<Item = (String, Value)>| models.map(|(id, _)| (id.clone(), id)).collect::<Vec<_>>();
    Ok(Json(match shape(&uri, &headers) {
        Dialect::Gemini => wire::gemini::encode::models(&named(&mut { models })),
        Dialect::Messages => wire::messages::encode::models(&named(&mut { models })),
        Dialect::Chat | Dialect::Responses => {
            let data: Vec<Value> = models.map(|(_, entry)| entry).collect();
            let services = services(&app, data.len());
            json!({"object": "list", "data": data, "router": services})
        }
    }))
}

/// The services behind the list, and how many of them say what they have.
fn services(app: &App, combined: usize) -> Value {
    let house = app.house();
    let mut working = 0;
    let services: Vec<Value> = house
        .map
        .accounts
        .iter()
        .map(|account| {
            working += usize::from(account.discovered.is_some() || account.reach != Reach::Discovered);
            let count = account.discovered.as_ref().map_or(account.models.len(), |names| names.len());
            json!({"name": &*account.name, "backend_type": &*account.provider, "models_count": count})
        })
        .collect();
    json!({"total_services": services.len(), "working_services": working, "combined_models": combined, "services": services})
}

/// One of them; the id may hold `/` and `:`.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    tag = "models",
    summary = "One model; its id may hold `/` and `:`",
    params(("id" = String, Path)),
    responses((status = 200, description = "The model", body = serde_json::Value)),
    security(("bearer" = []))
)]
pub async fn one(
    State(app): State<Arc<App>>,
    Known(caller): Known,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Json<Value>> {
    policy::may_call(&caller, Scope::Inference).or_else(|_| policy::may_call(&caller, Scope::Read))?;
    app.catch_up().await;
    let Some(entry) = all(&app).remove(&id).filter(|_| caller.may_use(&id)) else {
        let id: String = id.chars().take(100).collect();
        return Err(Failure::new(Code::ModelNotFound, format!("The model `{id}` does not exist")).at("model").into());
    };
    let named = [(id.clone(), id)];
    Ok(Json(match shape(&uri, &headers) {
        Dialect::Gemini => wire::gemini::encode::models(&named)["models"][0].take(),
        Dialect::Messages => wire::messages::encode::models(&named)["data"][0].take(),
        Dialect::Chat | Dialect::Responses => entry,
    }))
}

fn all(app: &App) -> BTreeMap<String, Value> {
    let house = app.house();
    let mut models = BTreeMap::new();
    for (id, account) in house.map.names() {
        let entry = entry(&house, id, &account.provider, json!({"service": &*account.name, "backend_type": &*account.provider}));
        models.entry(id.to_owned()).or_insert(entry);
    }
    for model in app.fleet.view().models() {
        let nodes: Vec<&str> = model.nodes.iter().map(|n| &**n).collect();
        let more = json!({"service": nodes.first(), "backend_type": "node", "nodes": nodes, "loaded": model.loaded, "ready": model.ready});
        models.insert(model.id.to_string(), entry(&house, &model.id, "node", more));
    }
    for (row, manifest) in app.registry.ready() {
        let more = json!({"backend_type": "node", "nodes": [], "loaded": false, "ready": false, "size": manifest.bytes()});
        models.entry(row.name.clone()).or_insert_with(|| entry(&house, &row.name, "node", more));
    }
    for (name, targets) in house.map.aliases.iter().filter(|(name, _)| !house.config.hidden_aliases.contains(*name)) {
        models.entry(name.clone()).or_insert_with(|| entry(&house, name, "llm-router", json!({"alias_of": targets})));
    }
    if house.map.default_model.is_some() {
        models.entry("auto".to_owned()).or_insert_with(|| entry(&house, "auto", "llm-router", json!({})));
    }
    models
}

/// The models whose files are here, with all that a node needs to have them; files can't be named to anybody else.
fn files_for_nodes(app: &App, node: Option<&Peer>) -> Vec<Value> {
    let files = app.registry.ready();
    let others = node.map(|node| others(app, node)).unwrap_or_default();
    let shown = |(row, manifest): &(ModelFile, Arc<Manifest>)| {
        let home = app.registry.home(&row.name);
        let paths: Vec<_> = manifest.files.iter().map(|piece| home.join(&piece.file).to_string_lossy().into_owned()).collect();
        let blob = format!("/api/models/blob/{}", row.name);
        json!({
            "id": row.name,
            "object": "model",
            "created": row.created_at_ms / 1000,
            "owned_by": "router",
            "path": paths.first(),
            "paths": paths,
            "size": manifest.bytes(),
            "sha256": manifest.sha256(),
            "download_url": blob,
            "manifest_url": format!("{blob}/manifest"),
            "chat_template": app.registry.template(&row.name),
            "peers": peers(&others, &row.name),
        })
    };
    files.iter().map(shown).collect()
}

/// Nodes besides this one that are there, with the models on their disks.
fn others(app: &App, node: &Peer) -> Vec<(Vec<String>, Arc<Peer>)> {
    let view = app.fleet.view();
    let there = app.fleet.list().into_iter().filter(|other| *other.id != *node.id && !other.available_models.is_empty());
    there.filter_map(|other| Some((other.available_models, view.peer(&other.id).filter(|peer| view.is_there(peer))?.clone()))).collect()
}

/// Where else a model's files can be had, each with a ticket in its query.
fn peers(others: &[(Vec<String>, Arc<Peer>)], model: &str) -> Vec<String> {
    let expires_s = u64::try_from(Timestamp::now().as_second()).unwrap_or_default() + TICKET_S;
    let holders = others.iter().filter(|(models, peer)| models.iter().any(|held| held == model) && !peer.router_secret.is_empty());
    let url = |peer: &Peer| {
        let ticket = ticket::sign(&peer.router_secret, model, expires_s);
        format!("{}/api/models/blob/{model}?expires={expires_s}&ticket={ticket}", peer.url)
    };
    holders.take(PEERS_MAX).map(|(_, peer)| url(peer)).collect()
}

fn entry(house: &House, id: &str, owner: &str, more: Value) -> Value {
    let mut entry = json!({"id": id, "object": "model", "created": 0, "owned_by": owner});
    let (Value::Object(members), Value::Object(more)) = (&mut entry, more) else { return entry };
    members.extend(more);
    if let Some(described) = house.config.models.iter().find(|m| m.id == id) {
        members.extend(described.context.map(|n| ("context_length".to_owned(), n.into())));
        members.extend(described.max_output.map(|n| ("max_output".to_owned(), n.into())));
        if !described.capabilities.is_empty() {
            members.insert("capabilities".to_owned(), described.capabilities.clone().into());
        }
        members.extend(described.price.clone().map(|p| ("price".to_owned(), p)));
    }
    entry
}
