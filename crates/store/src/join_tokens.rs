//! Join tokens: what nodes show to register, stored as hashes.

use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError, error::is_duplicate};

/// A join token as stored. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JoinToken {
    /// `join_…`, see [`crate::new_id`].
    pub id: String,
    pub name: String,
    /// SHA-256 of the secret, 64 lower-case hexadecimal digits.
    pub hash: String,
    /// Nodes that come with it wait for an administrator's consent.
    pub approval: bool,
    /// Nodes that may come with it; no bound where `None`.
    pub uses_max: Option<u32>,
    /// Nodes that came with it.
    pub uses: u32,
    pub created_by: Option<String>,
    pub created_at_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
}

/// Stores a new token; it is on the disk when this returns.
///
/// # Errors
/// [`StoreError::Exists`] where the id or the secret is known already.
pub async fn insert(store: &Store, token: &JoinToken) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO join_tokens (id, name, hash, approval, uses_max, uses, created_by, created_at, expires_at, revoked_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&token.id)
    .bind(&token.name)
    .bind(&token.hash)
    .bind(token.approval)
    .bind(token.uses_max)
    .bind(token.uses)
    .bind(&token.created_by)
    .bind(token.created_at_ms)
    .bind(token.expires_at_ms)
    .bind(token.revoked_at_ms);
    match store.execute(query).await {
        Err(e) if is_duplicate(&e) => Err(StoreError::Exists("this join token")),
        other => other.map(drop),
    }
}

/// All tokens, newest first, revoked ones included.
///
/// # Errors
/// The database's.
pub async fn list(store: &Store) -> Result<Vec<JoinToken>, StoreError> {
    let rows = sqlx::query("SELECT * FROM join_tokens ORDER BY created_at DESC, id DESC").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// The token with this hash.
///
/// # Errors
/// The database's.
pub async fn find(store: &Store, hash: &str) -> Result<Option<JoinToken>, StoreError> {
    let row = sqlx::query("SELECT * FROM join_tokens WHERE hash = ?").bind(hash).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

/// Takes one use of a token, unless it is used up, revoked, or over at `now_ms`. False: it is. On the disk when this returns.
///
/// # Errors
/// The database's.
pub async fn take(store: &Store, id: &str, now_ms: i64) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "UPDATE join_tokens SET uses = uses + 1 WHERE id = ? AND revoked_at IS NULL AND (uses_max IS NULL OR uses < uses_max) \
         AND (expires_at IS NULL OR expires_at > ?)",
    )
    .bind(id)
    .bind(now_ms);
    Ok(store.execute(query).await? > 0)
}

/// Gives back a use that came to nothing.
///
/// # Errors
/// The database's.
pub async fn give_back(store: &Store, id: &str) -> Result<(), StoreError> {
    store.execute(sqlx::query("UPDATE join_tokens SET uses = uses - 1 WHERE id = ? AND uses > 0").bind(id)).await.map(drop)
}

/// Ends a token's life; its row stays. True also when it was revoked before; false: no such token.
///
/// # Errors
/// The database's.
pub async fn revoke(store: &Store, id: &str, at_ms: i64) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE join_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?").bind(at_ms).bind(id);
    Ok(store.execute(query).await? > 0)
}

/// Forgets tokens that have been over or revoked since before `before_ms`, so that their number stays bounded.
///
/// # Errors
/// The database's.
pub async fn prune(store: &Store, before_ms: i64) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM join_tokens WHERE revoked_at < ? OR expires_at < ?").bind(before_ms).bind(before_ms);
    store.execute(query).await.map(drop)
}

fn read(row: &SqliteRow) -> Result<JoinToken, StoreError> {
    Ok(JoinToken {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        hash: row.try_get("hash")?,
        approval: row.try_get("approval")?,
        uses_max: row.try_get("uses_max")?,
        uses: row.try_get("uses")?,
        created_by: row.try_get("created_by")?,
        created_at_ms: row.try_get("created_at")?,
        expires_at_ms: row.try_get("expires_at")?,
        revoked_at_ms: row.try_get("revoked_at")?,
    })
}
