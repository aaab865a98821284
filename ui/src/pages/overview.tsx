// Is it healthy? The first screen answers without a click.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowRight, CircleCheck } from "lucide-react";
import type { ReactNode } from "react";
import { queries } from "../api/queries";
import type { Minute, Overview, RequestRow } from "../api/types";
import { Ago, Badge, Empty, ErrorNote, Facts, Section, Skeleton, classes } from "../parts/basics";
import { Chart } from "../parts/lines";
import { Breaker, NodeState, RequestState } from "../parts/states";
import { useSession } from "../shell/session";
import { count, duration, exact, instant, money, percent, percentile, plural, rate, speed, UNKNOWN } from "../text/format";
import { problems } from "../text/problems";
import { budgetWords, spentShare, tightest } from "./budgets";
import { drawn, useSamples } from "./samples";

/** The figures of speed are those of so many last requests. */
const RECENT = 100;

export default function OverviewPage() {
  const overview = useQuery(queries.overview());
  const recent = useQuery(queries.requests({ page: 1, per_page: RECENT }, 5000));
  const failures = useQuery(queries.requests({ page: 1, per_page: 25, status: "error" }, 10_000));
  const health = useQuery(queries.health());
  const live = useQuery(queries.live());
  const today = new Date();
  today.setHours(0, 0, 0, 0);
  const spend = useQuery(queries.usage("day", today.toISOString()));
  const { isAdmin } = useSession();
  const keys = useQuery({ ...queries.keys(), enabled: isAdmin });
  const tight = tightest(keys.data ?? [])[0];
  const samples = drawn(useSamples(live.data, live.dataUpdatedAt), Date.now());

  if (overview.error && !overview.data) return <ErrorNote what="The overview" error={overview.error} retry={() => void overview.refetch()} />;
  if (!overview.data) return <Waiting />;
  const { stats, nodes, history } = overview.data;
  const rows = recent.data?.records ?? [];
  const lastHour = history.reduce((sum, minute) => ({ success: sum.success + minute.success, error: sum.error + minute.error }), { success: 0, error: 0 });
  const asked = lastHour.success + lastHour.error;
  const accounts = Object.entries(live.data?.accounts ?? {});
  const isNew = nodes.length === 0 && accounts.length === 0 && rows.length === 0 && live.data !== undefined;

  const now = Date.now();
  const found = problems({ health: health.data, nodes, live: live.data, failures: failures.data?.records.filter((row) => now - (instant(row.timestamp) ?? 0) < 3_600_000) }, now);
  const newest = isNew ? [] : found.slice(0, 3);

  return (
    <div className="flex flex-col gap-6">
      <h1 className="sr-only">Overview</h1>
      {isNew && <FirstSteps />}
      <div className="grid grid-cols-2 gap-px overflow-hidden rounded-md border border-line bg-line sm:grid-cols-3 xl:grid-cols-6">
        <Tile name="Requests, last hour" value={count(asked)} title={exact(asked)} more={`${count(stats.total_requests)} in all, ${count(stats.failed_requests)} failed`} to="/dashboard/requests" />
        <Tile name="Errors, last hour" value={asked ? percent((lastHour.error / asked) * 100) : UNKNOWN} more={plural(lastHour.error, "failed request")} tone={asked && lastHour.error / asked >= 0.05 ? "bad" : undefined} to="/dashboard/requests" search={{ status: "error" }} />
        <FirstToken rows={rows} />
        <Speed rows={rows} />
        <Tile
          tone={tight && spentShare(tight.budget) >= 1 ? "bad" : undefined}
          name="Spend today"
          value={spend.data ? money(spend.data.totals.cost_usd) : UNKNOWN}
          title={[spend.data?.totals.cost_usd ? `$${spend.data.totals.cost_usd}` : "", tight ? `${tight.name}: ${budgetWords(tight.budget)}` : ""].filter(Boolean).join("; ") || undefined}
          more={tight ? `budget ${tight.name}: ${percent(spentShare(tight.budget) * 100)}` : spend.error ? "no prices known" : spend.data?.totals.unpriced_requests ? `${plural(spend.data.totals.unpriced_requests, "request")} without a known price` : "all priced"}
          to="/dashboard/usage"
        />
        <Tile name="Now" value={count(live.data?.active_requests)} more={`${count(live.data?.open_streams)} streams · ${count(live.data?.queued_requests)} queued`} to="/dashboard/requests" search={{ live: "1" }} />
      </div>

      <Section title="Problems" hint={found.length > 3 ? `the newest 3 of ${found.length}` : undefined}>
        {newest.length === 0 ? (
          <p className="flex items-center gap-2 rounded-md border border-line px-3 py-2">
            <CircleCheck className="size-4 text-good" aria-hidden />
            {isNew ? "Nothing to worry about yet." : "Nothing needs attention: every part answers, and no request failed in the last hour."}
          </p>
        ) : (
          <ul className="divide-y divide-line rounded-md border border-line">
            {newest.map((problem) => (
              <li key={problem.id}>
                <Link to={problem.to} className="flex min-h-9 flex-wrap items-center gap-x-3 gap-y-0.5 px-3 py-1.5 hover:bg-hover">
                  <Badge tone={problem.level}>{problem.level === "bad" ? "problem" : "warning"}</Badge>
                  <span className="font-medium">{problem.text}</span>
                  <span className="text-muted">{problem.detail}</span>
                  <ArrowRight className="ml-auto size-3.5 text-muted max-sm:hidden" aria-hidden />
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Section>

      <div className="grid gap-4 lg:grid-cols-2">
        <Traffic history={history} />
        <Chart
          label="In flight, since this page was opened"
          times={samples.map(({ at }) => at)}
          least={5}
          format={(value) => count(Math.round(value))}
          series={[
            { name: "requests", tone: "accent", as: "area", values: samples.map(({ active }) => active) },
            { name: "queued", tone: "warn", values: samples.map(({ queued }) => queued) },
          ]}
        />
      </div>

      <div className="grid gap-6 lg:grid-cols-2">
        <NodesPart nodes={nodes} stats={stats} />
        <Section title="Accounts" actions={<More to="/dashboard/accounts">All accounts</More>}>
          {accounts.length === 0 ? (
            <Empty title="No account yet" command={'llm-router config add-account --name openai --provider openai --api-key-env OPENAI_API_KEY'}>
              An account is a provider with a credential. Setting <code>OPENAI_API_KEY</code> or another provider&rsquo;s variable before the router starts makes one too.
            </Empty>
          ) : (
            <ul className="divide-y divide-line rounded-md border border-line">
              {accounts.slice(0, 6).map(([name, account]) => (
                <li key={name} className="flex min-h-9 items-center gap-3 px-3">
                  <span className="min-w-0 flex-1 truncate font-medium">{name}</span>
                  <span className="text-muted max-sm:hidden">{duration(account.first_byte_ms)} to first byte</span>
                  <span className="text-muted max-sm:hidden">{speed(account.tokens_per_second)}</span>
                  <Breaker state={account.state} />
                </li>
              ))}
            </ul>
          )}
        </Section>
      </div>

      <Section title="Latest requests" actions={<More to="/dashboard/requests">All requests</More>}>
        {rows.length === 0 ? (
          <Empty title="No request yet" action={<More to="/playground">Try a model in the playground</More>} />
        ) : (
          <ul className="divide-y divide-line rounded-md border border-line">
            {rows.slice(0, 6).map((row) => (
              <li key={row.id}>
                <Link to="/dashboard/requests/$id" params={{ id: row.id }} className="flex min-h-9 items-center gap-3 px-3 hover:bg-hover">
                  <RequestState row={row} />
                  <span className="min-w-0 flex-1 truncate font-medium">{row.model || UNKNOWN}</span>
                  <span className="truncate text-muted max-sm:hidden">{row.node_machine_name ?? row.target}</span>
                  <span className="w-16 text-right">{duration(row.duration_ms)}</span>
                  <span className="w-20 text-right text-muted">
                    <Ago time={row.timestamp} />
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Section>
      <p className="text-xs text-muted">
        Router {health.data?.version ?? ""} · figures made in {duration(overview.data.generation_time_ms)}, <Ago time={overview.data.generated_at} />
      </p>
    </div>
  );
}

function FirstToken({ rows }: { rows: RequestRow[] }) {
  const times = rows.filter((row) => row.status.type === "success").flatMap((row) => (typeof row.first_byte_ms === "number" ? [row.first_byte_ms] : []));
  const [p50, p99] = [percentile(times, 0.5), percentile(times, 0.99)];
  return <Tile name="First token, p50" value={duration(p50)} title={p50 === null ? undefined : `${exact(p50)} ms`} more={p99 === null ? "no answered request yet" : `p99 ${duration(p99)}, last ${times.length}`} to="/dashboard/requests" />;
}

/** Tokens a second of the answers themselves, without the wait before them. */
function Speed({ rows }: { rows: RequestRow[] }) {
  const speeds = rows.flatMap((row) => {
    const found = row.stream ? rate(row.completion_tokens, row.duration_ms - (row.first_byte_ms ?? 0)) : null;
    return found === null ? [] : [found];
  });
  return <Tile name="Tokens a second, p50" value={speed(percentile(speeds, 0.5))} more={speeds.length ? `of ${plural(speeds.length, "stream")}` : "no stream yet"} to="/dashboard/nodes" />;
}

function Tile({ name, value, more, title, tone, to, search }: { name: string; value: string; more?: string; title?: string; tone?: "bad"; to: string; search?: Record<string, string> }) {
  return (
    <Link to={to} search={search as never} className="flex min-w-0 flex-col bg-bg px-3 py-2.5 -outline-offset-2 hover:bg-hover" title={title}>
      <span className="truncate text-xs text-muted">{name}</span>
      <span className={classes("text-xl font-semibold tabular-nums", tone === "bad" && "text-bad")}>{value}</span>
      <span className="truncate text-xs text-muted">{more}</span>
    </Link>
  );
}

function Traffic({ history }: { history: Minute[] }) {
  const times = history.map(({ minute }) => instant(minute) ?? 0);
  return (
    <Chart
      label="Requests a minute, last hour"
      times={times}
      least={5}
      format={(value) => count(Math.round(value))}
      series={[
        { name: "all", tone: "accent", as: "bars", values: history.map(({ success, error }) => success + error) },
        { name: "failed", tone: "bad", as: "bars", values: history.map(({ error }) => error) },
      ]}
    />
  );
}

function NodesPart({ nodes, stats }: Pick<Overview, "nodes" | "stats">) {
  return (
    <Section title="Nodes" hint={nodes.length ? `${stats.online_nodes} online · ${stats.registering_nodes} starting · ${stats.offline_nodes} offline` : undefined} actions={<More to="/dashboard/nodes">All nodes</More>}>
      {nodes.length === 0 ? (
        <Empty title="No node yet" command={`llm-node serve --router ${location.origin}`}>
          A node answers with models of your own. Run this on a machine that has one.
        </Empty>
      ) : (
        <ul className="divide-y divide-line rounded-md border border-line">
          {nodes.slice(0, 6).map((node) => (
            <li key={node.id}>
              <Link to="/dashboard/nodes/$id" params={{ id: node.id }} className="flex min-h-9 items-center gap-3 px-3 hover:bg-hover">
                <span className="min-w-0 flex-1 truncate font-medium">{node.custom_name ?? node.machine_name}</span>
                <span className="text-muted max-sm:hidden">{plural(node.loaded_models.length, "model")}</span>
                <span className="text-muted max-sm:hidden">{node.active_requests} in flight</span>
                <NodeState node={node} />
              </Link>
            </li>
          ))}
        </ul>
      )}
      {nodes.length > 0 && (stats.average_gpu_usage !== null || stats.average_response_time_ms !== null) && (
        <Facts
          className="text-xs"
          rows={[
            ["GPU use, mean", stats.average_gpu_usage === null || stats.average_gpu_usage === undefined ? UNKNOWN : percent(stats.average_gpu_usage)],
            ["Answer time, mean", duration(stats.average_response_time_ms)],
          ]}
        />
      )}
    </Section>
  );
}

function FirstSteps() {
  return (
    <Empty title="Nothing answers here yet" command={`llm-node serve --router ${location.origin}`}>
      <p>
        Start a node with a model of your own, or configure an account of a provider. Until then the built-in model <code>dummy</code> answers, to try the way there and back.
      </p>
    </Empty>
  );
}

const More = ({ to, children }: { to: string; children: ReactNode }) => (
  <Link to={to} className="link">
    {children}
  </Link>
);

function Waiting() {
  return (
    <div className="flex flex-col gap-6" aria-busy="true">
      <span className="sr-only">Loading</span>
      <Skeleton className="h-20 w-full" />
      <Skeleton className="h-24 w-full" />
      <div className="grid gap-4 lg:grid-cols-2">
        <Skeleton className="h-56" />
        <Skeleton className="h-56" />
      </div>
    </div>
  );
}
