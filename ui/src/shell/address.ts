// Filters live in the address, so that a link shows the same thing.

import { useLocation, useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";

export type Filters = Record<string, string | undefined>;

/** What the address says, and a way to change some of it; an empty value leaves it. */
export function useFilters(): [Filters, (change: Filters) => void] {
  const search = useLocation({ select: (location) => location.search as Filters });
  const pathname = useLocation({ select: (location) => location.pathname });
  const navigate = useNavigate();
  const change = useCallback(
    (to: Filters) => {
      const next = { ...search, ...to };
      for (const name of Object.keys(next)) if (!next[name]) delete next[name];
      void navigate({ to: pathname, search: next as never, replace: true, resetScroll: false });
    },
    [search, pathname, navigate],
  );
  return [search, change];
}
