// What was asked and answered, as the client saw it and, where it was translated, as the service did.

import { useState } from "react";
import type { Explanation } from "../api/types";
import { Code, Empty, Section, Tag } from "../parts/basics";
import { Choice } from "../parts/choice";
import { DiffView } from "../parts/diffview";

type View = "both" | "client" | "service" | "difference";

const VIEWS: readonly (readonly [View, string])[] = [
  ["both", "Side by side"],
  ["client", "Client"],
  ["service", "Service"],
  ["difference", "Difference"],
];

/** JSON with a line for each member; anything else as it is. */
export function pretty(body: unknown): string {
  if (typeof body !== "string") return JSON.stringify(body, null, 2);
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

/** With members in the order of their names, so that two dialects are compared by what they say and not by where they say it. */
export function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, ordered(inner)]),
  );
}

const isThere = (body: unknown) => body !== null && body !== undefined && body !== "";

export function Bodies({ own, isCut, other, otherName, why }: { own: unknown; isCut?: boolean; other: unknown; otherName: string; why?: Explanation }) {
  const [view, setView] = useState<View>("both");
  const { dropped = [], changed = [] } = why?.losses ?? {};
  const [isKept, isTranslated] = [isThere(own), isThere(other)];
  const shown = isTranslated && isKept ? view : isTranslated ? "service" : "client";
  return (
    <div className="flex flex-col gap-4">
      {(dropped.length > 0 || changed.length > 0) && (
        <div className="flex flex-wrap items-center gap-2 rounded-md border border-warn/40 bg-warn-soft p-3">
          <span className="font-medium">The translation could not carry everything.</span>
          {dropped.map((name) => (
            <Tag key={name}>dropped: {name}</Tag>
          ))}
          {changed.map((name) => (
            <Tag key={name}>changed: {name}</Tag>
          ))}
        </div>
      )}
      {!isKept && (
        <Empty title="The body was not kept">
          <p>
            The setting <code>history.bodies</code> says what is kept; or there was none.
          </p>
        </Empty>
      )}
      {isKept && isTranslated && (
        <div>
          <Choice label="What is shown" value={view} options={VIEWS} onChange={setView} />
        </div>
      )}
      {shown === "difference" ? (
        <Section title="From the client's words to the service's" hint="members in the order of their names">
          <DiffView before={pretty(ordered(own))} after={pretty(ordered(other))} same="Both say the same." />
        </Section>
      ) : (
        <div className={shown === "both" ? "grid gap-4 lg:grid-cols-2" : ""}>
          {isKept && shown !== "service" && (
            <Section title="As the client saw it" hint={isCut ? "cut: there was more of it than is kept" : undefined}>
              <Code text={pretty(own)} label="Body as the client saw it" />
            </Section>
          )}
          {isTranslated && shown !== "client" && (
            <Section title={otherName}>
              <Code text={pretty(other)} label={otherName} />
            </Section>
          )}
        </div>
      )}
    </div>
  );
}
