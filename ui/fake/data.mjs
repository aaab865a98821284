// Made-up figures that hang together: what a router of a small team would say. The same every time, so that pictures can be compared.

/** Pseudo-random numbers from a seed (mulberry32). */
export function dice(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const iso = (ms) => new Date(ms).toISOString();

const uuid = (random) => "xxxxxxxx-xxxx-7xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => Math.floor(random() * 16).toString(16));

const MACHINES = [
  ["atlas", "rack 1, left", "NVIDIA RTX 6000 Ada", 2, 98304, ["llama-3.3-70b-instruct", "qwen3-embedding-0.6b"], "online", "ready"],
  ["boreas", null, "NVIDIA L4", 1, 24576, ["qwen3-14b"], "online", "ready"],
  ["calypso", null, "NVIDIA L4", 1, 24576, ["qwen3-14b", "mistral-small-3.2"], "online", "degraded"],
  ["dione", "build machine", null, 0, 0, ["smollm2-135m-instruct"], "online", "draining"],
  ["echo", null, "Apple M4 Max", 1, 65536, [], "registering", "joining"],
  ["fauna", null, "NVIDIA RTX 4090", 1, 24564, [], "pending", "pending"],
  ["gaia", "old workstation", "NVIDIA GTX 1080", 1, 8192, [], "offline", "gone"],
];

export function nodes(now, random) {
  return MACHINES.map(([machine_name, custom_name, gpu, count, vram, loaded, status, state], n) => {
    const total = status === "online" ? Math.floor(2000 + random() * 60_000) : Math.floor(random() * 900);
    const failed = Math.floor(total * (state === "degraded" ? 0.06 : 0.004));
    return {
      id: uuid(random),
      kind: "node",
      machine_name,
      ip_address: `10.20.0.${11 + n}`,
      runtime_version: "0.1.0",
      runtime_port: 11434,
      node_api_port: 11435,
      status,
      state,
      registered_at: iso(now - (20 - n) * 86_400_000),
      last_seen: iso(status === "offline" ? now - 47 * 60_000 : now - 3000),
      online_since: status === "online" ? iso(now - (n + 1) * 31_000_000) : null,
      custom_name,
      tags: gpu ? ["gpu", n < 3 ? "production" : "lab"] : ["cpu"],
      notes: n === 0 ? "Two cards, one of them borrowed from the vision team until March." : null,
      loaded_models: loaded,
      loaded_embedding_models: [],
      available_models: [...new Set([...loaded, "smollm2-135m-instruct", ...(vram > 20_000 ? ["qwen3-14b"] : [])])],
      gpu_available: Boolean(gpu),
      gpu_devices: gpu ? [{ model: gpu, count, memory: (vram / Math.max(1, count)) * 1_048_576 }] : [],
      accelerator: gpu ? null : "cpu",
      initializing: status === "registering",
      ready_models: [loaded.length, loaded.length + (status === "registering" ? 1 : 0)],
      active_requests: status === "online" && state !== "draining" ? Math.floor(random() * 9) : 0,
      total_requests: total,
      successful_requests: total - failed,
      failed_requests: failed,
      average_response_time_ms: status === "online" ? 700 + random() * 2600 : null,
      vram,
    };
  });
}

export function points(node, now, random) {
  let cpu = 20 + random() * 30;
  let gpu = 30 + random() * 40;
  return Array.from({ length: 180 }, (_, n) => {
    cpu = Math.min(98, Math.max(3, cpu + (random() - 0.5) * 12));
    gpu = Math.min(100, Math.max(0, gpu + (random() - 0.48) * 18));
    const hasGpu = node.gpu_devices.length > 0;
    return {
      node_id: node.id,
      // A report is missing now and then.
      timestamp: iso(now - (180 - n) * 10_000),
      cpu_usage: cpu,
      memory_usage: 41 + Math.sin(n / 30) * 6,
      gpu_usage: hasGpu ? gpu : null,
      gpu_memory_usage: hasGpu ? 62 + Math.sin(n / 20) * 9 : null,
      gpu_memory_total_mb: hasGpu ? node.vram : null,
      gpu_memory_used_mb: hasGpu ? node.vram * (0.62 + Math.sin(n / 20) * 0.09) : null,
      gpu_temperature: hasGpu ? 52 + gpu / 5 : null,
      active_requests: Math.max(0, Math.round(4 + Math.sin(n / 9) * 4)),
      average_response_time_ms: (node.average_response_time_ms ?? 900) * (0.9 + random() * 0.2),
      tokens_per_second: hasGpu ? 38 + random() * 14 : 21 + random() * 3,
      is_stale: false,
      instances: node.loaded_models.map((model, m) => ({ model, slots_total: 8, slots_busy: Math.min(8, Math.max(0, Math.round(node.active_requests / (m + 1)))), queue_len: m === 0 && node.state === "degraded" ? 3 : 0, kv_used: 5200 + 900 * m, kv_total: 16_384, backlog_tokens: 0, prefill_tps: hasGpu ? 2140 : 310, tpot_ms: hasGpu ? 21 + 4 * m : 47 })),
    };
  });
}

export const MODELS = [
  { id: "auto", owned_by: "llm-router" },
  { id: "claude-sonnet-5", service: "anthropic", backend_type: "anthropic", context_length: 1_000_000, max_output: 64_000, capabilities: ["tools", "vision", "reasoning"], price: { input: 3, output: 15, source: "anthropic.com" } },
  { id: "fast", owned_by: "llm-router", alias_of: ["qwen3-14b", "gpt-5-mini"] },
  { id: "gemini-3-flash", service: "google", backend_type: "google", context_length: 1_048_576, capabilities: ["tools", "vision", "audio"], price: { input: 0.3, output: 2.5, source: "ai.google.dev" } },
  { id: "gpt-5", service: "openai", backend_type: "openai", context_length: 400_000, capabilities: ["tools", "vision", "reasoning"], price: { input: 1.25, output: 10, source: "openai.com" } },
  { id: "gpt-5-mini", service: "openai", backend_type: "openai", context_length: 400_000, capabilities: ["tools", "vision"], price: { input: 0.25, output: 2, source: "openai.com" } },
  { id: "house-model", service: "team-vllm", backend_type: "vllm", context_length: 32_768, capabilities: ["tools"] },
  { id: "llama-3.3-70b-instruct", backend_type: "node", service: "atlas", nodes: ["atlas"], loaded: true, ready: true, context_length: 131_072, capabilities: ["tools"] },
  { id: "mistral-small-3.2", backend_type: "node", service: "calypso", nodes: ["calypso"], loaded: true, ready: true, context_length: 131_072, capabilities: ["tools", "vision"] },
  { id: "qwen3-14b", backend_type: "node", service: "boreas", nodes: ["boreas", "calypso"], loaded: true, ready: true, context_length: 40_960, capabilities: ["tools", "reasoning"] },
  { id: "qwen3-embedding-0.6b", backend_type: "node", service: "atlas", nodes: ["atlas"], loaded: true, ready: true, context_length: 32_768, capabilities: ["embeddings"] },
  { id: "smollm2-135m-instruct", backend_type: "node", service: "dione", nodes: ["dione", "atlas", "boreas"], loaded: false, ready: true, context_length: 8192 },
];

const KEYS = [
  ["support-bot", "Mara", ["inference"], ["fast", "gpt-5-mini"], { rpm: 600, tpm: 400_000 }, { amount: 400, currency: "USD", window: "month", spent: 351.2 }, ["production"]],
  ["code-review", "Ivo", ["inference", "mcp"], ["claude-sonnet-5"], { concurrency: 8 }, { amount: 900, currency: "USD", window: "month", spent: 412.75 }, ["production"]],
  ["nightly-evals", "Ivo", ["inference"], [], null, null, ["batch"]],
  ["grafana", "Sam", ["read"], [], null, null, []],
  ["laptop of Noor", "Noor", ["inference", "mcp", "a2a", "files"], [], { rpm: 60 }, { amount: 20, currency: "USD", window: "week", spent: 3.18 }, []],
  ["trade fair demo", "Mara", ["inference"], ["smollm2-135m-instruct"], { rpm: 10 }, null, ["demo"]],
];

export function keys(now, random) {
  return KEYS.map(([name, owner, scopes, allowed_models, limits, budget, tags], n) => ({
    id: uuid(random),
    name,
    prefix: `sk_${["Kq3f", "vX81", "Zt0b", "mmP4", "aa7R", "Q2we"][n]}`,
    scopes,
    allowed_models,
    owner,
    tags,
    limits,
    budget: budget && { ...budget, resets_at: iso(now + (budget.window === "month" ? 9 : 2) * 86_400_000 + 3_600_000) },
    metadata: {},
    created_by: "admin",
    created_at: iso(now - (60 - n * 7) * 86_400_000),
    expires_at: n === 4 ? iso(now + 3 * 86_400_000) : n === 5 ? iso(now - 86_400_000) : null,
    last_used_at: n === 5 ? null : iso(now - n * n * 190_000 - 4000),
  }));
}

export const ACCOUNTS = [
  ["openai", "openai", "https://api.openai.com/v1", 0, 1, ["gpt-5", "gpt-5-mini"], "100/60s", 61],
  ["anthropic", "anthropic", "https://api.anthropic.com", 0, 1, ["claude-sonnet-5"], "50/60s", 50],
  ["google", "google", "https://generativelanguage.googleapis.com/v1beta", 5, 1, ["gemini-*"], "none", null],
  ["team-vllm", "vllm", "http://10.20.1.40:8000/v1", 10, 0.5, ["house-model"], "none", null],
];

const CODES = ["upstream_error", "rate_limit_exceeded", "upstream_timeout", "context_length_exceeded"];
const STATUSES = { upstream_error: 502, rate_limit_exceeded: 429, upstream_timeout: 504, context_length_exceeded: 400 };
const MESSAGES = {
  upstream_error: "Every target failed: openai answered 500, azure-openai was not reached.",
  rate_limit_exceeded: "The key support-bot has used up its 600 requests a minute.",
  upstream_timeout: "team-vllm sent no first byte within 60 s.",
  context_length_exceeded: "The prompt has 41 202 tokens; qwen3-14b takes 40 960.",
};
const ASKED = ["gpt-5-mini", "claude-sonnet-5", "qwen3-14b", "fast", "llama-3.3-70b-instruct", "gemini-3-flash", "auto", "qwen3-embedding-0.6b", "house-model"];

/** One request that was answered `ago` milliseconds before `now`. */
export function record(now, ago, random, state) {
  const model = ASKED[Math.floor(random() ** 1.4 * ASKED.length)];
  const isEmbedding = model.includes("embedding");
  const failed = random() < 0.045;
  const cancelled = !failed && random() < 0.02;
  const code = failed ? CODES[Math.floor(random() * CODES.length)] : null;
  const served = { fast: "qwen3-14b", auto: random() < 0.6 ? "gpt-5-mini" : "llama-3.3-70b-instruct" }[model] ?? model;
  const entry = MODELS.find(({ id }) => id === served);
  const node = entry?.nodes ? state.nodes.find((one) => one.machine_name === entry.nodes[Math.floor(random() * entry.nodes.length)]) : null;
  const first = failed ? null : Math.round(60 + random() ** 3 * 1800);
  const out = isEmbedding ? 0 : Math.round(20 + random() ** 2 * 900);
  const prompt = Math.round(80 + random() ** 2 * 9000);
  const duration = failed ? Math.round(20 + random() * 900) : Math.round(first + out * (8 + random() * 14));
  const price = entry?.price;
  const key = state.keys[Math.floor(random() ** 1.5 * 5)];
  return {
    id: uuid(random),
    timestamp: iso(now - ago),
    completed_at: iso(now - ago + duration),
    request_type: isEmbedding ? "embeddings" : "chat",
    model,
    model_served: failed ? null : served,
    node_id: node && !failed ? node.id : null,
    node_machine_name: node && !failed ? node.machine_name : null,
    node_ip: node && !failed ? node.ip_address : null,
    client_ip: `10.1.4.${Math.floor(random() * 40) + 2}`,
    duration_ms: duration,
    status: failed ? { type: "error", message: MESSAGES[code] } : cancelled ? { type: "cancelled", message: "the caller hung up" } : { type: "success" },
    http_status: failed ? STATUSES[code] : cancelled ? 499 : 200,
    error_code: code,
    target: failed ? null : (node?.machine_name ?? entry?.service ?? null),
    provider: failed ? null : node ? "node" : (entry?.backend_type ?? null),
    key_id: key.id,
    key_name: key.name,
    first_byte_ms: first,
    prompt_tokens: failed ? null : prompt,
    completion_tokens: failed ? null : out,
    cached_tokens: failed ? null : random() < 0.3 ? Math.round(prompt * 0.7) : 0,
    cost_usd: failed ? 0 : node ? 0 : price ? (prompt * price.input + out * price.output) / 1e6 : null,
    cache: random() < 0.08 ? "hit" : "miss",
    stream: !isEmbedding && random() < 0.7,
    attempts: failed ? 2 : random() < 0.07 ? 2 : 1,
  };
}

export function requests(now, random, state) {
  const rows = [];
  let ago = 4000;
  for (let n = 0; n < 640; n += 1) {
    rows.push(record(now, ago, random, state));
    ago += 1500 + random() ** 2 * 16_000;
  }
  return rows;
}
