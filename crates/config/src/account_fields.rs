//! An account from an object of the file or of `ROUTER_SERVICES`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::account::{Account, AccountAuth, AccountLimits, AccountOauth, AccountOrigin, Reach, Timeouts, Wire};
use crate::base_url;
use crate::config::RateLimit;
use crate::env::Environment;
use crate::error::ConfigError;
use crate::fields::{Field, Fields, Place, field};
use crate::prices::{PRICE_FIELDS, Price};
use crate::providers::{self, provider};
use crate::secret::{Secret, mask_keys};
use crate::secret_ref::{self, Reference};
use crate::setting::{Count, Interval};
use crate::tree::{Entry, Node, Value};

/// The keys of an account.
pub(crate) const ACCOUNT_FIELDS: &[Field] = &[
    field("name", "Unique; the provider's name by default."),
    field(
        "provider",
        "A provider of the table below, or any other word for something that speaks OpenAI's chat (`openai`; `custom` for a service).",
    ),
    field("backend_type", "Another word for `provider`."),
    field("base_url", "Where it is, with or without the version at its end; the provider's own address by default."),
    field(
        "api_version",
        "Azure OpenAI: a dated version (`2024-10-21`) is asked for by `?api-version=` at the paths of deployments; none: `/openai/v1`.",
    ),
    field("auth_mode", "`api_key`, `oauth`, `passthrough` (the client's own credential is sent on) or `none`."),
    field("api_key", "The key: literal, `env:NAME`, `os.environ/NAME` or `file:PATH`."),
    field("api_key_env", "The variable that holds the key; wins over `api_key` where it is set."),
    field("oauth_access_token", "For `auth_mode: oauth`: the token that is sent."),
    field("oauth_access_token_env", "Its variable."),
    field("oauth_refresh_token", "Gets a new token."),
    field("oauth_refresh_token_env", "Its variable."),
    field("oauth_expires_at", "When the token ends, in Unix seconds."),
    field("oauth_expires_at_env", "Its variable."),
    field("oauth_client_id", "For renewal."),
    field("oauth_client_id_env", "Its variable."),
    field("oauth_client_secret", "For renewal."),
    field("oauth_client_secret_env", "Its variable."),
    field("oauth_account_id", "Sent beside the token."),
    field("oauth_account_id_env", "Its variable."),
    field("oauth_token_url", "Where the token is renewed."),
    field("organization", "OpenAI's organization."),
    field("project", "OpenAI's project."),
    field("enabled", "Whether it is used (`true`)."),
    field(
        "models",
        "Names and wildcards (`gpt-*`) it serves; empty: any name; of patterns that fit, the one that says most goes first within a priority. Left out: the names of `model_map`, any where it is empty too.",
    ),
    field("model_map", "Public name → the upstream's name; `team/*` → `*` for all names that begin so."),
    field("priority", "Lower first (`0`)."),
    field("weight", "Share among accounts of one priority (`1`); where one of them has it, one is drawn for each request."),
    field("price", "`{input, output, cached, cache_write, source}` as in `prices`, where they are the account's own and not the model's."),
    field("rate_limit_requests", "Most requests in a sliding window; a full account is skipped."),
    field("rate_limit_window", "That window (`60s`)."),
    field("limits", "`{rpm, tpm, concurrency}`: requests and tokens a minute, requests at once."),
    field("timeouts", "`{connect, first_byte, idle, total, stream_first_byte}`; by default those of the key `timeouts`."),
    field("timeout", "Another word for `timeouts.first_byte`."),
    field("headers", "Sent with every request; values may be `env:NAME` and the like."),
    field("wire", "`auto`, `chat`, `responses`, `messages` or `gemini`."),
];

/// The keys of `limits`.
pub(crate) const LIMIT_FIELDS: &[Field] = &[field("rpm", ""), field("tpm", ""), field("concurrency", "")];
const TIMEOUT_FIELDS: &[Field] =
    &[field("connect", ""), field("first_byte", ""), field("idle", ""), field("total", ""), field("stream_first_byte", "")];

fn price(fields: &Fields) -> Result<Option<Price>, ConfigError> {
    if fields.node("price").is_none() {
        return Ok(None);
    }
    let price = fields.below("price", PRICE_FIELDS)?;
    Price::read(&price).map(Some)
}

/// The window of a rate limit that names none.
pub(crate) const RATE_WINDOW: Duration = Duration::from_mins(1);

/// What an account takes from around it.
pub(crate) struct Surroundings<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) cwd: PathBuf,
    pub(crate) home: Option<PathBuf>,
    pub(crate) timeouts: Timeouts,
}

impl Surroundings<'_> {
    /// What the text of a field in the place of a secret is. Errors: it refers to a file that can't be read.
    pub(crate) fn resolve(&self, fields: &Fields, key: &str, text: &str) -> Result<Reference, ConfigError> {
        let name = format!("{}.{key}", fields.path);
        secret_ref::resolve(text, (&fields.at(key), &name), self.env, &self.cwd, self.home.as_deref())
    }
}

/// Keys of secrets: who reads them follows their references, and says which variable is missing.
fn is_secret(key: &str) -> bool {
    matches!(key, "api_key" | "api_version") || (key.starts_with("oauth_") && key != "oauth_token_url")
}

/// An object of which every value, not secrets alone, may stand in a variable: `base_url: env:NAME`, `api_base: os.environ/NAME`. Errors: it is not set.
pub(crate) fn with_variables<'a>(node: &'a Node, path: &str, place: Place, env: &Environment) -> Result<Cow<'a, Node>, ConfigError> {
    let refers =
        |entry: &Entry| !is_secret(&entry.key) && entry.node.scalar().is_some_and(|text| secret_ref::variable(text.trim()).is_some());
    if !node.entries().iter().any(refers) {
        return Ok(Cow::Borrowed(node));
    }
    let mut node = node.clone();
    let Value::Map(entries) = &mut node.value else { return Ok(Cow::Owned(node)) };
    for entry in entries.iter_mut().filter(|entry| refers(entry)) {
        let text = entry.node.scalar().unwrap_or_default();
        let variable = secret_ref::variable(text.trim()).unwrap_or_default();
        let Some(value) = env.get(variable) else {
            return Err(secret_ref::unset(place.at(entry.line), &format!("{path}.{}", entry.key), &mask_keys(variable)));
        };
        let line = std::mem::take(&mut entry.node.line);
        entry.node = Node::text(value);
        entry.node.line = line;
    }
    Ok(Cow::Owned(node))
}

/// The account that an object describes. What is no error but should be said goes to `warn`.
pub(crate) fn read(fields: &Fields, origin: AccountOrigin, around: &Surroundings, warn: &mut Vec<String>) -> Result<Account, ConfigError> {
    let service = matches!(origin, AccountOrigin::Services { .. });
    let provider: Option<String> = fields.either("provider", "backend_type")?;
    let provider = provider.unwrap_or_else(|| if service { "custom" } else { "openai" }.to_owned());
    let name: String = fields.optional("name")?.unwrap_or_else(|| provider.clone());
    let said: Option<Vec<String>> = fields.optional("models")?;
    // An empty list is any name, also beside a map; of an account that has nothing but a map only its names are known.
    let is_any = said.as_ref().is_some_and(Vec::is_empty);
    let models = said.unwrap_or_default();
    let model_map = fields.texts("model_map")?;
    let open = if service { Reach::Discovered } else { Reach::Any };
    let reach = if models.is_empty() && (is_any || model_map.is_empty()) { open } else { Reach::Listed };
    let credential = Credential::read(fields, &provider, around)?;
    let enabled = fields.optional("enabled")?.unwrap_or(true);
    if let (None, Some(variable), AccountAuth::ApiKey, true) = (&credential.api_key, &credential.variable, credential.mode, enabled) {
        warn.push(format!("account {name}: {variable} is not set, so its models are not available"));
    }
    let api_version = api_version(fields, &provider, around)?;
    Ok(Account {
        base_url: address(fields, &provider, api_version.as_deref())?,
        api_version,
        auth_mode: credential.mode,
        api_key: credential.api_key,
        api_key_variable: credential.variable,
        oauth: (credential.mode == AccountAuth::Oauth).then(|| oauth(fields, around)).transpose()?,
        organization: fields.optional("organization")?,
        project: fields.optional("project")?,
        enabled,
        reach,
        priority: fields.optional("priority")?.unwrap_or(0),
        weight: fields.optional("weight")?,
        price: price(fields)?,
        rate_limit: rate_limit(fields)?,
        limits: limits(fields)?,
        timeouts: timeouts(fields, around.timeouts)?,
        headers: headers(fields, "headers", around)?,
        wire: fields.optional("wire")?.unwrap_or(Wire::Auto),
        name,
        provider,
        models,
        model_map,
        origin,
    })
}

/// What the object says, else the provider's variable where the object names no address of its own.
pub(crate) fn api_version(fields: &Fields, name: &str, around: &Surroundings) -> Result<Option<String>, ConfigError> {
    if let (Some(secret), _) = secret(fields, "api_version", around)? {
        let node = fields.node("api_version").unwrap_or(&Node::NOTHING);
        let checked = checked_version(secret.expose());
        return checked.map(Some).ok_or_else(|| fields.wrong("api_version", node, VERSION_FORM.to_owned()));
    }
    if fields.node("base_url").is_some() || fields.node("api_base").is_some() {
        return Ok(None);
    }
    provider(name).map_or(Ok(None), |known| version_of_environment(known, around.env))
}

/// What a version may be.
const VERSION_FORM: &str = "letters, digits, `-`, `.` and `_`, as 2024-10-21";

fn checked_version(text: &str) -> Option<String> {
    let fine = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    fine.then(|| text.to_owned())
}

/// The version that a provider's variables name.
pub(crate) fn version_of_environment(known: &providers::Provider, env: &Environment) -> Result<Option<String>, ConfigError> {
    let names = known.versions.map_or(&[][..], |v| v.variables);
    let Some((name, text)) = names.iter().find_map(|name| Some((*name, env.get(name)?))) else { return Ok(None) };
    checked_version(text).map(Some).ok_or_else(|| ConfigError::Value {
        name: name.to_owned(),
        value: crate::tree::shorten(text),
        origin: format!("environment {name}"),
        allowed: VERSION_FORM.to_owned(),
    })
}

fn address(fields: &Fields, provider: &str, api_version: Option<&str>) -> Result<String, ConfigError> {
    let path = providers::usual_path(provider, api_version);
    if let Some(text) = fields.optional::<String>("base_url")? {
        let node = fields.node("base_url").unwrap_or(&Node::NOTHING);
        return base_url::normalised(&text, path).map_err(|why| fields.wrong("base_url", node, why.to_owned()));
    }
    let default = providers::provider(provider).map_or("", |p| p.default_base);
    if default.is_empty() {
        let at = fields.place.at(fields.line());
        return Err(ConfigError::Invalid(format!(
            "{at}: {}.base_url is missing: provider {provider} has no address of its own",
            fields.path
        )));
    }
    base_url::normalised(default, path).map_err(|why| ConfigError::Invalid(why.to_owned()))
}

struct Credential {
    mode: AccountAuth,
    api_key: Option<Secret>,
    variable: Option<String>,
}

impl Credential {
    fn read(fields: &Fields, provider_name: &str, around: &Surroundings) -> Result<Self, ConfigError> {
        let (api_key, variable) = secret(fields, "api_key", around)?;
        let mode: Option<AccountAuth> = fields.optional("auth_mode")?;
        if api_key.is_some() || variable.is_some() || mode.is_some_and(|m| m != AccountAuth::ApiKey) {
            return Ok(Self { mode: mode.unwrap_or(AccountAuth::ApiKey), api_key, variable });
        }
        if mode.is_none() && (fields.node("oauth_access_token").is_some() || fields.node("oauth_access_token_env").is_some()) {
            return Ok(Self { mode: AccountAuth::Oauth, api_key: None, variable: None });
        }
        // Nothing was said: the provider's own variable opens the provider's own address, and no other one, so that a key
        // never goes to a host that it was not meant for. Another address without a key is called without one.
        let known = provider(provider_name);
        let own_address = fields.node("base_url").is_none();
        let variables = known.map_or(&[][..], |p| p.key_variables);
        let from_environment = variables.iter().filter(|_| own_address).find_map(|v| Secret::new(around.env.get(v)?));
        let needs_key = own_address && known.is_some_and(|p| !p.key_optional);
        let variable = variables.first().map(|v| (*v).to_owned()).filter(|_| needs_key && from_environment.is_none());
        let mode = if needs_key || from_environment.is_some() { AccountAuth::ApiKey } else { AccountAuth::None };
        Ok(Self { mode, api_key: from_environment, variable })
    }
}

/// The secret of a key or of the variable that `<key>_env` names, and the variable that should hold it if there is none.
fn secret(fields: &Fields, key: &str, around: &Surroundings) -> Result<(Option<Secret>, Option<String>), ConfigError> {
    let named: Option<String> = fields.optional(&format!("{key}_env"))?;
    if let Some(found) = named.as_deref().and_then(|name| around.env.get(name)).and_then(Secret::new) {
        return Ok((Some(found), named));
    }
    let named = named.as_deref().map(mask_keys);
    let Some(text) = fields.optional::<String>(key)? else { return Ok((None, named)) };
    Ok(match around.resolve(fields, key, &text)? {
        Reference::Found(found) => (Some(found), secret_ref::variable(text.trim()).map(str::to_owned)),
        Reference::Unset(variable) => (None, named.or(Some(variable))),
        Reference::Empty => (None, named),
    })
}

fn oauth(fields: &Fields, around: &Surroundings) -> Result<AccountOauth, ConfigError> {
    let secret = |key: &str| secret(fields, key, around).map(|(found, _)| found);
    let plain = |key: &str| -> Result<Option<String>, ConfigError> { Ok(secret(key)?.map(|s| s.expose().to_owned())) };
    let expires_at = plain("oauth_expires_at")?;
    let expires_at = expires_at.map(|text| text.parse::<f64>().map(|seconds| seconds as i64));
    let wrong = |_| ConfigError::Value {
        name: format!("{}.oauth_expires_at", fields.path),
        value: "what it says".to_owned(),
        origin: fields.place.at(fields.line()),
        allowed: "a number of Unix seconds".to_owned(),
    };
    Ok(AccountOauth {
        access_token: secret("oauth_access_token")?,
        refresh_token: secret("oauth_refresh_token")?,
        expires_at: expires_at.transpose().map_err(wrong)?,
        client_id: plain("oauth_client_id")?,
        client_secret: secret("oauth_client_secret")?,
        account_id: plain("oauth_account_id")?,
        token_url: fields.optional("oauth_token_url")?,
    })
}

fn rate_limit(fields: &Fields) -> Result<Option<RateLimit>, ConfigError> {
    let requests = fields.optional::<Count>("rate_limit_requests")?;
    let window = fields.optional::<Interval>("rate_limit_window")?.map_or(RATE_WINDOW, |i| i.0);
    Ok(requests.map(|requests| RateLimit { requests: requests.0, window }))
}

/// `limits` of an account or a key.
pub(crate) fn limits(fields: &Fields) -> Result<AccountLimits, ConfigError> {
    limits_of(&fields.below("limits", LIMIT_FIELDS)?)
}

/// The bounds that an object of [`LIMIT_FIELDS`] names.
pub(crate) fn limits_of(limits: &Fields) -> Result<AccountLimits, ConfigError> {
    Ok(AccountLimits {
        rpm: limits.optional::<Count>("rpm")?.map(|n| n.0),
        tpm: limits.optional("tpm")?,
        concurrency: limits.optional::<Count>("concurrency")?.map(|n| n.0),
    })
}

fn timeouts(fields: &Fields, usual: Timeouts) -> Result<Timeouts, ConfigError> {
    let own = fields.below("timeouts", TIMEOUT_FIELDS)?;
    let time = |key: &str, usual: Duration| -> Result<Duration, ConfigError> { Ok(own.optional::<Interval>(key)?.map_or(usual, |i| i.0)) };
    let first_byte = fields.optional::<Interval>("timeout")?.map_or(usual.first_byte, |i| i.0);
    Ok(Timeouts {
        connect: time("connect", usual.connect)?,
        first_byte: time("first_byte", first_byte)?,
        idle: time("idle", usual.idle)?,
        total: time("total", usual.total)?,
        stream_first_byte: own.optional::<Interval>("stream_first_byte")?.map(|i| i.0).or(usual.stream_first_byte),
    })
}

/// Headers to send, their values resolved; one whose variable is not set is an error.
pub(crate) fn headers(fields: &Fields, key: &str, around: &Surroundings) -> Result<BTreeMap<String, Secret>, ConfigError> {
    let mut headers = BTreeMap::new();
    for (name, text) in fields.texts(key)? {
        let wrong = |what: &str| ConfigError::Invalid(format!("{}: {}.{key}.{name}: {what}", fields.place.at(fields.line()), fields.path));
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(wrong("this is no header's name"));
        }
        match around.resolve(fields, key, &text)? {
            Reference::Found(value) if value.expose().chars().any(char::is_control) => {
                return Err(wrong("its value has control characters"));
            }
            Reference::Found(value) => {
                headers.insert(name.to_ascii_lowercase(), value);
            }
            Reference::Unset(variable) => {
                return Err(secret_ref::unset(fields.at(key), &format!("{}.{key}.{name}", fields.path), &variable));
            }
            Reference::Empty => {}
        }
    }
    Ok(headers)
}
