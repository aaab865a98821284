//! The one list of metric and field names. A name that is not here is not emitted.

/// A metric: its name as registered (a counter's samples end in `_total`) and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
}

const fn metric(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

// Counters of the router.
pub const REQUESTS: Metric = metric("router_requests", "Requests served, by backend");
pub const RESPONSES: Metric = metric("router_responses", "Answers to inference calls, by HTTP status");
pub const REFUSALS: Metric = metric("router_refusals", "Inference calls refused before any backend was asked, by error code");
pub const ATTEMPTS: Metric = metric("router_attempts", "Attempts on backends, by outcome");
pub const CACHE_HITS: Metric = metric("router_cache_hits", "Requests answered from the cache, by model");
pub const CACHE_MISSES: Metric = metric("router_cache_misses", "Requests that the cache had no answer to, by model");
pub const CACHE_BYTES: Metric = metric("router_cache_bytes", "Remembered answers in memory, in bytes");
pub const TOKENS: Metric =
    metric("router_tokens", "Tokens, by model and direction (input, output; cached are those of the input that a cache had)");
pub const RESUMED: Metric =
    metric("router_resumed_streams", "Streams whose node was lost, by outcome: gone on with on another node, or not");
pub const DROPPED_ROWS: Metric = metric("router_dropped_rows", "Request records that could be neither stored nor spilled");
pub const BODIES_LEFT_OUT: Metric = metric(
    "router_bodies_left_out",
    "Texts of requests that found no room in memory or on the disk; their requests are recorded without them",
);
pub const REDIS_FAILURES: Metric =
    metric("router_redis_failures", "Uses of the shared Redis that failed; the router then counted and remembered alone");
pub const DROPPED_DECISIONS: Metric = metric("router_dropped_decisions", "Requests that the decision log could not take");
// Gauges and histograms of the router.
pub const REQUEST_LATENCY: Metric =
    metric("router_request_latency_seconds", "From a request's arrival to the end of its answer, by backend");
pub const FIRST_BYTE: Metric =
    metric("router_time_to_first_byte_seconds", "From a request's arrival to the first byte of its answer, by backend");
pub const ACTIVE_REQUESTS: Metric = metric("router_active_requests", "Inference calls under way");
pub const OPEN_STREAMS: Metric = metric("router_open_streams", "Streamed answers under way");
pub const QUEUED_REQUESTS: Metric = metric("router_queued_requests", "Inference calls waiting for a node");
pub const PENDING_ROWS: Metric = metric("router_pending_rows", "Request records waiting to be written");
pub const SPILLED_ROWS: Metric = metric("router_spilled_rows", "Request records of this process that wait in the spill file");
pub const BODY_BYTES: Metric = metric("router_body_bytes", "Texts of requests in memory until they are recorded, in bytes");
// Its nodes.
pub const NODE_ENDED: Metric = metric("router_node_requests", "Requests that ended on a node, by model and outcome");
pub const NODE_ACTIVE: Metric = metric("router_node_active_requests", "Requests of this router in flight on a node, by model");
pub const NODE_SLOTS: Metric = metric("router_node_slots", "Requests that a node works on at once, by model, where it says so");
pub const MODEL_QUEUE: Metric = metric("router_model_queued_requests", "Inference calls waiting for a node, by model");
// Cloud providers, on a page of their own.
pub const CLOUD_REQUESTS: Metric = metric("cloud_requests", "Calls to cloud providers, by provider and status");
pub const CLOUD_LATENCY: Metric = metric("cloud_request_latency_seconds", "Duration of calls to cloud providers, by provider");
// Any process.
pub const UPTIME: Metric = metric("process_uptime_seconds", "Time since the process started");
pub const RESIDENT_MEMORY: Metric = metric("process_resident_memory_bytes", "Resident memory");
pub const OPEN_FDS: Metric = metric("process_open_fds", "Open file descriptors");
// A node.
pub const NODE_UPTIME: Metric = metric("llm_node_uptime_seconds", "Time since the node started");
pub const NODE_GPU_DEVICES: Metric = metric("llm_node_gpu_devices", "GPUs found");
pub const NODE_GPU_MEMORY: Metric = metric("llm_node_gpu_memory_bytes", "Memory of all GPUs");
pub const NODE_GPU_CAPABILITY: Metric = metric("llm_node_gpu_capability", "Capability score of the GPUs; 0 where there is none");
pub const NODE_ACTIVE_REQUESTS: Metric = metric("llm_node_active_requests", "Requests being generated");
pub const NODE_QUEUED_REQUESTS: Metric = metric("llm_node_queued_requests", "Requests waiting for a slot");
pub const NODE_REQUESTS: Metric = metric("llm_node_requests", "Requests ended, by model");
pub const NODE_TOKENS: Metric = metric("llm_node_tokens", "Tokens, by model and direction (input, output)");
pub const NODE_WORKER_RESTARTS: Metric = metric("llm_node_worker_restarts", "Workers replaced after a crash or a hang, by model");

/// Label names.
pub mod labels {
    pub const BACKEND: &str = "backend";
    pub const CODE: &str = "code";
    pub const DIRECTION: &str = "direction";
    pub const MODEL: &str = "model";
    pub const NODE: &str = "node";
    pub const OUTCOME: &str = "outcome";
    pub const PROVIDER: &str = "provider";
    pub const STATUS: &str = "status";
    /// The value that stands for all beyond the most distinct ones kept.
    pub const OTHER: &str = "other";
}

/// Fields of log lines. Durations are in milliseconds, sizes in bytes; the name says which.
pub mod fields {
    pub const ATTEMPTS: &str = "attempts";
    pub const BACKEND: &str = "backend";
    pub const CACHE_HIT: &str = "cache_hit";
    pub const ERROR: &str = "error";
    pub const FIRST_BYTE_MS: &str = "first_byte_ms";
    pub const INPUT_TOKENS: &str = "input_tokens";
    pub const KEY_ID: &str = "key_id";
    pub const LATENCY_MS: &str = "latency_ms";
    pub const MODEL: &str = "model";
    pub const NODE_ID: &str = "node_id";
    pub const OUTPUT_TOKENS: &str = "output_tokens";
    pub const REQUEST_ID: &str = "request_id";
    pub const STATUS: &str = "status";
    pub const STREAM: &str = "stream";
}
