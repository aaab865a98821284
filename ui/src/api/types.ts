// The shapes of the control API that this dashboard reads. What may be missing is optional or null, and is shown as unknown.

export interface User {
  id: string;
  username: string;
  role: Role;
  created_at?: string;
  last_login?: string | null;
  must_change_password?: boolean;
}
export type Role = "admin" | "viewer";

export interface Me {
  user_id: string;
  username: string;
  /** `key`: no user, but whoever holds an API key. */
  role: Role | "key";
  must_change_password?: boolean;
}

export interface LoggedIn {
  token: string;
  expires_in: number;
  user: User;
}

export interface About {
  version: string;
  status: string;
  /** `oidc`: what people may log in at instead. */
  authentication: { enabled: boolean; oidc?: string | null };
}

export interface Health {
  status: "healthy" | "degraded" | "unhealthy";
  version: string;
  details: Record<string, string | number>;
}

// -- nodes

export interface GpuDevice {
  model: string;
  count?: number;
  memory?: number | null;
}

export interface Node {
  id: string;
  kind?: string;
  machine_name: string;
  ip_address: string;
  runtime_version: string;
  runtime_port: number;
  node_api_port?: number;
  endpoint?: string;
  status: "online" | "registering" | "offline" | "pending" | "draining";
  /** Finer than `status`: joining, ready, degraded, suspect, draining, gone, pending. */
  state?: string;
  registered_at: string;
  last_seen: string;
  online_since: string | null;
  custom_name: string | null;
  tags: string[];
  notes: string | null;
  loaded_models: string[];
  available_models?: string[];
  gpu_available: boolean;
  gpu_devices: GpuDevice[];
  gpu_model?: string | null;
  gpu_model_name?: string | null;
  accelerator?: string | null;
  initializing: boolean;
  ready_models?: [number, number] | null;
  active_requests: number;
  total_requests: number;
  successful_requests: number;
  failed_requests: number;
  average_response_time_ms: number | null;
}

/** A secret that lets nodes join. */
export interface JoinToken {
  id: string;
  name: string;
  require_approval: boolean;
  max_uses: number | null;
  uses: number;
  created_by: string | null;
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
}

export interface MadeJoinToken extends JoinToken {
  /** Shown this once. */
  token: string;
}

/** How one model in a node's memory is doing. */
export interface Instance {
  model: string;
  /** 0: it does not say. */
  slots_total: number;
  slots_busy: number;
  queue_len: number;
  kv_used: number;
  kv_total: number;
  /** Tokens a second of prompts; 0 until measured. */
  prefill_tps: number;
  /** Milliseconds a token of one answer; 0 until measured. */
  tpot_ms: number;
}

/** The last report of a node, and a point of its history. */
export interface NodeMetrics {
  node_id?: string;
  timestamp?: string;
  cpu_usage?: number | null;
  memory_usage?: number | null;
  gpu_usage?: number | null;
  gpu_memory_usage?: number | null;
  gpu_memory_total_mb?: number | null;
  gpu_memory_used_mb?: number | null;
  gpu_temperature?: number | null;
  active_requests?: number | null;
  queue_length?: number | null;
  tokens_per_second?: number | null;
  average_response_time_ms?: number | null;
  is_stale?: boolean;
  instances?: Instance[];
}

export interface Summary {
  total_nodes: number;
  online_nodes: number;
  registering_nodes: number;
  offline_nodes: number;
  draining_nodes?: number;
  total_requests: number;
  successful_requests: number;
  failed_requests: number;
  cancelled_requests?: number;
  average_response_time_ms: number | null;
  average_gpu_usage: number | null;
  average_gpu_memory_usage: number | null;
  total_active_requests: number;
  last_metrics_updated_at: string | null;
}

export interface Stats extends Summary {
  openai_key_present?: boolean;
  google_key_present?: boolean;
  anthropic_key_present?: boolean;
  last_registered_at?: string | null;
  last_seen_at?: string | null;
}

export interface Minute {
  minute: string;
  success: number;
  error: number;
}

export interface Overview {
  nodes: Node[];
  stats: Stats;
  history: Minute[];
  generated_at: string;
  generation_time_ms: number;
}

// -- requests

export type Outcome = "success" | "error" | "cancelled";

export interface RequestRow {
  id: string;
  timestamp: string;
  completed_at: string | null;
  request_type: string;
  model: string;
  model_served?: string | null;
  node_id: string | null;
  node_machine_name: string | null;
  node_ip?: string | null;
  client_ip?: string | null;
  duration_ms: number;
  status: { type: Outcome; message?: string };
  http_status?: number | null;
  error_code?: string | null;
  target?: string | null;
  provider?: string | null;
  key_id?: string | null;
  key_name?: string | null;
  first_byte_ms?: number | null;
  prompt_tokens?: number | null;
  completion_tokens?: number | null;
  cached_tokens?: number | null;
  cost_usd?: number | null;
  cache?: string | null;
  stream?: boolean;
  attempts?: number | null;
}

export interface RequestDetail extends RequestRow {
  request_body: unknown;
  response_body: unknown;
  /** What went to the service and came back, where it was translated. */
  upstream_request_body?: unknown;
  upstream_response_body?: unknown;
  /** There was more of it than is kept. */
  request_body_truncated?: boolean;
  response_body_truncated?: boolean;
  /** What people thought of the answer: one opinion of each. */
  feedback?: Feedback[] | null;
}

export interface Feedback {
  score?: number | null;
  label?: string | null;
  preferred_model?: string | null;
  comment?: string | null;
  /** Id of the user or key. */
  by?: string | null;
  at?: string | null;
}

export interface RequestPage {
  records: RequestRow[];
  total_count: number;
  /** So many of the newest were looked through, where there are more. */
  looked_back?: number | null;
  page: number;
  per_page: number;
}

export interface Attempt {
  target?: string | null;
  provider?: string | null;
  model?: string | null;
  outcome?: string | null;
  status?: number | null;
  code?: string | null;
  message?: string | null;
  /** What went wrong, in words. */
  error?: string | null;
  /** Why this node, and how long the request stood in line for it. */
  pick?: { policy: string; reason: string; candidates: number; active: number; queue_position?: number | null; queue_wait_ms?: number | null } | null;
  started_ms?: number | null;
  duration_ms?: number | null;
  first_byte_ms?: number | null;
  [more: string]: unknown;
}

export interface Explanation {
  request_id: string;
  received_at: string | null;
  path: string;
  dialect: string;
  stream: boolean;
  key: { id: string; name: string | null } | null;
  requested_model: string | null;
  source: string | null;
  rule: string | null;
  candidates: { target: string | null; model: string | null; reason: string | null; result: string | null; score?: number | null; weighed?: { by: string; figure: number | null } | null }[];
  attempts: Attempt[];
  served: { target: string | null; provider: string | null; node_id: string | null; model: string | null };
  status: number;
  outcome: Outcome;
  error_code: string | null;
  timings: {
    duration_ms: number;
    first_byte_ms: number | null;
    overhead_ms: number | null;
    waited_ms: number | null;
    streaming_ms: number | null;
    queued_ms?: number | null;
  };
  usage: {
    prompt_tokens: number | null;
    completion_tokens: number | null;
    cached_tokens: number | null;
    reasoning_tokens: number | null;
    is_estimated: boolean;
    buckets: Record<string, number> | null;
  };
  cost?: { total_usd: number | null; lines?: PriceLine[]; price_book?: string | null } | null;
  limits?: Record<string, unknown> | null;
  losses: { dropped: string[]; changed: string[] };
  /** What remembered answers had to do with it. */
  cache?: { state: string; request_id?: string | null; age_ms?: number | null } | null;
  bytes_in: number;
  bytes_out: number;
}

export interface PriceLine {
  what: string;
  tokens: number | null;
  usd_per_million: number | null;
  usd: number | null;
}

// -- models

export interface Model {
  id: string;
  owned_by?: string;
  service?: string | null;
  backend_type?: string | null;
  nodes?: string[];
  loaded?: boolean | number;
  ready?: boolean | number;
  alias_of?: unknown;
  context_length?: number | null;
  max_output?: number | null;
  capabilities?: string[] | Record<string, boolean> | null;
  modalities?: { input?: string[]; output?: string[] } | string[] | null;
  price?: Price | null;
}

/** Dollars for a million tokens. */
export interface Price {
  input?: number | null;
  output?: number | null;
  source?: string | null;
  [more: string]: unknown;
}

export interface RegisteredModel {
  name: string;
  description?: string | null;
  status?: string | null;
  ready: boolean;
  path?: string | null;
  download_url?: string | null;
  source?: string | null;
  repo?: string | null;
  filename?: string | null;
  size_gb?: number | null;
  required_memory_gb?: number | null;
  tags?: string[];
  progress?: number | null;
  error?: string | null;
}

export interface AvailableModel {
  name: string;
  display_name?: string | null;
  description?: string | null;
  tags?: string[];
  size_gb?: number | null;
  required_memory_gb?: number | null;
  repo: string;
  filename: string;
  download_url?: string | null;
  quantization?: string | null;
}

export interface Available {
  models: AvailableModel[];
  source: string;
  cached: boolean;
  pagination: { limit: number; offset: number; total: number };
}

export interface GgufAlternatives {
  base_model: string;
  gguf_alternatives: { repo: string; provider: string; trusted: boolean; files: { filename: string; size_bytes: number; quantization: string | null }[] }[];
  cached: boolean;
}

export interface ConvertTask {
  id: string;
  repo: string;
  filename: string | null;
  revision?: string | null;
  quantization?: string | null;
  status: "queued" | "in_progress" | "completed" | "failed";
  progress: number;
  error: string | null;
  path?: string | null;
  created_at: string;
  updated_at: string;
}

// -- services

export interface ServiceHealth {
  status: "unknown" | "healthy" | "degraded" | "unhealthy";
  backend_type: string;
  base_url?: string;
  has_api_key: boolean;
  /** Why its credential cannot be used at present. */
  trouble?: string;
  requests: number;
  failures: number;
  failure_rate: number;
  rate_limited_events: number;
  is_currently_rate_limited: boolean;
}

export interface RateLimit {
  rate_limit: string;
  current_requests: number | null;
  remaining_quota: number | "unlimited";
  is_rate_limited: boolean;
  window_reset_in: number | null;
}

export interface Backend {
  mode: string;
  status: string;
  router_stats: {
    total_requests: number;
    total_failovers: number;
    total_rate_limit_skips: number;
    failover_rate: number;
    rate_limit_skip_rate: number;
    configured_services: number;
    service_order: string[];
    service_stats: Record<string, { requests: number; failures: number; rate_limited: number }>;
    rate_limiting: Record<string, RateLimit>;
  };
  health: { overall_status: string; services: Record<string, ServiceHealth> };
}

export interface Policy {
  default_model: string | null;
  fallback_models: string[];
  retry_statuses: number[];
  max_attempts: number;
  retry_budget: number;
  accounts: { name: string; provider: string; priority: number; weight: number; models: string[] }[];
}

export interface LiveMetrics {
  active_requests: number;
  open_streams: number;
  queued_requests: number;
  accounts: Record<
    string,
    {
      first_byte_ms: number | null;
      tokens_per_second: number | null;
      resting_seconds: number;
      state: "open" | "limited" | "refused" | "failing";
      wires?: Record<string, string>;
    }
  >;
}

export interface RouterInfo {
  registered_strategies: string[];
  strategy_count: number;
  hot_reload_enabled: boolean;
}

export interface RouteChoice {
  selected_model: string;
  confidence: number;
  alternatives: { model: string; score: number }[];
  rule: string;
  candidates: { target: string; model: string; reason: string }[];
}

// -- keys

export interface Limits {
  rpm?: number | null;
  tpm?: number | null;
  concurrency?: number | null;
}

export interface Budget {
  amount: number;
  currency?: string;
  window?: string;
  spent?: number | null;
  /** When the window begins anew. */
  resets_at?: string | null;
}

export interface ApiKey {
  id: string;
  name: string;
  prefix?: string;
  scopes?: string[];
  allowed_models?: string[];
  owner?: string | null;
  tags?: string[];
  limits?: Limits | null;
  budget?: Budget | null;
  created_by: string | null;
  created_at: string;
  expires_at: string | null;
  last_used_at?: string | null;
}

export interface NewApiKey {
  name: string;
  expires_at?: string | null;
  scopes?: string[];
  allowed_models?: string[];
  owner?: string | null;
  tags?: string[];
  limits?: Limits | null;
  budget?: Budget | null;
}

export interface MadeKey extends ApiKey {
  /** Shown this once. */
  key: string;
}

export const SCOPES = ["inference", "mcp", "a2a", "files", "read", "ops", "admin"] as const;

// -- money, changes, settings, logs

export type UsageBy = "key" | "model" | "account" | "day";

export interface UsageRow {
  group: string;
  name?: string | null;
  requests: number;
  errors?: number;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  cached_tokens?: number | null;
  /** `null`: no price is known for any of them. */
  cost_usd: number | null;
  /** Requests whose price is not known: the cost is without them. */
  unpriced_requests?: number;
}

export interface Usage {
  rows: UsageRow[];
  totals: Omit<UsageRow, "group" | "name">;
  price_book?: { version: string; source?: string | null } | null;
  /** The budget of the key that asks, if it has one. */
  budget?: Budget | null;
}

export interface Setting {
  value: unknown;
  origin: string;
}

export interface Config {
  file: string | null;
  version?: number | null;
  /** The file as it is written, secrets masked, where there is one. */
  text?: string | null;
  settings: Record<string, Setting>;
  warnings: string[];
}

/** Which setting is different, and how. */
export interface ConfigChange {
  key: string;
  from: unknown;
  to: unknown;
}

export interface ConfigChanged {
  version: number | null;
  warnings: string[];
  changes: ConfigChange[];
}

export interface ConfigVersion {
  version: number;
  created_at: string | null;
  /** Where it came from, such as an edit or the file itself. */
  origin?: string | null;
  author: string | null;
  comment?: string | null;
  in_force?: boolean;
  /** What is different from the version before. */
  changes?: ConfigChange[] | null;
  /** Secrets masked; `null` where it is too long for a list, or cannot be read. */
  text?: string | null;
  /** What going back to it would change now. */
  changes_to_go_back?: ConfigChange[] | null;
}

export interface ConfigVersions {
  versions: ConfigVersion[];
  has_more?: boolean;
}

export interface AuditRow {
  id: string;
  timestamp: string;
  actor: string | null;
  actor_type?: string | null;
  actor_id?: string | null;
  action: string;
  /** Kind and id together. */
  resource: string;
  resource_type?: string | null;
  resource_id?: string | null;
  /** success, denied, error, or begun: of a change that a crash cut off. */
  outcome: string;
  reason?: string | null;
  client_ip?: string | null;
  request_id?: string | null;
  details?: unknown;
}

export interface AuditPage {
  /** Newest first. */
  rows: AuditRow[];
  /** Whether there are others beyond this page. */
  has_more: boolean;
}

export interface LogEntry {
  timestamp: string;
  level: string;
  target: string;
  message: string;
  fields?: Record<string, unknown>;
  file?: string | null;
  line?: number | null;
}

export interface Logs {
  source: string;
  entries: LogEntry[];
  path: string | null;
}
