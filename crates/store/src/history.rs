//! Questions about request records: pages of those that match, how many there are, counts by minute.
//!
//! What most questions ask for stands in the facet of a row. Sums tell in which hours there are such rows and how many, so that neither a page nor a
//! count reads the rows in between.

mod figures;

use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

pub use self::figures::{Cached, FIGURES_LOOK_BACK, Figures, Range};
use crate::{
    Store, StoreError, bodies,
    requests::{self, ROWS_MAX, Stored},
    sums::{DAY, HOUR_MS, Pieces},
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
    /// `success`, `error` or `cancelled`.
    pub outcome: Option<String>,
    pub http_status: Option<u16>,
    /// The id of the only key whose requests may be seen.
    pub key_id: Option<String>,
    /// Unix milliseconds, both ends included.
    pub from_ms: Option<i64>,
    pub until_ms: Option<i64>,
    pub client_ip: Option<String>,
    /// What it took, used and cost.
    pub figures: Figures,
    /// A text in the request's id, its names, its error, or in what is kept of what was said.
    pub text: Option<String>,
    /// The records ([`Stored::seq`]) in which the text was said, where that is known already: see [`Search::looked`].
    pub said: Option<Vec<i64>>,
    /// Only records with a greater [`Stored::seq`], where that is known already: see [`Search::looked`].
    pub after_seq: Option<i64>,
}

/// Records that a search for a text or an address looks through where it names no beginning: each has to be read.
pub const LOOK_BACK: u32 = if cfg!(test) { 20 } else { 50_000 };
/// Records whose texts are looked through at once.
const TEXTS_AT_A_TIME: u32 = 5000;

/// Records that are passed over one by one where nothing but a time is asked for; of more, whole hours are.
const OFFSET_MAX: u64 = if cfg!(test) { 5 } else { 1000 };

/// Where a page of records begins.
#[derive(Debug, Clone, Copy)]
pub enum From {
    /// After so many records.
    Offset(u64),
    /// After the record with this start (unix milliseconds) and [`Stored::seq`].
    After(i64, i64),
}

impl Search {
    /// Whether all that is asked for but the time stands in facets: sums tell where it is, and how often.
    fn is_of_facets(&self) -> bool {
        self.is_of_index() && !self.figures.is_any()
    }

    /// Whether all that is asked for stands in facets and in the index of times: no row has to be read to know whether it matches.
    fn is_of_index(&self) -> bool {
        self.client_ip.is_none() && self.text.is_none()
    }

    /// Whether anything is asked for that stands in facets.
    fn has_facets(&self) -> bool {
        let texts = [&self.model, &self.node_id, &self.target, &self.key, &self.key_id, &self.outcome];
        self.http_status.is_some() || texts.into_iter().any(Option::is_some)
    }

    /// The same search with its text looked for in what was said, so that several pages need that only once. Unless it names a beginning, only
    /// the newest [`LOOK_BACK`] records are looked through for a client's address, and the texts of as many; for figures
    /// alone, [`FIGURES_LOOK_BACK`].
    ///
    /// # Errors
    /// The database's; texts that can't be read.
    pub async fn looked(&self, store: &Store) -> Result<Self, StoreError> {
        let mut looked = self.looked_after(store, 0).await?;
        if self.from_ms.is_none() && self.figures.is_any() && self.is_of_index() {
            looked.from_ms = figures::look_back_ms(store).await?;
        }
        Ok(looked)
    }

    /// What matches piece by piece, where figures are asked for and all that is asked for stands in the index of times; with the search looked up.
    async fn pieces(&self, store: &Store) -> Result<Option<(Self, Vec<(Time, u64)>)>, StoreError> {
        if !(self.is_of_index() && self.figures.is_any()) {
            return Ok(None);
        }
        let looked = self.looked(store).await?;
        let counts = figures::counts(store, &looked).await?;
        Ok(Some((looked, counts)))
    }

    /// Of how many of the newest records [`Search::looked`] looks at no more, if it does.
    pub fn look_back(&self) -> Option<u32> {
        match (self.from_ms, self.is_of_index(), self.figures.is_any()) {
            (None, false, _) => Some(LOOK_BACK),
            (None, true, true) => Some(FIGURES_LOOK_BACK),
            _ => None,
        }
    }

    async fn looked_after(&self, store: &Store, mut after_seq: i64) -> Result<Self, StoreError> {
        let mut looked = self.clone();
        if self.from_ms.is_none() && (self.client_ip.is_some() || self.text.is_some()) {
            after_seq = after_seq.max(newest(store).await? - i64::from(LOOK_BACK));
        }
        if self.client_ip.is_some() && self.after_seq.is_none() {
            looked.after_seq = Some(after_seq);
        }
        let (Some(text), None) = (&self.text, &self.said) else { return Ok(looked) };
        let mut said = Vec::new();
        loop {
            let mut query = QueryBuilder::new("SELECT seq, bodies_segment, bodies_offset FROM requests");
            self.time().condition(&mut query);
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

    /// Everything but the time.
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        self.conditions_but_text(query);
        let Some(text) = &self.text else { return };
        query.push(" AND (");
        let pattern = pattern(text);
        contained(query, &["id", "path", "error_code"], &pattern);
        query.push(" OR facet IN (SELECT id FROM facets WHERE ");
        contained(query, &["model_requested", "model_served", "target", "key_name"], &pattern);
        query.push(")");
        if let Some(said) = &self.said {
            let numbers = serde_json::to_string(said).unwrap_or_default();
            query.push(" OR seq IN (SELECT value FROM json_each(").push_bind(numbers).push("))");
        }
        query.push(")");
    }

    fn conditions_but_text(&self, query: &mut QueryBuilder<Sqlite>) {
        self.facets(query);
        self.figures.conditions(query);
        if let Some(client_ip) = &self.client_ip {
            query.push(" AND client_ip = ").push_bind(client_ip.clone());
        }
        if let Some(after_seq) = self.after_seq {
            query.push(" AND seq > ").push_bind(after_seq);
        }
    }

    fn facets(&self, query: &mut QueryBuilder<Sqlite>) {
        let equal = [("node_id", &self.node_id), ("target", &self.target), ("key_id", &self.key_id), ("outcome", &self.outcome)];
        if !self.has_facets() {
            return;
        }
        query.push(" AND facet IN (SELECT id FROM facets WHERE 1");
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
        if let Some(model) = &self.model {
            query.push(" AND (");
            contained(query, &["model_requested", "model_served"], &pattern(model));
            query.push(")");
        }
        query.push(")");
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

/// A time, unix milliseconds, both ends included.
#[derive(Debug, Clone, Copy)]
struct Time {
    from_ms: i64,
    until_ms: i64,
    /// Records are found by their numbers, which are few, and not by the index of times.
    is_by_number: bool,
}

impl Time {
    fn condition(self, query: &mut QueryBuilder<Sqlite>) {
        let column = if self.is_by_number { "+started_at" } else { "started_at" };
        query.push(format_args!(" WHERE {column} >= ")).push_bind(self.from_ms);
        query.push(format_args!(" AND {column} <= ")).push_bind(self.until_ms);
    }
}

impl Search {
    fn time(&self) -> Time {
        Time {
            from_ms: self.from_ms.unwrap_or(i64::MIN),
            until_ms: self.until_ms.unwrap_or(i64::MAX),
            is_by_number: self.after_seq.is_some(),
        }
    }
}

/// Records that match, newest first: at most `limit`, and [`ROWS_MAX`].
///
/// # Errors
/// The database's.
pub async fn page(store: &Store, search: &Search, from: From, limit: u32) -> Result<Vec<Stored>, StoreError> {
    let limit = limit.min(ROWS_MAX) as usize;
    if let From::Offset(offset) = from
        && let Some((looked, counts)) = search.pieces(store).await?
    {
        return figures::page(store, &looked, counts, offset, limit).await;
    }
    let mut time = search.time();
    if let From::After(started_at_ms, _) = from {
        time.until_ms = time.until_ms.min(started_at_ms);
    }
    let is_far = matches!(from, From::Offset(rows) if rows > OFFSET_MAX);
    if !search.is_of_facets() || !(search.has_facets() || is_far) {
        let looked = search.looked(store).await?;
        let time = Time { from_ms: looked.time().from_ms, is_by_number: looked.after_seq.is_some(), ..time };
        return rows(store, &looked, time, from, limit).await;
    }
    let kept_from_ms = requests::kept_from_ms(store).await?;
    let mut page = Gathered { store, search, from, limit, found: Vec::new() };
    let counted = Time { from_ms: time.from_ms.max(kept_from_ms), ..time };
    for day in hits(store, search, DAY, counted).await? {
        let of_day =
            Time { from_ms: counted.from_ms.max(day.start_ms), until_ms: counted.until_ms.min(day.start_ms + DAY * HOUR_MS - 1), ..time };
        for hour in hits(store, search, 1, of_day).await? {
            let end_ms = hour.start_ms + HOUR_MS - 1;
            let is_whole = hour.start_ms >= counted.from_ms && end_ms <= counted.until_ms;
            let of_hour = Time { from_ms: counted.from_ms.max(hour.start_ms), until_ms: counted.until_ms.min(end_ms), ..time };
            if page.is_full_after(of_hour, is_whole.then_some(hour.requests)).await? {
                return Ok(page.found);
            }
        }
    }
    // Of what is older some was removed: no sum tells what is left of it.
    let older = Time { until_ms: time.until_ms.min(kept_from_ms.saturating_sub(1)), ..time };
    if older.from_ms <= older.until_ms {
        page.is_full_after(older, None).await?;
    }
    Ok(page.found)
}

/// A page of records after so many others, and how many match.
///
/// # Errors
/// The database's.
pub async fn page_and_count(store: &Store, search: &Search, offset: u64, limit: u32) -> Result<(Vec<Stored>, u64), StoreError> {
    let Some((looked, counts)) = search.pieces(store).await? else {
        let total = count(store, search).await?;
        return Ok((page(store, search, From::Offset(offset), limit).await?, total));
    };
    let total = counts.iter().map(|(_, matching)| matching).sum();
    Ok((figures::page(store, &looked, counts, offset, limit.min(ROWS_MAX) as usize).await?, total))
}

/// A page in the making.
struct Gathered<'a> {
    store: &'a Store,
    search: &'a Search,
    from: From,
    limit: usize,
    found: Vec<Stored>,
}

impl Gathered<'_> {
    /// Takes what there is of a time in which so many match, if that is known. True: the page is full.
    async fn is_full_after(&mut self, time: Time, matching: Option<u64>) -> Result<bool, StoreError> {
        if let From::Offset(skipped) = &mut self.from
            && *skipped > 0
        {
            let matching = match matching {
                Some(matching) => matching,
                None => counted(self.store, self.search, time).await?,
            };
            if matching <= *skipped {
                *skipped -= matching;
                return Ok(false);
            }
        }
        self.found.extend(rows(self.store, self.search, time, self.from, self.limit - self.found.len()).await?);
        if let From::Offset(skipped) = &mut self.from {
            *skipped = 0;
        }
        Ok(self.found.len() >= self.limit)
    }
}

/// An hour or a day with records that match.
struct Hit {
    start_ms: i64,
    requests: u64,
}

/// Those that touch a time, the latest first.
async fn hits(store: &Store, search: &Search, width: i64, time: Time) -> Result<Vec<Hit>, StoreError> {
    let first = time.from_ms.div_euclid(width * HOUR_MS) * width;
    let mut query = QueryBuilder::new("SELECT start, sum(requests) AS requests FROM request_sums_now WHERE width = ");
    query.push_bind(width).push(" AND start >= ").push_bind(first).push(" AND start <= ").push_bind(time.until_ms.div_euclid(HOUR_MS));
    search.facets(&mut query);
    query.push(" GROUP BY start ORDER BY start DESC");
    let rows: Vec<(i64, i64)> = query.build_query_as().fetch_all(store.readers()).await?;
    Ok(rows.into_iter().map(|(start, requests)| Hit { start_ms: start * HOUR_MS, requests: requests.unsigned_abs() }).collect())
}

async fn rows(store: &Store, search: &Search, time: Time, from: From, limit: usize) -> Result<Vec<Stored>, StoreError> {
    const NEWEST_FIRST: &str = " ORDER BY started_at DESC, seq DESC";
    // Found in the index alone: of the rows that are passed over none is read.
    let mut query = QueryBuilder::new("SELECT * FROM records WHERE seq IN (SELECT seq FROM requests");
    time.condition(&mut query);
    search.conditions(&mut query);
    if let From::After(started_at_ms, seq) = from {
        query.push(" AND (started_at, seq) < (").push_bind(started_at_ms).push(", ").push_bind(seq).push(")");
    }
    query.push(NEWEST_FIRST).push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    if let From::Offset(rows) = from {
        query.push(" OFFSET ").push_bind(i64::try_from(rows).unwrap_or(i64::MAX));
    }
    query.push(")").push(NEWEST_FIRST);
    query.build().fetch_all(store.readers()).await?.iter().map(requests::read).collect()
}

/// Records that match and were stored after the one with this [`Stored::seq`], in that order: at most `limit`, and [`ROWS_MAX`].
///
/// # Errors
/// The database's.
pub async fn after(store: &Store, search: &Search, seq: i64, limit: u32) -> Result<Vec<Stored>, StoreError> {
    let Time { from_ms, until_ms, .. } = search.time();
    let mut query = QueryBuilder::new("SELECT * FROM records WHERE seq > ");
    // By their numbers, which are few: not by time.
    query.push_bind(seq).push(" AND +started_at >= ").push_bind(from_ms).push(" AND +started_at <= ").push_bind(until_ms);
    search.looked_after(store, seq).await?.conditions(&mut query);
    query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit.min(ROWS_MAX)));
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
    if let Some((_, counts)) = search.pieces(store).await? {
        return Ok(counts.into_iter().map(|(_, matching)| matching).sum());
    }
    let time = search.time();
    if !search.is_of_facets() || !search.has_facets() {
        return if (time.from_ms, time.until_ms, &search.client_ip, &search.text) == (i64::MIN, i64::MAX, &None, &None) {
            requests::count(store).await
        } else {
            let looked = search.looked(store).await?;
            counted(store, &looked, Time { is_by_number: looked.after_seq.is_some(), ..time }).await
        };
    }
    let kept_from_ms = requests::kept_from_ms(store).await?;
    let mut total = 0;
    if time.from_ms < kept_from_ms {
        total += counted(store, search, Time { until_ms: time.until_ms.min(kept_from_ms.saturating_sub(1)), ..time }).await?;
    }
    let from_ms = time.from_ms.max(kept_from_ms);
    if from_ms > time.until_ms {
        return Ok(total);
    }
    let pieces = Pieces::of(Some(from_ms), search.until_ms);
    for (width, start, end) in pieces.sums {
        let mut query = QueryBuilder::new("SELECT coalesce(sum(requests), 0) FROM request_sums_now WHERE width = ");
        query.push_bind(width).push(" AND start >= ").push_bind(start).push(" AND start < ").push_bind(end);
        search.facets(&mut query);
        let requests: i64 = query.build_query_scalar().fetch_one(store.readers()).await?;
        total += requests.unsigned_abs();
    }
    for (from_ms, end_ms) in pieces.rows {
        total += counted(store, search, Time { from_ms, until_ms: end_ms - 1, ..time }).await?;
    }
    Ok(total)
}

/// The same, row by row.
async fn counted(store: &Store, search: &Search, time: Time) -> Result<u64, StoreError> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM requests");
    time.condition(&mut query);
    search.conditions(&mut query);
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

/// How long counts by minute are kept, in minutes: the pages show an hour.
pub(crate) const MINUTES_KEPT: i64 = 24 * 60;

/// Requests by the minute of their start, since a time (unix milliseconds, a day ago at most); minutes without any are left out.
///
/// # Errors
/// The database's.
pub async fn minutes(store: &Store, since_ms: i64) -> Result<Vec<Minute>, StoreError> {
    let query = sqlx::query("SELECT minute, successes, errors FROM request_minutes WHERE minute >= ? ORDER BY minute");
    let rows = query.bind(since_ms.div_euclid(60_000)).fetch_all(store.readers()).await?;
    let read = |row: &SqliteRow| {
        let count = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(name)?.unsigned_abs());
        Ok(Minute { minute: row.try_get("minute")?, successes: count("successes")?, errors: count("errors")? })
    };
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::requests::Row;

    pub(super) async fn store(rows: &[Row]) -> (tempfile::TempDir, Store) {
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
        assert_eq!(ids(Search { key: some("k"), ..Search::default() }).await, [""; 0]);
    }

    #[tokio::test]
    async fn an_address_without_a_beginning_is_looked_for_in_the_newest_records() {
        let rows: Vec<_> = (1..=50)
            .map(|n| Row { client_ip: Some(["192.0.2.1", "192.0.2.2"][n as usize % 2].into()), ..row(n, "m", "success") })
            .collect();
        let (_home, store) = store(&rows).await;
        let one = Search { client_ip: Some("192.0.2.1".to_owned()), ..Search::default() };
        let of = async |search: &Search| {
            let found = page(&store, search, From::Offset(0), 100).await.unwrap();
            assert_eq!(count(&store, search).await.unwrap(), found.len() as u64);
            found.iter().map(|stored| stored.seq).collect::<Vec<_>>()
        };
        assert_eq!(of(&one).await, (31..=50).rev().filter(|n| n % 2 == 0).collect::<Vec<_>>());
        let looked = one.looked(&store).await.unwrap();
        requests::insert(&store, &[Row { client_ip: Some("192.0.2.1".into()), ..row(51, "m", "success") }]).await.unwrap();
        assert_eq!(of(&looked).await.len(), 11, "the next pages begin where the first did");
        assert_eq!(of(&Search { from_ms: Some(0), ..one.clone() }).await.len(), 26, "a beginning reaches back to it");
        let new = after(&store, &one, 48, 100).await.unwrap();
        assert_eq!(new.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [50, 51]);
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
    async fn requests_are_counted_by_minute() {
        let (_home, store) = store(&[row(0, "a", "success"), row(1, "a", "error"), row(4, "b", "cancelled")]).await;
        let counts = minutes(&store, 0).await.unwrap();
        assert_eq!(counts, [Minute { minute: 0, successes: 1, errors: 1 }, Minute { minute: 2, successes: 0, errors: 0 }]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_sums_find_is_what_rows_say(
            times in proptest::collection::vec((0..80 * HOUR_MS, 0..3_usize, 0..3_usize), 1..120),
            asked in proptest::collection::vec((0..4_usize, 0..4_usize, proptest::option::of(0..80 * HOUR_MS), 0..80 * HOUR_MS, 0..60_u64, 1..30_u32), 1..5),
            removed_ms in 0..60 * HOUR_MS,
            late in proptest::collection::vec(0..80 * HOUR_MS, 0..5),
            figures in (proptest::option::of(0..4_usize), proptest::option::of(0..100_i64), proptest::option::of(0..100_i64), proptest::option::of(0..10_i64)),
        ) {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let all = |times: &[(i64, usize, usize)]| -> Vec<Row> {
                    times.iter().enumerate().map(|(n, (at, model, how))| Row {
                        id: format!("r{n}-{at}").into(),
                        started_at_ms: *at,
                        model_requested: Some(["alpha", "beta", "alphabet"][*model].into()),
                        outcome: ["success", "error", "cancelled"][*how].into(),
                        duration_ms: at % 101,
                        prompt_tokens: (at % 3 > 0).then_some(at.unsigned_abs() % 50),
                        completion_tokens: (at % 5 > 0).then_some(at.unsigned_abs() % 60),
                        cost_nano: (at % 7 > 0).then_some(at % 11),
                        cache: [None, Some("hit".into()), Some("miss".into()), Some("replayed".into())][*at as usize % 4].clone(),
                        ..Row::default()
                    }).collect()
                };
                let (_home, store) = store(&all(&times)).await;
                requests::purge(&store, removed_ms, 7).await.unwrap();
                let late: Vec<_> = late.into_iter().map(|at| (at, 0, 0)).collect();
                requests::insert(&store, &all(&late)).await.unwrap();
                for (model, how, from_ms, length, offset, limit) in asked {
                    let search = Search {
                        model: ["alpha", "ETA", "none"].get(model).map(|&name| name.to_owned()),
                        outcome: ["success", "error", "cancelled"].get(how).map(|&name| name.to_owned()),
                        from_ms,
                        until_ms: from_ms.map(|from| from + length),
                        figures: Figures {
                            cached: figures.0.map(|n| Cached::NAMES[n].1),
                            duration_ms: Range { min: figures.1, max: None },
                            tokens: Range { min: None, max: figures.2 },
                            cost_nano: Range { min: figures.3, max: figures.3.map(|least| least + 4) },
                            ..Figures::default()
                        },
                        ..Search::default()
                    };
                    let search = search.looked(&store).await.unwrap();
                    let every = rows(&store, &search, search.time(), From::Offset(0), 1000).await.unwrap();
                    assert_eq!(count(&store, &search).await.unwrap(), every.len() as u64, "{search:?}");
                    let seqs = |rows: &[Stored]| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
                    let wanted: Vec<_> = seqs(&every).into_iter().skip(offset as usize).take(limit as usize).collect();
                    assert_eq!(seqs(&page(&store, &search, From::Offset(offset), limit).await.unwrap()), wanted, "{search:?}");
                    let (both, total) = page_and_count(&store, &search, offset, limit).await.unwrap();
                    assert_eq!((seqs(&both), total), (wanted, every.len() as u64), "{search:?}");
                    let Some(last) = every.get(offset as usize) else { continue };
                    let next = page(&store, &search, From::After(last.row.started_at_ms, last.seq), limit).await.unwrap();
                    let wanted: Vec<_> = seqs(&every).into_iter().skip(offset as usize + 1).take(limit as usize).collect();
                    assert_eq!(seqs(&next), wanted, "{search:?}");
                }
            });
        }
    }
}
