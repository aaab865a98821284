//! API keys: made, listed, revoked. A secret is shown once.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use bytes::Bytes;
use jiff::Timestamp;
use journey::Scope;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::keys::Key;
use wire::{Code, Failure};

use super::{Admin, Answer, read};
use crate::{app::App, first_run::new_key};

/// What a new key may do if nothing is said.
pub const DEFAULT_SCOPES: [&str; 4] = ["inference", "mcp", "a2a", "files"];

/// Longest name of a key.
const NAME_BYTES_MAX: usize = 256;

/// The body of `POST /api/api-keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NewKey {
    pub name: String,
    pub expires_at: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub allowed_models: Vec<String>,
    pub owner: Option<String>,
    pub tags: Vec<String>,
    pub limits: Map<String, Value>,
    pub budget: Option<Value>,
    pub metadata: Map<String, Value>,
}

impl NewKey {
    /// Checks what is wanted and makes the row and its secret.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub fn make(self, by: &str) -> Result<(Key, String), Failure> {
        let name = self.name.trim();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Failure::invalid("name", format!("`name` must have 1 to {NAME_BYTES_MAX} bytes")));
        }
        let scopes = self.scopes.unwrap_or_else(|| DEFAULT_SCOPES.map(str::to_owned).to_vec());
        if let Some(unknown) = scopes.iter().find(|s| Scope::from_name(s).is_none()) {
            let known = Scope::ALL.map(Scope::name).join(", ");
            return Err(Failure::invalid("scopes", format!("`{unknown}` is no scope: {known} are")));
        }
        let expires_at_ms = self.expires_at.as_deref().map(|text| {
            let at = text.parse::<Timestamp>().map(Timestamp::as_millisecond);
            at.map_err(|_| {
                Failure::invalid("expires_at", "Invalid expires_at format: write a time as RFC 3339 has it, such as 2027-01-31T00:00:00Z")
            })
        });
        let (row, secret) = new_key(name, scopes, by);
        let row = Key {
            expires_at_ms: expires_at_ms.transpose()?,
            allowed_models: self.allowed_models,
            owner: self.owner,
            tags: self.tags,
            limits: self.limits,
            budget: self.budget,
            metadata: self.metadata,
            ..row
        };
        Ok((row, secret))
    }
}

/// `POST /api/api-keys`: 201 with the secret.
pub async fn create(State(app): State<Arc<App>>, Admin(caller): Admin, body: Bytes) -> Answer<(StatusCode, Json<Value>)> {
    let by = caller.key.as_ref().map_or("anyone", |k| &k.name);
    let (row, secret) = read::<NewKey>(&body)?.make(by)?;
    store::keys::insert(&app.store, &row).await?;
    // Valid when the answer is out, not when the watcher next looks.
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    tracing::info!(key = row.id, name = row.name, by, "a key was made");
    Ok((StatusCode::CREATED, Json(shown(&row, Some(&secret)))))
}

/// `GET /api/api-keys`.
pub async fn list(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<Value>> {
    let rows = store::keys::list(&app.store).await?;
    Ok(Json(json!({"api_keys": rows.iter().filter(|k| k.revoked_at_ms.is_none()).map(|k| shown(k, None)).collect::<Vec<_>>()})))
}

/// `DELETE /api/api-keys/{id}`: refused from now on, everywhere.
pub async fn revoke(State(app): State<Arc<App>>, Admin(caller): Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    if !store::keys::revoke(&app.store, &id, store::now_ms()).await? {
        return Err(Failure::new(Code::NotFound, format!("there is no key `{id}`")).into());
    }
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    tracing::info!(key = id, by = caller.key.as_ref().map(|k| &*k.name), "a key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// A key as it is shown; `secret` only in the answer to its making.
pub fn shown(key: &Key, secret: Option<&str>) -> Value {
    let time = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|t| t.to_string());
    let mut value = json!({
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "owner": key.owner,
        "tags": key.tags,
        "limits": key.limits,
        "budget": key.budget,
        "metadata": key.metadata,
        "created_by": key.created_by,
        "created_at": time(Some(key.created_at_ms)),
        "expires_at": time(key.expires_at_ms),
        "last_used_at": time(key.last_used_at_ms),
    });
    if let Some(secret) = secret {
        value["key"] = secret.into();
    }
    value
}
