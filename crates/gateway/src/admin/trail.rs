//! The one place that sees to it that every attempt to change something leaves an audit row, whatever path it takes.
//!
//! It is a layer over all paths of the control plane: a new path is followed without knowing of it. What a handler knows better (whose name a
//! new key has, what stood there before) it notes with [`changed`] and [`about`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use config::config::AuditFailMode;
use http::{Method, StatusCode};
use journey::Caller;
use serde_json::{Map, Value, json};
use store::audit::{self, Entry, Outcome, Trail};
use wire::{Code, Failure};

use super::Asked;
use crate::app::App;

/// Requests that change nothing that is kept, or are the daily reports of nodes: they leave no row.
const UNFOLLOWED: [(&str, &str); 5] = [
    ("POST", "/api/health"),
    ("POST", "/heartbeat"),
    // They ask, with a body.
    ("POST", "/router/route"),
    ("POST", "/api/models/discover-gguf"),
    // What somebody thinks of an answer is a record of its own.
    ("POST", "/api/feedback"),
];

/// Requests that anybody may make and that mostly do nothing: they leave a row only where they changed something.
const QUIET: [&str; 1] = ["/api/auth/logout"];

/// Log-ins that a browser brings from elsewhere, so that they come by a method that changes nothing elsewhere.
const BROUGHT: &str = "/api/auth/oidc/callback";

/// What attempts are called. One that is not here is called by its method and path.
const ACTIONS: [(&str, &str, &str); 34] = [
    ("GET", BROUGHT, "auth.login"),
    ("POST", "/api/auth/login", "auth.login"),
    ("POST", "/api/auth/logout", "auth.logout"),
    ("POST", "/api/users", "user.create"),
    ("PUT", "/api/users/{id}", "user.update"),
    ("DELETE", "/api/users/{id}", "user.delete"),
    ("POST", "/api/api-keys", "key.create"),
    ("PUT", "/api/api-keys/{id}", "key.update"),
    ("DELETE", "/api/api-keys/{id}", "key.delete"),
    ("POST", "/api/api-keys/{id}/rotate", "key.rotate"),
    ("POST", "/api/nodes", "node.register"),
    ("POST", "/register", "node.register"),
    ("POST", "/api/nodes/adopt", "node.adopt"),
    ("PUT", "/api/nodes/{id}/settings", "node.update"),
    ("POST", "/api/nodes/{id}/disconnect", "node.disconnect"),
    ("POST", "/api/nodes/{id}/drain", "node.drain"),
    ("POST", "/api/nodes/{id}/approve", "node.approve"),
    ("DELETE", "/api/nodes/{id}", "node.delete"),
    ("POST", "/api/nodes/join-tokens", "join_token.create"),
    ("DELETE", "/api/nodes/join-tokens/{id}", "join_token.delete"),
    ("POST", "/api/models/register", "model.register"),
    ("POST", "/api/models/convert", "conversion.create"),
    ("DELETE", "/api/models/convert/{id}", "conversion.delete"),
    ("DELETE", "/api/models/{*id}", "model.delete"),
    ("POST", "/api/models/load", "model.load"),
    ("POST", "/api/models/unload", "model.unload"),
    ("PUT", "/api/config", "config.update"),
    ("POST", "/config/reload", "config.reload"),
    ("POST", "/router/reload", "config.reload"),
    ("POST", "/auth/reload-keys", "config.reload_keys"),
    ("POST", "/router/reset-stats", "stats.reset"),
    ("POST", "/auth/reset-metrics", "stats.reset"),
    ("POST", "/api/cache/flush", "cache.flush"),
    ("POST", "/api/ledger/recompute", "ledger.recompute"),
];

/// Longest name, id or address that a row keeps of what a caller says.
const NAME_CHARS_MAX: usize = 256;

/// Largest `before` or `after` of a row.
const DETAIL_BYTES_MAX: usize = 16 << 10;

/// Refused attempts that leave rows in any [`REFUSALS_WINDOW`]; further ones are counted in the log. Anybody can cause them.
const REFUSALS_MAX: u32 = 300;
const REFUSALS_WINDOW: Duration = Duration::from_mins(1);

/// How many refused attempts have left a row lately.
struct Refusals(Mutex<(Option<Instant>, u32)>);

static REFUSALS: Refusals = Refusals::new();

impl Refusals {
    const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Whether one more may leave a row.
    fn admit(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.is_none_or(|began| began.elapsed() >= REFUSALS_WINDOW) {
            if window.1 > REFUSALS_MAX {
                tracing::warn!(refused = window.1 - REFUSALS_MAX, "refused attempts beyond what the audit trail keeps of one minute");
            }
            *window = (Some(Instant::now()), 0);
        }
        window.1 = window.1.saturating_add(1);
        window.1 <= REFUSALS_MAX
    }
}

/// Follows every attempt to change something, and stores how it ended.
pub async fn follow(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let house = app.house();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let Some(path) = path.filter(|path| house.config.audit.enabled && is_followed(request.method(), path.as_str())) else {
        return next.run(request).await;
    };
    let rules = &house.config.audit;
    let trail = Trail::new(entry(&request, path.as_str()), rules.fail_mode == AuditFailMode::Closed, rules.retention);
    drop(house);
    let response = audit::follow(trail.clone(), next.run(request)).await;
    let (outcome, reason) = outcome(&response);
    let is_kept = match outcome {
        _ if response.status() == StatusCode::METHOD_NOT_ALLOWED => false,
        _ if trail.only_asked() => false,
        _ if QUIET.contains(&path.as_str()) => trail.is_witnessed(),
        Outcome::Denied => REFUSALS.admit(),
        _ => true,
    };
    if is_kept && let Err(error) = trail.end(&app.store, outcome, reason).await {
        tracing::error!(%error, "an audit row cannot be stored");
    }
    response
}

/// Whether requests of a method and (matched) path leave rows.
pub fn is_followed(method: &Method, path: &str) -> bool {
    path == BROUGHT || !method.is_safe() && !UNFOLLOWED.contains(&(method.as_str(), path))
}

/// What requests of a method and path are called: `(action, resource type)`.
fn action(method: &Method, path: &str) -> (String, String) {
    let found = ACTIONS.iter().find(|(verb, at, _)| *verb == method.as_str() && *at == path);
    match found.and_then(|(.., name)| Some((*name, name.split('.').next()?))) {
        Some((name, resource)) => (name.to_owned(), resource.to_owned()),
        None => (format!("{method} {path}"), path.trim_start_matches("/api/").split('/').next().unwrap_or_default().to_owned()),
    }
}

fn entry(request: &Request, path: &str) -> Entry {
    let (action, resource_type) = action(request.method(), path);
    let asked = request.extensions().get::<Asked>();
    Entry {
        request_id: asked.map(|asked| asked.request_id.to_string()).unwrap_or_default(),
        client_ip: asked.map(|asked| asked.peer.address.to_string()),
        resource_id: named_in(path, request.uri().path()),
        ..Entry::new(&action, &resource_type)
    }
}

/// What a path names where its pattern has a parameter.
fn named_in(pattern: &str, path: &str) -> Option<String> {
    let at = pattern.split('/').position(|part| part.starts_with('{'))?;
    let is_rest = pattern.split('/').nth(at)?.starts_with("{*");
    let parts = path.split('/').skip(at);
    let named = if is_rest { parts.collect::<Vec<_>>().join("/") } else { parts.take(1).collect() };
    let named = percent_encoding::percent_decode_str(&named).decode_utf8_lossy();
    Some(short(&named))
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NAME_CHARS_MAX).collect()
}

fn outcome(response: &Response) -> (Outcome, Option<String>) {
    let failure = response.extensions().get::<Failure>();
    let status = failure.map_or_else(|| response.status().as_u16(), Failure::status);
    let reason = failure.map_or_else(|| format!("status {status}"), |failure| failure.code.as_str().to_owned());
    match (status, failure.map(|failure| failure.code)) {
        (..=399, _) => (Outcome::Success, None),
        (401 | 403, _) | (_, Some(Code::RateLimitExceeded)) => (Outcome::Denied, Some(reason)),
        _ => (Outcome::Error, Some(reason)),
    }
}

/// Says who makes the attempt that is under way.
pub fn acting(caller: &Caller) {
    let (kind, id, name) = match &caller.key {
        None => ("anyone", None, None),
        Some(key) => {
            let kind = match &*key.id {
                "master" => "master",
                id if id.starts_with("user_") => "user",
                id if policy::Issuer::is_subject(id) => "token",
                _ => "key",
            };
            (kind, Some(&*key.id), Some(&*key.name))
        }
    };
    by(kind, id, name);
}

/// The same of somebody who is no caller with rights: a node, a person who logs in.
pub fn by(kind: &str, id: Option<&str>, name: Option<&str>) {
    audit::note(|entry| {
        kind.clone_into(&mut entry.actor_type);
        entry.actor_id = id.map(short);
        entry.actor = name.map(short);
    });
}

/// Says what the attempt is about, where its path does not.
pub fn about(id: &str) {
    audit::note(|entry| entry.resource_id = Some(short(id)));
}

/// Says what stood there and what shall stand there, as both are shown to people: members that sound secret are masked, those that stay equal
/// left out.
pub fn changed(before: Option<Value>, after: Option<Value>) {
    let (before, after) = match (before, after) {
        (Some(Value::Object(mut before)), Some(Value::Object(mut after))) => {
            let equal: Vec<String> =
                before.iter().filter(|(name, value)| after.get(*name) == Some(value)).map(|(n, _)| n.clone()).collect();
            for name in equal {
                before.remove(&name);
                after.remove(&name);
            }
            (Some(Value::Object(before)), Some(Value::Object(after)))
        }
        other => other,
    };
    let mut details = Map::new();
    for (name, value) in [("before", before), ("after", after)] {
        if let Some(value) = value {
            details.insert(name.to_owned(), bounded(masked(value)));
        }
    }
    audit::note(|entry| entry.details = Some(Value::Object(details)));
}

/// Says what of a configuration is changed, secrets masked.
pub fn note_changes(changes: &[config::edit::Change]) {
    let changes = serde_json::to_value(changes).unwrap_or_default();
    audit::note(|entry| entry.details = Some(json!({"changes": bounded(changes)})));
}

fn bounded(value: Value) -> Value {
    let bytes = value.to_string().len();
    if bytes > DETAIL_BYTES_MAX { json!({"left_out_bytes": bytes}) } else { value }
}

/// The value without what its members' names call secret.
fn masked(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let is_key = value.as_str().is_some_and(|value| config::is_key_itself(&name, value));
                let is_secret = is_key || config::sounds_secret(&name) && !value.is_null() && !value.is_boolean();
                let value = if is_secret { config::secret::MASK.into() } else { masked(value) };
                (name, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        single => single,
    }
}

/// What nobody asked for over a path: a command on this machine, or a file that was found changed. `None`: such things leave no rows here.
pub fn of(actor: &str, action: &str, resource_id: Option<&str>, rules: &config::config::Audit) -> Option<Arc<Trail>> {
    let resource = action.split('.').next().unwrap_or_default();
    let entry = Entry {
        actor_type: actor.replace(' ', "_"),
        actor: Some(actor.to_owned()),
        resource_id: resource_id.map(short),
        ..Entry::new(action, resource)
    };
    rules.enabled.then(|| Trail::new(entry, rules.fail_mode == AuditFailMode::Closed, rules.retention))
}

/// Makes a change that nobody asked for over a path, and stores how it ended.
///
/// # Errors
/// The change's.
pub async fn followed<T, E>(app: &App, trail: Option<Arc<Trail>>, change: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let done = audit::follow(trail.clone(), change).await;
    let outcome = if done.is_ok() { Outcome::Success } else { Outcome::Error };
    if let Some(trail) = trail
        && let Err(error) = trail.end(&app.store, outcome, None).await
    {
        tracing::error!(%error, "an audit row cannot be stored");
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_names_is_found() {
        for (pattern, path, want) in [
            ("/api/users/{id}", "/api/users/user_1", Some("user_1")),
            ("/api/api-keys/{id}/rotate", "/api/api-keys/a%20b/rotate", Some("a b")),
            ("/api/models/{*id}", "/api/models/org/model:q4", Some("org/model:q4")),
            ("/api/users", "/api/users", None),
        ] {
            assert_eq!(named_in(pattern, path).as_deref(), want);
        }
        assert_eq!(named_in("/x/{id}", &format!("/x/{}", "y".repeat(999))).unwrap().len(), NAME_CHARS_MAX);
    }

    #[test]
    fn an_attempt_without_a_name_is_called_by_its_path() {
        assert_eq!(action(&Method::PUT, "/api/users/{id}"), ("user.update".to_owned(), "user".to_owned()));
        assert_eq!(action(&Method::PATCH, "/api/new/{id}"), ("PATCH /api/new/{id}".to_owned(), "new".to_owned()));
        assert!(!is_followed(&Method::GET, "/api/users") && !is_followed(&Method::POST, "/heartbeat"));
    }

    #[tokio::test]
    async fn details_are_the_difference_without_secrets() {
        let trail = Trail::new(Entry::new("a", "b"), false, Duration::MAX);
        audit::follow(trail.clone(), async {
            let before = json!({"name": "n", "rpm": 1, "api_key": "sk-1", "deep": [{"password": "x"}]});
            changed(Some(before), Some(json!({"name": "n", "rpm": 2, "api_key": "sk-2"})));
        })
        .await;
        let mut got = None;
        trail.note(|entry| got = entry.details.clone());
        let want = json!({"before": {"rpm": 1, "api_key": "***", "deep": [{"password": "***"}]}, "after": {"rpm": 2, "api_key": "***"}});
        assert_eq!(got, Some(want));
    }

    #[test]
    fn refusals_are_bounded() {
        let refusals = Refusals::new();
        assert_eq!((0..REFUSALS_MAX + 5).filter(|_| refusals.admit()).count(), REFUSALS_MAX as usize);
    }
}
