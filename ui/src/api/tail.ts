// Rows as they come: one stream of events, closed while nobody looks, opened again where it was left.

import { useEffect, useRef, useState } from "react";
import { Events } from "../text/sse";
import { ApiError, errorOf, loggedOut, proof, withQuery, type Query } from "./http";
import { dashboard } from "./endpoints";
import type { RequestRow } from "./types";

/** `following`: rows come; `resting`: nobody looks; `waiting`: it broke off and is tried again; `absent`: this router has no such stream. */
export type TailState = "following" | "resting" | "waiting" | "absent" | "off";

/** Rows come together at most so often, however many there are. */
const FLUSH_MS = 250;
/** The first wait for a stream that broke off; each further one is twice as long. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 30_000;
/** Rows that wait to be shown; a stream that is faster shows its newest. */
const PENDING_MAX = 500;

/** `rows` with those of `fresh`, the newest first, each once, at most `max`. What came before keeps its object, so that its row is not drawn again. */
export function merged(rows: RequestRow[], fresh: RequestRow[], max: number): RequestRow[] {
  const known = new Map(rows.map((row) => [row.id, row]));
  for (const row of fresh) if (!known.has(row.id)) known.set(row.id, row);
  if (known.size === rows.length && rows.length <= max) return rows;
  return [...known.values()].sort((a, b) => (a.timestamp < b.timestamp ? 1 : a.timestamp > b.timestamp ? -1 : 0)).slice(0, max);
}

/** Reads one stream to its end. Throws what ended it. */
async function read(query: Query, signal: AbortSignal, onOpen: () => void, onRow: (row: RequestRow) => void): Promise<void> {
  const answer = await fetch(withQuery(dashboard.tailPath, query), { headers: { accept: "text/event-stream", ...proof("GET") }, credentials: "same-origin", signal });
  if (!answer.ok || !answer.body) {
    if (answer.status === 401) loggedOut();
    throw errorOf(answer.status, await answer.text(), answer.headers.get("x-request-id"));
  }
  onOpen();
  const events = new Events();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    for (const event of events.take(piece.value)) if (event.name === "request" && event.data) onRow(JSON.parse(event.data) as RequestRow);
  }
}

/**
 * The newest `max` rows that are like `query`, growing while `isOn`. What came while nobody looked, or between two streams, is asked for when
 * the next begins, so that nothing is missing and nothing jumps.
 */
export function useTail(query: Query, max: number, isOn: boolean): { rows: RequestRow[]; state: TailState } {
  const [rows, setRows] = useState<RequestRow[]>([]);
  const [state, setState] = useState<TailState>("off");
  const key = JSON.stringify(query);
  const asked = useRef(query);
  asked.current = query;
  useEffect(() => {
    setRows([]);
    if (!isOn) {
      setState("off");
      return;
    }
    let pending: RequestRow[] = [];
    let stop: AbortController | null = null;
    let retry: ReturnType<typeof setTimeout> | undefined;
    let wait = RETRY_MS;
    const flush = setInterval(() => {
      if (pending.length === 0) return;
      const fresh = pending;
      pending = [];
      setRows((before) => merged(before, fresh, max));
    }, FLUSH_MS);
    const close = () => {
      clearTimeout(retry);
      stop?.abort();
      stop = null;
    };
    const open = () => {
      close();
      const own = new AbortController();
      stop = own;
      const catchUp = () => {
        setState("following");
        wait = RETRY_MS;
        void dashboard.requests({ ...asked.current, page: 1, per_page: max }).then(({ records }) => !own.signal.aborted && setRows((before) => merged(before, records, max)), () => {});
      };
      read(asked.current, own.signal, catchUp, (row) => {
        pending.push(row);
        if (pending.length > PENDING_MAX) pending.shift();
      })
        .then(() => Promise.reject(new Error("The stream ended.")))
        .catch((error: unknown) => {
          if (own.signal.aborted) return;
          // An older router takes the stream's name for a request's id.
          const isAbsent = error instanceof ApiError && (error.isMissing || error.status === 404);
          setState(isAbsent ? "absent" : "waiting");
          if (isAbsent) return;
          retry = setTimeout(open, wait);
          wait = Math.min(RETRY_MS_MAX, wait * 2);
        });
    };
    const look = () => {
      if (document.hidden) {
        close();
        setState("resting");
      } else open();
    };
    look();
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      clearInterval(flush);
      close();
    };
    // The question is watched through what it says.
    // oxlint-disable-next-line exhaustive-deps
  }, [key, max, isOn]);
  return { rows, state };
}
