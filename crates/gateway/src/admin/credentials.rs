//! How many keys there are and how often each was used, masked; and reading them again.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{
    Answer, Known, Operator,
    operate::{Done, percent},
};
use crate::{app::App, settle::tally::KeyCount, snapshot::House};

/// Who may call.
#[expect(clippy::struct_field_names, reason = "readers know these names")]
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// Whether a key is needed.
    enabled: bool,
    /// Distinct keys that are valid now: of the settings, master keys, stored ones.
    valid_keys_count: usize,
    /// The header that may carry a key besides the usual ones.
    auth_header: String,
    /// `active` or `no_keys_loaded`.
    system_status: &'static str,
}

/// Whether keys are needed, and how many are valid.
#[utoipa::path(get, path = "/auth/status", tag = "keys", responses((status = 200, description = "The state", body = Status)), security(("bearer" = [])))]
pub async fn status(State(app): State<Arc<App>>, _: Known) -> Json<Status> {
    let house = app.house();
    let valid_keys_count = house.keys.count(Timestamp::now());
    Json(Status {
        enabled: !house.keys.is_open(),
        valid_keys_count,
        auth_header: house.config.auth.header_name.clone(),
        system_status: if valid_keys_count == 0 { "no_keys_loaded" } else { "active" },
    })
}

/// Use of keys since the start, or since it was set back.
#[expect(clippy::struct_field_names, reason = "readers know these names")]
#[derive(Serialize, ToSchema)]
pub struct Metrics {
    valid_keys_count: usize,
    /// Admitted inference requests.
    total_requests: u64,
    total_success: u64,
    total_errors: u64,
    /// Percent.
    success_rate: f64,
    /// By key, masked: the first and last four characters, or what is known of a stored key.
    keys_metrics: BTreeMap<String, KeyMetrics>,
    /// Keys that were used.
    active_keys: usize,
}

/// Use of one key.
#[derive(Serialize, ToSchema)]
pub struct KeyMetrics {
    requests_count: u64,
    success_count: u64,
    error_count: u64,
    /// RFC 3339.
    first_request: Option<String>,
    /// RFC 3339.
    last_request: Option<String>,
    /// Percent.
    success_rate: f64,
}

impl From<KeyCount> for KeyMetrics {
    fn from(count: KeyCount) -> Self {
        let requests_count = count.successes + count.errors;
        let time = |ms: i64| Timestamp::from_millisecond(ms).ok().filter(|_| ms > 0).map(|time| time.to_string());
        Self {
            requests_count,
            success_count: count.successes,
            error_count: count.errors,
            first_request: time(count.first_ms),
            last_request: time(count.last_ms),
            success_rate: percent(count.successes, requests_count),
        }
    }
}

/// How often each key was used, and how that ended.
#[utoipa::path(get, path = "/auth/metrics", tag = "keys", responses((status = 200, description = "By masked key", body = Metrics)), security(("bearer" = [])))]
pub async fn metrics(State(app): State<Arc<App>>, _: Known) -> Answer<Json<Metrics>> {
    let house = app.house();
    let stored = store::keys::list(&app.store).await?;
    let counts = app.tally.keys();
    let mut keys_metrics = BTreeMap::new();
    let mut used: Vec<_> = counts.keys.iter().collect();
    used.sort_unstable_by_key(|(id, _)| *id);
    for (id, count) in used {
        let mask = shown(&house, &stored, id);
        // Two keys may look alike when they are masked.
        let name = if keys_metrics.contains_key(&mask) { format!("{mask} ({id})") } else { mask };
        keys_metrics.insert(name, KeyMetrics::from(*count));
    }
    let total_requests = counts.successes + counts.errors;
    Ok(Json(Metrics {
        valid_keys_count: house.keys.count(Timestamp::now()),
        total_requests,
        total_success: counts.successes,
        total_errors: counts.errors,
        success_rate: percent(counts.successes, total_requests),
        active_keys: keys_metrics.len(),
        keys_metrics,
    }))
}

/// Set the counts of keys back to nothing.
#[utoipa::path(post, path = "/auth/reset-metrics", tag = "keys", responses((status = 200, description = "They are", body = Done)), security(("bearer" = ["ops"])))]
pub async fn reset_metrics(State(app): State<Arc<App>>, _: Operator) -> Json<Done> {
    app.tally.forget_keys();
    Json(Done { status: "success", message: "Authentication metrics reset" })
}

/// The keys were read.
#[derive(Serialize, ToSchema)]
#[schema(as = KeysReloaded)]
pub struct Reloaded {
    /// `success`.
    status: &'static str,
    message: &'static str,
    valid_keys_count: usize,
}

/// Read the keys of environment, `.env` and file again. What is not valid changes nothing.
#[utoipa::path(post, path = "/auth/reload-keys", tag = "keys", responses((status = 200, description = "They are in force", body = Reloaded)), security(("bearer" = ["ops"])))]
pub async fn reload(State(app): State<Arc<App>>, _: Operator) -> Answer<Json<Reloaded>> {
    app.reload_keys().await.map_err(|error| Failure::new(Code::InvalidRequest, error.to_string()))?;
    let valid_keys_count = app.house().keys.count(Timestamp::now());
    Ok(Json(Reloaded { status: "success", message: "Authentication keys reloaded", valid_keys_count }))
}

/// A key as it may be shown, by its id.
fn shown(house: &House, stored: &[store::keys::Key], id: &str) -> String {
    let auth = &house.config.auth;
    if let Some(key) = auth.keys.iter().find(|key| key.name == id) {
        return mask(key.secret.expose());
    }
    match (id, auth.master_keys.as_slice()) {
        ("master", [only]) => return mask(only.expose()),
        ("master", _) => return "master".to_owned(),
        _ => {}
    }
    // A stored key's secret is not known; a user's session has none.
    stored.iter().find(|key| key.id == id).map_or_else(|| id.to_owned(), |key| format!("{}...", key.prefix))
}

/// The first and the last four characters; of up to eight, the first and the last two; nothing of fewer than five.
fn mask(secret: &str) -> String {
    let characters: Vec<char> = secret.chars().collect();
    let kept = match characters.len() {
        0..=4 => 0,
        5..=8 => 2,
        _ => 4,
    };
    let part = |part: &[char]| part.iter().collect::<String>();
    format!("{}...{}", part(&characters[..kept]), part(&characters[characters.len() - kept..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_middle_secret() {
        for (secret, shown) in [
            ("abcd-middle-part-wxyz", "abcd...wxyz"),
            ("12345678", "12...78"),
            ("12345", "12...45"),
            ("1234", "..."),
            ("", "..."),
            ("ééééüüüüö", "éééé...üüüö"),
        ] {
            assert_eq!(mask(secret), shown);
        }
    }
}
