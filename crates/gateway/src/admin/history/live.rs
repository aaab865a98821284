//! New records as they come, as server-sent events.
//!
//! Every record is read from the database, where each has a number in the order of arrival: whoever was away says the last number that it saw and
//! misses nothing. What wakes a tail is that rows were written, which costs the requests' path nothing, listened to or not.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts as _, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header, request::Parts};
use store::{
    StoreError,
    history::{self, Search},
    requests::Stored,
};
use tokio::{sync::OwnedSemaphorePermit, time};
use wire::{Code, Failure};

use super::{Asked, shown::Showing};
use crate::{
    admin::{Answer, Reader, pieces},
    app::App,
    render,
};

/// Tails at once; each reads what was written, at most four times a second.
pub const TAILS_MAX: usize = 32;
/// How long records come together.
const GATHER: Duration = Duration::from_millis(250);
/// Silence after which a comment says that the tail is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Records that are read at once.
const PAGE_ROWS: u32 = 200;
/// Records that a tail may be behind; of more the oldest are passed over, and it is told how many.
const BEHIND_ROWS_MAX: i64 = 2000;

/// `GET /api/dashboard/request-responses/stream`: records from now on, or after the one whose `id:` comes as `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/api/dashboard/request-responses/stream",
    tag = "requests",
    summary = "New records as they come: `event: request` with a record as in the list, `event: skipped` with how many were passed over",
    params(
        ("after" = Option<i64>, Query, description = "As `Last-Event-ID`: begins after this one; the filters are those of the list"),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id:` that was seen last")
    ),
    responses((status = 200, description = "Server-sent events without end", body = String, content_type = "text/event-stream")),
    security(("bearer" = ["read"]))
)]
pub async fn stream(State(app): State<Arc<App>>, _: Reader, Query(asked): Query<Asked>, parts: Parts) -> Answer<Response> {
    let search = asked.search()?;
    let full = || Failure::new(Code::QueueFull, format!("{TAILS_MAX} listen already")).retry_after(Duration::from_secs(10));
    let place = app.books.tails.clone().try_acquire_owned().map_err(|_| full())?;
    let seen = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let last = match seen.or(asked.after) {
        Some(last) => last,
        None => history::newest(&app.store).await?,
    };
    let (out, body) = pieces::channel();
    tokio::spawn(Tail { showing: Showing::new(&app), app, search, last, parts, _place: place }.run(out));
    let mut response = body.into_response();
    render::stream_headers(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

struct Tail {
    app: Arc<App>,
    search: Search,
    showing: Showing,
    /// The number of the last record that was looked at.
    last: i64,
    /// What the caller showed: looked at again and again, so that who may no longer read hears no more.
    parts: Parts,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    async fn run(mut self, out: pieces::Sender) {
        let mut newest = self.app.books.newest.clone();
        if !out.send(Bytes::from_static(b"retry: 2000\n\n")).await {
            return;
        }
        loop {
            newest.mark_unchanged();
            match self.catch_up(&out).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "a tail of records broke off");
                    return out.broke(error).await;
                }
            }
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    time::sleep(GATHER).await;
                }
                () = time::sleep(KEEPALIVE) => {
                    if !out.send(Bytes::from_static(b":\n\n")).await {
                        return;
                    }
                }
                () = self.app.closing.cancelled() => return,
                () = out.closed() => return,
            }
            let app = self.app.clone();
            if Reader::from_request_parts(&mut self.parts, &app).await.is_err() {
                return;
            }
        }
    }

    /// Tells everything that is new. False: nobody listens any more.
    async fn catch_up(&mut self, out: &pieces::Sender) -> Result<bool, StoreError> {
        let newest = history::newest(&self.app.store).await?;
        // Another database than the one that was seen: it begins anew.
        self.last = self.last.min(newest);
        let skipped = newest - self.last - BEHIND_ROWS_MAX;
        if skipped > 0 {
            self.last += skipped;
            let said = format!("id: {}\nevent: skipped\ndata: {{\"records\":{skipped}}}\n\n", self.last);
            if !out.send(said.into()).await {
                return Ok(false);
            }
        }
        loop {
            let page = history::after(&self.app.store, &self.search, self.last, PAGE_ROWS).await?;
            let is_last = page.len() < PAGE_ROWS as usize;
            let last = page.last().map_or(self.last, |stored| stored.seq);
            self.last = if is_last { last.max(newest) } else { last };
            let text = self.events(page);
            if !text.is_empty() && !out.send(text.into()).await {
                return Ok(false);
            }
            if is_last {
                return Ok(true);
            }
        }
    }

    fn events(&mut self, page: Vec<Stored>) -> String {
        let mut text = String::new();
        for Stored { seq, row } in page {
            let shown = serde_json::to_string(&self.showing.shown(row)).unwrap_or_default();
            let _ = write!(text, "id: {seq}\nevent: request\ndata: {shown}\n\n");
        }
        text
    }
}
