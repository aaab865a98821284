//! Records of requests: pages of those that are looked for, one with everything, all of them as a file, and new ones as they come.

mod asked;
pub mod export;
pub mod live;
mod shown;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use jiff::Timestamp;
use serde_json::Value;
use store::{
    Store, StoreError, bodies, feedback,
    history::{self, Search},
    requests::{self, Stored},
};
use wire::{Code, Failure};

pub use self::{
    asked::Asked,
    shown::{Opined, Showing, Shown, Whole},
};
use super::{Answer, Reader};
use crate::app::App;

/// Records of a page: one of these, the first where something else is asked for.
const PAGE_SIZES: [u32; 4] = [10, 25, 50, 100];

/// A word of a query; an empty one was not said.
pub fn said(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// The outcome that a query's `status` names.
///
/// # Errors
/// A 400 that says which there are.
pub fn outcome(status: &Option<String>) -> Result<Option<String>, Failure> {
    let outcome = said(status);
    if outcome.as_deref().is_some_and(|word| !["success", "error", "cancelled"].contains(&word)) {
        return Err(Failure::invalid("status", "`status` is one of success, error and cancelled"));
    }
    Ok(outcome)
}

/// The times between which something is looked for, unix milliseconds.
///
/// # Errors
/// A 400 that names the time that is none, or that both are in the wrong order.
pub fn span(start: Option<&str>, end: Option<&str>) -> Result<(Option<i64>, Option<i64>), Failure> {
    let time = |name: &str, text: Option<&str>| match text.filter(|text| !text.is_empty()).map(str::parse::<Timestamp>) {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time.as_millisecond())),
        Some(Err(_)) => Err(Failure::invalid(name, format!("`{name}` must be a time as RFC 3339 has it, such as 2027-01-31T00:00:00Z"))),
    };
    let (from_ms, until_ms) = (time("start_time", start)?, time("end_time", end)?);
    if let (Some(from_ms), Some(until_ms)) = (from_ms, until_ms)
        && from_ms > until_ms
    {
        return Err(Failure::invalid("start_time", "`start_time` lies after `end_time`"));
    }
    Ok((from_ms, until_ms))
}

/// `GET /api/dashboard/request-responses`.
#[utoipa::path(
    get,
    path = "/api/dashboard/request-responses",
    tag = "requests",
    summary = "Records of requests",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u32>, Query, description = "10, 25, 50 or 100"),
        ("limit" = Option<u32>, Query, description = "Instead of `per_page`: up to 1000"),
        ("offset" = Option<u64>, Query, description = "Instead of `page`"),
        ("model" = Option<String>, Query, description = "Part of a model's name"),
        ("node_id" = Option<String>, Query),
        ("account" = Option<String>, Query, description = "Name of an account or node"),
        ("key" = Option<String>, Query, description = "Id or name of a key"),
        ("status" = Option<String>, Query, description = "success, error or cancelled"),
        ("http_status" = Option<u16>, Query),
        ("start_time" = Option<String>, Query, description = "RFC 3339"),
        ("end_time" = Option<String>, Query, description = "RFC 3339"),
        ("client_ip" = Option<String>, Query, description = "Where no `start_time` is given, of the newest 50,000 requests"),
        ("cache" = Option<String>, Query, description = "hit, miss, replayed, or off: memory was not asked"),
        ("first_byte_min_ms" = Option<u64>, Query, description = "Figures without a `start_time` are looked for in the newest 1,000,000 requests"),
        ("first_byte_max_ms" = Option<u64>, Query),
        ("duration_min_ms" = Option<u64>, Query),
        ("duration_max_ms" = Option<u64>, Query),
        ("tokens_min" = Option<u64>, Query, description = "Of prompt and answer together"),
        ("tokens_max" = Option<u64>, Query),
        ("cost_min_usd" = Option<f64>, Query, description = "What has no known price lies in no range"),
        ("cost_max_usd" = Option<f64>, Query),
        ("search" = Option<String>, Query, description = "A text in ids, names, errors, and in what was said: where no `start_time` is given, in that of the newest 50,000 requests")
    ),
    responses((status = 200, description = "A page, newest first, and how many there are; `looked_back` is how many of the newest were looked through, where there are more", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn list(State(app): State<Arc<App>>, _: Reader, Query(asked): Query<Asked>) -> Answer<Json<Value>> {
    let search = asked.search()?;
    let _turn = app.books.turn(&search).await;
    let per_page = asked.per_page.filter(|n| PAGE_SIZES.contains(n)).unwrap_or(PAGE_SIZES[0]);
    let per_page = asked.limit.map_or(per_page, |limit| limit.clamp(1, requests::ROWS_MAX));
    let page = asked.page.unwrap_or(1).max(1);
    let offset = asked.offset.unwrap_or_else(|| (page - 1).saturating_mul(u64::from(per_page)));
    let look_back = search.look_back().filter(|rows| *app.books.newest.borrow() > i64::from(*rows));
    let mut showing = Showing::new(&app);
    let (records, total) = listed(&app.store, &mut showing, &search, offset, per_page).await?;
    Ok(Json(serde_json::json!({"records": records, "total_count": total, "page": page, "per_page": per_page, "looked_back": look_back})))
}

/// Records of a page as they are shown, and how many match.
///
/// # Errors
/// The database's.
pub async fn listed(
    store: &Store,
    showing: &mut Showing,
    search: &Search,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Shown>, u64), StoreError> {
    let (found, total) = history::page_and_count(store, &search.looked(store).await?, offset, limit).await?;
    Ok((found.into_iter().map(|stored| showing.shown(stored.row)).collect(), total))
}

/// `GET /api/dashboard/request-responses/{id}`.
#[utoipa::path(
    get,
    path = "/api/dashboard/request-responses/{id}",
    tag = "requests",
    summary = "A request with everything that is kept of it",
    params(("id" = String, Path)),
    responses((status = 200, description = "The record with `request_body` and `response_body` (JSON where they are, else text; null where they are not kept), whether those were cut, and `feedback`", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn one(State(app): State<Arc<App>>, _: Reader, Path(id): Path<String>) -> Answer<Json<Whole>> {
    let found = match requests::get(&app.store, &id).await? {
        None => {
            // It may be over and not written yet.
            app.books.settled().await;
            requests::get(&app.store, &id).await?
        }
        found => found,
    };
    let Stored { seq, row } = found.ok_or_else(|| Failure::new(Code::NotFound, "there is no record of this request"))?;
    let bodies = bodies::of(&app.store, &[seq]).await?.remove(&seq);
    let opinions = feedback::of(&app.store, seq).await?;
    Ok(Json(Whole::new(Showing::new(&app).shown(row), bodies).with_feedback(opinions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_order() {
        assert_eq!(span(Some("1970-01-01T00:00:01Z"), Some("")).unwrap(), (Some(1000), None));
        for (start, end) in
            [(Some("yesterday"), None), (None, Some("2026-13-01")), (Some("2026-02-02T00:00:00Z"), Some("2026-01-01T00:00:00Z"))]
        {
            assert_eq!(span(start, end).unwrap_err().status(), 400, "{start:?} {end:?}");
        }
    }
}
