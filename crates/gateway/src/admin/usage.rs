//! What was used: sums by key, model, account or day. A key without the scope `read` sees its own use.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
};
use journey::Scope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::history::{self, Group, Search, Used};
use utoipa::ToSchema;
use wire::Failure;

use super::{Answer, Known, history::span};
use crate::{app::App, price::Consumption, snapshot::House, spending};

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
    fn add(&mut self, house: &House, used: &Used) {
        self.requests += used.requests;
        self.errors += used.errors;
        if used.is_remembered {
            return;
        }
        self.prompt_tokens += used.prompt_tokens;
        self.completion_tokens += used.completion_tokens;
        self.cached_tokens += used.cached_tokens;
        match Consumption::from(used).cost_usd(house) {
            Some(cost) => *self.cost_usd.get_or_insert(0.0) += cost,
            None if used.prompt_tokens + used.completion_tokens > 0 => self.unpriced_requests += used.requests,
            None => {}
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
pub async fn usage(State(app): State<Arc<App>>, Known(caller): Known, Query(asked): Query<Asked>) -> Answer<Json<Usage>> {
    let group = match asked.group_by.as_deref() {
        None | Some("" | "day") => Group::Day,
        Some("key") => Group::Key,
        Some("model") => Group::Model,
        Some("account") => Group::Target,
        Some(_) => return Err(Failure::invalid("group_by", "`group_by` is one of key, model, account and day").into()),
    };
    let (from_ms, until_ms) = span(asked.start_time.as_deref(), asked.end_time.as_deref())?;
    let key_id = match &caller.key {
        _ if caller.scopes.has(Scope::Read) => None,
        key => Some(key.as_ref().map(|key| key.id.to_string()).unwrap_or_default()),
    };
    let used = history::used(&app.store, &Search { from_ms, until_ms, key_id, ..Search::default() }, group).await?;
    let house = app.house();
    let mut totals = Sums::default();
    let mut rows: BTreeMap<String, UsageRow> = BTreeMap::new();
    for one in used {
        totals.add(&house, &one);
        let row = rows.entry(one.group.clone());
        let row = row.or_insert_with(|| UsageRow { group: one.group.clone(), name: one.name.clone(), sums: Sums::default() });
        row.sums.add(&house, &one);
    }
    let purse = caller.key.as_ref().and_then(|key| house.limits.of_key(&key.id).1);
    let budget = purse.map(|purse| {
        let mut shown = spending::shown(purse.budget());
        spending::stand(purse, &mut shown);
        shown
    });
    Ok(Json(Usage { rows: rows.into_values().collect(), totals, budget }))
}
