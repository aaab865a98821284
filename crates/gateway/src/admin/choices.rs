//! How the router chooses: its strategies, its rules in force, what was measured, and what it would choose.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{Json, extract::State};
use bytes::Bytes;
use config::account::Account;
use journey::{Candidate, Target};
use routing::View;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::{Code, Dialect, Failure, head::Head};

use super::{Answer, Known, operate::accounts, read};
use crate::{app::App, chance::chance, settle::decision, snapshot::FleetNodes};

/// How the router chooses.
#[derive(Serialize, ToSchema)]
pub struct Info {
    /// Names that a route's `strategy` may have.
    registered_strategies: Vec<&'static str>,
    strategy_count: usize,
    /// Whether changes of the configuration are taken over without being asked to.
    hot_reload_enabled: bool,
}

/// How the router chooses, and which strategies a route may name.
#[utoipa::path(get, path = "/router/info", tag = "operating", responses((status = 200, description = "The strategies", body = Info)), security(("bearer" = [])))]
pub async fn info(_: Known) -> Json<Info> {
    let registered_strategies = config::STRATEGIES.to_vec();
    // Nothing watches the file: it is read again on SIGHUP and by `POST /config/reload`.
    Json(Info { strategy_count: registered_strategies.len(), registered_strategies, hot_reload_enabled: false })
}

/// A question of which model would be chosen.
#[derive(Deserialize, ToSchema)]
pub struct Question {
    /// The text that is asked about; or `messages`.
    query: Option<serde_json::Value>,
    /// As in a chat.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<serde_json::Value>,
    /// A name other than `auto`.
    model: Option<String>,
}

/// What would be chosen.
#[derive(Serialize, ToSchema)]
pub struct Choice {
    /// The model's name where it would be asked.
    selected_model: String,
    /// 0 to 1; a rule leaves no doubt.
    confidence: f64,
    /// Models that would be tried after it, the best first.
    alternatives: Vec<Alternative>,
    /// The rule that resolved the name.
    rule: &'static str,
    candidates: Vec<Considered>,
}

/// A model that would be tried later.
#[derive(Serialize, ToSchema)]
pub struct Alternative {
    model: String,
    /// 0 to 1.
    score: f64,
}

/// A target that was thought of.
#[derive(Serialize, ToSchema)]
#[schema(as = ChoiceCandidate)]
pub struct Considered {
    /// The account's name, `node` for whichever node is best then, or `dummy`.
    target: String,
    model: String,
    reason: &'static str,
}

impl From<Candidate> for Considered {
    fn from(candidate: Candidate) -> Self {
        let target = match candidate.target {
            Target::Account { name } => name.to_string(),
            Target::Fleet => "node".to_owned(),
            Target::Dummy => "dummy".to_owned(),
        };
        Self { target, model: candidate.model.to_string(), reason: candidate.reason }
    }
}

/// Which model would be chosen for a text. Nothing is called.
#[utoipa::path(post, path = "/router/route", tag = "operating", request_body = Question,
    responses((status = 200, description = "The choice", body = Choice)), security(("bearer" = [])))]
pub async fn route(State(app): State<Arc<App>>, Known(caller): Known, body: Bytes) -> Answer<Json<Choice>> {
    // Judges the messages too.
    Head::scan(&body)?;
    let question: Question = read(&body)?;
    match (&question.query, &question.messages) {
        (Some(serde_json::Value::String(text)), _) if !text.trim().is_empty() => {}
        (Some(_), _) => return Err(Failure::invalid("query", "`query` must be a text that is not empty").into()),
        (None, Some(_)) => {}
        (None, None) => return Err(Failure::invalid("query", "`query` or `messages` must say what is asked").into()),
    }
    let model = question.model.as_deref().unwrap_or("auto");
    policy::may_use(&caller, model)?;
    let house = app.house();
    let view = app.fleet.view();
    let configured = house.config.fallback_models.iter().filter(|name| caller.may_use(name));
    let stand_ins = crate::request::stand_ins(&house, &caller, model, &[], configured);
    let nodes = FleetNodes(&view, &house);
    let view = View { nodes: &nodes, caller: Dialect::Chat, figures: &*house, chance: &chance };
    let plan = routing::plan(&house.map, &view, model, &stand_ins)?;
    let mut models = decision::models(&plan).into_iter().map(str::to_owned);
    let selected_model = models.next().ok_or_else(|| Failure::new(Code::NoAvailableTarget, "nothing can be chosen now"))?;
    let alternatives = models.map(|model| Alternative { model, score: 0.0 }).collect();
    let candidates = plan.candidates.into_iter().map(Considered::from).collect();
    Ok(Json(Choice { selected_model, confidence: 1.0, alternatives, rule: plan.rule, candidates }))
}

/// What is in force.
#[derive(Serialize, ToSchema)]
pub struct Policy {
    /// `router.policy`.
    object: &'static str,
    default_model: Option<String>,
    fallback_models: Vec<String>,
    /// Statuses after which another target is tried, besides those that always are.
    retry_statuses: Vec<u16>,
    /// Most attempts for a request.
    max_attempts: u32,
    /// Most retries as a share of requests.
    retry_budget: f64,
    /// Accounts in the order in which they are tried.
    accounts: Vec<AccountPolicy>,
}

/// How an account is used.
#[derive(Serialize, ToSchema)]
pub struct AccountPolicy {
    name: String,
    provider: String,
    /// Lower first.
    priority: i32,
    weight: f64,
    /// Names and patterns that it serves, of those that the caller may use.
    models: Vec<String>,
}

/// The rules in force.
#[utoipa::path(get, path = "/v1/router/policy", tag = "operating", responses((status = 200, description = "The rules", body = Policy)), security(("bearer" = [])))]
pub async fn policy(State(app): State<Arc<App>>, Known(caller): Known) -> Json<Policy> {
    let house = app.house();
    let config = &house.config;
    let allowed = |names: &[String]| names.iter().filter(|name| caller.may_use(name)).cloned().collect();
    let account = |account: &Account| AccountPolicy {
        name: account.name.clone(),
        provider: account.provider.clone(),
        priority: account.priority,
        weight: account.weight.unwrap_or(1.0),
        models: allowed(&account.models),
    };
    Json(Policy {
        object: "router.policy",
        default_model: config.default_model.clone(),
        fallback_models: allowed(&config.fallback_models),
        retry_statuses: config.retry_statuses.clone(),
        max_attempts: config.retry.max_attempts,
        retry_budget: config.retry.budget,
        accounts: accounts(&house).map(account).collect(),
    })
}

/// What was measured lately.
#[derive(Serialize, ToSchema)]
pub struct LiveMetrics {
    /// `router.live_metrics`.
    object: &'static str,
    active_requests: i64,
    open_streams: i64,
    queued_requests: i64,
    accounts: BTreeMap<String, AccountMetrics>,
}

/// What was measured of an account.
#[derive(Serialize, ToSchema)]
pub struct AccountMetrics {
    /// Mean time to the first byte, newer ones counting more; null before the first answer.
    first_byte_ms: Option<f64>,
    /// Mean of streamed answers.
    tokens_per_second: Option<f64>,
    /// Seconds for which it is left alone still; 0 where it is asked.
    resting_seconds: f64,
    /// `open` (it is asked), `limited` (it asked for rest), `refused` (its key was) or `failing` (it failed in a row).
    state: &'static str,
    /// By dialect, how sure it is that the account speaks it.
    wires: BTreeMap<&'static str, &'static str>,
}

/// What was measured of accounts lately.
#[utoipa::path(get, path = "/v1/router/live-metrics", tag = "operating", responses((status = 200, description = "By account", body = LiveMetrics)), security(("bearer" = [])))]
pub async fn live_metrics(State(app): State<Arc<App>>, _: Known) -> Json<LiveMetrics> {
    let house = app.house();
    let now = Instant::now();
    let account = |(name, vital): (&Arc<str>, &Arc<dispatch::Vital>)| {
        let resting = vital.resting(now);
        let wires = house.accounts.get(name).map(|account| account.wires(now)).into_iter().flatten();
        let metrics = AccountMetrics {
            first_byte_ms: vital.latency_s().map(|s| s * 1e3),
            tokens_per_second: vital.tokens_per_s(),
            resting_seconds: resting.map_or(0.0, |resting| resting.remaining.as_secs_f64()),
            state: match resting {
                None => "open",
                Some(dispatch::Resting { why: dispatch::Why::Limit, .. }) => "limited",
                Some(dispatch::Resting { why: dispatch::Why::Credential, .. }) => "refused",
                Some(dispatch::Resting { why: dispatch::Why::Failures, .. }) => "failing",
            },
            wires: wires.map(|(dialect, standing)| (dialect.name(), standing.name())).collect(),
        };
        (name.to_string(), metrics)
    };
    Json(LiveMetrics {
        object: "router.live_metrics",
        active_requests: app.metrics.active_requests.get(),
        open_streams: app.metrics.open_streams.get(),
        queued_requests: i64::try_from(app.fleet.waiting()).unwrap_or(i64::MAX),
        accounts: house.vitals.iter().map(account).collect(),
    })
}

/// Whether the configuration follows an object store.
#[derive(Serialize, ToSchema)]
pub struct Sync {
    enabled: bool,
    message: &'static str,
}

/// Whether the configuration follows an object store.
#[utoipa::path(get, path = "/config/sync/status", tag = "configuration", responses((status = 200, description = "It does not", body = Sync)), security(("bearer" = [])))]
pub async fn sync_status(_: Known) -> Json<Sync> {
    Json(Sync { enabled: false, message: "Config sync is not enabled" })
}
