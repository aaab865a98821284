// Where the time of a request went: a bar for each part, on one scale.

import type { Explanation } from "../api/types";
import { Section, classes } from "../parts/basics";
import { duration } from "../text/format";

export interface Bar {
  name: string;
  note: string;
  from: number;
  ms: number;
  tone: "muted" | "accent" | "good" | "bad" | "warn";
}

/** The bars of a request, in order. Times of attempts that are not known share the wait evenly, and say so. */
export function bars(why: Explanation): Bar[] {
  const { duration_ms: whole, first_byte_ms, overhead_ms, waited_ms, streaming_ms, queued_ms } = why.timings;
  const list: Bar[] = [];
  const first = first_byte_ms ?? whole;
  let at = 0;
  if (queued_ms) {
    list.push({ name: "Queue", note: "waited for a free place", from: 0, ms: queued_ms, tone: "warn" });
    at = queued_ms;
  }
  const own = overhead_ms ?? 0;
  list.push({ name: "Router", note: "its own work: who asks, what may be, where to", from: at, ms: own, tone: "muted" });
  at += own;
  const wait = Math.max(0, waited_ms ?? first - at);
  const timed = why.attempts.every((attempt) => typeof attempt.duration_ms === "number");
  const tried = why.attempts.filter((attempt) => timed || !["limited", "cooling", "circuit_open", "skipped"].includes(String(attempt.outcome)));
  for (const [n, attempt] of tried.entries()) {
    const isServed = attempt.outcome === "served";
    const known = timed ? Math.min(attempt.duration_ms ?? 0, isServed ? Math.max(0, first - at) : Number.POSITIVE_INFINITY) : wait / tried.length;
    const from = typeof attempt.started_ms === "number" ? attempt.started_ms : at;
    list.push({
      name: `Attempt ${n + 1}: ${attempt.target ?? attempt.provider ?? "?"}`,
      note: [attempt.model, attempt.outcome, attempt.status, timed ? null : "its share of the wait"].filter(Boolean).join(", "),
      from,
      ms: known,
      tone: isServed ? "accent" : "bad",
    });
    at = from + known;
  }
  if (streaming_ms !== null && first_byte_ms !== null) list.push({ name: why.stream ? "Stream" : "Answer", note: "first byte to last", from: first, ms: streaming_ms, tone: "good" });
  return list;
}

const TONES = { muted: "bg-line-strong", accent: "bg-accent", good: "bg-good", bad: "bg-bad", warn: "bg-warn" };

export function Waterfall({ why }: { why: Explanation }) {
  const list = bars(why);
  const whole = Math.max(1, why.timings.duration_ms, ...list.map(({ from, ms }) => from + ms));
  return (
    <Section title="Where the time went" hint={`${duration(why.timings.duration_ms)} in all${why.timings.first_byte_ms === null ? "" : `, ${duration(why.timings.first_byte_ms)} to the first byte`}`}>
      <ol className="flex flex-col gap-1.5 rounded-md border border-line p-3">
        {list.map(({ name, note, from, ms, tone }) => (
          <li key={name} className="grid items-center gap-x-3 sm:grid-cols-[minmax(14rem,24rem)_1fr_5rem]">
            <span className="min-w-0 truncate" title={`${name}: ${note}`}>
              {name} <span className="text-xs text-muted">{note}</span>
            </span>
            <span className="relative h-3 rounded-sm bg-sunken" aria-hidden>
              <span className={classes("absolute inset-y-0 min-w-0.5 rounded-sm", TONES[tone])} style={{ left: `${(from / whole) * 100}%`, width: `${(ms / whole) * 100}%` }} />
            </span>
            <span className="text-right tabular-nums max-sm:text-left">{duration(ms)}</span>
          </li>
        ))}
      </ol>
    </Section>
  );
}
