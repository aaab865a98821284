//! An account, ready to be called.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::account::{AccountAuth, Wire};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;
use wire::{Code, Dialect, Failure, ir::Reasoning, losses::Losses};

use crate::{
    address::Address,
    catalog::{self, AccountName, Provider, Scheme},
    classify::{Judgement, Kind, Verdict, judge},
    fit::{self, Fitted},
    grant::Grant,
    learn::{self, Learned, Marks, Standing},
    mask::Mask,
    pass,
};

/// An account with everything that its calls have in common made beforehand.
#[derive(Debug)]
pub struct Account {
    pub name: Arc<str>,
    pub provider: Arc<str>,
    timeouts: net::Timeouts,
    /// The time of a stream's first byte, where it is another.
    stream_first_byte: Option<Duration>,
    row: Provider,
    /// The one wire that the operator named, if any.
    wire: Option<Dialect>,
    marks: Marks,
    address: Address,
    headers: HeaderMap,
    key: Option<HeaderValue>,
    bearer: Option<HeaderValue>,
    /// Of its headers and its key.
    mask: Mask,
    /// What opens it by OAuth.
    grant: Option<Arc<Grant>>,
    /// It is opened by the caller's own credential.
    is_lent: bool,
    /// The account's name for the provider, where the operator said it.
    own_id: Option<HeaderValue>,
    /// Why it cannot be called, if it cannot.
    obstacle: Option<Failure>,
}

impl Account {
    /// Prepares an account of the configuration. What is missing (a key, a wire that is not spoken) is said when it is called.
    ///
    /// # Errors
    /// A header or credential that cannot stand in a header; never shows the value.
    pub fn new(account: &config::account::Account) -> Result<Self, String> {
        let row = catalog::provider_at(&account.provider, &account.base_url);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &account.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("account `{}`: `{name}` is no header name", account.name))?;
            headers.insert(name, secret(value.expose(), account)?);
        }
        for (name, value) in [("openai-organization", &account.organization), ("openai-project", &account.project)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), secret(value, account)?);
            }
        }
        for (name, value) in row.headers {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
        let own_id = account.oauth.as_ref().and_then(|oauth| oauth.account_id.as_deref());
        let key = account.api_key.as_ref().filter(|_| account.auth_mode == AccountAuth::ApiKey);
        let bearer = key.map(|key| secret(&format!("Bearer {}", key.expose()), account)).transpose()?;
        let key = key.map(|key| secret(key.expose(), account)).transpose()?;
        let mask = Mask::of(headers.values().filter(|value| value.is_sensitive()).chain(&key));
        Ok(Self {
            name: account.name.as_str().into(),
            provider: account.provider.as_str().into(),
            timeouts: net::Timeouts {
                connect: account.timeouts.connect,
                first_byte: account.timeouts.first_byte,
                idle: account.timeouts.idle,
                total: account.timeouts.total,
            },
            stream_first_byte: account.timeouts.stream_first_byte,
            row,
            wire: named(account.wire),
            marks: Marks::new(),
            address: Address::new(&row, &account.base_url, account.api_version.as_deref()),
            key,
            bearer,
            mask,
            grant: None,
            is_lent: account.auth_mode == AccountAuth::Passthrough,
            own_id: own_id.map(|id| secret(id, account)).transpose()?,
            headers,
            obstacle: obstacle(account),
        })
    }

    /// The same, opened by a grant.
    #[must_use]
    pub fn opened_by(self, grant: Option<Arc<Grant>>) -> Self {
        Self { grant, ..self }
    }

    /// Makes sure that its credential can be used now; costs nothing where it has none that ends.
    ///
    /// # Errors
    /// What [`Grant::ready`] says.
    pub async fn ready(&self) -> Result<(), Failure> {
        match &self.grant {
            Some(grant) => grant.ready().await,
            None => Ok(()),
        }
    }

    /// The credential that ends and can be renewed, as it is sent now.
    pub fn granted(&self) -> Option<HeaderValue> {
        self.grant.as_ref()?.bearer()
    }

    /// Whether there is another credential than the one that was refused.
    pub async fn renewed(&self, refused: Option<&HeaderValue>) -> bool {
        match &self.grant {
            Some(grant) => grant.replaced(refused).await,
            None => false,
        }
    }

    /// A text with the account's own credentials masked; very short ones are words like any other.
    pub fn masked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = self.mask.apply(Cow::Borrowed(text));
        match self.granted() {
            Some(granted) => Mask::of([granted].iter()).apply(text),
            None => text,
        }
    }

    /// What of an answer a caller may read: the same bytes, unless they hold the account's own credential.
    pub fn hidden(&self, bytes: Bytes) -> Bytes {
        match std::str::from_utf8(&bytes).map(|text| self.masked(text)) {
            Ok(Cow::Owned(masked)) => masked.into(),
            _ => bytes,
        }
    }

    /// Why its credential cannot be used at present.
    pub fn trouble(&self) -> Option<String> {
        self.grant.as_ref()?.trouble()
    }

    /// Puts the caller's own credential into a request, where the account says that it is opened so; of any other account's requests it stays
    /// out. `may_leave` knows the credentials that open this router: none of those leaves the house.
    ///
    /// # Errors
    /// [`Code::InvalidApiKey`]: the caller shows none that may be sent on.
    pub fn lend(
        &self,
        wire: Dialect,
        client: &HeaderMap,
        may_leave: &dyn Fn(&str) -> bool,
        request: &mut HeaderMap,
    ) -> Result<(), Failure> {
        if !self.is_lent {
            return Ok(());
        }
        let (own, _) = self.credential(wire);
        let mut is_lent = false;
        for name in [own, AUTHORIZATION] {
            let value = client
                .get(&name)
                .filter(|value| value.to_str().is_ok_and(|text| !text.is_empty() && may_leave(text) && text.split(' ').all(may_leave)));
            if let Some(value) = value {
                let mut value = value.clone();
                value.set_sensitive(true);
                request.insert(name, value);
                is_lent = true;
            }
        }
        if is_lent {
            return Ok(());
        }
        let message = format!(
            "the account `{}` is opened by the caller's own credential, and the request shows none but this router's: send the provider's as \
             `Authorization: Bearer …`, and this router's key as `x-litellm-api-key`",
            self.name
        );
        Err(Failure::new(Code::InvalidApiKey, message))
    }

    /// Whether the provider knows `stream_options.include_usage`.
    pub fn knows_stream_usage(&self) -> bool {
        self.row.stream_usage
    }

    /// Whether the provider answers in streams only: a whole answer has to be put together from one.
    pub fn only_streams(&self) -> bool {
        self.row.only_streams
    }

    /// The wire on which a caller's dialect is served now: its own where the account speaks it or may speak it.
    pub fn wire_for(&self, caller: Dialect) -> Dialect {
        self.wire_at(caller, Instant::now())
    }

    /// [`Self::wire_for`] at a moment.
    pub fn wire_at(&self, caller: Dialect, now: Instant) -> Dialect {
        match self.standing(caller, now) {
            Standing::Named | Standing::Sure | Standing::Possible | Standing::Spoken => caller,
            Standing::NotSpoken | Standing::Never => self.wire.unwrap_or_else(|| self.sure()),
        }
    }

    /// How the account stands to every wire at a moment.
    pub fn wires(&self, now: Instant) -> [(Dialect, Standing); Dialect::ALL.len()] {
        Dialect::ALL.map(|wire| (wire, self.standing(wire, now)))
    }

    /// Whether tokens can be counted there on a wire.
    pub fn counts_tokens(&self, wire: Dialect) -> bool {
        self.wire == Some(wire) || (self.wire.is_none() && self.row.counts.contains(&wire))
    }

    /// Whether its provider is known to count there.
    pub fn surely_counts(&self, wire: Dialect) -> bool {
        self.row.counts.contains(&wire)
    }

    /// Takes in what an answer on a wire shows of the account's languages. `body` is what was read of an error (a success may be given
    /// with an empty one). For wires that are sure or named nothing is learned.
    pub fn learn(&self, wire: Dialect, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Instant) -> Learned {
        if self.wire.is_some() || !self.row.may.contains(&wire) {
            return Learned::Unclear;
        }
        let is_new = self.standing(wire, now) != Standing::Spoken;
        let learned = learn::lesson(&self.row, wire, is_new, status, headers, body);
        self.marks.keep(wire, learned, now);
        learned
    }

    /// Takes over what an older self (from before a change of the configuration) had learned, if it is the same upstream.
    pub fn inherit(&self, older: &Self, now: Instant) {
        if self.provider == older.provider && self.address == older.address {
            self.marks.inherit(&older.marks, now);
        }
    }

    /// The time limits of a call.
    pub fn timeouts_of(&self, is_stream: bool) -> net::Timeouts {
        let first_byte = self.stream_first_byte.filter(|_| is_stream).unwrap_or(self.timeouts.first_byte);
        net::Timeouts { first_byte, ..self.timeouts }
    }

    /// Whether an older self called the same upstream with the same credential, so that what was known of it still holds.
    pub fn is_same_as(&self, older: &Self) -> bool {
        self.provider == older.provider && self.address == older.address && self.key == older.key && self.headers == older.headers
    }

    /// Judges an answer by what this provider means with it. `also_retried` are the operator's own additions.
    pub fn judge(&self, status: StatusCode, body: &[u8], also_retried: &[u16]) -> Judgement {
        let judged = judge(&self.row, status, body, also_retried);
        // The credential was the caller's own, and so is what is wrong with it.
        let is_theirs = self.is_lent && judged.verdict == Verdict::NextTarget && matches!(judged.kind, Some(Kind::Key | Kind::Credit));
        Judgement { verdict: if is_theirs { Verdict::GiveBack } else { judged.verdict }, ..judged }
    }

    /// Fits a translated body, written for `wire`, to the provider: what it would refuse is dropped, what it calls otherwise renamed.
    /// `asked` is what the caller said about thinking. Losses are noted; everything that was done comes back. Never for the raw lane.
    pub fn fit(&self, wire: Dialect, asked: &Reasoning, body: &mut Value, losses: &mut Losses) -> Vec<Fitted> {
        fit::fit(&self.row, wire, asked, body, losses)
    }

    /// Whether a client's header may travel to this account on a wire.
    pub fn may_pass(&self, wire: Dialect, name: &HeaderName) -> bool {
        (pass::may_pass(wire, name) || self.row.passes.contains(&name.as_str())) && !pass::NEVER.contains(&name.as_str())
    }

    /// Puts those of a client's headers into a request that may travel on its wire. What the account says itself stands.
    pub fn pass(&self, wire: Dialect, client: &HeaderMap, request: &mut HeaderMap) {
        for name in client.keys().filter(|name| self.may_pass(wire, name) && !self.headers.contains_key(*name)) {
            request.remove(name);
            for value in client.get_all(name) {
                request.append(name.clone(), value.clone());
            }
        }
    }

    /// A POST to one of the account's paths (`/chat/completions`, …) on a wire. Nothing of the client's headers is in it.
    ///
    /// # Errors
    /// [`Code::ProviderKeyMissing`] naming the variable.
    pub fn post(&self, wire: Dialect, path: &str, body: Bytes, streams: bool) -> Result<Request<net::Body>, Failure> {
        let mut request = self.request(wire, path, body, streams)?;
        *request.method_mut() = Method::POST;
        Ok(request)
    }

    /// A POST of a form, whose model is `model` there.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn post_form(
        &self,
        wire: Dialect,
        path: &str,
        model: &str,
        form: net::Body,
        kind: HeaderValue,
    ) -> Result<Request<net::Body>, Failure> {
        // Where a path names the model it is read of the body.
        let named = serde_json::json!({ "model": model }).to_string();
        let mut request = self.request(wire, path, named.into(), false)?;
        *request.method_mut() = Method::POST;
        *request.body_mut() = form;
        request.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(request)
    }

    /// A GET of the models that the account has.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn list(&self) -> Result<Request<net::Body>, Failure> {
        self.request(self.wire.unwrap_or_else(|| self.sure()), "/models", Bytes::new(), false)
    }

    fn request(&self, wire: Dialect, path: &str, body: Bytes, streams: bool) -> Result<Request<net::Body>, Failure> {
        if let Some(failure) = &self.obstacle {
            return Err(failure.clone());
        }
        let uri = self
            .address
            .uri(wire, path, &body)
            .ok_or_else(|| Failure::new(Code::UpstreamError, format!("the base URL of the account `{}` is not usable", self.name)))?;
        let mut request = Request::new(net::Body::from(body));
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        let accept = if streams { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let (name, value) = match &self.grant {
            Some(grant) => (AUTHORIZATION, grant.bearer()),
            None => self.credential(wire),
        };
        if let Some(value) = value {
            headers.insert(name, value);
        }
        if let Some(named) = self.row.names_account
            && let Some(id) = self.own_id.clone().or_else(|| self.granted_id(named))
        {
            headers.insert(HeaderName::from_static(named.header), id);
        }
        if wire == Dialect::Messages {
            headers.entry("anthropic-version").or_insert(HeaderValue::from_static(MESSAGES_VERSION));
        }
        Ok(request)
    }

    /// The header of its key on a wire.
    fn credential(&self, wire: Dialect) -> (HeaderName, Option<HeaderValue>) {
        let (name, value) = match (self.row.scheme, wire) {
            (Scheme::Header(name), _) => (HeaderName::from_static(name), &self.key),
            (Scheme::OfTheWire, Dialect::Messages) => (HeaderName::from_static("x-api-key"), &self.key),
            (Scheme::OfTheWire, Dialect::Gemini) => (HeaderName::from_static("x-goog-api-key"), &self.key),
            (Scheme::OfTheWire, Dialect::Chat | Dialect::Responses) | (Scheme::Bearer, _) => (AUTHORIZATION, &self.bearer),
        };
        (name, value.clone())
    }

    /// Whose account it is, as its token says.
    fn granted_id(&self, named: AccountName) -> Option<HeaderValue> {
        let claims = self.grant.as_ref()?.claims()?;
        HeaderValue::from_str(claims[named.claim][named.member].as_str()?).ok()
    }

    fn standing(&self, wire: Dialect, now: Instant) -> Standing {
        match self.wire {
            Some(named) if named == wire => Standing::Named,
            None if self.row.wires.contains(&wire) => Standing::Sure,
            None if self.row.may.contains(&wire) => self.marks.standing(wire, now),
            _ => Standing::Never,
        }
    }

    fn sure(&self) -> Dialect {
        self.row.wires.first().copied().unwrap_or(Dialect::Chat)
    }
}

/// The version of Messages that is asked for where the caller names none.
const MESSAGES_VERSION: &str = "2023-06-01";

fn named(wire: Wire) -> Option<Dialect> {
    match wire {
        Wire::Auto => None,
        Wire::Chat => Some(Dialect::Chat),
        Wire::Responses => Some(Dialect::Responses),
        Wire::Messages => Some(Dialect::Messages),
        Wire::Gemini => Some(Dialect::Gemini),
    }
}

fn secret(text: &str, account: &config::account::Account) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("account `{}`: its key or a header has characters that no header may have", account.name))?;
    value.set_sensitive(true);
    Ok(value)
}

fn obstacle(account: &config::account::Account) -> Option<Failure> {
    match account.auth_mode {
        AccountAuth::ApiKey if account.api_key.is_none() => {
            let variable = account.api_key_variable.as_deref().unwrap_or("api_key");
            Some(Failure::new(
                Code::ProviderKeyMissing,
                format!("the key of the account `{}` is not configured: set {variable}", account.name),
            ))
        }
        AccountAuth::ApiKey | AccountAuth::Oauth | AccountAuth::Passthrough | AccountAuth::None => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
