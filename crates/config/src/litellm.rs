//! A LiteLLM file: each entry of `model_list` becomes an account that serves one name.

use std::collections::{BTreeMap, HashSet};

use crate::account::{Account, AccountAuth, AccountLimits, AccountOrigin, Reach, Timeouts, Wire};
use crate::account_fields::{self, Surroundings};
use crate::accounts::list;
use crate::base_url;
use crate::error::ConfigError;
use crate::fields::{Field, Fields, Place, field};
use crate::known;
use crate::prices::Price;
use crate::providers::{self, provider};
use crate::secret::Secret;
use crate::secret_ref::Reference;
use crate::setting::{Count, Interval, Setting};
use crate::tree::Node;

const ENTRY_FIELDS: &[Field] = &[field("model_name", ""), field("litellm_params", ""), field("model_info", "")];
const PARAM_FIELDS: &[Field] = &[
    field("model", ""),
    field("api_base", ""),
    field("base_url", ""),
    field("api_version", ""),
    field("api_key", ""),
    field("organization", ""),
    field("weight", ""),
    field("order", ""),
    field("rpm", ""),
    field("tpm", ""),
    field("max_parallel_requests", ""),
    field("timeout", ""),
    field("stream_timeout", ""),
    field("extra_headers", ""),
    field("custom_llm_provider", ""),
    field("input_cost_per_token", ""),
    field("output_cost_per_token", ""),
    field("cache_read_input_token_cost", ""),
    field("cache_creation_input_token_cost", ""),
];
const INFO_FIELDS: &[Field] = &[
    field("input_cost_per_token", ""),
    field("output_cost_per_token", ""),
    field("cache_read_input_token_cost", ""),
    field("cache_creation_input_token_cost", ""),
];
/// LiteLLM's words for dollars for one token, and ours for a million.
pub(crate) const COSTS: [(&str, &str); 4] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cached"),
    ("cache_creation_input_token_cost", "cache_write"),
];

/// Dollars for one token as dollars for a million, without what a multiplication of binary numbers adds at the end.
pub(crate) fn for_a_million(dollars: f64) -> f64 {
    (dollars * 1e18).round() / 1e12
}

/// The accounts of `model_list`; the first entry of a name gives the account that name, further ones get a number.
pub(crate) fn accounts(root: &Node, place: Place, around: &Surroundings, warn: &mut Vec<String>) -> Result<Vec<Account>, ConfigError> {
    let most = crate::litellm_words::section_node(root, "default_max_parallel_requests");
    let most = most.and_then(|(_, node)| Count::from_node(node)).map(|n| n.0);
    let mut taken: HashSet<String> = HashSet::new();
    let mut accounts = Vec::new();
    for (i, node) in list(root, "model_list", place)?.iter().enumerate() {
        let entry = Fields::new(node, format!("model_list[{i}]"), ENTRY_FIELDS, place)?;
        let model: String = entry.required("model_name")?;
        let name = name(&model, i, |name| taken.contains(name));
        taken.insert(name.clone());
        let path = format!("model_list[{i}].litellm_params");
        let said = warn.len();
        let told = account_fields::with_variables(node.get("litellm_params").unwrap_or(&Node::NOTHING), &path, place, around.env)?;
        let params = Fields::lenient(&told, path, PARAM_FIELDS, place, warn)?;
        let info = Fields::lenient(
            node.get("model_info").unwrap_or(&Node::NOTHING),
            format!("model_list[{i}].model_info"),
            INFO_FIELDS,
            place,
            warn,
        )?;
        if let Some(why) = unreachable(&params)? {
            // One of many: the others are no worse for it. Nor does it matter what else of it has no effect.
            warn.truncate(said);
            let (at, entry) = (place.at(node.line), format!("model_list[{i}] ({model})"));
            warn.push(format!("{at}: {entry} is left out: {why}"));
            continue;
        }
        let mut account = account(name, model, node.line, &params, around, warn)?;
        account.price = price(&params, &info)?;
        account.limits.concurrency = account.limits.concurrency.or(most);
        accounts.push(account);
    }
    weigh(&mut accounts);
    Ok(accounts)
}

/// What an entry says of its share among those of its name.
pub(crate) struct Claim<'a> {
    pub(crate) name: &'a str,
    pub(crate) weight: Option<f64>,
    pub(crate) rpm: Option<f64>,
    pub(crate) tpm: Option<f64>,
}

/// Entries of one name are drawn by their weights; where none has one, by their limits if all have them, else evenly. One alone has no share.
pub(crate) fn shares(claims: &[Claim]) -> Vec<Option<f64>> {
    let share = |own: &Claim| {
        let group = || claims.iter().filter(|other| other.name == own.name);
        if group().count() < 2 {
            return own.weight;
        }
        let limit = |of: fn(&Claim) -> Option<f64>| of(own).filter(|_| group().all(|claim| of(claim).is_some()));
        let is_weighted = group().any(|claim| claim.weight.is_some());
        let by_limit = || limit(|claim| claim.rpm).or_else(|| limit(|claim| claim.tpm));
        Some(if is_weighted { own.weight } else { by_limit() }.unwrap_or(1.0))
    };
    claims.iter().map(share).collect()
}

fn weigh(accounts: &mut [Account]) {
    let claims = accounts.iter().map(|account| Claim {
        name: account.models.first().map_or("", String::as_str),
        weight: account.weight,
        rpm: account.limits.rpm.map(f64::from),
        tpm: account.limits.tpm.map(|tokens| tokens as f64),
    });
    let shares = shares(&claims.collect::<Vec<_>>());
    for (account, share) in accounts.iter_mut().zip(shares) {
        account.weight = share;
    }
}

/// What the tokens of an entry cost; what its parameters say wins over its `model_info`.
fn price(params: &Fields, info: &Fields) -> Result<Option<Price>, ConfigError> {
    let mut costs = [None; COSTS.len()];
    for (cost, (theirs, _)) in costs.iter_mut().zip(COSTS) {
        let dollars: Option<f64> = params.optional(theirs)?.or(info.optional(theirs)?);
        *cost = dollars.map(for_a_million);
    }
    let [input, output, cached, cache_write] = costs;
    let is_said = input.is_some() || output.is_some();
    Ok(is_said.then(|| Price { input: input.unwrap_or(0.0), output: output.unwrap_or(0.0), cached, cache_write, source: None }))
}

/// The name of the account of the entry at `at`: the model's, with a number where another entry has that.
pub(crate) fn name(model: &str, at: usize, is_taken: impl Fn(&str) -> bool) -> String {
    // One of these is free: there are more of them than entries before this one.
    let numbered = (2..=at + 2).map(|n| format!("{model}-{n}"));
    std::iter::once(model.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

/// Why an entry cannot be served, if it is one of a provider that is not built in, at an address that only that provider's own kit knows.
fn unreachable(params: &Fields) -> Result<Option<String>, ConfigError> {
    if params.node("api_base").or_else(|| params.node("base_url")).is_some() {
        return Ok(None);
    }
    let (model, named): (String, Option<String>) = (params.required("model")?, params.optional("custom_llm_provider")?);
    Ok(unspoken(&model, named.as_deref()))
}

/// Why a model without an address cannot be reached, and what can be done: its provider has no row in the table of providers.
pub(crate) fn unspoken(model: &str, named: Option<&str>) -> Option<String> {
    let prefix = model.split_once('/').map(|(prefix, _)| prefix);
    let theirs = named.or(prefix).filter(|theirs| {
        let (ours, _) = split(model, Some(theirs));
        // The same models, but another service, whose log-in is not a key.
        theirs.starts_with("vertex_ai") || !(ours == "custom" || provider(&ours).is_some())
    })?;
    let other = match theirs {
        vertex if vertex.starts_with("vertex_ai") => "; Google's models can be asked as gemini/… with a key".to_owned(),
        _ => known::nearest(theirs, providers::providers().iter().map(|p| p.name))
            .map_or_else(String::new, |n| format!(" (did you mean {n}?)")),
    };
    Some(format!(
        "its provider {theirs} is none that this router knows{other}; if it has an endpoint for OpenAI's chat, give that as api_base, with its api_key"
    ))
}

fn account(
    name: String,
    public: String,
    line: u64,
    params: &Fields,
    around: &Surroundings,
    warn: &mut Vec<String>,
) -> Result<Account, ConfigError> {
    let written: String = params.required("model")?;
    let named: Option<String> = params.optional("custom_llm_provider")?;
    let (provider_name, upstream) = split(&written, named.as_deref());
    let base: Option<String> = params.either("api_base", "base_url")?;
    let known = provider(&provider_name);
    let text = base.clone().unwrap_or_else(|| known.map_or("", |p| p.default_base).to_owned());
    if text.is_empty() {
        return Err(ConfigError::Invalid(format!(
            "{}: {}.api_base is missing: provider {provider_name} has no address of its own",
            params.place.at(params.line()),
            params.path
        )));
    }
    let node = params.node("api_base").or_else(|| params.node("base_url")).unwrap_or(&Node::NOTHING);
    let api_version = account_fields::api_version(params, &provider_name, around)?;
    let path = providers::usual_path(&provider_name, api_version.as_deref());
    let base_url = base_url::normalised(&text, path).map_err(|why| params.wrong("api_base", node, why.to_owned()))?;
    let own = known.filter(|_| base.is_none()).map_or(&[][..], |p| p.key_variables);
    let (api_key, variable) = key(params, own, known.is_some_and(|p| p.key_optional), around)?;
    if let (None, Some(variable)) = (&api_key, &variable) {
        warn.push(format!("account {name}: {variable} is not set, so its models are not available"));
    }
    let first_byte = params.optional::<Interval>("timeout")?.map_or(around.timeouts.first_byte, |i| i.0);
    let stream_first_byte = params.optional::<Interval>("stream_timeout")?.map_or(around.timeouts.stream_first_byte, |i| Some(i.0));
    Ok(Account {
        name,
        base_url,
        api_version,
        auth_mode: if api_key.is_some() || variable.is_some() { AccountAuth::ApiKey } else { AccountAuth::None },
        api_key,
        api_key_variable: variable,
        oauth: None,
        organization: params.optional("organization")?,
        project: None,
        enabled: true,
        models: vec![public.clone()],
        model_map: if public == upstream { BTreeMap::new() } else { BTreeMap::from([(public, upstream)]) },
        reach: Reach::Listed,
        priority: params.optional("order")?.unwrap_or(0),
        weight: params.optional("weight")?,
        price: None,
        rate_limit: None,
        limits: AccountLimits {
            rpm: params.optional::<Count>("rpm")?.map(|n| n.0),
            tpm: params.optional("tpm")?,
            concurrency: params.optional::<Count>("max_parallel_requests")?.map(|n| n.0),
        },
        timeouts: Timeouts { first_byte, stream_first_byte, ..around.timeouts },
        headers: account_fields::headers(params, "extra_headers", around)?,
        wire: Wire::Auto,
        provider: provider_name,
        origin: AccountOrigin::File { line },
    })
}

/// LiteLLM's `provider/model`, in our words for providers.
pub(crate) fn split(model: &str, named: Option<&str>) -> (String, String) {
    let (before, after) = model.split_once('/').map_or((named.unwrap_or("openai"), model), |(p, m)| (named.unwrap_or(p), m));
    let ours = match before {
        "gemini" | "vertex_ai" => "google",
        "hosted_vllm" => "vllm",
        "ollama_chat" => "ollama",
        "together_ai" => "together",
        "fireworks_ai" => "fireworks",
        "text-completion-openai" => "openai",
        "custom_openai" | "openai_like" | "litellm_proxy" => "custom",
        other => other,
    };
    (ours.to_owned(), after.to_owned())
}

/// `own`: the provider's variables, where it is at its own address; `is_optional`: it can be called without a key.
fn key(params: &Fields, own: &[&str], is_optional: bool, around: &Surroundings) -> Result<(Option<Secret>, Option<String>), ConfigError> {
    let Some(text) = params.optional::<String>("api_key")? else {
        let found = own.iter().find_map(|name| Secret::new(around.env.get(name)?));
        let variable = own.first().filter(|_| found.is_none() && !is_optional).map(|name| (*name).to_owned());
        return Ok((found, variable));
    };
    Ok(match around.resolve(params, "api_key", &text)? {
        Reference::Found(found) => (Some(found), None),
        Reference::Unset(variable) => (None, Some(variable)),
        Reference::Empty => (None, None),
    })
}
