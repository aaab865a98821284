// Every path of the control API that the dashboard uses, and nothing else knows one.

import { call, type Query } from "./http";
import type * as Shape from "./types";

/** How long a large model may take into memory. */
const LOAD_MS_MAX = 600_000;

const id = encodeURIComponent;
/** A model's name may hold `/` and `:`; the path takes them as they are. */
const name = (model: string) => model.split("/").map(encodeURIComponent).join("/");

/** A list, whether it stands bare or as a member. */
function rows<T>(said: unknown, ...members: string[]): T[] {
  if (Array.isArray(said)) return said as T[];
  if (said && typeof said === "object") {
    for (const member of members) {
      const found = (said as Record<string, unknown>)[member];
      if (Array.isArray(found)) return found as T[];
    }
  }
  return [];
}

export const session = {
  login: (username: string, password: string) =>
    call<Shape.LoggedIn>("/api/auth/login", { method: "POST", body: { username, password }, keepsSession: true }),
  logout: () => call<null>("/api/auth/logout", { method: "POST", keepsSession: true }),
  me: () => call<Shape.Me>("/api/auth/me", { keepsSession: true }),
  /** What a key has used, which every key may see; with it, whether the key is known at all. */
  ownUse: () => call<Shape.Usage>("/api/usage", { query: { group_by: "key" }, keepsSession: true }),
  mayRead: () => call<unknown>("/api/dashboard/stats", { keepsSession: true }),
  mayAdminister: () => call<unknown>("/api/config", { keepsSession: true }),
  about: () => call<Shape.About>("/"),
  health: () => call<Shape.Health>("/health"),
};

export const dashboard = {
  overview: () => call<Shape.Overview>("/api/dashboard/overview"),
  nodeMetrics: async (node: string) => rows<Shape.NodeMetrics>(await call("/api/dashboard/metrics/" + id(node)), "points", "metrics", "data"),
  requests: (query: Query) => call<Shape.RequestPage>("/api/dashboard/request-responses", { query }),
  request: (request: string) => call<Shape.RequestDetail>("/api/dashboard/request-responses/" + id(request)),
  logs: (limit: number) => call<Shape.Logs>("/api/dashboard/logs/router", { query: { limit } }),
  exportPath: "/api/dashboard/request-responses/export",
  tailPath: "/api/dashboard/request-responses/stream",
};

export const requests = {
  explain: (request: string) => call<Shape.Explanation>(`/api/requests/${id(request)}/explain`),
  feedback: (request_id: string, score: number, comment?: string) =>
    call<unknown>("/api/feedback", { method: "POST", body: { request_id, score, ...(comment ? { comment } : {}) } }),
};

export const nodes = {
  list: async () => rows<Shape.Node>(await call("/api/nodes"), "nodes", "data"),
  metrics: async () => rows<Shape.NodeMetrics>(await call("/api/nodes/metrics"), "metrics", "data"),
  settings: (node: string, body: { custom_name: string | null; tags: string[]; notes: string | null }) =>
    call<Shape.Node>(`/api/nodes/${id(node)}/settings`, { method: "PUT", body }),
  drain: (node: string, draining = true) => call<null>(`/api/nodes/${id(node)}/drain`, { method: "POST", body: { draining } }),
  approve: (node: string) => call<null>(`/api/nodes/${id(node)}/approve`, { method: "POST" }),
  disconnect: (node: string) => call<null>(`/api/nodes/${id(node)}/disconnect`, { method: "POST" }),
  remove: (node: string) => call<null>(`/api/nodes/${id(node)}`, { method: "DELETE" }),
  adopt: (body: { endpoint: string; name?: string; api_key?: string }) => call<Shape.Node>("/api/nodes/adopt", { method: "POST", body }),
  joinTokens: async () => rows<Shape.JoinToken>(await call("/api/nodes/join-tokens"), "join_tokens", "tokens", "data"),
  makeJoinToken: (body: { name: string; require_approval: boolean; max_uses?: number; expires_at?: string }) =>
    call<Shape.MadeJoinToken>("/api/nodes/join-tokens", { method: "POST", body }),
  revokeJoinToken: (token: string) => call<null>("/api/nodes/join-tokens/" + id(token), { method: "DELETE" }),
  logs: (node: string, tail: number) => call<Shape.Logs>(`/api/nodes/${id(node)}/logs`, { query: { tail } }),
};

export const models = {
  list: async () => rows<Shape.Model>(await call("/v1/models"), "data"),
  registered: async () => rows<Shape.RegisteredModel>(await call("/api/models/registered"), "models", "data"),
  available: (search: string, offset: number, limit = 20) =>
    call<Shape.Available>("/api/models/available", { query: { source: "hf", search, limit, offset } }),
  alternatives: (model: string) => call<Shape.GgufAlternatives>("/api/models/discover-gguf", { method: "POST", body: { model } }),
  register: (body: { repo: string; filename?: string; display_name?: string }) =>
    call<{ name: string; status: string; warnings?: string[] }>("/api/models/register", { method: "POST", body }),
  remove: (model: string) => call<null>("/api/models/" + name(model), { method: "DELETE" }),
  convert: (body: { repo: string; filename?: string; revision?: string; quantization?: string }) =>
    call<{ task_id: string; status: string }>("/api/models/convert", { method: "POST", body }),
  conversions: async () => rows<Shape.ConvertTask>(await call("/api/models/convert"), "tasks", "data"),
  removeConversion: (task: string) => call<null>("/api/models/convert/" + id(task), { method: "DELETE" }),
  /** On that node, else on one that has its file; answers when it is there. */
  load: (model: string, node?: string) => call<unknown>("/api/models/load", { method: "POST", body: { model, node }, timeoutMs: LOAD_MS_MAX }),
  /** From that node, else from all; answers when what is under way there is finished. */
  unload: (model: string, node?: string) => call<unknown>("/api/models/unload", { method: "POST", body: { model, node }, timeoutMs: LOAD_MS_MAX }),
};

export const services = {
  backend: () => call<Shape.Backend>("/backend/info"),
  policy: () => call<Shape.Policy>("/v1/router/policy"),
  live: () => call<Shape.LiveMetrics>("/v1/router/live-metrics"),
  info: () => call<Shape.RouterInfo>("/router/info"),
  choose: (query: string, model: string) => call<Shape.RouteChoice>("/router/route", { method: "POST", body: { query, model } }),
  resetStats: () => call<unknown>("/router/reset-stats", { method: "POST" }),
  reload: () => call<{ warnings?: string[] }>("/config/reload", { method: "POST", body: {} }),
  /** How many remembered answers were forgotten. */
  forget: () => call<{ flushed: number }>("/api/cache/flush", { method: "POST", body: {} }),
  /** One token, asked of this account and no other. */
  test: (account: string, model: string) =>
    call<{ model?: string; usage?: { prompt_tokens?: number; completion_tokens?: number } }>("/v1/chat/completions", {
      method: "POST",
      body: { model, max_tokens: 16, messages: [{ role: "user", content: "Say OK." }], provider: { only: [account], allow_fallbacks: false } },
    }),
};

export const keys = {
  list: async () => rows<Shape.ApiKey>(await call("/api/api-keys"), "api_keys"),
  create: (body: Shape.NewApiKey) => call<Shape.MadeKey>("/api/api-keys", { method: "POST", body }),
  change: (key: string, body: Partial<Shape.NewApiKey>) => call<Shape.ApiKey>("/api/api-keys/" + id(key), { method: "PUT", body }),
  rotate: (key: string) => call<Shape.MadeKey>(`/api/api-keys/${id(key)}/rotate`, { method: "POST" }),
  revoke: (key: string) => call<null>("/api/api-keys/" + id(key), { method: "DELETE" }),
};

export const users = {
  list: async () => rows<Shape.User>(await call("/api/users"), "users"),
  create: (body: { username: string; password: string; role: Shape.Role }) => call<Shape.User>("/api/users", { method: "POST", body }),
  change: (user: string, body: { username?: string; password?: string; role?: Shape.Role }) =>
    call<Shape.User>("/api/users/" + id(user), { method: "PUT", body }),
  remove: (user: string) => call<null>("/api/users/" + id(user), { method: "DELETE" }),
};

export const govern = {
  usage: (by: Shape.UsageBy, start_time: string, end_time?: string) => call<Shape.Usage>("/api/usage", { query: { group_by: by, start_time, end_time } }),
  audit: (query: Query) => call<Shape.AuditPage>("/api/audit", { query }),
  auditExportPath: "/api/audit/export",
};

export const settings = {
  show: () => call<Shape.Config>("/api/config"),
  versions: (before?: number) => call<Shape.ConfigVersions>("/api/config/versions", { query: { before } }),
  /** With its text, however long it is. */
  version: (version: number) => call<Shape.ConfigVersion>(`/api/config/versions/${version}`),
  /** Checks `text` and, unless `dry_run`, puts it in force. `base`: the version that it was made from; another one in force is a conflict. */
  change: (text: string, comment: string, dry_run: boolean, base: number | null) =>
    call<Shape.ConfigChanged>("/api/config", { method: "PUT", body: { text, dry_run, ...(comment ? { comment } : {}), ...(base === null ? {} : { base }) } }),
  revert: (version: number) => call<Shape.ConfigChanged>("/api/config", { method: "PUT", body: { revert_to: version } }),
};
