// Light or dark: the system's, until somebody chooses.

import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";

/** Also read by theme.js, before the first paint. */
const STORED = "llm-router.theme";
const listeners = new Set<() => void>();
const isDark = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(STORED);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}

const current = (): Theme => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

function show(theme: Theme) {
  document.documentElement.dataset.theme = theme;
  for (const listener of listeners) listener();
}

isDark.addEventListener("change", () => show(stored() ?? (isDark.matches ? "dark" : "light")));

/** `null` follows the system again. */
export function choose(theme: Theme | null): void {
  try {
    if (theme) localStorage.setItem(STORED, theme);
    else localStorage.removeItem(STORED);
  } catch {
    // Chosen for this page only, then.
  }
  show(theme ?? (isDark.matches ? "dark" : "light"));
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** What was chosen; `null` follows the system. */
export const chosen = (): Theme | null => stored();

export function useTheme(): { theme: Theme; toggle: () => void } {
  const theme = useSyncExternalStore(subscribe, current);
  return { theme, toggle: () => choose(theme === "dark" ? "light" : "dark") };
}
