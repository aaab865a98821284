// The places of the rail, in the order of the questions that people come with.

import { Activity, BarChart3, Boxes, Cable, FileClock, KeyRound, LayoutDashboard, MessagesSquare, Route, ScrollText, Server, SlidersHorizontal, Users, type LucideIcon } from "lucide-react";

export interface Place {
  to: string;
  name: string;
  icon: LucideIcon;
  /** Words that also lead here. */
  words: string;
  /** Who may see it; without it, whoever may read. */
  who?: "admin" | "anybody";
}

export const GROUPS: { name: string; places: Place[] }[] = [
  {
    name: "Watch",
    places: [
      { to: "/dashboard", name: "Overview", icon: LayoutDashboard, words: "home health traffic" },
      { to: "/dashboard/requests", name: "Requests", icon: Activity, words: "history calls traces" },
      { to: "/dashboard/nodes", name: "Nodes", icon: Server, words: "machines gpu fleet agents" },
      { to: "/dashboard/logs", name: "Logs", icon: ScrollText, words: "lines errors" },
    ],
  },
  {
    name: "Serve",
    places: [
      { to: "/dashboard/models", name: "Models", icon: Boxes, words: "hub register convert gguf" },
      { to: "/dashboard/accounts", name: "Accounts", icon: Cable, words: "providers services limits breaker" },
      { to: "/dashboard/routing", name: "Routing", icon: Route, words: "strategies fallback decision" },
      { to: "/playground", name: "Playground", icon: MessagesSquare, words: "chat try compare", who: "anybody" },
    ],
  },
  {
    name: "Govern",
    places: [
      { to: "/dashboard/keys", name: "Keys", icon: KeyRound, words: "api secrets scopes budget", who: "admin" },
      { to: "/dashboard/users", name: "Users", icon: Users, words: "people roles password", who: "admin" },
      { to: "/dashboard/usage", name: "Usage and cost", icon: BarChart3, words: "money spend tokens price", who: "anybody" },
      { to: "/dashboard/audit", name: "Audit", icon: FileClock, words: "changes who", who: "admin" },
    ],
  },
  {
    name: "System",
    places: [{ to: "/dashboard/settings", name: "Settings", icon: SlidersHorizontal, words: "configuration origin versions", who: "admin" }],
  },
];

/** Whether somebody may see a place. */
export const isFor = ({ who }: Place, { isAdmin, isReader }: { isAdmin: boolean; isReader: boolean }): boolean => (who === "admin" ? isAdmin : who === "anybody" || isReader);

export const PLACES = GROUPS.flatMap((group) => group.places);

/** The place that a path belongs to. */
export const placeOf = (path: string): Place | undefined =>
  PLACES.filter(({ to }) => path === to || path.startsWith(`${to}/`)).sort((a, b) => b.to.length - a.to.length)[0];
