//! Request records: one row per admitted request, written in batches behind the path.

use std::{collections::HashSet, mem, sync::LazyLock};

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _, Sqlite, query::Query, sqlite::SqliteArguments, sqlite::SqliteRow};

use crate::{
    Store, StoreError, Text,
    bodies::{self, Place},
    chunks::{Statement, chunks},
    facets::Facet,
    history,
    open::Durability,
    sums,
};

/// One request. Made once per request on the hot path: texts that the configuration or the program already holds cost nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    /// The request id that the caller saw; a caller may repeat one.
    pub id: Text,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// From the first byte in to the last byte out.
    pub duration_ms: i64,
    /// From the first byte in to the first byte out.
    pub first_byte_ms: Option<i64>,
    pub key_id: Option<Text>,
    pub key_name: Option<Text>,
    pub client_ip: Option<Text>,
    /// The caller's dialect.
    pub dialect: Text,
    /// The route, not the raw path.
    pub path: Text,
    pub model_requested: Option<Text>,
    pub model_served: Option<Text>,
    /// Name of the account or node.
    pub target: Option<Text>,
    pub provider: Option<Text>,
    pub node_id: Option<Text>,
    pub attempts: u32,
    /// HTTP status that the caller saw.
    pub status: u16,
    /// `success`, `error` or `cancelled`.
    pub outcome: Text,
    pub error_code: Option<Text>,
    pub stream: bool,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    /// Usage as the upstream wrote it, JSON.
    pub usage_raw: Option<Text>,
    /// The router's own time, without waiting for upstreams.
    pub overhead_us: Option<u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Reasons and attempts, JSON.
    pub decision: Option<Text>,
    /// The caller's metadata, JSON.
    pub metadata: Option<Text>,
    /// `hit`, `miss` or `replayed`: a hit and a replay used nothing again.
    pub cache: Option<Text>,
    /// What it cost, in billionths of a dollar; `None`: nobody knows the price, or how much was used.
    pub cost_nano: Option<i64>,
    /// The [price book](crate::prices) that the cost is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<Text>,
    /// Where what was asked and answered is kept: see [`bodies::of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bodies: Option<Place>,
}

impl Row {
    /// Whether it was answered from memory.
    pub fn is_remembered(&self) -> bool {
        matches!(self.cache.as_deref(), Some("hit" | "replayed"))
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let length = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Self>() + length(&self.decision) + length(&self.usage_raw)
    }
}

/// A stored row and its place in the order of arrival.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    pub seq: i64,
    #[serde(flatten)]
    pub row: Row,
}

/// Which rows [`recent`] gives.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At most so many rows; 0 stands for 100, more than [`ROWS_MAX`] for that.
    pub limit: u32,
    /// Only rows that arrived before this one ([`Stored::seq`]): the next page.
    pub before_seq: Option<i64>,
    /// Only rows that started at or after this time, unix milliseconds.
    pub since_ms: Option<i64>,
    pub model: Option<String>,
    pub node_id: Option<String>,
    pub outcome: Option<String>,
}

/// Most rows that one call returns.
pub const ROWS_MAX: u32 = 1000;
/// Rows that one statement inserts, the most first: each statement is a round trip to SQLite's thread. All stay prepared.
static INSERTS: LazyLock<[Statement; 5]> = LazyLock::new(|| [256, 64, 16, 4, 1].map(|rows| (rows, insert_statement(rows))));

const COLUMNS: [&str; 25] = [
    "id",
    "started_at",
    "duration_ms",
    "first_byte_ms",
    "client_ip",
    "dialect",
    "path",
    "provider",
    "attempts",
    "error_code",
    "stream",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "usage_raw",
    "overhead_us",
    "bytes_in",
    "bytes_out",
    "decision",
    "metadata",
    "cache",
    "bodies_segment",
    "bodies_offset",
    "cost_nano",
];

fn insert_statement(rows: usize) -> String {
    let places = format!("(?, ?, {})", vec!["?"; COLUMNS.len()].join(", "));
    format!("INSERT INTO requests (seq, facet, {}) VALUES {}", COLUMNS.join(", "), vec![places.as_str(); rows].join(", "))
}

/// A place in another keeping that rows were taken from; stored together with them, so that none of them is ever taken twice.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// A name of [`crate::meta`].
    pub name: &'a str,
    pub value: &'a str,
}

/// Stores rows in one transaction: all or none. Committed when this returns, without waiting for the disk. Gives the first row's
/// [`Stored::seq`]; those of the others follow it one by one.
///
/// # Errors
/// The database's; [`StoreError::is_transient`] says whether the same rows may be tried again.
pub async fn insert(store: &Store, rows: &[Row]) -> Result<i64, StoreError> {
    insert_marked(store, rows, None).await
}

/// The same, with the place that the rows were taken from.
///
/// # Errors
/// Those of [`insert`].
pub async fn insert_marked(store: &Store, rows: &[Row], mark: Option<Mark<'_>>) -> Result<i64, StoreError> {
    let mut writer = store.writer(Durability::Process).await?;
    // A number is never given twice while the router runs, though the newest rows be removed: readers follow the numbers.
    let given = writer.last_seq;
    // Given back when all is committed: of what is rolled back no number is remembered.
    let mut known = mem::take(&mut writer.facets);
    let behind = mem::take(&mut writer.behind);
    let mut transaction = writer.begin().await?;
    let mut behind = behind.of(&mut transaction).await?;
    let first = behind.newest().max(given) + 1;
    let last = first + rows.len() as i64 - 1;
    let mut minutes = sums::Minutes::default();
    let mut facets = Vec::with_capacity(rows.len());
    for row in rows {
        let facet = known.number(&mut transaction, &Facet::of(row)).await?;
        behind.count(row, facet);
        minutes.count(row);
        facets.push(facet);
    }
    let mut numbers = (first..).zip(facets);
    for (chunk, statement) in chunks(rows, &*INSERTS) {
        // Built from constants only.
        let query = sqlx::query(AssertSqlSafe(statement));
        let query = chunk.iter().zip(&mut numbers).fold(query, |query, (row, (seq, facet))| bind(query.bind(seq).bind(facet), row));
        query.execute(&mut *transaction).await?;
    }
    minutes.write(&mut transaction).await?;
    let behind = behind.stored(&mut transaction, last).await?;
    bodies::note(&mut transaction, rows, first).await?;
    if let Some(mark) = mark {
        let query = sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value");
        query.bind(mark.name).bind(mark.value).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    writer.facets = known;
    writer.behind = behind;
    writer.last_seq = last;
    Ok(first)
}

type Insert<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Insert<'q>, row: &'q Row) -> Insert<'q> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    query
        .bind(&row.id)
        .bind(row.started_at_ms)
        .bind(row.duration_ms)
        .bind(row.first_byte_ms)
        .bind(&row.client_ip)
        .bind(&row.dialect)
        .bind(&row.path)
        .bind(&row.provider)
        .bind(row.attempts)
        .bind(&row.error_code)
        .bind(row.stream)
        .bind(row.prompt_tokens.map(count))
        .bind(row.completion_tokens.map(count))
        .bind(row.cached_tokens.map(count))
        .bind(row.reasoning_tokens.map(count))
        .bind(&row.usage_raw)
        .bind(row.overhead_us.map(count))
        .bind(count(row.bytes_in))
        .bind(count(row.bytes_out))
        .bind(&row.decision)
        .bind(&row.metadata)
        .bind(&row.cache)
        .bind(row.bodies.map(|place| place.segment))
        .bind(row.bodies.map(|place| place.offset))
        .bind(row.cost_nano)
}

/// The newest rows that match, newest first.
///
/// # Errors
/// The database's.
pub async fn recent(store: &Store, filter: &Filter) -> Result<Vec<Stored>, StoreError> {
    let limit = if filter.limit == 0 { 100 } else { filter.limit.min(ROWS_MAX) };
    let rows = sqlx::query(
        "SELECT * FROM records WHERE (?1 IS NULL OR seq < ?1) AND (?2 IS NULL OR started_at >= ?2) AND (?3 IS NULL OR model_requested = ?3 OR model_served = ?3) \
         AND (?4 IS NULL OR node_id = ?4) AND (?5 IS NULL OR outcome = ?5) ORDER BY seq DESC LIMIT ?6",
    )
    .bind(filter.before_seq)
    .bind(filter.since_ms)
    .bind(&filter.model)
    .bind(&filter.node_id)
    .bind(&filter.outcome)
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(read).collect()
}

/// The newest row with this request id.
///
/// # Errors
/// The database's.
pub async fn get(store: &Store, id: &str) -> Result<Option<Stored>, StoreError> {
    let row = sqlx::query("SELECT * FROM records WHERE id = ? ORDER BY seq DESC LIMIT 1").bind(id).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

/// The ids and starts (unix milliseconds) of rows with one of these request ids.
///
/// # Errors
/// The database's.
pub async fn known(store: &Store, ids: &[&str]) -> Result<HashSet<(String, i64)>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT id, started_at FROM requests WHERE id IN (");
    let mut places = query.separated(", ");
    for id in ids {
        places.push_bind(*id);
    }
    query.push(")");
    Ok(query.build_query_as().fetch_all(store.readers()).await?.into_iter().collect())
}

/// The newest row with this request id that a key made: a caller may repeat the id of another's request.
///
/// # Errors
/// The database's.
pub async fn get_of_key(store: &Store, id: &str, key_id: &str) -> Result<Option<Stored>, StoreError> {
    let query = sqlx::query("SELECT * FROM records WHERE id = ? AND key_id = ? ORDER BY seq DESC LIMIT 1").bind(id).bind(key_id);
    query.fetch_optional(store.readers()).await?.as_ref().map(read).transpose()
}

/// How many rows there are.
///
/// # Errors
/// The database's.
pub async fn count(store: &Store) -> Result<u64, StoreError> {
    let n: i64 = sqlx::query_scalar("SELECT count(*) FROM requests").fetch_one(store.readers()).await?;
    Ok(n.unsigned_abs())
}

/// The name in `meta` under which it stands from when on every row is there.
const KEPT_FROM: &str = "requests_kept_from_ms";

/// Since when (unix milliseconds of the start) no row was removed: what sums say of this time is true of the rows.
pub(crate) async fn kept_from_ms(store: &Store) -> Result<i64, StoreError> {
    let value: Option<String> =
        sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(KEPT_FROM).fetch_optional(store.readers()).await?;
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(i64::MIN))
}

/// Removes rows that started before a time (unix milliseconds), at most `page` per transaction so that new rows get in between, and the texts
/// to which no row points any more. Sums stay. Gives the number of rows removed.
///
/// # Errors
/// The database's; what was removed before stays removed.
pub async fn purge(store: &Store, before_ms: i64, page: u32) -> Result<u64, StoreError> {
    purge_told(store, before_ms, page, |_| ()).await
}

/// The same; `tell` hears how many were removed, now and then.
///
/// # Errors
/// Those of [`purge`].
pub async fn purge_told(store: &Store, before_ms: i64, page: u32, mut tell: impl FnMut(u64)) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let mut writer = store.writer(Durability::Process).await?;
        let mut transaction = writer.begin().await?;
        sums::catch_up(&mut transaction).await?;
        // Never later than the newest row: those that come after it are all there.
        let mark = "INSERT INTO meta (name, value) SELECT ?1, CAST(min(?2, max(started_at) + 1) AS TEXT) FROM requests HAVING count(*) > 0 \
                    ON CONFLICT (name) DO UPDATE SET value = CAST(max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER)) AS TEXT)";
        sqlx::query(mark).bind(KEPT_FROM).bind(before_ms).execute(&mut *transaction).await?;
        let query =
            sqlx::query("DELETE FROM requests WHERE seq IN (SELECT seq FROM requests WHERE started_at < ? ORDER BY started_at LIMIT ?)");
        let rows = query.bind(before_ms).bind(page.max(1)).execute(&mut *transaction).await?.rows_affected();
        sums::mark_all(&mut transaction).await?;
        let old = "DELETE FROM request_minutes WHERE minute < (SELECT max(minute) FROM request_minutes) - ?";
        sqlx::query(old).bind(history::MINUTES_KEPT).execute(&mut *transaction).await?;
        transaction.commit().await?;
        drop(writer);
        removed += rows;
        tell(removed);
        if rows < u64::from(page.max(1)) {
            bodies::sweep(store, before_ms).await?;
            return Ok(removed);
        }
        tokio::task::yield_now().await;
    }
}

/// The time (unix milliseconds) before which about so many of the oldest rows started, at least one; `None` where there is no row.
///
/// # Errors
/// The database's.
pub async fn start_after_oldest(store: &Store, rows: u32) -> Result<Option<i64>, StoreError> {
    let query = "SELECT max(started_at) + 1 FROM (SELECT started_at FROM requests ORDER BY started_at LIMIT ?)";
    Ok(sqlx::query_scalar(query).bind(rows.max(1)).fetch_one(store.readers()).await?)
}

pub(crate) fn read(row: &SqliteRow) -> Result<Stored, StoreError> {
    let text = |name: &str| -> Result<Text, sqlx::Error> { Ok(Text::Owned(row.try_get(name)?)) };
    let optional = |name: &str| -> Result<Option<Text>, sqlx::Error> { Ok(row.try_get::<Option<String>, _>(name)?.map(Text::Owned)) };
    let count = |name: &str| -> Result<u64, sqlx::Error> { Ok(row.try_get::<i64, _>(name)?.unsigned_abs()) };
    let maybe = |name: &str| -> Result<Option<u64>, sqlx::Error> { Ok(row.try_get::<Option<i64>, _>(name)?.map(i64::unsigned_abs)) };
    let seq = row.try_get("seq")?;
    let row = Row {
        id: text("id")?,
        started_at_ms: row.try_get("started_at")?,
        duration_ms: row.try_get("duration_ms")?,
        first_byte_ms: row.try_get("first_byte_ms")?,
        key_id: optional("key_id")?,
        key_name: optional("key_name")?,
        client_ip: optional("client_ip")?,
        dialect: text("dialect")?,
        path: text("path")?,
        model_requested: optional("model_requested")?,
        model_served: optional("model_served")?,
        target: optional("target")?,
        provider: optional("provider")?,
        node_id: optional("node_id")?,
        attempts: row.try_get("attempts")?,
        status: row.try_get("status")?,
        outcome: text("outcome")?,
        error_code: optional("error_code")?,
        stream: row.try_get("stream")?,
        prompt_tokens: maybe("prompt_tokens")?,
        completion_tokens: maybe("completion_tokens")?,
        cached_tokens: maybe("cached_tokens")?,
        reasoning_tokens: maybe("reasoning_tokens")?,
        usage_raw: optional("usage_raw")?,
        overhead_us: maybe("overhead_us")?,
        bytes_in: count("bytes_in")?,
        bytes_out: count("bytes_out")?,
        decision: optional("decision")?,
        metadata: optional("metadata")?,
        cache: optional("cache")?,
        cost_nano: row.try_get("cost_nano")?,
        price_version: None,
        bodies: Option::zip(row.try_get("bodies_segment")?, row.try_get("bodies_offset")?)
            .map(|(segment, offset)| Place { segment, offset }),
    };
    Ok(Stored { seq, row })
}
