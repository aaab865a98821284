// What a node says of its models in memory, summed up for one row.

import type { Instance, NodeMetrics, RequestRow } from "../api/types";
import { instant } from "../text/format";

export interface Work {
  slots: number;
  busy: number;
  queued: number;
  /** Tokens a second of prompts, of the fastest model; `null` until measured. */
  prefill: number | null;
  /** Tokens a second of one answer, of the fastest model; `null` until measured. */
  decode: number | null;
}

export const decodeSpeed = ({ tpot_ms }: Instance): number | null => (tpot_ms > 0 ? 1000 / tpot_ms : null);
const most = (values: (number | null)[]): number | null => values.reduce((best, value) => (value !== null && (best === null || value > best) ? value : best), null);

/** `null`: the node says nothing of its models. */
export function work(metrics: NodeMetrics | undefined): Work | null {
  const all = metrics?.instances ?? [];
  if (all.length === 0) return null;
  const sum = (of: (one: Instance) => number) => all.reduce((total, one) => total + of(one), 0);
  return {
    slots: sum((one) => one.slots_total),
    busy: sum((one) => one.slots_busy),
    queued: sum((one) => one.queue_len),
    prefill: most(all.map(({ prefill_tps }) => (prefill_tps > 0 ? prefill_tps : null))),
    decode: most(all.map(decodeSpeed)),
  };
}

/** Times to the first byte by node, oldest first, of those records that have one. */
export function firstBytes(rows: readonly RequestRow[]): Map<string, number[]> {
  const byNode = new Map<string, number[]>();
  for (const row of [...rows].sort((a, b) => (instant(a.timestamp) ?? 0) - (instant(b.timestamp) ?? 0))) {
    if (row.node_id && typeof row.first_byte_ms === "number") byNode.set(row.node_id, [...(byNode.get(row.node_id) ?? []), row.first_byte_ms]);
  }
  return byNode;
}
