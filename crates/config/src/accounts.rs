//! All accounts: those of the file, then `services` and `ROUTER_SERVICES`, then those that keys and addresses in the environment imply.

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::account::{Account, AccountAuth, AccountLimits, AccountOrigin, Reach, Timeouts, Wire};
use crate::account_fields::{self, ACCOUNT_FIELDS, RATE_WINDOW, Surroundings};
use crate::base_url;
use crate::config::RateLimit;
use crate::durations::parse_duration;
use crate::env::Environment;
use crate::error::ConfigError;
use crate::fields::{Fields, Place};
use crate::providers::{self, Provider, providers};
use crate::reader::Reader;
use crate::secret::{Secret, mask_url};
use crate::setting::{Count, Interval, Setting};
use crate::tree::{Node, Value};

#[cfg(test)]
mod tests;

/// Most accounts there can be.
pub(crate) const ACCOUNTS_MAX: usize = 10_000;

/// The priority of the first account of the environment; configured ones come before.
const ENVIRONMENT_PRIORITY: i32 = 1_000;

const SERVICES: &str = "ROUTER_SERVICES";

/// Every account in the order in which equal ones are tried. Warnings go to the reader.
pub(crate) fn collect(reader: &mut Reader, timeouts: Timeouts) -> Result<Vec<Account>, ConfigError> {
    let around = Surroundings { env: reader.env, cwd: reader.cwd.clone(), home: reader.home.clone(), timeouts };
    let file = Place { file: reader.file, otherwise: "settings" };
    let mut warnings = Vec::new();
    let mut accounts = Vec::new();
    for (i, node) in list(reader.root, "accounts", file)?.iter().enumerate() {
        let origin = AccountOrigin::File { line: node.line };
        let read = |fields: &Fields| account_fields::read(fields, origin, &around, &mut warnings);
        accounts.push(with_fields(node, format!("accounts[{i}]"), file, reader.env, read)?);
    }
    accounts.extend(crate::litellm::accounts(reader.root, file, &around, &mut warnings)?);
    for (i, node) in list(reader.root, "services", file)?.iter().enumerate() {
        let origin = AccountOrigin::Services { position: i };
        let read = |fields: &Fields| account_fields::read(fields, origin, &around, &mut warnings);
        let mut account = with_fields(node, format!("services[{i}]"), file, reader.env, read)?;
        account.origin = AccountOrigin::File { line: node.line };
        accounts.push(account);
    }
    accounts.extend(services(reader.env, &around, &mut warnings)?);
    check_names(&accounts)?;
    for (i, provider) in providers().iter().enumerate() {
        let Some(account) = from_environment(provider, reader.env, timeouts, ENVIRONMENT_PRIORITY + i as i32)? else { continue };
        // The file's word on the same thing stands.
        let told = |a: &Account| {
            a.name == account.name || (a.provider == account.provider && a.base_url == account.base_url && a.api_key == account.api_key)
        };
        if !accounts.iter().any(told) {
            accounts.push(account);
        }
    }
    reader.warnings.append(&mut warnings);
    Ok(accounts)
}

/// What `read` makes of an account's object, whose keys are known and whose variables are filled in.
fn with_fields<T>(
    node: &Node,
    path: String,
    place: Place,
    env: &Environment,
    read: impl FnOnce(&Fields) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let told = account_fields::with_variables(node, &path, place, env)?;
    read(&Fields::new(&told, path, ACCOUNT_FIELDS, place)?)
}

/// The items of a list at the top of the file; anything but a list is an error.
pub(crate) fn list<'a>(root: &'a Node, key: &str, place: Place) -> Result<&'a [Node], ConfigError> {
    match root.get(key) {
        None => Ok(&[]),
        Some(node) => match &node.value {
            Value::List(items) if items.len() > ACCOUNTS_MAX => {
                Err(ConfigError::Invalid(format!("{}: {key} has more than {ACCOUNTS_MAX} items", place.at(node.line))))
            }
            Value::List(items) => Ok(items),
            _ => Err(ConfigError::Value {
                name: key.to_owned(),
                value: node.brief(),
                origin: place.at(node.line),
                allowed: "a list".to_owned(),
            }),
        },
    }
}

fn services(env: &Environment, around: &Surroundings, warnings: &mut Vec<String>) -> Result<Vec<Account>, ConfigError> {
    let Some(text) = env.get(SERVICES) else { return Ok(Vec::new()) };
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| {
        ConfigError::Invalid(format!(
            "{SERVICES} is no valid JSON at line {}, column {}: it must be a list of services",
            e.line(),
            e.column()
        ))
    })?;
    let node = Node::from_json(&json);
    let Value::List(items) = &node.value else {
        return Err(ConfigError::Value {
            name: SERVICES.to_owned(),
            value: node.brief(),
            origin: "environment".to_owned(),
            allowed: "a JSON list of services".to_owned(),
        });
    };
    let place = Place { file: None, otherwise: "environment ROUTER_SERVICES" };
    let mut accounts = Vec::new();
    for (position, item) in items.iter().take(ACCOUNTS_MAX).enumerate() {
        let read = |fields: &Fields| {
            fields.required::<String>("name")?;
            account_fields::read(fields, AccountOrigin::Services { position }, around, warnings)
        };
        accounts.push(with_fields(item, format!("{SERVICES}[{position}]"), place, env, read)?);
    }
    Ok(accounts)
}

fn check_names(accounts: &[Account]) -> Result<(), ConfigError> {
    let mut seen: HashMap<&str, &AccountOrigin> = HashMap::new();
    for account in accounts {
        if let Some(first) = seen.insert(&account.name, &account.origin) {
            return Err(ConfigError::Invalid(format!(
                "two accounts are named {} ({first}, {}): names must differ",
                account.name, account.origin
            )));
        }
    }
    Ok(())
}

/// The account that a provider's variables imply, if any is set.
fn from_environment(provider: &Provider, env: &Environment, timeouts: Timeouts, priority: i32) -> Result<Option<Account>, ConfigError> {
    let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, env.get(name)?)));
    let (key, base) = (first(provider.key_variables), first(provider.base_variables));
    // A key without an address is of no use where the provider has none of its own; an optional key alone means nothing.
    let Some((variable, _)) = base.or_else(|| key.filter(|_| !provider.key_optional && !provider.default_base.is_empty())) else {
        return Ok(None);
    };
    let (base_variable, base_text) = base.unwrap_or((variable, provider.default_base));
    let api_version = account_fields::version_of_environment(provider, env)?;
    let path = providers::usual_path(provider.name, api_version.as_deref());
    let base_url = base_url::normalised(base_text, path).map_err(|why| ConfigError::Value {
        name: base_variable.to_owned(),
        value: mask_url(base_text),
        origin: format!("environment {base_variable}"),
        allowed: why.to_owned(),
    })?;
    let api_key = key.and_then(|(_, text)| Secret::new(text));
    Ok(Some(Account {
        name: provider.name.to_owned(),
        provider: provider.name.to_owned(),
        base_url,
        api_version,
        auth_mode: if api_key.is_some() { AccountAuth::ApiKey } else { AccountAuth::None },
        api_key,
        api_key_variable: key.map(|(name, _)| name.to_owned()),
        oauth: None,
        organization: None,
        project: None,
        enabled: true,
        models: Vec::new(),
        model_map: BTreeMap::new(),
        reach: if provider.name == "backend" { Reach::Any } else { Reach::Prefixed },
        priority,
        weight: None,
        price: None,
        rate_limit: rate_limit(provider, env)?,
        limits: AccountLimits::default(),
        timeouts: own_timeouts(provider, env, timeouts)?,
        headers: BTreeMap::new(),
        wire: Wire::Auto,
        origin: AccountOrigin::Environment { variable: variable.to_owned() },
    }))
}

fn rate_limit(provider: &Provider, env: &Environment) -> Result<Option<RateLimit>, ConfigError> {
    if provider.name != "cerebras" {
        return Ok(None);
    }
    let requests = variable(env, "CEREBRAS_RATE_LIMIT_REQUESTS", Count::from_text, Count::allowed())?;
    let window = variable(env, "CEREBRAS_RATE_LIMIT_WINDOW", Interval::from_text, Interval::allowed())?;
    Ok(requests.map(|n| RateLimit { requests: n.0, window: window.map_or(RATE_WINDOW, |i| i.0) }))
}

fn own_timeouts(provider: &Provider, env: &Environment, usual: Timeouts) -> Result<Timeouts, ConfigError> {
    if provider.name != "backend" {
        return Ok(usual);
    }
    let named = variable(env, "BACKEND_TIMEOUT_SECONDS", |text| parse_duration(text).filter(|d| !d.is_zero()), Interval::allowed())?;
    Ok(Timeouts { first_byte: named.unwrap_or(usual.first_byte), ..usual })
}

fn variable<T>(env: &Environment, name: &str, parse: impl Fn(&str) -> Option<T>, allowed: String) -> Result<Option<T>, ConfigError> {
    let Some(text) = env.get(name) else { return Ok(None) };
    let wrong =
        || ConfigError::Value { name: name.to_owned(), value: crate::tree::shorten(text), origin: format!("environment {name}"), allowed };
    parse(text).map(Some).ok_or_else(wrong)
}
