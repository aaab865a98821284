//! Bearer tokens of an identity provider: verified here, with the provider's own public keys.
//!
//! Invariant: a token counts only by a key of the provider's list (or the operator's shared secret), an algorithm that the operator accepts
//! and that fits the key, its issuer, audience, times and scopes. Keys that are known stay good while the provider cannot be reached, and no
//! stream of wrong tokens makes the router ask the provider more often than [`Pace`] lets it.

mod claims;
mod ring;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, header::ACCEPT};
use jiff::Timestamp;
use journey::{Caller, KeyRef, Scopes};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use moka::sync::Cache;
use wire::{Code, Failure};

use crate::keys::{Hash, hash};
use claims::Claims;
pub use claims::Person;
use ring::Ring;

/// How long a list of keys is taken for the newest; then it is fetched again, behind the path.
const LIST_TIME_MAX: Duration = Duration::from_mins(5);
/// Most bytes of a list of keys.
const LIST_BYTES_MAX: usize = 256 << 10;
/// Time for a list of keys.
const TIMEOUTS: net::Timeouts = net::Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(15),
};
/// Tokens whose verification is remembered, and for how long: a key that the provider withdraws ends with the list, not later than this.
const REMEMBERED_MAX: u64 = 10_000;
const REMEMBERED_TIME_MAX: Duration = Duration::from_mins(1);
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// What ids of subjects begin with: no key of the settings or the store can be taken for one.
const SUBJECT: &str = "oauth:";
/// Fetches for tokens that no known key fits: so many at once, and then one in so long.
const FETCHES_MAX: f64 = 5.0;
const FETCH_EVERY: Duration = Duration::from_secs(10);

/// What the operator says of tokens. It may hold a secret, so it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Terms {
    /// The `iss` that a token must have.
    pub issuer: Option<String>,
    /// An `aud` that a token must have.
    pub audience: Option<String>,
    /// Where the provider's keys are.
    pub list_url: Option<String>,
    /// A shared secret instead of them.
    pub secret: Option<Vec<u8>>,
    /// As JOSE names them; those that are not known count for nothing.
    pub algorithms: Vec<String>,
    /// Scopes that a token must have, all of them.
    pub required_scopes: Vec<String>,
    pub clock_skew: Duration,
    /// What every token may, where nothing is granted by words.
    pub scopes: Scopes,
    /// What a token's words are granted.
    pub grants: Option<Vec<(String, Scopes)>>,
}

/// Verifies tokens of one identity provider.
pub struct Issuer {
    terms: Terms,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    ring: ArcSwap<Ring>,
    fetching: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
    known: Cache<Hash, Known>,
    client: net::Client,
    /// Where the client's connections live.
    back: tokio::runtime::Handle,
}

/// A token that was verified.
#[derive(Clone)]
struct Known {
    caller: Caller,
    /// Unix seconds, the skew of clocks included.
    until: i64,
}

impl Issuer {
    /// A verifier that has fetched nothing yet. `client` is used on `back` only.
    pub fn new(terms: Terms, client: net::Client, back: tokio::runtime::Handle) -> Self {
        let algorithms: Vec<Algorithm> = terms.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
        let ring = terms.secret.as_deref().map_or_else(Ring::default, |secret| Ring::shared(DecodingKey::from_secret(secret)));
        Self {
            validation: validation(&terms),
            ring: ArcSwap::from_pointee(ring),
            fetching: tokio::sync::Mutex::default(),
            pace: Mutex::new(Pace { left: FETCHES_MAX, at: Instant::now() }),
            known: Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(REMEMBERED_TIME_MAX).build(),
            algorithms,
            terms,
            client,
            back,
        }
    }

    /// What it verifies by.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether a credential has the form of a token. Anything else is none of its business.
    pub fn may_be_one(credential: &str) -> bool {
        credential.len() <= TOKEN_BYTES_MAX && credential.starts_with("ey") && credential.split('.').count() == 3
    }

    /// Whether a text may be a token of this provider: by its own word, or because nothing is known of the provider's name.
    pub fn may_have_issued(&self, text: &str) -> bool {
        let claimed = || jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(text).ok();
        Self::may_be_one(text) && self.terms.issuer.as_deref().is_none_or(|own| claimed().is_none_or(|claims| claims.is_from(own)))
    }

    /// Whether an id of a key is one of a token's subject.
    pub fn is_subject(id: &str) -> bool {
        id.starts_with(SUBJECT)
    }

    /// The caller of a token.
    ///
    /// # Errors
    /// [`Code::InvalidApiKey`], in words that show nothing of the token; [`Code::PermissionDenied`] where a scope is missing;
    /// [`Code::NoAvailableTarget`] where the provider's keys were never there to judge by.
    pub async fn identify(self: &Arc<Self>, token: &str, now: Timestamp) -> Result<Caller, Failure> {
        let hash = hash(token);
        if let Some(known) = self.known.get(&hash).filter(|known| known.until > now.as_second()) {
            return Ok(known.caller);
        }
        let claims = self.verified(token).await?;
        let caller = self.caller(&claims)?;
        let until = claims.ends_at().saturating_add(self.terms.clock_skew.as_secs() as i64);
        self.known.insert(hash, Known { caller: caller.clone(), until });
        Ok(caller)
    }

    /// Whom a token is about that was made for one log-in: `nonce` is the word that went along with that. Nothing of it is remembered.
    ///
    /// # Errors
    /// As [`Issuer::identify`].
    pub async fn person(self: &Arc<Self>, token: &str, nonce: &str) -> Result<Person, Failure> {
        let claims = self.verified(token).await?;
        if !claims.has_nonce(nonce) {
            return Err(refused("it is of another log-in"));
        }
        if !claims.is_for(self.terms.audience.as_deref()) {
            return Err(refused(Unfit::Audience.reason()));
        }
        Person::of(claims).ok_or_else(|| refused("it names no subject"))
    }

    /// What a token says, if it counts.
    async fn verified(self: &Arc<Self>, token: &str) -> Result<Claims, Failure> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused("it cannot be read"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(refused("its signature algorithm is not accepted"));
        }
        let kid = header.kid.as_deref();
        let ring = self.current().await;
        let mut verdict = self.verify(&ring, token, header.alg, kid);
        if matches!(verdict, Err(Unfit::NoKey)) {
            // The provider may have changed its keys a moment ago.
            let newer = self.newer_than(&ring).await;
            verdict = self.verify(&newer, token, header.alg, kid);
            if matches!(verdict, Err(Unfit::NoKey)) && !newer.is_known() {
                let message = "the identity provider's keys cannot be fetched now, so that its tokens cannot be judged";
                return Err(Failure::new(Code::NoAvailableTarget, message).retry_after(FETCH_EVERY));
            }
        }
        verdict.map_err(|unfit| refused(unfit.reason()))
    }

    fn verify(&self, ring: &Ring, token: &str, algorithm: Algorithm, kid: Option<&str>) -> Result<Claims, Unfit> {
        for key in ring.candidates(algorithm, kid) {
            match jsonwebtoken::decode::<Claims>(token, key, &Validation { algorithms: vec![algorithm], ..self.validation.clone() }) {
                Ok(data) => return Ok(data.claims),
                Err(error) => match error.kind() {
                    ErrorKind::ExpiredSignature => return Err(Unfit::Expired),
                    ErrorKind::ImmatureSignature => return Err(Unfit::Early),
                    ErrorKind::InvalidIssuer => return Err(Unfit::Issuer),
                    ErrorKind::InvalidAudience => return Err(Unfit::Audience),
                    ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
                        return Err(Unfit::Claims);
                    }
                    _ => {}
                },
            }
        }
        Err(Unfit::NoKey)
    }

    fn caller(&self, claims: &Claims) -> Result<Caller, Failure> {
        let subject = claims.subject().ok_or_else(|| refused("it names no subject"))?;
        if let Some(missing) = self.terms.required_scopes.iter().find(|scope| !claims.has_scope(scope)) {
            return Err(Failure::new(Code::PermissionDenied, format!("the token has not the scope `{missing}` that this router asks for")));
        }
        let scopes = match &self.terms.grants {
            None => self.terms.scopes,
            Some(grants) => {
                grants.iter().filter(|(word, _)| claims.has_word(word)).fold(Scopes::default(), |all, (_, some)| all.with(*some))
            }
        };
        let key = KeyRef { id: format!("{SUBJECT}{subject}").into(), name: subject.into() };
        Ok(Caller { key: Some(key), scopes, allowed_models: None })
    }

    /// The keys that are known. The first time they are waited for; an old list is renewed while it is used.
    async fn current(self: &Arc<Self>) -> Arc<Ring> {
        let ring = self.ring.load_full();
        match ring.age() {
            None => self.newer_than(&ring).await,
            Some(age) => {
                if age > LIST_TIME_MAX && self.fetching.try_lock().is_ok() && self.pace().allows(Instant::now()) {
                    let (this, old) = (self.clone(), ring.clone());
                    self.back.spawn(async move { this.newer_than(&old).await });
                }
                ring
            }
        }
    }

    /// A list that is newer than `old`, where the pace allows one and the provider gives it; else what there is. All who ask meanwhile
    /// wait for the same fetch, and one who leaves does not end it.
    async fn newer_than(self: &Arc<Self>, old: &Arc<Ring>) -> Arc<Ring> {
        if self.terms.secret.is_some() {
            return old.clone();
        }
        let (this, old) = (self.clone(), old.clone());
        let renewed = self.back.spawn(async move {
            let _one = this.fetching.lock().await;
            let now = this.ring.load_full();
            if !Arc::ptr_eq(&now, &old) || !this.pace().takes(Instant::now()) {
                return;
            }
            match this.fetch().await {
                Ok(ring) => {
                    if !ring.same_keys(&now) {
                        this.known.invalidate_all();
                    }
                    this.ring.store(Arc::new(ring));
                }
                Err(why) => {
                    tracing::warn!(why, "the keys of the identity provider could not be fetched; those that are known stay in force");
                }
            }
        });
        let _ = renewed.await;
        self.ring.load_full()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) -> Result<Ring, String> {
        let url = self.terms.list_url.as_deref().unwrap_or_default();
        let mut request = Request::new(net::Body::empty());
        *request.uri_mut() = url.parse().map_err(|_| "the address of its keys is no URL".to_owned())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.client.fetch(request, &TIMEOUTS, LIST_BYTES_MAX).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answered with status {}", answer.status().as_u16()));
        }
        Ring::read(answer.body()).ok_or_else(|| "it answered with something that is no list of usable keys".to_owned())
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("issuer", &self.terms.issuer).finish_non_exhaustive()
    }
}

fn validation(terms: &Terms) -> Validation {
    let mut validation = Validation::new(Algorithm::default());
    validation.leeway = terms.clock_skew.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if let Some(issuer) = &terms.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    match &terms.audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        None => validation.validate_aud = false,
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Expired,
    Early,
    Issuer,
    Audience,
    Claims,
    /// No known key made its signature.
    NoKey,
}

impl Unfit {
    const fn reason(self) -> &'static str {
        match self {
            Self::Expired => "it has expired",
            Self::Early => "it is not valid yet",
            Self::Issuer => "it is from another issuer",
            Self::Audience => "it is meant for somebody else",
            Self::Claims => "a claim is missing or cannot be read",
            Self::NoKey => "its signature is not the identity provider's",
        }
    }
}

fn refused(reason: &str) -> Failure {
    Failure::new(Code::InvalidApiKey, format!("Invalid OAuth token: {reason}."))
}

/// How often a provider is asked.
#[derive(Debug)]
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    fn allows(&self, now: Instant) -> bool {
        self.at(now) >= 1.0
    }

    fn takes(&mut self, now: Instant) -> bool {
        (self.left, self.at) = (self.at(now), now);
        let is_allowed = self.left >= 1.0;
        if is_allowed {
            self.left -= 1.0;
        }
        is_allowed
    }

    fn at(&self, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() / FETCH_EVERY.as_secs_f64();
        (self.left + earned).min(FETCHES_MAX)
    }
}

#[cfg(test)]
mod tests;
