// Where is my request, and why did it go there?

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Columns2, Download, Pause, Play, SlidersHorizontal, X } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { dashboard } from "../api/endpoints";
import { withQuery, type Query } from "../api/http";
import { queries } from "../api/queries";
import { useTail, type TailState } from "../api/tail";
import type { RequestRow } from "../api/types";
import { Ago, Button, Empty, ErrorNote, Id, Tag, classes } from "../parts/basics";
import { Select, Typed } from "../parts/filters";
import { Menu } from "../parts/menu";
import { RequestState } from "../parts/states";
import { DataTable, Pager, TableSkeleton, createColumnHelper } from "../parts/table";
import { useFilters, type Filters } from "../shell/address";
import { count, duration, exact, instant, money, UNKNOWN } from "../text/format";

const PAGE_SIZES = [25, 50, 100];
/** How often rows are asked for where the router has no stream of them. */
const TAIL_MS = 2000;

const SPANS: [string, string, number][] = [
  ["15m", "last 15 min", 15],
  ["1h", "last hour", 60],
  ["24h", "last day", 1440],
  ["7d", "last 7 days", 10_080],
];

/** A span of one's own, whose ends stand in the address. */
const OWN_SPAN = "own";

/** The choices of the filter by status: outcomes, and what clients are most often answered. */
const STATUSES: [string, string][] = [
  ["", "Any status"],
  ["success", "Succeeded"],
  ["error", "Failed"],
  ["cancelled", "Cancelled"],
  ...[400, 401, 403, 404, 409, 413, 429, 499, 500, 502, 503, 504].map((status): [string, string] => [String(status), `Status ${status}`]),
];
const CACHES: [string, string][] = [
  ["", "Any cache"],
  ["hit", "Cache: hit"],
  ["miss", "Cache: miss"],
  ["replayed", "Cache: replayed"],
  ["off", "Cache: not asked"],
];

const whole = (value: number) => String(Math.round(value));
const milliseconds = (seconds: number) => whole(seconds * 1000);

/** Figures that lie between two ends: name in the address, heading, unit, name of an end for the router, and how it takes a value. */
const RANGES: [string, string, string, (end: "min" | "max") => string, (value: number) => string][] = [
  ["first", "First token", "s", (end) => `first_byte_${end}_ms`, milliseconds],
  ["took", "Total", "s", (end) => `duration_${end}_ms`, milliseconds],
  ["tokens", "Tokens", "", (end) => `tokens_${end}`, whole],
  ["cost", "Cost", "$", (end) => `cost_${end}_usd`, String],
];
const ENDS = ["min", "max"] as const;
const RANGE_NAMES = RANGES.flatMap(([name]) => ENDS.map((end) => `${name}_${end}`));
const FILTERS = ["model", "node", "status", "key", "account", "q", "ip", "span", "from", "to", "cache", ...RANGE_NAMES];
const NOTHING_FILTERED = Object.fromEntries(["page", ...FILTERS].map((name) => [name, ""]));

/** What the address says, as the router is asked. */
export function question(filters: Filters, now: number): Query {
  const minutes = SPANS.find(([id]) => id === filters.span)?.[2];
  const isCode = /^\d{3}$/.test(filters.status ?? "");
  const own = (name: "from" | "to") => {
    const at = filters.span === OWN_SPAN ? instant(filters[name]) : null;
    return at === null ? undefined : new Date(at).toISOString();
  };
  return {
    model: filters.model,
    node_id: filters.node,
    status: isCode ? undefined : filters.status,
    http_status: isCode ? filters.status : undefined,
    key: filters.key,
    account: filters.account,
    search: filters.q,
    client_ip: filters.ip,
    // To the minute, so that the same question keeps its answer.
    start_time: minutes ? new Date(Math.floor(now / 60_000 - minutes) * 60_000).toISOString() : own("from"),
    end_time: own("to"),
    cache: filters.cache,
    ...Object.fromEntries(RANGES.flatMap(([name, , , asked, taken]) => ENDS.map((end) => [asked(end), figure(filters[`${name}_${end}`], taken)]))),
  };
}

/** A figure as the router takes it; what is none is not asked for. */
function figure(text: string | undefined, taken: (value: number) => string): string | undefined {
  const value = text ? Number(text) : Number.NaN;
  return Number.isFinite(value) && value >= 0 ? taken(value) : undefined;
}

const total = (row: RequestRow) => (row.prompt_tokens === null && row.completion_tokens === null ? null : (row.prompt_tokens ?? 0) + (row.completion_tokens ?? 0));

const column = createColumnHelper<RequestRow>();
const COLUMNS = [
  column.accessor("timestamp", { header: "Time", enableSorting: false, cell: ({ getValue }) => <Ago time={getValue()} /> }),
  column.accessor((row) => row.status.type, { id: "status", header: "Status", enableSorting: false, cell: ({ row }) => <RequestState row={row.original} /> }),
  column.accessor("model", {
    header: "Model",
    enableSorting: false,
    meta: { grow: true },
    cell: ({ row: { original } }) => (
      <Link to="/dashboard/requests/$id" params={{ id: original.id }} tabIndex={-1} className="block truncate font-medium" title={original.model_served && original.model_served !== original.model ? `${original.model} → ${original.model_served}` : original.model}>
        {original.model || UNKNOWN}
        {original.model_served && original.model_served !== original.model && <span className="font-normal text-muted"> → {original.model_served}</span>}
      </Link>
    ),
  }),
  column.accessor((row) => row.node_machine_name ?? row.target, { id: "target", header: "Target", enableSorting: false, meta: { wide: "sm" }, cell: ({ getValue }) => getValue() ?? UNKNOWN }),
  column.accessor("request_type", { header: "Kind", enableSorting: false, meta: { wide: "2xl" }, cell: ({ row: { original } }) => <span className="text-muted">{original.request_type}{original.stream ? ", streamed" : ""}</span> }),
  column.accessor("first_byte_ms", { header: "First token", enableSorting: false, meta: { right: true, wide: "lg" }, cell: ({ getValue }) => <span title={`${exact(getValue())} ms`}>{duration(getValue())}</span> }),
  column.accessor("duration_ms", { header: "Total", enableSorting: false, meta: { right: true }, cell: ({ getValue }) => <span title={`${exact(getValue())} ms`}>{duration(getValue())}</span> }),
  column.accessor(total, { id: "tokens", header: "Tokens", enableSorting: false, meta: { right: true, wide: "md" }, cell: ({ row: { original } }) => <span title={`${exact(original.prompt_tokens)} in, ${exact(original.completion_tokens)} out`}>{count(total(original))}</span> }),
  column.accessor("cost_usd", { header: "Cost", enableSorting: false, meta: { right: true, wide: "lg" }, cell: ({ getValue }) => <span title={getValue() === null || getValue() === undefined ? "no price is known" : `$${getValue()}`}>{money(getValue())}</span> }),
  column.accessor("cache", { header: "Cache", enableSorting: false, meta: { wide: "xl" }, cell: ({ getValue }) => <span className="text-muted">{getValue() ?? UNKNOWN}</span> }),
  column.accessor((row) => row.key_name ?? row.key_id, { id: "key", header: "Key", enableSorting: false, meta: { wide: "lg" }, cell: ({ getValue }) => <span className="block max-w-32 truncate text-muted">{getValue() ?? UNKNOWN}</span> }),
  column.accessor("id", { header: "Request", enableSorting: false, meta: { wide: "2xl" }, cell: ({ getValue }) => <Id id={getValue()} /> }),
];

export default function RequestsPage() {
  const [filters, change] = useFilters();
  const navigate = useNavigate();
  const { data: nodes = [] } = useQuery(queries.nodes());
  const page = Math.max(1, Number(filters.page) || 1);
  const perPage = PAGE_SIZES.includes(Number(filters.per_page)) ? Number(filters.per_page) : 50;
  const isTail = filters.live === "1";
  const asked = useMemo(() => question(filters, Date.now()), [filters]);
  const tail = useTail(asked, perPage, isTail);
  const isAsking = !isTail || tail.state === "absent";
  const found = useQuery({ ...queries.requests({ ...asked, page: isTail ? 1 : page, per_page: perPage }, isTail ? TAIL_MS : page === 1 ? 5000 : undefined), enabled: isAsking });
  const records = isAsking || (tail.rows.length === 0 && found.data) ? (found.data?.records ?? []) : tail.rows;
  const [more, setMore] = useState(() => ["cache", ...RANGE_NAMES].some((name) => filters[name]));
  const [chosen, setChosen] = useState<Record<string, boolean>>({});
  const two = Object.keys(chosen).filter((id) => chosen[id]);
  const isNew = useNewest(records, isTail);
  const isFiltered = FILTERS.some((name) => filters[name]);
  const setFilter = (name: string) => (value: string) => change({ [name]: value, page: undefined });

  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Requests</h1>
      <div className="flex flex-wrap items-center gap-2">
        <Typed label="Search the text of requests" placeholder="Search text or id" value={filters.q} onChange={setFilter("q")} type="search" className="w-44 max-sm:w-full" />
        <Select label="Status" value={filters.status} onChange={setFilter("status")} options={STATUSES} />
        {/* On a phone the rest waits until it is wanted; figures do everywhere. */}
        <Button className="sm:order-1" icon={SlidersHorizontal} aria-label="More filters" title="More filters" aria-expanded={more} onClick={() => setMore(!more)} />
        <div className={classes("flex flex-wrap items-center gap-2 sm:contents", !more && "max-sm:hidden")}>
          <Typed label="Model" placeholder="Model" value={filters.model} onChange={setFilter("model")} className="w-28" />
          <Select label="Node" value={filters.node} onChange={setFilter("node")} options={[["", "Any node"], ...nodes.map((node): [string, string] => [node.id, node.custom_name ?? node.machine_name])]} />
          <Typed label="Account" placeholder="Account" value={filters.account} onChange={setFilter("account")} className="w-24" />
          <Typed label="Key" placeholder="Key" value={filters.key} onChange={setFilter("key")} className="w-24" />
          <Typed label="Client address" placeholder="Address" value={filters.ip} onChange={setFilter("ip")} className="w-24" />
          <Select label="Time" value={filters.span} onChange={setFilter("span")} options={[["", "All that is kept"], ...SPANS.map(([id, name]): [string, string] => [id, name]), [OWN_SPAN, "between…"]]} />
          {filters.span === OWN_SPAN &&
            (["from", "to"] as const).map((name) => (
              <input key={name} type="datetime-local" aria-label={name === "from" ? "From" : "Until"} className="input w-auto" value={filters[name] ?? ""} onChange={(event) => setFilter(name)(event.target.value)} />
            ))}
        </div>
        {isFiltered && (
          <Button look="quiet" icon={X} className="sm:order-2" onClick={() => change(NOTHING_FILTERED)}>
            Clear
          </Button>
        )}
        <div className="ml-auto flex items-center gap-2 sm:order-3">
          {two.length > 0 && (
            <Button icon={Columns2} disabled={two.length !== 2} title={two.length === 2 ? undefined : "Choose two requests"} onClick={() => void navigate({ to: "/dashboard/requests/compare", search: { a: two[0], b: two[1] } as never })}>
              Compare {two.length} of 2
            </Button>
          )}
          {isTail && tail.state !== "off" && (
            <span role="status">
              <Tag>{TAILS[tail.state]}</Tag>
            </span>
          )}
          <Button icon={isTail ? Pause : Play} aria-pressed={isTail} onClick={() => change({ live: isTail ? "" : "1", page: "" })}>
            Live tail
          </Button>
          <Menu
            label="Export"
            icon={Download}
            items={(["csv", "json"] as const).map((format) => ({
              label: `Export as ${format.toUpperCase()}`,
              icon: Download,
              onSelect: () => location.assign(withQuery(dashboard.exportPath, { ...asked, format })),
            }))}
          />
        </div>
      </div>
      {more && <Ranges filters={filters} onChange={setFilter} />}
      {found.error && !found.data && <ErrorNote what="Requests" error={found.error} retry={() => void found.refetch()} />}
      {found.error && found.data && <ErrorNote what="These requests" error={found.error} />}
      {isAsking && found.isPending && <TableSkeleton rows={12} />}
      {found.data?.looked_back && (
        <p role="note" className="text-muted">
          Looked through the newest {exact(found.data.looked_back)} requests. Choose a time to look further back.
        </p>
      )}
      {(found.data || tail.state === "following") && records.length === 0 && (isFiltered || page > 1 ? <Nothing onClear={() => change(NOTHING_FILTERED)} /> : <NoneYet />)}
      {records.length > 0 && (
        <>
          <DataTable
            label="Requests"
            columns={COLUMNS}
            rows={records}
            rowId={(row) => row.id}
            onOpen={(row) => void navigate({ to: "/dashboard/requests/$id", params: { id: row.id } })}
            chosen={chosen}
            onChoose={setChosen}
            isNew={isNew}
          />
          {!isTail && (
            <Pager page={page - 1} pages={Math.max(1, Math.ceil((found.data?.total_count ?? 0) / perPage))} total={found.data?.total_count ?? 0} onPage={(to) => change({ page: to > 0 ? String(to + 1) : "" })}>
              <Select label="Rows" value={String(perPage)} onChange={(value) => change({ per_page: value, page: "" })} options={PAGE_SIZES.map((n): [string, string] => [String(n), `${n} rows`])} />
            </Pager>
          )}
        </>
      )}
    </div>
  );
}

/** Where answers came from; what requests took, used and cost, from the least to the most. */
function Ranges({ filters, onChange }: { filters: Filters; onChange: (name: string) => (value: string) => void }) {
  return (
    <div className="flex flex-wrap gap-x-6 gap-y-2">
      <Select label="Cache" value={filters.cache} onChange={onChange("cache")} options={CACHES} />
      {RANGES.map(([name, heading, unit]) => (
        <fieldset key={name} className="flex items-center gap-1.5">
          <legend className="float-left mr-1 text-muted max-sm:w-24">
            {heading}
            {unit && `, ${unit}`}
          </legend>
          {ENDS.map((end) => (
            <Typed
              key={end}
              label={`${heading}, ${end === "min" ? "at least" : "at most"}`}
              placeholder={end === "min" ? "from" : "to"}
              type="number"
              min={0}
              step="any"
              value={filters[`${name}_${end}`]}
              onChange={onChange(`${name}_${end}`)}
              className="w-20"
            />
          ))}
        </fieldset>
      ))}
    </div>
  );
}

const TAILS: Record<TailState, string> = {
  following: "following",
  resting: "paused while nobody looks",
  waiting: "broken off; it is tried again",
  absent: `asked every ${TAIL_MS / 1000} s`,
  off: "",
};

/** Tells which rows came since the answer before, while the tail is followed. */
function useNewest(records: RequestRow[], isTail: boolean): (row: RequestRow) => boolean {
  const seen = useRef(new Set<string>());
  const fresh = useRef(new Set<string>());
  const last = useRef<RequestRow[]>([]);
  if (last.current !== records) {
    last.current = records;
    fresh.current = new Set(seen.current.size > 0 ? records.filter((row) => !seen.current.has(row.id)).map((row) => row.id) : []);
    seen.current = new Set(records.map((row) => row.id));
  }
  return (row) => isTail && fresh.current.has(row.id);
}

function Nothing({ onClear }: { onClear: () => void }) {
  return (
    <Empty title="No request is like that" action={<Button onClick={onClear}>Show all</Button>}>
      Requests are kept for seven days unless the settings say otherwise.
    </Empty>
  );
}

function NoneYet() {
  return (
    <Empty
      title="No request yet"
      command={`curl ${location.origin}/v1/chat/completions \\\n  -H "Authorization: Bearer $LLM_ROUTER_API_KEY" -H "Content-Type: application/json" \\\n  -d '{"model": "dummy", "messages": [{"role": "user", "content": "Hello"}]}'`}
      action={
        <Link to="/playground" className="link">
          Or ask in the playground
        </Link>
      }
    >
      The next one shows here a moment after it was answered.
    </Empty>
  );
}
