// What pages watch, how often, and under which name it is kept: two pages that ask the same share one answer.

import { QueryClient, queryOptions } from "@tanstack/react-query";
import * as api from "./endpoints";
import { ApiError, type Query } from "./http";
import type { RequestPage, UsageBy } from "./types";

declare module "@tanstack/react-query" {
  interface Register {
    defaultError: Error;
  }
}

/** How often live figures are asked for. A hidden tab asks nothing. */
export const LIVE_MS = 5000;
const SLOW_MS = 30_000;

export const makeClient = () =>
  new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 2000,
        refetchOnWindowFocus: true,
        // What the router refused, it refuses again.
        retry: (times, error) => times < 2 && (!(error instanceof ApiError) || error.status === 0 || (error.status >= 502 && error.status <= 504)),
        // What was seen stays while the next is on its way.
        placeholderData: (before: unknown) => before,
      },
    },
  });

/** What the router does not offer is not asked for again and again. */
const every = (ms: number) => (query: { state: { error: Error | null } }) => (query.state.error instanceof ApiError && (query.state.error.isMissing || query.state.error.status === 403) ? false : ms);

/** A page whose rows are the objects of the page before where they say the same, wherever they stand: a new row moves all others. */
export function sameRows(before: RequestPage | undefined, now: RequestPage): RequestPage {
  const known = new Map(before?.records.map((row) => [row.id, row]));
  const records = now.records.map((row) => {
    const own = known.get(row.id);
    return own && JSON.stringify(own) === JSON.stringify(row) ? own : row;
  });
  const isSame = before !== undefined && before.total_count === now.total_count && before.records.length === records.length && records.every((row, n) => row === before.records[n]);
  return isSame ? before : { ...now, records };
}

export const queries = {
  overview: () => queryOptions({ queryKey: ["overview"], queryFn: api.dashboard.overview, refetchInterval: every(LIVE_MS) }),
  health: () => queryOptions({ queryKey: ["health"], queryFn: api.session.health, refetchInterval: every(LIVE_MS) }),
  live: () => queryOptions({ queryKey: ["live"], queryFn: api.services.live, refetchInterval: every(LIVE_MS) }),
  requests: (query: Query, liveMs?: number) =>
    queryOptions({ queryKey: ["requests", query], queryFn: () => api.dashboard.requests(query), refetchInterval: liveMs ? every(liveMs) : false, structuralSharing: (before, now) => sameRows(before as RequestPage | undefined, now as RequestPage) }),
  request: (id: string) => queryOptions({ queryKey: ["request", id], queryFn: () => api.dashboard.request(id), placeholderData: undefined, staleTime: 60_000 }),
  explain: (id: string) => queryOptions({ queryKey: ["explain", id], queryFn: () => api.requests.explain(id), placeholderData: undefined, staleTime: 60_000 }),
  nodes: () => queryOptions({ queryKey: ["nodes"], queryFn: api.nodes.list, refetchInterval: every(LIVE_MS) }),
  nodesMetrics: () => queryOptions({ queryKey: ["nodes", "metrics"], queryFn: api.nodes.metrics, refetchInterval: every(LIVE_MS) }),
  nodeMetrics: (id: string) => queryOptions({ queryKey: ["nodes", id, "metrics"], queryFn: () => api.dashboard.nodeMetrics(id), refetchInterval: every(LIVE_MS), placeholderData: undefined }),
  joinTokens: () => queryOptions({ queryKey: ["join-tokens"], queryFn: api.nodes.joinTokens }),
  nodeLogs: (id: string, tail: number) => queryOptions({ queryKey: ["logs", id, tail], queryFn: () => api.nodes.logs(id, tail), refetchInterval: every(LIVE_MS) }),
  routerLogs: (limit: number) => queryOptions({ queryKey: ["logs", "router", limit], queryFn: () => api.dashboard.logs(limit), refetchInterval: every(LIVE_MS) }),
  models: () => queryOptions({ queryKey: ["models"], queryFn: api.models.list, refetchInterval: every(SLOW_MS) }),
  registered: () => queryOptions({ queryKey: ["models", "registered"], queryFn: api.models.registered, refetchInterval: every(LIVE_MS) }),
  available: (search: string, offset: number) => queryOptions({ queryKey: ["available", search, offset], queryFn: () => api.models.available(search, offset), staleTime: 300_000 }),
  alternatives: (model: string) => queryOptions({ queryKey: ["alternatives", model], queryFn: () => api.models.alternatives(model), staleTime: 300_000 }),
  conversions: () => queryOptions({ queryKey: ["conversions"], queryFn: api.models.conversions, refetchInterval: every(2000) }),
  backend: () => queryOptions({ queryKey: ["backend"], queryFn: api.services.backend, refetchInterval: every(LIVE_MS) }),
  policy: () => queryOptions({ queryKey: ["policy"], queryFn: api.services.policy }),
  info: () => queryOptions({ queryKey: ["info"], queryFn: api.services.info }),
  keys: () => queryOptions({ queryKey: ["keys"], queryFn: api.keys.list, refetchInterval: every(SLOW_MS) }),
  users: () => queryOptions({ queryKey: ["users"], queryFn: api.users.list }),
  usage: (by: UsageBy, from: string) => queryOptions({ queryKey: ["usage", by, from], queryFn: () => api.govern.usage(by, from), refetchInterval: every(SLOW_MS) }),
  audit: (query: Query) => queryOptions({ queryKey: ["audit", query], queryFn: () => api.govern.audit(query), refetchInterval: every(SLOW_MS) }),
  config: () => queryOptions({ queryKey: ["config"], queryFn: api.settings.show }),
  version: (version: number) => queryOptions({ queryKey: ["config", "version", version], queryFn: () => api.settings.version(version), placeholderData: undefined }),
};
