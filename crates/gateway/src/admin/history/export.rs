//! All records that are looked for as a file, sent while they are read.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde_json::Value;
use store::{
    Store, bodies,
    history::{self, From, Search},
    requests::Stored,
};
use wire::Failure;

use super::{
    Asked,
    shown::{Showing, Whole},
};
use crate::{
    admin::{Answer, Reader, pieces},
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

/// A form of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
}

/// A file in the making: pages are read when there is room for the one before.
pub struct Export {
    store: Store,
    search: Search,
    format: Format,
    showing: Showing,
    /// Where the next page begins; `None` after the last.
    from: Option<From>,
    is_begun: bool,
    /// Records that are in it by now.
    pub rows: u64,
}

impl Export {
    /// A file of these records.
    pub fn new(store: Store, search: Search, format: Format, showing: Showing) -> Self {
        Self { store, search, format, showing, from: Some(From::Offset(0)), is_begun: false, rows: 0 }
    }

    async fn run(mut self, out: pieces::Sender) {
        loop {
            let text = match self.next().await {
                Ok(text) => text,
                Err(error) => {
                    tracing::error!(%error, "an export broke off");
                    return out.broke(error).await;
                }
            };
            if text.is_empty() || !out.send(text.into()).await {
                return;
            }
        }
    }

    /// The next piece; empty after the end.
    ///
    /// # Errors
    /// The database's.
    pub async fn next(&mut self) -> Result<Vec<u8>, store::StoreError> {
        if self.format == Format::Csv && !std::mem::replace(&mut self.is_begun, true) {
            return Ok(format!("{}\r\n", COLUMNS.join(",")).into());
        }
        let Some(from) = self.from else { return Ok(Vec::new()) };
        if self.search.said.is_none() {
            self.search = self.search.looked(&self.store).await?;
        }
        let limit = if self.format == Format::Csv { ROWS } else { WHOLE_ROWS };
        let page = history::page(&self.store, &self.search, from, limit).await?;
        self.from = page.last().map(|last| From::After(last.row.started_at_ms, last.seq));
        let mut text = Vec::new();
        match self.format {
            Format::Csv => page.into_iter().for_each(|stored| self.line(stored, &mut text)),
            Format::Json => self.records(page, &mut text).await?,
        }
        Ok(text)
    }

    fn line(&mut self, stored: Stored, text: &mut Vec<u8>) {
        let shown = serde_json::to_value(self.showing.shown(stored.row)).unwrap_or_default();
        self.rows += 1;
        let cells = COLUMNS.map(|column| cell(if column == "status" { &shown["status"]["type"] } else { &shown[column] }));
        text.extend_from_slice(cells.join(",").as_bytes());
        text.extend_from_slice(b"\r\n");
    }

    async fn records(&mut self, page: Vec<Stored>, text: &mut Vec<u8>) -> Result<(), store::StoreError> {
        let seqs: Vec<i64> = page.iter().map(|stored| stored.seq).collect();
        let mut bodies = bodies::of(&self.store, &seqs).await?;
        for Stored { seq, row } in page {
            text.extend_from_slice(if self.rows == 0 { b"[\n" } else { b",\n" });
            let whole = Whole::new(self.showing.shown(row), bodies.remove(&seq)).for_file();
            serde_json::to_writer(&mut *text, &whole).unwrap_or_default();
            self.rows += 1;
        }
        if self.from.is_none() {
            text.extend_from_slice(if self.rows == 0 { b"[]\n" } else { b"\n]\n" });
        }
        Ok(())
    }
}

/// A value between commas. Spreadsheets take a text that begins like a formula for one: clients choose ids and names of models.
pub(crate) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
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
    let (format, content_type, disposition) = match asked.format.as_deref() {
        None | Some("" | "csv") => (Format::Csv, "text/csv; charset=utf-8", "attachment; filename=\"request_history.csv\""),
        Some("json") => (Format::Json, "application/json", "attachment; filename=\"request_history.json\""),
        Some(_) => return Err(Failure::invalid("format", "`format` is csv or json").into()),
    };
    let export = Export::new(app.store.clone(), asked.search()?, format, Showing::new(&app));
    let (out, body) = pieces::channel();
    tokio::spawn(export.run(out));
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers.map(|(name, value)| (name, HeaderValue::from_static(value))), body).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_and_begin_no_formula() {
        for (value, text) in [
            (json!(null), ""),
            (json!(-7), "-7"),
            (json!("a,\"b\""), "\"a,\"\"b\"\"\""),
            (json!("=1+1"), "'=1+1"),
            (json!("two\nlines"), "\"two\nlines\""),
        ] {
            assert_eq!(cell(&value), text);
        }
    }
}
