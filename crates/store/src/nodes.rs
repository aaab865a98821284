//! Nodes and agents: what the fleet has to know again after a restart.

use serde_json::Value;
use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError, column, open::Durability};

/// A node or an agent as stored. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    pub id: String,
    /// `node`, `agent` or `endpoint`; unique together with machine name and port.
    pub kind: String,
    pub machine_name: String,
    pub ip_address: String,
    /// A node's API is on the port after this one; 0 for an agent.
    pub runtime_port: u16,
    /// Base URL of an agent or an endpoint.
    pub endpoint: Option<String>,
    pub runtime_version: String,
    /// What it said of itself when it registered: devices, accelerator, fields that nobody knows.
    pub registration: Value,
    /// SHA-256 of the node's token in hexadecimal; empty for an agent.
    pub token_hash: String,
    /// What the router presents to the node or endpoint, so it can't be a hash.
    pub router_secret: String,
    /// `registering`, `online`, `draining` or `offline`, as last known.
    pub status: String,
    pub draining: bool,
    /// It waits for an administrator's consent.
    pub pending: bool,
    /// The join token that it came with.
    pub join_token_id: Option<String>,
    /// `{loaded, embedding, available, ready, initializing}` as last reported.
    pub models: Value,
    pub custom_name: Option<String>,
    pub tags: Vec<String>,
    pub notes: Option<String>,
    pub registered_at_ms: i64,
    pub last_seen_ms: i64,
    pub online_since_ms: Option<i64>,
}

/// The part of a node that moves with its heartbeats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    pub id: String,
    pub status: String,
    pub models: Value,
    pub last_seen_ms: i64,
    pub online_since_ms: Option<i64>,
}

/// Stores a node, or replaces the one with this id; it is on the disk when this returns.
///
/// # Errors
/// The database's.
pub async fn upsert(store: &Store, node: &Node) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO nodes (id, kind, machine_name, ip_address, runtime_port, endpoint, runtime_version, registration, token_hash, router_secret, status, \
         draining, models, custom_name, tags, notes, registered_at, last_seen, online_since, pending, join_token_id) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, machine_name = excluded.machine_name, ip_address = excluded.ip_address, \
         runtime_port = excluded.runtime_port, endpoint = excluded.endpoint, runtime_version = excluded.runtime_version, registration = excluded.registration, \
         token_hash = excluded.token_hash, router_secret = excluded.router_secret, status = excluded.status, draining = excluded.draining, \
         models = excluded.models, custom_name = excluded.custom_name, tags = excluded.tags, notes = excluded.notes, \
         registered_at = excluded.registered_at, last_seen = excluded.last_seen, online_since = excluded.online_since, \
         pending = excluded.pending, join_token_id = excluded.join_token_id",
    )
    .bind(&node.id)
    .bind(&node.kind)
    .bind(&node.machine_name)
    .bind(&node.ip_address)
    .bind(i64::from(node.runtime_port))
    .bind(&node.endpoint)
    .bind(&node.runtime_version)
    .bind(column::json(&node.registration))
    .bind(&node.token_hash)
    .bind(&node.router_secret)
    .bind(&node.status)
    .bind(node.draining)
    .bind(column::json(&node.models))
    .bind(&node.custom_name)
    .bind(column::json(&node.tags))
    .bind(&node.notes)
    .bind(node.registered_at_ms)
    .bind(node.last_seen_ms)
    .bind(node.online_since_ms)
    .bind(node.pending)
    .bind(&node.join_token_id);
    store.execute(query).await.map(drop)
}

/// Notes what heartbeats said, one transaction for all; nodes that are gone meanwhile are passed over. Does not count as a change.
///
/// # Errors
/// The database's.
pub async fn save_seen(store: &Store, seen: &[Seen]) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Process).await?;
    let mut transaction = writer.begin().await?;
    for node in seen {
        sqlx::query("UPDATE nodes SET status = ?, models = ?, last_seen = ?, online_since = ? WHERE id = ?")
            .bind(&node.status)
            .bind(column::json(&node.models))
            .bind(node.last_seen_ms)
            .bind(node.online_since_ms)
            .bind(&node.id)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// All nodes and agents in the order of registration.
///
/// # Errors
/// The database's, or [`StoreError::Damaged`].
pub async fn list(store: &Store) -> Result<Vec<Node>, StoreError> {
    let rows = sqlx::query("SELECT * FROM nodes ORDER BY registered_at, id").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// Removes a node. False: no such node.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, id: &str) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("DELETE FROM nodes WHERE id = ?").bind(id)).await? > 0)
}

fn read(row: &SqliteRow) -> Result<Node, StoreError> {
    let id: String = row.try_get("id")?;
    Ok(Node {
        kind: row.try_get("kind")?,
        machine_name: row.try_get("machine_name")?,
        ip_address: row.try_get("ip_address")?,
        runtime_port: row.try_get("runtime_port")?,
        endpoint: row.try_get("endpoint")?,
        runtime_version: row.try_get("runtime_version")?,
        registration: column::read(row, "registration", &id)?,
        token_hash: row.try_get("token_hash")?,
        router_secret: row.try_get("router_secret")?,
        status: row.try_get("status")?,
        draining: row.try_get("draining")?,
        pending: row.try_get("pending")?,
        join_token_id: row.try_get("join_token_id")?,
        models: column::read(row, "models", &id)?,
        custom_name: row.try_get("custom_name")?,
        tags: column::read(row, "tags", &id)?,
        notes: row.try_get("notes")?,
        registered_at_ms: row.try_get("registered_at")?,
        last_seen_ms: row.try_get("last_seen")?,
        online_since_ms: row.try_get("online_since")?,
        id,
    })
}
