//! People who log in at an identity provider: the code flow of OpenID Connect, with PKCE and a nonce.
//!
//! Invariant: nobody gets a session but by a token that the provider made for this log-in of this browser, and whom it is about is known by
//! the provider's own id, never by a name that somebody can choose. What is under way stands in a cookie that is signed here, so that any
//! router with the same secret finishes what another began, and nothing is kept for those who never come back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use config::config::Oidc;
use http::Request;
use journey::Scopes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use policy::{
    Issuer,
    issuer::{self, Person},
};
use serde::{Deserialize, Serialize};
use store::{
    StoreError,
    users::{self, Change, User},
};
use wire::{Code, Failure};

use super::{
    Answer, Asked, Refusal,
    session::{self, Seat, Transport},
    trail,
    users::checked_name,
};
use crate::{app::App, first_run};

/// Where the provider sends browsers back to.
const BACK: &str = "/api/auth/oidc/callback";

/// Holds what is under way.
const COOKIE: &str = "oidc";
/// How long somebody may take at the provider.
const TRIP_SECONDS: i64 = 600;
/// Letters of the words that only this log-in knows.
const WORD_LETTERS: usize = 43;

/// How long what a provider says of itself is believed, and how long one that could not be asked is left alone.
const DESCRIBED_TIME: Duration = Duration::from_hours(1);
const FAILED_TIME: Duration = Duration::from_secs(5);
/// Most bytes of an answer of the provider, and the time for one.
const ANSWER_BYTES_MAX: usize = 256 << 10;
const TIMEOUTS: net::Timeouts = net::Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(15),
};

/// Signatures that the provider's keys may make; never one with a secret that both have.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// How far clocks may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// What the provider was found to be, for the settings that it was asked by.
#[derive(Default)]
pub struct Door(tokio::sync::Mutex<Option<Found>>);

struct Found {
    by: Oidc,
    at: Instant,
    provider: Option<Arc<Provider>>,
}

/// What a provider says of itself (OpenID Connect Discovery 1.0 §3), as much as is needed.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

struct Provider {
    said: Description,
    issuer: Arc<Issuer>,
}

/// A log-in that is under way.
#[derive(Serialize, Deserialize)]
struct Trip {
    exp: i64,
    state: String,
    nonce: String,
    verifier: String,
    redirect: String,
}

/// What a browser brings back.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Brought {
    code: String,
    state: String,
    error: String,
    iss: Option<String>,
}

fn unreachable() -> Failure {
    Failure::new(Code::UpstreamError, "the identity provider cannot be asked now; the log says why")
}

fn refused(why: &str) -> Failure {
    Failure::new(Code::PermissionDenied, why.to_owned())
}

/// `GET /api/auth/oidc/login`: sends a browser to the identity provider.
#[utoipa::path(
    get,
    path = "/api/auth/oidc/login",
    tag = "users",
    summary = "Log in at the identity provider",
    responses((status = 303, description = "To the provider, and from there to the callback"), (status = 404, description = "None is configured"), (status = 502, description = "It cannot be asked")),
    security(())
)]
pub async fn login(State(app): State<Arc<App>>, asked: Asked, headers: HeaderMap) -> Response {
    let transport = Transport::of(asked.peer, &headers);
    begun(&app, &headers, transport).await.unwrap_or_else(|failure| told(&failure))
}

async fn begun(app: &App, headers: &HeaderMap, transport: Transport) -> Result<Response, Failure> {
    let (oidc, provider) = provider(app).await?;
    let word = || first_run::random(WORD_LETTERS);
    let redirect = match &oidc.redirect_url {
        Some(url) => url.clone(),
        None => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let host = host.ok_or_else(|| Failure::invalid("host", "the request names no host to come back to"))?;
            format!("{}://{host}{BACK}", if transport == Transport::Tls { "https" } else { "http" })
        }
    };
    let exp = jiff::Timestamp::now().as_second() + TRIP_SECONDS;
    let trip = Trip { exp, state: word(), nonce: word(), verifier: word(), redirect };
    let scopes = oidc.scopes.join(" ");
    let challenge = URL_SAFE_NO_PAD.encode(policy::hash(&trip.verifier));
    let asked = [
        ("response_type", "code"),
        ("client_id", oidc.client_id.as_str()),
        ("redirect_uri", trip.redirect.as_str()),
        ("scope", scopes.as_str()),
        ("state", trip.state.as_str()),
        ("nonce", trip.nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let at = &provider.said.authorization_endpoint;
    let to = format!("{at}{}{}", if at.contains('?') { '&' } else { '?' }, form(&asked));
    let cookie = cookie(&app.sessions.seal(&trip)?, TRIP_SECONDS, transport);
    Ok((StatusCode::SEE_OTHER, AppendHeaders([(header::LOCATION, to), (header::SET_COOKIE, cookie)])).into_response())
}

/// `GET /api/auth/oidc/callback`: whom the provider vouches for gets a session.
#[utoipa::path(
    get,
    path = "/api/auth/oidc/callback",
    tag = "users",
    summary = "Come back from the identity provider",
    params(("code" = Option<String>, Query), ("state" = Option<String>, Query), ("error" = Option<String>, Query), ("iss" = Option<String>, Query)),
    responses(
        (status = 303, description = "To the dashboard, with a session"),
        (status = 401, description = "The provider's word does not count"),
        (status = 403, description = "Not begun by this browser, or not for this person"),
        (status = 404, description = "No provider is configured"),
        (status = 409, description = "A user of this name logs in with a password"),
        (status = 502, description = "The provider cannot be asked")
    ),
    security(())
)]
pub async fn callback(State(app): State<Arc<App>>, asked: Asked, headers: HeaderMap, Query(brought): Query<Brought>) -> Response {
    let transport = Transport::of(asked.peer, &headers);
    let gone = AppendHeaders([(header::SET_COOKIE, cookie("", 0, transport))]);
    match ended(&app, &headers, brought, transport).await {
        Ok(response) => (gone, response).into_response(),
        Err(Refusal(failure)) => (gone, told(&failure)).into_response(),
    }
}

async fn ended(app: &App, headers: &HeaderMap, brought: Brought, transport: Transport) -> Answer<Response> {
    let (oidc, provider) = provider(app).await?;
    let trip = session::cookie(headers, COOKIE).and_then(|text| app.sessions.unseal::<Trip>(text));
    let trip = trip.filter(|trip| policy::hash(&trip.state) == policy::hash(&brought.state));
    let trip = trip.ok_or_else(|| refused("this browser has begun no such log-in, or too long ago"))?;
    if brought.iss.is_some_and(|iss| iss != provider.said.issuer) {
        return Err(refused("another identity provider has answered").into());
    }
    if !brought.error.is_empty() || brought.code.is_empty() {
        tracing::info!(error = %brought.error.escape_debug(), "the identity provider let somebody not in");
        return Err(refused("the identity provider did not let you in").into());
    }
    let token = exchanged(app, &oidc, &provider, &brought.code, &trip).await?;
    let person = provider.issuer.person(&token, &trip.nonce).await?;
    let user = user_of(app, &oidc, &provider, &person).await?;
    trail::by("user", Some(&user.id), Some(&user.username));
    users::logged_in(&app.store, &user.id, store::now_ms()).await?;
    app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?;
    let (_, cookies) = session::open(app, &user.id, &Seat::of(&user), transport)?;
    tracing::info!(user = user.username, role = user.role, "logged in at the identity provider");
    // The page asks for its data itself: cookies of a strict kind do not come along with a way that began elsewhere.
    Ok((StatusCode::SEE_OTHER, cookies, AppendHeaders([(header::LOCATION, "/dashboard".to_owned())])).into_response())
}

/// What is configured, and the provider as it describes itself. All who ask meanwhile wait for one look.
async fn provider(app: &App) -> Result<(Oidc, Arc<Provider>), Failure> {
    let nobody = || Failure::new(Code::NotFound, "no identity provider is configured (`auth.oidc`)");
    let oidc = app.house().config.auth.oidc.clone().ok_or_else(nobody)?;
    let mut door = app.door.0.lock().await;
    let is_good =
        |found: &Found| found.by == oidc && found.at.elapsed() < if found.provider.is_some() { DESCRIBED_TIME } else { FAILED_TIME };
    if !door.as_ref().is_some_and(is_good) {
        let provider = match described(app, &oidc).await {
            Ok(provider) => Some(Arc::new(provider)),
            Err(why) => {
                tracing::warn!(why, issuer = oidc.issuer, "the identity provider cannot be asked what it is");
                None
            }
        };
        *door = Some(Found { by: oidc.clone(), at: Instant::now(), provider });
    }
    let provider = door.as_ref().and_then(|found| found.provider.clone()).ok_or_else(unreachable)?;
    Ok((oidc, provider))
}

async fn described(app: &App, oidc: &Oidc) -> Result<Provider, String> {
    let url = format!("{}/.well-known/openid-configuration", oidc.issuer.trim_end_matches('/'));
    let said: Description = fetched(app, Request::get(url), String::new()).await?;
    if said.issuer.trim_end_matches('/') != oidc.issuer.trim_end_matches('/') {
        return Err(format!("it says that it is {}", said.issuer));
    }
    let terms = issuer::Terms {
        issuer: Some(said.issuer.clone()),
        audience: Some(oidc.client_id.clone()),
        list_url: Some(said.jwks_uri.clone()),
        secret: None,
        algorithms: ALGORITHMS.map(str::to_owned).to_vec(),
        required_scopes: Vec::new(),
        clock_skew: CLOCK_SKEW,
        scopes: Scopes::default(),
        grants: None,
    };
    Ok(Provider { issuer: Arc::new(Issuer::new(terms, app.client.clone(), app.back.clone())), said })
}

/// Gives the code back for the token that says who came (RFC 6749 §4.1.3).
async fn exchanged(app: &App, oidc: &Oidc, provider: &Provider, code: &str, trip: &Trip) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Tokens {
        id_token: String,
    }
    let mut asked = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", trip.redirect.as_str()),
        ("client_id", oidc.client_id.as_str()),
        ("code_verifier", trip.verifier.as_str()),
    ];
    let methods = &provider.said.token_endpoint_auth_methods_supported;
    let takes = |method: &str| methods.iter().any(|one| one == method);
    let mut request = Request::post(&provider.said.token_endpoint).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(secret) = &oidc.client_secret {
        // What a provider does not say it takes as the specification has it.
        if takes("client_secret_post") && !takes("client_secret_basic") {
            asked.push(("client_secret", secret.expose()));
        } else {
            let pair = [oidc.client_id.as_str(), secret.expose()].map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
            request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair.join(":"))));
        }
    }
    let tokens: Tokens = fetched(app, request, form(&asked)).await.map_err(|why| {
        tracing::warn!(why, "the identity provider gave no token for a code");
        unreachable()
    })?;
    Ok(tokens.id_token)
}

async fn fetched<T: serde::de::DeserializeOwned>(app: &App, request: http::request::Builder, body: String) -> Result<T, String> {
    let request = request.header(header::ACCEPT, "application/json").body(net::Body::from(body.into_bytes()));
    let request = request.map_err(|_| "its address is no URL".to_owned())?;
    let answer = app.client.fetch(request, &TIMEOUTS, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answered with status {}", answer.status().as_u16()));
    }
    serde_json::from_slice(answer.body()).map_err(|_| "it answered with something else than what is asked for".to_owned())
}

/// The user of a person: known by what the provider calls them for ever, made at the first time, with the role of now.
async fn user_of(app: &App, oidc: &Oidc, provider: &Provider, person: &Person) -> Answer<User> {
    let role = if person.has_any(&oidc.admins) {
        "admin"
    } else if person.has_any(&oidc.viewers) {
        "viewer"
    } else {
        return Err(refused("the identity provider knows you, and this router has no place for you (`auth.oidc.viewers`)").into());
    };
    let mark = mark(&provider.said.issuer, person.subject());
    let all = users::list(&app.store).await?;
    let Some(mut user) = all.into_iter().find(|user| user.password_hash == mark) else {
        let user = User {
            id: store::new_id("user"),
            username: checked_name(person.name())?,
            password_hash: mark,
            role: role.to_owned(),
            must_change_password: false,
            created_at_ms: store::now_ms(),
            last_login_at_ms: None,
        };
        trail::about(&user.id);
        users::insert(&app.store, &user).await.map_err(|error| match error {
            StoreError::Exists(_) => Refusal(Failure::new(Code::Conflict, format!("another user is called `{}`", user.username))),
            other => other.into(),
        })?;
        return Ok(user);
    };
    // The last administrator stays one, whatever the provider says.
    let change = Change { role: Some(role.to_owned()), ..Change::default() };
    if user.role != role && users::change(&app.store, &user.id, &change).await? {
        role.clone_into(&mut user.role);
    }
    Ok(user)
}

/// Stands where others have the hash of their password: no password has it, and no two people have the same.
fn mark(issuer: &str, subject: &str) -> String {
    format!("oidc:{}", URL_SAFE_NO_PAD.encode(policy::hash(&format!("{issuer}\n{subject}"))))
}

fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// It has to come along when the provider sends the browser back, so it is no strict one.
fn cookie(text: &str, seconds: i64, transport: Transport) -> String {
    let secure = if transport == Transport::Tls { "; Secure" } else { "" };
    format!("{COOKIE}={text}; Path=/api/auth/oidc; Max-Age={seconds}; SameSite=Lax; HttpOnly{secure}")
}

/// A page for a person whose log-in has failed.
fn told(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let words = failure.message.trim_end_matches('.').replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Not logged in</title>\
         <h1>Not logged in</h1><p>{words}.</p><p><a href=\"/dashboard\">Back</a></p></html>\n"
    );
    let policy = (header::CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'");
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8"), policy], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_apart_by_provider_and_id() {
        let marks = [("https://a", "1"), ("https://a", "2"), ("https://b", "1"), ("https://a\n1", "")].map(|(issuer, id)| mark(issuer, id));
        assert!((1..4).all(|n| !marks[..n].contains(&marks[n])), "{marks:?}");
        assert!(!first_run::is_password("", &marks[0]) && !first_run::is_password(&marks[0], &marks[0]), "no password opens it");
    }

    #[test]
    fn what_is_sent_is_encoded() {
        assert_eq!(form(&[("a", "x y&z"), ("b", "é")]), "a=x%20y%26z&b=%C3%A9");
        assert!(cookie("t", 5, Transport::Tls).ends_with("; Secure") && !cookie("t", 5, Transport::Plain).contains("Secure"));
    }
}
