// A router that only looks like one, for developing the dashboard and for its tests: answers in the control API's shapes from memory.
// It keeps what it is told, refuses what the router refuses, and knows three states: `seeded`, `empty`, and `first` (a password to change).

import { randomUUID } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { ACCOUNTS, MODELS, dice, iso, keys, nodes, points, record, requests } from "./data.mjs";
import { CONFIG_TEXT, HUB, SETTINGS, audit, detail, explanation, logs, versions } from "./answers.mjs";

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8" };
/** The policy that the router sends too. */
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

class Refusal extends Error {
  constructor(status, code, message, param) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}
const no = (status, code, message, param) => {
  throw new Refusal(status, code, message, param);
};
const missing = (what) => no(404, "not_found", `there is no ${what}`);

export function makeState(kind, now) {
  const random = dice(7);
  const isSeeded = kind === "seeded";
  const state = {
    kind,
    random,
    sessions: new Map(),
    users: [
      { id: "u-admin", username: "admin", role: "admin", created_at: iso(now - 90 * 86_400_000), last_login: iso(now - 3_600_000), password: "correct horse battery", must_change_password: kind === "first" },
      ...(isSeeded ? [{ id: "u-mara", username: "mara", role: "admin", created_at: iso(now - 60 * 86_400_000), last_login: iso(now - 7_200_000), password: "mara has a long one" }, { id: "u-vera", username: "vera", role: "viewer", created_at: iso(now - 20 * 86_400_000), last_login: null, password: "viewers have one too" }] : []),
    ],
    nodes: isSeeded ? nodes(now, random) : [],
    keys: isSeeded ? keys(now, random) : [],
    joinTokens: isSeeded ? [{ id: "j-1", name: "lab", require_approval: true, max_uses: null, uses: 2, created_by: "admin", created_at: iso(now - 86_400_000), expires_at: iso(now + 4 * 86_400_000), revoked_at: null }] : [],
    models: isSeeded ? MODELS : [],
    registered: isSeeded
      ? [
          { name: "llama-3.3-70b-instruct", status: "registered", ready: true, source: "hf", repo: "bartowski/Llama-3.3-70B-Instruct-GGUF", filename: "Llama-3.3-70B-Instruct-Q4_K_M.gguf", size_gb: 42.5, required_memory_gb: 63.8, tags: [] },
          { name: "qwen3-14b", status: "registered", ready: true, source: "hf", repo: "bartowski/Qwen3-14B-GGUF", filename: "Qwen3-14B-Q4_K_M.gguf", size_gb: 9, required_memory_gb: 13.5, tags: [] },
          { name: "gemma-3-12b-it", status: "downloading", ready: false, progress: 0.41, source: "hf", repo: "bartowski/gemma-3-12b-it-GGUF", filename: "gemma-3-12b-it-Q4_K_M.gguf", size_gb: 7.3, required_memory_gb: 11, tags: [] },
          { name: "old-finetune", status: "failed", ready: false, error: "the hub answered 404 for old-finetune.gguf", source: "hf", repo: "us/old-finetune", filename: "old-finetune.gguf", size_gb: null, required_memory_gb: null, tags: [] },
        ]
      : [],
    conversions: isSeeded
      ? [
          { id: "c-2", repo: "Qwen/Qwen3-4B", filename: null, revision: "main", quantization: "Q4_K_M", status: "in_progress", progress: 0.63, error: null, path: null, created_at: iso(now - 900_000), updated_at: iso(now - 4000) },
          { id: "c-1", repo: "us/private-finetune", filename: null, revision: null, quantization: "Q8_0", status: "failed", progress: 0.1, error: "the converter does not know the architecture `RwkvForCausalLM`", path: null, created_at: iso(now - 86_400_000), updated_at: iso(now - 86_000_000) },
        ]
      : [],
    requests: [],
    audit: isSeeded ? audit(now) : [],
    feedback: new Map(),
    /** Open streams of new records. */
    tails: new Set(),
    config: { text: CONFIG_TEXT, version: 14, versions: isSeeded ? versions(now) : [] },
  };
  if (isSeeded) state.requests = requests(now, random, state);
  return state;
}

// -- who asks

function who(state, request) {
  const cookies = Object.fromEntries((request.headers.cookie ?? "").split("; ").map((pair) => pair.split("=")));
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
  const session = state.sessions.get(cookies.session ?? "") ?? null;
  if (bearer) return state.sessions.get(bearer)?.user ?? keyHolder(state, bearer);
  if (!session) return null;
  if (request.method !== "GET" && request.headers["x-csrf-token"] !== session.csrf) no(403, "permission_denied", "the CSRF token is missing or wrong");
  return session.user;
}

/** A key is a user of its own: what it may is in its scopes. */
function keyHolder(state, secret) {
  const key = state.keys.find((one) => one.secret === secret);
  return key ? { id: key.id, username: key.name, role: key.scopes.includes("admin") ? "admin" : key.scopes.includes("read") ? "viewer" : "key" } : null;
}

const shownUser = ({ password: _password, ...user }) => user;
const shownKey = ({ secret: _secret, ...key }) => key;

function note(state, user, action, resource) {
  state.audit.unshift({ id: String(901 + state.audit.length), timestamp: iso(Date.now()), actor: user.username, action, resource, resource_type: action.split(".")[0], resource_id: resource, actor_type: "user", reason: null, outcome: "success", client_ip: "127.0.0.1", request_id: randomUUID(), details: null });
}

// -- answers

function stats(state) {
  const sum = (of) => state.nodes.reduce((all, node) => all + of(node), 0);
  const rows = state.requests;
  const failed = rows.filter((row) => row.status.type === "error").length;
  const by = (status) => state.nodes.filter((node) => node.status === status).length;
  return {
    total_nodes: state.nodes.length,
    online_nodes: by("online"),
    registering_nodes: by("registering"),
    draining_nodes: 0,
    offline_nodes: by("offline"),
    total_requests: rows.length,
    successful_requests: rows.length - failed,
    failed_requests: failed,
    average_response_time_ms: rows.length ? 1240 : null,
    average_gpu_usage: state.nodes.length ? 54.2 : null,
    average_gpu_memory_usage: state.nodes.length ? 63 : null,
    total_active_requests: sum((node) => node.active_requests),
    last_metrics_updated_at: state.nodes.length ? iso(Date.now() - 2000) : null,
    openai_key_present: state.kind === "seeded",
  };
}

function minutes(state) {
  const now = Math.floor(Date.now() / 60_000) * 60_000;
  const list = Array.from({ length: 60 }, (_, n) => ({ minute: iso(now - (59 - n) * 60_000), success: 0, error: 0 }));
  for (const row of state.requests) {
    const at = 59 - Math.floor((now + 59_999 - Date.parse(row.timestamp)) / 60_000);
    if (list[at]) list[at][row.status.type === "error" ? "error" : "success"] += 1;
  }
  return list;
}

/** A figure lies between the ends that are asked for; one that is not known lies between none. */
function within(query, before, after, figure) {
  const [least, most] = ["min", "max"].map((end) => query.get(before + end + after));
  if (least && most && Number(least) > Number(most)) no(400, "invalid_request", `\`${before}min${after}\` is more than \`${before}max${after}\``, `${before}min${after}`);
  return (!least && !most) || (typeof figure === "number" && (!least || figure >= Number(least)) && (!most || figure <= Number(most)));
}

function filtered(state, query, rows = state.requests) {
  const has = (name) => query.get(name)?.toLowerCase() ?? "";
  const start = query.get("start_time");
  if (query.get("status") && !["success", "error", "cancelled"].includes(query.get("status"))) no(400, "invalid_request", "`status` is one of success, error and cancelled", "status");
  return rows.filter(
    (row) =>
      row.model.toLowerCase().includes(has("model")) &&
      (!has("node_id") || row.node_id === query.get("node_id")) &&
      (!has("status") || row.status.type === query.get("status")) &&
      (!has("http_status") || String(row.http_status) === query.get("http_status")) &&
      (!has("client_ip") || row.client_ip.includes(has("client_ip"))) &&
      (!has("key") || row.key_name.toLowerCase().includes(has("key")) || row.key_id === query.get("key")) &&
      (!has("account") || (row.target ?? "").toLowerCase().includes(has("account"))) &&
      (!has("search") || JSON.stringify(detail(row)).toLowerCase().includes(has("search"))) &&
      (!has("cache") || (row.cache ?? "off") === query.get("cache")) &&
      within(query, "first_byte_", "_ms", row.first_byte_ms) &&
      within(query, "duration_", "_ms", row.duration_ms) &&
      within(query, "tokens_", "", row.prompt_tokens === null && row.completion_tokens === null ? null : (row.prompt_tokens ?? 0) + (row.completion_tokens ?? 0)) &&
      within(query, "cost_", "_usd", row.cost_usd) &&
      (!start || row.timestamp >= start) &&
      (!query.get("end_time") || row.timestamp <= query.get("end_time")),
  );
}

/** Accounts that are written down and not switched off. */
const services = (state) => (state.kind === "seeded" ? ACCOUNTS.filter(([name]) => !new RegExp(`- name: ${name}\\n(    .*\\n)*    enabled: false`).test(state.config.text)) : []);

function backend(state) {
  const list = services(state);
  const counted = (n) => ({ requests: [4120, 2210, 640, 90][n], failures: [31, 12, 4, 48][n], rate_limited: [0, 77, 0, 0][n] });
  const all = list.map((_, n) => counted(n));
  const total = all.reduce((sum, one) => sum + one.requests, 0);
  return {
    mode: "router",
    status: "active",
    router_stats: {
      total_requests: total,
      total_failovers: total ? 94 : 0,
      total_rate_limit_skips: total ? 77 : 0,
      failover_rate: total ? 1.33 : 0,
      rate_limit_skip_rate: total ? 1.09 : 0,
      configured_services: list.length,
      service_order: list.map(([name]) => name),
      service_stats: Object.fromEntries(list.map(([name], n) => [name, all[n]])),
      rate_limiting: Object.fromEntries(
        list.map(([name, , , , , , rate_limit, used]) => {
          const most = Number.parseInt(rate_limit, 10);
          const full = used !== null && used >= most;
          return [name, { rate_limit, current_requests: used, remaining_quota: used === null ? "unlimited" : most - used, is_rate_limited: full, window_reset_in: full ? 23 : null }];
        }),
      ),
    },
    health: {
      overall_status: list.length ? "degraded" : "unknown",
      services: Object.fromEntries(list.map(([name, backend_type, base_url], n) => [name, { status: ["healthy", "healthy", "healthy", "unhealthy"][n], backend_type, base_url, has_api_key: backend_type !== "vllm", requests: all[n].requests, failures: all[n].failures, failure_rate: (all[n].failures / all[n].requests) * 100, rate_limited_events: all[n].rate_limited, is_currently_rate_limited: n === 1 }])),
    },
  };
}

const live = (state) => ({
  object: "router.live_metrics",
  active_requests: state.kind === "seeded" ? Math.round(14 + 6 * Math.sin(Date.now() / 9000)) : 0,
  open_streams: state.kind === "seeded" ? 9 : 0,
  queued_requests: state.kind === "seeded" ? Math.max(0, Math.round(2 * Math.sin(Date.now() / 13_000))) : 0,
  accounts: Object.fromEntries(services(state).map(([name], n) => [name, { first_byte_ms: [412, 630, 288, null][n], tokens_per_second: [88, 61, 120, null][n], resting_seconds: [0, 23, 0, 41][n], state: ["open", "limited", "open", "failing"][n], wires: {} }])),
});

function usage(state, query) {
  const by = query.get("group_by") ?? "key";
  const start = query.get("start_time") ?? "";
  const groups = new Map();
  const totals = { requests: 0, errors: 0, prompt_tokens: 0, completion_tokens: 0, cached_tokens: 0, cost_usd: 0, unpriced_requests: 0 };
  const add = (sum, row, times = 1) => {
    sum.requests += times;
    sum.errors += row.status.type === "error" ? times : 0;
    for (const name of ["prompt_tokens", "completion_tokens", "cached_tokens"]) sum[name] += (row[name] ?? 0) * times;
    if (row.cost_usd === null) sum.unpriced_requests += times;
    else sum.cost_usd += row.cost_usd * times;
  };
  const rows = state.requests.filter((row) => row.timestamp >= start);
  const put = (group, name, row, times) => {
    if (!groups.has(group)) groups.set(group, { group, name, requests: 0, errors: 0, prompt_tokens: 0, completion_tokens: 0, cached_tokens: 0, cost_usd: 0, unpriced_requests: 0 });
    add(groups.get(group), row, times);
  };
  if (by === "day") {
    // The records of two hours stand for those of each day before.
    for (let day = Date.parse(start || iso(Date.now())); rows.length && day <= Date.now(); day += 86_400_000) {
      const weekday = new Date(day).getUTCDay();
      for (const row of rows.slice(0, 60)) put(iso(day).slice(0, 10), null, row, weekday % 6 === 0 ? 2 : 7 + weekday);
    }
  } else for (const row of rows) put(by === "key" ? row.key_id : by === "model" ? (row.model_served ?? row.model) : (row.target ?? "none"), by === "key" ? row.key_name : null, row, 1);
  for (const row of groups.values()) add(totals, { ...row, status: {}, cost_usd: row.cost_usd });
  totals.requests = [...groups.values()].reduce((sum, row) => sum + row.requests, 0);
  totals.errors = [...groups.values()].reduce((sum, row) => sum + row.errors, 0);
  totals.unpriced_requests = [...groups.values()].reduce((sum, row) => sum + row.unpriced_requests, 0);
  return { rows: [...groups.values()].map((row) => (row.unpriced_requests === row.requests ? { ...row, cost_usd: null } : row)), totals, price_book: { version: "2026-11-01", source: "openai.com, anthropic.com, ai.google.dev" } };
}

// -- routes: method, pattern, who may, answer

const admin = "admin";
const read = "read";
const known = "known";
const ROUTES = [
  ["GET", "/health", null, (s) => ({ status: s.kind === "seeded" ? "healthy" : "healthy", version: "0.1.0", mode: "router", details: { store: "ok", targets: s.kind === "seeded" ? "ok" : "missing", uptime_seconds: 93_000 } })],
  ["GET", "/api/auth/me", read, (_, { user }) => ({ user_id: user.id, username: user.username, role: user.role, must_change_password: user.must_change_password ?? false })],
  ["GET", "/api/users", admin, (s) => ({ users: s.users.map(shownUser) })],
  ["POST", "/api/users", admin, (s, { body, user }) => {
    if (!body.username) no(400, "invalid_request", "`username` must not be empty", "username");
    if (s.users.some((one) => one.username === body.username)) no(409, "conflict", "Username already exists", "username");
    const made = { id: randomUUID(), username: body.username, role: body.role, password: body.password, created_at: iso(Date.now()), last_login: null };
    s.users.push(made);
    note(s, user, "user.create", made.username);
    return [201, shownUser(made)];
  }],
  ["PUT", "/api/users/:id", read, (s, { id, body, user }) => {
    const found = s.users.find((one) => one.id === id) ?? missing("such user");
    if (user.role !== "admin" && user.id !== id) no(403, "permission_denied", "Admin access required");
    Object.assign(found, body);
    if (body.password) found.must_change_password = false;
    note(s, user, "user.update", found.username);
    return shownUser(found);
  }],
  ["DELETE", "/api/users/:id", admin, (s, { id, user }) => {
    const found = s.users.find((one) => one.id === id) ?? missing("such user");
    if (found.role === "admin" && s.users.filter((one) => one.role === "admin").length === 1) no(409, "conflict", "Cannot delete the last administrator");
    s.users = s.users.filter((one) => one !== found);
    note(s, user, "user.delete", found.username);
    return null;
  }],
  ["GET", "/api/api-keys", admin, (s) => ({ api_keys: s.keys.map(shownKey) })],
  ["POST", "/api/api-keys", admin, (s, { body, user }) => {
    if (!body.name) no(400, "invalid_request", "`name` must have 1 to 256 bytes", "name");
    if (body.limits?.rpm !== undefined && !(body.limits.rpm > 0)) no(400, "invalid_request", "`limits.rpm` must be a whole number from 1", "limits.rpm");
    const secret = `sk_${randomUUID().replaceAll("-", "")}`;
    const made = { id: randomUUID(), prefix: secret.slice(0, 7), scopes: ["inference"], allowed_models: [], owner: null, tags: [], limits: null, budget: null, created_by: user.username, created_at: iso(Date.now()), expires_at: null, last_used_at: null, ...body, secret };
    s.keys.unshift(made);
    note(s, user, "key.create", made.name);
    return [201, { ...shownKey(made), key: secret }];
  }],
  ["PUT", "/api/api-keys/:id", admin, (s, { id, body, user }) => {
    const found = s.keys.find((one) => one.id === id) ?? missing("such key");
    Object.assign(found, body);
    note(s, user, "key.update", found.name);
    return shownKey(found);
  }],
  ["POST", "/api/api-keys/:id/rotate", admin, (s, { id, user }) => {
    const found = s.keys.find((one) => one.id === id) ?? missing("such key");
    found.secret = `sk_${randomUUID().replaceAll("-", "")}`;
    found.prefix = found.secret.slice(0, 7);
    note(s, user, "key.rotate", found.name);
    return { ...shownKey(found), key: found.secret };
  }],
  ["DELETE", "/api/api-keys/:id", admin, (s, { id, user }) => {
    const found = s.keys.find((one) => one.id === id) ?? missing("such key");
    s.keys = s.keys.filter((one) => one !== found);
    note(s, user, "key.revoke", found.name);
    return null;
  }],
  ["GET", "/api/nodes", read, (s) => s.nodes],
  ["GET", "/api/nodes/metrics", read, (s) => s.nodes.filter((node) => node.status === "online").map((node) => points(node, Date.now(), dice(node.machine_name.length)).at(-1))],
  ["GET", "/api/metrics/summary", read, stats],
  ["POST", "/api/nodes/adopt", admin, (s, { body, user }) => {
    if (!/^https?:/.test(body.endpoint ?? "")) no(400, "invalid_request", "`endpoint` must be an address", "endpoint");
    const address = new URL(body.endpoint);
    const made = { id: randomUUID(), kind: "endpoint", machine_name: body.name ?? address.host, ip_address: address.hostname, runtime_version: "", runtime_port: Number(address.port) - 1, endpoint: body.endpoint, status: "online", state: "ready", registered_at: iso(Date.now()), last_seen: iso(Date.now()), online_since: iso(Date.now()), custom_name: null, tags: [], notes: null, loaded_models: ["llama3.2"], available_models: [], gpu_available: false, gpu_devices: [], initializing: false, active_requests: 0, total_requests: 0, successful_requests: 0, failed_requests: 0, average_response_time_ms: null };
    s.nodes.push(made);
    note(s, user, "node.adopt", made.machine_name);
    return [201, made];
  }],
  ["GET", "/api/nodes/join-tokens", admin, (s) => ({ join_tokens: s.joinTokens })],
  ["POST", "/api/nodes/join-tokens", admin, (s, { body, user }) => {
    if (!body.name) no(400, "invalid_request", "`name` must not be empty", "name");
    const made = { id: randomUUID(), max_uses: null, expires_at: null, ...body, uses: 0, created_by: user.username, created_at: iso(Date.now()), revoked_at: null };
    s.joinTokens.push(made);
    note(s, user, "join_token.create", made.name);
    return [201, { ...made, token: `jt_${randomUUID().replaceAll("-", "")}` }];
  }],
  ["DELETE", "/api/nodes/join-tokens/:id", admin, (s, { id }) => {
    const found = s.joinTokens.find((one) => one.id === id) ?? missing("such join token");
    found.revoked_at = iso(Date.now());
    return null;
  }],
  ["PUT", "/api/nodes/:id/settings", admin, (s, { id, body, user }) => {
    const found = s.nodes.find((one) => one.id === id) ?? missing("such node");
    note(s, user, "node.settings", found.machine_name);
    return Object.assign(found, body);
  }],
  ...["drain", "approve", "disconnect"].map((verb) => ["POST", `/api/nodes/:id/${verb}`, admin, (s, { id, body, user }) => {
    const found = s.nodes.find((one) => one.id === id) ?? missing("such node");
    Object.assign(found, { drain: { state: body.draining === false ? "ready" : "draining" }, approve: { status: "online", state: "ready", online_since: iso(Date.now()) }, disconnect: { status: "offline", state: "gone" } }[verb]);
    note(s, user, `node.${verb}`, found.machine_name);
    return [202, null];
  }]),
  ["DELETE", "/api/nodes/:id", admin, (s, { id, user }) => {
    const found = s.nodes.find((one) => one.id === id) ?? missing("such node");
    s.nodes = s.nodes.filter((one) => one !== found);
    note(s, user, "node.delete", found.machine_name);
    return null;
  }],
  ["GET", "/api/nodes/:id/logs", read, (s, { id, query }) => {
    const found = s.nodes.find((one) => one.id === id) ?? missing("such node");
    if (found.status === "offline") no(503, "no_available_target", `the node \`${found.machine_name}\` is offline`);
    return logs(Date.now(), Number(query.get("tail") ?? 200), `node:${found.machine_name}`);
  }],
  ["GET", "/v1/models", known, (s) => ({ object: "list", data: s.models })],
  ["GET", "/api/models/registered", read, (s) => s.registered],
  ["GET", "/api/models/available", read, (_, { query }) => {
    const wanted = (query.get("search") ?? "").toLowerCase();
    const found = HUB.filter((model) => `${model.display_name} ${model.repo}`.toLowerCase().includes(wanted));
    const offset = Number(query.get("offset") ?? 0);
    const limit = Number(query.get("limit") ?? 20);
    return { models: found.slice(offset, offset + limit), source: "hf", cached: false, pagination: { limit, offset, total: found.length } };
  }],
  ["POST", "/api/models/discover-gguf", read, (_, { body }) => ({ base_model: body.model, cached: false, gguf_alternatives: [{ repo: `bartowski/${body.model.split("/").at(-1)}-GGUF`, provider: "bartowski", trusted: true, files: [{ filename: "model-Q4_K_M.gguf", size_bytes: 2.6e9, quantization: "Q4_K_M" }, { filename: "model-Q8_0.gguf", size_bytes: 4.3e9, quantization: "Q8_0" }] }] })],
  ["POST", "/api/cache/flush", admin, (s, { user }) => {
    note(s, user, "cache.flush", "cache");
    return { status: "success", flushed: 12 };
  }],
  ["POST", "/api/models/register", admin, (s, { body, user }) => {
    const name = (body.filename ?? body.repo.split("/").at(-1)).replace(/(-GGUF|\.gguf)$/i, "").toLowerCase();
    if (s.registered.some((model) => model.name === name)) no(400, "invalid_request", "Model already registered");
    s.registered.unshift({ name, status: "downloading", ready: false, progress: 0.02, source: "hf", repo: body.repo, filename: body.filename ?? null, size_gb: 2, required_memory_gb: 3, tags: [] });
    note(s, user, "model.register", body.repo);
    return [201, { name, status: "registered", size_bytes: 2e9, required_memory_bytes: 3e9, warnings: [] }];
  }],
  ["POST", "/api/models/load", admin, (s, { body, user }) => {
    const able = s.nodes.filter((node) => node.status === "online" && (!body.node || node.id === body.node));
    const node = able.find((one) => one.available_models.includes(body.model)) ?? able.find((one) => !one.loaded_models.includes(body.model)) ?? no(503, "no_available_target", `no node can load \`${body.model}\``);
    node.loaded_models = [...new Set([...node.loaded_models, body.model])];
    node.available_models = [...new Set([...node.available_models, body.model])];
    note(s, user, "model.load", body.model);
    return [202, null];
  }],
  ["POST", "/api/models/unload", admin, (s, { body, user }) => {
    for (const node of s.nodes) if (!body.node || node.id === body.node) node.loaded_models = node.loaded_models.filter((name) => name !== body.model);
    note(s, user, "model.unload", body.model);
    return [202, null];
  }],
  ["GET", "/api/models/convert", read, (s) => s.conversions],
  ["POST", "/api/models/convert", admin, (s, { body, user }) => {
    const task = { id: randomUUID(), filename: null, revision: null, quantization: null, ...body, status: "queued", progress: 0, error: null, path: null, created_at: iso(Date.now()), updated_at: iso(Date.now()) };
    s.conversions.unshift(task);
    note(s, user, "model.convert", body.repo);
    return [202, { task_id: task.id, status: "queued" }];
  }],
  ["DELETE", "/api/models/convert/:id", admin, (s, { id }) => {
    s.conversions = s.conversions.filter((task) => task.id !== id);
    return null;
  }],
  ["DELETE", "/api/models/*name", admin, (s, { id, user }) => {
    if (!s.registered.some((model) => model.name === id)) missing("such model");
    s.registered = s.registered.filter((model) => model.name !== id);
    note(s, user, "model.delete", id);
    return null;
  }],
  ["GET", "/api/dashboard/overview", read, (s) => ({ nodes: s.nodes, stats: stats(s), history: minutes(s), generated_at: iso(Date.now()), generation_time_ms: 3 })],
  ["GET", "/api/dashboard/stats", read, stats],
  ["GET", "/api/dashboard/request-history", read, minutes],
  ["GET", "/api/dashboard/metrics/:id", read, (s, { id }) => {
    const found = s.nodes.find((one) => one.id === id) ?? missing("such node");
    return found.status === "online" ? points(found, Date.now(), dice(found.machine_name.length)) : [];
  }],
  ["GET", "/api/dashboard/request-responses", read, (s, { query }) => {
    const found = filtered(s, query);
    const per_page = [10, 25, 50, 100].includes(Number(query.get("per_page"))) ? Number(query.get("per_page")) : 10;
    const page = Math.max(1, Number(query.get("page") ?? 1));
    return { records: found.slice((page - 1) * per_page, page * per_page), total_count: found.length, page, per_page };
  }],
  ["GET", "/api/dashboard/request-responses/:id", read, (s, { id }) => ({ ...detail(s.requests.find((row) => row.id === id) ?? missing("record of such a request")), feedback: s.feedback.get(id) ?? [] })],
  ["GET", "/api/dashboard/logs/router", read, (s, { query }) => (s.kind === "seeded" ? logs(Date.now(), Number(query.get("limit") ?? 200), "router", s.requests.slice(0, 50).map(({ id }) => id)) : { source: "router", path: "/var/lib/llm-router/logs/router.log", entries: [] })],
  ["GET", "/api/requests/:id/explain", known, (s, { id }) => explanation(s.requests.find((row) => row.id === id) ?? missing("record of such a request"))],
  ["POST", "/api/feedback", known, (s, { body, user }) => {
    if (!s.requests.some((row) => row.id === body.request_id)) missing("record of such a request");
    if (typeof body.score !== "number" || body.score < 0 || body.score > 1) no(400, "invalid_request", "`score` must be a number from 0 to 1", "score");
    s.feedback.set(body.request_id, [...(s.feedback.get(body.request_id) ?? []).filter(({ by }) => by !== user.id), { score: body.score, label: null, preferred_model: null, comment: body.comment ?? null, by: user.id, at: iso(Date.now()) }]);
    return [201, null];
  }],
  ["GET", "/api/usage", known, (s, { query, user }) => (user.role === "key" ? { ...usage({ ...s, requests: s.requests.filter((row) => row.key_id === user.id) }, query), budget: s.keys.find((key) => key.id === user.id).budget } : usage(s, query))],
  ["GET", "/backend/info", known, backend],
  ["GET", "/router/info", known, () => ({ registered_strategies: ["priority", "round-robin", "lowest-latency", "task-complexity"], strategy_count: 4, hot_reload_enabled: false })],
  ["POST", "/router/route", known, (s, { body }) => {
    if (s.kind !== "seeded") no(404, "model_not_found", `The model \`${body.model}\` does not exist`, "model");
    return { selected_model: "qwen3-14b", confidence: 1, rule: body.model === "auto" ? "auto" : "alias", alternatives: [{ model: "gpt-5-mini", score: 0.41 }], candidates: [{ target: "node", model: "qwen3-14b", reason: "alias_order" }, { target: "openai", model: "gpt-5-mini", reason: "alias_order" }] };
  }],
  ["POST", "/router/reset-stats", admin, () => ({ status: "success", message: "Router statistics reset" })],
  ["GET", "/v1/router/policy", known, (s) => ({ object: "router.policy", default_model: s.kind === "seeded" ? "fast" : null, fallback_models: s.kind === "seeded" ? ["claude-sonnet-5", "gemini-3-flash"] : [], retry_statuses: s.kind === "seeded" ? [530] : [], max_attempts: 4, retry_budget: 0.2, accounts: services(s).map(([name, provider, , priority, weight, models]) => ({ name, provider, priority, weight, models })) })],
  ["GET", "/v1/router/live-metrics", known, live],
  ["POST", "/config/reload", admin, () => ({ status: "success", message: "Config reloaded", synced_from_remote: false, warnings: [] })],
  ["GET", "/api/config", admin, (s) => ({ file: "/etc/llm-router/router.yaml", version: s.config.version, text: s.config.text, settings: SETTINGS, warnings: s.kind === "seeded" ? ["`litellm_settings.drop_params` has no effect here"] : [] })],
  ["PUT", "/api/config", admin, (s, { body, user }) => {
    if (body.revert_to !== undefined) {
      const found = s.config.versions.find(({ version }) => version === body.revert_to) ?? missing("such version");
      body.text = found.text;
      body.comment = `Back to version ${found.version}`;
    }
    if (/\t/.test(body.text) || !/^server:/m.test(body.text)) no(400, "invalid_request", "line 1: `server` is missing; a tab is no indentation", "text");
    if (body.base !== undefined && body.base !== s.config.version) no(409, "conflict", "another configuration is in force than this one was made from", "base");
    if (body.dry_run) return { version: null, dry_run: true, warnings: [], changes: [] };
    s.config.version += 1;
    s.config.text = body.text;
    s.config.versions.unshift({ version: s.config.version, created_at: iso(Date.now()), author: user.username, comment: body.comment || null, text: body.text });
    note(s, user, "config.update", `version ${s.config.version}`);
    return { version: s.config.version, dry_run: false, warnings: [], changes: [] };
  }],
  ["GET", "/api/config/versions", admin, (s) => ({ versions: s.config.versions.map((one) => ({ ...one, origin: "api", in_force: one.version === s.config.version })), has_more: false })],
  ["GET", "/api/config/versions/:id", admin, (s, { id }) => ({ ...(s.config.versions.find(({ version }) => String(version) === id) ?? missing("such version")), changes_to_go_back: [] })],
  ["GET", "/api/audit", admin, (s, { query }) => {
    const has = (name) => query.get(name) ?? "";
    const like = s.audit.filter((row) => ["actor", "action"].every((name) => row[name].includes(has(name))) && (!has("resource_id") || row.resource_id === has("resource_id")) && (!has("outcome") || row.outcome === has("outcome")) && (!has("client_ip") || row.client_ip === has("client_ip")) && row.timestamp >= has("start_time"));
    const limit = Number(query.get("limit") ?? 50);
    if (has("before")) {
      const newer = like.filter((row) => Number(row.id) > Number(has("before")));
      return { rows: newer.slice(-limit), has_more: newer.length > limit };
    }
    const rows = has("after") ? like.filter((row) => Number(row.id) < Number(has("after"))) : like;
    return { rows: rows.slice(0, limit), has_more: rows.length > limit };
  }],
];

function find(method, path) {
  for (const [verb, pattern, may, answer] of ROUTES) {
    if (verb !== method) continue;
    const star = pattern.indexOf("*");
    if (star >= 0 && path.startsWith(pattern.slice(0, star))) return { may, answer, id: decodeURIComponent(path.slice(star)) };
    const [wanted, given] = [pattern.split("/"), path.split("/")];
    if (wanted.length === given.length && wanted.every((part, n) => part.startsWith(":") || part === given[n])) {
      const at = wanted.findIndex((part) => part.startsWith(":"));
      return { may, answer, id: at < 0 ? undefined : decodeURIComponent(given[at]) };
    }
  }
  return null;
}

function login(state, { username, password }) {
  const user = state.users.find((one) => one.username === username && one.password === password);
  if (!user) no(401, "invalid_api_key", "Invalid username or password");
  const session = { token: `t.${randomUUID()}.s`, csrf: randomUUID(), user };
  user.last_login = iso(Date.now());
  state.sessions.set(session.token, session);
  return session;
}

const SENTENCE = "Quicksort picks one number, puts the smaller ones to its left and the larger ones to its right, and does the same with both sides until nothing is left to move.";

/** A record is there: whoever follows gets it. */
function keep(state, row) {
  state.requests.unshift(row);
  for (const { query, response } of state.tails) if (filtered(state, query, [row]).length > 0) response.write(`event: request\nid: ${row.id}\ndata: ${JSON.stringify(row)}\n\n`);
}

function follow(state, query, response) {
  const tail = { query, response };
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write(": here\n\n");
  state.tails.add(tail);
  response.on("close", () => state.tails.delete(tail));
}

async function chat(state, body, response, id, wantsCost) {
  const row = record(Date.now(), 0, dice(Date.now() % 1000), state.keys.length ? state : { ...state, keys: Array(5).fill({ id: "k", name: "session" }) });
  const entry = MODELS.find((model) => model.id === body.model);
  Object.assign(row, { id, timestamp: iso(Date.now()), model: body.model, model_served: body.model, target: entry?.service ?? "openai", provider: entry?.backend_type ?? "openai", attempts: 1, key_name: "session", status: { type: "success" }, http_status: 200, error_code: null, request_type: "chat", prompt_tokens: 24, completion_tokens: 33, stream: body.stream === true });
  if (body.model === "house-model") no(502, "upstream_error", "Every target failed: team-vllm could not be reached.");
  const text = body.tools ? null : body.response_format ? '{"answer": "yes", "sure": 0.9}' : SENTENCE;
  const headers = { "x-request-id": id, "x-llm-router-model": body.model, "x-llm-router-target": row.target ?? "openai", "x-llm-router-fidelity": "exact" };
  const usage = { prompt_tokens: 24, completion_tokens: 33, total_tokens: 57 };
  const calls = body.tools ? [{ index: 0, id: "call_1", type: "function", function: { name: body.tools[0].function?.name ?? "tool", arguments: '{"place": "Oslo"}' } }] : undefined;
  keep(state, row);
  if (!body.stream) {
    response.writeHead(200, { ...headers, "content-type": "application/json", "x-llm-router-cost": "0.000312" });
    response.end(JSON.stringify({ id: "chatcmpl-1", object: "chat.completion", model: body.model, choices: [{ index: 0, message: { role: "assistant", content: text, tool_calls: calls }, finish_reason: calls ? "tool_calls" : "stop" }], usage }));
    return;
  }
  response.writeHead(200, { ...headers, "content-type": "text/event-stream" });
  const put = (choices, more = {}) => response.write(`data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", model: body.model, choices, ...more })}\n\n`);
  let isOpen = true;
  response.on("close", () => (isOpen = false));
  const slow = body.messages.some((message) => message.content === "slowly, please") ? 150 : 8;
  if (calls) put([{ index: 0, delta: { tool_calls: calls } }]);
  for (const word of text?.match(/\S+\s*/g) ?? []) {
    if (!isOpen) return;
    put([{ index: 0, delta: { content: word } }]);
    await new Promise((resolve) => setTimeout(resolve, slow));
  }
  put([{ index: 0, delta: {}, finish_reason: calls ? "tool_calls" : "stop" }]);
  put([], { usage });
  const told = JSON.stringify({ request_id: id, cost_usd: 0.000312, prompt_tokens: 24, completion_tokens: 33 });
  response.end(`data: [DONE]\n\n${wantsCost ? `: router ${told}\n\n` : ""}`);
}

function file(root, path, response) {
  const inside = normalize(path.replace(/^\/dashboard\/?/, "").replace(/^\/playground.*/, ""));
  const wanted = join(root, inside);
  const isFile = !inside.startsWith("..") && existsSync(wanted) && statSync(wanted).isFile();
  // An id in the path may have a dot of its own.
  if (!isFile && TYPES[extname(inside)]) return false;
  const found = isFile ? wanted : join(root, "index.html");
  response.writeHead(200, { "content-type": TYPES[extname(found)] ?? "application/octet-stream", "content-security-policy": POLICY, "cache-control": "no-cache" });
  createReadStream(found).pipe(response);
  return true;
}

async function bodyOf(request) {
  let text = "";
  for await (const piece of request) text += piece;
  return text ? JSON.parse(text) : {};
}

/** Starts one; `root` is the folder with the built dashboard. */
export function serve({ kind = "seeded", port = 0, root }) {
  const state = makeState(kind, Date.now());
  const server = createServer(async (request, response) => {
    const id = randomUUID();
    const url = new URL(request.url, "http://fake");
    const json = (status, value, headers = {}) => {
      response.writeHead(status, { "content-type": "application/json", "x-request-id": id, ...headers });
      response.end(value === null && status !== 200 ? undefined : JSON.stringify(value));
    };
    try {
      if (url.pathname === "/") return json(200, { name: "LLM Router", version: "0.1.0", status: "running", authentication: { enabled: true } });
      if (/^\/(dashboard|playground)(\/|$)/.test(url.pathname) && request.method === "GET" && root && file(root, url.pathname, response)) return;
      const body = request.method === "GET" ? {} : await bodyOf(request);
      if (url.pathname === "/api/auth/login") {
        const session = login(state, body);
        return json(200, { token: session.token, expires_in: 86_400, user: shownUser(session.user) }, { "set-cookie": [`session=${session.token}; HttpOnly; SameSite=Strict; Path=/`, `csrf=${session.csrf}; SameSite=Strict; Path=/`] });
      }
      if (url.pathname === "/api/auth/logout") return json(204, null, { "set-cookie": ["session=; Max-Age=0; Path=/", "csrf=; Max-Age=0; Path=/"] });
      const user = who(state, request);
      if (url.pathname === "/v1/chat/completions") {
        if (!user) no(401, "invalid_api_key", "this key is not known");
        return await chat(state, body, response, id, request.headers["x-router-debug"] === "1");
      }
      if (url.pathname === "/api/dashboard/request-responses/stream") {
        if (!user) no(401, "invalid_api_key", "this path needs the token of a session");
        return follow(state, url.searchParams, response);
      }
      const found = find(request.method, url.pathname);
      if (!found) no(404, "not_found", `there is nothing at \`${url.pathname}\``);
      if (found.may && !user) no(401, "invalid_api_key", "this path needs the token of a session");
      if (found.may === read && user.role === "key") no(403, "permission_denied", "the key lacks the scope `read`");
      if (found.may === admin && user.role !== "admin") no(403, "permission_denied", "Admin access required");
      const said = found.answer(state, { id: found.id, query: url.searchParams, body, user });
      const [status, value] = Array.isArray(said) && typeof said[0] === "number" && said.length === 2 ? said : [said === null ? 204 : 200, said];
      return json(status, value);
    } catch (error) {
      if (response.headersSent) return response.destroy();
      if (error instanceof Refusal) return json(error.status, { error: { message: error.message, type: "invalid_request_error", param: error.param ?? null, code: error.code, request_id: id } });
      return json(500, { error: { message: String(error.stack), type: "server_error", code: "internal_error", request_id: id } });
    }
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve({ server, state, url: `http://127.0.0.1:${server.address().port}` })));
}
