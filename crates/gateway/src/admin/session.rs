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
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use journey::{Caller, KeyRef, Scope, Scopes};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use store::users::User;
use tokio::sync::Semaphore;
use wire::{Code, Failure};

use super::{Answer, Asked, Asks, read, trail};
use crate::{
    app::App,
    first_run::{self, is_password},
    peer::Peer,
    snapshot::House,
};

/// How long a token is good.
const TOKEN_SECONDS: i64 = 86_400;

/// The cookie that carries the token, and the one whose value a change repeats in [`CSRF_HEADER`].
const COOKIE: &str = "session";
const CSRF_COOKIE: &str = "csrf";
const CSRF_HEADER: &str = "x-csrf-token";
const CSRF_LETTERS: usize = 32;

/// Letters of a session's id.
const ID_LETTERS: usize = 22;

/// Of the hash of a password's hash, how much a token repeats.
const STAMP_BYTES: usize = 12;

/// Failed log-ins of one user from one address within [`FAILURES_WINDOW`] before both wrong and right passwords are refused.
const FAILURES_MAX: usize = 10;
const FAILURES_WINDOW: Duration = Duration::from_mins(15);

/// Pairs of user and address that are remembered; the oldest is forgotten first.
const PAIRS_MAX: usize = 10_000;

/// Passwords that are checked at once: each check takes a core and megabytes for tens of milliseconds.
const CHECKS_MAX: usize = 2;

/// The cookies of a session, as headers of an answer.
pub type Cookies = AppendHeaders<[(HeaderName, String); 2]>;

/// Signs tokens and counts failures.
pub struct Sessions {
    sign: EncodingKey,
    verify: DecodingKey,
    failures: Mutex<HashMap<(String, IpAddr), Vec<Instant>>>,
    pub(super) checks: Semaphore,
    /// A hash that no password has, made at the first need: an unknown user costs as much time as a known one.
    nobody: OnceLock<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: String,
    name: String,
    exp: i64,
    /// The session's own id, by which it can end before its time.
    #[serde(default)]
    jti: String,
    /// When it was opened, unix milliseconds.
    #[serde(default)]
    opened_at_ms: i64,
    /// [`Seat::stamp`] when it was signed.
    #[serde(default)]
    stamp: String,
    /// What a change has to say where the token comes as a cookie.
    #[serde(default)]
    csrf: String,
}

/// A user as sessions know them.
#[derive(Debug, Clone)]
pub struct Seat {
    pub username: String,
    /// `admin` or `viewer`.
    pub role: String,
    pub must_change_password: bool,
    /// Another one with every password: it ends the sessions of the one before.
    stamp: String,
}

impl Seat {
    /// The place of a stored user.
    pub fn of(user: &User) -> Self {
        let digest = policy::hash(&user.password_hash);
        Self {
            username: user.username.clone(),
            role: user.role.clone(),
            must_change_password: user.must_change_password,
            stamp: STANDARD_NO_PAD.encode(&digest[..STAMP_BYTES]),
        }
    }
}

/// A session that is in force.
#[derive(Debug, Clone)]
pub struct Session {
    /// The user's id.
    pub id: String,
    pub seat: Seat,
    /// The token came as a cookie.
    pub is_cookie: bool,
}

impl Session {
    /// Who this is to the rest of the house.
    ///
    /// # Errors
    /// [`Code::PermissionDenied`] where the password must be changed first.
    pub fn caller(self) -> Result<Caller, Failure> {
        let Self { id, seat, .. } = self;
        if seat.must_change_password {
            let message = format!("the password must be changed first: PUT /api/users/{id} with a new `password`");
            return Err(Failure::new(Code::PermissionDenied, message));
        }
        let scopes = match seat.role.as_str() {
            "admin" => Scopes::ALL,
            _ => [Scope::Inference, Scope::Read].into_iter().collect(),
        };
        Ok(Caller { key: Some(KeyRef { id: id.into(), name: seat.username.into() }), scopes, allowed_models: None })
    }
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

    /// Something of ours that a browser holds for us: it can be read there, and not changed.
    ///
    /// # Errors
    /// [`Code::InternalError`]: it cannot be signed.
    pub fn seal(&self, held: &impl Serialize) -> Result<String, Failure> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), held, &self.sign)
            .map_err(|_| Failure::new(Code::InternalError, "the token could not be signed"))
    }

    /// The same when it comes back; `None` where it is not ours, is something else, or its time (`exp`) is over.
    pub fn unseal<T: DeserializeOwned>(&self, text: &str) -> Option<T> {
        jsonwebtoken::decode::<T>(text, &self.verify, &Validation::new(Algorithm::HS256)).ok().map(|data| data.claims)
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

/// The session that a request shows: a token like a key, else the cookie of a browser. `None`: none that is in force.
///
/// # Errors
/// [`Code::PermissionDenied`]: a change by cookie without the word that only our own pages can read.
pub fn present(app: &App, house: &House, asks: Asks<'_>) -> Result<Option<Session>, Failure> {
    let shown = house.credentials(asks.headers, asks.query_key);
    if !shown.is_empty() {
        return Ok(shown.iter().find_map(|token| in_force(house, &claims(app, token)?, false)));
    }
    let Some(claims) = cookie(asks.headers, COOKIE).and_then(|token| claims(app, token)) else { return Ok(None) };
    let said = asks.headers.get(CSRF_HEADER).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let is_said = !claims.csrf.is_empty() && policy::hash_bytes(said) == policy::hash(&claims.csrf);
    match in_force(house, &claims, true) {
        Some(_) if asks.is_change && !is_said => {
            let message = format!("a session by cookie needs `{CSRF_HEADER}`, equal to the cookie `{CSRF_COOKIE}`, to change something");
            Err(Failure::new(Code::PermissionDenied, message))
        }
        session => Ok(session),
    }
}

/// A token lasts no longer than its user, the password that it was given for, and the session.
fn in_force(house: &House, claims: &Claims, is_cookie: bool) -> Option<Session> {
    let seat = house.users.get(&claims.sub).filter(|seat| seat.stamp == claims.stamp)?.clone();
    let has_ended = house.ended_sessions.get(&claims.sub).is_some_and(|ended| ended.has(&claims.jti, claims.opened_at_ms));
    if claims.jti.is_empty() || has_ended {
        return None;
    }
    Some(Session { id: claims.sub.clone(), seat, is_cookie })
}

/// Whether a text is a token of a session here, in force or not.
pub fn is_made_here(app: &App, token: &str) -> bool {
    claims(app, token).is_some()
}

fn claims(app: &App, token: &str) -> Option<Claims> {
    app.sessions.unseal(token)
}

/// The value of a cookie that a request brings.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// A token for a user, and the cookies that carry it in a browser.
///
/// # Errors
/// [`Code::InternalError`]: it cannot be signed.
pub fn open(app: &App, id: &str, seat: &Seat, transport: Transport) -> Result<(String, Cookies), Failure> {
    let now = jiff::Timestamp::now();
    let (exp, opened_at_ms, jti) = (now.as_second() + TOKEN_SECONDS, now.as_millisecond(), first_run::random(ID_LETTERS));
    let csrf = first_run::random(CSRF_LETTERS);
    let Seat { username, role, stamp, .. } = seat.clone();
    let claims = Claims { sub: id.to_owned(), role, name: username, exp, jti, opened_at_ms, stamp, csrf };
    let token = app.sessions.seal(&claims)?;
    let cookies = cookies(&token, &claims.csrf, TOKEN_SECONDS, transport);
    Ok((token, cookies))
}

/// How a browser reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    /// Over TLS that a proxy of ours ends: its cookies travel no other way.
    Tls,
}

impl Transport {
    /// What a trusted proxy says of the browser's side of it; whatever others say counts for nothing.
    pub fn of(peer: Peer, headers: &HeaderMap) -> Self {
        let said = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok()?.split(',').next());
        match said {
            Some(proto) if peer.trusted && proto.trim().eq_ignore_ascii_case("https") => Self::Tls,
            _ => Self::Plain,
        }
    }
}

/// Two cookies: the token, which no script sees, and the word that our pages repeat.
fn cookies(token: &str, csrf: &str, seconds: i64, transport: Transport) -> Cookies {
    let secure = if transport == Transport::Tls { "; Secure" } else { "" };
    AppendHeaders([
        (header::SET_COOKIE, format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; SameSite=Strict; HttpOnly{secure}")),
        (header::SET_COOKIE, format!("{CSRF_COOKIE}={csrf}; Path=/; Max-Age={seconds}; SameSite=Strict{secure}")),
    ])
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
pub async fn login(State(app): State<Arc<App>>, asked: Asked, headers: HeaderMap, body: Bytes) -> Answer<Response> {
    let LogIn { username, password } = read(&body)?;
    let pair = (username.chars().take(128).collect::<String>(), asked.peer.address);
    // Before the count is looked at, so that guesses sent all at once are counted too.
    let _turn = app.sessions.checks.acquire().await;
    let user = store::users::get(&app.store, &username).await?;
    if let Some(user) = &user {
        trail::by("user", Some(&user.id), Some(&user.username));
    }
    // Another name than a user's is not kept: it may be a password that was typed into the wrong field.
    if let Some(wait) = app.sessions.locked(&pair) {
        return Err(Failure::new(Code::RateLimitExceeded, "too many failed log-ins; wait before the next").retry_after(wait).into());
    }
    let hash = user.as_ref().map_or_else(|| app.sessions.nobody(), |u| u.password_hash.clone());
    let is_right = tokio::task::spawn_blocking(move || is_password(&password, &hash)).await.unwrap_or(false);
    let Some(user) = user.filter(|_| is_right) else {
        app.sessions.failed(pair);
        return Err(Failure::new(Code::InvalidApiKey, "Invalid username or password").into());
    };
    let seat = Seat::of(&user);
    let (token, cookies) = open(&app, &user.id, &seat, Transport::of(asked.peer, &headers))?;
    store::users::logged_in(&app.store, &user.id, store::now_ms()).await?;
    // A user whom another process made just now: the token is good when it is out.
    if app.house().users.get(&user.id).is_none_or(|known| known.stamp != seat.stamp) {
        app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    }
    tracing::info!(user = user.username, "logged in");
    let who = json!({"id": user.id, "username": user.username, "role": user.role, "must_change_password": user.must_change_password});
    Ok((cookies, Json(json!({"token": token, "expires_in": TOKEN_SECONDS, "user": who}))).into_response())
}

/// `POST /api/auth/logout`: the session ends, wherever else its token may be, and a browser forgets its cookies.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    tag = "users",
    summary = "Log out",
    responses((status = 204, description = "The session whose token or cookie was shown has ended, if there was one")),
    security(())
)]
pub async fn logout(State(app): State<Arc<App>>, asked: Asked, headers: HeaderMap) -> Answer<Response> {
    let house = app.house();
    let shown = house.credentials(&headers, None);
    let tokens = shown.iter().chain(cookie(&headers, COOKIE));
    // Whoever shows the token may end it: no word of the page is asked for. Where none is in force there is nothing to do.
    let sessions: Vec<Claims> =
        tokens.filter_map(|token| claims(&app, token).filter(|claims| in_force(&house, claims, false).is_some())).collect();
    for claims in &sessions {
        trail::by("user", Some(&claims.sub), Some(&claims.name));
        store::sessions::end(&app.store, &claims.sub, &claims.jti, claims.exp * 1000, store::now_ms()).await?;
    }
    if !sessions.is_empty() {
        app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    }
    Ok((StatusCode::NO_CONTENT, cookies("", "", 0, Transport::of(asked.peer, &headers))).into_response())
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
    let asks = Asks { headers: &headers, query_key: None, is_change: false };
    let session = present(&app, &app.house(), asks)?;
    let Session { id, seat, .. } = session.ok_or_else(|| Failure::new(Code::InvalidApiKey, "this path needs the token of a session"))?;
    let must = seat.must_change_password;
    Ok(Json(json!({"user_id": id, "username": seat.username, "role": seat.role, "must_change_password": must})))
}
