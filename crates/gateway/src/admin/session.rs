//! People: log in with a password, carry a token.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use journey::{Caller, KeyRef, Scope, Scopes};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use wire::{Code, Failure};

use super::{Answer, Asked, read};
use crate::{
    app::App,
    first_run::{self, is_password},
};

/// How long a token is good.
const TOKEN_SECONDS: i64 = 86_400;

/// Failed log-ins of one user from one address within [`FAILURES_WINDOW`] before both wrong and right passwords are refused.
const FAILURES_MAX: usize = 10;
const FAILURES_WINDOW: Duration = Duration::from_mins(15);

/// Pairs of user and address that are remembered; the oldest is forgotten first.
const PAIRS_MAX: usize = 10_000;

/// Passwords that are checked at once: each check takes a core and megabytes for tens of milliseconds.
const CHECKS_MAX: usize = 2;

/// Signs tokens and counts failures.
pub struct Sessions {
    sign: EncodingKey,
    verify: DecodingKey,
    failures: Mutex<HashMap<(String, IpAddr), Vec<Instant>>>,
    checks: Semaphore,
    /// A hash that no password has, made at the first need: an unknown user costs as much time as a known one.
    nobody: OnceLock<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: String,
    name: String,
    exp: i64,
}

impl Sessions {
    /// Sessions signed with `secret`.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            sign: EncodingKey::from_secret(secret),
            verify: DecodingKey::from_secret(secret),
            failures: Mutex::default(),
            checks: Semaphore::new(CHECKS_MAX),
            nobody: OnceLock::new(),
        }
    }

    fn nobody(&self) -> String {
        self.nobody.get_or_init(|| first_run::hash_password(&first_run::random(20)).unwrap_or_default()).clone()
    }

    /// Seconds to wait if this pair has failed too often.
    fn locked(&self, pair: &(String, IpAddr)) -> Option<Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let times = failures.get_mut(pair)?;
        times.retain(|at| at.elapsed() < FAILURES_WINDOW);
        let oldest = times.first().filter(|_| times.len() >= FAILURES_MAX)?;
        Some(FAILURES_WINDOW.saturating_sub(oldest.elapsed()))
    }

    fn failed(&self, pair: (String, IpAddr)) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= PAIRS_MAX && !failures.contains_key(&pair) {
            failures.retain(|_, times| times.last().is_some_and(|at| at.elapsed() < FAILURES_WINDOW));
            if failures.len() >= PAIRS_MAX {
                let oldest = failures.iter().min_by_key(|(_, times)| times.last().copied()).map(|(pair, _)| pair.clone());
                oldest.map(|pair| failures.remove(&pair));
            }
        }
        failures.entry(pair).or_default().push(Instant::now());
    }
}

/// The caller of a session token; `None` for anything else.
pub fn caller(app: &App, token: &str) -> Option<Caller> {
    let claims = claims(app, token)?;
    let scopes = match claims.role.as_str() {
        "admin" => Scopes::ALL,
        _ => [Scope::Inference, Scope::Read].into_iter().collect(),
    };
    let key = KeyRef { id: claims.sub.into(), name: claims.name.into() };
    Some(Caller { key: Some(key), scopes, allowed_models: None })
}

fn claims(app: &App, token: &str) -> Option<Claims> {
    let validation = Validation::new(Algorithm::HS256);
    jsonwebtoken::decode::<Claims>(token, &app.sessions.verify, &validation).ok().map(|data| data.claims)
}

#[derive(Deserialize)]
struct LogIn {
    username: String,
    password: String,
}

/// `POST /api/auth/login`.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    tag = "users",
    summary = "Log in",
    request_body = serde_json::Value,
    responses((status = 200, description = "A token for a day", body = serde_json::Value)),
    security(())
)]
pub async fn login(State(app): State<Arc<App>>, asked: Asked, body: Bytes) -> Answer<Json<Value>> {
    let LogIn { username, password } = read(&body)?;
    let pair = (username.chars().take(128).collect::<String>(), asked.peer.address);
    // Before the count is looked at, so that guesses sent all at once are counted too.
    let _turn = app.sessions.checks.acquire().await;
    if let Some(wait) = app.sessions.locked(&pair) {
        return Err(Failure::new(Code::RateLimitExceeded, "too many failed log-ins; wait before the next").retry_after(wait).into());
    }
    let user = store::users::get(&app.store, &username).await?;
    let hash = user.as_ref().map_or_else(|| app.sessions.nobody(), |u| u.password_hash.clone());
    let is_right = tokio::task::spawn_blocking(move || is_password(&password, &hash)).await.unwrap_or(false);
    let Some(user) = user.filter(|_| is_right) else {
        app.sessions.failed(pair);
        return Err(Failure::new(Code::InvalidApiKey, "Invalid username or password").into());
    };
    let exp = jiff::Timestamp::now().as_second() + TOKEN_SECONDS;
    let claims = Claims { sub: user.id.clone(), role: user.role.clone(), name: user.username.clone(), exp };
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &app.sessions.sign);
    let token = token.map_err(|_| Failure::new(Code::InternalError, "the token could not be signed"))?;
    store::users::logged_in(&app.store, &user.id, store::now_ms()).await?;
    tracing::info!(user = user.username, "logged in");
    let who = json!({"id": user.id, "username": user.username, "role": user.role, "must_change_password": user.must_change_password});
    Ok(Json(json!({"token": token, "expires_in": TOKEN_SECONDS, "user": who})))
}

/// `POST /api/auth/logout`: tokens are not stored, so there is nothing to forget.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    tag = "users",
    summary = "Log out",
    responses((status = 204, description = "Nothing is kept of sessions")),
    security(())
)]
pub async fn logout() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `GET /api/auth/me`.
#[utoipa::path(
    get,
    path = "/api/auth/me",
    tag = "users",
    summary = "Whose session this is",
    responses((status = 200, description = "The user", body = serde_json::Value)),
    security(("bearer" = ["session"]))
)]
pub async fn me(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer<Json<Value>> {
    let house = app.house();
    let shown = house.credentials(&headers, None);
    let claims = shown.iter().find_map(|token| claims(&app, token));
    let claims = claims.ok_or_else(|| Failure::new(Code::InvalidApiKey, "this path needs the token of a session"))?;
    Ok(Json(json!({"user_id": claims.sub, "username": claims.name, "role": claims.role})))
}
