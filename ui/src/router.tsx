// All places. Each page is its own file, loaded when somebody goes there.

import { Link, createRootRoute, createRoute, createRouter, lazyRouteComponent, type ErrorComponentProps } from "@tanstack/react-router";
import { Button, ErrorNote } from "./parts/basics";
import { Layout } from "./shell/layout";

// Filters stand in the address as people would write them, not as JSON.
const parseSearch = (search: string): Record<string, string> => Object.fromEntries(new URLSearchParams(search));
const stringifySearch = (search: Record<string, unknown>): string => {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) {
    if (value !== undefined && value !== null && value !== "") params.set(name, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : "";
};

function Nowhere() {
  return (
    <div className="flex flex-col items-start gap-3">
      <h1 className="text-xl font-semibold">There is no such page</h1>
      <p className="text-muted">The address may be from another version of the dashboard.</p>
      <Link to="/dashboard" className="link">
        To the overview
      </Link>
    </div>
  );
}

function Broken({ error, reset }: ErrorComponentProps) {
  // After an update of the router the old page asks for files that are gone.
  const isOld = /dynamically imported module|Importing a module script/i.test(error instanceof Error ? error.message : String(error));
  return (
    <div className="flex max-w-xl flex-col items-start gap-3">
      <h1 className="text-xl font-semibold">{isOld ? "The router was updated" : "This page broke"}</h1>
      {isOld ? <p className="text-muted">This page belongs to the version before. Load it again to get the new one.</p> : <ErrorNote what="This page" error={error} />}
      <div className="flex gap-2">
        <Button look="primary" onClick={() => location.reload()}>
          Load again
        </Button>
        {!isOld && <Button onClick={reset}>Try once more</Button>}
      </div>
    </div>
  );
}

const root = createRootRoute({ component: Layout, notFoundComponent: Nowhere, errorComponent: Broken });

const page = <const Path extends string>(path: Path, load: () => Promise<{ default: React.ComponentType }>) =>
  createRoute({ getParentRoute: () => root, path, component: lazyRouteComponent(load), errorComponent: Broken });

const routes = root.addChildren([
  page("/dashboard", () => import("./pages/overview")),
  page("/dashboard/requests", () => import("./pages/requests")),
  page("/dashboard/requests/compare", () => import("./pages/compare")),
  page("/dashboard/requests/$id", () => import("./pages/request")),
  page("/dashboard/nodes", () => import("./pages/nodes")),
  page("/dashboard/nodes/$id", () => import("./pages/node")),
  page("/dashboard/logs", () => import("./pages/logs")),
  page("/dashboard/models", () => import("./pages/models")),
  page("/dashboard/accounts", () => import("./pages/accounts")),
  page("/dashboard/routing", () => import("./pages/routing")),
  page("/dashboard/keys", () => import("./pages/keys")),
  page("/dashboard/users", () => import("./pages/users")),
  page("/dashboard/usage", () => import("./pages/usage")),
  page("/dashboard/audit", () => import("./pages/audit")),
  page("/dashboard/settings", () => import("./pages/settings")),
  page("/playground", () => import("./playground/playground")),
]);

export const makeRouter = () => createRouter({ routeTree: routes, parseSearch, stringifySearch, defaultPreload: "intent", defaultPendingMs: 300, scrollRestoration: true, trailingSlash: "never" });

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
