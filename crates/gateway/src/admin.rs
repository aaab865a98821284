//! The study: what administrators, nodes and probes ask. Never on the path of an inference call.

pub mod audit;
pub mod blob;
pub mod cache;
pub mod choices;
pub mod credentials;
pub mod dashboard;
pub mod explain;
pub mod feedback;
pub mod file;
pub mod history;
pub mod keys;
pub mod ledger;
pub mod loading;
pub mod models;
pub mod nodes;
pub mod oidc;
pub mod openapi;
pub mod operate;
pub mod pieces;
pub mod probes;
pub mod registry;
pub mod session;
pub mod settings;
pub mod trail;
pub mod usage;
pub mod users;

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use jiff::Timestamp;
use journey::{Caller, Scope};
use serde::de::DeserializeOwned;
use wire::{Code, Failure};

use crate::{app::App, peer::Peer, snapshot::House};

/// Who asks, from where, under which id; put into every request's extensions.
#[derive(Debug, Clone)]
pub struct Asked {
    pub peer: Peer,
    pub request_id: Arc<str>,
}

/// A failure on its way out; it gets its shape where the request id is known.
#[derive(Debug)]
pub struct Refusal(pub Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<store::StoreError> for Refusal {
    fn from(error: store::StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        if matches!(error, store::StoreError::Unrecorded(_)) {
            return Self(error.failure());
        }
        Self(Failure::new(Code::InternalError, "the store failed; the log says how"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// What handlers give.
pub type Answer<T> = Result<T, Refusal>;

/// A caller who may read: nodes, models, records.
pub struct Reader(pub Caller);

/// A caller who may change things.
pub struct Admin(pub Caller);

/// A caller who may operate: set counts back, read keys again.
pub struct Operator(pub Caller);

/// A caller with any valid key.
pub struct Known(pub Caller);

impl FromRequestParts<Arc<App>> for Known {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        Ok(Self(caller(app, parts).await?))
    }
}

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        let caller = caller(app, parts).await?;
        policy::may_call(&caller, Scope::Ops)?;
        store::audit::begin(&app.store).await?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        if is_management_open(app) {
            return Ok(Self(Caller::anyone()));
        }
        let caller = caller(app, parts).await?;
        policy::may_call(&caller, Scope::Read)?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        let is_management = ["/api/nodes", "/api/models"].iter().any(|path| parts.uri.path().starts_with(path));
        if is_management_open(app) && is_management {
            trail::acting(&Caller::anyone());
            store::audit::begin(&app.store).await?;
            return Ok(Self(Caller::anyone()));
        }
        let house = app.house();
        if !house.keys.is_open() && !house.keys.has_admin() && house.config.auth.admin == config::config::AdminLogin::Disabled {
            let message = "no administrator can exist here: set LLM_ROUTER_MASTER_KEY, or allow users to log in";
            return Err(Failure::new(Code::ControlPlaneNotConfigured, message).into());
        }
        let caller = caller(app, parts).await?;
        policy::may_call(&caller, Scope::Admin)?;
        store::audit::begin(&app.store).await?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Answer<Self> {
        parts.extensions.get().cloned().ok_or_else(|| Failure::new(Code::InternalError, "a request without its origin").into())
    }
}

async fn caller(app: &App, parts: &Parts) -> Result<Caller, Failure> {
    let query_key = is_gemini(parts).then(|| parts.uri.query().and_then(crate::routes::query_key)).flatten();
    let asks = Asks { headers: &parts.headers, query_key: query_key.as_deref(), is_change: !parts.method.is_safe() };
    let caller = identify(app, &app.house(), asks, Timestamp::now()).await?;
    trail::acting(&caller);
    Ok(caller)
}

/// What a request shows of who it is from.
#[derive(Debug, Clone, Copy)]
pub struct Asks<'a> {
    pub headers: &'a HeaderMap,
    /// `?key=` of Gemini's paths.
    pub query_key: Option<&'a str>,
    /// It may change or cost something: a browser's cookie alone does not do for it.
    pub is_change: bool,
}

/// Finds the caller by key, else by a session's token or cookie, else by a token of the identity provider.
///
/// # Errors
/// [`Code::InvalidApiKey`], [`Code::PermissionDenied`] for a session that may not do this yet, and what [`policy::Issuer::identify`] says of a
/// token.
pub async fn identify(app: &App, house: &House, asks: Asks<'_>, now: Timestamp) -> Result<Caller, Failure> {
    let shown = house.credentials(asks.headers, asks.query_key);
    let failure = match house.keys.identify(&shown, now) {
        Ok(caller) => return Ok(caller),
        Err(failure) => failure,
    };
    if let Some(session) = session::present(app, house, asks)? {
        return session.caller();
    }
    let Some(issuer) = &house.issuer else { return Err(failure) };
    // Of several the first speaks for all: nobody gets many verifications out of one request.
    match shown.iter().find(|token| policy::Issuer::may_be_one(token)) {
        Some(token) => issuer.identify(token, now).await,
        None => Err(failure),
    }
}

/// Only Gemini's clients put a key into the query.
fn is_gemini(parts: &Parts) -> bool {
    parts.uri.path().contains("/v1beta/")
}

fn is_management_open(app: &App) -> bool {
    app.house().config.auth.management == config::config::ManagementAuth::Open
}

/// Reads a JSON body; an empty one is an empty object.
fn read<T: DeserializeOwned>(body: &Bytes) -> Answer<T> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    Ok(wire::json::parse(body)?)
}
