// What it costs, and who spends it. What has no known price is said to have none, and not counted as nothing.

import { useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { useMemo } from "react";
import { queries } from "../api/queries";
import type { UsageBy, UsageRow } from "../api/types";
import { Ago, Badge, Button, Empty, ErrorNote, Meter, Section } from "../parts/basics";
import { Select } from "../parts/filters";
import { Chart } from "../parts/lines";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { Tabs } from "../parts/tabs";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { csv, save } from "../text/csv";
import { count, exact, instant, money, percent, plural, UNKNOWN } from "../text/format";
import { Budgets, Spent } from "./budgets";

const BY: { id: UsageBy; name: string }[] = [
  { id: "key", name: "By key" },
  { id: "model", name: "By model" },
  { id: "account", name: "By account" },
  { id: "day", name: "By day" },
];

const column = createColumnHelper<UsageRow>();
const columns = (by: UsageBy, most: number) => [
  column.accessor((row) => row.name ?? row.group, {
    id: "group",
    header: { key: "Key", model: "Model", account: "Account", day: "Day" }[by],
    meta: { grow: true },
    cell: ({ row: { original: row } }) => <span className="font-medium break-all">{by === "day" ? row.group.slice(0, 10) : row.name || row.group || "none"}</span>,
  }),
  column.accessor("requests", { header: "Requests", meta: { right: true }, cell: ({ getValue }) => <span title={exact(getValue())}>{count(getValue())}</span> }),
  column.accessor((row) => row.errors ?? -1, {
    id: "errors",
    header: "Failed",
    meta: { right: true, wide: "md" },
    cell: ({ row: { original: row } }) => (row.errors === undefined ? UNKNOWN : row.requests ? <span title={exact(row.errors)}>{percent((row.errors / row.requests) * 100)}</span> : "0 %"),
  }),
  column.accessor((row) => row.prompt_tokens ?? -1, { id: "in", header: "Tokens in", meta: { right: true, wide: "sm" }, cell: ({ row }) => <span title={exact(row.original.prompt_tokens)}>{count(row.original.prompt_tokens)}</span> }),
  column.accessor((row) => row.completion_tokens ?? -1, { id: "out", header: "Tokens out", meta: { right: true, wide: "sm" }, cell: ({ row }) => <span title={exact(row.original.completion_tokens)}>{count(row.original.completion_tokens)}</span> }),
  column.accessor((row) => row.cost_usd ?? -1, {
    id: "cost",
    header: "Cost",
    meta: { right: true },
    cell: ({ row: { original: row } }) => (
      <span className="inline-flex items-center gap-2" title={row.cost_usd === null ? "no price is known" : `$${row.cost_usd}`}>
        {row.unpriced_requests ? <Badge tone="unknown" icon={false} title={`${plural(row.unpriced_requests, "request")} without a known price are not in it`}>+ unknown</Badge> : null}
        {row.cost_usd === null ? "not known" : money(row.cost_usd)}
      </span>
    ),
  }),
  column.display({ id: "share", header: () => <span className="sr-only">Share</span>, meta: { wide: "lg" }, cell: ({ row }) => <span className="block w-28">{row.original.cost_usd !== null && <Meter value={row.original.cost_usd} max={most} tone="accent" label={`${money(row.original.cost_usd)} of at most ${money(most)}`} />}</span> }),
];

export default function UsagePage() {
  const [filters, change] = useFilters();
  const { me, isAdmin, isReader } = useSession();
  // Of one key there is nothing to tell apart.
  const groups = isReader ? BY : BY.filter(({ id }) => id !== "key");
  const by = groups.find(({ id }) => id === filters.by)?.id ?? groups[0]?.id ?? "model";
  const days = [1, 7, 30, 90].includes(Number(filters.days)) ? Number(filters.days) : 30;
  // Whole days, so that the same question keeps its answer.
  const from = `${new Date(Date.now() - (days - 1) * 86_400_000).toISOString().slice(0, 10)}T00:00:00Z`;
  const found = useQuery(queries.usage(by, from));
  const daily = useQuery(queries.usage("day", from));
  const rows = useMemo(() => [...(found.data?.rows ?? [])].sort((a, b) => (by === "day" ? (a.group < b.group ? 1 : -1) : (b.cost_usd ?? -1) - (a.cost_usd ?? -1) || b.requests - a.requests)), [found.data, by]);
  const byKey = useQuery({ ...queries.usage("key", from), enabled: isReader && me.user_id !== "" });
  const own = byKey.data?.rows.find((row) => row.group === me.user_id);
  const keys = useQuery({ ...queries.keys(), enabled: isAdmin });
  const most = Math.max(1e-9, ...rows.map((row) => row.cost_usd ?? 0));
  const table = useMemo(() => columns(by, most), [by, most]);
  const totals = found.data?.totals;
  const line = [...(daily.data?.rows ?? [])].sort((a, b) => (a.group < b.group ? -1 : 1));
  return (
    <div className="flex flex-col gap-5">
      <h1 className="sr-only">Usage and cost</h1>
      {!isReader && <p className="rounded-md border border-line bg-sunken px-3 py-2">This is what {me.username === "an API key" ? "your key" : <b>{me.username}</b>} has used.</p>}
      <div className="flex flex-wrap items-center gap-2">
        <Select label="Time" value={String(days)} onChange={(to) => change({ days: to })} options={[["1", "Today"], ["7", "Last 7 days"], ["30", "Last 30 days"], ["90", "Last 90 days"]]} />
        {totals && (
          <p className="text-muted">
            <b className="text-text" title={totals.cost_usd === null ? undefined : `$${totals.cost_usd}`}>{totals.cost_usd === null ? "Cost not known" : money(totals.cost_usd)}</b> for {plural(totals.requests, "request")}, {count(totals.prompt_tokens)} tokens in, {count(totals.completion_tokens)} out
            {totals.unpriced_requests ? `; ${plural(totals.unpriced_requests, "request")} without a known price not counted` : ""}
          </p>
        )}
        <Button className="ml-auto" icon={Download} disabled={rows.length === 0} onClick={() => save(`usage-by-${by}-${from.slice(0, 10)}.csv`, "text/csv", csv(rows, ["group", "name", "requests", "errors", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd", "unpriced_requests"]))}>
          CSV
        </Button>
      </div>
      {found.error && !found.data && <ErrorNote what="Usage" error={found.error} retry={() => void found.refetch()} />}
      {line.length > 1 && (
        <div className="grid gap-4 lg:grid-cols-2">
          <Chart label="Cost a day" least={0.01} times={line.map((row) => instant(row.group) ?? 0)} format={money} series={[{ name: "cost", tone: "accent", as: "bars", values: line.map((row) => row.cost_usd) }]} />
          <Chart
            label="Tokens a day"
            times={line.map((row) => instant(row.group) ?? 0)}
            format={count}
            series={[
              { name: "in", tone: "accent", values: line.map((row) => row.prompt_tokens) },
              { name: "out", tone: "good", values: line.map((row) => row.completion_tokens) },
            ]}
          />
        </div>
      )}
      {!(found.error && !found.data) && (
        <Tabs<UsageBy> label="Grouped" tabs={groups} chosen={by} onChoose={(to) => change({ by: to })}>
          {found.isPending && <TableSkeleton />}
          {found.data && rows.length === 0 && <Empty title="Nothing was used in this time">Requests count here a moment after they were answered.</Empty>}
          {rows.length > 0 && <DataTable key={by} label={`Usage by ${by}`} columns={table} rows={rows} rowId={(row) => row.group} pageRows={50} />}
        </Tabs>
      )}
      {!isReader && found.data?.budget && (
        <Section title="Its budget" hint={found.data.budget.resets_at ? <>begins anew <Ago time={found.data.budget.resets_at} /></> : undefined}>
          <div className="flex max-w-md flex-col">
            <Spent budget={found.data.budget} />
          </div>
        </Section>
      )}
      {own && (
        <Section title="Your own use" hint="of your session, such as in the playground">
          <p>
            <b>{own.cost_usd === null ? "cost not known" : money(own.cost_usd)}</b> for {plural(own.requests, "request")}, {count(own.prompt_tokens)} tokens in, {count(own.completion_tokens)} out
          </p>
        </Section>
      )}
      <Budgets keys={keys.data ?? []} />
      {found.data?.price_book && (
        <Section title="Where the prices come from">
          <p className="text-muted">
            Price book {found.data.price_book.version}
            {found.data.price_book.source ? `, ${found.data.price_book.source}` : ""}. Each request keeps the version that it was priced with.
          </p>
        </Section>
      )}
    </div>
  );
}
