// The frame of all pages: rail, bar, keyboard, palette.

import { useQuery } from "@tanstack/react-query";
import { Link, Navigate, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { Check, ChevronsLeft, ChevronsRight, Keyboard, LogOut, Menu as MenuIcon, Moon, Search, Sun, UserRound, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { queries } from "../api/queries";
import { Button, classes } from "../parts/basics";
import { Menu } from "../parts/menu";
import { sayFailed } from "../parts/toast";
import { Freshness } from "./freshness";
import { Help, useShortcuts } from "./keyboard";
import { Palette } from "./palette";
import { GROUPS, isFor, placeOf, type Place } from "./places";
import { useSession } from "./session";
import { choose, chosen, useTheme, type Theme } from "./theme";

export function Layout() {
  const path = useLocation({ select: (location) => location.pathname });
  const [narrow, setNarrow] = useState(() => localStorage.getItem("llm-router.rail") === "narrow");
  const [drawer, setDrawer] = useState(false);
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  const navigate = useNavigate();
  const place = placeOf(path);
  const session = useSession();
  // Whoever holds a key that may not read has one page here. A user who may not see a page is told so there.
  const isElsewhere = !session.isReader && place !== undefined && !isFor(place, session);

  useShortcuts({
    palette: () => setPalette(true),
    help: () => setHelp(true),
    back: () => {
      // From a detail to its list.
      if (place && path !== place.to) void navigate({ to: place.to });
    },
    go: (to) => void navigate({ to }),
  });

  useEffect(() => {
    document.title = place ? `${place.name} · LLM Router` : "LLM Router";
  }, [place]);
  // Another place begins at its top, also for those who read by ear.
  const before = useRef(path);
  useEffect(() => {
    if (before.current !== path) main.current?.focus({ preventScroll: true });
    before.current = path;
    setDrawer(false);
  }, [path]);

  const fold = () => {
    localStorage.setItem("llm-router.rail", narrow ? "wide" : "narrow");
    setNarrow(!narrow);
  };

  return (
    <div className="flex h-full">
      <a href="#main" className="sr-only z-50 rounded-md bg-accent px-3 py-2 text-on-accent focus:not-sr-only focus:fixed focus:top-2 focus:left-2">
        To the content
      </a>
      <aside className={classes("hidden shrink-0 flex-col border-r border-line bg-sunken md:flex", narrow ? "w-13" : "w-52")}>
        <Rail narrow={narrow} />
        <div className="border-t border-line p-2">
          <Button look="quiet" icon={narrow ? ChevronsRight : ChevronsLeft} aria-label={narrow ? "Widen the rail" : "Narrow the rail"} onClick={fold} />
        </div>
      </aside>
      {drawer && (
        <div className="fixed inset-0 z-40 flex md:hidden">
          <div className="w-64 overflow-y-auto border-r border-line bg-sunken">
            <div className="flex justify-end p-2">
              <Button look="quiet" icon={X} aria-label="Close the menu" onClick={() => setDrawer(false)} autoFocus />
            </div>
            <Rail narrow={false} />
          </div>
          <button type="button" aria-label="Close the menu" className="flex-1 bg-black/45" onClick={() => setDrawer(false)} />
        </div>
      )}
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="flex h-12 shrink-0 items-center gap-2 border-b border-line px-3">
          <Button look="quiet" icon={MenuIcon} aria-label="Menu" className="md:hidden" onClick={() => setDrawer(true)} />
          <span className="min-w-0 truncate text-base font-semibold">{place?.name}</span>
          <div className="ml-auto flex items-center gap-1">
            <button
              type="button"
              onClick={() => setPalette(true)}
              title="Search and commands"
              className="flex h-8 items-center gap-2 rounded-md border border-line bg-sunken px-2.5 text-muted hover:text-text sm:w-56"
            >
              <Search className="size-3.5" aria-hidden />
              <span className="max-sm:sr-only">Search or go to</span>
              <kbd className="ml-auto rounded border border-line bg-bg px-1 text-xs max-sm:hidden">{isMac ? "⌘" : "Ctrl"} K</kbd>
            </button>
            <Freshness />
            <ThemeButton />
            <Account onHelp={() => setHelp(true)} />
          </div>
        </header>
        <main ref={main} id="main" tabIndex={-1} className="min-h-0 flex-1 overflow-y-auto focus:outline-none">
          <div className={classes("mx-auto p-4 md:p-5", path.startsWith("/playground") ? "h-full max-w-none !p-0" : "max-w-[100rem]")}>
            {isElsewhere ? <Navigate to="/dashboard/usage" replace /> : <Outlet />}
          </div>
        </main>
      </div>
      {palette && <Palette onClose={() => setPalette(false)} />}
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

function Rail({ narrow }: { narrow: boolean }) {
  const session = useSession();
  return (
    <nav aria-label="Places" className="flex min-h-0 flex-1 flex-col gap-3 overflow-y-auto p-2">
      <Link to="/dashboard" className="flex h-8 items-center gap-2 px-1.5 font-semibold" aria-label="LLM Router, overview">
        <img src="/dashboard/icon.svg" alt="" className="size-5 shrink-0" />
        {!narrow && "LLM Router"}
      </Link>
      {GROUPS.map(({ name, places }) => {
        const shown = places.filter((place) => isFor(place, session));
        if (shown.length === 0) return null;
        return (
          <div key={name}>
            {!narrow && <h2 className="px-2 pb-1 text-xs font-medium text-muted">{name}</h2>}
            <ul className="flex flex-col gap-px">
              {shown.map((place) => (
                <li key={place.to}>
                  <RailLink place={place} narrow={narrow} />
                </li>
              ))}
            </ul>
          </div>
        );
      })}
    </nav>
  );
}

function RailLink({ place: { to, name, icon: Icon }, narrow }: { place: Place; narrow: boolean }) {
  return (
    <Link
      to={to}
      activeOptions={{ exact: to === "/dashboard", includeSearch: false }}
      title={narrow ? name : undefined}
      aria-label={narrow ? name : undefined}
      className={classes("flex h-8 items-center gap-2.5 rounded-md px-2 text-muted hover:bg-hover hover:text-text", narrow && "justify-center")}
      activeProps={{ className: "bg-hover !text-text font-medium", "aria-current": "page" }}
    >
      <Icon className="size-4 shrink-0" aria-hidden />
      {!narrow && (
        <>
          <span className="flex-1">{name}</span>
          <RailState to={to} />
        </>
      )}
    </Link>
  );
}

/** A count or a dot where one matters. */
function RailState({ to }: { to: string }) {
  const isNodes = to === "/dashboard/nodes";
  const { data: nodes } = useQuery({ ...queries.nodes(), enabled: isNodes });
  const isAccounts = to === "/dashboard/accounts";
  const { data: live } = useQuery({ ...queries.live(), enabled: isAccounts });
  if (isNodes && nodes && nodes.length > 0) {
    const online = nodes.filter((node) => node.status === "online").length;
    const isWell = online === nodes.length;
    return (
      <span className={classes("text-xs", isWell ? "text-muted" : "font-medium text-warn")} title={`${online} of ${nodes.length} online`}>
        {isWell ? online : `${online}/${nodes.length}`}
      </span>
    );
  }
  const resting = isAccounts ? Object.values(live?.accounts ?? {}).filter((account) => account.state !== "open").length : 0;
  if (resting > 0) {
    return (
      <span className="text-xs font-medium text-warn" title={`${resting} left alone for now`}>
        {resting} resting
      </span>
    );
  }
  return null;
}

function ThemeButton() {
  const { theme } = useTheme();
  const mark = (of: Theme | null) => (chosen() === of ? Check : undefined);
  return (
    <Menu
      label="Theme"
      icon={theme === "dark" ? Moon : Sun}
      items={[
        { label: "Light", icon: mark("light"), onSelect: () => choose("light") },
        { label: "Dark", icon: mark("dark"), onSelect: () => choose("dark") },
        { label: "As the system", icon: mark(null), onSelect: () => choose(null) },
      ]}
    />
  );
}

function Account({ onHelp }: { onHelp: () => void }) {
  const { me, isOpen, logout } = useSession();
  return (
    <Menu
      label={`Account: ${me.username}`}
      icon={UserRound}
      items={[
        { label: isOpen ? "No authentication" : me.role === "key" ? me.username : `${me.username} · ${me.role}`, disabled: true, onSelect: () => {} },
        { label: "Keyboard", icon: Keyboard, onSelect: onHelp },
        ...(isOpen ? [] : [{ label: me.role === "key" ? "Forget the key" : "Log out", icon: LogOut, onSelect: () => void logout().catch(sayFailed("Logging out failed")) }]),
      ]}
    />
  );
}
