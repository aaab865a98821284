//! Node ↔ router over HTTP: registration and heartbeat of the first LLM Router, with our additions (all optional, unknown fields kept).

use serde::{Deserialize, Serialize};

/// `POST /api/nodes`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Registration {
    pub machine_name: String,
    /// Where the router reaches the node; its API is on `runtime_port + 1`.
    pub ip_address: String,
    #[serde(default)]
    pub runtime_version: String,
    pub runtime_port: u16,
    #[serde(default)]
    pub gpu_available: bool,
    #[serde(default)]
    pub gpu_devices: Vec<GpuDevice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_count: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_model: Option<String>,
    /// `cpu` where the node has no GPU and says so (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// Models whose files are on the node's disk, loaded or not (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_models: Option<Vec<String>>,
    /// It takes connections over which nothing is said: the router may hold one, to know at once when the node's process ends.
    #[serde(default)]
    pub tether: bool,
    /// It goes on with an answer that another node began (`continue_final_message`), and counts tokens in every chunk where that is asked for.
    #[serde(default)]
    pub continues: bool,
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuDevice {
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub count: u32,
    /// Bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// The answer to [`Registration`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Registered {
    pub node_id: String,
    /// `registered` (201) or `updated` (200).
    pub status: String,
    pub node_api_port: u16,
    /// `nt_…`: the node's proof towards the router (`X-Node-Token`).
    pub node_token: String,
    /// The router's proof towards the node (`Authorization: Bearer` on its inference paths).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_secret: Option<String>,
}

/// One model in a node's memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceReport {
    pub model: String,
    /// Requests that it works on at once; 0 where it does not say.
    pub slots_total: u32,
    /// Requests that it works on now.
    pub slots_busy: u32,
    /// Requests that wait there.
    pub queue_len: u32,
    /// Cells of the cache in use, and all of them.
    pub kv_used: u32,
    pub kv_total: u32,
    /// Prompt tokens that it has yet to read, of all its requests.
    pub backlog_tokens: u64,
    /// Moving average, tokens per second; 0 until measured.
    pub prefill_tps: f32,
    /// Moving average, milliseconds per token of one sequence; 0 until measured.
    pub tpot_ms: f32,
}

/// `POST /api/health`, with `X-Node-Token`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Heartbeat {
    pub node_id: String,
    /// Percent, 0..=100.
    #[serde(default)]
    pub cpu_usage: f64,
    /// Percent, 0..=100.
    #[serde(default)]
    pub memory_usage: f64,
    #[serde(default)]
    pub active_requests: u32,
    #[serde(default)]
    pub average_response_time_ms: Option<f64>,
    #[serde(default)]
    pub loaded_models: Vec<String>,
    #[serde(default)]
    pub loaded_embedding_models: Vec<String>,
    #[serde(default)]
    pub initializing: bool,
    /// `[ready, total]`; `[n, n]` when nothing is loading.
    #[serde(default)]
    pub ready_models: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_models: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_usage: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_usage: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_total_mb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_used_mb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_model_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_compute_capability: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_capability_score: Option<f64>,
    /// How each model in memory is doing (ours).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceReport>,
    /// The node is about to end: it finishes what it has and takes nothing new (ours).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Fields that this build does not know are kept and shown.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}
