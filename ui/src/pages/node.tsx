// One node: what it is, how it has been doing, what it is set to, what it says.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ArrowLeft, MoreHorizontal } from "lucide-react";
import { useState } from "react";
import { models as modelApi } from "../api/endpoints";
import { queries } from "../api/queries";
import type { Instance, Node, NodeMetrics } from "../api/types";
import { Ago, Button, Empty, ErrorNote, Facts, Id, Meter, Section, Skeleton, Tag } from "../parts/basics";
import { Chart } from "../parts/lines";
import { LogView } from "../parts/logview";
import { Menu } from "../parts/menu";
import { NodeState, nodeState } from "../parts/states";
import { Tabs } from "../parts/tabs";
import { say, sayFailed } from "../parts/toast";
import { useLookingAt } from "../playground/looking";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { bytes, count, duration, instant, percent, plural, speed, stamp, UNKNOWN } from "../text/format";
import { decodeSpeed } from "./instances";
import { NodeActions, nodeItems, type NodeAction } from "./nodeactions";

type Tab = "overview" | "metrics" | "settings" | "logs";

export default function NodePage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const { isAdmin } = useSession();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [filters, change] = useFilters();
  const [action, setAction] = useState<NodeAction | null>(null);
  const nodes = useQuery(queries.nodes());
  const node = nodes.data?.find((one) => one.id === id);
  useLookingAt(node?.loaded_models[0]);
  const tab = (["metrics", "settings", "logs"].includes(filters.tab ?? "") ? filters.tab : "overview") as Tab;
  const back = (
    <Link to="/dashboard/nodes" className="inline-flex items-center gap-1 text-muted hover:text-text">
      <ArrowLeft className="size-3.5" aria-hidden />
      Nodes
    </Link>
  );
  if (!node) {
    return (
      <div className="flex flex-col gap-4">
        {back}
        <h1 className="sr-only">Node</h1>
        {nodes.error ? (
          <ErrorNote what="The node" error={nodes.error} retry={() => void nodes.refetch()} />
        ) : nodes.isPending ? (
          <Skeleton className="h-40" />
        ) : (
          <Empty title="There is no such node">It was deleted, or has registered anew under another id.</Empty>
        )}
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center gap-3">
        {back}
        <h1 className="text-lg font-semibold">{node.custom_name ?? node.machine_name}</h1>
        <NodeState node={node} />
        <span className="text-muted">{nodeState(node)[2]}</span>
        {isAdmin && (
          <div className="ml-auto flex gap-2">
            {(node.status === "pending" || node.state === "pending") && (
              <Button look="primary" onClick={() => setAction("approve")}>
                Approve
              </Button>
            )}
            <Menu label="Actions" icon={MoreHorizontal} items={nodeItems(node, setAction)} />
          </div>
        )}
      </div>
      <Tabs<Tab>
        label="Parts of the node"
        chosen={tab}
        onChoose={(to) => change({ tab: to === "overview" ? "" : to })}
        tabs={[
          { id: "overview", name: "Overview" },
          { id: "metrics", name: "Metrics" },
          { id: "settings", name: "Settings" },
          { id: "logs", name: "Logs" },
        ]}
      >
        {tab === "overview" && <Overview node={node} />}
        {tab === "metrics" && <Metrics id={id} />}
        {tab === "settings" && (
          <Section title="What people call it" actions={isAdmin && <Button onClick={() => setAction("edit")}>Edit</Button>}>
            <Facts
              rows={[
                ["Name", node.custom_name ?? <span key="n" className="text-muted">the machine&rsquo;s own: {node.machine_name}</span>],
                ["Tags", node.tags.length ? <span key="t" className="flex flex-wrap gap-1">{node.tags.map((tag) => <Tag key={tag}>{tag}</Tag>)}</span> : <span key="t" className="text-muted">none</span>],
                ["Notes", node.notes ? <span key="o" className="whitespace-pre-wrap">{node.notes}</span> : <span key="o" className="text-muted">none</span>],
              ]}
            />
          </Section>
        )}
        {tab === "logs" && <Logs node={node} />}
      </Tabs>
      {action && (
        <NodeActions
          node={node}
          action={action}
          onClose={() => setAction(null)}
          onDone={() => {
            setAction(null);
            if (action === "remove") void navigate({ to: "/dashboard/nodes" });
            void client.invalidateQueries({ queryKey: ["nodes"] });
          }}
        />
      )}
    </div>
  );
}

function Overview({ node }: { node: Node }) {
  const gpus = node.gpu_devices.map((gpu) => `${(gpu.count ?? 1) > 1 ? `${gpu.count} × ` : ""}${gpu.model}${gpu.memory ? `, ${bytes(gpu.memory)}` : ""}`).join("; ");
  return (
    <div className="grid gap-6 lg:grid-cols-2">
      <Section title="Machine">
        <Facts
          rows={[
            ["Machine", node.machine_name],
            ["Address", <code key="a">{node.endpoint ?? `${node.ip_address}:${node.node_api_port ?? node.runtime_port + 1}`}</code>],
            ["Hardware", gpus || (node.accelerator === "cpu" ? "CPU only" : UNKNOWN)],
            ["Version", node.runtime_version || UNKNOWN],
            ["Registered", stamp(node.registered_at)],
            ["Last report", <Ago key="l" time={node.last_seen} />],
            ["Online since", node.online_since ? stamp(node.online_since) : UNKNOWN],
            ["Id", <Id key="i" id={node.id} whole />],
          ]}
        />
      </Section>
      <Section title="Work">
        <Facts
          rows={[
            ["In flight", String(node.active_requests)],
            ["Requests", `${count(node.total_requests)} in all: ${count(node.successful_requests)} succeeded, ${count(node.failed_requests)} failed`],
            ["Mean answer", duration(node.average_response_time_ms)],
            ["Ready models", node.ready_models ? `${node.ready_models[0]} of ${node.ready_models[1]}` : UNKNOWN],
          ]}
        />
      </Section>
      <ModelsHere node={node} />
    </div>
  );
}

function ModelsHere({ node }: { node: Node }) {
  const { isAdmin } = useSession();
  const client = useQueryClient();
  const [busy, setBusy] = useState<string | null>(null);
  const metrics = useQuery(queries.nodesMetrics());
  const said = new Map(metrics.data?.find((point) => point.node_id === node.id)?.instances?.map((one) => [one.model, one]));
  const all = [...new Set([...node.loaded_models, ...(node.available_models ?? [])])].sort();
  const run = (model: string, isLoaded: boolean) => {
    setBusy(model);
    void (isLoaded ? modelApi.unload(model, node.id) : modelApi.load(model, node.id))
      .then(() => say(isLoaded ? `${model} is unloaded.` : `${model} is loaded.`), sayFailed(isLoaded ? "Unloading failed" : "Loading failed"))
      .finally(() => {
        setBusy(null);
        void client.invalidateQueries({ queryKey: ["nodes"] });
      });
  };
  return (
    <Section title="Models" className="lg:col-span-2">
      {all.length === 0 ? (
        <Empty title="It has no model" command="llm-node models pull SmolLM2-135M-Instruct">
          Pull one on that machine, or register one from the hub on the page Models: nodes fetch it from there.
        </Empty>
      ) : (
        <ul className="divide-y divide-line rounded-md border border-line">
          {all.map((model) => {
            const isLoaded = node.loaded_models.includes(model);
            return (
              <li key={model} className="flex min-h-11 items-center gap-3 px-3 py-1">
                <span className="min-w-0 flex-1 truncate">{model}</span>
                <Doing instance={said.get(model)} />
                <span className="text-muted">{isLoaded ? "in memory" : "on disk"}</span>
                {isAdmin && (
                  <Button busy={busy === model} onClick={() => run(model, isLoaded)}>
                    {isLoaded ? "Unload" : "Load"}
                  </Button>
                )}
              </li>
            );
          })}
        </ul>
      )}
    </Section>
  );
}

/** What a model in memory is doing. */
function Doing({ instance }: { instance?: Instance }) {
  if (!instance) return null;
  const { slots_busy, slots_total, queue_len, kv_used, kv_total, prefill_tps } = instance;
  const slots = `${slots_busy} of ${plural(slots_total, "slot")} busy`;
  const cells = `cache ${count(kv_used)} of ${count(kv_total)}`;
  return (
    <span className="flex flex-wrap items-center justify-end gap-x-4 gap-y-1 text-xs text-muted max-md:hidden">
      {slots_total > 0 && (
        <span className="flex w-28 flex-col gap-1">
          {slots}
          <Meter value={slots_busy} max={slots_total} label={slots} />
        </span>
      )}
      {kv_total > 0 && (
        <span className="flex w-36 flex-col gap-1">
          {cells}
          <Meter value={kv_used} max={kv_total} label={cells} />
        </span>
      )}
      {queue_len > 0 && <span className="text-warn">{count(queue_len)} waiting</span>}
      <span className="tabular-nums" title="tokens a second: of prompts, and of one answer">
        {prefill_tps > 0 ? count(Math.round(prefill_tps)) : UNKNOWN} / {speed(decodeSpeed(instance))}
      </span>
    </span>
  );
}

const line = (points: NodeMetrics[], of: (point: NodeMetrics) => number | null | undefined) => points.map((point) => of(point) ?? null);

function Metrics({ id }: { id: string }) {
  const history = useQuery(queries.nodeMetrics(id));
  if (history.error && !history.data) return <ErrorNote what="The node's history" error={history.error} retry={() => void history.refetch()} />;
  if (!history.data) return <Skeleton className="h-56" />;
  const points = history.data.filter((point) => instant(point.timestamp) !== null);
  if (points.length < 2) return <Empty title="No history yet">A point comes with each report of the node, every few seconds; 360 are kept.</Empty>;
  const times = points.map((point) => instant(point.timestamp) ?? 0);
  const has = (of: (point: NodeMetrics) => unknown) => points.some((point) => typeof of(point) === "number");
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <Chart
        label="Use"
        times={times}
        max={100}
        format={percent}
        series={[
          { name: "CPU", tone: "accent", values: line(points, (point) => point.cpu_usage) },
          ...(has((point) => point.gpu_usage) ? [{ name: "GPU", tone: "good" as const, values: line(points, (point) => point.gpu_usage) }] : []),
        ]}
      />
      <Chart
        label="Memory"
        times={times}
        max={100}
        format={percent}
        series={[
          { name: "RAM", tone: "accent", values: line(points, (point) => point.memory_usage) },
          ...(has((point) => point.gpu_memory_usage) ? [{ name: "VRAM", tone: "good" as const, values: line(points, (point) => point.gpu_memory_usage) }] : []),
        ]}
      />
      <Chart label="In flight" least={5} times={times} format={(value) => count(Math.round(value))} series={[{ name: "requests", tone: "accent", as: "area", values: line(points, (point) => point.active_requests) }]} />
      <Chart label="Mean answer time" times={times} format={duration} series={[{ name: "time", tone: "accent", values: line(points, (point) => point.average_response_time_ms) }]} />
      {has((point) => point.tokens_per_second) && <Chart label="Tokens a second" times={times} format={(value) => count(Math.round(value))} series={[{ name: "tokens/s", tone: "accent", values: line(points, (point) => point.tokens_per_second) }]} />}
      {has((point) => point.gpu_temperature) && <Chart label="GPU temperature" times={times} format={(value) => `${Math.round(value)} °C`} series={[{ name: "temperature", tone: "warn", values: line(points, (point) => point.gpu_temperature) }]} />}
    </div>
  );
}

function Logs({ node }: { node: Node }) {
  const [tail, setTail] = useState(200);
  const logs = useQuery({ ...queries.nodeLogs(node.id, tail), enabled: node.status !== "offline" });
  if (node.status === "offline") return <Empty title="It cannot be asked">The log lies on the node, and the node is offline.</Empty>;
  return <LogView logs={logs.data} error={logs.error} isPending={logs.isPending} tail={tail} onTail={setTail} retry={() => void logs.refetch()} />;
}
