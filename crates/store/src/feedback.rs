//! What people and programs think of answers.

use serde::Serialize;
use sqlx::Row as _;

use crate::{Store, StoreError};

/// One opinion about one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Opinion {
    /// Whose it is: a key's or user's id.
    pub actor: String,
    /// 0 (bad) to 1 (good).
    pub score: Option<f64>,
    pub label: Option<String>,
    /// The model that should have answered.
    pub preferred_model: Option<String>,
    pub comment: Option<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// Stores an opinion about the request with this [`crate::requests::Stored::seq`], in place of an earlier one of the same actor.
/// False: the request is gone.
///
/// # Errors
/// The database's.
pub async fn set(store: &Store, seq: i64, opinion: &Opinion) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO feedback (seq, actor, score, label, preferred_model, comment, created_at) \
         SELECT seq, ?, ?, ?, ?, ?, ? FROM requests WHERE seq = ? \
         ON CONFLICT (seq, actor) DO UPDATE SET score = excluded.score, label = excluded.label, preferred_model = excluded.preferred_model, \
         comment = excluded.comment, created_at = excluded.created_at",
    );
    let query = query.bind(&opinion.actor).bind(opinion.score).bind(&opinion.label).bind(&opinion.preferred_model).bind(&opinion.comment);
    let mut writer = store.writer(crate::open::Durability::Disk).await?;
    Ok(query.bind(opinion.created_at_ms).bind(seq).execute(&mut writer.connection).await?.rows_affected() > 0)
}

/// The opinions about a request, oldest first.
///
/// # Errors
/// The database's.
pub async fn of(store: &Store, seq: i64) -> Result<Vec<Opinion>, StoreError> {
    let rows = sqlx::query("SELECT * FROM feedback WHERE seq = ? ORDER BY created_at").bind(seq).fetch_all(store.readers()).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Opinion {
            actor: row.try_get("actor")?,
            score: row.try_get("score")?,
            label: row.try_get("label")?,
            preferred_model: row.try_get("preferred_model")?,
            comment: row.try_get("comment")?,
            created_at_ms: row.try_get("created_at")?,
        })
    };
    rows.iter().map(read).collect()
}
