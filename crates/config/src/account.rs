//! An account: a provider, where it is, what opens it and what it serves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::RateLimit;
use crate::prices::Price;
use crate::secret::Secret;
use crate::setting::words;

/// Of which providers LLM Router's dashboard says whether there is a key: the word that says so, and their names.
pub const SHOWN_KEYS: [(&str, &[&str]); 3] =
    [("openai_key_present", &["openai"]), ("google_key_present", &["google", "gemini"]), ("anthropic_key_present", &["anthropic"])];

/// One way to reach a provider.
#[derive(Debug, Clone)]
pub struct Account {
    /// Unique among all accounts.
    pub name: String,
    /// The provider's name: a row of the table of providers, or any other word for something that speaks OpenAI's chat.
    pub provider: String,
    /// Scheme, host and path up to and including the version, without a slash at the end: chat completions are at
    /// `base_url + "/chat/completions"`, Anthropic's messages at `base_url + "/messages"`, Gemini's models at
    /// `base_url + "/models/…"`. (`openai-codex` has no version: `base_url + "/codex/responses"`.)
    pub base_url: String,
    /// The version of the API that is asked for in the query (`?api-version=`), where the provider has such.
    pub api_version: Option<String>,
    /// How it is opened.
    pub auth_mode: AccountAuth,
    /// The key; `None` where there is none or where its variable is not set.
    pub api_key: Option<Secret>,
    /// The variable that should hold the key: what the operator has to set where `api_key` is `None`.
    pub api_key_variable: Option<String>,
    /// What `auth_mode: oauth` needs.
    pub oauth: Option<AccountOauth>,
    /// OpenAI's organization header.
    pub organization: Option<String>,
    /// OpenAI's project header.
    pub project: Option<String>,
    /// Whether it is used at all.
    pub enabled: bool,
    /// Names and wildcards (`gpt-*`) it serves, as the operator wrote them.
    pub models: Vec<String>,
    /// Public name → the upstream's name.
    pub model_map: BTreeMap<String, String>,
    /// What it serves beyond `models` and `model_map`.
    pub reach: Reach,
    /// Lower first.
    pub priority: i32,
    /// Share among accounts of one priority; `None` where nobody wrote one.
    pub weight: Option<f64>,
    /// Dollars for a million tokens of prompt and of completion, where it is the account's own.
    pub price: Option<Price>,
    /// The service's own bound; a full one is skipped.
    pub rate_limit: Option<RateLimit>,
    /// Further bounds.
    pub limits: AccountLimits,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Sent with every request; values are secret since some are credentials.
    pub headers: BTreeMap<String, Secret>,
    /// Which dialect it is spoken to in.
    pub wire: Wire,
    /// Who named it.
    pub origin: AccountOrigin,
}

impl Account {
    /// Key and value of what is worth showing, secrets masked.
    pub(crate) fn shown(&self) -> Vec<(String, String)> {
        let mut shown = vec![
            ("name", self.name.clone()),
            ("provider", self.provider.clone()),
            ("base_url", self.base_url.clone()),
            ("auth_mode", self.auth_mode.to_string()),
        ];
        if let Some(version) = &self.api_version {
            shown.push(("api_version", version.clone()));
        }
        if let Some(key) = &self.api_key {
            shown.push(("api_key", key.to_string()));
        } else if let Some(variable) = &self.api_key_variable {
            shown.push(("api_key", format!("env:{variable} (not set)")));
        }
        if !self.models.is_empty() {
            shown.push(("models", self.models.join(",")));
        }
        if !self.enabled {
            shown.push(("enabled", "false".to_owned()));
        }
        shown.push(("priority", self.priority.to_string()));
        let mut shown: Vec<(String, String)> = shown.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        shown.extend(self.model_map.iter().map(|(public, own)| (format!("model_map.{public}"), own.clone())));
        shown.extend(self.headers.iter().map(|(name, value)| (format!("headers.{name}"), value.to_string())));
        shown
    }

    /// Whether it could be called: it needs no key or has one.
    pub fn has_credential(&self) -> bool {
        match self.auth_mode {
            AccountAuth::ApiKey => self.api_key.is_some(),
            AccountAuth::Oauth => self.oauth.as_ref().is_some_and(|o| o.access_token.is_some() || o.refresh_token.is_some()),
            AccountAuth::Passthrough | AccountAuth::None => true,
        }
    }

    /// The upstream's name of a model that this account was told to serve: by its map, its list or its wildcards.
    pub fn upstream_name<'a>(&'a self, model: &'a str) -> Option<Cow<'a, str>> {
        let mapped = mapped_name(&self.model_map, model);
        mapped.or_else(|| self.models.iter().any(|pattern| matches_model(pattern, model)).then_some(Cow::Borrowed(model)))
    }
}

/// The upstream's name of a model by a `model_map`: its own entry, or that of a pattern (`team/*: *`), whose `*` stands for what the name has there, which is
/// a character at least.
pub fn mapped_name<'a>(map: &'a BTreeMap<String, String>, model: &'a str) -> Option<Cow<'a, str>> {
    if let Some(own) = map.get(model) {
        return Some(Cow::Borrowed(own));
    }
    // The longest pattern says most.
    let fits = |(pattern, own): (&'a String, &'a String)| {
        let (start, end) = pattern.split_once('*')?;
        let rest = model.strip_prefix(start)?.strip_suffix(end)?;
        (!rest.is_empty()).then_some((pattern.len(), rest, own))
    };
    let (_, rest, own) = map.iter().filter_map(fits).max_by_key(|(length, ..)| *length)?;
    Some(if own == "*" { Cow::Borrowed(rest) } else { Cow::Owned(own.replacen('*', rest, 1)) })
}

/// Whether `pattern`, which may hold `*`s for any run of characters, means `model`.
pub fn matches_model(pattern: &str, model: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == model };
    let Some(mut left) = model.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

words! {
    /// How an account is opened.
    AccountAuth {
        /// By its key.
        ApiKey = "api_key",
        /// By a token that is renewed.
        Oauth = "oauth",
        /// By the client's own credential; only where the operator writes it.
        Passthrough = "passthrough",
        /// It needs nothing.
        None = "none",
    }
}

words! {
    /// The dialect that an account is spoken to in.
    Wire {
        /// The provider's own.
        Auto = "auto",
        /// OpenAI's chat completions.
        Chat = "chat",
        /// OpenAI's responses.
        Responses = "responses",
        /// Anthropic's messages.
        Messages = "messages",
        /// Google's generateContent.
        Gemini = "gemini",
    }
}

/// What an account serves beyond the models that were listed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Listed,
    /// Any name that nothing else serves (an account of the file without a list).
    Any,
    /// What its own model list says; any name while that is not known (a service of `ROUTER_SERVICES`).
    Discovered,
    /// Names with its prefix and names that sound like its own (a provider of the environment).
    Prefixed,
}

/// Bounds per account; no bound where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Requests at once.
    pub concurrency: Option<u32>,
}

/// Time limits of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From sending the request to the answer's first byte.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// All together.
    pub total: Duration,
    /// `first_byte` of streams, where it is another.
    pub stream_first_byte: Option<Duration>,
}

/// What `auth_mode: oauth` needs.
#[derive(Debug, Clone, Default)]
pub struct AccountOauth {
    /// The token that is sent.
    pub access_token: Option<Secret>,
    /// Gets a new one.
    pub refresh_token: Option<Secret>,
    /// When the token ends, in Unix seconds.
    pub expires_at: Option<i64>,
    /// For renewal.
    pub client_id: Option<String>,
    /// For renewal.
    pub client_secret: Option<Secret>,
    /// Sent beside the token.
    pub account_id: Option<String>,
    /// Where it is renewed.
    pub token_url: Option<String>,
}

/// Who named an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOrigin {
    /// The file, at this line.
    File {
        /// From 1.
        line: u64,
    },
    /// `ROUTER_SERVICES`, at this position.
    Services {
        /// From 0.
        position: usize,
    },
    /// A variable of the environment.
    Environment {
        /// The variable that made it an account.
        variable: String,
    },
    /// A model that somebody registered by a command.
    Registered,
}

impl fmt::Display for AccountOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { line } => write!(f, "line {line}"),
            Self::Services { position } => write!(f, "ROUTER_SERVICES[{position}]"),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Registered => f.write_str("registered models"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_map_stands_for_something() {
        let map = BTreeMap::from([("team/*".to_owned(), "*".to_owned())]);
        assert_eq!(mapped_name(&map, "team/gpt").as_deref(), Some("gpt"));
        assert_eq!(mapped_name(&map, "team/"), None);
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, yes, no) in [
            ("gpt-4", "gpt-4", "gpt-4o"),
            ("gpt-*", "gpt-4", "xgpt-4"),
            ("*", "", "never"),
            ("*-mini", "gpt-mini", "gpt-mini-x"),
            ("a*b*c", "axbyc", "acb"),
            ("a*a", "aa", "a"),
        ] {
            assert!(matches_model(pattern, yes), "{pattern} {yes}");
            assert!(pattern == "*" || !matches_model(pattern, no), "{pattern} {no}");
        }
    }
}
