//! Who changed what: pages of rows, and all of them as a file.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Store, StoreError,
    audit::{self, Entry, Outcome, PAGE_ROWS_MAX, Search},
};
use utoipa::ToSchema;
use wire::Failure;

use super::{
    Admin, Answer,
    file::{self, Format, Pages, Rows},
    history::span,
};
use crate::app::App;

/// Rows of a page where nothing is said.
const PAGE_ROWS: u32 = 50;

/// Columns of a file.
const COLUMNS: [&str; 13] = [
    "id",
    "timestamp",
    "actor",
    "actor_type",
    "actor_id",
    "action",
    "resource_type",
    "resource_id",
    "outcome",
    "reason",
    "client_ip",
    "request_id",
    "details",
];

/// The query of both paths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    actor: Option<String>,
    action: Option<String>,
    resource_type: Option<String>,
    resource_id: Option<String>,
    outcome: Option<String>,
    request_id: Option<String>,
    client_ip: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    after: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
    format: Option<String>,
}

impl Wanted {
    fn search(&self) -> Result<Search, Failure> {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let outcome = said(&self.outcome).map(|word| Outcome::from_name(&word).ok_or(word)).transpose();
        let words = Outcome::ALL.map(Outcome::name).join(", ");
        let outcome = outcome.map_err(|word| Failure::invalid("outcome", format!("`{word}` is no outcome: {words} are")))?;
        let (from_ms, until_ms) = span(self.start_time.as_deref(), self.end_time.as_deref())?;
        if said(&self.after).is_some() && said(&self.before).is_some() {
            return Err(Failure::invalid("before", "a page begins `after` a row or ends `before` one, not both"));
        }
        Ok(Search {
            actor: said(&self.actor),
            action: said(&self.action),
            resource_type: said(&self.resource_type),
            resource_id: said(&self.resource_id),
            outcome,
            request_id: said(&self.request_id),
            client_ip: said(&self.client_ip),
            from_ms,
            until_ms,
            after: said(&self.after),
            before: said(&self.before),
        })
    }
}

/// One attempt to change something.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRow {
    id: String,
    /// RFC 3339.
    timestamp: String,
    /// The actor's name.
    actor: Option<String>,
    /// user, key, master, token, node, command_line, first_start, signal, anyone (auth is off) or unknown.
    actor_type: String,
    actor_id: Option<String>,
    /// Such as key.create.
    action: String,
    /// Type and id together.
    resource: String,
    resource_type: String,
    resource_id: Option<String>,
    /// success, denied, error, or begun: of a change that a crash cut off.
    outcome: String,
    /// The code of the error.
    reason: Option<String>,
    client_ip: Option<String>,
    request_id: String,
    /// before and after: what of it is different, secrets masked.
    #[schema(value_type = Option<Object>)]
    details: Option<Value>,
}

impl From<Entry> for AuditRow {
    fn from(entry: Entry) -> Self {
        Self {
            timestamp: Timestamp::from_millisecond(entry.at_ms).map(|time| format!("{time:.3}")).unwrap_or_default(),
            resource: entry.resource_id.as_ref().map_or_else(|| entry.resource_type.clone(), |id| format!("{}/{id}", entry.resource_type)),
            outcome: entry.outcome.name().to_owned(),
            id: entry.id,
            actor: entry.actor,
            actor_type: entry.actor_type,
            actor_id: entry.actor_id,
            action: entry.action,
            resource_type: entry.resource_type,
            resource_id: entry.resource_id,
            reason: entry.reason,
            client_ip: entry.client_ip,
            request_id: entry.request_id,
            details: entry.details,
        }
    }
}

/// A page of rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    rows: Vec<AuditRow>,
    /// Whether there are others beyond this page.
    has_more: bool,
}

/// `GET /api/audit`.
#[utoipa::path(
    get,
    path = "/api/audit",
    tag = "audit",
    summary = "Who changed what, newest first",
    params(
        ("actor" = Option<String>, Query, description = "Part of the actor's name, or its id"),
        ("action" = Option<String>, Query, description = "Part of the action, such as key or key.delete"),
        ("resource_type" = Option<String>, Query),
        ("resource_id" = Option<String>, Query),
        ("outcome" = Option<String>, Query, description = "success, denied, error or begun"),
        ("request_id" = Option<String>, Query),
        ("client_ip" = Option<String>, Query),
        ("start_time" = Option<String>, Query, description = "RFC 3339"),
        ("end_time" = Option<String>, Query, description = "RFC 3339"),
        ("limit" = Option<u32>, Query, description = "Up to 1000; 50 where nothing is said"),
        ("after" = Option<String>, Query, description = "The page after the row with this id: older ones"),
        ("before" = Option<String>, Query, description = "The page before it: newer ones")
    ),
    responses((status = 200, description = "A page", body = AuditPage)),
    security(("bearer" = ["admin"]))
)]
pub async fn list(State(app): State<Arc<App>>, _: Admin, Query(wanted): Query<Wanted>) -> Answer<Json<AuditPage>> {
    let limit = wanted.limit.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX);
    let search = wanted.search()?;
    let mut found = audit::page(&app.store, &search, limit + 1).await?;
    let has_more = found.len() > limit as usize;
    if has_more && search.before.is_some() {
        found.remove(0);
    }
    found.truncate(limit as usize);
    Ok(Json(AuditPage { rows: found.into_iter().map(Into::into).collect(), has_more }))
}

/// `GET /api/audit/export?format=csv|json`: all rows that match, sent while they are read.
#[utoipa::path(
    get,
    path = "/api/audit/export",
    tag = "audit",
    summary = "Who changed what, as a file",
    params(("format" = Option<String>, Query, description = "csv or json; the filters are those of the list")),
    responses((status = 200, description = "The file", body = String, content_type = "text/csv")),
    security(("bearer" = ["admin"]))
)]
pub async fn export(State(app): State<Arc<App>>, _: Admin, Query(wanted): Query<Wanted>) -> Answer<Response> {
    let format = Format::asked(wanted.format.as_deref())?;
    let search = Search { before: None, ..wanted.search()? };
    let pages = Export { store: app.store.clone(), search: Some(search), rows: Rows::new(format, &COLUMNS) };
    Ok(file::send("audit", format, pages))
}

/// A file in the making.
struct Export {
    store: Store,
    /// What the next page is of; `None` after the last.
    search: Option<Search>,
    rows: Rows,
}

impl Pages for Export {
    async fn next(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut text = Vec::new();
        let Some(search) = &mut self.search else { return Ok(text) };
        self.rows.head(&mut text);
        let page = audit::page(&self.store, search, PAGE_ROWS_MAX).await?;
        match page.last() {
            Some(last) => search.after = Some(last.id.clone()),
            None => self.search = None,
        }
        for entry in page {
            self.rows.add(&AuditRow::from(entry), &mut text);
        }
        if self.search.is_none() {
            self.rows.end(&mut text);
        }
        Ok(text)
    }
}
