// What an operator should know first, in words.

import type { Health, LiveMetrics, Node, RequestRow } from "../api/types";
import { ago, instant, span } from "./format";

export interface Problem {
  /** The same problem keeps its id, so that the list does not flicker. */
  id: string;
  level: "bad" | "warn";
  text: string;
  detail: string;
  /** Unix milliseconds; the newest first. */
  at: number;
  /** The page that shows more. */
  to: string;
}

export interface Seen {
  health?: Health;
  nodes?: Node[];
  live?: LiveMetrics;
  failures?: RequestRow[];
}

/** All problems, the newest first. */
export function problems({ health, nodes = [], live, failures = [] }: Seen, now: number): Problem[] {
  const found: Problem[] = [];
  for (const [part, state] of Object.entries(health?.details ?? {})) {
    if (state === "missing") found.push(missing(part, now));
  }
  for (const node of nodes) {
    const name = node.custom_name ?? node.machine_name;
    const seen = instant(node.last_seen) ?? now;
    if (node.status === "offline") {
      found.push({ id: `node-${node.id}`, level: "bad", text: `Node ${name} is offline`, detail: `last heard of ${ago(seen, now)}`, at: seen, to: `/dashboard/nodes/${node.id}` });
    } else if (node.status === "pending" || node.state === "pending") {
      const at = instant(node.registered_at) ?? now;
      found.push({ id: `node-${node.id}`, level: "warn", text: `Node ${name} waits for approval`, detail: `since ${ago(at, now)}`, at, to: `/dashboard/nodes/${node.id}` });
    }
  }
  for (const [name, account] of Object.entries(live?.accounts ?? {})) {
    if (account.state === "open") continue;
    const why = { limited: "asked for rest", refused: "refused its credential", failing: "failed several times in a row" }[account.state];
    const rest = account.resting_seconds > 0 ? `; it is asked again in ${span(account.resting_seconds)}` : "";
    found.push({ id: `account-${name}`, level: account.state === "limited" ? "warn" : "bad", text: `Account ${name} ${why}`, detail: `others take its requests${rest}`, at: now, to: "/dashboard/accounts" });
  }
  found.push(...failed(failures, now));
  return found.sort((a, b) => b.at - a.at);
}

function missing(part: string, now: number): Problem {
  const words: Record<string, [string, string, string]> = {
    store: ["The database does not answer", "traffic goes on; records wait in a file", "/dashboard/logs"],
    redis: ["Redis does not answer", "limits are counted by each router alone", "/dashboard/logs"],
    targets: ["Nothing can answer requests yet", "connect a node or configure an account", "/dashboard/nodes"],
  };
  const [text, detail, to] = words[part] ?? [`${part} is missing`, "see the log", "/dashboard/logs"];
  return { id: `health-${part}`, level: part === "targets" ? "warn" : "bad", text, detail, at: now, to };
}

/** Failed requests, those that failed alike as one. */
function failed(rows: RequestRow[], now: number): Problem[] {
  const groups = new Map<string, { newest: RequestRow; at: number; count: number }>();
  for (const row of rows) {
    if (row.status.type !== "error") continue;
    const at = instant(row.timestamp) ?? now;
    const key = `${row.model}\u0000${row.error_code ?? row.http_status ?? row.status.message ?? ""}`;
    const group = groups.get(key);
    if (!group) groups.set(key, { newest: row, at, count: 1 });
    else {
      group.count += 1;
      if (at > group.at) Object.assign(group, { newest: row, at });
    }
  }
  return [...groups].map(([key, { newest, at, count }]) => {
    const what = newest.error_code?.replaceAll("_", " ") ?? newest.status.message ?? (newest.http_status ? `status ${newest.http_status}` : "an error");
    const times = count === 1 ? "a request" : `${count} requests`;
    return { id: `request-${key}`, level: "bad" as const, text: `${newest.model || "No model"}: ${times} ended with ${what}`, detail: `the last ${ago(at, now)}`, at, to: `/dashboard/requests/${encodeURIComponent(newest.id)}` };
  });
}
