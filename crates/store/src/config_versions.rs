//! Versions of the configuration file. The store does not know what they say: their texts come sealed.

use serde_json::Value;
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Store, StoreError, audit, column, open::Durability};

/// Most versions that are kept; the oldest go first.
pub const VERSIONS_MAX: u32 = 100;

/// A version as stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Version {
    /// From 1; 0 before it is stored.
    pub version: i64,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// `start`, `file`, `api` or `revert`.
    pub origin: String,
    pub author: Option<String>,
    pub comment: Option<String>,
    /// What it changed, secrets masked.
    pub changes: Value,
    /// The text of the file, sealed.
    pub sealed: String,
}

/// Stores a version and gives its number; it is on the disk when this returns.
///
/// # Errors
/// The database's.
pub async fn insert(store: &Store, version: &Version) -> Result<i64, StoreError> {
    let mut writer = store.writer(Durability::Disk).await?;
    let mut transaction = writer.begin().await?;
    let done = sqlx::query("INSERT INTO config_versions (at, origin, author, comment, changes, sealed) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(version.at_ms)
        .bind(&version.origin)
        .bind(&version.author)
        .bind(&version.comment)
        .bind(column::json(&version.changes))
        .bind(&version.sealed)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM config_versions WHERE version <= ?")
        .bind(done.last_insert_rowid() - i64::from(VERSIONS_MAX))
        .execute(&mut *transaction)
        .await?;
    if let Some(trail) = audit::pending() {
        trail.witness(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(done.last_insert_rowid())
}

/// Takes back a version that did not come in force.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, version: i64) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Disk).await?;
    sqlx::query("DELETE FROM config_versions WHERE version = ?").bind(version).execute(&mut writer.connection).await?;
    Ok(())
}

/// Versions before a number, newest first.
///
/// # Errors
/// The database's.
pub async fn list(store: &Store, before: Option<i64>, limit: u32) -> Result<Vec<Version>, StoreError> {
    let rows = sqlx::query("SELECT * FROM config_versions WHERE version < ? ORDER BY version DESC LIMIT ?")
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(read).collect()
}

/// The version of a number.
///
/// # Errors
/// The database's.
pub async fn get(store: &Store, version: i64) -> Result<Option<Version>, StoreError> {
    let row = sqlx::query("SELECT * FROM config_versions WHERE version = ?").bind(version).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<Version, StoreError> {
    let version: i64 = row.try_get("version")?;
    Ok(Version {
        at_ms: row.try_get("at")?,
        origin: row.try_get("origin")?,
        author: row.try_get("author")?,
        comment: row.try_get("comment")?,
        changes: column::read(row, "changes", &version.to_string())?,
        sealed: row.try_get("sealed")?,
        version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_go_and_no_number_comes_again() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        for n in 1..=i64::from(VERSIONS_MAX) + 2 {
            let version = Version { comment: Some(n.to_string()), changes: Value::Array(Vec::new()), ..Version::default() };
            assert_eq!(insert(&store, &version).await.unwrap(), n);
        }
        let kept = list(&store, None, 1000).await.unwrap();
        assert_eq!((kept.len(), kept[0].version, kept.last().map(|v| v.version)), (VERSIONS_MAX as usize, 102, Some(3)));
        delete(&store, 102).await.unwrap();
        assert_eq!(insert(&store, &Version::default()).await.unwrap(), 103);
        assert_eq!(list(&store, Some(103), 1).await.unwrap()[0].comment.as_deref(), Some("101"));
        assert!(get(&store, 1).await.unwrap().is_none());
    }
}
