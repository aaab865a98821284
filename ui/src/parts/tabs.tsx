// Tabs: arrows move between them, and only the chosen one stands in the order of Tab.

import { useEffect, useId, type KeyboardEvent, type ReactNode } from "react";
import { classes } from "./basics";

export function Tabs<T extends string>({ label, tabs, chosen, onChoose, children }: { label: string; tabs: { id: T; name: string; count?: number }[]; chosen: T; onChoose: (id: T) => void; children: ReactNode }) {
  const base = useId();
  // On a phone the chosen one may lie beyond the edge. What scrolling gives back is no way to undo it.
  useEffect(() => void document.getElementById(`${base}-${chosen}`)?.scrollIntoView({ block: "nearest", inline: "nearest" }), [base, chosen]);
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const at = tabs.findIndex((tab) => tab.id === chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs[(to + tabs.length) % tabs.length];
    if (!next) return;
    onChoose(next.id);
    document.getElementById(`${base}-${next.id}`)?.focus();
  };
  return (
    <div className="flex min-w-0 flex-col gap-4">
      <div role="tablist" aria-label={label} onKeyDown={move} className="flex gap-1 overflow-x-auto border-b border-line">
        {tabs.map(({ id, name, count }) => (
          <button
            key={id}
            id={`${base}-${id}`}
            type="button"
            role="tab"
            aria-selected={id === chosen}
            aria-controls={`${base}-panel`}
            tabIndex={id === chosen ? 0 : -1}
            onClick={() => onChoose(id)}
            className={classes(
              "-mb-px h-9 border-b-2 px-3 font-medium whitespace-nowrap -outline-offset-2",
              id === chosen ? "border-accent text-text" : "border-transparent text-muted hover:text-text",
            )}
          >
            {name}
            {count !== undefined && <span className="ml-1.5 text-xs text-muted">{count}</span>}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${base}-panel`} aria-labelledby={`${base}-${chosen}`} className="min-w-0">
        {children}
      </div>
    </div>
  );
}
