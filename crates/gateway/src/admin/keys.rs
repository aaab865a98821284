//! API keys: made, listed, revoked. A secret is shown once.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use bytes::Bytes;
use jiff::{Timestamp, fmt::temporal::Pieces};
use journey::Scope;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use store::keys::{Key, Limits};
use wire::{Code, Failure};

use super::{Admin, Answer, read, trail};
use crate::{app::App, first_run::new_key, spending};

/// What a new key may do if nothing is said.
pub const DEFAULT_SCOPES: [&str; 4] = ["inference", "mcp", "a2a", "files"];

/// Longest name of a key.
const NAME_BYTES_MAX: usize = 256;

/// The body of `POST /api/api-keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

/// The body of `PUT /api/api-keys/{id}`: what it does not name stays as it is, and `null` takes a bound, a time or an owner away.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChangedKey {
    name: Option<String>,
    expires_at: Told<String>,
    scopes: Option<Vec<String>>,
    allowed_models: Option<Vec<String>>,
    owner: Told<String>,
    tags: Option<Vec<String>>,
    limits: Told<Map<String, Value>>,
    budget: Told<Value>,
    metadata: Option<Map<String, Value>>,
}

/// What is said of something that may be nothing.
#[derive(Debug, Default)]
enum Told<T> {
    #[default]
    Unsaid,
    Nothing,
    Is(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Told<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Nothing, Self::Is))
    }
}

impl<T> Told<T> {
    fn or(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Unsaid => before,
            Self::Nothing => None,
            Self::Is(value) => Some(value),
        }
    }
}

impl ChangedKey {
    /// Changes a key.
    ///
    /// # Errors
    /// A 400 that names what can't be.
    pub fn apply(self, key: &mut Key) -> Result<(), Failure> {
        if let Some(name) = self.name {
            key.name = checked_name(&name)?;
        }
        match self.expires_at {
            Told::Unsaid => {}
            Told::Nothing => key.expires_at_ms = None,
            Told::Is(text) => key.expires_at_ms = Some(time(&text)?),
        }
        if let Some(scopes) = self.scopes {
            key.scopes = checked_scopes(scopes)?;
        }
        match self.limits {
            Told::Unsaid => {}
            Told::Nothing => key.limits = Limits::default(),
            Told::Is(limits) => key.limits = checked_limits(&limits)?,
        }
        key.allowed_models = self.allowed_models.unwrap_or_else(|| std::mem::take(&mut key.allowed_models));
        key.owner = self.owner.or(key.owner.take());
        key.tags = self.tags.unwrap_or_else(|| std::mem::take(&mut key.tags));
        match self.budget {
            Told::Unsaid => {}
            Told::Nothing => key.budget = None,
            Told::Is(budget) => key.budget = Some(spending::shown(spending::read(&budget)?)),
        }
        key.metadata = self.metadata.unwrap_or_else(|| std::mem::take(&mut key.metadata));
        Ok(())
    }
}

fn checked_name(name: &str) -> Result<String, Failure> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Failure::invalid("name", format!("`name` must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(name.to_owned())
}

fn checked_scopes(scopes: Vec<String>) -> Result<Vec<String>, Failure> {
    match scopes.iter().find(|s| Scope::from_name(s).is_none()) {
        Some(unknown) => {
            let known = Scope::ALL.map(Scope::name).join(", ");
            Err(Failure::invalid("scopes", format!("`{unknown}` is no scope: {known} are")))
        }
        None => Ok(scopes),
    }
}

fn time(text: &str) -> Result<i64, Failure> {
    // The last days of the last year mean never, and reach beyond what a time can be in some zones.
    let is_never = || Pieces::parse(text).is_ok_and(|pieces| pieces.date().year() == 9999);
    let time = text.parse().or_else(|error| if is_never() { Ok(Timestamp::MAX) } else { Err(error) });
    time.map(Timestamp::as_millisecond).map_err(|_: jiff::Error| {
        Failure::invalid("expires_at", "Invalid expires_at format: write a time as RFC 3339 has it, such as 2027-01-31T00:00:00Z")
    })
}

/// Whole numbers from 1; a bound of nothing would be a key that can't be used, and is more likely a mistake.
fn checked_limits(written: &Map<String, Value>) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    for (name, value) in written.iter().filter(|(_, value)| !value.is_null()) {
        let at = format!("limits.{name}");
        let number = value.as_u64().filter(|n| *n > 0);
        let small = number.and_then(|n| u32::try_from(n).ok());
        let taken = match name.as_str() {
            "rpm" => small.map(|n| limits.rpm = Some(n)),
            "tpm" => number.map(|n| limits.tpm = Some(n)),
            "concurrency" => small.map(|n| limits.concurrency = Some(n)),
            _ => {
                let known = Limits::NAMES.join(", ");
                return Err(Failure::invalid(&at, format!("`{at}` is not known: `limits` may have {known}")));
            }
        };
        if taken.is_none() {
            return Err(Failure::invalid(&at, format!("`{at}` must be a whole number from 1")));
        }
    }
    Ok(limits)
}

impl NewKey {
    /// Checks what is wanted and makes the row and its secret.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub fn make(self, by: &str) -> Result<(Key, String), Failure> {
        let name = checked_name(&self.name)?;
        let scopes = checked_scopes(self.scopes.unwrap_or_else(|| DEFAULT_SCOPES.map(str::to_owned).to_vec()))?;
        let expires_at_ms = self.expires_at.as_deref().map(time).transpose()?;
        let (row, secret) = new_key(&name, scopes, by);
        let row = Key {
            expires_at_ms,
            allowed_models: self.allowed_models,
            owner: self.owner,
            tags: self.tags,
            limits: checked_limits(&self.limits)?,
            budget: self.budget.as_ref().map(spending::read).transpose()?.map(spending::shown),
            metadata: self.metadata,
            ..row
        };
        Ok((row, secret))
    }
}

/// `POST /api/api-keys`: 201 with the secret.
#[utoipa::path(
    post,
    path = "/api/api-keys",
    tag = "keys",
    summary = "Make a key",
    request_body = serde_json::Value,
    responses((status = 201, description = "The key; its secret is shown this once", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn create(State(app): State<Arc<App>>, Admin(caller): Admin, body: Bytes) -> Answer<(StatusCode, Json<Value>)> {
    let by = caller.key.as_ref().map_or("anyone", |k| &k.name);
    let (row, secret) = read::<NewKey>(&body)?.make(by)?;
    trail::about(&row.id);
    trail::changed(None, Some(shown(&row, None)));
    store::keys::insert(&app.store, &row).await?;
    // Valid when the answer is out, not when the watcher next looks.
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    tracing::info!(key = row.id, name = row.name, by, "a key was made");
    Ok((StatusCode::CREATED, Json(shown(&row, Some(&secret)))))
}

/// `GET /api/api-keys`.
#[utoipa::path(
    get,
    path = "/api/api-keys",
    tag = "keys",
    summary = "Stored keys, without their secrets",
    responses((status = 200, description = "The keys", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn list(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<Value>> {
    let rows = store::keys::list(&app.store).await?;
    let mut keys = Vec::with_capacity(rows.len());
    for key in rows.iter().filter(|key| key.revoked_at_ms.is_none()) {
        keys.push(standing(&app, key).await);
    }
    Ok(Json(json!({"api_keys": keys})))
}

/// `DELETE /api/api-keys/{id}`: refused from now on, everywhere.
#[utoipa::path(
    delete,
    path = "/api/api-keys/{id}",
    tag = "keys",
    summary = "Revoke a key",
    params(("id" = String, Path)),
    responses((status = 204, description = "Revoked")),
    security(("bearer" = ["admin"]))
)]
pub async fn revoke(State(app): State<Arc<App>>, Admin(caller): Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    let before = store::keys::get(&app.store, &id).await?;
    trail::changed(before.map(|key| shown(&key, None)), None);
    if !store::keys::revoke(&app.store, &id, store::now_ms()).await? {
        return Err(unknown(&id).into());
    }
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    tracing::info!(key = id, by = caller.key.as_ref().map(|k| &*k.name), "a key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /api/api-keys/{id}`: the key as it is then. What a new bound or right means, the next request sees.
#[utoipa::path(
    put,
    path = "/api/api-keys/{id}",
    tag = "keys",
    summary = "Change what a key may",
    params(("id" = String, Path)),
    request_body = serde_json::Value,
    responses((status = 200, description = "The key", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn change(State(app): State<Arc<App>>, Admin(caller): Admin, Path(id): Path<String>, body: Bytes) -> Answer<Json<Value>> {
    let changed = read::<ChangedKey>(&body)?;
    let mut key = living(&app, &id).await?;
    let before = shown(&key, None);
    changed.apply(&mut key)?;
    trail::changed(Some(before), Some(shown(&key, None)));
    store::keys::update(&app.store, &key).await?;
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    tracing::info!(key = id, by = caller.key.as_ref().map(|k| &*k.name), "a key was changed");
    Ok(Json(standing(&app, &key).await))
}

/// `POST /api/api-keys/{id}/rotate`: a new secret for the same key; the old one is refused from now on.
#[utoipa::path(
    post,
    path = "/api/api-keys/{id}/rotate",
    tag = "keys",
    summary = "Give a key a new secret",
    params(("id" = String, Path)),
    responses((status = 200, description = "The key; its secret is shown this once", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn rotate(State(app): State<Arc<App>>, Admin(caller): Admin, Path(id): Path<String>) -> Answer<Json<Value>> {
    let (key, secret) = renewed(&app.store, &id).await?.ok_or_else(|| unknown(&id))?;
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    tracing::info!(key = id, by = caller.key.as_ref().map(|k| &*k.name), "a key got a new secret");
    Ok(Json(shown(&key, Some(&secret))))
}

/// Gives a living key a new secret. `None`: there is no such key.
///
/// # Errors
/// The store's.
pub async fn renewed(store: &store::Store, id: &str) -> Result<Option<(Key, String)>, store::StoreError> {
    let (fresh, secret) = new_key("", Vec::new(), "");
    if !store::keys::rotate(store, id, &fresh.hash, &fresh.prefix).await? {
        return Ok(None);
    }
    Ok(store::keys::get(store, id).await?.map(|key| (key, secret)))
}

async fn living(app: &App, id: &str) -> Answer<Key> {
    let found = store::keys::get(&app.store, id).await?.filter(|key| key.revoked_at_ms.is_none());
    Ok(found.ok_or_else(|| unknown(id))?)
}

fn unknown(id: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no key `{id}`"))
}

/// A key as it is shown, with what it has spent of its budget.
async fn standing(app: &App, key: &Key) -> Value {
    let mut value = shown(key, None);
    if let (.., Some(purse)) = app.house().limits.of_key(&key.id) {
        spending::stand(purse, &mut value["budget"]).await;
    }
    value
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
