//! Notices what other processes write.
//!
//! All writes of this process go through one connection, and SQLite's `data_version` read on that very connection moves only for commits of
//! others: so the router's own batches of request records never look like a change.

use std::{sync::Weak, time::Duration};

use sqlx::SqliteConnection;

use crate::{StoreError, open::Inner};

/// How often another process's commits are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// SQLite's counter of commits by others, as this connection sees it.
pub(crate) async fn data_version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await?)
}

/// Looks whether others have committed since somebody looked before, and tells whoever listens.
pub(crate) async fn look(inner: &Inner) -> Result<(), StoreError> {
    let mut writer = inner.writer.lock().await;
    let now = data_version(&mut writer.connection).await?;
    if now != writer.seen {
        writer.seen = now;
        inner.changes.send_modify(|n| *n += 1);
    }
    Ok(())
}

/// Polls until the store is gone.
pub(crate) async fn watch(store: Weak<Inner>) {
    let mut tick = tokio::time::interval(POLL_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(inner) = store.upgrade() else { return };
        if let Err(error) = look(&inner).await {
            tracing::debug!(%error, "could not look for other processes' changes");
        }
    }
}
