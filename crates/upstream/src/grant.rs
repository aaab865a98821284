//! A grant: the tokens of an account that is opened by OAuth, and their renewal.
//!
//! Invariant: at most one renewal of a grant runs at a time, and it ends although whoever asked for it has gone, so that a refresh token
//! that the server has replaced is never lost. What is new is kept before it is used.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use config::account::AccountAuth;
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wire::{Code, Failure};

/// A token that ends sooner is renewed while it is still used.
const AHEAD: Duration = Duration::from_mins(1);
/// How long an account is left alone whose token server could not be reached, and one whose refresh token was refused.
const REST: Duration = Duration::from_secs(10);
const REST_REFUSED: Duration = Duration::from_mins(5);
/// Most bytes of a token server's answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Time for it.
const TIMEOUTS: net::Timeouts = net::Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(15),
    idle: Duration::from_secs(15),
    total: Duration::from_secs(20),
};

/// What a token server gives, as it is kept. It cannot be printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Sent to the provider.
    pub access: Option<String>,
    /// Gets the next ones.
    pub refresh: Option<String>,
    /// When the access token ends, in Unix seconds; `None` where nobody said so.
    pub ends_at: Option<i64>,
    /// Grows with each renewal; those of the settings are 0.
    #[serde(default)]
    pub serial: u64,
}

/// What keeps tokens over restarts, and shares them between routers.
pub trait Keeper: Send + Sync {
    /// The tokens that were last kept for a grant. `seed` is what the settings said when they were.
    fn recall<'a>(&'a self, account: &'a str, seed: &'a str) -> Pin<Box<dyn Future<Output = Option<Tokens>> + Send + 'a>>;

    /// Keeps tokens. What goes wrong is told to the operator: the tokens are good, only the next start may not know them.
    fn keep<'a>(&'a self, account: &'a str, seed: &'a str, tokens: &'a Tokens) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// What the settings say of a grant. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Terms {
    pub first: Tokens,
    /// Where tokens are renewed; `None`: nowhere.
    pub token_url: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
}

/// Where renewals happen: behind the path, so that nobody's leaving ends one.
#[derive(Clone)]
pub struct Office {
    /// Used on `back` only.
    pub client: net::Client,
    pub back: tokio::runtime::Handle,
    pub keeper: Arc<dyn Keeper>,
}

/// The grant of one account.
pub struct Grant {
    account: Arc<str>,
    terms: Terms,
    /// Tells apart what was kept for other terms.
    seed: String,
    office: Office,
    held: ArcSwap<Held>,
    renewing: tokio::sync::Mutex<()>,
    trouble: Mutex<Option<Trouble>>,
}

struct Held {
    tokens: Tokens,
    bearer: Option<HeaderValue>,
    /// Whether what was kept has been looked for.
    is_recalled: bool,
}

#[derive(Clone)]
struct Trouble {
    until: Instant,
    why: String,
    /// The account refused the token that is held, whatever it says of its end.
    is_refused: bool,
}

impl Grant {
    /// A grant as the settings have it; what was kept of it is looked for when it is first needed.
    pub fn new(account: &str, terms: Terms, office: Office) -> Self {
        let held = ArcSwap::from_pointee(Held::new(terms.first.clone(), false));
        let seed = terms.seed();
        Self { account: account.into(), terms, seed, office, held, renewing: tokio::sync::Mutex::default(), trouble: Mutex::default() }
    }

    /// What the settings say of it.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The header that opens the account now.
    pub fn bearer(&self) -> Option<HeaderValue> {
        self.held.load().bearer.clone()
    }

    /// The access token's own claims, unverified: only what goes back to the server that issued it may be taken from them.
    pub fn claims(&self) -> Option<Value> {
        claims(self.held.load().tokens.access.as_deref()?)
    }

    /// Why it does not open its account at present, if it does not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble_now().map(|trouble| trouble.why)
    }

    fn trouble_now(&self) -> Option<Trouble> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|trouble| trouble.until > Instant::now()).cloned()
    }

    /// Makes sure that the token can be used: one that has ended is renewed before, one that will soon end meanwhile.
    ///
    /// # Errors
    /// [`Code::UpstreamCredentials`] or [`Code::ProviderKeyMissing`] in words for the operator; nothing of a token is in them.
    pub async fn ready(self: &Arc<Self>) -> Result<(), Failure> {
        let held = self.held.load_full();
        let left = held.left(SystemTime::now());
        if held.is_recalled && left > AHEAD && self.trouble_now().is_none() {
            return Ok(());
        }
        let is_usable = held.is_recalled && !left.is_zero();
        if let Some(trouble) = self.trouble_now() {
            return if is_usable && !trouble.is_refused { Ok(()) } else { Err(self.failure(&trouble.why)) };
        }
        if !is_usable {
            self.renewed_after(held.tokens.serial, false).await;
        } else if self.can_renew(&held) && self.renewing.try_lock().is_ok() {
            drop(self.office.back.spawn(self.clone().renew(held.tokens.serial, false)));
        }
        let held = self.held.load();
        if held.left(SystemTime::now()).is_zero() {
            let why = self.trouble().unwrap_or_else(|| self.lack(&held));
            return Err(self.failure(&why));
        }
        Ok(())
    }

    /// Renews a token that the account refused before its end. Whether there is another one now.
    pub async fn replaced(self: &Arc<Self>, refused: Option<&HeaderValue>) -> bool {
        let held = self.held.load_full();
        if held.bearer.as_ref() != refused {
            return true;
        }
        if !self.can_renew(&held) || self.trouble().is_some() {
            return false;
        }
        self.renewed_after(held.tokens.serial, true).await;
        self.held.load().bearer.as_ref() != refused
    }

    async fn renewed_after(self: &Arc<Self>, serial: u64, is_refused: bool) {
        // Whoever leaves does not end it.
        let _ = self.office.back.spawn(self.clone().renew(serial, is_refused)).await;
    }

    fn can_renew(&self, held: &Held) -> bool {
        self.terms.token_url.is_some() && held.tokens.refresh.is_some()
    }

    /// Gets tokens newer than those of a serial: from the keeper if another router has been here, else from the token server.
    async fn renew(self: Arc<Self>, serial: u64, is_refused: bool) {
        let _one = self.renewing.lock().await;
        let mut held = self.held.load_full();
        if held.tokens.serial > serial || self.trouble().is_some() {
            return;
        }
        if let Some(newer) = self.recalled(&held).await {
            held = newer;
        } else if !held.is_recalled {
            held = self.hold(held.tokens.clone());
        }
        let is_newer = held.tokens.serial > serial;
        let is_due = (is_refused && !is_newer) || held.left(SystemTime::now()) <= AHEAD;
        if !is_due || !self.can_renew(&held) {
            return;
        }
        match self.fetch(&held.tokens).await {
            Ok(tokens) => {
                self.office.keeper.keep(&self.account, &self.seed, &tokens).await;
                self.hold(tokens);
                tracing::info!(account = &*self.account, "the OAuth token was renewed");
            }
            // Another router may have renewed it at the same moment, so that this one's refresh token counts no more.
            Err((rest, why)) => {
                if self.recalled(&held).await.is_none() {
                    tracing::warn!(account = &*self.account, why, "the OAuth token could not be renewed");
                    *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Trouble { until: Instant::now() + rest, why, is_refused });
                }
            }
        }
    }

    /// What was kept, if it is newer; then it is held.
    async fn recalled(&self, held: &Held) -> Option<Arc<Held>> {
        let kept = self.office.keeper.recall(&self.account, &self.seed).await?;
        (kept.serial > held.tokens.serial).then(|| self.hold(kept))
    }

    fn hold(&self, tokens: Tokens) -> Arc<Held> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let held = Arc::new(Held::new(tokens, true));
        self.held.store(held.clone());
        held
    }

    /// New tokens; or for how long not to ask again, and why.
    async fn fetch(&self, old: &Tokens) -> Result<Tokens, (Duration, String)> {
        let form = [
            ("grant_type", Some("refresh_token")),
            ("refresh_token", old.refresh.as_deref()),
            ("client_id", self.terms.client_id.as_deref()),
            ("client_secret", self.terms.client_secret.as_deref()),
        ];
        let url = self.terms.token_url.as_deref().unwrap_or_default();
        let request = token_request(url, &form).ok_or((REST_REFUSED, "the address of its token server is no URL".to_owned()))?;
        let answer = self.office.client.fetch(request, &TIMEOUTS, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(account = &*self.account, %error, "the token server could not be asked");
            (REST, "its token server could not be reached".to_owned())
        })?;
        let status = answer.status();
        let tokens = token_answer(&answer, SystemTime::now()).map_err(|why| {
            let rest = if status.is_client_error() && status != 429 && status != 408 { REST_REFUSED } else { REST };
            (rest, why)
        })?;
        // A server that names no new refresh token lets the old one stand.
        Ok(Tokens { refresh: tokens.refresh.or_else(|| old.refresh.clone()), serial: old.serial + 1, ..tokens })
    }

    fn lack(&self, held: &Held) -> String {
        let what = match (&held.tokens.refresh, &self.terms.token_url) {
            (None, _) => "there is no refresh token to renew it (oauth_refresh_token)",
            (_, None) => "there is no address to renew it at (oauth_token_url)",
            _ => "it could not be renewed",
        };
        let token = if held.tokens.access.is_some() { "its access token has ended" } else { "it has no access token" };
        format!("{token}, and {what}")
    }

    fn failure(&self, why: &str) -> Failure {
        let message = format!("the OAuth credentials of the account `{}` cannot be used: {why}", self.account);
        Failure::new(Code::ProviderKeyMissing, message)
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Held {
    fn new(mut tokens: Tokens, is_recalled: bool) -> Self {
        let bearer = tokens.access.as_deref().and_then(|access| HeaderValue::try_from(format!("Bearer {access}")).ok()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        if tokens.ends_at.is_none() {
            tokens.ends_at = tokens.access.as_deref().and_then(claims).and_then(|claims| claims["exp"].as_f64()).map(|at| at as i64);
        }
        Self { tokens, bearer, is_recalled }
    }

    /// How long the token can be used; without end where nobody knows of one.
    fn left(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match (&self.bearer, self.tokens.ends_at) {
            (None, _) => Duration::ZERO,
            (Some(_), None) => Duration::MAX,
            (Some(_), Some(at)) => Duration::from_secs(u64::try_from(at).unwrap_or(0).saturating_sub(now)),
        }
    }
}

/// All grants, kept over changes of the configuration that do not concern them.
pub struct Grants {
    office: Office,
    by_account: Mutex<HashMap<String, Arc<Grant>>>,
}

impl Grants {
    /// None yet.
    pub fn new(office: Office) -> Self {
        Self { office, by_account: Mutex::default() }
    }

    /// The grant of an account that is opened by OAuth: the one that there is, if its settings are still the same.
    pub fn of(&self, account: &config::account::Account) -> Option<Arc<Grant>> {
        if account.auth_mode != AccountAuth::Oauth {
            return None;
        }
        let terms = Terms::of(account);
        let mut grants = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grant) = grants.get(&account.name).filter(|grant| grant.terms == terms) {
            return Some(grant.clone());
        }
        let grant = Arc::new(Grant::new(&account.name, terms, self.office.clone()));
        grants.insert(account.name.clone(), grant.clone());
        Some(grant)
    }

    /// Forgets those of accounts that are gone.
    pub fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        self.by_account.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_there(name));
    }
}

impl Terms {
    fn of(account: &config::account::Account) -> Self {
        let oauth = account.oauth.clone().unwrap_or_default();
        let home = config::providers::oauth_home(&account.provider);
        let text = |secret: Option<config::Secret>| secret.map(|secret| secret.expose().to_owned());
        Self {
            first: Tokens { access: text(oauth.access_token), refresh: text(oauth.refresh_token), ends_at: oauth.expires_at, serial: 0 },
            token_url: oauth.token_url.or_else(|| home.map(|home| home.token_url.to_owned())),
            client_id: oauth.client_id.or_else(|| home.map(|home| home.client_id.to_owned())),
            client_secret: text(oauth.client_secret),
        }
    }

    /// Stands for what tokens were begun with, without showing it: what was kept for others is of no use.
    fn seed(&self) -> String {
        let began = self.first.refresh.as_deref().or(self.first.access.as_deref());
        let parts = [began, self.token_url.as_deref(), self.client_id.as_deref()].map(Option::unwrap_or_default);
        URL_SAFE_NO_PAD.encode(Sha256::digest(parts.join("\n").as_bytes()))
    }
}

/// The claims of a token in JWT's form, unverified.
fn claims(token: &str) -> Option<Value> {
    let (_, rest) = token.split_once('.')?;
    let (payload, _) = rest.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

/// A form for a token server; members without a value are left out.
pub fn token_request(url: &str, form: &[(&str, Option<&str>)]) -> Option<Request<net::Body>> {
    let pairs = form.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))));
    let body = pairs.collect::<Vec<_>>().join("&");
    let mut request = Request::post(url).body(net::Body::from(body)).ok()?;
    request.uri().host()?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Some(request)
}

/// What is escaped in a form's values: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as a form's or query's value.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<f64>,
}

/// The tokens of a token server's answer.
///
/// # Errors
/// In words; of the answer only its status and its error's code, if it is one, are in them.
pub fn token_answer(answer: &Response<Bytes>, now: SystemTime) -> Result<Tokens, String> {
    if !answer.status().is_success() {
        let said: Option<Value> = serde_json::from_slice(answer.body()).ok();
        let code = said.as_ref().and_then(|said| said["error"].as_str().or_else(|| said["error"]["code"].as_str()));
        let is_code = |code: &&str| code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let code = code.filter(is_code).map(|code| format!(" ({code})")).unwrap_or_default();
        return Err(format!("its token server answered with status {}{code}", answer.status().as_u16()));
    }
    let given: Given = serde_json::from_slice(answer.body()).map_err(|_| "its token server answered without an access token".to_owned())?;
    if HeaderValue::from_str(&given.access_token).is_err() || given.access_token.is_empty() {
        return Err("its token server answered with an access token that cannot be sent".to_owned());
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let ends_at = given.expires_in.map(|seconds| now.saturating_add(seconds as i64));
    Ok(Tokens { access: Some(given.access_token), refresh: given.refresh_token.filter(|t| !t.is_empty()), ends_at, serial: 0 })
}

#[cfg(test)]
mod tests;
