//! `GET /v1/models`: the union of nodes, accounts and aliases.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use journey::Scope;
use serde_json::{Value, json};
use wire::{Code, Failure};

use super::{Answer, Known};
use crate::{app::App, snapshot::House};

/// All models that the caller may use.
pub async fn list(State(app): State<Arc<App>>, Known(caller): Known) -> Answer<Json<Value>> {
    policy::may_call(&caller, Scope::Inference).or_else(|_| policy::may_call(&caller, Scope::Read))?;
    let data: Vec<Value> = all(&app).into_iter().filter(|(id, _)| caller.may_use(id)).map(|(_, entry)| entry).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// One of them; the id may hold `/` and `:`.
pub async fn one(State(app): State<Arc<App>>, Known(caller): Known, Path(id): Path<String>) -> Answer<Json<Value>> {
    policy::may_call(&caller, Scope::Inference).or_else(|_| policy::may_call(&caller, Scope::Read))?;
    match all(&app).remove(&id).filter(|_| caller.may_use(&id)) {
        Some(entry) => Ok(Json(entry)),
        None => {
            let id: String = id.chars().take(100).collect();
            Err(Failure::new(Code::ModelNotFound, format!("The model `{id}` does not exist")).at("model").into())
        }
    }
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
