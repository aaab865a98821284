//! Model names that people registered by hand: which type of backend serves them, and where.

use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError, audit, open::Durability};

/// A registered model name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Unique.
    pub name: String,
    /// `local`, `openai`, `llm-d`, …
    pub r#type: String,
    /// Base URL of the backend.
    pub endpoint: String,
    /// `api` or `weight`.
    pub kind: String,
    /// Unix milliseconds; kept when the name is registered again.
    pub created_at_ms: i64,
}

/// Registers names, or replaces what they stood for: all or none.
///
/// # Errors
/// The database's.
pub async fn upsert(store: &Store, models: &[Model]) -> Result<(), StoreError> {
    write(store, None, models).await
}

/// Replaces all names of one type by these: names of other types stay as they are, also where the new list has them too.
///
/// # Errors
/// The database's.
pub async fn replace_type(store: &Store, r#type: &str, models: &[Model]) -> Result<(), StoreError> {
    write(store, Some(r#type), models).await
}

async fn write(store: &Store, replaced: Option<&str>, models: &[Model]) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Disk).await?;
    let mut transaction = writer.begin().await?;
    if let Some(r#type) = replaced {
        sqlx::query("DELETE FROM models WHERE type = ?").bind(r#type).execute(&mut *transaction).await?;
    }
    let statement = match replaced {
        Some(_) => "INSERT INTO models (name, type, endpoint, kind, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        None => {
            "INSERT INTO models (name, type, endpoint, kind, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET type = excluded.type, \
             endpoint = excluded.endpoint, kind = excluded.kind"
        }
    };
    for model in models {
        sqlx::query(statement)
            .bind(&model.name)
            .bind(&model.r#type)
            .bind(&model.endpoint)
            .bind(&model.kind)
            .bind(model.created_at_ms)
            .execute(&mut *transaction)
            .await?;
    }
    if let Some(trail) = audit::pending() {
        trail.witness(&mut transaction).await?;
    }
    transaction.commit().await?;
    drop(writer);
    store.announce();
    Ok(())
}

/// All registered names in order.
///
/// # Errors
/// The database's.
pub async fn list(store: &Store) -> Result<Vec<Model>, StoreError> {
    let rows = sqlx::query("SELECT * FROM models ORDER BY name").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// Removes a name. False: no such name.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, name: &str) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("DELETE FROM models WHERE name = ?").bind(name)).await? > 0)
}

fn read(row: &SqliteRow) -> Result<Model, StoreError> {
    Ok(Model {
        name: row.try_get("name")?,
        r#type: row.try_get("type")?,
        endpoint: row.try_get("endpoint")?,
        kind: row.try_get("kind")?,
        created_at_ms: row.try_get("created_at")?,
    })
}
