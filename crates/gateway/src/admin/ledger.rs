//! The ledger: what was used, bucket by bucket, beside the price that was charged for it and where that price is from; whether what was charged is
//! what the books say; and charging anew.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
};
use bytes::Bytes;
use jiff::Timestamp;
use journey::Scope;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    Store, StoreError,
    history::{self, From, Search},
    prices::{self, Repriced},
    requests::{self, Row, Stored},
};
use utoipa::ToSchema;
use wire::Failure;

use super::{
    Admin, Answer, Known, Reader,
    history::{outcome, said, span},
    read, trail,
};
use crate::{
    app::App,
    price::{Consumption, Line, Price, PriceBook, dollars, usage},
};

/// Rows of a page where nothing is said.
const PAGE_ROWS: u32 = 50;
/// Rows that one call looks through or changes: the next goes on where it ended.
const ROWS_AT_ONCE: u32 = 5000;
/// Rows that are named one by one in an answer.
const NAMED_MAX: usize = 1000;

/// The query of all these paths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    key: Option<String>,
    model: Option<String>,
    account: Option<String>,
    status: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

impl Asked {
    fn search(&self) -> Result<Search, Failure> {
        let outcome = outcome(&self.status)?;
        let (from_ms, until_ms) = span(self.start_time.as_deref(), self.end_time.as_deref())?;
        let (key, model, target) = (said(&self.key), said(&self.model), said(&self.account));
        Ok(Search { key, model, target, outcome, from_ms, until_ms, ..Search::default() })
    }

    /// The row after which a page begins: its start and its number, as `next` of the page before says them.
    fn place(&self) -> Result<From, Failure> {
        let Some(text) = self.after.as_deref().filter(|text| !text.is_empty()) else { return Ok(From::Offset(0)) };
        let place = text.split_once('.').and_then(|(start, seq)| Some((start.parse().ok()?, seq.parse().ok()?)));
        let (start, seq) = place.ok_or_else(|| Failure::invalid("after", "`after` is what `next` of the page before says"))?;
        Ok(From::After(start, seq))
    }

    /// The number of the row after which a call goes on.
    fn seq(&self) -> Result<i64, Failure> {
        let text = self.after.as_deref().filter(|text| !text.is_empty()).unwrap_or("0");
        text.parse().map_err(|_| Failure::invalid("after", "`after` is what `next` of the call before says"))
    }
}

/// What a request used and what was charged.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerRow {
    request_id: String,
    /// RFC 3339.
    timestamp: String,
    key_id: Option<String>,
    key_name: Option<String>,
    /// The account or node.
    account: Option<String>,
    provider: Option<String>,
    model_requested: Option<String>,
    model_served: Option<String>,
    /// success, error or cancelled.
    outcome: String,
    /// Tokens in disjoint buckets, as they were read from what the provider said; `null` where it said nothing.
    #[schema(value_type = Option<Object>)]
    usage: Value,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    /// `hit` or `replayed`: it was answered from memory, and used nothing again.
    cache: Option<String>,
    #[serde(flatten)]
    charge: Charge,
}

/// A cost with what it is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct Charge {
    /// `null`: nobody knows the price, or how much was used.
    pub(super) cost_usd: Option<f64>,
    /// The price book that it was charged by; `null` where it was before there were any.
    pub(super) price_version: Option<String>,
    /// Dollars for a million tokens, and where that is from; `null` where that book has no price for it.
    #[schema(value_type = Option<Object>)]
    pub(super) price: Option<Price>,
    pub(super) lines: Vec<Line>,
}

/// A price book.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookShown {
    version: String,
    /// RFC 3339: when it was first in force.
    since: String,
    /// It is in force now.
    is_current: bool,
    #[schema(value_type = Object)]
    accounts: BTreeMap<String, Price>,
    #[schema(value_type = Object)]
    models: BTreeMap<String, Price>,
}

/// A page of the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerPage {
    /// Newest first.
    rows: Vec<LedgerRow>,
    has_more: bool,
    /// What `after` must be for the next page.
    next: Option<String>,
    /// Those that the rows were charged by, and the one in force; for who may read everything.
    price_books: Vec<BookShown>,
}

/// Every book that is stored, by its version.
pub(super) struct Books(BTreeMap<String, (i64, PriceBook)>);

impl Books {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        let stored = prices::all(store).await?.into_iter();
        // One that cannot be read is as good as none.
        let readable = stored.filter_map(|book| {
            let prices = serde_json::from_str(&book.prices).ok()?;
            Some((book.version.clone(), (book.since_ms, PriceBook::stored(&book.version, prices))))
        });
        Ok(Self(readable.collect()))
    }

    /// What a request cost, with what that is made of.
    pub(super) async fn charge_of(store: &Store, stored: &Stored) -> Result<Charge, StoreError> {
        let version = prices::versions(store, &[stored.seq]).await?.remove(&stored.seq);
        Ok(Self::read(store).await?.charge(&stored.row, version.as_deref()))
    }

    fn get(&self, version: &str) -> Option<&PriceBook> {
        self.0.get(version).map(|(_, book)| book)
    }

    /// The cost of a row with what it is made of.
    fn charge(&self, row: &Row, version: Option<&str>) -> Charge {
        let book = version.and_then(|version| self.get(version));
        let of = Consumption::from(row);
        let price = book.and_then(|book| book.price(&of)).filter(|_| !of.is_remembered);
        let lines = price.zip(of.usage).map(|(price, usage)| price.lines(&usage)).unwrap_or_default();
        Charge { cost_usd: row.cost_nano.map(dollars), price_version: version.map(str::to_owned), price: price.cloned(), lines }
    }

    fn shown(self, named: impl Fn(&str) -> bool, current: &str) -> Vec<BookShown> {
        let shown = |(version, (since_ms, book)): (String, (i64, PriceBook))| {
            let prices = book.prices().clone();
            BookShown { since: time(since_ms), is_current: version == current, accounts: prices.accounts, models: prices.models, version }
        };
        self.0.into_iter().filter(|(version, _)| version == current || named(version)).map(shown).collect()
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

fn row(stored: Stored, version: Option<&str>, books: &Books) -> LedgerRow {
    let charge = books.charge(&stored.row, version);
    let usage = usage(&stored.row).and_then(|usage| serde_json::to_value(usage).ok()).unwrap_or_default();
    let row = stored.row;
    let text = |text: Option<store::Text>| text.map(|text| text.to_string());
    LedgerRow {
        request_id: row.id.to_string(),
        timestamp: time(row.started_at_ms),
        key_id: text(row.key_id),
        key_name: text(row.key_name),
        account: text(row.target),
        provider: text(row.provider),
        model_requested: text(row.model_requested),
        model_served: text(row.model_served),
        outcome: row.outcome.to_string(),
        usage,
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
        cached_tokens: row.cached_tokens,
        reasoning_tokens: row.reasoning_tokens,
        cache: text(row.cache),
        charge,
    }
}

/// `GET /api/ledger`.
#[utoipa::path(
    get,
    path = "/api/ledger",
    tag = "requests",
    summary = "What was used beside the price that was charged for it; a key that may not read sees its own",
    params(
        ("key" = Option<String>, Query, description = "Id or name of a key"),
        ("model" = Option<String>, Query, description = "Part of a model's name"),
        ("account" = Option<String>, Query, description = "Name of an account or node"),
        ("status" = Option<String>, Query, description = "success, error or cancelled"),
        ("start_time" = Option<String>, Query, description = "RFC 3339"),
        ("end_time" = Option<String>, Query, description = "RFC 3339"),
        ("limit" = Option<u32>, Query, description = "Up to 1000; 50 where nothing is said"),
        ("after" = Option<String>, Query, description = "`next` of the page before")
    ),
    responses((status = 200, description = "A page, newest first", body = LedgerPage)),
    security(("bearer" = []))
)]
pub async fn list(State(app): State<Arc<App>>, Known(caller): Known, Query(asked): Query<Asked>) -> Answer<Json<LedgerPage>> {
    let reads_all = caller.scopes.has(Scope::Read);
    let (mut search, from) = (asked.search()?, asked.place()?);
    let limit = asked.limit.unwrap_or(PAGE_ROWS).clamp(1, requests::ROWS_MAX - 1);
    let mut found = match &caller.key {
        None if !reads_all => Vec::new(),
        key => {
            search.key_id = key.as_ref().filter(|_| !reads_all).map(|key| key.id.to_string());
            history::page(&app.store, &search, from, limit + 1).await?
        }
    };
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| has_more).map(|last| format!("{}.{}", last.row.started_at_ms, last.seq));
    let seqs: Vec<i64> = found.iter().map(|stored| stored.seq).collect();
    let versions = prices::versions(&app.store, &seqs).await?;
    let books = Books::read(&app.store).await?;
    let rows = found
        .into_iter()
        .map(|stored| {
            let version = versions.get(&stored.seq).map(String::as_str);
            row(stored, version, &books)
        })
        .collect();
    let house = app.house();
    let named = |version: &str| versions.values().any(|named| named == version);
    let price_books = if reads_all { books.shown(named, house.prices.version()) } else { Vec::new() };
    Ok(Json(LedgerPage { rows, has_more, next, price_books }))
}

/// A row that says something else than its usage and its price book do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    request_id: String,
    /// RFC 3339.
    timestamp: String,
    /// `cost` or `tokens`.
    what: &'static str,
    /// What stands there: dollars, or `[prompt, completion]`.
    #[schema(value_type = Object)]
    recorded: Value,
    /// What should.
    #[schema(value_type = Object)]
    computed: Value,
    price_version: String,
}

/// What was found in some rows.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Verified {
    examined: u64,
    /// Rows that say something else than their usage and their price book do; the first 1000 stand in `rows`.
    different: u64,
    /// Rows without a price book, or with one that is not stored.
    unverifiable: u64,
    rows: Vec<Difference>,
    /// What `after` must be to go on; `null`: that was all.
    next: Option<String>,
}

/// `GET /api/ledger/verify`: computes some rows again, from what was used and the price book that they name.
#[utoipa::path(
    get,
    path = "/api/ledger/verify",
    tag = "requests",
    summary = "Computes costs again, from what was used and the price book of each row, and says which differ; 5000 rows a call",
    params(
        ("start_time" = Option<String>, Query, description = "RFC 3339"),
        ("end_time" = Option<String>, Query, description = "RFC 3339"),
        ("after" = Option<String>, Query, description = "`next` of the call before")
    ),
    responses((status = 200, description = "What was found", body = Verified)),
    security(("bearer" = ["read"]))
)]
pub async fn verify(State(app): State<Arc<App>>, _: Reader, Query(asked): Query<Asked>) -> Answer<Json<Verified>> {
    let books = Books::read(&app.store).await?;
    let mut pages = Pages::new(&app.store, asked.search()?, asked.seq()?);
    let mut said = Verified::default();
    while let Some((page, versions)) = pages.next().await? {
        for Stored { seq, row } in page {
            said.examined += 1;
            let Some((version, book)) = versions.get(&seq).and_then(|version| Some((version, books.get(version)?))) else {
                said.unverifiable += 1;
                continue;
            };
            let mut differs = |what, recorded: Value, computed: Value| {
                said.different += 1;
                if said.rows.len() < NAMED_MAX {
                    let (request_id, timestamp, price_version) = (row.id.to_string(), time(row.started_at_ms), version.clone());
                    said.rows.push(Difference { request_id, timestamp, what, recorded, computed, price_version });
                }
            };
            let cost = book.cost_nano(&Consumption::from(&row));
            let counted = usage(&row).map(|usage| (usage.input(), usage.output()));
            if cost != row.cost_nano {
                differs("cost", json!(row.cost_nano.map(dollars)), json!(cost.map(dollars)));
            } else if counted != row.prompt_tokens.zip(row.completion_tokens) {
                differs("tokens", json!([row.prompt_tokens, row.completion_tokens]), json!(counted));
            }
        }
    }
    said.next = pages.place();
    Ok(Json(said))
}

/// What is to be charged anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recompute {
    /// RFC 3339.
    start_time: Option<String>,
    /// RFC 3339.
    end_time: Option<String>,
    /// Also rows whose cost is known; else only those where it is not.
    all: bool,
    /// `next` of the call before.
    after: Option<String>,
}

/// What was charged anew.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Recomputed {
    examined: u64,
    changed: u64,
    /// What the changed rows cost before, as far as it was known, and now.
    before_usd: f64,
    after_usd: f64,
    /// The price book in force, by which they were charged.
    price_version: String,
    /// What `after` must be to go on; `null`: that was all.
    next: Option<String>,
}

/// `POST /api/ledger/recompute`: charges some rows by the price book in force.
#[utoipa::path(
    post,
    path = "/api/ledger/recompute",
    tag = "requests",
    summary = "Charges requests by the price book in force: those whose cost is not known, or all; 5000 rows a call",
    request_body = Recompute,
    responses((status = 200, description = "What was changed", body = Recomputed)),
    security(("bearer" = ["admin"]))
)]
pub async fn recompute(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Json<Recomputed>> {
    let Recompute { start_time, end_time, all, after } = read(&body)?;
    let asked = Asked { start_time, end_time, after, ..Asked::default() };
    let mut pages = Pages::new(&app.store, asked.search()?, asked.seq()?);
    let house = app.house();
    let version = house.prices.version();
    house.prices.remember(&app.store).await;
    let mut said = Recomputed { price_version: version.to_string(), ..Recomputed::default() };
    while let Some((page, _)) = pages.next().await? {
        said.examined += page.len() as u64;
        let mut changes = Vec::new();
        for Stored { seq, row } in page {
            let cost_nano = house.prices.cost_nano(&Consumption::from(&row));
            if cost_nano != row.cost_nano && (all || row.cost_nano.is_none()) {
                said.before_usd += dollars(row.cost_nano.unwrap_or(0));
                said.after_usd += dollars(cost_nano.unwrap_or(0));
                changes.push(Repriced { seq, cost_nano, version });
            }
        }
        said.changed += prices::reprice(&app.store, &changes).await?;
    }
    said.next = pages.place();
    trail::changed(
        Some(json!({"cost_usd": said.before_usd})),
        Some(json!({"cost_usd": said.after_usd, "rows": said.changed, "price_version": &*said.price_version})),
    );
    Ok(Json(said))
}

/// Rows in the order of their arrival, as many as one call looks through.
struct Pages<'a> {
    store: &'a Store,
    search: Search,
    after: i64,
    left: u32,
    is_over: bool,
}

impl<'a> Pages<'a> {
    fn new(store: &'a Store, search: Search, after: i64) -> Self {
        Self { store, search, after, left: ROWS_AT_ONCE, is_over: false }
    }

    /// The next page with the versions that its rows name.
    async fn next(&mut self) -> Result<Option<(Vec<Stored>, std::collections::HashMap<i64, String>)>, StoreError> {
        let limit = self.left.min(requests::ROWS_MAX);
        if self.is_over || limit == 0 {
            return Ok(None);
        }
        let page = history::after(self.store, &self.search, self.after, limit).await?;
        self.is_over = page.len() < limit as usize;
        self.left -= limit;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = last.seq;
        let seqs: Vec<i64> = page.iter().map(|stored| stored.seq).collect();
        let versions = prices::versions(self.store, &seqs).await?;
        Ok(Some((page, versions)))
    }

    /// Where the next call goes on.
    fn place(&self) -> Option<String> {
        (!self.is_over).then(|| self.after.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let place = |after: &str| Asked { after: Some(after.to_owned()), ..Asked::default() }.place();
        assert!(matches!(place("17.4"), Ok(From::After(17, 4))));
        assert!(matches!(place(""), Ok(From::Offset(0))));
        assert!(["17", "17.", "a.b", "1.2.3"].into_iter().all(|wrong| place(wrong).is_err()));
    }
}
