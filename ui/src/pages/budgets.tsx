// Budgets as bars: how much of what may be spent is spent.

import { Link } from "@tanstack/react-router";
import type { ApiKey, Budget } from "../api/types";
import { Ago, Meter, Section } from "../parts/basics";
import { money, percent } from "../text/format";

const WINDOWS: Record<string, string> = { total: "in all", hour: "an hour", day: "a day", week: "a week", month: "a month" };

/** `$351 of $400 a month`. */
export const budgetWords = ({ amount, window, spent }: Budget, used: number | null = null): string => `${money(spent ?? used ?? 0)} of ${money(amount)}${window ? ` ${WINDOWS[window] ?? `in ${window}`}` : ""}`;

/** Share of a budget that is spent, 0 to 1 and beyond. */
export const spentShare = ({ amount, spent }: Budget): number => (amount > 0 ? (spent ?? 0) / amount : spent ? 1 : 0);

/** Keys that have a budget, those with least left first. */
export const tightest = (keys: readonly ApiKey[]): (ApiKey & { budget: Budget })[] =>
  keys.filter((key): key is ApiKey & { budget: Budget } => typeof key.budget?.amount === "number").sort((a, b) => spentShare(b.budget) - spentShare(a.budget));

/** A budget with its bar. */
export function Spent({ budget, used = null }: { budget: Budget; used?: number | null }) {
  const words = budgetWords(budget, used);
  return (
    <span className="inline-flex min-w-32 flex-col items-stretch gap-1">
      <span className="text-right">{words}</span>
      <Meter value={budget.spent ?? used ?? 0} max={budget.amount} label={words} />
    </span>
  );
}

const SHOWN_MAX = 8;

export function Budgets({ keys }: { keys: readonly ApiKey[] }) {
  const all = tightest(keys);
  if (all.length === 0) return null;
  return (
    <Section
      title="Budgets"
      hint={all.length > SHOWN_MAX ? `the ${SHOWN_MAX} of ${all.length} with least left` : "those with least left first"}
      actions={
        <Link to="/dashboard/keys" className="link">
          All keys
        </Link>
      }
    >
      <ul className="divide-y divide-line rounded-md border border-line">
        {all.slice(0, SHOWN_MAX).map(({ id, name, budget }) => (
          <li key={id} className="grid grid-cols-[1fr_auto] items-center gap-x-4 gap-y-1 px-3 py-2 sm:grid-cols-[14rem_1fr_4rem_10rem]">
            <Link to="/dashboard/keys" search={{ q: name } as never} className="truncate font-medium hover:underline">
              {name}
            </Link>
            <Spent budget={budget} />
            <span className="text-right tabular-nums max-sm:hidden">{percent(spentShare(budget) * 100)}</span>
            <span className="text-right text-xs text-muted max-sm:hidden">{budget.resets_at ? <>begins anew <Ago time={budget.resets_at} /></> : ""}</span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
