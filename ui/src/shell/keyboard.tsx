// What the keyboard does everywhere.

import { useEffect, useRef } from "react";
import { Dialog } from "../parts/dialog";

interface Actions {
  palette: () => void;
  help: () => void;
  back: () => void;
  go: (to: string) => void;
}

const KEYS: [string, string][] = [
  ["Ctrl/⌘ K", "search and commands"],
  ["/", "search on this page"],
  ["j  k", "next row, row before"],
  ["Enter", "open the row"],
  ["Esc", "back to the list"],
  ["g o", "go to the overview"],
  ["g r", "go to requests"],
  ["g n", "go to nodes"],
  ["g m", "go to models"],
  ["g k", "go to keys"],
  ["g l", "go to logs"],
  ["g p", "go to the playground"],
  ["?", "this list"],
];

const GO: Record<string, string> = { o: "/dashboard", r: "/dashboard/requests", n: "/dashboard/nodes", m: "/dashboard/models", k: "/dashboard/keys", l: "/dashboard/logs", p: "/playground" };

/** How long `g` waits for the second key. */
const CHORD_MS = 1000;

function moveRow(by: number): boolean {
  const rows = [...document.querySelectorAll<HTMLElement>("tr[data-row][tabindex]")];
  if (rows.length === 0) return false;
  const at = rows.indexOf(document.activeElement?.closest<HTMLElement>("tr[data-row]") as HTMLElement);
  const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return true;
}

export function useShortcuts(actions: Actions): void {
  const newest = useRef(actions);
  newest.current = actions;
  useEffect(() => {
    let goUntil = 0;
    const press = (event: KeyboardEvent) => {
      const key = event.key.toLowerCase();
      if ((event.ctrlKey || event.metaKey) && key === "k") {
        event.preventDefault();
        newest.current.palette();
        return;
      }
      const target = event.target as HTMLElement;
      const isTyping = target.matches("input:not([type=checkbox]),textarea,select") || target.isContentEditable;
      if (isTyping && event.key === "Escape") target.blur();
      // Dialogs and menus have keys of their own.
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open],[role=menu]")) return;
      const done = () => event.preventDefault();
      if (Date.now() < goUntil && GO[key]) {
        goUntil = 0;
        done();
        newest.current.go(GO[key]);
      } else if (key === "g") goUntil = Date.now() + CHORD_MS;
      else if (key === "/") {
        const search = document.querySelector<HTMLInputElement>("main input[type=search]");
        done();
        if (search) search.focus();
        else newest.current.palette();
      } else if (event.key === "?") newest.current.help();
      else if (key === "j" || key === "k") {
        if (moveRow(key === "j" ? 1 : -1)) done();
      } else if (event.key === "Escape") newest.current.back();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
}

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] items-center gap-x-6 gap-y-2">
        {KEYS.map(([keys, what]) => (
          <div key={keys} className="contents">
            <dt>
              <kbd className="rounded border border-line bg-sunken px-1.5 py-0.5 text-xs whitespace-pre">{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
