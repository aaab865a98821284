//! Single values that the program makes for itself and has to find again: generated secrets, marks of what was done once.

use crate::{Store, StoreError};

/// The value of this name.
///
/// # Errors
/// The database's.
pub async fn get(store: &Store, name: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name).fetch_optional(store.readers()).await?)
}

/// Sets a value.
///
/// # Errors
/// The database's.
pub async fn set(store: &Store, name: &str, value: &str) -> Result<(), StoreError> {
    let query = sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value);
    store.execute(query).await.map(drop)
}

/// The value of this name; where there is none, the proposed one is stored. Two processes that ask at once get the same answer.
///
/// # Errors
/// The database's.
pub async fn get_or_set(store: &Store, name: &str, proposed: &str) -> Result<String, StoreError> {
    let query = sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING").bind(name).bind(proposed);
    store.execute(query).await?;
    Ok(get(store, name).await?.unwrap_or_else(|| proposed.to_owned()))
}

/// Removes a value. False: there was none.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, name: &str) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("DELETE FROM meta WHERE name = ?").bind(name)).await? > 0)
}
