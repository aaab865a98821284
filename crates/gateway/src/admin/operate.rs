//! What operators ask of the running router: how often its services were asked, how they do, how their limits stand.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use config::account::Account;
use futures_util::future::join_all;
use journey::{Caller, Scope};
use policy::{Subject, Window};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Known, Operator};
use crate::{
    app::App,
    settle::tally::{ServiceCount, ServiceCounts},
    snapshot::House,
};

/// Shares of failed calls from which on a service is called degraded, and unhealthy.
const DEGRADED_FROM: f64 = 0.1;
const UNHEALTHY_FROM: f64 = 0.5;
/// The window of limits a minute.
const MINUTE: Duration = Duration::from_mins(1);

/// Counts since the start, or since they were set back.
#[expect(clippy::struct_field_names, reason = "readers know these names")]
#[derive(Serialize, ToSchema)]
pub struct Stats {
    total_requests: u64,
    /// Times that a request moved on to another target.
    total_failovers: u64,
    /// Times that a service was passed by because its window was full.
    total_rate_limit_skips: u64,
    /// Percent of requests.
    failover_rate: f64,
    /// Percent of requests.
    rate_limit_skip_rate: f64,
    configured_services: usize,
    /// By account; nodes that were asked are there too.
    service_stats: BTreeMap<String, ServiceStats>,
    /// Accounts in the order in which they are tried.
    service_order: Vec<String>,
    rate_limiting: BTreeMap<String, RateLimit>,
}

/// Counts of one service.
#[derive(Serialize, ToSchema)]
pub struct ServiceStats {
    requests: u64,
    failures: u64,
    rate_limited: u64,
}

/// Counts of requests, fail-overs and limits, by service.
#[utoipa::path(get, path = "/router/stats", tag = "operating", responses((status = 200, description = "Counts", body = Stats)), security(("bearer" = [])))]
pub async fn stats(State(app): State<Arc<App>>, _: Known) -> Json<Stats> {
    Json(stats_now(&app, &app.house()).await)
}

async fn stats_now(app: &App, house: &House) -> Stats {
    let counts = app.tally.services();
    let asked = counts.services.iter().filter(|(name, _)| !house.accounts.contains_key(*name)).map(|(name, _)| name.to_string());
    let service_order: Vec<String> = house.map.accounts.iter().map(|account| account.name.to_string()).collect();
    let names = service_order.iter().cloned().chain(asked);
    let stats = |name: String| {
        let ServiceCount { requests, failures, limited } = counts.services.get(name.as_str()).copied().unwrap_or_default();
        (name, ServiceStats { requests, failures, rate_limited: limited })
    };
    let share = |n: u64| percent(n, counts.requests);
    Stats {
        total_requests: counts.requests,
        total_failovers: counts.failovers,
        total_rate_limit_skips: counts.limit_skips,
        failover_rate: share(counts.failovers),
        rate_limit_skip_rate: share(counts.limit_skips),
        configured_services: service_order.len(),
        service_stats: names.map(stats).collect(),
        service_order,
        rate_limiting: rate_limits_now(app, house).await,
    }
}

/// Percent, with two digits behind the point.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    /// `success`.
    pub(super) status: &'static str,
    pub(super) message: &'static str,
}

/// Set the counts of services back to nothing.
#[utoipa::path(post, path = "/router/reset-stats", tag = "operating", responses((status = 200, description = "They are", body = Done)), security(("bearer" = ["ops"])))]
pub async fn reset_stats(State(app): State<Arc<App>>, _: Operator) -> Json<Done> {
    app.tally.forget_services();
    Json(Done { status: "success", message: "Router statistics reset" })
}

/// How the limits of services stand.
#[derive(Serialize, ToSchema)]
pub struct RateLimits {
    rate_limiting: BTreeMap<String, RateLimit>,
    total_rate_limit_skips: u64,
    /// Percent of requests.
    rate_limit_skip_rate: f64,
    /// RFC 3339.
    current_time: String,
}

/// How the limit of one service stands.
#[expect(clippy::struct_field_names, reason = "readers know these names")]
#[derive(Serialize, ToSchema)]
pub struct RateLimit {
    /// `100/60s`, or `none`.
    rate_limit: String,
    /// Requests in the window; null where there is none.
    current_requests: Option<u64>,
    remaining_quota: Quota,
    /// Whether it is passed by now: its window is full, or it answered 429 before.
    is_rate_limited: bool,
    /// Seconds until it is asked again, or until the oldest request leaves the window.
    window_reset_in: Option<f64>,
}

/// What is left of a window.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Quota {
    Left(u64),
    Bare(Unlimited),
}

/// There is no window.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unlimited {
    Unlimited,
}

/// How the limits of services stand.
#[utoipa::path(get, path = "/router/rate-limits", tag = "operating", responses((status = 200, description = "By service", body = RateLimits)), security(("bearer" = [])))]
pub async fn rate_limits(State(app): State<Arc<App>>, _: Known) -> Json<RateLimits> {
    let ServiceCounts { requests, limit_skips, .. } = app.tally.services();
    Json(RateLimits {
        rate_limiting: rate_limits_now(&app, &app.house()).await,
        total_rate_limit_skips: limit_skips,
        rate_limit_skip_rate: percent(limit_skips, requests),
        current_time: jiff::Timestamp::now().to_string(),
    })
}

async fn rate_limits_now(app: &App, house: &House) -> BTreeMap<String, RateLimit> {
    let all = accounts(house).map(|account| async { (account.name.clone(), rate_limit(app, house, account).await) });
    join_all(all).await.into_iter().collect()
}

async fn rate_limit(app: &App, house: &House, account: &Account) -> RateLimit {
    let resting = resting(house, &account.name).filter(|resting| resting.why == dispatch::Why::Limit).map(|resting| resting.remaining);
    let bounds = house.limits.accounts.get(account.name.as_str());
    let reading = match bounds {
        Some(bounds) => app.counters.look(&Subject::Account(account.name.as_str().into()), bounds).await.requests(),
        None => None,
    };
    let window = bounds.and_then(|b| b.window.or_else(|| b.rpm.map(|requests| Window { requests, span: MINUTE })));
    let next = reading.filter(|reading| reading.used > 0).map(|reading| reading.first_free);
    RateLimit {
        rate_limit: window.map_or_else(|| "none".to_owned(), |window| format!("{}/{}s", window.requests, seconds(window.span))),
        current_requests: reading.map(|reading| reading.used),
        remaining_quota: reading.map_or(Quota::Bare(Unlimited::Unlimited), |reading| Quota::Left(reading.remaining())),
        is_rate_limited: resting.is_some() || reading.is_some_and(|reading| reading.remaining() == 0),
        window_reset_in: resting.max(next).map(|wait| wait.as_secs_f64()),
    }
}

fn seconds(window: Duration) -> String {
    window.as_secs_f64().to_string()
}

/// Accounts in the order in which they are tried.
pub(super) fn accounts(house: &House) -> impl Iterator<Item = &Account> {
    house.map.accounts.iter().filter_map(|named| house.written.iter().find(|account| *account.name == *named.name))
}

fn resting(house: &House, account: &str) -> Option<dispatch::Resting> {
    house.vitals.get(account)?.resting(Instant::now())
}

/// How services do.
#[derive(Serialize, ToSchema)]
pub struct Health {
    overall_status: Wellness,
    services: BTreeMap<String, ServiceHealth>,
}

/// How one service does.
#[derive(Serialize, ToSchema)]
pub struct ServiceHealth {
    status: Wellness,
    backend_type: String,
    /// Only for callers with the scope `ops`. The settings allow no credential in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    has_api_key: bool,
    /// Why its OAuth credentials cannot be used at present, if they cannot; then it is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    requests: u64,
    failures: u64,
    /// Percent of requests.
    failure_rate: f64,
    rate_limited_events: u64,
    is_currently_rate_limited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_config: Option<RateLimitConfig>,
}

/// A service's own window.
#[derive(Serialize, ToSchema)]
pub struct RateLimitConfig {
    max_requests: u32,
    window_seconds: f64,
}

/// By the share of failed calls: below 10 % healthy, below 50 % degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wellness {
    /// Nothing was asked yet.
    Unknown,
    Healthy,
    Degraded,
    Unhealthy,
}

impl Wellness {
    fn of(failures: u64, requests: u64) -> Self {
        match failures as f64 / requests as f64 {
            _ if requests == 0 => Self::Unknown,
            share if share < DEGRADED_FROM => Self::Healthy,
            share if share < UNHEALTHY_FROM => Self::Degraded,
            _ => Self::Unhealthy,
        }
    }

    /// Of all services together: unhealthy only where none is well.
    fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let all: Vec<Self> = all.into_iter().filter(|one| *one != Self::Unknown).collect();
        match all.as_slice() {
            [] => Self::Unknown,
            all if all.iter().all(|one| *one == Self::Healthy) => Self::Healthy,
            all if all.iter().all(|one| *one == Self::Unhealthy) => Self::Unhealthy,
            _ => Self::Degraded,
        }
    }
}

/// How services do, by the share of their calls that failed.
#[utoipa::path(get, path = "/router/health", tag = "operating", responses((status = 200, description = "By service", body = Health)), security(("bearer" = [])))]
pub async fn health(State(app): State<Arc<App>>, Known(caller): Known) -> Json<Health> {
    Json(health_now(&app, &app.house(), &caller).await)
}

async fn health_now(app: &App, house: &House, caller: &Caller) -> Health {
    let counts = app.tally.services();
    let shows_addresses = caller.scopes.has(Scope::Ops);
    let of = async |account: &Account| {
        let ServiceCount { requests, failures, limited } = counts.services.get(account.name.as_str()).copied().unwrap_or_default();
        let trouble = house.accounts.get(account.name.as_str()).and_then(|account| account.trouble());
        let health = ServiceHealth {
            status: if trouble.is_some() { Wellness::Unhealthy } else { Wellness::of(failures, requests) },
            backend_type: account.provider.clone(),
            base_url: shows_addresses.then(|| account.base_url.clone()),
            has_api_key: account.api_key.is_some(),
            trouble,
            requests,
            failures,
            failure_rate: percent(failures, requests),
            rate_limited_events: limited,
            is_currently_rate_limited: rate_limit(app, house, account).await.is_rate_limited,
            rate_limit_config: account
                .rate_limit
                .map(|limit| RateLimitConfig { max_requests: limit.requests, window_seconds: limit.window.as_secs_f64() }),
        };
        (account.name.clone(), health)
    };
    let services: BTreeMap<String, ServiceHealth> = join_all(accounts(house).map(of)).await.into_iter().collect();
    Health { overall_status: Wellness::together(services.values().map(|service| service.status)), services }
}

/// Counts and health together.
#[derive(Serialize, ToSchema)]
pub struct Backend {
    /// `router`.
    mode: &'static str,
    /// `active`, or `draining` when it is closing.
    status: &'static str,
    router_stats: Stats,
    health: Health,
}

/// Counts and health together.
#[utoipa::path(get, path = "/backend/info", tag = "operating", responses((status = 200, description = "Both", body = Backend)), security(("bearer" = [])))]
pub async fn backend(State(app): State<Arc<App>>, Known(caller): Known) -> Json<Backend> {
    let house = app.house();
    Json(Backend {
        mode: "router",
        status: if app.is_draining() { "draining" } else { "active" },
        router_stats: stats_now(&app, &house).await,
        health: health_now(&app, &house, &caller).await,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wellness_follows_the_share_of_failures() {
        use Wellness::{Degraded, Healthy, Unhealthy, Unknown};
        for (failures, requests, wanted) in [
            (0, 0, Unknown),
            (0, 1, Healthy),
            (9, 100, Healthy),
            (1, 10, Degraded),
            (49, 100, Degraded),
            (1, 2, Unhealthy),
            (3, 3, Unhealthy),
        ] {
            assert_eq!(Wellness::of(failures, requests), wanted, "{failures} of {requests}");
        }
        for (all, wanted) in [
            (vec![], Unknown),
            (vec![Unknown], Unknown),
            (vec![Healthy, Unknown], Healthy),
            (vec![Healthy, Unhealthy], Degraded),
            (vec![Unhealthy, Unknown], Unhealthy),
            (vec![Degraded], Degraded),
        ] {
            assert_eq!(Wellness::together(all), wanted);
        }
    }

    #[test]
    fn percents_have_two_digits() {
        assert_eq!((percent(1, 3), percent(0, 0), percent(5, 5)), (33.33, 0.0, 100.0));
    }
}
