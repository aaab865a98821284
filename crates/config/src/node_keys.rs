//! The table of the node's settings.

use crate::key::Key;

/// Every key of the node's JSON file, in the order of the reference.
pub(crate) const NODE_KEYS: &[Key] = &[
    Key::value("router_url", "http://127.0.0.1:8080", "The router to register at.").env(&["LLM_ROUTER_URL", "ROUTER_URL"]),
    Key::value("node_port", "11435", "Port to listen on; 0 lets the system choose.").env(&["LLM_NODE_PORT"]),
    Key::value("bind_address", "0.0.0.0", "Address to listen on.")
        .env(&["LLM_NODE_BIND_ADDRESS", "LLM_BIND_ADDRESS"])
        .old(&["LLM_BIND_ADDRESS"]),
    Key::value("node_ip", "", "The address told to the router.").by_default("detected").env(&["LLM_NODE_IP"]),
    Key::value("data_dir", "~/.llm-router", "Base directory of models, logs and state.").env(&["LLM_NODE_DATA_DIR", "LLM_ROUTER_DATA_DIR"]),
    Key::value("models_dir", "", "Directory of the models.")
        .by_default("`models` in the data directory")
        .env(&["LLM_NODE_MODELS_DIR", "LLM_MODELS_DIR"])
        .old(&["LLM_MODELS_DIR"]),
    Key::value("heartbeat_interval_sec", "10", "Seconds between heartbeats.")
        .env(&["LLM_NODE_HEARTBEAT_SECS", "LLM_HEARTBEAT_SECS", "HEARTBEAT_INTERVAL"])
        .old(&["LLM_HEARTBEAT_SECS"]),
    Key::value("log_level", "info", "Log filter in env-filter syntax.")
        .env(&["LLM_NODE_LOG_LEVEL", "LLM_LOG_LEVEL", "LOG_LEVEL"])
        .old(&["LLM_LOG_LEVEL"]),
    Key::value("log_dir", "", "Directory of the log files.")
        .by_default("`logs` in the data directory")
        .env(&["LLM_NODE_LOG_DIR", "LLM_LOG_DIR"])
        .old(&["LLM_LOG_DIR"]),
    Key::value("log_retention_days", "7", "Days that rotated log files are kept.")
        .env(&["LLM_NODE_LOG_RETENTION_DAYS", "LLM_LOG_RETENTION_DAYS"])
        .old(&["LLM_LOG_RETENTION_DAYS"]),
    Key::value("idle_timeout", "", "A model unused for so long is unloaded; never if not set.")
        .env(&["LLM_NODE_IDLE_TIMEOUT", "LLM_MODEL_IDLE_TIMEOUT"]),
    Key::value("max_loaded_models", "", "Most models in memory at once; no bound if not set.")
        .env(&["LLM_NODE_MAX_LOADED_MODELS", "LLM_MAX_LOADED_MODELS"]),
    Key::value("max_memory_bytes", "", "Most memory for loaded models; what is free on the machine, less a part of it, if not set.")
        .env(&["LLM_NODE_MAX_MEMORY_BYTES", "LLM_MAX_MEMORY_BYTES"]),
    Key::secret("join_token", "Shown to the router at registration.").env(&["LLM_NODE_JOIN_TOKEN"]),
    Key::value("standalone", "false", "Whether to run without a router.").env(&["LLM_NODE_STANDALONE"]),
    Key::value("agent", "false", "Whether to join by name and endpoint (`/register`, `/heartbeat`), as agents do.")
        .env(&["LLM_NODE_AGENT"]),
    Key::value("agent_name", "local-agent", "The agent's name.").env(&["LLM_NODE_AGENT_NAME", "AGENT_NAME"]),
    Key::value("agent_endpoint", "", "Where an agent's router reaches it.")
        .by_default("detected")
        .env(&["LLM_NODE_AGENT_ENDPOINT", "AGENT_ENDPOINT"]),
    Key::value("agent_models", "", "Models that an agent names, between commas.")
        .by_default("those on its disk")
        .env(&["LLM_NODE_AGENT_MODELS", "MODEL_LIST"]),
    Key::value("threads", "", "Threads per worker.").by_default("from the machine").env(&["LLM_NODE_THREADS"]),
    Key::value("slots", "8", "Requests that one worker decodes at once.").env(&["LLM_NODE_SLOTS"]),
    Key::value("context", "4096", "Most tokens of one request, prompt and answer; the model's own bound if that is less.")
        .env(&["LLM_NODE_CONTEXT"]),
    Key::value("kv_cells", "", "KV cells for all slots of a worker together.")
        .by_default("8192, or `context` if more")
        .env(&["LLM_NODE_KV_CELLS"]),
    Key::value("worker", "", "The worker executable.").by_default("found beside `llm-node`").env(&["LLM_NODE_WORKER"]),
    Key::value("default_embedding_model", "", "The model of embeddings requests that name none.")
        .env(&["LLM_NODE_DEFAULT_EMBEDDING_MODEL", "LLM_DEFAULT_EMBEDDING_MODEL"]),
    Key::value("sync_models", "true", "Whether the node fetches the models that its router keeps.").env(&["LLM_NODE_SYNC_MODELS"]),
    Key::value("min_residency", "30s", "A loaded model is not unloaded for another one before it was there for so long.")
        .env(&["LLM_NODE_MIN_RESIDENCY"]),
    Key::value("load_patience", "60s", "How long a request waits for its model to be loaded before its caller is told to come back.")
        .env(&["LLM_NODE_LOAD_PATIENCE"]),
    Key::value("hub_url", "https://huggingface.co", "The hub that models come from, or a mirror of it with the same API.").env(&[
        "LLM_NODE_HUB_URL",
        "HF_BASE_URL",
        "HF_ENDPOINT",
    ]),
    Key::secret("hub_token", "Shown to the hub's own host, and to no other.").env(&["LLM_NODE_HUB_TOKEN", "HF_TOKEN"]),
    Key::value("download_retries", "6", "Failures in a row after which a download is given up.").env(&["LLM_DL_MAX_RETRIES"]),
    Key::value("download_backoff_ms", "200", "Milliseconds of pause after the first failure; doubled with each further one.")
        .env(&["LLM_DL_BACKOFF_MS"]),
    Key::value("download_concurrency", "4", "Pieces of a file that are fetched at once.").env(&["LLM_DL_CONCURRENCY"]),
    Key::value("download_max_rate", "", "Most bytes per second for one download, such as 50MB; no bound if not set.")
        .env(&["LLM_DL_MAX_BPS"]),
    Key::value("download_chunk", "64MiB", "Length of a piece that is checked, and fetched again, on its own.").env(&["LLM_DL_CHUNK"]),
    Key::value("disk_reserve", "1GiB", "What downloads leave free on the disk.").env(&["LLM_NODE_DISK_RESERVE"]),
    Key::value("debug_paths", "false", "Whether the paths for fault injection exist; for tests.").env(&["LLM_NODE_DEBUG_PATHS"]),
];
