//! A record as it is shown.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use store::{bodies::Bodies, feedback::Opinion, requests::Row};
use upstream::catalog;

use crate::{app::App, price::dollars};

#[derive(Serialize, Clone)]
pub(super) struct Status {
    pub(super) r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A record as it is shown. Times are RFC 3339 with milliseconds, so that they sort as text.
#[derive(Serialize)]
pub struct Shown {
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
    /// `null`: a record of another program, which did not say.
    http_status: Option<u16>,
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

/// A record with what was said, where that is kept: as JSON if it is, else as text.
#[derive(Serialize)]
pub struct Whole {
    #[serde(flatten)]
    shown: Shown,
    request_body: Option<Box<RawValue>>,
    response_body: Option<Box<RawValue>>,
    /// What the upstream was asked and answered, where that was said in another dialect than the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_request_body: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_response_body: Option<Box<RawValue>>,
    request_body_truncated: bool,
    response_body_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<Vec<Opined>>,
}

/// What somebody thinks of an answer, as it is shown.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Opined {
    /// 0 (bad) to 1 (good).
    score: Option<f64>,
    label: Option<String>,
    /// The model that should have answered.
    preferred_model: Option<String>,
    comment: Option<String>,
    /// The key or user that said so.
    by: String,
    /// RFC 3339.
    at: String,
}

impl From<Opinion> for Opined {
    fn from(opinion: Opinion) -> Self {
        let Opinion { actor, score, label, preferred_model, comment, created_at_ms } = opinion;
        Self { score, label, preferred_model, comment, by: actor, at: time(created_at_ms) }
    }
}

impl Whole {
    pub(super) fn new(shown: Shown, bodies: Option<Bodies>) -> Self {
        let Bodies { request, response, upstream_request, upstream_response, is_request_cut, is_response_cut } = bodies.unwrap_or_default();
        Self {
            shown,
            request_body: request.and_then(|text| raw(&text)),
            response_body: response.and_then(|text| raw(&text)),
            upstream_request_body: upstream_request.and_then(|text| raw(&text)),
            upstream_response_body: upstream_response.and_then(|text| raw(&text)),
            request_body_truncated: is_request_cut,
            response_body_truncated: is_response_cut,
            feedback: None,
        }
    }

    pub(super) fn with_feedback(self, opinions: Vec<Opinion>) -> Self {
        Self { feedback: Some(opinions.into_iter().map(Into::into).collect()), ..self }
    }

    /// In the form of LLM Router's own file, in which every request has a node: those of accounts one that stands for their provider.
    pub(super) fn for_file(mut self) -> Self {
        if self.shown.node_id.is_none() {
            let provider = self.shown.provider.as_deref().unwrap_or_default();
            self.shown.node_id = Some(catalog::node_of_cloud(provider).to_owned());
            self.shown.node_machine_name = Some(format!("cloud:{provider}"));
        }
        self.shown.node_ip.get_or_insert_with(|| "0.0.0.0".to_owned());
        self
    }
}

/// A text as a value.
fn raw(text: &str) -> Option<Box<RawValue>> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => Some(value.to_owned()),
        Err(_) => serde_json::value::to_raw_value(text).ok(),
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// A node's machine and address.
type Place = (String, String);

/// Finds one by the node's id.
type Finder = Box<dyn Fn(&str) -> Option<Place> + Send + Sync>;

/// What records are shown with: what nodes are called.
pub struct Showing {
    place: Finder,
    places: HashMap<String, Option<Place>>,
}

impl Showing {
    pub(super) fn new(app: &App) -> Self {
        let fleet = app.fleet.clone();
        let place = move |id: &str| fleet.get(id).map(|node| (node.machine_name, node.ip_address));
        Self { place: Box::new(place), places: HashMap::new() }
    }

    /// Without a running router: `places` are the machines and addresses of nodes by their ids.
    pub fn offline(places: HashMap<String, Place>) -> Self {
        Self { place: Box::new(move |id| places.get(id).cloned()), places: HashMap::new() }
    }

    pub(super) fn shown(&mut self, row: Row) -> Shown {
        let text = |text: Option<store::Text>| text.map(|text| text.to_string());
        let status = Status { r#type: row.outcome.to_string(), message: (&*row.outcome != "success").then(|| message(&row)).flatten() };
        let cost_usd = row.cost_nano.map(dollars);
        let place = &self.place;
        let known = row.node_id.as_deref().and_then(|id| self.places.entry(id.to_owned()).or_insert_with(|| place(id)).clone());
        let (machine, ip) = known.unzip();
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
            http_status: (row.status != 0).then_some(row.status),
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
