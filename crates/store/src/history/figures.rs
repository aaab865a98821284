//! What a request took, used and cost, as something to look for: no sum tells how many are like that, so that they are counted one by one. All of it
//! stands in the index of times, and a time is counted in two halves at once.

use sqlx::{QueryBuilder, Sqlite};

use super::{DAY, From, Gathered, HOUR_MS, Search, Stored, Time, counted, hits};
use crate::{Store, StoreError, requests};

/// Records that are looked through where no beginning is named.
pub const FIGURES_LOOK_BACK: u32 = if cfg!(test) { 30 } else { 1_000_000 };

/// Records of a day that are counted at once; those of a busier one by the hour.
const PIECE_ROWS: u64 = if cfg!(test) { 6 } else { 50_000 };

/// The least and the most that a figure may be, both included. A request without the figure lies in no range with an end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

impl Range {
    fn is_any(self) -> bool {
        self.min.is_some() || self.max.is_some()
    }
}

/// Whether a request was answered from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    Hit,
    Miss,
    Replayed,
    /// Memory was not asked.
    Off,
}

impl Cached {
    /// All of them by their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("hit", Self::Hit), ("miss", Self::Miss), ("replayed", Self::Replayed), ("off", Self::Off)];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, cached)| *cached)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, cached)| *cached == self).map_or("", |(name, _)| name)
    }
}

/// Which figures are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub cached: Option<Cached>,
    /// Until the first byte of the answer.
    pub first_byte_ms: Range,
    pub duration_ms: Range,
    /// Of question and answer together.
    pub tokens: Range,
    /// Billionths of a dollar.
    pub cost_nano: Range,
}

impl Figures {
    pub(super) fn is_any(&self) -> bool {
        self.cached.is_some() || [self.first_byte_ms, self.duration_ms, self.tokens, self.cost_nano].into_iter().any(Range::is_any)
    }

    pub(super) fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        let ranges = [
            ("duration_ms", self.duration_ms),
            ("first_byte_ms", self.first_byte_ms),
            // The sum, or what there is of it.
            ("coalesce(prompt_tokens + completion_tokens, prompt_tokens, completion_tokens)", self.tokens),
            ("cost_nano", self.cost_nano),
        ];
        for (figure, Range { min, max }) in ranges.into_iter().filter(|(_, range)| range.is_any()) {
            query.push(format_args!(" AND {figure} BETWEEN ")).push_bind(min.unwrap_or(i64::MIN));
            query.push(" AND ").push_bind(max.unwrap_or(i64::MAX));
        }
        match self.cached {
            None => {}
            Some(Cached::Off) => {
                query.push(" AND cache IS NULL");
            }
            Some(cached) => {
                query.push(" AND cache = ").push_bind(cached.name());
            }
        }
    }
}

/// Where the newest [`FIGURES_LOOK_BACK`] records begin (unix milliseconds); `None` where there are no more than that.
pub(super) async fn look_back_ms(store: &Store) -> Result<Option<i64>, StoreError> {
    if super::newest(store).await? <= i64::from(FIGURES_LOOK_BACK) {
        return Ok(None);
    }
    let query = sqlx::query_scalar("SELECT started_at FROM requests ORDER BY started_at DESC LIMIT 1 OFFSET ?");
    Ok(query.bind(FIGURES_LOOK_BACK - 1).fetch_optional(store.readers()).await?)
}

/// Times that hold all records that match, each with how many, the latest first.
pub(super) async fn counts(store: &Store, search: &Search) -> Result<Vec<(Time, u64)>, StoreError> {
    let times = times(store, search).await?;
    let half = async |first: usize| {
        let mut counts = Vec::new();
        for time in times.iter().skip(first).step_by(2) {
            counts.push(counted(store, search, *time).await?);
        }
        Ok::<_, StoreError>(counts)
    };
    let (even, odd) = tokio::try_join!(half(0), half(1))?;
    let mut halves = [even.into_iter(), odd.into_iter()];
    Ok(times.iter().enumerate().map(|(n, time)| (*time, halves[n % 2].next().unwrap_or(0))).collect())
}

/// Times with records for which everything but the figures matches, the latest first.
async fn times(store: &Store, search: &Search) -> Result<Vec<Time>, StoreError> {
    let time = search.time();
    let kept_from_ms = requests::kept_from_ms(store).await?;
    let summed = Time { from_ms: time.from_ms.max(kept_from_ms), ..time };
    let mut times = Vec::new();
    for day in hits(store, search, DAY, summed).await? {
        let hours = if day.requests > PIECE_ROWS { DAY } else { 1 };
        let length_ms = DAY / hours * HOUR_MS;
        times.extend((0..hours).rev().map(|n| {
            let start_ms = day.start_ms + n * length_ms;
            Time { from_ms: summed.from_ms.max(start_ms), until_ms: summed.until_ms.min(start_ms + length_ms - 1), ..time }
        }));
    }
    // Of what is older some was removed: no sum tells what is left of it.
    times.push(Time { until_ms: time.until_ms.min(kept_from_ms.saturating_sub(1)), ..time });
    times.retain(|time| time.from_ms <= time.until_ms);
    Ok(times)
}

/// Records of these times after so many others.
pub(super) async fn page(
    store: &Store,
    search: &Search,
    counts: Vec<(Time, u64)>,
    offset: u64,
    limit: usize,
) -> Result<Vec<Stored>, StoreError> {
    let mut page = Gathered { store, search, from: From::Offset(offset), limit, found: Vec::new() };
    for (time, matching) in counts.into_iter().filter(|(_, matching)| *matching > 0) {
        if page.is_full_after(time, Some(matching)).await? {
            break;
        }
    }
    Ok(page.found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{self, tests::store},
        requests::Row,
    };

    #[tokio::test]
    async fn records_are_found_by_what_they_took_used_and_cost() {
        let row = |n: i64, cache: Option<&'static str>| Row {
            id: format!("r{n}").into(),
            started_at_ms: n,
            duration_ms: n * 100,
            first_byte_ms: (n > 1).then_some(n * 10),
            prompt_tokens: (n > 1).then_some(n.unsigned_abs()),
            completion_tokens: (n > 2).then_some(1),
            cost_nano: (n > 1).then_some(n * 1000),
            cache: cache.map(Into::into),
            ..Row::default()
        };
        let (_home, store) = store(&[row(1, None), row(2, Some("hit")), row(3, Some("miss")), row(4, Some("replayed"))]).await;
        let of = async |figures: Figures| {
            let search = Search { figures, ..Search::default() };
            let (found, total) = history::page_and_count(&store, &search, 0, 10).await.unwrap();
            assert_eq!((history::count(&store, &search).await.unwrap(), total), (found.len() as u64, found.len() as u64));
            found.iter().map(|stored| stored.row.id.to_string()).collect::<Vec<_>>()
        };
        let range = |min: Option<i64>, max: Option<i64>| Range { min, max };
        let none = Figures::default();
        assert_eq!(of(Figures { duration_ms: range(Some(200), Some(300)), ..none }).await, ["r3", "r2"]);
        assert_eq!(
            of(Figures { first_byte_ms: range(None, Some(1000)), ..none }).await,
            ["r4", "r3", "r2"],
            "without a figure in no range"
        );
        assert_eq!(of(Figures { tokens: range(Some(4), None), ..none }).await, ["r4", "r3"], "both sides together");
        assert_eq!(of(Figures { tokens: range(None, Some(2)), ..none }).await, ["r2"], "one side alone counts");
        assert_eq!(of(Figures { cost_nano: range(Some(3000), None), ..none }).await, ["r4", "r3"]);
        assert_eq!(of(Figures { duration_ms: range(Some(401), None), ..none }).await, [""; 0]);
        for (name, id) in [("off", "r1"), ("hit", "r2"), ("miss", "r3"), ("replayed", "r4")] {
            assert_eq!(of(Figures { cached: Cached::named(name), ..none }).await, [id]);
        }
    }

    #[tokio::test]
    async fn figures_without_a_beginning_are_looked_for_in_the_newest_records() {
        let row = |n: i64| Row { id: format!("r{n}").into(), started_at_ms: n, duration_ms: n % 2, ..Row::default() };
        let (_home, store) = store(&(1..=50).map(row).collect::<Vec<_>>()).await;
        let figures = Figures { duration_ms: Range { min: Some(1), max: None }, ..Figures::default() };
        let odd = Search { figures, ..Search::default() };
        let of = async |search: &Search| {
            let (found, total) = history::page_and_count(&store, search, 2, 100).await.unwrap();
            assert_eq!(found.len() as u64 + 2, total);
            total
        };
        assert_eq!((of(&odd).await, odd.look_back()), (15, Some(FIGURES_LOOK_BACK)));
        let whole = Search { from_ms: Some(0), ..odd.clone() };
        assert_eq!((of(&whole).await, whole.look_back()), (25, None));
        // A file's pages begin where the first did, though more came.
        let looked = odd.looked(&store).await.unwrap();
        requests::insert(&store, &[row(51)]).await.unwrap();
        assert_eq!(of(&looked).await, 16);
        let mut from = From::Offset(0);
        let mut seen = 0;
        loop {
            let found = history::page(&store, &looked, from, 4).await.unwrap();
            let Some(last) = found.last() else { break };
            from = From::After(last.row.started_at_ms, last.seq);
            seen += found.len();
        }
        assert_eq!(seen, 16);
    }

    #[tokio::test]
    async fn a_filter_by_figures_reads_the_index_alone() {
        let (_home, store) = store(&[]).await;
        let range = Range { min: Some(1), max: Some(2) };
        let figures = Figures { cached: Some(Cached::Hit), first_byte_ms: range, duration_ms: range, tokens: range, cost_nano: range };
        let mut query = QueryBuilder::new("EXPLAIN QUERY PLAN SELECT count(*) FROM requests");
        let search = Search { figures, outcome: Some("error".to_owned()), ..Search::default() };
        search.time().condition(&mut query);
        search.conditions(&mut query);
        let plan: Vec<(i64, i64, i64, String)> = query.build_query_as().fetch_all(store.readers()).await.unwrap();
        assert!(plan.iter().any(|(.., step)| step.contains("USING COVERING INDEX requests_by_start")), "{plan:?}");
    }
}
