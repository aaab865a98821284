//! Conversions of models: what was asked for, and how far it is.

use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError};

/// Ended tasks beyond this many are forgotten, the oldest first.
const KEPT_MAX: i64 = 200;

/// A conversion. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelTask {
    pub id: String,
    /// `owner/name` on the hub.
    pub repo: String,
    /// The file that was asked for.
    pub filename: String,
    /// A branch, tag or commit.
    pub revision: Option<String>,
    /// As it was asked for.
    pub quantization: Option<String>,
    /// Replaces the model's own.
    pub chat_template: Option<String>,
    /// What the model will be called.
    pub model: String,
    /// `queued`, `in_progress`, `completed` or `failed`.
    pub status: String,
    /// 0 to 1.
    pub progress: f64,
    /// Why it failed.
    pub error: Option<String>,
    /// Where the model stands.
    pub path: Option<String>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// All of them, the newest first.
///
/// # Errors
/// The database's.
pub async fn list(store: &Store) -> Result<Vec<ModelTask>, StoreError> {
    let rows = sqlx::query("SELECT * FROM model_tasks ORDER BY created_at DESC, id DESC").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// One of them.
///
/// # Errors
/// The database's.
pub async fn get(store: &Store, id: &str) -> Result<Option<ModelTask>, StoreError> {
    let row = sqlx::query("SELECT * FROM model_tasks WHERE id = ?").bind(id).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

/// Adds one, and forgets the oldest that have ended.
///
/// # Errors
/// The database's.
pub async fn insert(store: &Store, task: &ModelTask) -> Result<(), StoreError> {
    let statement = "INSERT INTO model_tasks (id, repo, filename, revision, quantization, chat_template, model, status, progress, error, path, \
                     created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let query = sqlx::query(statement)
        .bind(&task.id)
        .bind(&task.repo)
        .bind(&task.filename)
        .bind(&task.revision)
        .bind(&task.quantization)
        .bind(&task.chat_template)
        .bind(&task.model)
        .bind(&task.status)
        .bind(task.progress)
        .bind(&task.error)
        .bind(&task.path)
        .bind(task.created_at_ms)
        .bind(task.updated_at_ms);
    store.execute(query).await?;
    let forget = "DELETE FROM model_tasks WHERE status IN ('completed', 'failed') AND id NOT IN \
                  (SELECT id FROM model_tasks ORDER BY created_at DESC, id DESC LIMIT ?)";
    store.execute(sqlx::query(forget).bind(KEPT_MAX)).await?;
    Ok(())
}

/// Notes how far a task is. False: it was deleted.
///
/// # Errors
/// The database's.
pub async fn update(store: &Store, task: &ModelTask) -> Result<bool, StoreError> {
    let statement = "UPDATE model_tasks SET status = ?, progress = ?, error = ?, path = ?, updated_at = ? WHERE id = ?";
    let query = sqlx::query(statement)
        .bind(&task.status)
        .bind(task.progress)
        .bind(&task.error)
        .bind(&task.path)
        .bind(task.updated_at_ms)
        .bind(&task.id);
    Ok(store.execute(query).await? > 0)
}

/// Removes one. False: no such task.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, id: &str) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("DELETE FROM model_tasks WHERE id = ?").bind(id)).await? > 0)
}

fn read(row: &SqliteRow) -> Result<ModelTask, StoreError> {
    Ok(ModelTask {
        id: row.try_get("id")?,
        repo: row.try_get("repo")?,
        filename: row.try_get("filename")?,
        revision: row.try_get("revision")?,
        quantization: row.try_get("quantization")?,
        chat_template: row.try_get("chat_template")?,
        model: row.try_get("model")?,
        status: row.try_get("status")?,
        progress: row.try_get("progress")?,
        error: row.try_get("error")?,
        path: row.try_get("path")?,
        created_at_ms: row.try_get("created_at")?,
        updated_at_ms: row.try_get("updated_at")?,
    })
}
