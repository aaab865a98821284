//! Accounts and models, as commands change them.

use serde_json::{Map, Value, json};

use super::{Document, Step};
use crate::error::ConfigError;
use crate::known;

const ACCOUNTS: Step = Step::Key("accounts");
const MODELS: Step = Step::Key("models");

/// What a command says of an account; what is `None` or empty stays as it is.
#[derive(Clone, Default)]
pub struct AccountChange {
    /// Which one; a new one is made where nobody has that name.
    pub name: String,
    /// Its provider.
    pub provider: Option<String>,
    /// Where it is.
    pub base_url: Option<String>,
    /// `api_key`, `oauth`, `passthrough` or `none`.
    pub auth_mode: Option<String>,
    /// `api_key`, `oauth_access_token` and so on, each with its value or the variable that has it.
    pub secrets: Vec<(&'static str, AccountSecret)>,
    /// Where a token is renewed.
    pub oauth_token_url: Option<String>,
    /// OpenAI's organization.
    pub organization: Option<String>,
    /// OpenAI's project.
    pub project: Option<String>,
    /// Names and wildcards that it serves from now on.
    pub models: Option<Vec<String>>,
    /// Whether it is used.
    pub enabled: Option<bool>,
    /// Makes its first model the default model.
    pub set_default: bool,
}

/// A credential in the file, or the name of the variable that holds it.
#[derive(Clone)]
pub enum AccountSecret {
    /// As it is, or in the forms of a reference (`env:NAME`, `file:PATH`).
    Literal(String),
    /// The variable's name.
    Variable(String),
}

/// Adds an account, or changes the one of that name. Its models are added to `models` where the file has such a list.
///
/// # Errors
/// As [`Document::set`]; a default model is wanted and the account names no model.
pub fn add_account(document: &mut Document, change: &AccountChange) -> Result<(), ConfigError> {
    if let Some(at) = position(document, &change.name) {
        for (key, other, value) in change.members() {
            document.set(&[ACCOUNTS, Step::Item(at), Step::Key(&key)], &value)?;
            // A credential has one home: the older one would come back where the new one is not set.
            if let Some(other) = other {
                document.remove(&[ACCOUNTS, Step::Item(at), Step::Key(&other)])?;
            }
        }
    } else {
        let members: Map<String, Value> = change.members().into_iter().map(|(key, _, value)| (key, value)).collect();
        let named = Map::from_iter([("name".to_owned(), json!(change.name))]);
        document.push(&[ACCOUNTS], &Value::Object(named.into_iter().chain(members).collect()))?;
    }
    for model in change.models.iter().flatten() {
        list_model(document, model)?;
    }
    if !change.set_default {
        return Ok(());
    }
    let at = position(document, &change.name).unwrap_or_default();
    let models = texts(document.get(&[ACCOUNTS, Step::Item(at), MODELS]));
    match models.into_iter().find(|model| !model.contains('*')) {
        Some(model) => document.set(&[Step::Key("default_model")], &json!(model)),
        None => Err(ConfigError::Invalid(format!(
            "the account {} names no model that could be the default: give --models with --set-default",
            change.name
        ))),
    }
}

impl AccountChange {
    /// Key, the key that it takes the place of, and value, in the order of a new account.
    fn members(&self) -> Vec<(String, Option<String>, Value)> {
        let text = |key: &str, value: &Option<String>| value.as_ref().map(|value| (key.to_owned(), None, json!(value)));
        let mut members: Vec<_> = [
            text("provider", &self.provider),
            text("base_url", &self.base_url),
            self.enabled.map(|enabled| ("enabled".to_owned(), None, json!(enabled))),
            text("auth_mode", &self.auth_mode),
        ]
        .into_iter()
        .flatten()
        .collect();
        members.extend(self.secrets.iter().map(|(key, secret)| match secret {
            AccountSecret::Literal(value) => ((*key).to_owned(), Some(format!("{key}_env")), json!(value)),
            AccountSecret::Variable(name) => (format!("{key}_env"), Some((*key).to_owned()), json!(name)),
        }));
        let rest = [
            text("oauth_token_url", &self.oauth_token_url),
            text("organization", &self.organization),
            text("project", &self.project),
            self.models.as_ref().map(|models| ("models".to_owned(), None, json!(models))),
        ];
        members.extend(rest.into_iter().flatten());
        members
    }
}

/// Lets an account serve a further model. What should be said about it comes back.
///
/// # Errors
/// As [`Document::set`]; nobody has that name.
pub fn add_model(document: &mut Document, model: &str, account: &str, set_default: bool) -> Result<Vec<String>, ConfigError> {
    let at = position(document, account)
        .ok_or_else(|| unknown(document, account, &format!("; add it first with `config add-account --name {account} …`")))?;
    let of = [ACCOUNTS, Step::Item(at)];
    let models = texts(document.get(&[of[0], of[1], MODELS]));
    let mapped = document.get(&[of[0], of[1], Step::Key("model_map")]).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    let mut notes = Vec::new();
    if models.is_empty() && !mapped {
        // A list of one would end its serving of everything else.
        notes.push(format!("the account {account} has no list of models, so it serves {model} already"));
    } else if !models.iter().any(|known| known == model) {
        let models: Vec<&str> = models.iter().map(String::as_str).chain([model]).collect();
        document.set(&[of[0], of[1], MODELS], &json!(models))?;
    }
    list_model(document, model)?;
    if set_default {
        document.set(&[Step::Key("default_model")], &json!(model))?;
    }
    Ok(notes)
}

/// Takes an account out of the file.
///
/// # Errors
/// As [`Document::remove`]; nobody has that name.
pub fn remove_account(document: &mut Document, name: &str) -> Result<(), ConfigError> {
    let at = position(document, name).ok_or_else(|| unknown(document, name, ""))?;
    document.remove(&[ACCOUNTS, Step::Item(at)])
}

/// The place of an account: by its name, or its provider's where it has none.
fn position(document: &Document, name: &str) -> Option<usize> {
    let accounts = document.get(&[ACCOUNTS])?.as_array()?;
    accounts.iter().position(|account| called(account) == Some(name))
}

fn called(account: &Value) -> Option<&str> {
    ["name", "provider", "backend_type"].iter().find_map(|key| account.get(*key)?.as_str())
}

fn unknown(document: &Document, name: &str, advice: &str) -> ConfigError {
    let accounts = document.get(&[ACCOUNTS]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = accounts.iter().filter_map(called).collect();
    let nearest = known::nearest(name, names.iter().copied()).map(|like| format!(" (did you mean {like}?)")).unwrap_or_default();
    let known = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    ConfigError::Invalid(format!("{} has no account {name}{nearest}: {known}{advice}", document.path().display()))
}

/// Adds a name to the file's `models`, where it has them.
fn list_model(document: &mut Document, model: &str) -> Result<(), ConfigError> {
    if model.contains('*') {
        return Ok(());
    }
    match document.get(&[MODELS]) {
        Some(Value::Array(listed)) => {
            let id = |entry: &Value| entry.as_str().or_else(|| entry.get("id")?.as_str()).map(str::to_owned);
            if listed.is_empty() || listed.iter().any(|entry| id(entry).as_deref() == Some(model)) {
                return Ok(());
            }
            document.push(&[MODELS], &json!(model))
        }
        Some(Value::Object(listed)) if !listed.contains_key(model) => document.set(&[MODELS, Step::Key(model)], &json!({})),
        _ => Ok(()),
    }
}

/// The texts of a list, or of one text with commas between.
pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect(),
        Some(Value::String(text)) => text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
        _ => Vec::new(),
    }
}
