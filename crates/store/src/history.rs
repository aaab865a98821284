//! Questions about request records: pages of those that match, counts by minute, sums by group.

use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{
    Store, StoreError, bodies,
    requests::{self, ROWS_MAX, Stored},
};

/// Which records are meant; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Part of the model's name, as it was asked for or as it served.
    pub model: Option<String>,
    pub node_id: Option<String>,
    /// The account's or node's name.
    pub target: Option<String>,
    /// Id or name of the key that asked.
    pub key: Option<String>,
    /// The id of the only key whose requests may be seen.
    pub key_id: Option<String>,
    /// Unix milliseconds: those that were over later.
    pub ended_after_ms: Option<i64>,
    /// `success`, `error` or `cancelled`.
    pub outcome: Option<String>,
    pub http_status: Option<u16>,
    /// Unix milliseconds, both ends included.
    pub from_ms: Option<i64>,
    pub until_ms: Option<i64>,
    pub client_ip: Option<String>,
    /// A text in the request's id, its names, its error, or in what is kept of what was said.
    pub text: Option<String>,
    /// The records ([`Stored::seq`]) in which the text was said, where that is known already: see [`Search::looked`].
    pub said: Option<Vec<i64>>,
}

/// Records whose texts a search looks through that names no time: each has to be read.
pub const TEXTS_MAX: u32 = 50_000;
/// Records whose texts are looked through at once.
const TEXTS_AT_A_TIME: u32 = 5000;

/// Where a page of records begins.
#[derive(Debug, Clone, Copy)]
pub enum From {
    /// After so many records.
    Offset(u64),
    /// After the record with this start (unix milliseconds) and [`Stored::seq`].
    After(i64, i64),
}

impl Search {
    /// The same search with its text looked for in what was said, so that several pages need that only once: unless a time is named, in the
    /// newest [`TEXTS_MAX`] records only.
    ///
    /// # Errors
    /// The database's; texts that can't be read.
    pub async fn looked(&self, store: &Store) -> Result<Self, StoreError> {
        self.looked_after(store, 0).await
    }

    async fn looked_after(&self, store: &Store, mut after_seq: i64) -> Result<Self, StoreError> {
        let mut looked = self.clone();
        let (Some(text), None) = (&self.text, &self.said) else { return Ok(looked) };
        if self.from_ms.is_none() {
            after_seq = after_seq.max(newest(store).await? - i64::from(TEXTS_MAX));
        }
        let mut said = Vec::new();
        loop {
            let mut query = QueryBuilder::new("SELECT seq, bodies_segment, bodies_offset FROM requests");
            self.conditions_but_text(&mut query);
            query.push(" AND bodies_segment IS NOT NULL AND seq > ").push_bind(after_seq);
            query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(TEXTS_AT_A_TIME));
            let places = bodies::placed(&query.build().fetch_all(store.readers()).await?)?;
            let Some((last, _)) = places.last() else { break };
            after_seq = *last;
            said.extend(bodies::told(store, places, text).await?);
        }
        looked.said = Some(said);
        Ok(looked)
    }

    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        self.conditions_but_text(query);
        let Some(text) = &self.text else { return };
        query.push(" AND (");
        contained(query, &["id", "model_requested", "model_served", "target", "key_name", "path", "error_code"], &pattern(text));
        if let Some(said) = &self.said {
            let numbers = serde_json::to_string(said).unwrap_or_default();
            query.push(" OR seq IN (SELECT value FROM json_each(").push_bind(numbers).push("))");
        }
        query.push(")");
    }

    fn conditions_but_text(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push(" WHERE 1");
        let equal = [
            ("node_id", &self.node_id),
            ("target", &self.target),
            ("key_id", &self.key_id),
            ("outcome", &self.outcome),
            ("client_ip", &self.client_ip),
        ];
        for (column, value) in equal {
            if let Some(value) = value {
                query.push(format_args!(" AND {column} = ")).push_bind(value.clone());
            }
        }
        if let Some(status) = self.http_status {
            query.push(" AND status = ").push_bind(i64::from(status));
        }
        if let Some(key) = &self.key {
            query.push(" AND (key_id = ").push_bind(key.clone()).push(" OR key_name = ").push_bind(key.clone()).push(")");
        }
        if let Some(ended_after_ms) = self.ended_after_ms {
            query.push(" AND started_at + duration_ms > ").push_bind(ended_after_ms);
        }
        if let Some(from_ms) = self.from_ms {
            query.push(" AND started_at >= ").push_bind(from_ms);
        }
        if let Some(until_ms) = self.until_ms {
            query.push(" AND started_at <= ").push_bind(until_ms);
        }
        if let Some(model) = &self.model {
            query.push(" AND (");
            contained(query, &["model_requested", "model_served"], &pattern(model));
            query.push(")");
        }
    }
}

/// One of the columns holds the text, whatever its case.
fn contained(query: &mut QueryBuilder<Sqlite>, columns: &[&str], pattern: &str) {
    for (n, column) in columns.iter().enumerate() {
        query.push(format_args!("{}{column} LIKE ", if n == 0 { "" } else { " OR " })).push_bind(pattern.to_owned()).push(" ESCAPE '\\'");
    }
}

fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Records that match, newest first: at most `limit`, and [`ROWS_MAX`].
///
/// # Errors
/// The database's.
pub async fn page(store: &Store, search: &Search, from: From, limit: u32) -> Result<Vec<Stored>, StoreError> {
    let mut query = QueryBuilder::new("SELECT * FROM requests");
    search.looked(store).await?.conditions(&mut query);
    if let From::After(started_at_ms, seq) = from {
        query.push(" AND (started_at, seq) < (").push_bind(started_at_ms).push(", ").push_bind(seq).push(")");
    }
    query.push(" ORDER BY started_at DESC, seq DESC LIMIT ").push_bind(i64::from(limit.min(ROWS_MAX)));
    if let From::Offset(rows) = from {
        query.push(" OFFSET ").push_bind(i64::try_from(rows).unwrap_or(i64::MAX));
    }
    query.build().fetch_all(store.readers()).await?.iter().map(requests::read).collect()
}

/// Records that match and were stored after the one with this [`Stored::seq`], in that order: at most `limit`, and [`ROWS_MAX`].
///
/// # Errors
/// The database's.
pub async fn after(store: &Store, search: &Search, seq: i64, limit: u32) -> Result<Vec<Stored>, StoreError> {
    let mut query = QueryBuilder::new("SELECT * FROM requests");
    search.looked_after(store, seq).await?.conditions(&mut query);
    query.push(" AND seq > ").push_bind(seq).push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit.min(ROWS_MAX)));
    query.build().fetch_all(store.readers()).await?.iter().map(requests::read).collect()
}

/// The [`Stored::seq`] of the newest record; 0 where there is none.
///
/// # Errors
/// The database's.
pub async fn newest(store: &Store) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM requests").fetch_one(store.readers()).await?)
}

/// How many records match.
///
/// # Errors
/// The database's.
pub async fn count(store: &Store, search: &Search) -> Result<u64, StoreError> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM requests");
    search.looked(store).await?.conditions(&mut query);
    let n: i64 = query.build_query_scalar().fetch_one(store.readers()).await?;
    Ok(n.unsigned_abs())
}

/// Requests of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970.
    pub minute: i64,
    pub successes: u64,
    pub errors: u64,
}

/// Requests by the minute of their start, since a time (unix milliseconds); minutes without any are left out.
///
/// # Errors
/// The database's.
pub async fn minutes(store: &Store, since_ms: i64) -> Result<Vec<Minute>, StoreError> {
    let rows = sqlx::query(
        "SELECT started_at / 60000 AS minute, sum(outcome = 'success') AS successes, sum(outcome = 'error') AS errors \
         FROM requests WHERE started_at >= ? GROUP BY minute ORDER BY minute",
    )
    .bind(since_ms)
    .fetch_all(store.readers())
    .await?;
    let read = |row: &SqliteRow| {
        let count = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(name)?.unsigned_abs());
        Ok(Minute { minute: row.try_get("minute")?, successes: count("successes")?, errors: count("errors")? })
    };
    rows.iter().map(read).collect()
}

/// What sums are made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Key,
    Model,
    Target,
    /// UTC.
    Day,
}

/// What one group used of one model at one account or node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// The key's id, the model, the account or node, or `YYYY-MM-DD`; empty where there was none.
    pub group: String,
    /// The key's name.
    pub name: Option<String>,
    /// The account or node.
    pub target: Option<String>,
    pub model_requested: Option<String>,
    pub model_served: Option<String>,
    /// Answered from memory: it used nothing again.
    pub is_remembered: bool,
    pub requests: u64,
    pub errors: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cached_tokens: u64,
}

/// What was used, by group, target and model.
///
/// # Errors
/// The database's.
pub async fn used(store: &Store, search: &Search, group: Group) -> Result<Vec<Used>, StoreError> {
    let column = match group {
        Group::Key => "coalesce(key_id, '')",
        Group::Model => "coalesce(model_served, model_requested, '')",
        Group::Target => "coalesce(target, '')",
        Group::Day => "date(started_at / 1000, 'unixepoch')",
    };
    let mut query = QueryBuilder::new(format!(
        "SELECT {column} AS grp, max(key_name) AS name, target, model_requested, model_served, coalesce(cache IN ('hit', 'replayed'), 0) AS remembered, \
         count(*) AS requests, sum(outcome = 'error') AS errors, coalesce(sum(prompt_tokens), 0) AS prompt, \
         coalesce(sum(completion_tokens), 0) AS completion, coalesce(sum(cached_tokens), 0) AS cached FROM requests"
    ));
    search.looked(store).await?.conditions(&mut query);
    query.push(" GROUP BY grp, target, model_requested, model_served, remembered ORDER BY grp");
    let rows = query.build().fetch_all(store.readers()).await?;
    let read = |row: &SqliteRow| {
        let count = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(name)?.unsigned_abs());
        Ok(Used {
            group: row.try_get("grp")?,
            name: row.try_get::<Option<String>, _>("name")?.filter(|_| group == Group::Key),
            target: row.try_get("target")?,
            model_requested: row.try_get("model_requested")?,
            model_served: row.try_get("model_served")?,
            is_remembered: row.try_get("remembered")?,
            requests: count("requests")?,
            errors: count("errors")?,
            prompt_tokens: count("prompt")?,
            completion_tokens: count("completion")?,
            cached_tokens: count("cached")?,
        })
    };
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Row;

    async fn store(rows: &[Row]) -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        requests::insert(&store, rows).await.unwrap();
        (home, store)
    }

    fn row(n: i64, model: &str, outcome: &'static str) -> Row {
        Row {
            id: format!("r{n}").into(),
            started_at_ms: n * 30_000,
            model_requested: Some(model.to_owned().into()),
            outcome: outcome.into(),
            prompt_tokens: Some(10),
            ..Row::default()
        }
    }

    #[tokio::test]
    async fn records_are_found_by_what_they_hold() {
        let (_home, store) = store(&[row(1, "50%_a", "success"), row(2, "50xya", "error"), row(3, "B", "cancelled")]).await;
        let ids = async |search: Search| {
            let found = page(&store, &search, From::Offset(0), 10).await.unwrap();
            assert_eq!(count(&store, &search).await.unwrap(), found.len() as u64);
            found.iter().map(|s| s.row.id.to_string()).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(ids(Search::default()).await, ["r3", "r2", "r1"]);
        assert_eq!(ids(Search { model: some("%_"), ..Search::default() }).await, ["r1"], "signs stand for themselves");
        assert_eq!(ids(Search { model: some("b"), ..Search::default() }).await, ["r3"]);
        assert_eq!(ids(Search { outcome: some("error"), ..Search::default() }).await, ["r2"]);
        assert_eq!(ids(Search { from_ms: Some(60_000), until_ms: Some(60_000), ..Search::default() }).await, ["r2"]);
        assert_eq!(ids(Search { text: some("R1"), ..Search::default() }).await, ["r1"]);
        assert_eq!(ids(Search { key_id: some("k"), ..Search::default() }).await, [""; 0]);
    }

    #[tokio::test]
    async fn pages_follow_each_other_though_records_start_together() {
        let mut rows: Vec<_> = (0..10).map(|n| row(n / 4, "m", "success")).collect();
        rows.iter_mut().enumerate().for_each(|(n, row)| row.id = format!("r{n}").into());
        let (_home, store) = store(&rows).await;
        let mut seen = Vec::new();
        let mut from = From::Offset(0);
        loop {
            let found = page(&store, &Search::default(), from, 3).await.unwrap();
            let Some(last) = found.last() else { break };
            from = From::After(last.row.started_at_ms, last.seq);
            seen.extend(found.iter().map(|s| s.row.id.to_string()));
        }
        assert_eq!(seen, (0..10).rev().map(|n| format!("r{n}")).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn minutes_and_groups_are_summed() {
        let (_home, store) = store(&[row(0, "a", "success"), row(1, "a", "error"), row(4, "b", "cancelled")]).await;
        let counts = minutes(&store, 0).await.unwrap();
        assert_eq!(counts, [Minute { minute: 0, successes: 1, errors: 1 }, Minute { minute: 2, successes: 0, errors: 0 }]);
        let sums = used(&store, &Search::default(), Group::Model).await.unwrap();
        assert_eq!(
            sums.iter().map(|u| (u.group.as_str(), u.requests, u.errors, u.prompt_tokens)).collect::<Vec<_>>(),
            [("a", 2, 1, 20), ("b", 1, 0, 10)]
        );
        assert_eq!(used(&store, &Search::default(), Group::Day).await.unwrap()[0].group, "1970-01-01");
    }
}
