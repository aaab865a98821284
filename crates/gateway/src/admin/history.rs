//! Records of requests: pages of those that are looked for, one with everything, all of them as a file.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use routing::Figures as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{
    history::{self, From, Search},
    requests::{self, Row, Stored},
};
use wire::{Code, Failure};

use super::{Answer, Reader};
use crate::{app::App, snapshot::House};

/// Records of a page: one of these, the first where something else is asked for.
const PAGE_SIZES: [u32; 4] = [10, 25, 50, 100];

/// Records that are read at once for a file.
const EXPORT_ROWS: u32 = 500;

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
}

impl Asked {
    fn search(&self) -> Result<Search, Failure> {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let outcome = said(&self.status);
        if outcome.as_deref().is_some_and(|word| !["success", "error", "cancelled"].contains(&word)) {
            return Err(Failure::invalid("status", "`status` is one of success, error and cancelled"));
        }
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
        })
    }
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

#[derive(Serialize, Clone)]
struct Status {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A record as it is shown. Times are RFC 3339 with milliseconds, so that they sort as text.
#[derive(Serialize)]
struct Shown {
    id: String,
    timestamp: String,
    completed_at: String,
    request_type: String,
    model: String,
    model_served: Option<String>,
    node_id: Option<String>,
    node_machine_name: Option<String>,
    node_ip: Option<String>,
    client_ip: Option<String>,
    duration_ms: i64,
    status: Status,
    http_status: u16,
    error_code: Option<String>,
    target: Option<String>,
    provider: Option<String>,
    key_id: Option<String>,
    key_name: Option<String>,
    first_byte_ms: Option<i64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    /// `null`: nobody knows the price.
    cost_usd: Option<f64>,
    cache: Option<String>,
    stream: bool,
    attempts: u32,
}

/// What records are shown with: prices, and what nodes are called.
struct Showing {
    house: Arc<House>,
    nodes: HashMap<String, Option<(String, String)>>,
}

impl Showing {
    fn new(app: &App) -> Self {
        Self { house: app.house(), nodes: HashMap::new() }
    }

    /// A node's machine and address; `None` where it is gone.
    fn node(&mut self, app: &App, id: &str) -> Option<(String, String)> {
        let known = self.nodes.entry(id.to_owned());
        known.or_insert_with(|| app.fleet.get(id).map(|node| (node.machine_name, node.ip_address))).clone()
    }

    fn shown(&mut self, app: &App, row: Row) -> Shown {
        let text = |text: Option<store::Text>| text.map(|text| text.to_string());
        let time = |ms: i64| Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default();
        let status = Status { r#type: row.outcome.to_string(), message: (&*row.outcome != "success").then(|| message(&row)).flatten() };
        let cost_usd = cost(&self.house, &row);
        let (machine, ip) = row.node_id.as_deref().and_then(|id| self.node(app, id)).unzip();
        Shown {
            timestamp: time(row.started_at_ms),
            completed_at: time(row.started_at_ms + row.duration_ms),
            request_type: request_type(&row.dialect).to_owned(),
            model: text(row.model_requested).unwrap_or_default(),
            node_machine_name: machine.or_else(|| row.node_id.as_ref().and_then(|_| row.target.as_ref().map(ToString::to_string))),
            node_id: text(row.node_id),
            node_ip: ip,
            client_ip: text(row.client_ip),
            duration_ms: row.duration_ms,
            http_status: row.status,
            error_code: text(row.error_code),
            model_served: text(row.model_served),
            target: text(row.target),
            provider: text(row.provider),
            key_id: text(row.key_id),
            key_name: text(row.key_name),
            first_byte_ms: row.first_byte_ms,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cached_tokens: row.cached_tokens,
            cache: text(row.cache),
            stream: row.stream,
            attempts: row.attempts,
            id: row.id.to_string(),
            status,
            cost_usd,
        }
    }
}

/// LLM Router's words for what was asked.
fn request_type(operation: &str) -> &str {
    match operation {
        "embeddings" | "count_tokens" | "other" => operation,
        "completions" => "generate",
        _ => "chat",
    }
}

/// What the last attempt said, else the error's code.
fn message(row: &Row) -> Option<String> {
    let decision = row.decision.as_deref().and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let attempts = decision.as_ref().and_then(|decision| decision.get("attempts")?.as_array());
    let said = attempts.and_then(|all| all.last()?.get("error")?.as_str()).map(str::to_owned);
    said.or_else(|| row.error_code.as_ref().map(ToString::to_string))
}

fn cost(house: &House, row: &Row) -> Option<f64> {
    if row.cache.as_deref().is_some_and(|word| word != "miss") {
        return Some(0.0);
    }
    let priced = |model: &Option<store::Text>| model.as_deref().and_then(|model| house.price(model));
    let (input, output) = priced(&row.model_served).or_else(|| priced(&row.model_requested))?;
    Some((row.prompt_tokens? as f64 * input + row.completion_tokens? as f64 * output) / 1e6)
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
        ("client_ip" = Option<String>, Query),
        ("search" = Option<String>, Query, description = "A text in ids, names and errors")
    ),
    responses((status = 200, description = "A page, newest first, and how many there are", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn list(State(app): State<Arc<App>>, _: Reader, Query(asked): Query<Asked>) -> Answer<Json<Value>> {
    let search = asked.search()?;
    let per_page = asked.per_page.filter(|n| PAGE_SIZES.contains(n)).unwrap_or(PAGE_SIZES[0]);
    let per_page = asked.limit.map_or(per_page, |limit| limit.clamp(1, requests::ROWS_MAX));
    let page = asked.page.unwrap_or(1).max(1);
    let offset = asked.offset.unwrap_or_else(|| (page - 1).saturating_mul(u64::from(per_page)));
    let total = history::count(&app.store, &search).await?;
    let found = history::page(&app.store, &search, From::Offset(offset), per_page).await?;
    let mut showing = Showing::new(&app);
    let records: Vec<_> = found.into_iter().map(|stored| showing.shown(&app, stored.row)).collect();
    Ok(Json(serde_json::json!({"records": records, "total_count": total, "page": page, "per_page": per_page})))
}

/// `GET /api/dashboard/request-responses/{id}`.
#[utoipa::path(
    get,
    path = "/api/dashboard/request-responses/{id}",
    tag = "requests",
    summary = "A request with everything that is kept of it",
    params(("id" = String, Path)),
    responses((status = 200, description = "The record", body = serde_json::Value)),
    security(("bearer" = ["read"]))
)]
pub async fn one(State(app): State<Arc<App>>, _: Reader, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = requests::get(&app.store, &id).await?;
    let stored = found.ok_or_else(|| Failure::new(Code::NotFound, "there is no record of this request"))?;
    Ok(Json(detail(&app, &mut Showing::new(&app), stored)))
}

fn detail(app: &App, showing: &mut Showing, stored: Stored) -> Value {
    serde_json::to_value(showing.shown(app, stored.row)).unwrap_or_default()
}

/// A form of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// A file in the making: pages are read when the one before is sent.
struct Export {
    app: Arc<App>,
    search: Search,
    format: Format,
    showing: Showing,
    /// Where the next page begins; `None` after the last.
    from: Option<From>,
    ready: VecDeque<Bytes>,
    rows: u64,
}

impl Export {
    async fn next(mut self) -> Option<(Result<Bytes, store::StoreError>, Self)> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some((Ok(bytes), self));
        }
        let page = match history::page(&self.app.store, &self.search, self.from?, EXPORT_ROWS).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "an export broke off");
                self.from = None;
                return Some((Err(error), self));
            }
        };
        self.from = page.last().map(|last| From::After(last.row.started_at_ms, last.seq));
        let mut text = Vec::new();
        for stored in page {
            self.write(stored, &mut text);
        }
        if self.from.is_none() && self.format == Format::Json {
            text.extend_from_slice(if self.rows == 0 { b"[]\n" } else { b"\n]\n" });
        }
        if text.is_empty() {
            return None;
        }
        Some((Ok(text.into()), self))
    }

    fn write(&mut self, stored: Stored, text: &mut Vec<u8>) {
        let app = self.app.clone();
        let shown = detail(&app, &mut self.showing, stored);
        match self.format {
            Format::Json => {
                text.extend_from_slice(if self.rows == 0 { b"[\n" } else { b",\n" });
                text.extend_from_slice(shown.to_string().as_bytes());
            }
            Format::Csv => {
                let cells = COLUMNS.map(|column| cell(if column == "status" { &shown["status"]["type"] } else { &shown[column] }));
                text.extend_from_slice(cells.join(",").as_bytes());
                text.extend_from_slice(b"\r\n");
            }
        }
        self.rows += 1;
    }
}

/// A value between commas. Spreadsheets take a text that begins like a formula for one: clients choose ids and names of models.
fn cell(value: &Value) -> String {
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
    params(("format" = Option<String>, Query, description = "csv or json; the filters are those of the list")),
    responses((status = 200, description = "The file", body = String, content_type = "text/csv")),
    security(("bearer" = ["read"]))
)]
pub async fn export(State(app): State<Arc<App>>, _: Reader, Query(asked): Query<Asked>) -> Answer<Response> {
    let (format, content_type, disposition) = match asked.format.as_deref() {
        None | Some("" | "csv") => (Format::Csv, "text/csv; charset=utf-8", "attachment; filename=\"request_history.csv\""),
        Some("json") => (Format::Json, "application/json", "attachment; filename=\"request_history.json\""),
        Some(_) => return Err(Failure::invalid("format", "`format` is csv or json").into()),
    };
    let head = (format == Format::Csv).then(|| Bytes::from(format!("{}\r\n", COLUMNS.join(","))));
    let export = Export {
        search: asked.search()?,
        showing: Showing::new(&app),
        from: Some(From::Offset(0)),
        ready: head.into_iter().collect(),
        rows: 0,
        format,
        app,
    };
    let body = Body::from_stream(futures_util::stream::unfold(export, Export::next));
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
