//! Words of LiteLLM's sections: what each means here, and which mean nothing.

use std::fmt::Write as _;

use crate::litellm_router;
use crate::reader::Reader;
use crate::tree::Node;

/// Where LiteLLM's router is told how to route, in the order in which they are asked.
pub(crate) const SECTIONS: [&str; 2] = ["router_settings", "litellm_settings"];

/// A word of one of [`SECTIONS`], and which has it.
pub(crate) fn section_node<'a>(root: &'a Node, key: &str) -> Option<(&'static str, &'a Node)> {
    SECTIONS.iter().find_map(|section| Some((*section, root.get(section)?.get(key).filter(|node| !node.is_null())?)))
}

/// Settings of ours that LiteLLM's file says with another word; the first that is written counts.
pub(crate) const SAME: &[(&str, &[&str])] = &[
    ("timeouts.total", &["router_settings.timeout", "litellm_settings.request_timeout"]),
    ("timeouts.stream_first_byte", &["router_settings.stream_timeout"]),
    ("breaker.recovery", &["router_settings.cooldown_time", "litellm_settings.cooldown_time"]),
    ("auth.header_name", &["general_settings.litellm_key_header_name"]),
    ("server.max_requests", &["general_settings.global_max_parallel_requests"]),
    ("health.check_interval", &["general_settings.health_check_interval"]),
    ("history.retention", &["general_settings.maximum_spend_logs_retention_period"]),
    ("cache.enabled", &["litellm_settings.cache"]),
    ("cache.ttl", &["litellm_settings.cache_params.ttl"]),
    ("cache.redis_url", &["router_settings.redis_url", "litellm_settings.cache_params.url", "litellm_settings.cache_params.redis_url"]),
];

/// What code of its own reads, besides [`SAME`].
pub(crate) const READ: &[&str] = &[
    "num_retries",
    "retry_after",
    "retry_policy",
    "model_group_retry_policy",
    "routing_strategy",
    "allowed_fails",
    "allowed_fails_policy",
    "disable_cooldowns",
    "model_group_alias",
    "fallbacks",
    "default_fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "max_fallbacks",
    "default_max_parallel_requests",
];

/// Where a Redis stands whose address is said in pieces.
pub(crate) const REDIS: [(&str, [&str; 3]); 2] =
    [("router_settings", ["redis_host", "redis_port", "redis_password"]), ("litellm_settings.cache_params", ["host", "port", "password"])];

/// What is so here anyway, with the value that says it.
const ANYWAY: &[(&str, &str)] = &[
    ("litellm_settings.drop_params", "true"),
    ("litellm_settings.cache_params.type", "redis"),
    ("litellm_settings.cache_params.type", "local"),
    ("general_settings.disable_spend_logs", "false"),
    ("litellm_settings.set_verbose", "false"),
    ("router_settings.set_verbose", "false"),
    ("litellm_settings.json_logs", "true"),
];

/// Whether a word of LiteLLM's sections, with what it says if that is one value, means something here.
pub(crate) fn is_read(name: &str, said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let (section, key) = name.rsplit_once('.').unwrap_or_default();
    name == "general_settings.master_key"
        || (SECTIONS.contains(&section) && READ.contains(&key))
        || SAME.iter().any(|(_, theirs)| theirs.contains(&name))
        || REDIS.iter().any(|(of, keys)| *of == section && keys.contains(&key))
        || ANYWAY.contains(&(name, said.as_str()))
}

/// Says of every word of LiteLLM's sections that means nothing here that it has no effect.
pub(crate) fn warn_of_others(reader: &mut Reader) {
    let mut warnings = Vec::new();
    for section in ["router_settings", "general_settings", "litellm_settings", "litellm_settings.cache_params"] {
        for entry in reader.root.at(section).map_or(&[][..], Node::entries) {
            let name = format!("{section}.{}", entry.key);
            let is_section = name == "litellm_settings.cache_params";
            if !is_section && !entry.node.is_null() && !is_read(&name, &entry.node.scalar().unwrap_or_default()) {
                warnings.push(format!("{}: {name} has no effect", reader.at_line(entry.line)));
            }
        }
    }
    // The others are about accounts that serve one name.
    if let Some((section, node)) = section_node(reader.root, "routing_strategy")
        && node.scalar().is_some_and(|name| name.starts_with("llmrouter-"))
    {
        warnings.push(format!("{}: {section}.routing_strategy has no effect", reader.at_line(node.line)));
    }
    litellm_router::idle_policies(reader, &mut warnings);
    reader.warnings.append(&mut warnings);
}

/// The address of a Redis that is said in pieces, and the line of its host.
pub(crate) fn redis_url(reader: &Reader) -> Option<(String, u64)> {
    REDIS.iter().find_map(|(section, [host, port, password])| {
        let section = reader.root.at(section)?;
        let said = |key: &str| section.get(key).and_then(|node| reader.resolved(node)).filter(|text| !text.trim().is_empty());
        let line = section.get(host)?.line;
        let (host, port) = (said(host)?, said(port).unwrap_or_else(|| "6379".to_owned()));
        let password = said(password).map(|password| format!(":{}@", escaped(&password))).unwrap_or_default();
        Some((format!("redis://{password}{host}:{port}"), line))
    })
}

/// A password as it stands in an address.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            escaped.push(char::from(b));
        } else {
            let _ = write!(escaped, "%{b:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::env::Environment;
    use crate::load::{LoadArgs, Loaded, load_text};
    use crate::show::show_json;

    fn read(text: &str, variables: &[(&str, &str)]) -> Loaded {
        let env = Environment::from_map(variables.iter().copied());
        load_text(&LoadArgs::default(), &env, text, Path::new("x.yaml")).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn what_has_a_word_of_ours_means_the_same() {
        let text = "general_settings:\n  litellm_key_header_name: X-Litellm-Key\n  global_max_parallel_requests: 7\n  health_check_interval: 300\n  \
                    maximum_spend_logs_retention_period: 30d\nlitellm_settings:\n  cache: true\n  cache_params: {type: redis, ttl: 60, host: os.environ/RH, port: 7000, password: 'p@ss'}\n\
                    router_settings: {stream_timeout: 9}\n";
        let loaded = read(text, &[("RH", "cache.local")]);
        let c = &loaded.config;
        assert_eq!((c.auth.header_name.as_str(), c.server.max_requests), ("X-Litellm-Key", 7));
        assert_eq!((c.health.check_interval, c.history.retention), (Duration::from_mins(5), Duration::from_hours(24 * 30)));
        assert_eq!((c.cache.enabled, c.cache.ttl), (true, Duration::from_mins(1)));
        assert_eq!(c.cache.redis_url.as_ref().map(crate::Secret::expose), Some("redis://:p%40ss@cache.local:7000"));
        assert_eq!(c.timeouts.stream_first_byte, Some(Duration::from_secs(9)));
        assert_eq!(loaded.warnings, [""; 0]);
        let shown = show_json(&loaded).to_string();
        assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
        assert!(shown.contains("x.yaml line 3"), "the line of max_requests: {shown}");
    }

    #[test]
    fn ours_win_and_the_environment_wins_over_both() {
        let text = "cache: {ttl: 5s, redis_url: 'redis://ours'}\nlitellm_settings: {cache_params: {ttl: 60, host: theirs}}\nrouter_settings: {timeout: 9}\n";
        let c = read(text, &[("LLM_ROUTER_TIMEOUTS_TOTAL", "8s")]).config;
        assert_eq!((c.cache.ttl, c.timeouts.total), (Duration::from_secs(5), Duration::from_secs(8)));
        assert_eq!(c.cache.redis_url.as_ref().map(crate::Secret::expose), Some("redis://ours"));
    }

    #[test]
    fn variables_of_the_file_stand_behind_those_of_the_process() {
        let text = "environment_variables: {OPENAI_API_KEY: sk-of-file, GROK_API_KEY: sk-groq, MINE: sk-mine, REDIS_URL: 'redis://f'}\nmodel_list:\n  - model_name: m\n    \
                    litellm_params: {model: openai/m, api_key: os.environ/MINE}\n";
        let loaded = read(text, &[("OPENAI_API_KEY", "sk-of-process")]);
        let key = |name: &str| {
            loaded.config.accounts.iter().find(|a| a.name == name).and_then(|a| a.api_key.as_ref()).map(|k| k.expose().to_owned())
        };
        assert_eq!((key("openai").as_deref(), key("m").as_deref()), (Some("sk-of-process"), Some("sk-mine")));
        assert_eq!(loaded.config.cache.redis_url.as_ref().map(crate::Secret::expose), Some("redis://f"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let shown = show_json(&loaded).to_string();
        assert!(!shown.contains("sk-mine") && !shown.contains("sk-groq") && shown.contains("x.yaml line 1"), "{shown}");
    }

    #[test]
    fn what_means_nothing_is_said_with_its_line() {
        let text = "litellm_settings:\n  drop_params: true\n  callbacks: [langfuse]\n  cache_params: {type: s3}\nrouter_settings:\n  retry_policy: {BadRequestErrorRetries: 1}\n  \
                    enable_tag_filtering: true\ngeneral_settings: {alerting: [slack]}\n";
        let said = read(text, &[]).warnings;
        for (line, name) in [
            (3, "litellm_settings.callbacks"),
            (4, "litellm_settings.cache_params.type"),
            (6, "router_settings.retry_policy.BadRequestErrorRetries"),
            (7, "router_settings.enable_tag_filtering"),
            (8, "general_settings.alerting"),
        ] {
            assert!(said.iter().any(|w| w.starts_with(&format!("x.yaml line {line}: {name} has no effect"))), "{name}: {said:?}");
        }
        assert_eq!(said.len(), 5, "{said:?}");
    }
}
