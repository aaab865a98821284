//! What was used and what it cost: from the sums that are kept beside the rows, and from rows only where a time begins or ends within an hour. Sums
//! stay when rows are removed.

use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    sums::{self, HOUR_MS, OF_A_ROW, Pieces},
};

/// By what sums are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Key,
    Model,
    Target,
    /// UTC.
    Day,
}

/// Whose requests, and when. What is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// The id of the only key whose requests are meant; empty: those without one.
    pub key_id: Option<String>,
    /// Unix milliseconds of the start, both ends included.
    pub from_ms: Option<i64>,
    pub until_ms: Option<i64>,
}

/// What one group used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// The key's id, the model, the account or node, or `YYYY-MM-DD`; empty where there was none.
    pub group: String,
    /// The key's name.
    pub name: Option<String>,
    pub requests: u64,
    pub errors: u64,
    /// Tokens without those of answers from memory, which used nothing again.
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cached_tokens: u64,
    /// Billionths of a dollar.
    pub cost_nano: u64,
    /// Requests that were not answered from memory and whose cost is known.
    pub priced: u64,
    /// Requests that used something and whose cost is not known.
    pub unpriced: u64,
}

/// What was used, by group in the order of its name.
///
/// # Errors
/// The database's.
pub async fn used(store: &Store, span: &Span, group: Group) -> Result<Vec<Used>, StoreError> {
    let column = match group {
        Group::Key => "key_id",
        Group::Model => "CASE WHEN model_served <> '' THEN model_served ELSE model_requested END",
        Group::Target => "target",
        Group::Day => "date(hour * 3600, 'unixepoch')",
    };
    let mut query = QueryBuilder::new("WITH piece AS (");
    pieces(&mut query, &Pieces::of(span.from_ms, span.until_ms));
    query.push(format_args!(") SELECT {column} AS grp, max(key_name) AS name, sum(requests) AS requests, "));
    query.push("sum(CASE WHEN outcome = 'error' THEN requests ELSE 0 END) AS errors");
    for column in &sums::COLUMNS[1..] {
        query.push(format_args!(", sum(CASE WHEN remembered THEN 0 ELSE {column} END) AS {column}"));
    }
    query.push(" FROM piece JOIN facets ON facets.id = piece.facet");
    if let Some(key_id) = &span.key_id {
        query.push(" WHERE key_id = ").push_bind(key_id.clone());
    }
    query.push(" GROUP BY grp ORDER BY grp");
    let rows = query.build().fetch_all(store.readers()).await?;
    rows.iter().map(|row| read(row, group)).collect()
}

/// The sums and rows of a time, one below the other: facet, hour, and the columns of sums.
fn pieces(query: &mut QueryBuilder<Sqlite>, pieces: &Pieces) {
    let columns = sums::COLUMNS.join(", ");
    let mut before = "";
    for (width, start, end) in &pieces.sums {
        query
            .push(format_args!("{before}SELECT facet, start AS hour, {columns} FROM request_sums_now WHERE width = {width} AND start >= "));
        query.push_bind(*start).push(" AND start < ").push_bind(*end);
        before = " UNION ALL ";
    }
    for (from_ms, until_ms) in &pieces.rows {
        query.push(format_args!("{before}SELECT facet, started_at / {HOUR_MS} AS hour, {OF_A_ROW} FROM requests WHERE started_at >= "));
        query.push_bind(*from_ms).push(" AND started_at < ").push_bind(*until_ms);
        before = " UNION ALL ";
    }
}

fn read(row: &SqliteRow, group: Group) -> Result<Used, StoreError> {
    let count = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(name)?.unsigned_abs());
    Ok(Used {
        group: row.try_get("grp")?,
        name: row.try_get::<Option<String>, _>("name")?.filter(|name| group == Group::Key && !name.is_empty()),
        requests: count("requests")?,
        errors: count("errors")?,
        prompt_tokens: count("prompt_tokens")?,
        completion_tokens: count("completion_tokens")?,
        cached_tokens: count("cached_tokens")?,
        cost_nano: count("cost_nano")?,
        priced: count("priced")?,
        unpriced: count("unpriced")?,
    })
}

/// What a key's requests cost that started at a time or later, in billionths of a dollar; where another time is given, only of those that were over
/// after it. Unix milliseconds.
///
/// # Errors
/// The database's.
pub async fn spent(store: &Store, key_id: &str, from_ms: i64, ended_after_ms: Option<i64>) -> Result<u64, StoreError> {
    let Some(ended_after_ms) = ended_after_ms else {
        let span = Span { key_id: Some(key_id.to_owned()), from_ms: Some(from_ms), until_ms: None };
        return Ok(used(store, &span, Group::Key).await?.iter().map(|used| used.cost_nano).sum());
    };
    let query = sqlx::query_scalar(
        "SELECT coalesce(sum(cost_nano), 0) FROM requests WHERE facet IN (SELECT id FROM facets WHERE key_id = ?) AND started_at >= ? \
         AND started_at + duration_ms > ?",
    );
    let nano: i64 = query.bind(key_id).bind(from_ms).bind(ended_after_ms).fetch_one(store.readers()).await?;
    Ok(nano.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::requests::{self, Row};

    /// The same, row by row.
    fn straight(rows: &[Row], span: &Span, group: Group) -> Vec<Used> {
        let mut sums: BTreeMap<String, Used> = BTreeMap::new();
        for row in rows {
            let text = |text: &Option<crate::Text>| text.as_deref().unwrap_or_default().to_owned();
            let is_meant = span.key_id.as_ref().is_none_or(|id| *id == text(&row.key_id))
                && span.from_ms.is_none_or(|from| row.started_at_ms >= from)
                && span.until_ms.is_none_or(|until| row.started_at_ms <= until);
            if !is_meant {
                continue;
            }
            let name = match group {
                Group::Key => text(&row.key_id),
                Group::Model => text(if row.model_served.is_some() { &row.model_served } else { &row.model_requested }),
                Group::Target => text(&row.target),
                Group::Day => format!("1970-01-{:02}", row.started_at_ms / (24 * HOUR_MS) + 1),
            };
            let used = sums.entry(name.clone()).or_insert_with(|| Used { group: name, ..Used::default() });
            used.name = used.name.take().or_else(|| row.key_name.as_ref().map(ToString::to_string)).filter(|_| group == Group::Key);
            used.requests += 1;
            used.errors += u64::from(&*row.outcome == "error");
            if row.is_remembered() {
                continue;
            }
            let (prompt, completion) = (row.prompt_tokens.unwrap_or(0), row.completion_tokens.unwrap_or(0));
            used.prompt_tokens += prompt;
            used.completion_tokens += completion;
            used.cached_tokens += row.cached_tokens.unwrap_or(0);
            used.cost_nano += row.cost_nano.unwrap_or(0).unsigned_abs();
            used.priced += u64::from(row.cost_nano.is_some());
            used.unpriced += u64::from(row.cost_nano.is_none() && prompt + completion > 0);
        }
        sums.into_values().collect()
    }

    prop_compose! {
        fn row()(
            at in 0..5 * 24 * HOUR_MS, key in 0..3_u8, model in 0..3_u8, is_served in any::<bool>(), target in 0..3_u8, how in 0..3_usize,
            tokens in proptest::option::of((0..50_u64, 0..50_u64)), cost in proptest::option::of(0..5000_i64), cache in 0..3_usize,
        ) -> Row {
            let name = |kind: &str, n: u8| (n > 0).then(|| format!("{kind}{n}").into());
            Row {
                id: "r".into(),
                started_at_ms: at,
                key_id: name("key", key),
                key_name: name("name", key),
                model_requested: name("m", model),
                model_served: name("m", model).filter(|_| is_served),
                target: name("t", target),
                outcome: ["success", "error", "cancelled"][how].into(),
                prompt_tokens: tokens.map(|(prompt, _)| prompt),
                completion_tokens: tokens.map(|(_, completion)| completion),
                cached_tokens: tokens.map(|(prompt, _)| prompt / 2),
                cost_nano: cost,
                cache: [None, Some("miss".into()), Some("hit".into())][cache].clone(),
                ..Row::default()
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn sums_are_those_of_the_rows(
            rows in proptest::collection::vec(row(), 1..150),
            spans in proptest::collection::vec((proptest::option::of(0..3_u8), proptest::option::of(0..5 * 24 * HOUR_MS), 0..6 * 24 * HOUR_MS), 1..4),
            keeps_rows in any::<bool>(),
        ) {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let home = tempfile::tempdir().unwrap();
                let store = Store::open("", home.path()).await.unwrap();
                for batch in rows.chunks(40) {
                    requests::insert(&store, batch).await.unwrap();
                }
                if !keeps_rows {
                    requests::purge(&store, i64::MAX, 1000).await.unwrap();
                }
                for (key, from_ms, length) in spans {
                    let mut span = Span {
                        key_id: key.map(|n| if n == 0 { String::new() } else { format!("key{n}") }),
                        from_ms,
                        until_ms: from_ms.map(|from| from + length),
                    };
                    if !keeps_rows {
                        // What is left when rows are gone is whole hours.
                        span.from_ms = span.from_ms.map(|ms| ms / HOUR_MS * HOUR_MS);
                        span.until_ms = span.until_ms.map(|ms| ms / HOUR_MS * HOUR_MS + HOUR_MS - 1);
                    }
                    for group in [Group::Key, Group::Model, Group::Target, Group::Day] {
                        assert_eq!(used(&store, &span, group).await.unwrap(), straight(&rows, &span, group), "{span:?} {group:?}");
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn what_a_key_spent_is_of_requests_that_ended_later() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        let row = |at, key: &'static str, cost| Row {
            started_at_ms: at,
            duration_ms: 10,
            key_id: Some(key.into()),
            cost_nano: Some(cost),
            ..Row::default()
        };
        requests::insert(&store, &[row(1, "k", 1), row(2, "k", 2), row(3, "other", 4), row(4, "k", 8)]).await.unwrap();
        assert_eq!(spent(&store, "k", 2, None).await.unwrap(), 10);
        assert_eq!(spent(&store, "k", 0, Some(12)).await.unwrap(), 8);
    }
}
