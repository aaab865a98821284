//! LiteLLM's `router_settings`. Ours of the same meaning win over them where both are written.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Breaker, Strategy};
use crate::error::ConfigError;
use crate::reader::Reader;
use crate::setting::{Interval, Setting};
use crate::tree::Node;

/// The keys that have an effect.
pub(crate) const READ: &[&str] = &[
    "num_retries",
    "retry_after",
    "timeout",
    "routing_strategy",
    "allowed_fails",
    "cooldown_time",
    "disable_cooldowns",
    "model_group_alias",
    "fallbacks",
    "default_fallbacks",
];

/// The model under which fallbacks of every model stand.
const ANY: &str = "*";

/// One of them.
pub(crate) fn setting<T: Setting>(reader: &Reader, key: &str) -> Result<Option<T>, ConfigError> {
    let Some(node) = reader.root.at("router_settings").and_then(|s| s.get(key)) else { return Ok(None) };
    T::from_node(node).map(Some).ok_or_else(|| wrong(reader, node, key, T::allowed()))
}

fn wrong(reader: &Reader, node: &Node, key: &str, allowed: String) -> ConfigError {
    ConfigError::Value {
        name: format!("router_settings.{key}"),
        value: node.brief(),
        origin: reader.at_line(node.line).to_string(),
        allowed,
    }
}

/// A learned strategy is about what `auto` means, not about equals.
pub(crate) fn strategy(reader: &Reader) -> Result<Option<Strategy>, ConfigError> {
    let name = reader.root.at("router_settings.routing_strategy").and_then(Node::scalar);
    if name.is_some_and(|name| name.starts_with("llmrouter-")) {
        return Ok(None);
    }
    setting(reader, "routing_strategy")
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
    if let (false, Some(allowed)) = (reader.is_written("breaker.failures"), setting::<u32>(reader, "allowed_fails")?) {
        breaker.failures = allowed.saturating_add(1);
    }
    if let (false, Some(time)) = (reader.is_written("breaker.recovery"), setting::<Interval>(reader, "cooldown_time")?) {
        breaker.recovery = time.0;
    }
    if let (false, Some(off)) = (reader.is_written("breaker.enabled"), setting::<bool>(reader, "disable_cooldowns")?) {
        breaker.enabled = !off;
    }
    Ok(breaker)
}

/// Further names of groups: a name, or an object with a `model`.
pub(crate) fn aliases(reader: &Reader, into: &mut BTreeMap<String, Vec<String>>) -> Result<(), ConfigError> {
    let Some(node) = reader.root.at("router_settings.model_group_alias") else { return Ok(()) };
    for entry in node.entries() {
        let model = entry.node.get("model").unwrap_or(&entry.node).scalar();
        let model = model.ok_or_else(|| wrong(reader, &entry.node, "model_group_alias", "the name of a model for each name".to_owned()))?;
        into.entry(entry.key.clone()).or_insert_with(|| vec![model]);
    }
    Ok(())
}

/// By model, those that stand in for it; those of every model are under [`ANY`].
pub(crate) fn fallbacks(reader: &Reader) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let mut fallbacks = BTreeMap::new();
    let allowed = || "a list of `{model: [models]}`".to_owned();
    for item in reader.root.at("router_settings.fallbacks").map_or(&[][..], Node::items) {
        if item.entries().is_empty() {
            return Err(wrong(reader, item, "fallbacks", allowed()));
        }
        for entry in item.entries() {
            let models = Vec::<String>::from_node(&entry.node).ok_or_else(|| wrong(reader, &entry.node, "fallbacks", allowed()))?;
            fallbacks.insert(entry.key.clone(), models);
        }
    }
    if let Some(models) = setting::<Vec<String>>(reader, "default_fallbacks")? {
        fallbacks.entry(ANY.to_owned()).or_insert(models);
    }
    Ok(fallbacks)
}

/// What stands in for a model.
pub(crate) fn fallbacks_of<'a>(all: &'a BTreeMap<String, Vec<String>>, model: &str) -> &'a [String] {
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
    fn groups_have_further_names_and_stand_ins() {
        let config = read(
            "router_settings:\n  model_group_alias: {a: m, b: {model: m, hidden: true}}\n  fallbacks: [{m: [x, y]}]\n  default_fallbacks: [z]\n",
        )
        .unwrap();
        assert_eq!([&config.aliases["a"], &config.aliases["b"]], [&["m"], &["m"]]);
        assert_eq!(
            (config.fallbacks_of("m"), config.fallbacks_of("other")),
            (&["x".to_owned(), "y".to_owned()][..], &["z".to_owned()][..])
        );
        assert!(read("router_settings: {fallbacks: [m]}\n").is_err());
    }
}
