// What was just done, for a moment, with a way back where there is one.

import { X } from "lucide-react";
import { useSyncExternalStore } from "react";
import { ApiError } from "../api/http";
import { Button, classes } from "./basics";

interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad";
  undo?: () => void;
}

const SHOWN_MS = 6000;
/** Older ones make room. */
const TOASTS_MAX = 4;

let toasts: Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function change(to: Toast[]) {
  toasts = to;
  for (const listener of listeners) listener();
}

const dismiss = (id: number) => change(toasts.filter((toast) => toast.id !== id));

export function say(text: string, more: { tone?: "good" | "bad"; undo?: () => void } = {}): void {
  const id = next;
  next += 1;
  change([...toasts, { id, text, tone: more.tone ?? "good", undo: more.undo }].slice(-TOASTS_MAX));
  setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Says what a failed action came to. */
export const sayFailed = (what: string) => (error: unknown) => {
  const { isMissing, requestId } = error instanceof ApiError ? error : { isMissing: false, requestId: null };
  const words = isMissing ? "this router cannot do that: it is older than this page, or was built without that part." : error instanceof Error ? error.message : String(error);
  say(`${what}: ${words}${requestId && !isMissing ? ` (request ${requestId})` : ""}`, { tone: "bad" });
};

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  return (
    <div role="status" aria-live="polite" className="pointer-events-none fixed right-3 bottom-3 z-50 flex w-[min(26rem,calc(100vw-1.5rem))] flex-col gap-2">
      {shown.map(({ id, text, tone, undo }) => (
        <div key={id} className={classes("pointer-events-auto flex items-center gap-2 rounded-md border bg-raised py-1.5 pr-1.5 pl-3", tone === "bad" ? "border-bad/60 text-bad" : "border-line-strong/60")}>
          <span className="min-w-0 flex-1 break-words">{text}</span>
          {undo && (
            <Button
              onClick={() => {
                dismiss(id);
                undo();
              }}
            >
              Undo
            </Button>
          )}
          <Button look="quiet" icon={X} aria-label="Dismiss" onClick={() => dismiss(id)} />
        </div>
      ))}
    </div>
  );
}
