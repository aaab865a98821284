// The machines: what they are doing, what they have room for, what is wrong with them.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Download, MoreHorizontal, Plus } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { LIVE_MS, queries } from "../api/queries";
import type { Node, NodeMetrics } from "../api/types";
import { Ago, Button, Empty, ErrorNote, Meter, useTimed } from "../parts/basics";
import { Select, Typed } from "../parts/filters";
import { Menu } from "../parts/menu";
import { Sparkline } from "../parts/sparkline";
import { NodeState } from "../parts/states";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { csv, save } from "../text/csv";
import { bytes, count, duration, exact, instant, percent, percentile, plural, span, speed, UNKNOWN } from "../text/format";
import { matches } from "../text/search";
import { AddNode } from "./addnode";
import { firstBytes, work, type Work } from "./instances";
import { NodeActions, nodeItems, type NodeAction } from "./nodeactions";

const PAGE_ROWS = 50;
const EXPORTED = ["id", "machine_name", "custom_name", "status", "ip_address", "node_api_port", "runtime_version", "loaded_models", "total_requests", "successful_requests", "failed_requests", "average_response_time_ms", "registered_at", "last_seen", "tags", "notes"] as const;

/** Requests whose times to the first token are drawn. */
const RECENT = 100;

export interface Row extends Node {
  metrics?: NodeMetrics;
  work: Work | null;
  firsts: number[];
}

const name = (node: Node) => node.custom_name ?? node.machine_name;
const uptime = (node: Node) => (node.online_since && node.status === "online" ? (Date.now() - (instant(node.online_since) ?? Date.now())) / 1000 : null);

const column = createColumnHelper<Row>();

function columns(act: (node: Node) => (action: NodeAction) => void, isAdmin: boolean) {
  return [
    column.accessor(name, {
      id: "machine",
      header: "Machine",
      meta: { grow: true },
      cell: ({ row: { original: node } }) => (
        <div className="min-w-0">
          <Link to="/dashboard/nodes/$id" params={{ id: node.id }} tabIndex={-1} className="block truncate font-medium">
            {name(node)}
          </Link>
          <span className="block truncate text-xs text-muted">
            {node.endpoint ?? `${node.ip_address}:${node.node_api_port ?? node.runtime_port + 1}`} {node.gpu_devices.map((gpu) => `${(gpu.count ?? 1) > 1 ? `${gpu.count} × ` : ""}${gpu.model}`).join(", ") || (node.accelerator === "cpu" ? "CPU" : "")}
          </span>
        </div>
      ),
    }),
    column.accessor("status", { header: "Status", cell: ({ row }) => <NodeState node={row.original} /> }),
    column.accessor((node) => node.loaded_models.length, {
      id: "models",
      header: "Models loaded",
      meta: { wide: "md" },
      cell: ({ row: { original: node } }) => <Loaded node={node} />,
    }),
    column.accessor((node) => node.metrics?.gpu_memory_usage ?? node.metrics?.memory_usage ?? -1, {
      id: "memory",
      header: "Memory",
      meta: { wide: "lg" },
      cell: ({ row: { original: node } }) => <Memory metrics={node.metrics} />,
    }),
    column.accessor((node) => node.metrics?.gpu_usage ?? node.metrics?.cpu_usage ?? -1, {
      id: "use",
      header: "Use",
      meta: { wide: "2xl", right: true },
      cell: ({ row: { original: node } }) => {
        const { gpu_usage, cpu_usage } = node.metrics ?? {};
        return typeof gpu_usage === "number" ? `GPU ${percent(gpu_usage)}` : typeof cpu_usage === "number" ? `CPU ${percent(cpu_usage)}` : UNKNOWN;
      },
    }),
    column.accessor("active_requests", {
      header: "In flight",
      meta: { right: true },
      cell: ({ row: { original: node } }) => (
        <span title={node.work ? `${count(node.work.queued)} wait there` : undefined}>
          {node.active_requests}
          {node.work && node.work.queued > 0 && <span className="text-warn"> +{count(node.work.queued)}</span>}
        </span>
      ),
    }),
    column.accessor((node) => node.work?.decode ?? node.metrics?.tokens_per_second ?? -1, {
      id: "speed",
      header: "Prefill / decode",
      meta: { right: true, wide: "xl" },
      cell: ({ row: { original: node } }) =>
        node.work ? (
          <span title="tokens a second: of prompts, and of one answer">
            {count(node.work.prefill && Math.round(node.work.prefill))} / {speed(node.work.decode)}
          </span>
        ) : (
          speed(node.metrics?.tokens_per_second)
        ),
    }),
    column.accessor((node) => percentile(node.firsts, 0.5) ?? -1, {
      id: "first",
      header: "First token",
      meta: { right: true, wide: "xl" },
      cell: ({ row: { original: node } }) => {
        const middle = percentile(node.firsts, 0.5);
        return (
          <span className="inline-flex items-center gap-2">
            <Sparkline values={node.firsts} title={`of its last ${plural(node.firsts.length, "request")}, the newest at the right; median ${duration(middle)}`} />
            {duration(middle)}
          </span>
        );
      },
    }),
    column.accessor((node) => node.average_response_time_ms ?? -1, { id: "time", header: "Mean time", meta: { right: true, wide: "2xl" }, cell: ({ row }) => duration(row.original.average_response_time_ms) }),
    column.accessor("total_requests", {
      header: "Total",
      meta: { right: true, wide: "sm" },
      cell: ({ row: { original: node } }) => <span title={`${exact(node.successful_requests)} succeeded, ${exact(node.failed_requests)} failed`}>{count(node.total_requests)}</span>,
    }),
    column.accessor((node) => uptime(node) ?? -1, {
      id: "uptime",
      header: "Up for",
      meta: { right: true, wide: "md" },
      cell: ({ row: { original: node } }) => (uptime(node) === null ? <Ago time={node.last_seen} /> : <UpFor node={node} />),
    }),
    ...(isAdmin
      ? [
          column.display({
            id: "actions",
            header: () => <span className="sr-only">Actions</span>,
            meta: { wide: "sm" },
            cell: ({ row }) => <Menu label={`Actions for ${name(row.original)}`} icon={MoreHorizontal} items={nodeItems(row.original, act(row.original))} />,
          }),
        ]
      : []),
  ];
}

const UpFor = ({ node }: { node: Node }) => <>{useTimed(() => span(uptime(node)))}</>;

/** What is in memory, and how much of what it works on at once is taken. */
function Loaded({ node }: { node: Row }) {
  if (node.loaded_models.length === 0) return <span className="text-muted">{node.available_models?.length ? `none of ${node.available_models.length}` : "none"}</span>;
  const words = node.work && node.work.slots > 0 ? `${node.work.busy} of ${plural(node.work.slots, "slot")} busy` : null;
  return (
    <span className="flex w-40 flex-col gap-1">
      <span className="flex gap-1.5" title={node.loaded_models.join("\n")}>
        <span className="truncate">{node.loaded_models[0]}</span>
        {node.loaded_models.length > 1 && <span className="text-muted">+{node.loaded_models.length - 1}</span>}
      </span>
      {node.work && words && <Meter value={node.work.busy} max={node.work.slots} label={words} />}
    </span>
  );
}

function Memory({ metrics }: { metrics?: NodeMetrics }) {
  if (!metrics) return <span className="text-muted">{UNKNOWN}</span>;
  const { gpu_memory_used_mb: used, gpu_memory_total_mb: all, gpu_memory_usage, memory_usage } = metrics;
  if (typeof used === "number" && all) {
    const words = `VRAM ${bytes(used * 1e6)} of ${bytes(all * 1e6)}`;
    return (
      <span className="flex w-34 flex-col gap-1">
        <span className="text-xs">{words}</span>
        <Meter value={used} max={all} label={words} />
      </span>
    );
  }
  const share = gpu_memory_usage ?? memory_usage;
  if (typeof share !== "number") return <span className="text-muted">{UNKNOWN}</span>;
  const words = `${typeof gpu_memory_usage === "number" ? "VRAM" : "RAM"} ${percent(share)}`;
  return (
    <span className="flex w-28 flex-col gap-1">
      <span className="text-xs">{words}</span>
      <Meter value={share} max={100} label={words} />
    </span>
  );
}

const NONE: number[] = [];

/** A row with what it was made of. */
interface Kept {
  node: Node;
  last?: NodeMetrics;
  row: Row;
}

const alike = (a: number[], b: number[]) => a === b || (a.length === b.length && a.every((value, n) => value === b[n]));

/** The row of a node: the one of before where nothing is new, so that it is not drawn again. */
export function rowOf(node: Node, last: NodeMetrics | undefined, firsts: number[], before?: Kept): Kept {
  if (before && before.node === node && before.last === last && alike(before.row.firsts, firsts)) return before;
  return { node, last, row: { ...node, metrics: last, work: work(last), firsts } };
}

export default function NodesPage() {
  const { isAdmin } = useSession();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [filters, change] = useFilters();
  const nodes = useQuery(queries.nodes());
  const metrics = useQuery(queries.nodesMetrics());
  const recent = useQuery(queries.requests({ page: 1, per_page: RECENT }, LIVE_MS));
  const firsts = useMemo(() => firstBytes(recent.data?.records ?? []), [recent.data]);
  const [chosen, setChosen] = useState<Record<string, boolean>>({});
  const [action, setAction] = useState<{ node: Node; action: NodeAction } | null>(null);
  const [adding, setAdding] = useState(false);
  const rows = useRef(new Map<string, Kept>());
  const shown = useMemo(() => {
    const byNode = new Map(metrics.data?.map((point) => [point.node_id, point]));
    const before = rows.current;
    rows.current = new Map((nodes.data ?? []).map((node) => [node.id, rowOf(node, byNode.get(node.id), firsts.get(node.id) ?? NONE, before.get(node.id))]));
    return [...rows.current.values()]
      .map(({ row }) => row)
      .filter((node) => !filters.status || node.status === filters.status || node.state === filters.status)
      .filter((node) => matches(filters.q ?? "", `${node.machine_name} ${node.custom_name ?? ""} ${node.ip_address} ${node.tags.join(" ")} ${node.loaded_models.join(" ")}`));
  }, [nodes.data, metrics.data, firsts, filters.status, filters.q]);
  const table = useMemo(() => columns((node) => (what) => setAction({ node, action: what }), isAdmin), [isAdmin]);
  const marked = shown.filter((node) => chosen[node.id]);
  const exported = marked.length > 0 ? marked : shown;
  const date = new Date().toISOString().slice(0, 10);
  const what = marked.length > 0 ? `${marked.length} chosen` : "all shown";

  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Nodes</h1>
      <div className="flex flex-wrap items-center gap-2">
        <Typed label="Search nodes" placeholder="Name, address, tag, model" type="search" value={filters.q} onChange={(q) => change({ q })} className="w-56" />
        <Select label="Status" value={filters.status} onChange={(status) => change({ status })} options={[["", "Any status"], ["online", "Online"], ["registering", "Starting"], ["draining", "Draining"], ["pending", "Waiting for approval"], ["offline", "Offline"]]} />
        {nodes.data && nodes.data.length > 0 && <span className="text-muted">{shown.length === nodes.data.length ? `${count(shown.length)} in all` : `${count(shown.length)} of ${count(nodes.data.length)}`}</span>}
        <div className="ml-auto flex items-center gap-2">
          <Menu
            label="Export"
            icon={Download}
            items={[
              { label: `JSON, ${what}`, icon: Download, disabled: exported.length === 0, onSelect: () => save(`nodes-${date}.json`, "application/json", JSON.stringify(exported.map(({ metrics: _metrics, work: _work, firsts: _firsts, ...node }) => node), null, 2)) },
              { label: `CSV, ${what}`, icon: Download, disabled: exported.length === 0, onSelect: () => save(`nodes-${date}.csv`, "text/csv", csv(exported, EXPORTED)) },
            ]}
          />
          <Button icon={Plus} look="primary" onClick={() => setAdding(true)}>
            Add a node
          </Button>
        </div>
      </div>
      {nodes.error && !nodes.data && <ErrorNote what="Nodes" error={nodes.error} retry={() => void nodes.refetch()} />}
      {nodes.isPending && <TableSkeleton />}
      {nodes.data?.length === 0 && (
        <Empty title="No node yet" command={`llm-node serve --router ${location.origin}`}>
          <p>A node is a machine that answers with models of your own. Run this on one; it shows here when the router has called it back.</p>
        </Empty>
      )}
      {nodes.data && nodes.data.length > 0 && shown.length === 0 && <Empty title="No node is like that" action={<Button onClick={() => change({ q: "", status: "" })}>Show all</Button>} />}
      {shown.length > 0 && (
        <DataTable dense label="Nodes" columns={table} rows={shown} rowId={(node) => node.id} pageRows={PAGE_ROWS} chosen={chosen} onChoose={setChosen} onOpen={(node) => void navigate({ to: "/dashboard/nodes/$id", params: { id: node.id } })} />
      )}
      {action && (
        <NodeActions
          node={action.node}
          action={action.action}
          onClose={() => setAction(null)}
          onDone={() => {
            setAction(null);
            void client.invalidateQueries({ queryKey: ["nodes"] });
          }}
        />
      )}
      {adding && <AddNode onClose={() => setAdding(false)} />}
    </div>
  );
}
