//! Why a request went as it did.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use journey::{Caller, Scope};
use serde::Serialize;
use serde_json::{Map, Value};
use store::requests::{self, Row};
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{
    Answer, Known,
    ledger::{Books, Charge},
};
use crate::{
    app::App,
    price::{Line, Price},
};

/// Longest request id that is looked for.
const ID_BYTES_MAX: usize = 256;

/// The whole decision of a request.
#[derive(Serialize, ToSchema)]
pub struct Explanation {
    request_id: String,
    /// RFC 3339.
    received_at: Option<String>,
    path: String,
    /// The caller's dialect.
    dialect: String,
    stream: bool,
    key: Option<KeyShown>,
    requested_model: Option<String>,
    /// `auto` where the router chose the model, else `request`.
    source: Value,
    /// The rule that resolved the model's name; null where none did.
    rule: Value,
    /// Targets in the order in which they were to be tried.
    candidates: Vec<Considered>,
    /// What was tried or passed by, in order.
    #[schema(value_type = Vec<Object>)]
    attempts: Value,
    served: Served,
    /// The status that the client saw.
    status: u16,
    /// `success`, `error` or `cancelled`.
    outcome: String,
    error_code: Option<String>,
    timings: Timings,
    usage: Used,
    cost: Option<Cost>,
    /// What translations dropped or changed.
    #[schema(value_type = Object)]
    losses: Value,
    /// `{state, request_id, age_ms}`: `hit` or `replayed` with the request that the answer was made for, or `miss`; null where nothing was
    /// looked for. Whoever served then was not asked again.
    #[schema(value_type = Option<Object>)]
    cache: Value,
    bytes_in: u64,
    bytes_out: u64,
}

/// The key that asked.
#[derive(Serialize, ToSchema)]
pub struct KeyShown {
    id: String,
    name: Option<String>,
}

/// A target that was thought of.
#[derive(Serialize, ToSchema)]
pub struct Considered {
    /// The account's name, `node` for whichever node was best, or `dummy`.
    target: Value,
    model: Value,
    reason: Value,
    /// `{by, figure}`: the strategy that set it before or behind its equals, and by what; null where none did.
    #[schema(value_type = Object)]
    weighed: Value,
    /// `served`, how its last attempt ended, why it was passed by (`limited`, `cooling`, `circuit_open`, `skipped`), or `not_tried`.
    result: Value,
}

/// Who answered; all null where nobody did.
#[derive(Serialize, ToSchema)]
pub struct Served {
    target: Option<String>,
    provider: Option<String>,
    node_id: Option<String>,
    model: Option<String>,
}

/// Where the time went, in milliseconds.
#[expect(clippy::struct_field_names, reason = "units stand last")]
#[derive(Serialize, ToSchema)]
pub struct Timings {
    duration_ms: i64,
    /// Arrival to the first byte of the answer.
    first_byte_ms: Option<i64>,
    /// The router's own time up to the first byte.
    overhead_ms: Option<f64>,
    /// Waiting for upstreams, up to the first byte.
    waited_ms: Value,
    /// First byte to last byte.
    streaming_ms: Option<i64>,
}

/// Tokens.
#[derive(Serialize, ToSchema)]
pub struct Used {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    /// They were guessed: the stream ended before it said them.
    is_estimated: bool,
    /// In disjoint buckets.
    #[schema(value_type = Object)]
    buckets: Value,
}

/// Money.
#[derive(Serialize, ToSchema)]
pub struct Cost {
    /// `null`: nobody knows the price, or how much was used.
    total_usd: Option<f64>,
    /// The version of the price book that it was charged by.
    price_book: Option<String>,
    /// Dollars for a million tokens, and where that is from; `null` where that book has no price for it.
    #[schema(value_type = Option<Object>)]
    price: Option<Price>,
    lines: Vec<Line>,
}

/// The whole decision of a request: candidates, attempts, timings, use. For readers, and for the key that made the request.
#[utoipa::path(get, path = "/api/requests/{id}/explain", tag = "requests", params(("id" = String, Path, description = "The answer's `x-request-id`")),
    responses((status = 200, description = "The decision", body = Explanation), (status = 403, description = "No request of this key, which may not read others'"), (status = 404, description = "No such request")), security(("bearer" = [])))]
pub async fn explain(State(app): State<Arc<App>>, Known(caller): Known, Path(id): Path<String>) -> Answer<Json<Explanation>> {
    let Some(stored) = find(&app, &caller, &id).await? else {
        let id: String = id.chars().take(100).collect();
        // The same answer whether there is one of somebody else's or none.
        if !caller.scopes.has(Scope::Read) {
            let message = format!("no request `{id}` of this key is recorded; others' are for keys with the scope `read`");
            return Err(Failure::new(Code::PermissionDenied, message).into());
        }
        return Err(Failure::new(Code::NotFound, format!("there is no record of a request `{id}`")).into());
    };
    let charge = Books::charge_of(&app.store, &stored).await?;
    Ok(Json(explanation(stored.row, Some(charge))))
}

/// Who may not read sees its own requests only, and nothing of whether there are others.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Option<requests::Stored>, store::StoreError> {
    if id.len() > ID_BYTES_MAX {
        return Ok(None);
    }
    let look = async || match &caller.key {
        _ if caller.scopes.has(Scope::Read) => requests::get(&app.store, id).await,
        Some(key) => requests::get_of_key(&app.store, id, &key.id).await,
        None => Ok(None),
    };
    match look().await? {
        None => {
            // It may be over and not written yet.
            app.books.settled().await;
            look().await
        }
        found => Ok(found),
    }
}

fn explanation(row: Row, charge: Option<Charge>) -> Explanation {
    let parsed = |json: Option<&store::Text>| json.and_then(|json| serde_json::from_str::<Map<String, Value>>(json).ok());
    let mut decision = parsed(row.decision.as_ref()).unwrap_or_default();
    let mut take = |name: &str| decision.remove(name).unwrap_or(Value::Null);
    let attempts = match take("attempts") {
        Value::Null => Value::Array(Vec::new()),
        attempts => attempts,
    };
    let candidates = match take("candidates") {
        Value::Array(all) => all.into_iter().map(|candidate| considered(candidate, &attempts, row.node_id.is_some())).collect(),
        _ => Vec::new(),
    };
    let text = |text: store::Text| text.to_string();
    Explanation {
        request_id: text(row.id),
        received_at: Timestamp::from_millisecond(row.started_at_ms).ok().map(|time| time.to_string()),
        path: text(row.path),
        dialect: text(row.dialect),
        stream: row.stream,
        key: row.key_id.map(|id| KeyShown { id: text(id), name: row.key_name.map(text) }),
        requested_model: row.model_requested.map(text),
        source: take("source"),
        rule: take("rule"),
        candidates,
        attempts,
        served: Served {
            target: row.target.map(text),
            provider: row.provider.map(text),
            node_id: row.node_id.map(text),
            model: row.model_served.map(text),
        },
        status: row.status,
        outcome: text(row.outcome),
        error_code: row.error_code.map(text),
        timings: Timings {
            duration_ms: row.duration_ms,
            first_byte_ms: row.first_byte_ms,
            overhead_ms: row.overhead_us.map(|us| us as f64 / 1e3),
            waited_ms: take("waited_ms"),
            streaming_ms: row.first_byte_ms.map(|first| (row.duration_ms - first).max(0)),
        },
        usage: Used {
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cached_tokens: row.cached_tokens,
            reasoning_tokens: row.reasoning_tokens,
            is_estimated: take("usage_is_estimated") == Value::Bool(true),
            buckets: parsed(row.usage_raw.as_ref()).map_or(Value::Null, Value::Object),
        },
        cost: charge.map(|Charge { cost_usd, price_version, price, lines }| Cost {
            total_usd: cost_usd,
            price_book: price_version,
            price,
            lines,
        }),
        losses: match take("losses") {
            Value::Null => serde_json::json!({"dropped": [], "changed": []}),
            losses => losses,
        },
        cache: take("cache"),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
    }
}

/// A candidate with what came of it. Which node stood for the fleet shows only in the attempts.
fn considered(mut candidate: Value, attempts: &Value, is_node: bool) -> Considered {
    let target = match candidate["target"]["kind"].as_str() {
        Some("account") => candidate["target"]["name"].take(),
        Some("fleet") => Value::from("node"),
        _ => candidate["target"]["kind"].take(),
    };
    let is_fleet = target == "node";
    let is_its = |attempt: &&Value| {
        attempt["model"] == candidate["model"] && (attempt["target"] == target || (is_fleet && (is_node || attempt["provider"] == "node")))
    };
    let last = attempts.as_array().into_iter().flatten().rfind(is_its);
    let result = last.map_or_else(|| Value::from("not_tried"), |attempt| attempt["outcome"].clone());
    Considered {
        model: candidate["model"].take(),
        reason: candidate["reason"].take(),
        weighed: candidate["weighed"].take(),
        target,
        result,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn candidates_say_what_came_of_them() {
        let attempts = json!([
            {"target": "a", "provider": "p", "model": "m", "outcome": "refused"},
            {"target": "machine", "provider": "node", "model": "m", "outcome": "broken"},
            {"target": "a", "provider": "p", "model": "m", "outcome": "served"},
        ]);
        let result =
            |target: Value, model: &str| considered(json!({"target": target, "model": model, "reason": "exact"}), &attempts, false);
        let account = |name: &str, model: &str| result(json!({"kind": "account", "name": name}), model).result;
        assert_eq!((account("a", "m"), account("a", "n"), account("b", "m")), (json!("served"), json!("not_tried"), json!("not_tried")));
        let fleet = result(json!({"kind": "fleet"}), "m");
        assert_eq!((fleet.target, fleet.result), (json!("node"), json!("broken")));
        assert_eq!(result(json!({"kind": "dummy"}), "m").target, json!("dummy"));
    }

    #[test]
    fn a_row_without_a_decision_is_explained_by_what_it_has() {
        let row =
            Row { id: "r".into(), status: 404, outcome: "error".into(), error_code: Some("model_not_found".into()), ..Row::default() };
        let said = serde_json::to_value(explanation(row, None)).unwrap();
        assert_eq!((&said["rule"], &said["candidates"], &said["attempts"]), (&Value::Null, &json!([]), &json!([])));
        assert_eq!((&said["status"], &said["usage"]["is_estimated"]), (&json!(404), &json!(false)));
    }
}
