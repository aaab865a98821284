//! `GET /v1/models`: the union of nodes, accounts and aliases.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, Uri},
};
use config::account::Reach;
use journey::Scope;
use serde_json::{Value, json};
use wire::{Code, Dialect, Failure};

use super::{Answer, Known};
use crate::{app::App, snapshot::House};

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

/// All models that the caller may use.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    summary = "Models that the caller may use",
    responses((status = 200, description = "In OpenAI's form, or that of the client's own dialect", body = serde_json::Value)),
    security(("bearer" = []))
)]
pub async fn list(State(app): State<Arc<App>>, Known(caller): Known, uri: Uri, headers: HeaderMap) -> Answer<Json<Value>> {
    policy::may_call(&caller, Scope::Inference).or_else(|_| policy::may_call(&caller, Scope::Read))?;
    app.catch_up().await;
    let models = all(&app).into_iter().filter(|(id, _)| caller.may_use(id));
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
    for (name, targets) in &house.map.aliases {
        models.entry(name.clone()).or_insert_with(|| entry(&house, name, "llm-router", json!({"alias_of": targets})));
    }
    if house.map.default_model.is_some() {
        models.entry("auto".to_owned()).or_insert_with(|| entry(&house, "auto", "llm-router", json!({})));
    }
    models
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
