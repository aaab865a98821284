//! What keys have spent of their budgets, as a router that runs says it from time to time: records may be removed before a window is over.

use sqlx::Row as _;

use crate::{Store, StoreError, open::Durability};

/// What a key has spent in one window. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spending {
    pub key_id: String,
    /// When the window began.
    pub starts_at_ms: i64,
    pub dollars: f64,
    /// Requests that ended later are not in it.
    pub upto_ms: i64,
}

/// Stores what keys have spent, in the place of what was stored of them: one transaction for all. Does not count as a change.
///
/// # Errors
/// The database's.
pub async fn save(store: &Store, spent: &[Spending]) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Process).await?;
    let mut transaction = writer.begin().await?;
    for one in spent {
        sqlx::query(
            "INSERT INTO key_spending (key_id, starts_at, dollars, upto) VALUES (?, ?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET \
             starts_at = excluded.starts_at, dollars = excluded.dollars, upto = excluded.upto",
        )
        .bind(&one.key_id)
        .bind(one.starts_at_ms)
        .bind(one.dollars)
        .bind(one.upto_ms)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(transaction.commit().await?)
}

/// What was last stored of a key.
///
/// # Errors
/// The database's.
pub async fn get(store: &Store, key_id: &str) -> Result<Option<Spending>, StoreError> {
    let row = sqlx::query("SELECT * FROM key_spending WHERE key_id = ?").bind(key_id).fetch_optional(store.readers()).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Spending {
        key_id: row.try_get("key_id")?,
        starts_at_ms: row.try_get("starts_at")?,
        dollars: row.try_get("dollars")?,
        upto_ms: row.try_get("upto")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_word_counts() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        let one = Spending { key_id: "k".to_owned(), starts_at_ms: 1, dollars: 0.25, upto_ms: 2 };
        let two = Spending { dollars: 0.5, upto_ms: 3, ..one.clone() };
        save(&store, &[one]).await.unwrap();
        save(&store, std::slice::from_ref(&two)).await.unwrap();
        assert_eq!(get(&store, "k").await.unwrap(), Some(two));
        assert_eq!(get(&store, "other").await.unwrap(), None);
    }
}
