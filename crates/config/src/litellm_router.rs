//! How LiteLLM's files say what is tried after what: retries, rests, fallbacks. `router_settings` is asked first, then `litellm_settings`,
//! which LiteLLM documents for the same words. Ours of the same meaning win over both where they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::{Allowed, Breaker, Fallbacks, Strategy, Tries, TryBounds};
use crate::error::ConfigError;
use crate::litellm_words::section_node;
use crate::reader::Reader;
use crate::setting::Setting;
use crate::tree::Node;

/// The model under which fallbacks of every model stand.
const ANY: &str = "*";

/// Most models that stand in for one, unless `max_fallbacks` says otherwise; LiteLLM's own number.
const FALLBACKS_USUAL: usize = 5;

/// Most attempts that retries and fallbacks of a file come to for one request.
const ATTEMPTS_MAX: u32 = 64;

/// One of them.
pub(crate) fn setting<T: Setting>(reader: &Reader, key: &str) -> Result<Option<T>, ConfigError> {
    let Some((section, node)) = section_node(reader.root, key) else { return Ok(None) };
    T::from_node(node).map(Some).ok_or_else(|| wrong(reader, node, &format!("{section}.{key}"), T::allowed()))
}

fn wrong(reader: &Reader, node: &Node, name: &str, allowed: String) -> ConfigError {
    ConfigError::Value { name: name.to_owned(), value: node.brief(), origin: reader.at_line(node.line).to_string(), allowed }
}

/// A learned strategy is about what `auto` means, not about equals.
pub(crate) fn strategy(reader: &Reader) -> Result<Option<Strategy>, ConfigError> {
    let name = group_strategy(reader);
    if name.is_some_and(|name| name.starts_with("llmrouter-")) {
        return Ok(None);
    }
    setting(reader, "routing_strategy")
}

/// `routing_strategy` as it was written.
pub(crate) fn group_strategy(reader: &Reader) -> Option<String> {
    section_node(reader.root, "routing_strategy").and_then(|(_, node)| node.scalar())
}

/// The pause before a retry.
pub(crate) fn pause(reader: &Reader, (least, most): (Duration, Duration)) -> Result<(Duration, Duration), ConfigError> {
    if reader.is_written("retry.backoff") {
        return Ok((least, most));
    }
    Ok(setting::<Duration>(reader, "retry_after")?.filter(|pause| !pause.is_zero()).map_or((least, most), |pause| (pause, most.max(pause))))
}

/// When accounts are left alone. LiteLLM allows so many failures; ours is the one that is too many.
pub(crate) fn breaker(reader: &Reader, ours: Breaker) -> Result<Breaker, ConfigError> {
    let mut breaker = ours;
    if !reader.is_written("breaker.failures") {
        if let Some(allowed) = setting::<u32>(reader, "allowed_fails")? {
            breaker.failures = allowed.saturating_add(1);
        }
        breaker.allowed = allowed(reader)?;
    }
    if let (false, Some(off)) = (reader.is_written("breaker.enabled"), setting::<bool>(reader, "disable_cooldowns")?) {
        breaker.enabled = !off;
    }
    Ok(breaker)
}

/// Kinds of failures that LiteLLM's policies name, each followed by the policy's own word.
const KINDS: [&str; 4] = ["AuthenticationError", "TimeoutError", "RateLimitError", "InternalServerError"];

/// Kinds whose numbers mean nothing here: a request that was refused for what it says is not sent to the same model again, and says nothing
/// against an account.
const REFUSALS: [&str; 2] = ["BadRequestError", "ContentPolicyViolationError"];

/// What a policy says of each of [`KINDS`].
fn policy(reader: &Reader, node: &Node, name: &str, word: &str) -> Result<[Option<u32>; 4], ConfigError> {
    let known = || KINDS.iter().chain(&REFUSALS).map(|kind| format!("{kind}{word}")).collect::<Vec<_>>().join(", ");
    let mut said = [None; 4];
    for entry in node.entries() {
        let kind = entry.key.strip_suffix(word).unwrap_or_default();
        let number =
            || u32::from_node(&entry.node).ok_or_else(|| wrong(reader, &entry.node, &format!("{name}.{}", entry.key), u32::allowed()));
        match KINDS.iter().position(|k| *k == kind) {
            _ if entry.node.is_null() => {}
            Some(at) => said[at] = Some(number()?),
            None if REFUSALS.contains(&kind) => {}
            None => return Err(wrong(reader, node, name, known())),
        }
    }
    if node.entries().is_empty() {
        return Err(wrong(reader, node, name, known()));
    }
    Ok(said)
}

/// `allowed_fails_policy`: how many failures of a kind are too many.
fn allowed(reader: &Reader) -> Result<Allowed, ConfigError> {
    let Some((section, node)) = section_node(reader.root, "allowed_fails_policy") else { return Ok(Allowed::default()) };
    let said = policy(reader, node, &format!("{section}.allowed_fails_policy"), "AllowedFails")?;
    let [credential, timeout, limit, failure] = said.map(|allowed| allowed.map(|n| n.saturating_add(1)));
    Ok(Allowed { credential, timeout, limit, failure })
}

/// Lines of policies that have no effect, and why.
pub(crate) fn idle_policies(reader: &Reader, warn: &mut Vec<String>) {
    let mut say = |node: &Node, name: &str| {
        for entry in node.entries().iter().filter(|entry| REFUSALS.iter().any(|kind| entry.key.starts_with(kind))) {
            let origin = reader.at_line(entry.line);
            warn.push(format!(
                "{origin}: {name}.{} has no effect: a request that is refused for what it says is no failure of an account",
                entry.key
            ));
        }
    };
    for key in ["retry_policy", "allowed_fails_policy"] {
        if let Some((section, node)) = section_node(reader.root, key) {
            say(node, &format!("{section}.{key}"));
        }
    }
    for entry in section_node(reader.root, "model_group_retry_policy").map_or(&[][..], |(_, node)| node.entries()) {
        say(&entry.node, &format!("model_group_retry_policy.{}", entry.key));
    }
}

/// Attempts by model name, as LiteLLM counts them: each name has its own, those that stand in for it too. `None` where the file says nothing of it,
/// or ours was written.
pub(crate) fn tries(
    reader: &Reader,
    usual: u32,
    fallbacks: &Fallbacks,
    aliases: &BTreeMap<String, Vec<String>>,
) -> Result<Option<Tries>, ConfigError> {
    let retries = setting::<u32>(reader, "num_retries")?;
    let read = |node: &Node, name: &str, usual: u32| -> Result<TryBounds, ConfigError> {
        let said = policy(reader, node, name, "Retries")?;
        let [credential, timeout, limit, failure] = said.map(|retries| retries.map(|n| n.saturating_add(1)));
        Ok(TryBounds { usual, credential, timeout, limit, failure })
    };
    let usual = retries.map_or(usual, |n| n.saturating_add(1));
    let mut tries = Tries { usual: TryBounds { usual, ..TryBounds::default() }, of: BTreeMap::new() };
    let whole = section_node(reader.root, "retry_policy");
    if let Some((section, node)) = whole {
        tries.usual = read(node, &format!("{section}.retry_policy"), usual)?;
    }
    let groups = section_node(reader.root, "model_group_retry_policy");
    for entry in groups.map_or(&[][..], |(_, node)| node.entries()) {
        let bounds = read(&entry.node, &format!("model_group_retry_policy.{}", entry.key), usual)?;
        tries.of.insert(entry.key.clone(), bounds);
    }
    lend(&mut tries.of, aliases);
    let is_said = retries.is_some() || whole.is_some() || groups.is_some() || !fallbacks.always.is_empty();
    Ok((is_said && !reader.is_written("retry.max_attempts")).then_some(tries))
}

/// The most attempts that a request can come to.
pub(crate) fn attempts_max(tries: &Tries, fallbacks: &Fallbacks) -> u32 {
    let names = 1 + fallbacks.always.values().map(Vec::len).max().unwrap_or(0) as u32;
    let each = tries.of.values().chain([&tries.usual]).map(TryBounds::most).max().unwrap_or(1);
    each.saturating_mul(names).clamp(1, ATTEMPTS_MAX)
}

/// Further names of groups: a name, or an object with a `model`.
pub(crate) fn aliases(reader: &Reader, into: &mut BTreeMap<String, Vec<String>>) -> Result<(), ConfigError> {
    let Some((section, node)) = section_node(reader.root, "model_group_alias") else { return Ok(()) };
    for entry in node.entries() {
        let model = named(&entry.node);
        let allowed = || "the name of a model for each name".to_owned();
        let model = model.ok_or_else(|| wrong(reader, &entry.node, &format!("{section}.model_group_alias"), allowed()))?;
        into.entry(entry.key.clone()).or_insert_with(|| vec![model]);
    }
    Ok(())
}

/// Further names that are not listed.
pub(crate) fn hidden_aliases(reader: &Reader) -> BTreeSet<String> {
    let is_hidden = |node: &Node| node.get("hidden").and_then(bool::from_node) == Some(true);
    let entries = section_node(reader.root, "model_group_alias").map_or(&[][..], |(_, node)| node.entries());
    entries.iter().filter(|entry| is_hidden(&entry.node)).map(|entry| entry.key.clone()).collect()
}

/// A model's name, or the one inside an object.
fn named(node: &Node) -> Option<String> {
    node.get("model").unwrap_or(node).scalar()
}

/// A name that stands for one model has what is said of the model, where nothing is said of the name.
fn lend<T: Clone>(said: &mut BTreeMap<String, T>, aliases: &BTreeMap<String, Vec<String>>) {
    for (alias, models) in aliases {
        if let ([model], false) = (models.as_slice(), said.contains_key(alias))
            && let Some(of_model) = said.get(model).cloned()
        {
            said.insert(alias.clone(), of_model);
        }
    }
}

/// What stands in for what stands in stands in too, right behind it: at most so many names for each.
fn followed(said: &BTreeMap<String, Vec<String>>, most: usize) -> BTreeMap<String, Vec<String>> {
    fn follow<'a>(said: &'a BTreeMap<String, Vec<String>>, names: &'a [String], most: usize, seen: &mut Vec<&'a str>) {
        for name in names {
            if seen.len() > most || seen.contains(&name.as_str()) {
                continue;
            }
            seen.push(name);
            follow(said, said.get(name).map_or(&[], Vec::as_slice), most, seen);
        }
    }
    let of = |(model, names): (&String, &Vec<String>)| {
        let mut seen = vec![model.as_str()];
        follow(said, names, most, &mut seen);
        (model.clone(), seen.into_iter().skip(1).map(str::to_owned).collect())
    };
    said.iter().map(of).collect()
}

/// What stands in for models: always, where the input is too long for them, and where their maker's policy refuses it.
pub(crate) fn fallbacks(reader: &Reader, aliases: &BTreeMap<String, Vec<String>>) -> Result<Fallbacks, ConfigError> {
    let most = setting::<u32>(reader, "max_fallbacks")?.map_or(FALLBACKS_USUAL, |n| n as usize);
    let mut always = by_model(reader, "fallbacks", most)?;
    if let Some(mut models) = setting::<Vec<String>>(reader, "default_fallbacks")? {
        models.truncate(most);
        always.entry(ANY.to_owned()).or_insert(models);
    }
    let mut too_long = by_model(reader, "context_window_fallbacks", most)?;
    let mut against_policy = by_model(reader, "content_policy_fallbacks", most)?;
    for said in [&mut always, &mut too_long, &mut against_policy] {
        lend(said, aliases);
        *said = followed(said, most);
    }
    Ok(Fallbacks { always, too_long, against_policy })
}

/// By model, those that stand in for it; those of every model are under [`ANY`].
fn by_model(reader: &Reader, key: &str, most: usize) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let mut fallbacks = BTreeMap::new();
    let Some((section, node)) = section_node(reader.root, key) else { return Ok(fallbacks) };
    let refused = |node: &Node| wrong(reader, node, &format!("{section}.{key}"), "a list of `{model: [models]}`".to_owned());
    for item in node.items() {
        if item.entries().is_empty() {
            return Err(refused(item));
        }
        for entry in item.entries() {
            let models: Option<Vec<String>> = entry.node.items().iter().take(most).map(named).collect();
            fallbacks.insert(entry.key.clone(), models.ok_or_else(|| refused(&entry.node))?);
        }
    }
    Ok(fallbacks)
}

impl Fallbacks {
    /// Whether nothing stands in for anything.
    pub fn is_empty(&self) -> bool {
        self.always.is_empty() && self.too_long.is_empty() && self.against_policy.is_empty()
    }

    /// What stands in for a model whatever went wrong with it.
    pub fn always(&self, model: &str) -> &[String] {
        of(&self.always, model)
    }

    /// What stands in for a model that the input is too long for.
    pub fn too_long(&self, model: &str) -> &[String] {
        of(&self.too_long, model)
    }

    /// What stands in for a model whose maker's policy refuses the input.
    pub fn against_policy(&self, model: &str) -> &[String] {
        of(&self.against_policy, model)
    }
}

fn of<'a>(all: &'a BTreeMap<String, Vec<String>>, model: &str) -> &'a [String] {
    if all.is_empty() {
        return &[];
    }
    all.get(model).or_else(|| all.get(ANY)).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::env::Environment;
    use crate::load::{LoadArgs, load_text};

    fn read(text: &str) -> Result<crate::Config, String> {
        let text =
            format!("model_list:\n  - model_name: m\n    litellm_params: {{model: openai/m, api_base: 'http://h', api_key: k}}\n{text}");
        let none = Environment::from_map(std::iter::empty::<(&str, &str)>());
        load_text(&LoadArgs::default(), &none, &text, Path::new("x.yaml")).map(|loaded| loaded.config).map_err(|e| e.to_string())
    }

    #[test]
    fn what_litellm_says_of_retries_and_rests_counts() {
        let config = read("router_settings: {retry_after: 5, allowed_fails: 2, cooldown_time: 7}\n").unwrap();
        assert_eq!((config.retry.backoff_min, config.retry.backoff_max), (Duration::from_secs(5), Duration::from_secs(5)));
        assert_eq!((config.breaker.failures, config.breaker.recovery, config.breaker.enabled), (3, Duration::from_secs(7), true));
        let ours = read("router_settings: {disable_cooldowns: true, cooldown_time: 7}\nbreaker: {recovery: 9s}\n").unwrap();
        assert_eq!((ours.breaker.enabled, ours.breaker.recovery), (false, Duration::from_secs(9)));
        assert!(read("router_settings: {routing_strategy: by-magic}\n").unwrap_err().contains("simple-shuffle"));
    }

    #[test]
    fn litellm_settings_say_the_same() {
        let config = read(
            "litellm_settings:\n  num_retries: 1\n  request_timeout: 10\n  cooldown_time: 7\n  allowed_fails: 0\n  fallbacks: [{m: [x, y]}]\n  \
             context_window_fallbacks: [{m: [long]}]\n  content_policy_fallbacks: [{'*': [{model: free}]}]\nrouter_settings: {cooldown_time: 8}\n",
        )
        .unwrap();
        assert_eq!(
            (config.timeouts.total, config.breaker.recovery, config.breaker.failures),
            (Duration::from_secs(10), Duration::from_secs(8), 1)
        );
        let all = &config.fallbacks;
        assert_eq!((all.always("m").len(), all.too_long("m"), all.too_long("x")), (2, &["long".to_owned()][..], &[][..]));
        assert_eq!(all.against_policy("m"), ["free"]);
        assert_eq!((config.retry.max_attempts, config.tries.unwrap().usual.usual), (6, 2), "each of three names has two");
    }

    #[test]
    fn each_name_has_its_own_attempts() {
        let config = read(
            "router_settings:\n  num_retries: 0\n  retry_policy: {TimeoutErrorRetries: 2, BadRequestErrorRetries: 3}\n  \
             model_group_retry_policy: {m: {RateLimitErrorRetries: 4}}\n  fallbacks: [{m: [a, b, c, d, e, f, g]}]\n  max_fallbacks: 2\n",
        )
        .unwrap();
        let tries = config.tries.as_ref().unwrap();
        assert_eq!(tries.usual, TryBounds { usual: 1, timeout: Some(3), ..TryBounds::default() });
        assert_eq!(*tries.bounds("m"), TryBounds { usual: 1, limit: Some(5), ..TryBounds::default() });
        assert_eq!((tries.bounds("a"), config.retry.max_attempts), (&tries.usual, 15));
        assert_eq!(read("router_settings: {num_retries: 3}\nretry: {max_attempts: 2}\n").unwrap().tries, None);
        assert_eq!(read("").unwrap().tries, None);
        assert!(read("router_settings: {retry_policy: {TimeoutRetries: 2}}\n").unwrap_err().contains("TimeoutErrorRetries"));
    }

    #[test]
    fn further_names_of_a_group_have_what_it_has() {
        let config = read(
            "router_settings:\n  model_group_alias: {a: m, own: m}\n  fallbacks: [{m: [x]}, {own: [y]}]\n  \
             model_group_retry_policy: {m: {RateLimitErrorRetries: 4}}\n",
        )
        .unwrap();
        assert_eq!([config.fallbacks.always("a"), config.fallbacks.always("own")], [["x".to_owned()], ["y".to_owned()]]);
        let tries = config.tries.unwrap();
        assert_eq!(tries.bounds("a"), tries.bounds("m"));
    }

    #[test]
    fn what_stands_in_is_stood_in_for() {
        let config = read("router_settings:\n  fallbacks: [{g: [h, k]}, {h: [i, g]}, {i: [h]}]\n  max_fallbacks: 3\n").unwrap();
        assert_eq!(config.fallbacks.always("g"), ["h", "i", "k"]);
        assert_eq!(config.fallbacks.always("i"), ["h", "g", "k"]);
        let few = read("router_settings: {fallbacks: [{g: [h]}, {h: [i]}], max_fallbacks: 1}\n").unwrap();
        assert_eq!(few.fallbacks.always("g"), ["h"]);
    }

    #[test]
    fn failures_are_counted_by_their_kind() {
        let config =
            read("router_settings: {allowed_fails_policy: {TimeoutErrorAllowedFails: 9, RateLimitErrorAllowedFails: 0}}\n").unwrap();
        assert_eq!(config.breaker.allowed, Allowed { timeout: Some(10), limit: Some(1), ..Allowed::default() });
        assert!(read("router_settings: {allowed_fails_policy: 3}\n").unwrap_err().contains("allowed_fails_policy"));
    }

    #[test]
    fn groups_have_further_names_and_stand_ins() {
        let config = read(
            "router_settings:\n  model_group_alias: {a: m, b: {model: m, hidden: true}}\n  fallbacks: [{m: [x, y]}]\n  default_fallbacks: [z]\n",
        )
        .unwrap();
        assert_eq!([&config.aliases["a"], &config.aliases["b"]], [&["m"], &["m"]]);
        assert_eq!(config.hidden_aliases, BTreeSet::from(["b".to_owned()]));
        assert_eq!(
            (config.fallbacks.always("m"), config.fallbacks.always("other")),
            (&["x".to_owned(), "y".to_owned()][..], &["z".to_owned()][..])
        );
        assert!(read("router_settings: {fallbacks: [m]}\n").is_err());
    }
}
