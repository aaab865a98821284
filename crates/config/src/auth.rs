//! Who may call: keys from the file and from every variable that holds some, and tokens of an identity provider.

use std::collections::BTreeMap;

use crate::account::AccountLimits;
use crate::account_fields;
use crate::config::{Auth, KeyBudget, OauthTokens, Oidc, StaticKey};
use crate::error::ConfigError;
use crate::fields::{Field, Fields, Place, field};
use crate::reader::Reader;
use crate::secret::{MASK, Secret};
use crate::setting::Setting;
use crate::show::Origin;
use crate::tree::Node;

/// The keys of a static key that is written as an object.
pub(crate) const KEY_FIELDS: &[Field] = &[
    field("name", "What logs call it."),
    field("key", "The key, in any of the forms of secrets."),
    field("scopes", "What it may: `inference`, `mcp`, `a2a`, `files`, `read`, `ops`, `admin`."),
    field("limits", "`{rpm, tpm, concurrency}`: requests and tokens a minute, requests at once."),
    field("budget", "`{amount, window}`: dollars an `hour`, `day`, `week`, `month` (the default) or in `total`."),
];

const BUDGET_FIELDS: &[Field] = &[field("amount", ""), field("currency", ""), field("window", "")];
/// How long a budget may last.
const BUDGET_WINDOWS: &[&str] = &["hour", "day", "week", "month", "total"];

/// What a key may if nothing is said.
const USUAL_SCOPES: &[&str] = OauthTokens::USUAL_SCOPES;
/// What the keys of `AUTH_KEY…` may.
const OPERATOR_SCOPES: &[&str] = &["inference", "read", "ops"];
/// Every scope there is.
const SCOPES: &[&str] = &["inference", "mcp", "a2a", "files", "read", "ops", "admin"];

/// Variables with keys, separated by commas.
pub(crate) const KEY_VARIABLES: &[&str] = &["LLM_ROUTER_API_KEYS", "LLM_ROUTER_AUTH_KEYS", "INGRESS_API_KEYS"];
/// Variables with keys of every scope, separated by commas.
pub(crate) const MASTER_VARIABLES: &[&str] =
    &["LLM_ROUTER_MASTER_KEY", "LLM_ROUTER_AUTH_MASTER", "LITELLM_MASTER_KEY", "ADMIN_API_KEY", "ADMIN_API_KEYS"];

/// Everything below `auth`. Keys of all sources count together; one that is named twice has the scopes of both.
pub(crate) fn read(reader: &mut Reader) -> Result<Auth, ConfigError> {
    let mode_explicit = reader.is_written("auth.mode");
    Ok(Auth {
        mode: reader.value("auth.mode")?,
        mode_explicit,
        keys: static_keys(reader)?,
        master_keys: master_keys(reader)?,
        header_name: header_name(reader)?,
        management: reader.value("auth.management")?,
        admin: reader.value("auth.admin")?,
        admin_username: reader.value("auth.admin_username")?,
        admin_password: reader.secret("auth.admin_password")?,
        jwt_secret: reader.secret("auth.jwt_secret")?,
        oauth: oauth(reader)?,
        oidc: oidc(reader)?,
    })
}

fn oidc(reader: &mut Reader) -> Result<Option<Oidc>, ConfigError> {
    let (issuer, client_id): (Option<String>, Option<String>) =
        (reader.optional("auth.oidc.issuer")?, reader.optional("auth.oidc.client_id")?);
    let client_secret = reader.secret("auth.oidc.client_secret")?;
    let (name, scopes): (String, Vec<String>) = (reader.value("auth.oidc.name")?, reader.value("auth.oidc.scopes")?);
    let redirect_url = reader.optional("auth.oidc.redirect_url")?;
    let admins: Vec<String> = reader.optional("auth.oidc.admins")?.unwrap_or_default();
    let viewers: Vec<String> = reader.optional("auth.oidc.viewers")?.unwrap_or_default();
    let wrong = |why: &str| Err(ConfigError::Invalid(format!("auth.oidc {why}")));
    let Some(issuer) = issuer else {
        if client_id.is_some() || client_secret.is_some() {
            reader.warnings.push("auth.oidc has no effect without `issuer`".to_owned());
        }
        return Ok(None);
    };
    let Some(client_id) = client_id else { return wrong("needs `client_id` beside `issuer`") };
    if !issuer.starts_with("https://") && !issuer.starts_with("http://") {
        return wrong(&format!("`issuer` must be the URL of the identity provider, and is `{issuer}`"));
    }
    if admins.is_empty() && viewers.is_empty() {
        return wrong("lets nobody in: name some in `admins` or `viewers`");
    }
    if admins.iter().any(|word| word == "*") {
        return wrong("would make everybody an administrator: `*` is for `viewers`");
    }
    Ok(Some(Oidc { name, issuer, client_id, client_secret, scopes, redirect_url, admins, viewers }))
}

fn static_keys(reader: &mut Reader) -> Result<Vec<StaticKey>, ConfigError> {
    let mut keys: Vec<StaticKey> = Vec::new();
    let items = reader.root.at("auth.keys").map_or(&[][..], Node::items);
    for (i, node) in items.iter().enumerate() {
        let origin = reader.at_line(node.line);
        add(reader, &mut keys, file_key(reader, node, i)?, origin);
    }
    for variable in KEY_VARIABLES {
        for (i, text) in split(reader.env.get(variable)).enumerate() {
            let Some(secret) = Secret::new(text) else { continue };
            let key = StaticKey {
                name: format!("{variable}[{i}]"),
                secret,
                scopes: owned(USUAL_SCOPES),
                limits: AccountLimits::default(),
                budget: None,
            };
            let origin = reader.of_variable(variable);
            add(reader, &mut keys, Some(key), origin);
        }
    }
    let numbered = (1..=99).map(|n| format!("AUTH_KEY_{n:02}"));
    for variable in std::iter::once("AUTH_KEY".to_owned()).chain(numbered) {
        let Some(secret) = reader.env.get(&variable).and_then(Secret::new) else { continue };
        let origin = reader.of_variable(&variable);
        add(
            reader,
            &mut keys,
            Some(StaticKey { name: variable, secret, scopes: owned(OPERATOR_SCOPES), limits: AccountLimits::default(), budget: None }),
            origin,
        );
    }
    Ok(keys)
}

fn file_key(reader: &Reader, node: &Node, position: usize) -> Result<Option<StaticKey>, ConfigError> {
    let place = Place { file: reader.file, otherwise: "settings" };
    let usual_name = format!("auth.keys[{position}]");
    if let Some(text) = node.scalar() {
        let secret = reader.resolve(&text, &place.at(node.line), &usual_name)?;
        return Ok(secret.map(|secret| StaticKey {
            name: usual_name,
            secret,
            scopes: owned(USUAL_SCOPES),
            limits: AccountLimits::default(),
            budget: None,
        }));
    }
    let fields = Fields::new(node, usual_name.clone(), KEY_FIELDS, place)?;
    let scopes = fields.optional::<Vec<String>>("scopes")?.unwrap_or_else(|| owned(USUAL_SCOPES));
    if let Some(unknown) = scopes.iter().find(|s| !SCOPES.contains(&s.as_str())) {
        let allowed = format!("scopes of {}", SCOPES.join(", "));
        return Err(ConfigError::Value {
            name: format!("{usual_name}.scopes"),
            value: unknown.clone(),
            origin: place.at(node.line),
            allowed,
        });
    }
    let (name, text): (String, String) = (fields.optional("name")?.unwrap_or(usual_name), fields.required("key")?);
    let (limits, budget) = (account_fields::limits(&fields)?, budget(&fields)?);
    Ok(reader.resolve(&text, &place.at(node.line), &format!("auth.keys[{position}].key"))?.map(|secret| StaticKey {
        name,
        secret,
        scopes,
        limits,
        budget,
    }))
}

fn budget(key: &Fields) -> Result<Option<KeyBudget>, ConfigError> {
    if key.node("budget").is_none() {
        return Ok(None);
    }
    let fields = key.below("budget", BUDGET_FIELDS)?;
    let wrong = |name: &str, allowed: &str| fields.wrong(name, fields.node(name).unwrap_or(&Node::NOTHING), allowed.to_owned());
    let dollars: f64 = fields.required("amount")?;
    if dollars <= 0.0 {
        return Err(wrong("amount", "a number of dollars above 0"));
    }
    if fields.optional::<String>("currency")?.is_some_and(|currency| !currency.eq_ignore_ascii_case("USD")) {
        return Err(wrong("currency", "USD: that is what prices are in"));
    }
    let window = fields.optional::<String>("window")?.unwrap_or_else(|| "month".to_owned());
    if !BUDGET_WINDOWS.contains(&window.as_str()) {
        return Err(wrong("window", &format!("one of {}", BUDGET_WINDOWS.join(", "))));
    }
    Ok(Some(KeyBudget { dollars, window }))
}

fn add(reader: &mut Reader, keys: &mut Vec<StaticKey>, key: Option<StaticKey>, origin: Origin) {
    let Some(key) = key else { return };
    if let Some(same) = keys.iter_mut().find(|k| k.secret == key.secret) {
        let missing: Vec<String> = key.scopes.into_iter().filter(|s| !same.scopes.contains(s)).collect();
        same.scopes.extend(missing);
    } else {
        reader.note(&format!("auth.keys[{}]", keys.len()), MASK.to_owned(), origin);
        keys.push(key);
    }
}

fn master_keys(reader: &mut Reader) -> Result<Vec<Secret>, ConfigError> {
    let mut found: Vec<(Secret, Origin)> = Vec::new();
    for path in ["auth.master", "general_settings.master_key"] {
        for node in reader.root.at(path).map_or(&[][..], Node::items) {
            let place = Place { file: reader.file, otherwise: "settings" };
            let wrong = || ConfigError::Value {
                name: path.to_owned(),
                value: node.brief(),
                origin: place.at(node.line),
                allowed: "a key, or a list of them".to_owned(),
            };
            let text = node.scalar().ok_or_else(wrong)?;
            if let Some(secret) = reader.resolve(&text, &place.at(node.line), path)? {
                found.push((secret, reader.at_line(node.line)));
            }
        }
    }
    for variable in MASTER_VARIABLES {
        found.extend(split(reader.env.get(variable)).filter_map(Secret::new).map(|secret| (secret, reader.of_variable(variable))));
    }
    let mut keys: Vec<Secret> = Vec::new();
    for (secret, origin) in found {
        if !keys.contains(&secret) {
            reader.note(&format!("auth.master[{}]", keys.len()), MASK.to_owned(), origin);
            keys.push(secret);
        }
    }
    Ok(keys)
}

fn header_name(reader: &mut Reader) -> Result<String, ConfigError> {
    let name: String = reader.value("auth.header_name")?;
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return Ok(name);
    }
    let origin = reader.origin("auth.header_name").to_string();
    Err(ConfigError::Value {
        name: "auth.header_name".to_owned(),
        value: crate::tree::shorten(&name),
        origin,
        allowed: "the name of a header".to_owned(),
    })
}

fn oauth(reader: &mut Reader) -> Result<Option<OauthTokens>, ConfigError> {
    let enabled: bool = reader.value("auth.oauth.enabled")?;
    let issuer: Option<String> = reader.optional("auth.oauth.issuer")?;
    let derived = issuer.as_ref().map(|issuer| format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')));
    let jwt_secret = reader.secret("auth.oauth.jwt_secret")?;
    if jwt_secret.is_some() {
        reader.otherwise("auth.oauth.algorithms", "HS256");
    }
    let tokens = OauthTokens {
        audience: reader.optional("auth.oauth.audience")?,
        jwks_url: reader.optional("auth.oauth.jwks_url")?.or(derived),
        algorithms: reader.value("auth.oauth.algorithms")?,
        required_scopes: reader.optional("auth.oauth.required_scopes")?.unwrap_or_default(),
        clock_skew: reader.value("auth.oauth.clock_skew")?,
        grants: grants(reader)?,
        limits: token_limits(reader)?,
        jwt_secret,
        issuer,
    };
    if let Some(wrong) = tokens.algorithms.iter().find(|a| !is_algorithm(a, tokens.jwt_secret.is_some())) {
        let origin = reader.origin("auth.oauth.algorithms").to_string();
        return Err(ConfigError::Value {
            name: "auth.oauth.algorithms".to_owned(),
            value: wrong.clone(),
            origin,
            allowed: match tokens.jwt_secret {
                Some(_) => format!("with a shared secret (OAUTH_JWT_SECRET): {}", SHARED_ALGORITHMS.join(", ")),
                None => format!("with the provider's keys: {}", PUBLIC_ALGORITHMS.join(", ")),
            },
        });
    }
    if enabled && tokens.jwks_url.is_none() && tokens.jwt_secret.is_none() {
        return Err(ConfigError::Invalid("auth.oauth.enabled (OAUTH_ENABLED) needs an issuer (OAUTH_ISSUER), keys (OAUTH_JWKS_URL) or a shared secret (OAUTH_JWT_SECRET)".to_owned()));
    }
    Ok(enabled.then_some(tokens))
}

/// Signatures by a key that is public: who can verify them cannot make them.
const PUBLIC_ALGORITHMS: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// Signatures by a secret that both sides have.
const SHARED_ALGORITHMS: &[&str] = &["HS256", "HS384", "HS512"];

/// A public key must never be taken for a shared secret, so the two kinds do not go together.
fn is_algorithm(name: &str, is_shared: bool) -> bool {
    if is_shared { SHARED_ALGORITHMS } else { PUBLIC_ALGORITHMS }.contains(&name)
}

fn grants(reader: &mut Reader) -> Result<Option<BTreeMap<String, Vec<String>>>, ConfigError> {
    const KEY: &str = "auth.oauth.grants";
    let Some(node) = reader.root.at(KEY) else { return Ok(None) };
    let place = Place { file: reader.file, otherwise: "settings" };
    let wrong = |name: String, node: &Node, allowed: &str| ConfigError::Value {
        name,
        value: node.brief(),
        origin: place.at(node.line),
        allowed: allowed.to_owned(),
    };
    if node.entries().is_empty() {
        return Err(wrong(KEY.to_owned(), node, "a mapping of words to lists of scopes"));
    }
    let allowed = format!("scopes of {}", SCOPES.join(", "));
    let mut found = BTreeMap::new();
    for entry in node.entries() {
        let name = || format!("{KEY}.{}", entry.key);
        let scopes: Vec<String> = Setting::from_node(&entry.node).ok_or_else(|| wrong(name(), &entry.node, &allowed))?;
        if scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
            return Err(wrong(name(), &entry.node, &allowed));
        }
        let origin = reader.at_line(entry.line);
        reader.note(&name(), scopes.join(","), origin);
        found.insert(entry.key.clone(), scopes);
    }
    Ok(Some(found))
}

fn token_limits(reader: &mut Reader) -> Result<AccountLimits, ConfigError> {
    const KEY: &str = "auth.oauth.limits";
    let place = Place { file: reader.file, otherwise: "settings" };
    let Some(node) = reader.root.at(KEY) else { return Ok(AccountLimits::default()) };
    let limits = account_fields::limits_of(&Fields::new(node, KEY.to_owned(), account_fields::LIMIT_FIELDS, place)?)?;
    let said = [("rpm", limits.rpm.map(u64::from)), ("tpm", limits.tpm), ("concurrency", limits.concurrency.map(u64::from))];
    let origin = reader.at_line(node.line);
    for (name, value) in said {
        if let Some(value) = value {
            reader.note(&format!("{KEY}.{name}"), value.to_string(), origin.clone());
        }
    }
    Ok(limits)
}

fn split(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[cfg(test)]
mod tests;
