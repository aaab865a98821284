// How old the figures on the page are, and whether the router still answers.

import { onlineManager, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { LIVE_MS } from "../api/queries";
import { ApiError } from "../api/http";
import { classes } from "../parts/basics";
import { ago, stamp } from "../text/format";

type State = "fresh" | "stale" | "lost" | "none";

const WORDS: Record<State, string> = { fresh: "Live", stale: "Stale", lost: "No answer", none: "" };

export function Freshness() {
  const client = useQueryClient();
  const [seen, setSeen] = useState<{ state: State; at: number }>({ state: "none", at: 0 });
  useEffect(() => {
    const look = () => {
      const shown = client.getQueryCache().findAll({ type: "active" });
      const at = Math.max(0, ...shown.map((query) => query.state.dataUpdatedAt));
      const lost = !onlineManager.isOnline() || shown.some(({ state }) => state.error instanceof ApiError && state.error.status === 0 && state.errorUpdatedAt >= state.dataUpdatedAt);
      const state: State = lost ? "lost" : at === 0 ? "none" : Date.now() - at > LIVE_MS * 4 ? "stale" : "fresh";
      setSeen((before) => (before.state === state && before.at === at ? before : { state, at }));
    };
    look();
    const timer = setInterval(look, 1000);
    return () => clearInterval(timer);
  }, [client]);
  return (
    <button
      type="button"
      onClick={() => void client.refetchQueries({ type: "active" })}
      title={seen.at ? `Last figures ${ago(seen.at)}, at ${stamp(seen.at)} — click to ask again` : "Click to ask again"}
      className="flex h-8 items-center gap-1.5 rounded-md px-2 text-xs text-muted hover:bg-hover hover:text-text"
    >
      <span aria-hidden className={classes("size-2 rounded-full", { fresh: "bg-good", stale: "bg-warn", lost: "bg-bad", none: "bg-unknown" }[seen.state])} />
      <span role="status" className={classes(seen.state === "fresh" && "max-sm:sr-only")}>
        {WORDS[seen.state]}
      </span>
      <span className="sr-only">Refresh</span>
    </button>
  );
}
