//! Models that people register by name: as which types, and with what each is reached.

use std::collections::BTreeMap;

use crate::account::{Account, AccountAuth, AccountLimits, AccountOrigin, Reach, Wire};
use crate::base_url;
use crate::config::Config;
use crate::env::Environment;
use crate::error::ConfigError;
use crate::known;
use crate::providers::{self, Provider, provider};
use crate::secret::{Secret, mask_url};

/// Type → provider. The first eight are those that the command has always known.
const TYPES: &[(&str, &str)] = &[
    ("local", "agent"),
    ("openai", "openai"),
    ("llm-d", "llm-d"),
    ("anthropic", "anthropic"),
    ("google", "google"),
    ("openrouter", "openrouter"),
    ("grok", "grok"),
    ("venice", "venice"),
    ("cerebras", "cerebras"),
    ("deepinfra", "deepinfra"),
    ("groq", "groq"),
    ("xai", "xai"),
    ("mistral", "mistral"),
    ("deepseek", "deepseek"),
    ("together", "together"),
    ("fireworks", "fireworks"),
    ("vllm", "vllm"),
    ("ollama", "ollama"),
];

/// The type whose list of models can be brought from its provider by a command.
const REFRESHED: &str = "openai";

/// Longest name of a model.
const NAME_BYTES_MAX: usize = 256;

/// The keys of the environment for registered models, by type.
#[derive(Debug, Clone, Default)]
pub struct TypeKeys(BTreeMap<&'static str, Secret>);

impl TypeKeys {
    pub(crate) fn read(env: &Environment) -> Self {
        let key = |name: &str| provider(name)?.key_variables.iter().find_map(|variable| Secret::new(env.get(variable)?));
        Self(TYPES.iter().filter_map(|(name, provider)| Some((*name, key(provider)?))).collect())
    }
}

/// Every type that a model can be registered as.
pub fn model_types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(name, _)| *name)
}

/// Judges what somebody registers.
///
/// # Errors
/// A name, type or address that is none; the message lists what there is.
pub fn check_registration(name: &str, r#type: &str, endpoint: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(ConfigError::Invalid(format!("a model's name has 1 to {NAME_BYTES_MAX} bytes and no blanks: {name:?} is none")));
    }
    address(r#type, endpoint).map(drop)
}

/// The type's provider and the normal form of an address of it.
fn address(r#type: &str, endpoint: &str) -> Result<(&'static Provider, String), ConfigError> {
    let Some(known) = TYPES.iter().find(|(name, _)| *name == r#type).and_then(|(_, name)| provider(name)) else {
        let nearest = known::nearest(r#type, model_types()).map(|like| format!(" (did you mean {like}?)")).unwrap_or_default();
        let all: Vec<&str> = model_types().collect();
        return Err(ConfigError::Invalid(format!("Invalid model type `{type}`{nearest}: valid types are {}", all.join(", "))));
    };
    let base_url = base_url::normalised(endpoint, providers::usual_path(known.name, None)).map_err(|why| ConfigError::Value {
        name: "endpoint".to_owned(),
        value: mask_url(endpoint),
        origin: "the model's registration".to_owned(),
        allowed: why.to_owned(),
    })?;
    Ok((known, base_url))
}

impl Config {
    /// The account that serves models of a type at an address: one that is configured for both, else one of its own, opened with the key that the
    /// environment has for the provider. Whoever registers an address lets that key go there.
    ///
    /// # Errors
    /// As [`check_registration`].
    pub fn account_of_type(&self, r#type: &str, endpoint: &str) -> Result<Account, ConfigError> {
        let (known, base_url) = address(r#type, endpoint)?;
        if let Some(found) = self.accounts.iter().find(|a| a.enabled && a.provider == known.name && a.base_url == base_url) {
            return Ok(found.clone());
        }
        let api_key = self.type_keys.0.get(r#type).cloned();
        let needs_key = !known.key_optional || api_key.is_some();
        let place = base_url.split_once("://").map_or(base_url.as_str(), |(_, place)| place);
        Ok(Account {
            name: format!("{type}@{place}"),
            provider: known.name.to_owned(),
            api_version: None,
            auth_mode: if needs_key { AccountAuth::ApiKey } else { AccountAuth::None },
            api_key,
            api_key_variable: known.key_variables.first().map(|name| (*name).to_owned()),
            oauth: None,
            organization: None,
            project: None,
            enabled: true,
            models: Vec::new(),
            model_map: BTreeMap::new(),
            reach: Reach::Listed,
            priority: 0,
            weight: None,
            price: None,
            rate_limit: None,
            limits: AccountLimits::default(),
            timeouts: self.timeouts,
            headers: BTreeMap::new(),
            wire: Wire::Auto,
            origin: AccountOrigin::Registered,
            base_url,
        })
    }

    /// Where the list of models of the type that can be refreshed comes from: the type, and the account of the environment, else the first one that
    /// is configured for the provider and has a key.
    ///
    /// # Errors
    /// There is no key; the message names the variables that may hold it.
    pub fn refreshed(&self) -> Result<(&'static str, &Account), ConfigError> {
        let known = provider(REFRESHED);
        let of_provider = || self.accounts.iter().filter(|a| a.enabled && a.provider == REFRESHED && a.api_key.is_some());
        let from_environment = |a: &&Account| matches!(a.origin, AccountOrigin::Environment { .. });
        let found = of_provider().find(from_environment).or_else(|| of_provider().next());
        found.map(|account| (REFRESHED, account)).ok_or_else(|| {
            let variables = known.map_or(&[][..], |p| p.key_variables).join(" or ");
            ConfigError::Invalid(format!("there is no key for {REFRESHED}: set {variables}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::load::{LoadArgs, load_text};

    fn config(text: &str, env: &[(&str, &str)]) -> Config {
        load_text(&LoadArgs::default(), &Environment::from_map(env.iter().copied()), text, Path::new("router.yaml")).unwrap().config
    }

    #[test]
    fn a_type_means_a_provider_and_its_key() {
        let config = config("", &[("EXTERNAL_OPENAI_KEY", "sk-o"), ("OPENAI_BASE_URL", "http://own:1")]);
        let own = config.account_of_type("openai", "http://own:1/v1/").unwrap();
        assert_eq!((own.name.as_str(), own.reach), ("openai", Reach::Prefixed), "the account of the environment");
        let other = config.account_of_type("openai", "http://other").unwrap();
        assert_eq!((other.name.as_str(), other.base_url.as_str()), ("openai@other/v1", "http://other/v1"));
        assert_eq!(other.api_key.unwrap().expose(), "sk-o");
        let missing = config.account_of_type("anthropic", "http://a").unwrap();
        assert_eq!((missing.auth_mode, missing.api_key_variable.as_deref()), (AccountAuth::ApiKey, Some("ANTHROPIC_API_KEY")));
        let agent = config.account_of_type("local", "http://a:5000").unwrap();
        assert_eq!((agent.provider.as_str(), agent.auth_mode), ("agent", AccountAuth::None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = check_registration("m", "bogus", "http://h").unwrap_err().to_string();
        assert!(said.starts_with("Invalid model type") && TYPES.iter().all(|(name, _)| said.contains(name)), "{said}");
        for (name, endpoint) in [("", "http://h"), ("a b", "http://h"), ("m", "h:1"), ("m", "http://u:p@h")] {
            let said = check_registration(name, "openai", endpoint).unwrap_err().to_string();
            assert!(!said.contains(":p@"), "{said}");
        }
        assert!(TYPES.iter().all(|(_, name)| provider(name).is_some()));
    }

    #[test]
    fn the_list_comes_from_whoever_has_a_key() {
        let said = config("", &[]).refreshed().unwrap_err().to_string();
        assert!(said.contains("OPENAI_API_KEY") && said.contains("EXTERNAL_OPENAI_KEY"), "{said}");
        let file = "accounts: [{name: off, provider: openai, api_key: k, enabled: false}, {name: mine, provider: openai, base_url: http://h, api_key: k}]\n";
        assert_eq!(config(file, &[]).refreshed().unwrap().1.name, "mine");
        assert_eq!(config(file, &[("OPENAI_API_KEY", "k2")]).refreshed().unwrap().1.name, "openai");
    }
}
