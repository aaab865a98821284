//! All records that are looked for as a file, sent while they are read.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::Response,
};
use store::{
    Store, StoreError, bodies,
    history::{self, From, Search},
    requests::Stored,
};

use super::{
    Asked,
    shown::{Showing, Whole},
};
use crate::{
    admin::{
        Answer, Reader,
        file::{self, Format, Pages, Rows},
    },
    app::App,
};

/// Records that are read at once for a file.
const ROWS: u32 = 500;
/// The same where each comes with what was said.
const WHOLE_ROWS: u32 = 32;

/// Columns of a file, in the order of LLM Router's own; what is new stands at the end.
const COLUMNS: [&str; 20] = [
    "id",
    "timestamp",
    "request_type",
    "model",
    "node_id",
    "node_machine_name",
    "node_ip",
    "client_ip",
    "duration_ms",
    "status",
    "completed_at",
    "http_status",
    "error_code",
    "model_served",
    "target",
    "provider",
    "key_name",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
];

/// A file in the making.
pub struct Export {
    store: Store,
    search: Search,
    showing: Showing,
    /// Where the next page begins; `None` after the last.
    from: Option<From>,
    /// Those that are in it by now.
    pub rows: Rows,
}

impl Export {
    /// A file of these records.
    pub fn new(store: Store, search: Search, format: Format, showing: Showing) -> Self {
        Self { store, search, showing, from: Some(From::Offset(0)), rows: Rows::new(format, &COLUMNS) }
    }

    fn lines(&mut self, page: Vec<Stored>, text: &mut Vec<u8>) {
        for stored in page {
            let mut shown = serde_json::to_value(self.showing.shown(stored.row)).unwrap_or_default();
            shown["status"] = shown["status"]["type"].take();
            self.rows.add(&shown, text);
        }
    }

    async fn records(&mut self, page: Vec<Stored>, text: &mut Vec<u8>) -> Result<(), StoreError> {
        let seqs: Vec<i64> = page.iter().map(|stored| stored.seq).collect();
        let mut bodies = bodies::of(&self.store, &seqs).await?;
        for Stored { seq, row } in page {
            self.rows.add(&Whole::new(self.showing.shown(row), bodies.remove(&seq)).for_file(), text);
        }
        Ok(())
    }
}

impl Pages for Export {
    async fn next(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut text = Vec::new();
        let Some(from) = self.from else { return Ok(text) };
        if self.search.said.is_none() {
            self.search = self.search.looked(&self.store).await?;
        }
        self.rows.head(&mut text);
        let format = self.rows.format();
        let limit = if format == Format::Csv { ROWS } else { WHOLE_ROWS };
        let page = history::page(&self.store, &self.search, from, limit).await?;
        self.from = page.last().map(|last| From::After(last.row.started_at_ms, last.seq));
        match format {
            Format::Csv => self.lines(page, &mut text),
            Format::Json => self.records(page, &mut text).await?,
        }
        if self.from.is_none() {
            self.rows.end(&mut text);
        }
        Ok(text)
    }
}

/// `GET /api/dashboard/request-responses/export?format=csv|json`: a file of all records that match, sent while it is read.
#[utoipa::path(
    get,
    path = "/api/dashboard/request-responses/export",
    tag = "requests",
    summary = "Records of requests as a file",
    params(("format" = Option<String>, Query, description = "csv, or json: the records with what was said, in the form of LLM Router's `request_history.json`; the filters are those of the list")),
    responses((status = 200, description = "The file", body = String, content_type = "text/csv")),
    security(("bearer" = ["read"]))
)]
pub async fn export(State(app): State<Arc<App>>, _: Reader, Query(asked): Query<Asked>) -> Answer<Response> {
    let format = Format::asked(asked.format.as_deref())?;
    Ok(file::send("request_history", format, Export::new(app.store.clone(), asked.search()?, format, Showing::new(&app))))
}
