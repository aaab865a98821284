//! Sums of requests by hour and day: what was used is known without reading a million rows, and when the rows are gone.
//!
//! With a thousand keys nearly every row has two sums of its own, which costs more than the row: they are written for some thousand rows at a
//! time. What was not written yet is read from the rows behind a mark; readers ask the view `request_sums_now`, which has both.

use std::sync::LazyLock;

use foldhash::HashMap;
use sqlx::{AssertSqlSafe, Sqlite, Transaction};

use crate::{
    Store, StoreError,
    chunks::{Statement, chunks},
    facets::{COLUMNS as FACET_COLUMNS, Known},
    open::Durability,
    requests::{self, Row},
};

pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Hours of a day.
pub(crate) const DAY: i64 = 24;
const MINUTE_MS: i64 = 60_000;

/// Sums that one statement writes, the most first: each statement is a round trip to SQLite's thread. All stay prepared.
static UPSERTS: LazyLock<[Statement; 4]> = LazyLock::new(|| [64, 16, 4, 1].map(|rows| (rows, upsert(rows))));

/// Rows that may wait for their sums: whoever asks reads them all.
const ROWS_BEHIND_MAX: i64 = if cfg!(test) { 50 } else { 4096 };
/// The name in `meta` of the last row that is in the sums; the view knows it too.
const SUMMED: &str = "requests_summed";

/// The figures of one row in SQL, in the order of [`COLUMNS`].
pub(crate) const OF_A_ROW: &str = "1 AS requests, coalesce(prompt_tokens, 0) AS prompt_tokens, coalesce(completion_tokens, 0) AS completion_tokens, \
     coalesce(cached_tokens, 0) AS cached_tokens, coalesce(cost_nano, 0) AS cost_nano, cost_nano IS NOT NULL AS priced, \
     cost_nano IS NULL AND (coalesce(prompt_tokens, 0) > 0 OR coalesce(completion_tokens, 0) > 0) AS unpriced";

/// Every figure of a table of sums, in the order of [`Figures::values`].
pub(crate) const COLUMNS: [&str; 7] =
    ["requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_nano", "priced", "unpriced"];

/// Sums over rows that have the same facet; differences, where a row changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cached_tokens: i64,
    /// Billionths of a dollar.
    cost_nano: i64,
    /// Rows whose cost is known.
    priced: i64,
    /// Rows that used something, and whose cost is not known.
    unpriced: i64,
}

impl Figures {
    pub(crate) fn of(row: &Row) -> Self {
        let count = |n: Option<u64>| n.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX));
        let (prompt_tokens, completion_tokens) = (count(row.prompt_tokens), count(row.completion_tokens));
        Self {
            requests: 1,
            prompt_tokens,
            completion_tokens,
            cached_tokens: count(row.cached_tokens),
            cost_nano: row.cost_nano.unwrap_or(0),
            priced: i64::from(row.cost_nano.is_some()),
            unpriced: i64::from(row.cost_nano.is_none() && (prompt_tokens > 0 || completion_tokens > 0)),
        }
    }

    fn values(self) -> [i64; COLUMNS.len()] {
        [self.requests, self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.cost_nano, self.priced, self.unpriced]
    }

    fn add(&mut self, other: Self) {
        let sum = |mine: &mut i64, others: i64| *mine = mine.saturating_add(others);
        sum(&mut self.requests, other.requests);
        sum(&mut self.prompt_tokens, other.prompt_tokens);
        sum(&mut self.completion_tokens, other.completion_tokens);
        sum(&mut self.cached_tokens, other.cached_tokens);
        sum(&mut self.cost_nano, other.cost_nano);
        sum(&mut self.priced, other.priced);
        sum(&mut self.unpriced, other.unpriced);
    }

    /// The same with the other sign.
    pub(crate) fn negated(self) -> Self {
        let [requests, prompt_tokens, completion_tokens, cached_tokens, cost_nano, priced, unpriced] =
            self.values().map(i64::saturating_neg);
        Self { requests, prompt_tokens, completion_tokens, cached_tokens, cost_nano, priced, unpriced }
    }
}

/// What rows add to the sums, by hour and facet.
#[derive(Debug, Default)]
pub(crate) struct Batch(HashMap<(i64, i64), Figures>);

impl Batch {
    /// Counts a new row.
    pub(crate) fn count(&mut self, row: &Row, facet: i64) {
        self.add(row.started_at_ms, facet, Figures::of(row));
    }

    /// Adds figures without a row.
    pub(crate) fn add(&mut self, started_at_ms: i64, facet: i64, figures: Figures) {
        self.0.entry((started_at_ms.div_euclid(HOUR_MS), facet)).or_default().add(figures);
    }

    /// Writes them: a few statements, however many rows there were.
    pub(crate) async fn write(self, transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
        let mut days: HashMap<(i64, i64), Figures> = HashMap::default();
        for ((hour, facet), figures) in &self.0 {
            days.entry((hour.div_euclid(DAY) * DAY, *facet)).or_default().add(*figures);
        }
        let hours = self.0.into_iter().map(|((start, facet), figures)| (1, start, facet, figures));
        let days = days.into_iter().map(|((start, facet), figures)| (DAY, start, facet, figures));
        let mut all: Vec<_> = hours.chain(days).collect();
        // In the order of the table: neighbours lie on the same page.
        all.sort_unstable_by_key(|(width, start, facet, _)| (*width, *start, *facet));
        for (chunk, statement) in chunks(&all, &*UPSERTS) {
            // Built from constants only.
            let mut query = sqlx::query(AssertSqlSafe(statement));
            for (width, start, facet, figures) in chunk {
                query = query.bind(width).bind(start).bind(facet);
                query = figures.values().into_iter().fold(query, sqlx::query::Query::bind);
            }
            query.execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

/// What the newest rows add to the sums and is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// The last row that is in the sums, and the last that is counted here.
    summed: i64,
    newest: i64,
    /// `None`: some of the rows between are another process's.
    batch: Option<Batch>,
}

impl Behind {
    /// What goes on after the newest row of the table.
    pub(crate) async fn of(self, transaction: &mut Transaction<'_, Sqlite>) -> Result<Self, sqlx::Error> {
        let (summed, newest) = marks(transaction).await?;
        let is_same = (self.summed, self.newest) == (summed, newest);
        Ok(if is_same { self } else { Self { summed, newest, batch: (summed == newest).then(Batch::default) } })
    }

    /// The newest row.
    pub(crate) fn newest(&self) -> i64 {
        self.newest
    }

    /// Counts a new row.
    pub(crate) fn count(&mut self, row: &Row, facet: i64) {
        if let Some(batch) = &mut self.batch {
            batch.count(row, facet);
        }
    }

    /// The new rows are stored, the last under this number: writes the sums if there are enough. What is given back holds once the transaction is
    /// committed.
    pub(crate) async fn stored(self, transaction: &mut Transaction<'_, Sqlite>, newest: i64) -> Result<Self, sqlx::Error> {
        if newest - self.summed < ROWS_BEHIND_MAX {
            return Ok(Self { newest, ..self });
        }
        match self.batch {
            Some(batch) => {
                batch.write(transaction).await?;
                mark(transaction, newest).await?;
            }
            None => catch_up(transaction).await?,
        }
        Ok(Self { summed: newest, newest, batch: Some(Batch::default()) })
    }
}

/// The last row that is in the sums, and the newest.
async fn marks(transaction: &mut Transaction<'_, Sqlite>) -> Result<(i64, i64), sqlx::Error> {
    let marks =
        "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?), 0), (SELECT coalesce(max(seq), 0) FROM requests)";
    sqlx::query_as(marks).bind(SUMMED).fetch_one(&mut **transaction).await
}

async fn mark(transaction: &mut Transaction<'_, Sqlite>, newest: i64) -> Result<(), sqlx::Error> {
    let mark = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(mark).bind(SUMMED).bind(newest.to_string()).execute(&mut **transaction).await?;
    Ok(())
}

/// Brings all rows into the sums: before rows are changed or removed.
pub(crate) async fn catch_up(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    let (summed, newest) = marks(transaction).await?;
    if newest <= summed {
        return Ok(());
    }
    let columns = COLUMNS.join(", ");
    let sums = COLUMNS.map(|column| format!("sum({column})")).join(", ");
    for width in [1, DAY] {
        let rows = format!(
            "SELECT started_at / {} * {width} AS start, facet, {OF_A_ROW} FROM requests WHERE seq > ? AND seq <= ?",
            width * HOUR_MS
        );
        let add = format!(
            "INSERT INTO request_sums (width, start, facet, {columns}) SELECT {width}, start, facet, {sums} FROM ({rows}) WHERE 1 \
             GROUP BY start, facet {}",
            added()
        );
        // Built from constants only.
        sqlx::query(AssertSqlSafe(add)).bind(summed).bind(newest).execute(&mut **transaction).await?;
    }
    mark_all(transaction).await
}

/// All rows that there are are in the sums: also after the newest of them were removed, whose numbers may be given again.
pub(crate) async fn mark_all(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    let newest = "INSERT INTO meta (name, value) SELECT ?, CAST(coalesce(max(seq), 0) AS TEXT) FROM requests WHERE 1 \
                  ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(newest).bind(SUMMED).execute(&mut **transaction).await?;
    Ok(())
}

/// Successes and errors of a minute.
#[derive(Debug, Default)]
pub(crate) struct Minutes(HashMap<i64, (i64, i64)>);

impl Minutes {
    /// Counts a new row.
    pub(crate) fn count(&mut self, row: &Row) {
        let (successes, errors) = self.0.entry(row.started_at_ms.div_euclid(MINUTE_MS)).or_default();
        *successes += i64::from(row.outcome.as_str() == "success");
        *errors += i64::from(row.outcome.as_str() == "error");
    }

    /// Writes them: few, since a batch is of one time.
    pub(crate) async fn write(self, transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
        for (minute, (successes, errors)) in self.0 {
            let query = sqlx::query(
                "INSERT INTO request_minutes (minute, successes, errors) VALUES (?, ?, ?) ON CONFLICT (minute) DO UPDATE SET \
                 successes = successes + excluded.successes, errors = errors + excluded.errors",
            );
            query.bind(minute).bind(successes).bind(errors).execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

/// Names of models that are forgotten at once.
const FORGOTTEN_MAX: u32 = 500;

/// Forgets the names of models that were asked for, that nobody served, and of which no record is left: callers invent names without end, and sums
/// stay. Only for the process that writes the records: it remembers the numbers of facets. Gives how many were forgotten.
///
/// # Errors
/// The database's; then nothing is changed.
pub async fn forget_names(store: &Store) -> Result<u64, StoreError> {
    let kept_from_ms = requests::kept_from_ms(store).await?;
    let mut writer = store.writer(Durability::Process).await?;
    writer.facets = Known::default();
    let mut transaction = writer.begin().await?;
    catch_up(&mut transaction).await?;
    let old = "CREATE TEMP TABLE IF NOT EXISTS forgotten (id INTEGER PRIMARY KEY)";
    sqlx::query(old).execute(&mut *transaction).await?;
    let find = "INSERT INTO forgotten SELECT id FROM facets JOIN request_sums ON facet = id AND width = ?1 WHERE target = '' AND model_served = '' \
                AND model_requested <> '' GROUP BY id HAVING max(start) + ?1 <= ?2 LIMIT ?3";
    let kept_from_hour = kept_from_ms.div_euclid(HOUR_MS);
    let found = sqlx::query(find).bind(DAY).bind(kept_from_hour).bind(FORGOTTEN_MAX).execute(&mut *transaction).await?.rows_affected();
    if found > 0 {
        let columns = COLUMNS.join(", ");
        let same = "key_id, key_name, '', model_served, target, node_id, outcome, price_version, status, remembered";
        let nameless =
            format!("INSERT INTO facets ({FACET_COLUMNS}) SELECT DISTINCT {same} FROM facets WHERE id IN forgotten ON CONFLICT DO NOTHING");
        let sums = COLUMNS.map(|column| format!("sum({column})")).join(", ");
        let equal = ["key_id", "key_name", "node_id", "outcome", "price_version", "status", "remembered"];
        let equal = equal.map(|column| format!("nameless.{column} = facets.{column}")).join(" AND ");
        let moved = format!(
            "INSERT INTO request_sums (width, start, facet, {columns}) SELECT width, start, nameless.id, {sums} FROM request_sums \
             JOIN facets ON facets.id = facet JOIN facets AS nameless ON {equal} AND nameless.model_requested = '' AND nameless.model_served = '' \
             AND nameless.target = '' WHERE facet IN forgotten GROUP BY width, start, nameless.id {}",
            added()
        );
        let gone = "DELETE FROM request_sums WHERE facet IN forgotten".to_owned();
        let names = "DELETE FROM facets WHERE id IN forgotten".to_owned();
        for statement in [nameless, moved, gone, names, "DELETE FROM forgotten".to_owned()] {
            // Built from constants only.
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    Ok(found)
}

fn upsert(rows: usize) -> String {
    let columns = COLUMNS.join(", ");
    let places = format!("(?, ?, ?{})", ", ?".repeat(COLUMNS.len()));
    format!("INSERT INTO request_sums (width, start, facet, {columns}) VALUES {} {}", vec![places.as_str(); rows].join(", "), added())
}

/// What becomes of sums that are there already.
fn added() -> String {
    let added = COLUMNS.map(|column| format!("{column} = {column} + excluded.{column}")).join(", ");
    format!("ON CONFLICT (width, start, facet) DO UPDATE SET {added}")
}

/// A time as whole hours and days and what is left at its ends: a question about it reads a few sums, and rows only where an hour is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Width, first start, and the one after the last.
    pub(crate) sums: Vec<(i64, i64, i64)>,
    /// Unix milliseconds: from, and up to but without.
    pub(crate) rows: Vec<(i64, i64)>,
}

/// Hours so long ago and so far ahead that no request lies beyond.
const HOURS_MAX: i64 = 24 * 400_000;

impl Pieces {
    /// Of the time from the one to the other, both ends included.
    pub(crate) fn of(from_ms: Option<i64>, until_ms: Option<i64>) -> Self {
        let limit = HOURS_MAX * HOUR_MS;
        let from = from_ms.map_or(-limit, |ms| ms.clamp(-limit, limit));
        let until = until_ms.map_or(limit, |ms| ms.saturating_add(1).clamp(-limit, limit));
        let whole = |width: i64, from: i64, until: i64| (-(-from).div_euclid(width) * width, until.div_euclid(width) * width);
        let (first, last) = whole(HOUR_MS, from, until);
        if first >= last {
            return Self { sums: Vec::new(), rows: vec![(from, until)] };
        }
        let (hour, end) = (first / HOUR_MS, last / HOUR_MS);
        let (day, day_end) = whole(DAY, hour, end);
        let mut sums = if day < day_end { vec![(1, hour, day), (DAY, day, day_end), (1, day_end, end)] } else { vec![(1, hour, end)] };
        sums.retain(|(_, start, end)| start < end);
        let mut rows = vec![(from, first), (last, until)];
        rows.retain(|(from, until)| from < until);
        Self { sums, rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usage;

    proptest! {
        #[test]
        fn pieces_cover_a_time_once(from in -400 * HOUR_MS..400 * HOUR_MS, length in 0..400 * HOUR_MS) {
            let until = from + length;
            let pieces = Pieces::of(Some(from), Some(until));
            let sums = pieces.sums.iter().map(|(width, start, end)| {
                assert_eq!((start % width, end % width), (0, 0));
                (start * HOUR_MS, end * HOUR_MS)
            });
            let mut spans: Vec<_> = sums.chain(pieces.rows.iter().copied()).collect();
            spans.sort_unstable();
            prop_assert_eq!((spans[0].0, spans[spans.len() - 1].1), (from, until + 1));
            prop_assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", spans);
            prop_assert!(pieces.rows.iter().all(|(from, until)| until - from < 2 * HOUR_MS));
        }
    }

    #[tokio::test]
    async fn names_that_nobody_served_are_forgotten_with_their_records() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        let row = |day: i64, name: &str, target: Option<&'static str>| Row {
            started_at_ms: day * DAY * HOUR_MS + 5,
            model_requested: Some(name.to_owned().into()),
            target: target.map(Into::into),
            outcome: "error".into(),
            ..Row::default()
        };
        let rows = [row(0, "a", None), row(0, "b", None), row(0, "served", Some("t")), row(9, "b", None), row(0, "c", None)];
        requests::insert(&store, &rows).await.unwrap();
        assert_eq!(forget_names(&store).await.unwrap(), 0, "their records are there");
        requests::purge(&store, 2 * DAY * HOUR_MS, 100).await.unwrap();
        assert_eq!(forget_names(&store).await.unwrap(), 2);
        let models = async || {
            let used = usage::used(&store, &usage::Span::default(), usage::Group::Model).await.unwrap();
            used.into_iter().map(|used| (used.group, used.errors)).collect::<Vec<_>>()
        };
        let named = |n, name: &str| (name.to_owned(), n);
        assert_eq!(models().await, [named(2, ""), named(2, "b"), named(1, "served")]);
        requests::insert(&store, &rows[..1]).await.unwrap();
        assert_eq!(models().await, [named(2, ""), named(1, "a"), named(2, "b"), named(1, "served")]);
    }

    #[tokio::test]
    async fn rows_of_several_processes_are_summed_once() {
        let home = tempfile::tempdir().unwrap();
        let stores = [Store::open("", home.path()).await.unwrap(), Store::open("", home.path()).await.unwrap()];
        let row = Row { started_at_ms: 5, key_id: Some("k".into()), prompt_tokens: Some(1), ..Row::default() };
        let turns = [(0, 30), (1, 10), (1, 70), (0, 5), (0, 60), (0, 60), (1, 1)];
        let mut stored = 0;
        for (process, rows) in turns {
            requests::insert(&stores[process], &vec![row.clone(); rows]).await.unwrap();
            stored += rows as u64;
            let used = usage::used(&stores[1 - process], &usage::Span::default(), usage::Group::Key).await.unwrap();
            assert_eq!((used[0].requests, used[0].prompt_tokens), (stored, stored));
        }
        let written: i64 =
            sqlx::query_scalar("SELECT sum(requests) FROM request_sums WHERE width = 1").fetch_one(stores[0].readers()).await.unwrap();
        assert!((186..=236).contains(&written), "{written}: some wait, few");
    }

    #[tokio::test]
    async fn numbers_that_are_given_again_are_summed() {
        let home = tempfile::tempdir().unwrap();
        for round in 1..=3 {
            let store = Store::open("", home.path()).await.unwrap();
            requests::insert(&store, &vec![Row::default(); 60]).await.unwrap();
            requests::purge(&store, i64::MAX, 1000).await.unwrap();
            let used = usage::used(&store, &usage::Span::default(), usage::Group::Key).await.unwrap();
            assert_eq!(used[0].requests, 60 * round);
        }
    }

    #[test]
    fn all_time_is_whole_days() {
        let Pieces { sums, rows } = Pieces::of(None, None);
        assert_eq!((sums.len(), rows.len(), sums[0].0), (1, 0, DAY));
    }
}
