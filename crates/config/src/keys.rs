//! The table of the router's settings.

use crate::key::{Key, Shape};

/// What the variables that follow from a key by rule begin with.
pub(crate) const PREFIX: &str = "LLM_ROUTER_";

/// Every key of the router's file, in the order of the reference.
pub(crate) const KEYS: &[Key] = &[
    // server
    Key::value("server.host", "0.0.0.0", "Address to listen on. A bare `HOST` counts only if it is an address.")
        .env(&["LLM_ROUTER_HOST", "ROUTER_HOST", "HOST"])
        .old(&["ROUTER_HOST"]),
    Key::value("server.port", "8080", "Port to listen on; 0 lets the system choose.")
        .env(&["LLM_ROUTER_PORT", "ROUTER_PORT", "LITELLM_PORT", "PORT"])
        .old(&["ROUTER_PORT"]),
    Key::value("server.listen", "", "Several `address:port`; they replace host and port.").env(&["LLM_ROUTER_LISTEN"]),
    Key::value("server.data_dir", "~/.llm-router", "Base directory of database, logs, models and files.").env(&["LLM_ROUTER_DATA_DIR"]),
    Key::value("server.max_body", "64MiB", "Largest JSON body.").env(&["LLM_ROUTER_MAX_BODY"]),
    Key::value("server.max_upload", "512MiB", "Largest form (sound, images); it passes as it comes and is never whole in memory.")
        .env(&["LLM_ROUTER_MAX_UPLOAD"]),
    Key::value("server.trusted_proxies", "", "Addresses and blocks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.")
        .env(&["LLM_ROUTER_TRUSTED_PROXIES"]),
    Key::value("server.allow_insecure", "false", "Lets open access be bound to an address that is not loopback.")
        .env(&["LLM_ROUTER_ALLOW_INSECURE"]),
    Key::value("server.drain_timeout", "10s", "How long a stopping router waits for requests under way."),
    Key::value("server.max_connections", "16384", "Most connections at once, over all listeners."),
    Key::value("server.max_requests", "16384", "Most inference requests at once; further ones are refused with 503."),
    Key::value("server.max_header", "64KiB", "Largest head of a request."),
    Key::value("server.header_timeout", "30s", "How long a connection may take to send the head of a request."),
    Key::value("server.threads", "", "Threads that serve connections.").by_default("one per core"),
    // models and routing
    Key::value("default_model", "", "The model that answers where a request names none, or `auto` without a route."),
    Key::whole("prices", Shape::Structure, "By model, what tokens cost: `{input, output, cached, cache_write, source}`, dollars for a million."),
    Key::whole("models", Shape::Structure, "Models by name, or objects `{id, context, max_output, capabilities, price}`."),
    Key::whole("accounts", Shape::Structure, "Providers with their credentials; see below."),
    Key::whole("services", Shape::Structure, "The same list as the variable `ROUTER_SERVICES`; see below."),
    Key::whole("aliases", Shape::Structure, "Names that stand for one model or a list of them, tried in order."),
    Key::whole("task_routes", Shape::Structure, "By task, the model or models for `low`, `medium`, `high`, `xhigh` and `default`."),
    Key::value("fallback_models", "", "Models tried after those of the route."),
    Key::value(
        "retry_statuses",
        "429,500,502,503,504",
        "Answers of an upstream after which another target is tried, besides those that always are.",
    ),
    Key::value("retry.max_attempts", "3", "Most attempts for a request, the first included."),
    Key::value("retry.backoff", "100ms..2s", "Pause before the same target is tried again: the first, and the longest."),
    Key::value("retry.retry_budget", "20%", "Most requests, as a share of all, that ask every target that may answer once more. Going on to the next target is no retry: it is bounded by `max_attempts`."),
    Key::value("breaker.enabled", "true", "Whether accounts that fail again and again, or answer 429, are left alone for a while.")
        .env(&["CIRCUIT_BREAKER_ENABLED"]),
    Key::value("breaker.failures", "5", "Failures in a row after which an account is left alone.")
        .env(&["CIRCUIT_BREAKER_FAILURE_THRESHOLD"]),
    Key::value("breaker.recovery", "30s", "For how long; then one request probes it.").env(&["CIRCUIT_BREAKER_RECOVERY_TIMEOUT_SECONDS"]),
    Key::whole("routes", Shape::Structure, "Profiles of `auto`: `{strategy, model, quality}` by name."),
    Key::value("timeouts.connect", "5s", "Until a connection to an upstream stands."),
    Key::value("timeouts.first_byte", "60s", "From sending a request to the answer's first byte.")
        .env(&["LLM_ROUTER_REQUEST_TIMEOUT", "REQUEST_TIMEOUT"]),
    Key::value("timeouts.stream_first_byte", "", "The same for streams, where it is another."),
    Key::value("timeouts.idle", "60s", "Between two pieces of an answer: until the upstream sends the next, and until the caller takes one (read at start)."),
    Key::value("timeouts.total", "600s", "For one attempt as a whole."),
    Key::value("default_embedding_model", "", "The model of embeddings requests that name none.")
        .env(&["LLM_ROUTER_DEFAULT_EMBEDDING_MODEL", "LLM_DEFAULT_EMBEDDING_MODEL"]),
    Key::whole("complexity", Shape::Kept, "Bounds of `low`, `medium` and `high` in characters."),
    Key::whole("model_profiles", Shape::Kept, "Quality and cost by model, for learned routing."),
    Key::whole("learned_routing", Shape::Kept, "Learned routing."),
    Key::whole("classifier_calibration", Shape::Kept, "Calibration of the classifier."),
    Key::whole("semantic_classifier", Shape::Kept, "Classification by embeddings."),
    Key::whole("route_reranker", Shape::Kept, "Re-ranking of routes."),
    Key::whole("profiles", Shape::Kept, "Further profiles."),
    // fleet
    Key::value(
        "fleet.balancer",
        "auto",
        "How a node is chosen: `auto`, `metrics`, `round-robin`, `least-busy`, `p2c`, `cache-aware`, `consistent-hash`, `ttft`.",
    )
    .env(&["LLM_ROUTER_LOAD_BALANCER_MODE", "LOAD_BALANCER_MODE"])
    .old(&["LOAD_BALANCER_MODE"]),
    Key::value("fleet.allow_cpu_nodes", "true", "Whether nodes without a GPU are admitted.").env(&["LLM_ROUTER_ALLOW_CPU_NODES"]),
    Key::value("fleet.max_waiters", "1024", "Most requests that wait for a node.").env(&["LLM_ROUTER_MAX_WAITERS", "ROUTER_MAX_WAITERS"]),
    Key::value("fleet.max_waiters_per_key", "256", "And of those with one key.").env(&["LLM_ROUTER_MAX_WAITERS_PER_KEY"]),
    Key::value("fleet.queue_timeout", "30s", "How long a request waits for a node."),
    Key::value("fleet.node_timeout", "60s", "A node silent for so long is offline.")
        .env(&["LLM_ROUTER_NODE_TIMEOUT", "NODE_TIMEOUT"])
        .old(&["NODE_TIMEOUT"]),
    Key::value(
        "fleet.node_request_timeout",
        "600s",
        "From sending a request to a node to the answer's first byte; it may have to load the model.",
    )
    .env(&["LLM_ROUTER_NODE_REQUEST_TIMEOUT"]),
    Key::value(
        "fleet.silence_timeout",
        "3s",
        "A node that has a request, says nothing, and for so long does not answer either when it is asked whether it is there, is asked last; requests that wait for its first byte are tried elsewhere.",
    ),
    Key::value("fleet.stream_stall", "30s", "How long a node's stream may say nothing once it has begun."),
    Key::value(
        "fleet.resume",
        "false",
        "Whether a chat's stream whose node is lost goes on on another node that has the model; a request says so itself with `x-resume: true` or `false`.",
    ),
    Key::secret("fleet.join_token", "What nodes and agents must show to register.").env(&["LLM_ROUTER_JOIN_TOKEN"]),
    Key::value("fleet.require_approval", "false", "Whether every new node and agent waits for an administrator's consent.")
        .env(&["LLM_ROUTER_REQUIRE_APPROVAL"]),
    // health, streams, records
    Key::value("health.check_interval", "30s", "Time between health checks.")
        .env(&["LLM_ROUTER_HEALTH_CHECK_INTERVAL", "HEALTH_CHECK_INTERVAL"])
        .old(&["HEALTH_CHECK_INTERVAL"]),
    Key::value("health.strict", "false", "Whether any lost dependency makes `/_health/ready` answer 503."),
    Key::value("health.skip", "false", "Whether nodes are not checked at all; for tests.").env(&["LLM_ROUTER_SKIP_HEALTH_CHECK"]),
    Key::value("stream.keepalive", "15s", "Silence in a stream after which a keepalive is sent."),
    Key::value(
        "stream.closing_comment",
        "false",
        "Whether every stream but Gemini's ends with a comment that says its tokens and its cost; otherwise those whose request has `x-router-debug: 1`.",
    ),
    Key::value(
        "stream.probe_window",
        "2s",
        "How long the beginning of an upstream's stream is held until it says something: one that fails before moves on to the next target unseen.",
    ),
    Key::value(
        "ledger.when_full",
        "count",
        "Where records of requests can neither be stored nor spilled: `count` (serve, count, alarm) or `refuse` (503).",
    ),
    // auth
    Key::value("auth.mode", "required", "`required`, or `off` for everything open (on loopback only, see `server.allow_insecure`).")
        .env(&["LLM_ROUTER_AUTH_MODE", "INGRESS_AUTH_REQUIRED", "ENABLE_AUTH"]),
    Key::whole("auth.keys", Shape::Structure, "Static keys: texts, or `{name, key, scopes}`."),
    Key::whole("auth.master", Shape::Structure, "One key or several with every scope."),
    Key::value("auth.header_name", "Authorization", "A further header that may carry a key.")
        .env(&["LLM_ROUTER_AUTH_HEADER_NAME", "AUTH_HEADER_NAME"]),
    Key::value(
        "auth.management",
        "required",
        "`open` lets anybody read and change nodes, models and dashboard data (counts as open access for addresses that are not loopback).",
    )
    .env(&["LLM_ROUTER_MANAGEMENT_AUTH"]),
    Key::value("auth.admin", "users", "`users`, or `none` to disable the login of users."),
    Key::value("auth.admin_username", "admin", "Name of the first user.")
        .env(&["LLM_ROUTER_ADMIN_USERNAME", "ADMIN_USERNAME"])
        .old(&["ADMIN_USERNAME"]),
    Key::secret("auth.admin_password", "Password of the first user.")
        .by_default("made on the first run and printed once")
        .env(&["LLM_ROUTER_ADMIN_PASSWORD", "ADMIN_PASSWORD"])
        .old(&["ADMIN_PASSWORD"]),
    Key::secret("auth.jwt_secret", "Signs sessions.")
        .by_default("made, kept in the data directory")
        .env(&["LLM_ROUTER_JWT_SECRET", "JWT_SECRET"])
        .old(&["JWT_SECRET"]),
    Key::value("auth.oauth.enabled", "false", "Whether bearer tokens of an identity provider open the gateway.").env(&["OAUTH_ENABLED"]),
    Key::value("auth.oauth.issuer", "", "The issuer that tokens must have.").env(&["OAUTH_ISSUER"]),
    Key::value("auth.oauth.audience", "", "The audience that tokens must have.").env(&["OAUTH_AUDIENCE"]),
    Key::value("auth.oauth.jwks_url", "", "Where the provider's keys are.")
        .by_default("issuer + `/.well-known/jwks.json`")
        .env(&["OAUTH_JWKS_URL"]),
    Key::value("auth.oauth.algorithms", "RS256", "Signature algorithms that are accepted (`HS256` with a shared secret); `none` never is.")
        .env(&["OAUTH_ALGORITHMS"]),
    Key::value("auth.oauth.required_scopes", "", "Scopes that a token must have.").env(&["OAUTH_REQUIRED_SCOPES"]),
    Key::secret("auth.oauth.jwt_secret", "A shared secret instead of the provider's keys.").env(&["OAUTH_JWT_SECRET"]),
    Key::value("auth.oauth.clock_skew", "30s", "How far clocks may differ.").env(&["OAUTH_CLOCK_SKEW_SECONDS"]),
    Key::whole(
        "auth.oauth.grants",
        Shape::Structure,
        "What a token may by its words (scopes, roles, groups, permissions): `{word: [scope, …]}` with the scopes of keys. Without it every token has `inference`, `mcp`, `a2a` and `files`; with it, what its words are granted and nothing else.",
    ),
    Key::whole(
        "auth.oauth.limits",
        Shape::Structure,
        "`{rpm, tpm, concurrency}` of each subject: requests and tokens a minute, requests at once.",
    ),
    Key::value("auth.oidc.issuer", "", "An identity provider at which people may log in to the dashboard: its address, below which it describes itself."),
    Key::value("auth.oidc.client_id", "", "What it calls this router. It sends browsers back to `/api/auth/oidc/callback`."),
    Key::secret("auth.oidc.client_secret", "Its secret for this router, if it has one."),
    Key::value("auth.oidc.name", "single sign-on", "What the log-in calls it."),
    Key::value("auth.oidc.scopes", "openid,profile,email", "What it is asked for."),
    Key::value("auth.oidc.redirect_url", "", "Where it sends browsers back to, where that is not the host that they asked."),
    Key::value("auth.oidc.admins", "", "Roles, groups or verified addresses of its tokens that make administrators."),
    Key::value("auth.oidc.viewers", "", "The same for viewers; `*` is everybody whom it lets in. Others are refused."),
    // storage and what is kept
    Key::whole("store.url", Shape::Url, "`sqlite:PATH`. `postgres://…` is known and refused: this version stores in SQLite only.")
        .by_default("`sqlite:` + `router.db` in the data directory")
        .env(&["LLM_ROUTER_DATABASE_URL", "DATABASE_URL", "SQLITE_DB_PATH"]),
    Key::value(
        "history.bodies",
        "full",
        "What is kept of requests and answers: `full` (up to a bound, secrets masked), `redacted` or `none`.",
    )
    .env(&["LLM_ROUTER_HISTORY_BODIES"]),
    Key::value("history.retention", "7d", "How long it is kept."),
    Key::value("history.size_max", "16GiB", "What the database and the texts of requests may take: beyond it the oldest records of requests go with their texts, whatever their age."),
    Key::value("audit.enabled", "true", "Whether changes in the control plane are recorded.").env(&["AUDIT_LOG_ENABLED"]),
    Key::value("audit.fail_mode", "open", "`closed` refuses a change whose record can't be stored.").env(&["AUDIT_LOG_FAIL_MODE"]),
    Key::value("audit.retention", "365d", "How long records of changes are kept."),
    Key::value("audit.decision_log_enabled", "true", "Whether routing decisions are written as lines of JSON.")
        .env(&["LLM_ROUTER_DECISION_LOG_ENABLED", "ROUTER_AUDIT_LOG_ENABLED"]),
    Key::value("audit.decision_log_path", "", "That file.")
        .by_default("`logs/router_decisions.jsonl` in the data directory")
        .env(&["LLM_ROUTER_DECISION_LOG_PATH", "ROUTER_AUDIT_LOG_PATH"]),
    Key::value("log.level", "info", "Log filter in env-filter syntax.")
        .env(&["LLM_ROUTER_LOG_LEVEL", "LLM_LOG_LEVEL", "RUST_LOG", "LOG_LEVEL"])
        .old(&["LLM_LOG_LEVEL"]),
    Key::value("log.dir", "", "Directory of `router.log`, which is rotated daily.")
        .by_default("`logs` in the data directory")
        .env(&["LLM_ROUTER_LOG_DIR", "LLM_LOG_DIR"])
        .old(&["LLM_LOG_DIR"]),
    Key::value("log.retention_days", "7", "Days that rotated log files are kept.")
        .env(&["LLM_ROUTER_LOG_RETENTION_DAYS", "LLM_LOG_RETENTION_DAYS"])
        .old(&["LLM_LOG_RETENTION_DAYS"]),
    Key::value("telemetry.metrics_require_auth", "false", "Whether `/metrics` needs a credential.").env(&["METRICS_REQUIRE_AUTH"]),
    Key::whole("telemetry.otlp_endpoint", Shape::Url, "Where traces and metrics are sent.").env(&["OTEL_EXPORTER_OTLP_ENDPOINT"]),
    Key::value("cache.enabled", "false", "Whether answers are remembered.")
        .by_default("true with `cache.redis_url`, else false")
        .env(&["CACHE_ENABLED"]),
    Key::value("cache.ttl", "300s", "For how long.").env(&["LLM_ROUTER_CACHE_TTL", "CACHE_TTL"]),
    Key::value("cache.streams", "false", "Whether streams are remembered and answered from memory too."),
    Key::value(
        "cache.tools",
        "false",
        "Whether answers to requests with tools, or that providers keep, are remembered although the request does not ask for it.",
    ),
    Key::value("cache.shared", "false", "Whether all callers share what is remembered; else each has its own."),
    Key::value("cache.max_bytes", "64MiB", "Most bytes of remembered answers in memory; one answer may have an eighth of it."),
    Key::whole(
        "cache.redis_url",
        Shape::Url,
        "A Redis that several routers share: they count limits and remember answers together there. While it cannot be reached each does so alone.",
    )
    .env(&["LLM_ROUTER_REDIS_URL", "REDIS_URL"]),
    Key::value("idempotency.enabled", "true", "Whether a call that is made again with its `Idempotency-Key` gets its first answer again.")
        .env(&["IDEMPOTENCY_ENABLED"]),
    Key::value("idempotency.ttl", "120s", "For how long.").env(&["IDEMPOTENCY_TTL_SECONDS"]),
    Key::value("idempotency.wait", "30s", "How long it waits for the first one, while that runs.")
        .env(&["IDEMPOTENCY_WAIT_TIMEOUT_SECONDS"]),
    Key::value("idempotency.max_bytes", "32MiB", "Most bytes of such answers in memory; one may have an eighth of it."),
    Key::value("rate_limit.requests", "", "Most requests per client address in the window; no bound if not set.")
        .env(&["LLM_ROUTER_RATE_LIMIT_REQUESTS", "RATE_LIMIT_REQUESTS"]),
    Key::value("rate_limit.window", "60s", "That window.").env(&["LLM_ROUTER_RATE_LIMIT_WINDOW", "RATE_LIMIT_WINDOW"]),
    // files of models
    Key::value("hub.url", "https://huggingface.co", "The hub that models come from, or a mirror of it with the same API.").env(&[
        "LLM_ROUTER_HUB_URL",
        "HF_BASE_URL",
        "HF_ENDPOINT",
    ]),
    Key::secret("hub.token", "Shown to the hub's own host, and to no other.").env(&["LLM_ROUTER_HUB_TOKEN", "HF_TOKEN"]),
    Key::value("downloads.retries", "6", "Failures in a row after which a download is given up.").env(&["LLM_DL_MAX_RETRIES"]),
    Key::value("downloads.backoff_ms", "200", "Milliseconds of pause after the first failure; doubled with each further one.")
        .env(&["LLM_DL_BACKOFF_MS"]),
    Key::value("downloads.concurrency", "4", "Pieces of a file that are fetched at once.").env(&["LLM_DL_CONCURRENCY"]),
    Key::value("downloads.max_rate", "", "Most bytes per second for one download, such as 50MB; no bound if not set.")
        .env(&["LLM_DL_MAX_BPS"]),
    Key::value("downloads.chunk", "64MiB", "Length of a piece that is checked, and fetched again, on its own.").env(&["LLM_DL_CHUNK"]),
    Key::value("downloads.disk_reserve", "1GiB", "What downloads leave free on the disk."),
    Key::value("convert.python", "python3", "The Python (3.11 or newer) that converts models to GGUF.").env(&["LLM_CONVERT_PYTHON"]),
    Key::value("convert.script", "", "llama.cpp's `convert_hf_to_gguf.py`.")
        .by_default("the one of the environment below the data directory")
        .env(&["LLM_CONVERT_SCRIPT"]),
    Key::value("convert.skip_venv", "false", "Whether that Python is used as it is, without an environment below the data directory.")
        .env(&["LLM_CONVERT_SKIP_VENV"]),
    Key::value("convert.quantizer", "", "The `llm-node-worker` that writes weights of fewer bits than the converter does.")
        .by_default("found beside `llm-router`")
        .env(&["LLM_CONVERT_QUANTIZER", "LLM_NODE_WORKER"]),
    Key::value("convert.concurrency", "1", "Conversions at once.").env(&["LLM_ROUTER_CONVERT_CONCURRENCY"]),
    // kept for their rooms
    Key::whole("limits", Shape::Kept, "Limits of keys, users and models."),
    Key::whole("budgets", Shape::Kept, "Budgets."),
    Key::whole("guardrails", Shape::Kept, "Guardrails."),
    Key::whole("mcp", Shape::Kept, "Tools."),
    Key::whole("a2a", Shape::Kept, "Agents."),
    Key::whole("skills", Shape::Kept, "Skills."),
    Key::whole("files", Shape::Kept, "Stored files."),
    Key::whole("config_sync", Shape::Kept, "Configuration from an object store."),
    // LiteLLM's
    Key::whole(
        "model_list",
        Shape::Structure,
        "LiteLLM: entries `{model_name, litellm_params{model, api_base, api_key, …}}`; each becomes an account. One of an unknown provider without `api_base` is left out with a warning.",
    ),
    Key::whole(
        "router_settings",
        Shape::Foreign,
        "LiteLLM: `routing_strategy`, `num_retries`, `retry_policy`, `model_group_retry_policy`, `retry_after`, `timeout`, `stream_timeout`, `allowed_fails`, `allowed_fails_policy`, `cooldown_time`, `disable_cooldowns`, `model_group_alias`, `fallbacks`, `default_fallbacks`, `context_window_fallbacks`, `content_policy_fallbacks`, `max_fallbacks`, `default_max_parallel_requests`, `redis_url` or `redis_host`, `redis_port`, `redis_password`.",
    ),
    Key::whole("general_settings", Shape::Foreign, "LiteLLM: `master_key`, `litellm_key_header_name`, `global_max_parallel_requests`, `health_check_interval`, `maximum_spend_logs_retention_period`."),
    Key::whole(
        "litellm_settings",
        Shape::Foreign,
        "LiteLLM: what `router_settings` has, `request_timeout`, `cache` and of `cache_params` `ttl`, `url` or `host`, `port`, `password`.",
    ),
    Key::whole("environment_variables", Shape::Foreign, "LiteLLM: variables, beneath those of the process and of `.env`."),
];

/// Settings that are accepted, checked and kept, and change nothing yet; each that is written is reported at start. A room
/// that begins to read one takes it out of this list.
pub(crate) const WITHOUT_EFFECT: &[&str] = &[
    "task_routes",
    "routes",
    "complexity",
    "model_profiles",
    "learned_routing",
    "classifier_calibration",
    "semantic_classifier",
    "route_reranker",
    "profiles",
    "telemetry.otlp_endpoint",
    "limits",
    "budgets",
    "guardrails",
    "mcp",
    "a2a",
    "skills",
    "files",
    "config_sync",
];

/// Variables with our prefix that are no setting of the table: read elsewhere, or belonging to sections that are kept.
pub(crate) const OTHER_VARIABLES: &[&str] = &[
    "LLM_ROUTER_CONFIG",
    "LLM_ROUTER_ROUTING_CONFIG_PATH",
    "LLM_ROUTER_URL",
    "LLM_ROUTER_API_KEY",
    "LLM_ROUTER_API_KEYS",
    "LLM_ROUTER_MASTER_KEY",
    "LLM_ROUTER_OPENAPI_PATH",
    "LLM_ROUTER_TIMEOUT",
    "LLM_ROUTER_JWT_TOKEN",
];

/// Beginnings of variables that belong to sections that are kept.
pub(crate) const OTHER_BEGINNINGS: &[&str] = &["LLM_ROUTER_MCP_", "LLM_ROUTER_A2A_", "LLM_ROUTER_OUTBOUND_", "LLM_ROUTER_CONFIG_SYNC_"];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::node_keys::NODE_KEYS;

    #[test]
    fn a_name_means_one_thing() {
        for table in [KEYS, NODE_KEYS] {
            let mut names = HashSet::new();
            let mut variables = HashSet::new();
            for key in table {
                assert!(names.insert(key.name), "{} twice", key.name);
                assert!(key.env.iter().all(|v| variables.insert(*v)), "a variable of {} is taken", key.name);
                assert!(key.deprecated.iter().all(|v| key.env[1..].contains(v)), "{}", key.name);
                assert!(key.is_single() || key.env.is_empty(), "{}", key.name);
                assert!(!key.meaning.is_empty() && key.meaning.ends_with(['.', ')']), "{}", key.name);
            }
        }
        assert!(WITHOUT_EFFECT.iter().all(|name| KEYS.iter().any(|k| k.name == *name)));
    }
}
