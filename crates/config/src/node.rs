//! The settings of `llm-node`: flags over the environment over a JSON file over defaults.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

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
    /// Whether the paths for fault injection exist.
    pub debug_paths: bool,
}
