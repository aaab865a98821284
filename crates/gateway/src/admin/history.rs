//! Records of requests: pages of those that are looked for, one with everything, all of them as a file, and new ones as they come.

pub mod export;
pub mod live;
mod shown;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use store::{
    bodies, feedback,
    history::{self, From, LOOK_BACK, Search},
    requests::{self, Stored},
};
use wire::{Code, Failure};

pub use self::shown::{Opined, Showing, Whole};
use super::{Answer, Reader};
use crate::app::App;

/// Records of a page: one of these, the first where something else is asked for.
const PAGE_SIZES: [u32; 4] = [10, 25, 50, 100];

/// The query of all these paths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    page: Option<u64>,
    per_page: Option<u32>,
    limit: Option<u32>,
    offset: Option<u64>,
    model: Option<String>,
    node_id: Option<String>,
    account: Option<String>,
    key: Option<String>,
    status: Option<String>,
    http_status: Option<u16>,
    start_time: Option<String>,
    end_time: Option<String>,
    client_ip: Option<String>,
    search: Option<String>,
    format: Option<String>,
    after: Option<i64>,
}

impl Asked {
    fn search(&self) -> Result<Search, Failure> {
        let outcome = outcome(&self.status)?;
        let (from_ms, until_ms) = span(self.start_time.as_deref(), self.end_time.as_deref())?;
        Ok(Search {
            model: said(&self.model),
            node_id: said(&self.node_id),
            target: said(&self.account),
            key: said(&self.key),
            key_id: None,
            outcome,
            http_status: self.http_status,
            from_ms,
            until_ms,
            client_ip: said(&self.client_ip),
            text: said(&self.search),
            said: None,
            after_seq: None,
        })
    }
}

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
    let search = search.looked(&app.store).await?;
    let total = history::count(&app.store, &search).await?;
    let found = history::page(&app.store, &search, From::Offset(offset), per_page).await?;
    let mut showing = Showing::new(&app);
    let records: Vec<_> = found.into_iter().map(|stored| showing.shown(stored.row)).collect();
    let is_bounded = search.from_ms.is_none() && (search.text.is_some() || search.client_ip.is_some());
    let looked_back = (is_bounded && *app.books.newest.borrow() > i64::from(LOOK_BACK)).then_some(LOOK_BACK);
    Ok(Json(serde_json::json!({"records": records, "total_count": total, "page": page, "per_page": per_page, "looked_back": looked_back})))
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
