// Buttons, badges, fields and notes: what every page is made of.

import { AlertTriangle, Check, CircleAlert, CircleCheck, CircleDashed, CircleHelp, Copy, RotateCw, type LucideIcon } from "lucide-react";
import { useEffect, useId, useRef, useState, useSyncExternalStore, type ButtonHTMLAttributes, type ReactNode } from "react";
import { ApiError } from "../api/http";
import { ago, shortId, stamp } from "../text/format";

export const classes = (...names: (string | false | null | undefined)[]) => names.filter(Boolean).join(" ");

type Look = "primary" | "plain" | "quiet" | "danger";

const LOOKS: Record<Look, string> = {
  primary: "bg-accent text-on-accent border-transparent hover:brightness-110",
  plain: "bg-raised border-line-strong/60 hover:bg-hover",
  quiet: "border-transparent hover:bg-hover text-muted hover:text-text",
  danger: "bg-raised border-bad/60 text-bad hover:bg-bad-soft",
};

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  icon?: LucideIcon;
  /** Its work is under way: pressed again it does nothing. */
  busy?: boolean;
}

export function Button({ look = "plain", icon: Icon, busy, children, className, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      disabled={rest.disabled || busy}
      className={classes(
        "inline-flex h-8 shrink-0 items-center justify-center gap-1.5 rounded-md border text-sm font-medium whitespace-nowrap disabled:opacity-55 disabled:hover:brightness-100",
        children ? "px-2.5" : "w-8",
        LOOKS[look],
        className,
      )}
    >
      {busy ? <RotateCw className="size-3.5 shrink-0 animate-spin" aria-hidden /> : Icon && <Icon className={children ? "size-3.5 shrink-0" : "size-4 shrink-0"} aria-hidden />}
      {children}
    </button>
  );
}

export type Tone = "good" | "warn" | "bad" | "unknown" | "accent";

const TONES: Record<Tone, { look: string; icon: LucideIcon }> = {
  good: { look: "bg-good-soft text-good", icon: CircleCheck },
  warn: { look: "bg-warn-soft text-warn", icon: AlertTriangle },
  bad: { look: "bg-bad-soft text-bad", icon: CircleAlert },
  unknown: { look: "bg-unknown-soft text-unknown", icon: CircleDashed },
  accent: { look: "bg-accent-soft text-accent", icon: CircleHelp },
};

/** A state in a word. Its icon says the same as its colour. */
export function Badge({ tone, children, icon = true, title }: { tone: Tone; children: ReactNode; icon?: boolean; title?: string }) {
  const { look, icon: Icon } = TONES[tone];
  return (
    <span title={title} className={classes("inline-flex h-5 items-center gap-1 rounded px-1.5 text-xs font-medium whitespace-nowrap", look)}>
      {icon && <Icon className="size-3" aria-hidden />}
      {children}
    </span>
  );
}

/** A word that is no state: a tag, a scope. */
export const Tag = ({ children, title }: { children: ReactNode; title?: string }) => (
  <span title={title} className="inline-flex h-5 max-w-full items-center truncate rounded border border-line bg-sunken px-1.5 text-xs text-muted">
    {children}
  </span>
);

/** Copies a text and says that it did. */
export function CopyButton({ text, label = "Copy", look = "quiet", children }: { text: string; label?: string; look?: Look; children?: ReactNode }) {
  const [state, setState] = useState<"idle" | "done" | "failed">("idle");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    const done = await put(text);
    setState(done ? "done" : "failed");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setState("idle"), 1500);
  };
  const said = state === "done" ? "Copied" : state === "failed" ? "Copying is not allowed here" : label;
  return (
    <>
      <Button look={look} icon={state === "done" ? Check : Copy} onClick={copy} aria-label={children ? undefined : said} title={said}>
        {children}
      </Button>
      <span role="status" className="sr-only">
        {state === "idle" ? "" : said}
      </span>
    </>
  );
}

/** The clipboard needs a secure origin; a router on a local network is often none, so the old way is tried too. */
async function put(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** An id: its beginning, the whole on hover, copied with a click. */
export function Id({ id, whole = false }: { id: string; whole?: boolean }) {
  const [copied, setCopied] = useState(false);
  return (
    <button
      type="button"
      title={copied ? "Copied" : `${id} — click to copy`}
      aria-label={`Copy ${id}`}
      onClick={(event) => {
        event.stopPropagation();
        void put(id).then(setCopied);
        setTimeout(() => setCopied(false), 1500);
      }}
      className={classes("rounded font-mono text-xs text-muted hover:text-text hover:underline", whole && "break-all text-left")}
    >
      {copied ? "copied" : whole ? id : shortId(id)}
    </button>
  );
}

const tickers = new Set<() => void>();
let clock: ReturnType<typeof setInterval> | undefined;

/** One clock for all times on the page, as long as there is one. */
function onSecond(tick: () => void): () => void {
  tickers.add(tick);
  clock ??= setInterval(() => {
    if (!document.hidden) for (const one of tickers) one();
  }, 1000);
  return () => {
    tickers.delete(tick);
    if (tickers.size > 0) return;
    clearInterval(clock);
    clock = undefined;
  };
}

/** Words that change with time alone; what shows them is drawn again when they do. */
export const useTimed = (words: () => string): string => useSyncExternalStore(onSecond, words);

/** How long ago, with the time on hover. */
export function Ago({ time }: { time: string | number | null | undefined }) {
  const words = useTimed(() => ago(time));
  return (
    <time dateTime={time ? new Date(time).toISOString() : undefined} title={stamp(time)}>
      {words}
    </time>
  );
}

/** A label with its field, its hint and what is wrong with it. */
export function Field({
  label,
  hint,
  error,
  children,
  className,
}: {
  label: string;
  hint?: ReactNode;
  error?: string | null;
  className?: string;
  children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ReactNode;
}) {
  const id = useId();
  const more = error || hint ? `${id}-more` : undefined;
  return (
    <div className={classes("flex min-w-0 flex-col gap-1", className)}>
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      {children({ id, "aria-describedby": more, "aria-invalid": error ? true : undefined })}
      {(error || hint) && (
        <p id={more} className={classes("text-xs", error ? "text-bad" : "text-muted")}>
          {error || hint}
        </p>
      )}
    </div>
  );
}

export function Checkbox({ label, checked, onChange, disabled }: { label: ReactNode; checked: boolean; onChange: (on: boolean) => void; disabled?: boolean }) {
  return (
    <label className="inline-flex min-h-6 items-center gap-2">
      <input type="checkbox" className="size-3.5 accent-accent" checked={checked} disabled={disabled} onChange={(event) => onChange(event.target.checked)} />
      <span>{label}</span>
    </label>
  );
}

/** What went wrong, to what, and what to do next. */
export function ErrorNote({ error, what, retry }: { error: unknown; what: string; retry?: () => void }) {
  const failure = error instanceof ApiError ? error : null;
  const isMissing = failure?.isMissing;
  const text = isMissing
    ? `This router does not offer ${what.toLowerCase()}: it is older than this page, or was built without that part.`
    : failure?.status === 403
      ? `Your role may not see ${what.toLowerCase()}. An administrator can give you the right to.`
      : failure
        ? failure.message
        : error instanceof Error
          ? error.message
          : String(error);
  return (
    <div role="alert" className={classes("flex flex-wrap items-start gap-3 rounded-md border p-3", isMissing ? "border-line bg-sunken" : "border-bad/40 bg-bad-soft")}>
      <CircleAlert className={classes("mt-0.5 size-4 shrink-0", isMissing ? "text-muted" : "text-bad")} aria-hidden />
      <div className="min-w-0 flex-1">
        <p className="font-medium">{isMissing ? `${what}: not available` : `${what} could not be loaded`}</p>
        <p className="break-words text-muted">{text}</p>
        {failure?.requestId && (
          <p className="mt-1 text-xs text-muted">
            request <Id id={failure.requestId} whole />
          </p>
        )}
      </div>
      {retry && !isMissing && (
        <Button icon={RotateCw} onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** What nobody has set up yet: the one next step instead of an empty table. */
export function Empty({ title, children, action, command }: { title: string; children?: ReactNode; action?: ReactNode; command?: string }) {
  return (
    <div className="flex flex-col items-start gap-3 rounded-md border border-dashed border-line-strong/60 p-6">
      <div>
        <p className="text-base font-semibold">{title}</p>
        {children && <div className="mt-1 max-w-prose text-muted">{children}</div>}
      </div>
      {command && <Code text={command} />}
      {action}
    </div>
  );
}

/** Code or a body, with a button that copies it. */
export function Code({ text, label, className }: { text: string; label?: string; className?: string }) {
  return (
    <div className={classes("relative w-full min-w-0 rounded-md border border-line bg-sunken", className)}>
      <div className="absolute top-1 right-1 rounded-md bg-sunken">
        <CopyButton text={text} />
      </div>
      {/* A region that scrolls must be reachable by keyboard. */}
      <pre tabIndex={0} role="group" aria-label={label ?? "Code"} className="max-h-[28rem] overflow-auto p-3 pr-11 text-xs leading-relaxed break-words whitespace-pre-wrap">
        {text}
      </pre>
    </div>
  );
}

export const Skeleton = ({ className }: { className?: string }) => <div aria-hidden className={classes("skeleton", className ?? "h-4 w-full")} />;

/** A part of a page with a heading. */
export function Section({ title, actions, children, className, hint }: { title: string; hint?: ReactNode; actions?: ReactNode; children: ReactNode; className?: string }) {
  const id = useId();
  return (
    <section aria-labelledby={id} className={classes("flex min-w-0 flex-col gap-2", className)}>
      <div className="flex min-h-8 flex-wrap items-center gap-x-3 gap-y-1">
        <h2 id={id} className="text-base font-semibold">
          {title}
        </h2>
        {hint && <span className="text-xs text-muted">{hint}</span>}
        {actions && <div className="ml-auto flex flex-wrap items-center gap-2">{actions}</div>}
      </div>
      {children}
    </section>
  );
}

/** A name and its value, as rows. */
export function Facts({ rows, className }: { rows: [string, ReactNode][]; className?: string }) {
  return (
    <dl className={classes("grid grid-cols-[minmax(7rem,auto)_1fr] gap-x-4 gap-y-1.5", className)}>
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-muted">{name}</dt>
          <dd className="min-w-0 break-words">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** How much of something is used, said in words too. */
export function Meter({ value, max, label, tone }: { value: number; max: number; label: string; tone?: Tone }) {
  const share = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  const colour = { good: "bg-good", warn: "bg-warn", bad: "bg-bad", unknown: "bg-unknown", accent: "bg-accent" }[tone ?? (share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "accent")];
  return (
    <div role="meter" aria-valuenow={value} aria-valuemin={0} aria-valuemax={max} aria-label={label} title={label} className="h-1.5 w-full min-w-12 overflow-hidden rounded-full bg-hover">
      <div className={classes("h-full rounded-full", colour)} style={{ width: `${share * 100}%` }} />
    </div>
  );
}
