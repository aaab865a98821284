//! What was used: sums by key, model, account or day. A key without the scope `read` sees its own use.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use journey::Scope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::usage::{self, Group, Span, Used};
use utoipa::ToSchema;
use wire::Failure;

use super::{Answer, Known, history::span};
use crate::{app::App, price::dollars, spending};

/// The query of `GET /api/usage`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    group_by: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
}

/// Sums of requests.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Sums {
    requests: u64,
    errors: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    cached_tokens: u64,
    /// Of the requests whose price is known; `null` where none is.
    cost_usd: Option<f64>,
    /// Requests that used something and whose price nobody knows.
    unpriced_requests: u64,
}

/// One group.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageRow {
    /// The key's id, the model, the account or node, or the day (UTC); empty where there was none.
    group: String,
    /// The key's name.
    name: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    rows: Vec<UsageRow>,
    totals: Sums,
    /// The budget of the key that asks, if it has one: amount, currency, window, spent, resets_at.
    #[schema(value_type = Option<Object>)]
    budget: Option<Value>,
}

impl Sums {
    fn add(&mut self, used: &Used) {
        self.requests += used.requests;
        self.errors += used.errors;
        self.prompt_tokens += used.prompt_tokens;
        self.completion_tokens += used.completion_tokens;
        self.cached_tokens += used.cached_tokens;
        self.unpriced_requests += used.unpriced;
        if used.priced > 0 {
            let nano = i64::try_from(used.cost_nano).unwrap_or(i64::MAX);
            self.cost_usd = Some(self.cost_usd.unwrap_or(0.0) + dollars(nano));
        }
    }
}

/// `GET /api/usage?group_by=key|model|account|day`.
#[utoipa::path(
    get,
    path = "/api/usage",
    tag = "requests",
    summary = "What was used, by key, model, account or day; a key that may not read sees its own",
    params(
        ("group_by" = Option<String>, Query, description = "key, model, account or day"),
        ("start_time" = Option<String>, Query, description = "RFC 3339"),
        ("end_time" = Option<String>, Query, description = "RFC 3339")
    ),
    responses((status = 200, description = "Sums of each group and of all", body = Usage)),
    security(("bearer" = []))
)]
pub async fn list(State(app): State<Arc<App>>, Known(caller): Known, Query(asked): Query<Asked>) -> Answer<Json<Usage>> {
    let group = match asked.group_by.as_deref() {
        None | Some("" | "day") => Group::Day,
        Some("key") => Group::Key,
        Some("model") => Group::Model,
        Some("account") => Group::Target,
        Some(_) => return Err(Failure::invalid("group_by", "`group_by` is one of key, model, account and day").into()),
    };
    let (from_ms, until_ms) = span(asked.start_time.as_deref(), asked.end_time.as_deref())?;
    let house = app.house();
    let used = match &caller.key {
        _ if caller.scopes.has(Scope::Read) => usage::used(&app.store, &Span { key_id: None, from_ms, until_ms }, group).await?,
        Some(key) => usage::used(&app.store, &Span { key_id: Some(key.id.to_string()), from_ms, until_ms }, group).await?,
        None => Vec::new(),
    };
    let mut totals = Sums::default();
    let row = |used: Used| {
        totals.add(&used);
        let mut sums = Sums::default();
        sums.add(&used);
        UsageRow { group: used.group, name: used.name, sums }
    };
    let rows = used.into_iter().map(row).collect();
    let purse = caller.key.as_ref().and_then(|key| house.limits.of_key(&key.id).1);
    let mut budget = None;
    if let Some(purse) = purse {
        spending::stand(purse, budget.insert(spending::shown(purse.budget()))).await;
    }
    Ok(Json(Usage { rows, totals, budget }))
}
