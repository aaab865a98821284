//! The settings of `llm-node`: flags over the environment over a JSON file over defaults.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env::Environment;
use crate::error::ConfigError;
use crate::files::{Downloads, Hub};
use crate::node_keys::NODE_KEYS;
use crate::reader::Reader;
use crate::secret::Secret;
use crate::setting::{Bytes, Count, Interval};
use crate::tree::Node;
use crate::{base_url, file, files, known};

/// What the command line of `llm-node` said; `None` and `false` where it said nothing. Texts are judged by [`NodeSettings::load`].
#[derive(Debug, Clone, Default)]
pub struct NodeFlags {
    /// The JSON file, instead of `LLM_NODE_CONFIG`.
    pub config: Option<PathBuf>,
    /// Base URL of the router.
    pub router_url: Option<String>,
    /// Listening port; `0` lets the system choose.
    pub port: Option<u16>,
    /// Listening address.
    pub bind_address: Option<String>,
    /// Base directory for models, logs and state.
    pub data_dir: Option<PathBuf>,
    /// Directory of the models.
    pub models_dir: Option<PathBuf>,
    /// Directory of the log files.
    pub log_dir: Option<PathBuf>,
    /// Log filter.
    pub log_level: Option<String>,
    /// Token shown to the router at registration.
    pub join_token: Option<String>,
    /// Whether to run without a router.
    pub standalone: bool,
    /// Whether to join as an agent.
    pub agent: bool,
    /// Threads per worker.
    pub threads: Option<u32>,
    /// The worker executable.
    pub worker: Option<PathBuf>,
    /// Whether the paths for fault injection exist.
    pub debug_paths: bool,
}

/// Everything `llm-node` can be told, validated.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Base URL of the router, without a slash at its end.
    pub router_url: String,
    /// Listening port; 0 lets the system choose.
    pub port: u16,
    /// Listening address.
    pub bind_address: IpAddr,
    /// The address told to the router; detected where `None`.
    pub ip: Option<String>,
    /// Base directory for models, logs and state.
    pub data_dir: PathBuf,
    /// Directory of the models.
    pub models_dir: PathBuf,
    /// Directory of the log files.
    pub log_dir: PathBuf,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Log filter in env-filter syntax.
    pub log_level: String,
    /// Days that rotated log files are kept.
    pub log_retention_days: u32,
    /// A model unused for so long is unloaded; never where `None`.
    pub idle_timeout: Option<Duration>,
    /// Most models in memory at once; no bound where `None`.
    pub max_loaded_models: Option<u32>,
    /// Most bytes of memory for loaded models; no bound where `None`.
    pub max_memory_bytes: Option<u64>,
    /// Shown to the router at registration.
    pub join_token: Option<Secret>,
    /// Whether to run without a router.
    pub standalone: bool,
    /// Whether to join by name and endpoint, as agents do.
    pub agent: bool,
    /// The agent's name.
    pub agent_name: String,
    /// Where an agent's router reaches it; found where `None`.
    pub agent_endpoint: Option<String>,
    /// Models that an agent names; those on its disk where it is empty.
    pub agent_models: Vec<String>,
    /// Threads per worker; from the machine where `None`.
    pub threads: Option<u32>,
    /// Requests that one worker decodes at once.
    pub slots: u32,
    /// Most tokens of one request, prompt and answer; the model's own bound if that is less.
    pub context: u32,
    /// KV cells for all slots of a worker together; `max(8192, context)` where `None`.
    pub kv_cells: Option<u32>,
    /// The worker executable; found beside this one where `None`.
    pub worker: Option<PathBuf>,
    /// The model that answers embeddings requests which name none.
    pub default_embedding_model: Option<String>,
    /// Whether the models that the router keeps are fetched.
    pub sync_models: bool,
    /// A loaded model is not unloaded for another one before it was there for so long.
    pub min_residency: Duration,
    /// How long a request waits for its model to be loaded before its caller is told to come back.
    pub load_patience: Duration,
    /// The hub that models come from.
    pub hub: Hub,
    /// How files of models are fetched.
    pub downloads: Downloads,
    /// Whether the paths for fault injection exist.
    pub debug_paths: bool,
}

impl NodeSettings {
    /// The settings in effect, and what should be said about them once. Flags win over the environment (`.env` included), that
    /// over the JSON file (`--config`, `LLM_NODE_CONFIG`, or `~/.llm-router/config.json` if it exists), that over defaults.
    ///
    /// Errors name the first value that is wrong and where it came from.
    pub fn load(flags: &NodeFlags, env: &Environment) -> Result<(Self, Vec<String>), ConfigError> {
        let path = find_file(flags, env)?;
        let root = path.as_deref().map_or(Ok(Node::NOTHING), read_json)?;
        known::check_file(&root, NODE_KEYS, path.as_deref())?;
        let mut reader = Reader::new(env, &root, path.as_deref(), NODE_KEYS, None);
        take_flags(&mut reader, flags);
        let settings = Self::read(&mut reader)?;
        reader.report_deprecated();
        let mut warnings = std::mem::take(&mut reader.warnings);
        warnings.extend(known::unknown_variables(env, "LLM_NODE_", NODE_KEYS, &["LLM_NODE_CONFIG"], &[], false));
        Ok((settings, warnings))
    }

    fn read(reader: &mut Reader) -> Result<Self, ConfigError> {
        let data_dir: PathBuf = reader.value("data_dir")?;
        let data_dir = reader.path(&data_dir);
        let folder = |reader: &mut Reader, key: &str, name: &str| -> Result<PathBuf, ConfigError> {
            let named: Option<PathBuf> = reader.optional(key)?;
            Ok(named.map_or_else(|| data_dir.join(name), |path| reader.path(&path)))
        };
        let models_dir = folder(reader, "models_dir", "models")?;
        let log_dir = folder(reader, "log_dir", "logs")?;
        let router_url: String = reader.value("router_url")?;
        let router_url = base_url::checked(&router_url).map_err(|why| ConfigError::Value {
            name: "router_url".to_owned(),
            value: crate::secret::mask_url(&router_url),
            origin: reader.origin("router_url").to_string(),
            allowed: why.to_owned(),
        })?;
        Ok(Self {
            router_url,
            port: reader.value("node_port")?,
            bind_address: reader.value("bind_address")?,
            ip: reader.optional("node_ip")?,
            models_dir,
            log_dir,
            heartbeat: reader.value::<Interval>("heartbeat_interval_sec")?.0,
            log_level: reader.value("log_level")?,
            log_retention_days: reader.value::<Count>("log_retention_days")?.0,
            idle_timeout: reader.optional::<Interval>("idle_timeout")?.map(|i| i.0),
            max_loaded_models: reader.optional::<Count>("max_loaded_models")?.map(|n| n.0),
            max_memory_bytes: reader.optional::<Bytes>("max_memory_bytes")?.map(|n| n.0),
            join_token: reader.secret("join_token")?,
            standalone: reader.value("standalone")?,
            agent: reader.value("agent")?,
            agent_name: reader.value("agent_name")?,
            agent_endpoint: reader.optional("agent_endpoint")?,
            agent_models: listed(reader.optional::<String>("agent_models")?.unwrap_or_default()),
            threads: reader.optional::<Count>("threads")?.map(|n| n.0),
            slots: reader.value::<Count>("slots")?.0,
            context: reader.value::<Count>("context")?.0,
            kv_cells: reader.optional::<Count>("kv_cells")?.map(|n| n.0),
            worker: reader.optional::<PathBuf>("worker")?.map(|path| reader.path(&path)),
            default_embedding_model: reader.optional("default_embedding_model")?,
            sync_models: reader.value("sync_models")?,
            min_residency: reader.value("min_residency")?,
            load_patience: reader.value("load_patience")?,
            hub: files::hub(reader, &files::OF_NODE)?,
            downloads: files::downloads(reader, &files::OF_NODE)?,
            debug_paths: reader.value("debug_paths")?,
            data_dir,
        })
    }
}

/// Names between commas.
fn listed(names: String) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn take_flags(reader: &mut Reader, flags: &NodeFlags) {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let truth = |flag: bool| flag.then(|| "true".to_owned());
    reader.flag("router_url", "--router-url", flags.router_url.clone());
    reader.flag("node_port", "--port", flags.port.map(|n| n.to_string()));
    reader.flag("bind_address", "--bind-address", flags.bind_address.clone());
    reader.flag("data_dir", "--data-dir", path(&flags.data_dir));
    reader.flag("models_dir", "--models-dir", path(&flags.models_dir));
    reader.flag("log_dir", "--log-dir", path(&flags.log_dir));
    reader.flag("log_level", "--log-level", flags.log_level.clone());
    reader.flag("join_token", "--join-token", flags.join_token.clone());
    reader.flag("standalone", "--standalone", truth(flags.standalone));
    reader.flag("agent", "--agent", truth(flags.agent));
    reader.flag("threads", "--threads", flags.threads.map(|n| n.to_string()));
    reader.flag("worker", "--worker", path(&flags.worker));
    reader.flag("debug_paths", "--debug-paths", truth(flags.debug_paths));
}

fn find_file(flags: &NodeFlags, env: &Environment) -> Result<Option<PathBuf>, ConfigError> {
    let flag = flags.config.clone().map(|path| (path, "--config"));
    let named = flag.or_else(|| Some((PathBuf::from(env.get("LLM_NODE_CONFIG")?), "environment LLM_NODE_CONFIG")));
    if let Some((path, origin)) = named {
        let path = env.cwd().join(file::expand_home(&path, env.home()));
        return if path.exists() { Ok(Some(path)) } else { Err(ConfigError::Missing { path, origin: origin.to_owned() }) };
    }
    Ok(env.home().map(|home| home.join(".llm-router/config.json")).filter(|path| path.is_file()))
}

fn read_json(path: &Path) -> Result<Node, ConfigError> {
    let text = file::read_text(path)?;
    if text.trim().is_empty() {
        return Ok(Node::NOTHING);
    }
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| ConfigError::Syntax {
        path: path.to_owned(),
        line: e.line() as u64,
        column: e.column() as u64,
        message: "this is no valid JSON".to_owned(),
    })?;
    Ok(Node::from_json(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> (NodeSettings, Vec<String>) {
        NodeSettings::load(&NodeFlags::default(), &Environment::from_map(variables.iter().copied())).unwrap()
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        NodeSettings::load(&NodeFlags::default(), &Environment::from_map(variables.iter().copied())).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let (node, warnings) = load(&[("HOME", "/nowhere")]);
        assert_eq!(
            (node.router_url.as_str(), node.port, node.slots, node.context, node.kv_cells),
            ("http://127.0.0.1:8080", 11435, 8, 4096, None)
        );
        assert_eq!(
            (node.data_dir, node.models_dir, node.log_dir),
            ("/nowhere/.llm-router".into(), "/nowhere/.llm-router/models".into(), "/nowhere/.llm-router/logs".into())
        );
        assert_eq!((node.heartbeat, node.idle_timeout, node.standalone, node.debug_paths), (Duration::from_secs(10), None, false, false));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn old_names_work_and_are_reported_once() {
        let (node, warnings) =
            load(&[("LLM_HEARTBEAT_SECS", "3"), ("LLM_MODELS_DIR", "/m"), ("LLM_NODE_MODELS_DIR", "/n"), ("LLM_MODEL_IDLE_TIMEOUT", "5m")]);
        assert_eq!(
            (node.heartbeat, node.models_dir, node.idle_timeout),
            (Duration::from_secs(3), "/n".into(), Some(Duration::from_mins(5)))
        );
        assert_eq!(
            warnings,
            ["LLM_MODELS_DIR is deprecated: use LLM_NODE_MODELS_DIR", "LLM_HEARTBEAT_SECS is deprecated: use LLM_NODE_HEARTBEAT_SECS"]
        );
    }

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        std::fs::write(&path, r#"{"router_url": "http://file:1/", "node_port": 1, "bind_address": "127.0.0.1", "models_dir": "~/m", "heartbeat_interval_sec": 7}"#).unwrap();
        let env = Environment::from_map([("LLM_NODE_CONFIG", path.to_str().unwrap()), ("LLM_NODE_PORT", "2"), ("HOME", "/home/me")]);
        let (node, _) = NodeSettings::load(&NodeFlags { port: Some(3), standalone: true, ..NodeFlags::default() }, &env).unwrap();
        assert_eq!(
            (node.port, node.router_url.as_str(), node.models_dir, node.standalone),
            (3, "http://file:1", "/home/me/m".into(), true)
        );
        let (node, _) = NodeSettings::load(&NodeFlags::default(), &env).unwrap();
        assert_eq!((node.port, node.heartbeat), (2, Duration::from_secs(7)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value, word) in [
            ("LLM_NODE_PORT", "eleven", "whole number"),
            ("LLM_NODE_SLOTS", "0", "from 1"),
            ("LLM_NODE_HEARTBEAT_SECS", "0", "above 0"),
            ("LLM_NODE_BIND_ADDRESS", "my-host", "an address"),
            ("LLM_ROUTER_URL", "ftp://x", "http"),
            ("LLM_NODE_CONFIG", "none.json", "does not exist"),
        ] {
            let said = refused(&[(name, value)]);
            assert!(said.contains(name) && said.contains(value) && said.contains(word), "{said}");
        }
    }

    #[test]
    fn a_wrong_key_of_the_file_is_refused_and_an_unknown_variable_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        let env = Environment::from_map([("LLM_NODE_CONFIG", path.to_str().unwrap())]);
        std::fs::write(&path, r#"{"router_ulr": "x"}"#).unwrap();
        let said = NodeSettings::load(&NodeFlags::default(), &env).unwrap_err().to_string();
        assert!(said.contains("router_ulr") && said.contains("router_url") && said.contains("node.json"), "{said}");
        std::fs::write(&path, "{\n\"join_token\": sk-secret\n}").unwrap();
        let said = NodeSettings::load(&NodeFlags::default(), &env).unwrap_err().to_string();
        assert!(said.contains("line 2") && !said.contains("sk-secret"), "{said}");
        assert_eq!(load(&[("LLM_NODE_PROT", "1")]).1, ["LLM_NODE_PROT is no setting; did you mean LLM_NODE_PORT?"]);
    }
}
