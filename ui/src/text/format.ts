// Numbers and times as people read them. The exact value goes into a title beside them.

/** What stands where nothing is known. */
export const UNKNOWN = "—";

type Maybe = number | null | undefined;

const known = (value: Maybe): value is number => typeof value === "number" && Number.isFinite(value);

/** 843 ms, 1.2 s, 3 min 20 s. */
export function duration(ms: Maybe): string {
  if (!known(ms)) return UNKNOWN;
  if (ms < 1) return ms === 0 ? "0 ms" : "< 1 ms";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  return span(Math.round(seconds));
}

/** 45 s, 12 min, 3 h 5 min, 4 d 2 h. */
export function span(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const two = (big: number, unit: string, small: number, smallUnit: string) => (small ? `${big} ${unit} ${small} ${smallUnit}` : `${big} ${unit}`);
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

/** 999, 12.4k, 3.1M, 2.0B. */
export function count(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  for (const [from, by, unit] of [
    [999_950_000, 1e9, "B"],
    [999_950, 1e6, "M"],
    [1000, 1e3, "k"],
  ] as const) {
    if (size >= from) {
      const scaled = value / by;
      return `${Math.abs(scaled) >= 99.95 ? Math.round(scaled) : scaled.toFixed(1)}${unit}`;
    }
  }
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

/** All digits, grouped. */
export const exact = (value: Maybe): string => (known(value) ? value.toLocaleString("en-US", { maximumFractionDigits: 6 }) : "not known");

/** $0.0031, $1.24, $1,204. */
export function money(usd: Maybe): string {
  if (!known(usd)) return UNKNOWN;
  const size = Math.abs(usd);
  if (size === 0) return "$0";
  if (size < 0.0001) return "< $0.0001";
  if (size < 0.1) return `$${usd.toPrecision(2).replace(/0+$/, "")}`;
  if (size < 1000) return `$${usd.toFixed(2)}`;
  return `$${Math.round(usd).toLocaleString("en-US")}`;
}

/** 0 %, 0.4 %, 12 %. */
export function percent(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value < 9.95 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value)} %`;
}

/** 512 B, 14 kB, 3.2 GB. */
export function bytes(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${unit === 0 || scaled >= 9.95 ? Math.round(scaled) : scaled.toFixed(1)} ${units[unit]}`;
}

/** An answer that came in less time says nothing of its speed: it was there before it was sent. */
const RATE_MS_MIN = 100;

/** Tokens a second of so many in such a time; `null` where nobody can say. */
export const rate = (tokens: Maybe, ms: Maybe): number | null => (known(tokens) && tokens > 0 && known(ms) && ms >= RATE_MS_MIN ? (tokens / ms) * 1000 : null);

/** Tokens a second. */
export const speed = (perSecond: Maybe): string => (known(perSecond) ? `${perSecond >= 9.95 ? count(Math.round(perSecond)) : perSecond.toFixed(1)} tok/s` : UNKNOWN);

/** Milliseconds since the epoch, or `null` for what is no time. */
export function instant(time: string | number | null | undefined): number | null {
  if (time === null || time === undefined || time === "") return null;
  const ms = typeof time === "number" ? time : Date.parse(time);
  return Number.isFinite(ms) ? ms : null;
}

/** now, 12 s ago, 5 min ago, in 3 d. */
export function ago(time: string | number | null | undefined, now: number = Date.now()): string {
  const at = instant(time);
  if (at === null) return UNKNOWN;
  const seconds = Math.round((now - at) / 1000);
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const steps = [
    [60, 1, "s"],
    [3600, 60, "min"],
    [86_400, 3600, "h"],
    [Number.POSITIVE_INFINITY, 86_400, "d"],
  ] as const;
  const [, by, unit] = steps.find(([below]) => size < below) ?? steps[3];
  const words = `${Math.floor(size / by)} ${unit}`;
  return seconds < 0 ? `in ${words}` : `${words} ago`;
}

/** 2026-11-21 14:03:07, in the reader's zone. */
export function stamp(time: string | number | null | undefined): string {
  const at = instant(time);
  if (at === null) return "not known";
  const date = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(at)}`;
}

/** 14:03:07, in the reader's zone. */
export function clock(time: string | number | null | undefined): string {
  const at = instant(time);
  if (at === null) return UNKNOWN;
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

/** The beginning of an id, enough to tell it from others on a page. */
export const shortId = (id: string): string => (id.length > 13 ? `${id.slice(0, 8)}…` : id);

/** 1 node, 2 nodes. */
export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

/** The value below which `share` of the values lie; `null` of none. */
export function percentile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? null;
}
