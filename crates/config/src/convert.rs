//! Configurations of other programs, rewritten as one of ours that means the same.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::account_fields::ACCOUNT_FIELDS;
use crate::edit::Document;
use crate::error::ConfigError;
use crate::litellm::{self, COSTS, Claim, for_a_million};
use crate::secret_ref;
use crate::setting::{Setting as _, words};
use crate::{file, known, litellm_words};

words! {
    /// Whose configuration it is.
    Foreign {
        /// LiteLLM's file.
        LiteLlm = "litellm",
        /// Open-LLM Router's file.
        OpenLlmRouter = "open-llm-router",
        /// The JSON list of the variable `ROUTER_SERVICES`.
        RouterServices = "router-services",
    }
}

impl std::str::FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_text(text).ok_or_else(Self::allowed)
    }
}

/// A configuration of ours and what of the old one it does not hold.
#[derive(Clone)]
pub struct Converted {
    /// The file.
    pub text: String,
    /// What should be said about it.
    pub notes: Vec<String>,
}

/// Rewrites `text`, which was read from `path`. References to variables and files stay references, in our form; literal secrets stay literal.
///
/// # Errors
/// It is not in its format, or is no configuration of that program.
pub fn convert(from: Foreign, text: &str, path: &Path) -> Result<Converted, ConfigError> {
    let root = file::parse(text, path)?.to_json();
    let mut notes = Vec::new();
    let text = match from {
        // Ours is a superset of it, and its comments are worth keeping.
        Foreign::OpenLlmRouter => {
            if !root.is_object() && !root.is_null() {
                return Err(not_one(path, "a mapping of keys to values"));
            }
            notes.push("Open-LLM Router's file is read as it is: nothing had to change".to_owned());
            text.to_owned()
        }
        Foreign::RouterServices => written(&services(&root, path, &mut notes)?, path)?,
        Foreign::LiteLlm => written(&of_litellm(&root, path, &mut notes)?, path)?,
    };
    Ok(Converted { text, notes })
}

fn not_one(path: &Path, allowed: &str) -> ConfigError {
    ConfigError::Invalid(format!("{} must be {allowed}", path.display()))
}

fn written(config: &Map<String, Value>, path: &Path) -> Result<String, ConfigError> {
    let mut document = Document::new("", path)?;
    for (key, value) in config {
        document.set(&[crate::edit::Step::Key(key)], value)?;
    }
    Ok(document.text().to_owned())
}

/// Services keep the key that means them: unlike `accounts`, they may ask their upstream what it serves.
fn services(root: &Value, path: &Path, notes: &mut Vec<String>) -> Result<Map<String, Value>, ConfigError> {
    let list = root.as_array().ok_or_else(|| not_one(path, "a JSON list of services"))?;
    let mut services = Vec::new();
    for (i, service) in list.iter().enumerate() {
        let members = service.as_object().ok_or_else(|| not_one(path, "a JSON list of objects"))?;
        let mut kept = Map::new();
        for (key, value) in members {
            if ACCOUNT_FIELDS.iter().any(|field| field.name == key) {
                kept.insert(if key == "backend_type" { "provider".to_owned() } else { key.clone() }, referring(value));
            } else {
                let nearest = known::nearest(key, ACCOUNT_FIELDS.iter().map(|f| f.name));
                let nearest = nearest.map(|like| format!(" (did you mean {like}?)")).unwrap_or_default();
                notes.push(format!("[{i}].{key} is no key of a service{nearest}: left out"));
            }
        }
        services.push(Value::Object(kept));
    }
    Ok(Map::from_iter([("services".to_owned(), Value::Array(services))]))
}

/// `os.environ/NAME` as `env:NAME`, everywhere below.
fn referring(value: &Value) -> Value {
    match value {
        Value::String(text) => match secret_ref::variable(text) {
            Some(name) => json!(format!("env:{name}")),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(referring).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), referring(value))).collect(),
        _ => value.clone(),
    }
}

/// Keys that mean the same in both, and where they stand in ours.
const SAME: &[(&str, &str)] = &[("router_settings.timeout", "timeouts.total"), ("general_settings.master_key", "auth.master")];

/// Keys of ours that LiteLLM's file may have beside its own.
const LITELLM_OWN: &[&str] = &["model_list", "router_settings", "general_settings", "litellm_settings", "environment_variables"];

fn of_litellm(root: &Value, path: &Path, notes: &mut Vec<String>) -> Result<Map<String, Value>, ConfigError> {
    let root = root.as_object().ok_or_else(|| not_one(path, "LiteLLM's file with a `model_list`"))?;
    let list = root.get("model_list").and_then(Value::as_array).ok_or_else(|| not_one(path, "LiteLLM's file with a `model_list`"))?;
    let mut ours = Map::new();
    let mut taken = Vec::new();
    let accounts: Result<Vec<Value>, ConfigError> =
        list.iter().enumerate().filter_map(|(i, entry)| account(entry, i, &mut taken, path, notes).transpose()).collect();
    let mut accounts = accounts?;
    share(&mut accounts);
    ours.insert("accounts".to_owned(), Value::Array(accounts));
    for (key, value) in root.iter().filter(|(key, _)| !LITELLM_OWN.contains(&key.as_str())) {
        ours.insert(key.clone(), value.clone());
    }
    if let Some(variables) = root.get("environment_variables") {
        ours.insert("environment_variables".to_owned(), variables.clone());
    }
    for section in ["router_settings", "general_settings", "litellm_settings"] {
        for (key, value) in root.get(section).and_then(Value::as_object).into_iter().flatten() {
            let name = format!("{section}.{key}");
            match SAME.iter().find(|(theirs, _)| *theirs == name) {
                Some((_, place)) => put(&mut ours, place, referring(value)),
                None if name == "litellm_settings.cache_params" => put(&mut ours, &name, value.clone()),
                // What has no word of ours is read from where it stands.
                None if litellm_words::is_read(&name, value.as_str().unwrap_or_default()) => put(&mut ours, &name, value.clone()),
                None => notes.push(format!("{name} has no counterpart: left out")),
            }
        }
    }
    Ok(ours)
}

/// An entry of `model_list` under the name that reading the file itself would give it; `None` for one that reading leaves out.
fn account(entry: &Value, at: usize, taken: &mut Vec<String>, path: &Path, notes: &mut Vec<String>) -> Result<Option<Value>, ConfigError> {
    let wrong = |what: &str| ConfigError::Invalid(format!("{}: model_list[{at}].{what} is missing", path.display()));
    let public = entry.get("model_name").and_then(Value::as_str).ok_or_else(|| wrong("model_name"))?;
    let params = entry.get("litellm_params").and_then(Value::as_object).ok_or_else(|| wrong("litellm_params"))?;
    let model = params.get("model").and_then(Value::as_str).ok_or_else(|| wrong("litellm_params.model"))?;
    let named = params.get("custom_llm_provider").and_then(Value::as_str);
    let (provider, upstream) = litellm::split(model, named);
    let name = litellm::name(public, at, |name| taken.iter().any(|t| t == name));
    taken.push(name.clone());
    let has_base = ["api_base", "base_url"].iter().any(|key| params.get(*key).is_some_and(|base| !base.is_null()));
    if let Some(why) = litellm::unspoken(model, named).filter(|_| !has_base) {
        notes.push(format!("model_list[{at}] ({public}) is left out: {why}"));
        return Ok(None);
    }
    let mut account = Map::from_iter([("name".to_owned(), json!(name)), ("provider".to_owned(), json!(provider))]);
    let params_as = [
        ("api_base", "base_url"),
        ("base_url", "base_url"),
        ("api_version", "api_version"),
        ("api_key", "api_key"),
        ("organization", "organization"),
        ("order", "priority"),
        ("weight", "weight"),
        ("rpm", "limits.rpm"),
        ("tpm", "limits.tpm"),
        ("max_parallel_requests", "limits.concurrency"),
        ("timeout", "timeouts.first_byte"),
        ("stream_timeout", "timeouts.stream_first_byte"),
        ("extra_headers", "headers"),
    ];
    for (theirs, place) in params_as {
        if let Some(value) = params.get(theirs).filter(|value| !value.is_null()) {
            put(&mut account, place, referring(value));
        }
    }
    let info = entry.get("model_info").and_then(Value::as_object);
    let costs = COSTS.iter().filter_map(|(theirs, ours)| {
        let said = params.get(*theirs).filter(|said| !said.is_null()).or_else(|| info?.get(*theirs))?;
        let dollars = said.as_f64().or_else(|| said.as_str()?.trim().parse().ok())?;
        Some(((*ours).to_owned(), json!(for_a_million(dollars))))
    });
    let price: Map<String, Value> = costs.collect();
    if price.contains_key("input") || price.contains_key("output") {
        account.insert("price".to_owned(), price.into());
    }
    account.insert("models".to_owned(), json!([public]));
    if public != upstream {
        account.insert("model_map".to_owned(), json!({public: upstream}));
    }
    let is_cost = |key: &str| COSTS.iter().any(|(theirs, _)| *theirs == key);
    let is_read = |key: &str| ["model", "custom_llm_provider"].contains(&key) || is_cost(key);
    for key in params.keys().filter(|key| !is_read(key) && params_as.iter().all(|(theirs, _)| theirs != key)) {
        notes.push(format!("model_list[{at}].litellm_params.{key} has no counterpart: left out"));
    }
    for key in info.into_iter().flat_map(Map::keys).filter(|key| !is_cost(key)) {
        notes.push(format!("model_list[{at}].model_info.{key} has no counterpart: left out"));
    }
    Ok(Some(Value::Object(account)))
}

/// Accounts that were one group share its requests as before.
fn share(accounts: &mut [Value]) {
    let number = |account: &Value, pointer: &str| account.pointer(pointer).and_then(Value::as_f64);
    let claims = accounts.iter().map(|account| Claim {
        name: account.pointer("/models/0").and_then(Value::as_str).unwrap_or_default(),
        weight: number(account, "/weight"),
        rpm: number(account, "/limits/rpm"),
        tpm: number(account, "/limits/tpm"),
    });
    let shares = litellm::shares(&claims.collect::<Vec<_>>());
    for (account, share) in accounts.iter_mut().zip(shares) {
        if let Some(share) = share {
            account["weight"] = json!(share);
        }
    }
}

/// Puts a value at a dotted place, unless something stands there.
fn put(into: &mut Map<String, Value>, place: &str, value: Value) {
    match place.split_once('.') {
        None => {
            into.entry(place).or_insert(value);
        }
        Some((key, rest)) => {
            if let Value::Object(below) = into.entry(key).or_insert_with(|| json!({})) {
                put(below, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Environment;
    use crate::load::{LoadArgs, load_text};

    fn converted(from: Foreign, text: &str) -> Converted {
        convert(from, text, Path::new("old.yaml")).unwrap_or_else(|e| panic!("{e}"))
    }

    const LITELLM: &str = "\
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, rpm: 10, order: 1, timeout: 30, input_cost_per_token: 3e-7}
  - model_name: fast
    litellm_params: {model: gemini/gemini-2.5-flash, api_key: k2, weight: 2, extra_headers: {x-a: b}}
  - model_name: openai/*
    litellm_params: {model: openai/*, api_base: http://h:1, api_key: k3, max_parallel_requests: 4}
    model_info: {mode: chat, output_cost_per_token: '2e-6', cache_read_input_token_cost: 1e-7}
  - model_name: own
    litellm_params: {model: hosted_vllm/own, api_base: http://v/v1, drop_params: true}
  - {model_name: claude, litellm_params: {model: bedrock/anthropic.claude-x}}
router_settings: {num_retries: 4, timeout: 77, routing_strategy: least-busy, redis_host: r, debug_level: x, allowed_fails: 1, fallbacks: [{own: [fast]}]}
general_settings: {master_key: os.environ/MASTER, store_model_in_db: true}
litellm_settings: {callbacks: [x], context_window_fallbacks: [{own: [fast]}]}
environment_variables: {A: b}
";

    /// What both readings must agree on.
    fn meaning(text: &str) -> String {
        let env = Environment::from_map([("OPENAI_API_KEY", "sk-env"), ("MASTER", "sk-master-key")]);
        let mut config = load_text(&LoadArgs::default(), &env, text, Path::new("x.yaml")).unwrap_or_else(|e| panic!("{e}\n{text}")).config;
        for account in &mut config.accounts {
            account.origin = crate::account::AccountOrigin::Registered;
            // Whether the key came from a variable or not is nothing that a request sees.
            account.api_key_variable = None;
        }
        let keys: Vec<&str> = config.auth.master_keys.iter().map(crate::secret::Secret::expose).collect();
        let exposed: Vec<Option<&str>> = config.accounts.iter().map(|a| a.api_key.as_ref().map(crate::secret::Secret::expose)).collect();
        format!(
            "{:?}\n{exposed:?}\n{:?} {:?} {keys:?} {:?}",
            config.accounts,
            config.retry,
            config.timeouts,
            (
                config.group_strategy,
                config.strategy,
                config.breaker,
                config.fallbacks,
                config.tries,
                config.cache.redis_url.map(|url| url.expose().to_owned())
            )
        )
    }

    #[test]
    fn a_litellm_file_means_the_same_afterwards() {
        let made = converted(Foreign::LiteLlm, LITELLM);
        assert_eq!(meaning(&made.text), meaning(LITELLM), "{}", made.text);
        assert!(made.text.contains("api_key: env:OPENAI_API_KEY") && made.text.contains("master: env:MASTER"), "{}", made.text);
        assert!(!made.text.contains("model_list") && !made.text.contains("os.environ"), "{}", made.text);
        let notes = made.notes.join("\n");
        assert!(notes.contains("model_list[4] (claude) is left out: its provider bedrock") && !made.text.contains("bedrock"), "{notes}");
        assert!(!notes.contains("cost"), "{notes}");
        for left_out in ["model_info.mode", "drop_params", "debug_level", "store_model_in_db", "litellm_settings.callbacks"] {
            assert!(notes.contains(left_out), "{left_out}: {notes}");
        }
    }

    #[test]
    fn services_keep_their_meaning_and_order() {
        let json = r#"[{"name": "a", "backend_type": "cerebras", "api_key": "k1", "priority": 0, "rate_limit_requests": 5, "rate_limit_window": 60, "colour": "red"},
            {"name": "b", "base_url": "http://b", "api_key": "os.environ/OPENAI_API_KEY", "models": ["m"]}]"#;
        let made = converted(Foreign::RouterServices, json);
        assert!(
            made.text.starts_with("services:\n  - name: a\n    provider: cerebras\n") && made.text.contains("api_key: env:OPENAI_API_KEY"),
            "{}",
            made.text
        );
        assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
        let env = Environment::from_map([("OPENAI_API_KEY", "sk-env")]);
        let read = load_text(&LoadArgs::default(), &env, &made.text, Path::new("x.yaml")).unwrap().config;
        let reach: Vec<_> = read.accounts.iter().take(2).map(|a| (a.name.as_str(), a.reach)).collect();
        assert_eq!(reach, [("a", crate::account::Reach::Discovered), ("b", crate::account::Reach::Listed)]);
    }

    #[test]
    fn an_open_llm_router_file_stays_as_it_is() {
        let text = "# mine\ndefault_model: m # usual\nmodels: [m]\naccounts: [{name: a, base_url: http://h, models: [m]}]\n";
        assert_eq!(converted(Foreign::OpenLlmRouter, text).text, text);
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for (from, text, word) in [
            (Foreign::LiteLlm, "a: 1", "model_list"),
            (Foreign::LiteLlm, "model_list: [{model_name: x}]", "litellm_params"),
            (Foreign::RouterServices, "{}", "list"),
            (Foreign::OpenLlmRouter, "[1]", "mapping"),
        ] {
            let said = convert(from, text, Path::new("old.yaml")).err().unwrap().to_string();
            assert!(said.contains(word) && said.contains("old.yaml"), "{said}");
        }
    }
}
