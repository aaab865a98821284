// Why a request went where it went.

import type { Attempt, Explanation } from "../api/types";
import { Badge, Code, Empty, Facts, Section, Tag, type Tone } from "../parts/basics";
import { duration, UNKNOWN } from "../text/format";

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
const SHOWN = new Set(["target", "provider", "model", "outcome", "status", "duration_ms", "started_ms", "first_byte_ms", "message", "code"]);

function rest(attempt: Attempt): [string, string][] {
  return Object.entries(attempt)
    .filter(([name, value]) => !SHOWN.has(name) && value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

const HEAD = "h-8 px-3 text-left text-xs font-medium text-muted whitespace-nowrap";
const CELL = "h-8 px-3 py-1";

export function Decision({ why }: { why: Explanation }) {
  const hasScores = why.candidates.some((candidate) => typeof candidate.score === "number");
  return (
    <div className="flex flex-col gap-6">
      <Facts
        rows={[
          ["Asked for", <b key="m">{why.requested_model ?? UNKNOWN}</b>],
          ["Who chose", why.source === "auto" ? "the router: no model was named" : "the request named the model"],
          ["Rule that found it", why.rule ? <Tag key="r">{why.rule}</Tag> : "none: nothing has that name"],
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
                  {["", "Target", "Model", "Reason", ...(hasScores ? ["Score"] : []), "What came of it"].map((name) => (
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
                    {hasScores && <td className={`${CELL} tabular-nums`}>{candidate.score?.toFixed(3) ?? UNKNOWN}</td>}
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
                {attempt.message && <span className="w-full break-words text-muted">{attempt.message}</span>}
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
