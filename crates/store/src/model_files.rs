//! Models whose files the router keeps.

use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError, column, error::is_duplicate};

/// A model whose files the router keeps, or is about to. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFile {
    /// Unique: what clients call it.
    pub name: String,
    /// `owner/name` on the hub.
    pub repo: String,
    /// The commit, or what was asked for.
    pub revision: String,
    /// Its file in the repository; the first part where it has several.
    pub filename: String,
    /// Lower case, where known.
    pub quantization: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// Replaces the file's own.
    pub chat_template: Option<String>,
    /// Labels of the repository.
    pub tags: Vec<String>,
    /// Bytes of all its files.
    pub size_bytes: i64,
    /// `downloading`, `converting`, `ready` or `failed`.
    pub status: String,
    /// Why it failed.
    pub error: Option<String>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// All of them, in order of their names.
///
/// # Errors
/// The database's.
pub async fn list(store: &Store) -> Result<Vec<ModelFile>, StoreError> {
    let rows = sqlx::query("SELECT * FROM model_files ORDER BY name").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// Adds one. False: the name is taken.
///
/// # Errors
/// The database's.
pub async fn insert(store: &Store, model: &ModelFile) -> Result<bool, StoreError> {
    let statement = "INSERT INTO model_files (repo, revision, filename, quantization, display_name, chat_template, tags, size_bytes, status, error, \
                     updated_at, created_at, name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    match store.execute(values(statement, model).bind(model.created_at_ms).bind(&model.name)).await {
        Ok(_) => Ok(true),
        Err(error) if is_duplicate(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes everything but name and time of making. False: no such model.
///
/// # Errors
/// The database's.
pub async fn update(store: &Store, model: &ModelFile) -> Result<bool, StoreError> {
    let statement = "UPDATE model_files SET repo = ?, revision = ?, filename = ?, quantization = ?, display_name = ?, chat_template = ?, tags = ?, \
                     size_bytes = ?, status = ?, error = ?, updated_at = ? WHERE name = ?";
    Ok(store.execute(values(statement, model).bind(&model.name)).await? > 0)
}

/// Removes one. False: no such model.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, name: &str) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("DELETE FROM model_files WHERE name = ?").bind(name)).await? > 0)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn values<'q>(statement: &'static str, model: &'q ModelFile) -> Query<'q> {
    sqlx::query(statement)
        .bind(&model.repo)
        .bind(&model.revision)
        .bind(&model.filename)
        .bind(&model.quantization)
        .bind(&model.display_name)
        .bind(&model.chat_template)
        .bind(column::json(&model.tags))
        .bind(model.size_bytes)
        .bind(&model.status)
        .bind(&model.error)
        .bind(model.updated_at_ms)
}

fn read(row: &SqliteRow) -> Result<ModelFile, StoreError> {
    let name: String = row.try_get("name")?;
    Ok(ModelFile {
        repo: row.try_get("repo")?,
        revision: row.try_get("revision")?,
        filename: row.try_get("filename")?,
        quantization: row.try_get("quantization")?,
        display_name: row.try_get("display_name")?,
        chat_template: row.try_get("chat_template")?,
        tags: column::read(row, "tags", &name)?,
        size_bytes: row.try_get("size_bytes")?,
        status: row.try_get("status")?,
        error: row.try_get("error")?,
        created_at_ms: row.try_get("created_at")?,
        updated_at_ms: row.try_get("updated_at")?,
        name,
    })
}
