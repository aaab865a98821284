//! Who changed what in the control plane: one row for each attempt, beside the change itself.
//!
//! Whoever lets a change be made does so within [`follow`]. The first statement below it that changes something of the control plane takes the
//! row into its own transaction: either both are stored, or neither. Changes that the store has no part in get their row when they are over.
//! So no function that changes something has to know of rows, and none can forget its own.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use serde_json::Value;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{Store, StoreError, column, open::Durability};

/// Most rows of all; the oldest go first.
pub const ROWS_MAX: u32 = 200_000;

/// Most rows of refused attempts, which anybody can cause: they displace each other only.
pub const DENIED_ROWS_MAX: u32 = 20_000;

/// Rows of one page, at most; one more may be asked for, to see whether there is one.
pub const PAGE_ROWS_MAX: u32 = 1000;

/// After so many rows of this process the oldest are looked for.
const PRUNE_EVERY: u32 = 64;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is being made: the last that is known of a change that a crash cut off.
    Begun,
    Success,
    /// The caller may not.
    Denied,
    Error,
}

impl Outcome {
    /// All words, for readers of them.
    pub const ALL: [Self; 4] = [Self::Begun, Self::Success, Self::Denied, Self::Error];

    /// The word in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }

    /// The outcome of a word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One row. No text of a secret is ever part of it: whoever fills `details` sees to that.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// See [`crate::new_id`]; the order of ids is that of time.
    pub id: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    pub request_id: String,
    /// `user`, `key`, `master`, `token`, `node`, `command_line`, `first_start`, `signal`, `anyone` (auth is off) or `unknown`.
    pub actor_type: String,
    pub actor_id: Option<String>,
    /// The actor's name.
    pub actor: Option<String>,
    pub client_ip: Option<String>,
    /// `key.create`, `node.drain`, …
    pub action: String,
    /// `key`, `node`, …
    pub resource_type: String,
    pub resource_id: Option<String>,
    pub outcome: Outcome,
    /// Why it was not done: the code of the error.
    pub reason: Option<String>,
    /// `{before, after}` and more, as the action has it.
    pub details: Option<Value>,
}

impl Entry {
    /// A row of this moment that nobody is named in yet.
    pub fn new(action: &str, resource_type: &str) -> Self {
        Self {
            id: crate::new_id("audit"),
            at_ms: crate::now_ms(),
            request_id: String::new(),
            actor_type: "unknown".to_owned(),
            actor_id: None,
            actor: None,
            client_ip: None,
            action: action.to_owned(),
            resource_type: resource_type.to_owned(),
            resource_id: None,
            outcome: Outcome::Begun,
            reason: None,
            details: None,
        }
    }
}

/// The row of one attempt, in the making.
#[derive(Debug)]
pub struct Trail {
    /// A change whose row can't be stored is not made.
    is_closed: bool,
    /// How long rows are kept.
    retention_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entry: Entry,
    /// As it was last stored.
    stored: Option<Entry>,
    /// It asked what a change would do.
    only_asks: bool,
}

tokio::task_local! {
    static TRAIL: Arc<Trail>;
}

static ROWS_PUT: AtomicU32 = AtomicU32::new(0);

/// Runs `change` so that what it changes in the store leaves the row of `trail`; without one it just runs.
pub async fn follow<F: Future>(trail: impl Into<Option<Arc<Trail>>>, change: F) -> F::Output {
    match trail.into() {
        Some(trail) => TRAIL.scope(trail, change).await,
        None => change.await,
    }
}

/// Says more of the attempt that is under way; nothing where none is followed.
pub fn note(say: impl FnOnce(&mut Entry)) {
    let _ = TRAIL.try_with(|trail| trail.note(say));
}

/// Says that the attempt that is under way only asks what a change would do.
pub fn only_asks() {
    let _ = TRAIL.try_with(|trail| trail.state().only_asks = true);
}

/// Stores the row of the attempt that is under way before anything is changed, where a change without a row is not wanted.
///
/// # Errors
/// [`StoreError::Unrecorded`]
pub async fn begin(store: &Store) -> Result<(), StoreError> {
    match current().filter(|trail| trail.is_closed) {
        Some(trail) => trail.put(store, Durability::Disk).await.map_err(|source| StoreError::Unrecorded(Box::new(source))),
        None => Ok(()),
    }
}

/// The trail whose row no transaction has taken yet.
pub(crate) fn pending() -> Option<Arc<Trail>> {
    current().filter(|trail| trail.state().stored.as_ref().is_none_or(|stored| stored.outcome == Outcome::Begun))
}

fn current() -> Option<Arc<Trail>> {
    TRAIL.try_with(Arc::clone).ok()
}

impl Trail {
    /// A trail that begins with `entry`. `is_closed`: a change whose row can't be stored is not made.
    pub fn new(entry: Entry, is_closed: bool, retention: std::time::Duration) -> Arc<Self> {
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        Arc::new(Self { is_closed, retention_ms, state: Mutex::new(State { entry, stored: None, only_asks: false }) })
    }

    /// Says more of the attempt.
    pub fn note(&self, say: impl FnOnce(&mut Entry)) {
        say(&mut self.state().entry);
    }

    /// Whether it changed something that is stored.
    pub fn is_witnessed(&self) -> bool {
        self.state().stored.as_ref().is_some_and(|stored| stored.outcome != Outcome::Begun)
    }

    /// Whether it only asked what a change would do.
    pub fn only_asked(&self) -> bool {
        self.state().only_asks
    }

    /// The attempt is over: its row is stored as it is now, if it is not already.
    ///
    /// # Errors
    /// The database's.
    pub async fn end(&self, store: &Store, outcome: Outcome, reason: Option<String>) -> Result<(), StoreError> {
        self.note(|entry| (entry.outcome, entry.reason) = (outcome, reason));
        if self.is_stored() {
            return Ok(());
        }
        let durability = if outcome == Outcome::Denied { Durability::Process } else { Durability::Disk };
        self.put(store, durability).await
    }

    /// Takes the row into the transaction of a change, which is then as good as done.
    pub(crate) async fn witness(&self, transaction: &mut SqliteConnection) -> Result<(), StoreError> {
        self.note(|entry| entry.outcome = Outcome::Success);
        match self.write(transaction).await {
            Ok(()) => Ok(()),
            Err(source) if self.is_closed => Err(StoreError::Unrecorded(Box::new(source))),
            Err(error) => {
                tracing::error!(%error, "a change is made without its audit row");
                Ok(())
            }
        }
    }

    async fn put(&self, store: &Store, durability: Durability) -> Result<(), StoreError> {
        let mut writer = store.writer(durability).await?;
        let mut transaction = writer.begin().await?;
        self.write(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let entry = self.state().entry.clone();
        upsert(connection, &entry).await?;
        if ROWS_PUT.fetch_add(1, Relaxed).is_multiple_of(PRUNE_EVERY) {
            prune(connection, crate::now_ms().saturating_sub(self.retention_ms)).await?;
        }
        self.state().stored = Some(entry);
        Ok(())
    }

    fn is_stored(&self) -> bool {
        let state = self.state();
        state.stored.as_ref() == Some(&state.entry)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn upsert(connection: &mut SqliteConnection, entry: &Entry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (id, at, request_id, actor_type, actor_id, actor, client_ip, action, resource_type, resource_id, outcome, reason, details) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET actor_type = excluded.actor_type, actor_id = excluded.actor_id, \
         actor = excluded.actor, resource_id = excluded.resource_id, outcome = excluded.outcome, reason = excluded.reason, details = excluded.details",
    )
    .bind(&entry.id)
    .bind(entry.at_ms)
    .bind(&entry.request_id)
    .bind(&entry.actor_type)
    .bind(&entry.actor_id)
    .bind(&entry.actor)
    .bind(&entry.client_ip)
    .bind(&entry.action)
    .bind(&entry.resource_type)
    .bind(&entry.resource_id)
    .bind(entry.outcome.name())
    .bind(&entry.reason)
    .bind(entry.details.as_ref().map(column::json))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets rows from before a time, and the oldest beyond what is kept at all.
async fn prune(connection: &mut SqliteConnection, before_ms: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM audit WHERE at < ?").bind(before_ms).execute(&mut *connection).await?;
    sqlx::query(
        "DELETE FROM audit WHERE outcome = 'denied' AND id <= (SELECT id FROM audit WHERE outcome = 'denied' ORDER BY id DESC LIMIT 1 OFFSET ?)",
    )
    .bind(DENIED_ROWS_MAX)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM audit WHERE id <= (SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?)")
        .bind(ROWS_MAX)
        .execute(connection)
        .await?;
    Ok(())
}

/// Which rows are meant; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Part of the actor's name, or its id.
    pub actor: Option<String>,
    /// Part of the action.
    pub action: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub outcome: Option<Outcome>,
    pub request_id: Option<String>,
    pub client_ip: Option<String>,
    /// Unix milliseconds, both ends included.
    pub from_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// Older than the row with this id.
    pub after: Option<String>,
    /// Newer than the row with this id; the oldest of those come first.
    pub before: Option<String>,
}

/// Rows that match, newest first: at most `limit`, and one more than [`PAGE_ROWS_MAX`].
///
/// # Errors
/// The database's.
pub async fn page(store: &Store, search: &Search, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM audit WHERE 1");
    for (column, value) in [
        ("resource_type", &search.resource_type),
        ("resource_id", &search.resource_id),
        ("request_id", &search.request_id),
        ("client_ip", &search.client_ip),
    ] {
        if let Some(value) = value {
            query.push(format_args!(" AND {column} = ")).push_bind(value.clone());
        }
    }
    if let Some(outcome) = search.outcome {
        query.push(" AND outcome = ").push_bind(outcome.name());
    }
    if let Some(actor) = &search.actor {
        query.push(" AND (actor_id = ").push_bind(actor.clone()).push(" OR instr(lower(coalesce(actor, '')), ");
        query.push_bind(actor.to_lowercase()).push(") > 0)");
    }
    if let Some(action) = &search.action {
        query.push(" AND instr(lower(action), ").push_bind(action.to_lowercase()).push(") > 0");
    }
    for (sign, value) in [(">=", search.from_ms), ("<=", search.until_ms)] {
        if let Some(at_ms) = value {
            query.push(format_args!(" AND at {sign} ")).push_bind(at_ms);
        }
    }
    if let Some(after) = &search.after {
        query.push(" AND id < ").push_bind(after.clone());
    }
    if let Some(before) = &search.before {
        query.push(" AND id > ").push_bind(before.clone());
    }
    let order = if search.before.is_some() { "ASC" } else { "DESC" };
    query.push(format_args!(" ORDER BY id {order} LIMIT ")).push_bind(i64::from(limit.min(PAGE_ROWS_MAX + 1)));
    let rows = query.build().fetch_all(store.readers()).await?;
    let mut entries = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if search.before.is_some() {
        entries.reverse();
    }
    Ok(entries)
}

fn read(row: &SqliteRow) -> Result<Entry, StoreError> {
    let id: String = row.try_get("id")?;
    let outcome: String = row.try_get("outcome")?;
    Ok(Entry {
        at_ms: row.try_get("at")?,
        request_id: row.try_get("request_id")?,
        actor_type: row.try_get("actor_type")?,
        actor_id: row.try_get("actor_id")?,
        actor: row.try_get("actor")?,
        client_ip: row.try_get("client_ip")?,
        action: row.try_get("action")?,
        resource_type: row.try_get("resource_type")?,
        resource_id: row.try_get("resource_id")?,
        outcome: Outcome::from_name(&outcome).unwrap_or(Outcome::Error),
        reason: row.try_get("reason")?,
        details: column::read_optional(row, "details", &id)?,
        id,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meta;

    const YEAR: Duration = Duration::from_hours(365 * 24);

    async fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        (home, store)
    }

    fn trail(action: &str, is_closed: bool) -> Arc<Trail> {
        Trail::new(Entry::new(action, "meta"), is_closed, YEAR)
    }

    async fn rows(store: &Store) -> Vec<(String, &'static str)> {
        let found = page(store, &Search::default(), 100).await.unwrap();
        found.into_iter().map(|entry| (entry.action, entry.outcome.name())).collect()
    }

    #[tokio::test]
    async fn a_change_takes_its_row_along_and_what_follows_adds_no_other() {
        let (_home, store) = store().await;
        let followed = trail("meta.set", false);
        follow(followed.clone(), async {
            note(|entry| entry.actor = Some("ann".to_owned()));
            meta::set(&store, "a", "1").await.unwrap();
            assert_eq!(rows(&store).await, [("meta.set".to_owned(), "success")], "there before the attempt is over");
            meta::set(&store, "b", "2").await.unwrap();
        })
        .await;
        followed.end(&store, Outcome::Success, None).await.unwrap();
        let found = page(&store, &Search::default(), 100).await.unwrap();
        assert_eq!((found.len(), found[0].actor.as_deref()), (1, Some("ann")));
        meta::set(&store, "c", "3").await.unwrap();
        assert_eq!(rows(&store).await.len(), 1, "nobody follows this one");
    }

    #[tokio::test]
    async fn how_it_ended_is_what_stands_there() {
        let (_home, store) = store().await;
        let failed = trail("meta.set", false);
        follow(failed.clone(), meta::set(&store, "a", "1")).await.unwrap();
        failed.end(&store, Outcome::Error, Some("conflict".to_owned())).await.unwrap();
        let denied = trail("meta.delete", false);
        denied.end(&store, Outcome::Denied, None).await.unwrap();
        assert_eq!(rows(&store).await, [("meta.delete".to_owned(), "denied"), ("meta.set".to_owned(), "error")]);
    }

    #[tokio::test]
    async fn where_rows_must_be_a_change_without_one_is_not_made() {
        let (_home, store) = store().await;
        {
            let mut writer = store.writer(Durability::Disk).await.unwrap();
            sqlx::query("CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT raise(FAIL, 'no'); END")
                .execute(&mut writer.connection)
                .await
                .unwrap();
        }
        follow(trail("meta.set", false), meta::set(&store, "open", "1")).await.unwrap();
        let closed = trail("meta.set", true);
        let refused = follow(closed.clone(), meta::set(&store, "closed", "1")).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unrecorded(_)), "{refused}");
        assert!(matches!(follow(closed, begin(&store)).await, Err(StoreError::Unrecorded(_))));
        assert_eq!(meta::get(&store, "open").await.unwrap().as_deref(), Some("1"));
        assert_eq!(meta::get(&store, "closed").await.unwrap(), None);
    }

    #[tokio::test]
    async fn rows_are_found_by_what_they_hold_and_in_pages() {
        let (_home, store) = store().await;
        for (n, name) in ["Ann", "Bob", "annabel"].iter().enumerate() {
            let one = trail(if n == 1 { "key.delete" } else { "key.create" }, false);
            one.note(|entry| entry.actor = Some((*name).to_owned()));
            one.end(&store, Outcome::Success, None).await.unwrap();
        }
        let names = async |search: Search, limit| {
            page(&store, &search, limit).await.unwrap().into_iter().filter_map(|entry| entry.actor).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(names(Search { actor: some("ann"), ..Search::default() }, 9).await, ["annabel", "Ann"]);
        assert_eq!(names(Search { action: some("DELETE"), ..Search::default() }, 9).await, ["Bob"]);
        let all = page(&store, &Search::default(), 9).await.unwrap();
        assert_eq!(names(Search { after: Some(all[0].id.clone()), ..Search::default() }, 1).await, ["Bob"]);
        assert_eq!(names(Search { before: Some(all[2].id.clone()), ..Search::default() }, 1).await, ["Bob"]);
    }

    #[tokio::test]
    async fn old_rows_go_and_refused_attempts_displace_only_each_other() {
        let (_home, store) = store().await;
        let mut writer = store.writer(Durability::Disk).await.unwrap();
        // In one transaction, since nobody waits for the disk so often.
        let mut transaction = writer.begin().await.unwrap();
        let mut put = async |at_ms: i64, outcome: Outcome| {
            let entry = Entry { at_ms, outcome, ..Entry::new("a", "b") };
            upsert(&mut transaction, &entry).await.unwrap();
        };
        put(1, Outcome::Success).await;
        put(10, Outcome::Success).await;
        for _ in 0..=DENIED_ROWS_MAX {
            put(10, Outcome::Denied).await;
        }
        prune(&mut transaction, 5).await.unwrap();
        transaction.commit().await.unwrap();
        let count: (i64, i64) =
            sqlx::query_as("SELECT count(*), sum(outcome = 'denied') FROM audit").fetch_one(&mut writer.connection).await.unwrap();
        assert_eq!(count, (i64::from(DENIED_ROWS_MAX) + 1, i64::from(DENIED_ROWS_MAX)));
    }
}
