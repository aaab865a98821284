//! Virtual API keys: stored as hashes, with owner, scopes, limits and budget.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError, column, error::is_duplicate, open::Durability};

/// A key as it is stored. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Key {
    /// `key_…`, see [`crate::new_id`].
    pub id: String,
    pub name: String,
    /// SHA-256 of the secret, 64 lower-case hexadecimal digits.
    pub hash: String,
    /// The first characters of the secret, for people to recognise it by.
    pub prefix: String,
    pub owner: Option<String>,
    pub scopes: Vec<String>,
    /// Empty: all models.
    pub allowed_models: Vec<String>,
    pub tags: Vec<String>,
    pub limits: Limits,
    /// `{amount, currency, window}`
    pub budget: Option<Value>,
    pub metadata: Map<String, Value>,
    pub created_by: Option<String>,
    pub created_at_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
    pub last_used_at_ms: Option<i64>,
}

/// What a key may use. `None`: as much as it likes; a bound is at least 1.
///
/// As JSON, in the database and in the API, it is an object of those that are set: `{"rpm": 60, "tpm": 100000, "concurrency": 4}`, `{}` for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    /// Tokens of prompts and answers in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl Limits {
    /// The names of the bounds, as JSON and the command line have them.
    pub const NAMES: [&'static str; 3] = ["rpm", "tpm", "concurrency"];

    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Stores a new key; it is on the disk when this returns.
///
/// # Errors
/// [`StoreError::Exists`] where the id or the secret is known already.
pub async fn insert(store: &Store, key: &Key) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO keys (id, name, hash, prefix, owner, scopes, allowed_models, tags, limits, budget, metadata, created_by, created_at, expires_at, \
         revoked_at, last_used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&key.id)
    .bind(&key.name)
    .bind(&key.hash)
    .bind(&key.prefix)
    .bind(&key.owner)
    .bind(column::json(&key.scopes))
    .bind(column::json(&key.allowed_models))
    .bind(column::json(&key.tags))
    .bind(column::json(&key.limits))
    .bind(key.budget.as_ref().map(column::json))
    .bind(column::json(&key.metadata))
    .bind(&key.created_by)
    .bind(key.created_at_ms)
    .bind(key.expires_at_ms)
    .bind(key.revoked_at_ms)
    .bind(key.last_used_at_ms);
    match store.execute(query).await {
        Err(e) if is_duplicate(&e) => Err(StoreError::Exists("this key")),
        other => other.map(drop),
    }
}

/// Replaces everything of a key that people may change (not its secret, nor who made it and when). False: no such key.
///
/// # Errors
/// The database's.
pub async fn update(store: &Store, key: &Key) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "UPDATE keys SET name = ?, owner = ?, scopes = ?, allowed_models = ?, tags = ?, limits = ?, budget = ?, metadata = ?, expires_at = ? WHERE id = ?",
    )
    .bind(&key.name)
    .bind(&key.owner)
    .bind(column::json(&key.scopes))
    .bind(column::json(&key.allowed_models))
    .bind(column::json(&key.tags))
    .bind(column::json(&key.limits))
    .bind(key.budget.as_ref().map(column::json))
    .bind(column::json(&key.metadata))
    .bind(key.expires_at_ms)
    .bind(&key.id);
    Ok(store.execute(query).await? > 0)
}

/// All keys, newest first, revoked ones included.
///
/// # Errors
/// The database's, or [`StoreError::Damaged`].
pub async fn list(store: &Store) -> Result<Vec<Key>, StoreError> {
    let rows = sqlx::query("SELECT * FROM keys ORDER BY created_at DESC, id DESC").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// The key with this id.
///
/// # Errors
/// The database's, or [`StoreError::Damaged`].
pub async fn get(store: &Store, id: &str) -> Result<Option<Key>, StoreError> {
    let row = sqlx::query("SELECT * FROM keys WHERE id = ?").bind(id).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

/// Ends a key's life; its row stays. False: no such key, or one that was revoked before.
///
/// # Errors
/// The database's.
pub async fn revoke(store: &Store, id: &str, at_ms: i64) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL").bind(at_ms).bind(id);
    Ok(store.execute(query).await? > 0)
}

/// Removes a key's row. False: no such key.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, id: &str) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("DELETE FROM keys WHERE id = ?").bind(id)).await? > 0)
}

/// Gives a living key a new secret; the old one is refused from now on. False: no such key, or a revoked one.
///
/// # Errors
/// The database's.
pub async fn rotate(store: &Store, id: &str, hash: &str, prefix: &str) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE keys SET hash = ?, prefix = ? WHERE id = ? AND revoked_at IS NULL").bind(hash).bind(prefix).bind(id);
    Ok(store.execute(query).await? > 0)
}

/// Notes when keys were last used: `(id, unix milliseconds)`, one transaction for all. Does not count as a change.
///
/// # Errors
/// The database's.
pub async fn touch(store: &Store, used: &[(String, i64)]) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Process).await?;
    let mut transaction = writer.begin().await?;
    for (id, at_ms) in used {
        sqlx::query("UPDATE keys SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?")
            .bind(at_ms)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

fn read(row: &SqliteRow) -> Result<Key, StoreError> {
    let id: String = row.try_get("id")?;
    Ok(Key {
        name: row.try_get("name")?,
        hash: row.try_get("hash")?,
        prefix: row.try_get("prefix")?,
        owner: row.try_get("owner")?,
        scopes: column::read(row, "scopes", &id)?,
        allowed_models: column::read(row, "allowed_models", &id)?,
        tags: column::read(row, "tags", &id)?,
        limits: column::read(row, "limits", &id)?,
        budget: column::read_optional(row, "budget", &id)?,
        metadata: column::read(row, "metadata", &id)?,
        created_by: row.try_get("created_by")?,
        created_at_ms: row.try_get("created_at")?,
        expires_at_ms: row.try_get("expires_at")?,
        revoked_at_ms: row.try_get("revoked_at")?,
        last_used_at_ms: row.try_get("last_used_at")?,
        id,
    })
}
