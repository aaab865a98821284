// Lines of a log: by level, by word, the newest below.

import { Link } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";
import type { LogEntry, Logs } from "../api/types";
import { clock, stamp } from "../text/format";
import { matches } from "../text/search";
import { Button, Checkbox, CopyButton, Empty, ErrorNote, classes } from "./basics";
import { Select } from "./filters";
import { TableSkeleton } from "./table";

const LEVELS = ["error", "warn", "info", "debug", "trace"];
const LOOKS: Record<string, string> = { error: "text-bad font-medium", warn: "text-warn font-medium", info: "text-text", debug: "text-muted", trace: "text-muted" };
const TAILS = [100, 200, 500, 1000];

/** Entries of `least` or worse that have the words in them. */
export function chosen(entries: LogEntry[], least: string, wanted: string): LogEntry[] {
  const rank = LEVELS.indexOf(least);
  return entries.filter(({ level, message, target, fields }) => {
    const at = LEVELS.indexOf(level.toLowerCase());
    return (rank < 0 || (at >= 0 && at <= rank)) && (wanted === "" || matches(wanted, `${message} ${target} ${JSON.stringify(fields ?? {})}`));
  });
}

const asText = (entry: LogEntry) => `${entry.timestamp} ${entry.level} ${entry.target}: ${entry.message}${fieldsOf(entry)}`;
const fieldsOf = ({ fields }: LogEntry) =>
  Object.entries(fields ?? {})
    .filter(([name]) => name !== "message")
    .map(([name, value]) => ` ${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("");

/** Fields, with a way to the record of the request that they name. */
function Told({ text }: { text: string }) {
  const found = /\brequest_id=([\w.:-]+)/.exec(text);
  if (!found?.[1]) return text;
  const [from, to] = [found.index + "request_id=".length, found.index + found[0].length];
  return (
    <>
      {text.slice(0, from)}
      <Link to="/dashboard/requests/$id" params={{ id: found[1] }} className="link">
        {found[1]}
      </Link>
      {text.slice(to)}
    </>
  );
}

export function LogView({ logs, error, isPending, tail, onTail, retry }: { logs?: Logs; error: unknown; isPending: boolean; tail: number; onTail: (tail: number) => void; retry: () => void }) {
  const [level, setLevel] = useState("");
  const [text, setText] = useState("");
  const [follow, setFollow] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  const shown = useMemo(() => {
    const entries = [...(logs?.entries ?? [])].sort((a, b) => (a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0));
    return chosen(entries, level, text);
  }, [logs, level, text]);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown, follow]);
  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center gap-2">
        <input type="search" aria-label="Search the log" placeholder="Search" className="input w-52" value={text} onChange={(event) => setText(event.target.value)} />
        <Select label="Level" value={level} onChange={setLevel} options={[["", "Any level"], ["error", "Errors"], ["warn", "Warnings and worse"], ["info", "Info and worse"], ["debug", "Debug and worse"]]} />
        <Select label="Lines" value={String(tail)} onChange={(value) => onTail(Number(value))} options={TAILS.map((n): [string, string] => [String(n), `last ${n}`])} />
        <Checkbox label="Follow" checked={follow} onChange={setFollow} />
        <div className="ml-auto flex items-center gap-2">
          {logs?.path && <code className="max-w-72 truncate text-xs text-muted" title={logs.path}>{logs.path}</code>}
          <CopyButton text={shown.map(asText).join("\n")} label="Copy what is shown" />
        </div>
      </div>
      {error !== null && error !== undefined && !logs && <ErrorNote what="The log" error={error} retry={retry} />}
      {isPending && <TableSkeleton rows={10} />}
      {logs && shown.length === 0 && (
        <Empty title={logs.entries.length === 0 ? "The log is empty" : "No line is like that"} action={logs.entries.length > 0 && <Button onClick={() => (setText(""), setLevel(""))}>Show all</Button>} />
      )}
      {shown.length > 0 && (
        <div
          ref={box}
          tabIndex={0}
          role="log"
          aria-label="Log"
          aria-live="off"
          onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
            // Whoever scrolls up wants to read.
            if (follow && scrollHeight - scrollTop - clientHeight > 60) setFollow(false);
          }}
          className="h-[calc(100dvh-13rem)] min-h-64 overflow-auto rounded-md border border-line bg-sunken py-2 font-mono text-xs leading-relaxed"
        >
          {shown.map((entry, n) => (
            <div key={`${entry.timestamp}-${n}`} className="grid grid-cols-[4.6rem_3.2rem_1fr] gap-x-2 px-3 hover:bg-hover">
              <time dateTime={entry.timestamp} title={stamp(entry.timestamp)} className="text-muted">
                {clock(entry.timestamp)}
              </time>
              <span className={LOOKS[entry.level.toLowerCase()]}>{entry.level.toUpperCase()}</span>
              <span className={classes("min-w-0 break-words", LOOKS[entry.level.toLowerCase()] === "text-muted" && "text-muted")}>
                {entry.message}
                <span className="text-muted">
                  <Told text={fieldsOf(entry)} />
                </span>{" "}
                <span className="text-muted">{entry.target}</span>
              </span>
            </div>
          ))}
        </div>
      )}
    </div>
  );
}
