// What was in flight, sampled as long as the page is open. Kept outside the page, so that going away and coming back loses nothing.

import { useSyncExternalStore, useEffect } from "react";
import type { LiveMetrics } from "../api/types";

export interface Sample {
  at: number;
  /** `null` stands for a time without an answer. */
  active: number | null;
  queued: number | null;
}

const SAMPLES_MAX = 360;
/** A longer time between two samples is a gap. */
const GAP_MS = 20_000;

let samples: Sample[] = [];
const listeners = new Set<() => void>();

/** The samples with one more. */
export function withSample(before: Sample[], { at, active, queued }: Sample): Sample[] {
  const last = before[before.length - 1];
  if (last && at <= last.at) return before;
  const gap: Sample[] = last && at - last.at > GAP_MS ? [{ at: last.at + 1000, active: null, queued: null }] : [];
  return [...before, ...gap, { at, active, queued }].slice(-SAMPLES_MAX);
}

/** The shortest time that is drawn. */
const SPAN_MS_MIN = 300_000;

/** What has just begun stands at the right, with room to its left. */
export function drawn(all: Sample[], now: number): Sample[] {
  const last = all[all.length - 1]?.at ?? now;
  const first = all[0]?.at ?? now;
  const edge = (at: number): Sample => ({ at, active: null, queued: null });
  if (last - first >= SPAN_MS_MIN) return all;
  return [edge(last - SPAN_MS_MIN), ...(all.length > 0 ? all : [edge(now)])];
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export function useSamples(live: LiveMetrics | undefined, at: number): Sample[] {
  useEffect(() => {
    if (!live) return;
    samples = withSample(samples, { at, active: live.active_requests, queued: live.queued_requests });
    for (const listener of listeners) listener();
  }, [live, at]);
  return useSyncExternalStore(subscribe, () => samples);
}
