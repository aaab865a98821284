// Why a request went where it went.

import { Link } from "@tanstack/react-router";
import type { Attempt, Explanation } from "../api/types";
import { Badge, Code, Empty, Facts, Section, Tag, type Tone } from "../parts/basics";
import { count, duration, money, percent, plural, span, UNKNOWN } from "../text/format";

const RESULTS: Record<string, [Tone, string]> = {
  served: ["good", "answered"],
  not_tried: ["unknown", "not needed"],
  limited: ["warn", "passed by: its limit is used up"],
  cooling: ["warn", "passed by: it asked for rest"],
  circuit_open: ["warn", "passed by: it failed in a row"],
  skipped: ["unknown", "passed by"],
};

/** An outcome in words; those that are not known here stand as the router wrote them. */
export function outcome(result: string | null | undefined): [Tone, string] {
  if (!result) return ["unknown", UNKNOWN];
  return RESULTS[result] ?? ["bad", result.replaceAll("_", " ")];
}

const Outcome = ({ result }: { result: string | null | undefined }) => {
  const [tone, words] = outcome(result);
  return <Badge tone={tone}>{words}</Badge>;
};

/** Members that have a column of their own. */
const SHOWN = new Set(["target", "provider", "model", "outcome", "status", "duration_ms", "started_ms", "first_byte_ms", "message", "error", "code", "pick"]);

function rest(attempt: Attempt): [string, string][] {
  return Object.entries(attempt)
    .filter(([name, value]) => !SHOWN.has(name) && value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

type Candidate = Explanation["candidates"][number];

/** What the figure of a strategy that orders equals is. */
const FIGURES: Record<string, (figure: number) => string> = {
  "simple-shuffle": (share) => `drawn by chance, share ${percent(share * 100)}`,
  "least-busy": (requests) => `${plural(requests, "request")} under way`,
  "usage-based-routing": (tokens) => `${count(tokens)} tokens in the last minute`,
  "latency-based-routing": (seconds) => `${duration(seconds * 1000)} to the first byte`,
  "cost-based-routing": (usd) => `${money(usd)} a million tokens`,
};

/** What set a candidate before or behind its equals. */
export function weight({ score, weighed }: Pick<Candidate, "score" | "weighed">): string {
  if (weighed) return typeof weighed.figure === "number" ? (FIGURES[weighed.by]?.(weighed.figure) ?? `${weighed.by}: ${count(weighed.figure)}`) : `${weighed.by}: not known yet`;
  return typeof score === "number" ? score.toFixed(3) : UNKNOWN;
}

/** Why a node was taken, in a sentence. */
export function picked({ policy, reason, candidates, active, queue_position, queue_wait_ms }: NonNullable<Attempt["pick"]>): string {
  const line = queue_wait_ms ? `; it stood in line for ${duration(queue_wait_ms)}${queue_position ? `, as number ${queue_position}` : ""}` : "";
  return `one of ${plural(candidates, "node")}, by ${policy.replaceAll("_", " ")}: ${reason.replaceAll("_", " ")}, ${plural(active, "request")} in flight there${line}`;
}

const HEAD = "h-8 px-3 text-left text-xs font-medium text-muted whitespace-nowrap";
const CELL = "h-8 px-3 py-1";

export function Decision({ why }: { why: Explanation }) {
  const isWeighed = why.candidates.some(({ score, weighed }) => typeof score === "number" || weighed);
  return (
    <div className="flex flex-col gap-6">
      <Facts
        rows={[
          ["Asked for", <b key="m">{why.requested_model ?? UNKNOWN}</b>],
          ["Who chose", why.source === "auto" ? "the router: no model was named" : "the request named the model"],
          ["Rule that found it", why.rule ? <Tag key="r">{why.rule}</Tag> : "none: nothing has that name"],
          ...(why.cache ? [["Remembered answers", <Remembered key="c" cache={why.cache} />] as [string, React.ReactNode]] : []),
        ]}
      />
      <Section title="Candidates" hint="in the order in which they were to be tried">
        {why.candidates.length === 0 ? (
          <Empty title="Nothing could have answered">No account, node or alias has this model.</Empty>
        ) : (
          <div tabIndex={0} role="group" aria-label="Candidates, scrolled sideways" className="overflow-x-auto rounded-md border border-line">
            <table className="w-full" aria-label="Candidates">
              <thead className="bg-sunken">
                <tr>
                  {["", "Target", "Model", "Reason", ...(isWeighed ? ["Weighed"] : []), "What came of it"].map((name) => (
                    <th key={name} scope="col" className={HEAD}>
                      {name || <span className="sr-only">Place</span>}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {why.candidates.map((candidate, n) => (
                  // Two candidates may be alike in everything but their place.
                  <tr key={n} className="border-t border-line">
                    <td className={`${CELL} text-muted`}>{n + 1}</td>
                    <td className={`${CELL} font-medium`}>{candidate.target ?? UNKNOWN}</td>
                    <td className={CELL}>{candidate.model ?? UNKNOWN}</td>
                    <td className={CELL}>{candidate.reason?.replaceAll("_", " ") ?? UNKNOWN}</td>
                    {isWeighed && <td className={`${CELL} tabular-nums`}>{weight(candidate)}</td>}
                    <td className={CELL}>
                      <Outcome result={candidate.result} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Section>
      <Section title="Attempts" hint={why.attempts.length > 1 ? "it moved on" : undefined}>
        {why.attempts.length === 0 ? (
          <p className="text-muted">Nobody was asked.</p>
        ) : (
          <ol className="divide-y divide-line rounded-md border border-line">
            {why.attempts.map((attempt, n) => (
              <li key={n} className="flex flex-wrap items-center gap-x-4 gap-y-1 px-3 py-2">
                <span className="text-muted">{n + 1}</span>
                <b>{attempt.target ?? attempt.provider ?? UNKNOWN}</b>
                <span>{attempt.model}</span>
                <Outcome result={attempt.outcome} />
                {attempt.status !== null && attempt.status !== undefined && <Tag>status {attempt.status}</Tag>}
                {typeof attempt.duration_ms === "number" && <span className="text-muted">{duration(attempt.duration_ms)}</span>}
                {(attempt.error ?? attempt.message) && <span className="w-full break-words text-muted">{attempt.error ?? attempt.message}</span>}
                {attempt.pick && <span className="w-full text-xs text-muted">{picked(attempt.pick)}</span>}
                {rest(attempt).map(([name, value]) => (
                  <span key={name} className="text-xs text-muted">
                    {name}: {value}
                  </span>
                ))}
              </li>
            ))}
          </ol>
        )}
      </Section>
      {why.limits && Object.keys(why.limits).length > 0 && (
        <Section title="Limits at that moment">
          <Facts rows={Object.entries(why.limits).map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : String(value)])} />
        </Section>
      )}
      <details className="rounded-md border border-line p-3">
        <summary className="font-medium">All of it, as the API says it</summary>
        <Code className="mt-3" text={JSON.stringify(why, null, 2)} label="The decision as JSON" />
      </details>
    </div>
  );
}

/** Where the answer came from one that was made before, which. */
function Remembered({ cache: { state, request_id, age_ms } }: { cache: NonNullable<Explanation["cache"]> }) {
  if (!request_id) return <>{state === "miss" ? "none was like it" : state}</>;
  return (
    <>
      {state === "replayed" ? "the answer of the same call" : "an answer"}
      {typeof age_ms === "number" ? ` of ${span(age_ms / 1000)} before, made for ` : ", made for "}
      <Link to="/dashboard/requests/$id" params={{ id: request_id }} className="link font-mono text-xs">
        {request_id}
      </Link>
    </>
  );
}
