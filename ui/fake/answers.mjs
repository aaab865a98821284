// What the fake router says about one request, and its settings: long answers that would hide the routes.

import { iso } from "./data.mjs";

export function detail(row) {
  const content = "Quicksort picks one number, puts the smaller ones to its left and the larger ones to its right, and does the same with both sides.\n\n```python\ndef quicksort(numbers):\n    if len(numbers) < 2:\n        return numbers\n    pivot, *rest = numbers\n    return quicksort([n for n in rest if n < pivot]) + [pivot] + quicksort([n for n in rest if n >= pivot])\n```\nThat is all.";
  const isChat = row.request_type === "chat";
  const request_body = isChat
    ? { model: row.model, stream: row.stream, temperature: 0.2, messages: [{ role: "system", content: "You are a patient teacher." }, { role: "user", content: "Explain quicksort to a child." }] }
    : { model: row.model, input: ["first text", "second text"] };
  const failed = row.status.type === "error";
  const response_body = failed
    ? { error: { message: row.status.message, type: "api_error", code: row.error_code, request_id: row.id } }
    : isChat
      ? { id: "chatcmpl-1", object: "chat.completion", model: row.model_served, choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }], usage: { prompt_tokens: row.prompt_tokens, completion_tokens: row.completion_tokens } }
      : { object: "list", data: [{ index: 0, embedding: [0.013, -0.442, 0.118] }] };
  const isTranslated = row.provider === "anthropic";
  return {
    ...row,
    request_body,
    response_body,
    upstream_request_body: isTranslated ? { model: row.model, max_tokens: 8192, temperature: 0.2, system: "You are a patient teacher.", messages: [{ role: "user", content: [{ type: "text", text: "Explain quicksort to a child." }] }] } : null,
    upstream_response_body: isTranslated ? { id: "msg_1", type: "message", role: "assistant", content: [{ type: "text", text: content }], stop_reason: "end_turn", usage: { input_tokens: row.prompt_tokens, output_tokens: row.completion_tokens } } : null,
  };
}

export function explanation(row) {
  const failed = row.status.type === "error";
  const moved = row.attempts > 1;
  const wait = row.first_byte_ms === null ? row.duration_ms - 1 : row.first_byte_ms - 0.8;
  const attempts = [
    ...(moved ? [{ target: "openai", provider: "openai", model: "gpt-5-mini", outcome: "refused", status: 500, duration_ms: wait * 0.4, error: "The server had an error while processing your request." }] : []),
    failed
      ? { target: "team-vllm", provider: "vllm", model: "house-model", outcome: "broken", status: null, duration_ms: wait * (moved ? 0.6 : 1), error: row.status.message }
      : { target: row.target, provider: row.provider, model: row.model_served, outcome: "served", status: 200, duration_ms: wait * (moved ? 0.6 : 1), ...(row.node_id ? { pick: { policy: "auto", reason: "fewest_requests", candidates: 3, active: 2 } } : {}) },
  ];
  const isAnthropic = row.provider === "anthropic";
  return {
    request_id: row.id,
    received_at: row.timestamp,
    path: row.request_type === "chat" ? "/v1/chat/completions" : "/v1/embeddings",
    dialect: "chat",
    stream: row.stream,
    key: { id: row.key_id, name: row.key_name },
    requested_model: row.model,
    source: row.model === "auto" ? "auto" : "request",
    rule: { auto: "auto", fast: "alias" }[row.model] ?? "exact",
    candidates: [
      ...(moved ? [{ target: "openai", model: "gpt-5-mini", reason: "first_priority", result: "refused", weighed: { by: "latency-based-routing", figure: 0.298 } }] : []),
      { target: failed ? "team-vllm" : row.node_id ? "node" : row.target, model: failed ? "house-model" : row.model_served, reason: "exact_model", result: failed ? "broken" : "served", weighed: { by: "latency-based-routing", figure: 0.412 } },
      { target: "anthropic", model: "claude-sonnet-5", reason: "fallback", result: "limited" },
      { target: "google", model: "gemini-3-flash", reason: "fallback", result: "not_tried" },
    ],
    attempts,
    served: { target: row.target, provider: row.provider, node_id: row.node_id, model: row.model_served },
    status: row.http_status,
    outcome: row.status.type,
    error_code: row.error_code,
    timings: { duration_ms: row.duration_ms, first_byte_ms: row.first_byte_ms, overhead_ms: 0.4, waited_ms: wait, streaming_ms: row.first_byte_ms === null ? null : row.duration_ms - row.first_byte_ms, queued_ms: null },
    usage: { prompt_tokens: row.prompt_tokens, completion_tokens: row.completion_tokens, cached_tokens: row.cached_tokens, reasoning_tokens: null, is_estimated: false, buckets: null },
    cost: {
      total_usd: row.cost_usd,
      price_book: "2026-11-01, openai.com, anthropic.com",
      lines: row.cost_usd ? [{ what: "prompt", tokens: row.prompt_tokens, usd_per_million: 1.25, usd: row.cost_usd * 0.4 }, { what: "completion", tokens: row.completion_tokens, usd_per_million: 10, usd: row.cost_usd * 0.6 }] : [],
    },
    limits: { "key requests a minute": "12 of 600", "account requests a minute": "61 of 100" },
    cache: row.cache === "hit" ? { state: "hit", request_id: row.id, age_ms: 42_000 } : { state: "miss" },
    losses: isAnthropic ? { dropped: ["seed"], changed: ["max_tokens"] } : { dropped: [], changed: [] },
    bytes_in: 412,
    bytes_out: 2210,
  };
}

export const CONFIG_TEXT = `server:
  host: 0.0.0.0
  port: 8080
accounts:
  - name: openai
    provider: openai
    api_key: "***"
    models: [gpt-5, gpt-5-mini]
    limits: {rpm: 100}
  - name: anthropic
    provider: anthropic
    api_key: "***"
    limits: {rpm: 50}
  - name: team-vllm
    provider: vllm
    base_url: http://10.20.1.40:8000/v1
    priority: 10
aliases:
  fast: [qwen3-14b, gpt-5-mini]
default_model: fast
history:
  retention: 7d
`;

export const SETTINGS = {
  "server.host": { value: "0.0.0.0", origin: "file router.yaml:2" },
  "server.port": { value: "8080", origin: "environment (LLM_ROUTER_PORT)" },
  "server.max_body": { value: "64 MiB", origin: "default" },
  "server.drain_timeout": { value: "10s", origin: "default" },
  "server.trusted_proxies": { value: "10.0.0.0/8", origin: "environment (LLM_ROUTER_TRUSTED_PROXIES)" },
  "auth.mode": { value: "keys", origin: "default" },
  "auth.management": { value: "required", origin: "default" },
  "auth.master_key": { value: "set", origin: "environment (LLM_ROUTER_MASTER_KEY)" },
  "auth.jwt_secret": { value: "set", origin: "generated (jwt_secret)" },
  "history.bodies": { value: "full", origin: "default" },
  "history.retention": { value: "7d", origin: "file router.yaml:20" },
  "fleet.node_timeout": { value: "60s", origin: "default" },
  "fleet.join_token": { value: "set", origin: "environment (LLM_ROUTER_JOIN_TOKEN)" },
  "fleet.load_balancer_mode": { value: "auto", origin: "default" },
  "routing.default_model": { value: "fast", origin: "file router.yaml:18" },
  "limits.queue": { value: "1024", origin: "default" },
  "stream.keepalive": { value: "15s", origin: "default" },
  "telemetry.log_level": { value: "info", origin: "default" },
};

export const versions = (now) => [
  { version: 14, created_at: iso(now - 3_600_000 * 5), author: "admin", comment: "The house model is slow this week: last in line", changes: [{ key: "accounts[2].priority", from: 0, to: 10 }], text: CONFIG_TEXT },
  { version: 13, created_at: iso(now - 86_400_000 * 2), author: "mara", comment: "Limits of openai after the new contract", changes: [{ key: "accounts[0].limits.rpm", from: 60, to: 100 }], text: CONFIG_TEXT.replace("    priority: 10\n", "") },
  { version: 12, created_at: iso(now - 86_400_000 * 9), author: "admin", comment: null, text: CONFIG_TEXT.replace("    priority: 10\n", "").replace("rpm: 100", "rpm: 60") },
];

const LINES = [
  ["INFO", "gateway::server", "listening", { address: "0.0.0.0:8080", shards: 2 }],
  ["INFO", "fleet::registry", "a node is ready", { node: "atlas", models: 2 }],
  ["INFO", "gateway::settle", "answered", { status: 200, model: "gpt-5-mini", duration_ms: 812 }],
  ["WARN", "dispatch::attempt", "moved on to the next target", { from: "openai", status: 500 }],
  ["INFO", "gateway::settle", "answered", { status: 200, model: "qwen3-14b", duration_ms: 1930 }],
  ["ERROR", "dispatch::attempt", "no target is left", { model: "house-model", attempted: 2 }],
  ["WARN", "fleet::registry", "a node missed its report", { node: "gaia", seconds: 61 }],
  ["INFO", "gateway::admin::keys", "a key was made", { name: "support-bot", by: "admin" }],
  ["DEBUG", "routing::plan", "resolved", { model: "fast", rule: "alias", candidates: 2 }],
];

/** `ids`: of the requests that lines tell of. */
export const logs = (now, limit, source, ids = []) => ({
  source,
  path: source === "router" ? "/var/lib/llm-router/logs/router.log" : "/var/lib/llm-node/logs/node.log",
  entries: Array.from({ length: Math.min(limit, 240) }, (_, n) => {
    const [level, target, message, fields] = LINES[(n * 7 + 2) % LINES.length];
    return { timestamp: iso(now - n * 2100), level, target, message, fields: target === "gateway::settle" && ids.length > 0 ? { request_id: ids[n % ids.length], ...fields } : fields };
  }),
});

const CHANGES = [
  ["admin", "config.update", "version 14", "success"],
  ["mara", "key.create", "trade fair demo", "success"],
  ["sam", "key.create", "grafana", "denied"],
  ["admin", "node.drain", "dione", "success"],
  ["admin", "user.update", "mara", "success"],
  ["mara", "config.update", "version 13", "success"],
  ["admin", "model.register", "bartowski/Llama-3.3-70B-Instruct-GGUF", "success"],
];
// Older ones, all alike: enough for a second page.
const OLDER = Array.from({ length: 58 }, (_, n) => ["admin", "node.settings", `machine ${n + 1}`, "success"]);
export const audit = (now) => [...CHANGES, ...OLDER].map(([actor, action, resource, outcome], n) => ({ id: String(900 - n), timestamp: iso(now - (n + 1) ** 2 * 900_000), actor, action, resource, outcome, resource_type: action.split(".")[0], resource_id: resource, actor_type: "user", reason: outcome === "denied" ? "permission_denied" : null, client_ip: "10.1.4.7", request_id: `req-${900 - n}`, details: { before: null, after: { name: resource } } }));

export const HUB = ["Llama-3.2-3B-Instruct", "Qwen3-14B", "Mistral-Small-3.2-24B-Instruct", "gemma-3-12b-it", "Phi-4-mini-instruct", "SmolLM2-135M-Instruct"].flatMap((name, n) =>
  ["Q4_K_M", "Q8_0"].map((quantization, m) => ({
    name: `${name}-${quantization}`.toLowerCase(),
    display_name: `${name} ${quantization}`,
    tags: ["gguf"],
    size_gb: (n === 5 ? 0.1 : [2, 9, 14.3, 7.3, 2.5][n]) * (m ? 1.8 : 1),
    required_memory_gb: (n === 5 ? 0.15 : [3, 13.5, 21.5, 11, 3.8][n]) * (m ? 1.8 : 1),
    repo: `bartowski/${name}-GGUF`,
    filename: `${name}-${quantization}.gguf`,
    download_url: "",
    quantization,
  })),
);
