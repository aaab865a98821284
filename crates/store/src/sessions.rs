//! Sessions that ended before their time. Tokens carry everything else themselves, so only those are kept whose word no longer counts.

use std::collections::{HashMap, HashSet};

use sqlx::Row;

use crate::{Store, StoreError, audit, open::Durability};

/// Ended sessions of one user that are told apart; with more, all that were opened until then are ended together.
pub const ENDED_PER_USER_MAX: i64 = 100;

/// What stands for all sessions of a user.
const ALL: &str = "*";

/// The sessions of one user that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    ids: HashSet<String>,
    /// Sessions opened until then ended too, unix milliseconds.
    opened_until_ms: Option<i64>,
}

impl Ended {
    /// Whether a session with this id, opened at this time (unix milliseconds), has ended.
    pub fn has(&self, id: &str, opened_at_ms: i64) -> bool {
        self.ids.contains(id) || self.opened_until_ms.is_some_and(|until_ms| opened_at_ms <= until_ms)
    }
}

/// Ends a session of a user. It is kept until its token has run out at `expires_at_ms`; what ran out before `now_ms` is forgotten.
///
/// # Errors
/// The database's.
pub async fn end(store: &Store, user_id: &str, id: &str, expires_at_ms: i64, now_ms: i64) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Disk).await?;
    let mut transaction = writer.begin().await?;
    sqlx::query("DELETE FROM ended_sessions WHERE expires_at <= ?").bind(now_ms).execute(&mut *transaction).await?;
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ended_sessions WHERE user_id = ?").bind(user_id).fetch_one(&mut *transaction).await?;
    let id = if kept < ENDED_PER_USER_MAX { id } else { ALL };
    if id == ALL {
        sqlx::query("DELETE FROM ended_sessions WHERE user_id = ?").bind(user_id).execute(&mut *transaction).await?;
    }
    // A user who is gone has no sessions to end.
    let statement =
        "INSERT INTO ended_sessions (user_id, id, ended_at, expires_at) SELECT id, ?, ?, ? FROM users WHERE id = ? ON CONFLICT DO NOTHING";
    sqlx::query(statement).bind(id).bind(now_ms).bind(expires_at_ms).bind(user_id).execute(&mut *transaction).await?;
    if let Some(trail) = audit::pending() {
        trail.witness(&mut transaction).await?;
    }
    transaction.commit().await?;
    drop(writer);
    store.announce();
    Ok(())
}

/// All that ended, by user.
///
/// # Errors
/// The database's.
pub async fn ended(store: &Store) -> Result<HashMap<String, Ended>, StoreError> {
    let rows = sqlx::query("SELECT user_id, id, ended_at FROM ended_sessions").fetch_all(store.readers()).await?;
    let mut users: HashMap<String, Ended> = HashMap::new();
    for row in rows {
        let ended = users.entry(row.try_get("user_id")?).or_default();
        match row.try_get::<String, _>("id")? {
            all if all == ALL => ended.opened_until_ms = Some(row.try_get("ended_at")?),
            id => drop(ended.ids.insert(id)),
        }
    }
    Ok(users)
}
