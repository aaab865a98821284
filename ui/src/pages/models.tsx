// What can be asked for, where it lives, and how more of it is brought here.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { MoreHorizontal, Play, Plus, Trash2 } from "lucide-react";
import { useMemo, useState } from "react";
import { models as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { Model, RegisteredModel } from "../api/types";
import { Badge, Button, Empty, ErrorNote, Meter, Tag } from "../parts/basics";
import { Confirm } from "../parts/dialog";
import { Typed } from "../parts/filters";
import { Menu } from "../parts/menu";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { Tabs } from "../parts/tabs";
import { say, sayFailed } from "../parts/toast";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { count, exact, UNKNOWN } from "../text/format";
import { matches } from "../text/search";
import { Conversions } from "./conversions";
import { Hub } from "./hub";

type Tab = "all" | "registered" | "hub" | "conversions";

export const isLocal = (model: Model) => model.backend_type === "node" || (model.nodes?.length ?? 0) > 0;

/** What a model can do, as words, however it is said. */
export function abilities(model: Model): string[] {
  const said = Array.isArray(model.capabilities)
    ? model.capabilities
    : Object.entries(model.capabilities ?? {})
        .filter(([, can]) => can)
        .map(([name]) => name);
  const inputs = Array.isArray(model.modalities) ? model.modalities : (model.modalities?.input ?? []);
  return [...new Set([...said, ...inputs.filter((name) => name !== "text")])];
}

/** Names of the router's own, such as `auto` and aliases. */
const isOwn = (model: Model) => model.owned_by === "llm-router" && !isLocal(model) && !model.service;

const column = createColumnHelper<Model>();
const COLUMNS = [
  column.accessor("id", {
    header: "Model",
    meta: { grow: true },
    cell: ({ row: { original: model } }) => (
      <span className="flex items-center gap-2">
        <span className="font-medium break-all">{model.id}</span>
        {model.alias_of !== undefined && <Tag title={JSON.stringify(model.alias_of)}>alias</Tag>}
      </span>
    ),
  }),
  column.accessor((model) => (isLocal(model) ? "node" : (model.service ?? model.owned_by ?? "")), {
    id: "where",
    header: "Where it lives",
    cell: ({ row: { original: model } }) => (isLocal(model) ? <span title={model.nodes?.join("\n")}>{(model.nodes?.length ?? 0) > 1 ? `${model.nodes?.length} nodes` : (model.nodes?.[0] ?? "node")}</span> : isOwn(model) ? "the router" : (model.service ?? model.owned_by ?? UNKNOWN)),
  }),
  column.accessor((model) => (model.ready ? 2 : model.loaded ? 1 : 0), {
    id: "state",
    header: "State",
    meta: { wide: "sm" },
    cell: ({ row: { original: model } }) => {
      if (isOwn(model)) return <span className="text-muted">chosen by the router</span>;
      if (!isLocal(model)) return <span className="text-muted">at its provider</span>;
      return model.loaded ? <Badge tone="good">in memory</Badge> : <Badge tone="unknown">on disk</Badge>;
    },
  }),
  column.accessor((model) => model.context_length ?? -1, { id: "context", header: "Context", meta: { right: true, wide: "md" }, cell: ({ row }) => <span title={exact(row.original.context_length)}>{count(row.original.context_length)}</span> }),
  column.accessor((model) => abilities(model).join(" "), {
    id: "can",
    header: "Can",
    enableSorting: false,
    meta: { wide: "lg" },
    cell: ({ row }) => (
      <span className="flex gap-1">
        {abilities(row.original)
          .slice(0, 4)
          .map((name) => (
            <Tag key={name}>{name.replaceAll("_", " ")}</Tag>
          ))}
      </span>
    ),
  }),
  column.accessor((model) => (model.price ?? model.pricing)?.input_per_million ?? -1, {
    id: "price",
    header: "$ per million, in / out",
    meta: { right: true, wide: "md" },
    cell: ({ row: { original: model } }) => {
      const price = model.price ?? model.pricing;
      if (isLocal(model)) return <span className="text-muted">own machine</span>;
      if (!price || typeof price.input_per_million !== "number") return <span title="no price is known">{UNKNOWN}</span>;
      return <span title={price.source ? `from ${price.source}` : undefined}>{`${price.input_per_million} / ${price.output_per_million ?? UNKNOWN}`}</span>;
    },
  }),
  column.display({
    id: "try",
    header: () => <span className="sr-only">Try</span>,
    cell: ({ row }) => (
      <Link to="/playground" search={{ model: row.original.id } as never} className="inline-flex size-8 items-center justify-center rounded-md text-muted hover:bg-hover hover:text-text" aria-label={`Try ${row.original.id} in the playground`} title="Try in the playground">
        <Play className="size-3.5" aria-hidden />
      </Link>
    ),
  }),
];

export default function ModelsPage() {
  const [filters, change] = useFilters();
  const { isAdmin } = useSession();
  const tab = (["registered", "hub", "conversions"].includes(filters.tab ?? "") ? filters.tab : "all") as Tab;
  const all = useQuery(queries.models());
  const registered = useQuery(queries.registered());
  const conversions = useQuery({ ...queries.conversions(), enabled: tab === "conversions" });
  const shown = useMemo(
    () => (all.data ?? []).filter((model) => (filters.where === "local" ? isLocal(model) : filters.where === "cloud" ? !isLocal(model) : true)).filter((model) => matches(filters.q ?? "", `${model.id} ${model.service ?? ""} ${model.nodes?.join(" ") ?? ""}`)),
    [all.data, filters.q, filters.where],
  );
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Models</h1>
      <Tabs<Tab>
        label="Models"
        chosen={tab}
        onChoose={(to) => change({ tab: to === "all" ? "" : to, q: "" })}
        tabs={[
          { id: "all", name: "Can be asked for", count: all.data?.length },
          { id: "registered", name: "On this router", count: registered.data?.length },
          ...(isAdmin ? [{ id: "hub" as const, name: "Hub" }] : []),
          { id: "conversions", name: "Conversions" },
        ]}
      >
        {tab === "all" && (
          <div className="flex flex-col gap-3">
            <div className="flex flex-wrap items-center gap-2">
              <Typed label="Search models" placeholder="Search models" type="search" value={filters.q} onChange={(q) => change({ q })} className="w-64" />
              <Where value={filters.where ?? ""} onChange={(where) => change({ where })} />
              {isAdmin && (
                <Button className="ml-auto" look="primary" icon={Plus} onClick={() => change({ tab: "hub", q: "" })}>
                  Register from the hub
                </Button>
              )}
            </div>
            {all.error && !all.data && <ErrorNote what="Models" error={all.error} retry={() => void all.refetch()} />}
            {all.isPending && <TableSkeleton />}
            {all.data?.length === 0 && (
              <Empty title="No model yet" action={isAdmin && <Button look="primary" onClick={() => change({ tab: "hub" })}>Find one in the hub</Button>}>
                Models come from nodes, from accounts, and from aliases of the settings. <code>dummy</code> always answers.
              </Empty>
            )}
            {all.data && all.data.length > 0 && shown.length === 0 && <Empty title="No model is like that" action={<Button onClick={() => change({ q: "", where: "" })}>Show all</Button>} />}
            {shown.length > 0 && <DataTable label="Models" columns={COLUMNS} rows={shown} rowId={(model) => model.id} pageRows={100} />}
          </div>
        )}
        {tab === "registered" && <Registered models={registered.data} error={registered.error} retry={() => void registered.refetch()} onHub={() => change({ tab: "hub" })} />}
        {tab === "hub" && isAdmin && <Hub registered={registered.data ?? []} />}
        {tab === "conversions" && <Conversions tasks={conversions.data} error={conversions.error} retry={() => void conversions.refetch()} />}
      </Tabs>
    </div>
  );
}

/** Local, cloud, or all: as buttons of which one is pressed. */
export function Where({ value, onChange }: { value: string; onChange: (where: string) => void }) {
  return (
    <div role="group" aria-label="Where models live" className="inline-flex overflow-hidden rounded-md border border-line-strong/60">
      {[
        ["", "All"],
        ["local", "Local"],
        ["cloud", "Cloud"],
      ].map(([id = "", name]) => (
        <button key={id} type="button" aria-pressed={value === id} onClick={() => onChange(id)} className={`h-[1.875rem] px-2.5 -outline-offset-2 ${value === id ? "bg-accent-soft font-medium text-accent" : "hover:bg-hover"}`}>
          {name}
        </button>
      ))}
    </div>
  );
}

function Registered({ models, error, retry, onHub }: { models?: RegisteredModel[]; error: Error | null; retry: () => void; onHub: () => void }) {
  const { isAdmin } = useSession();
  const client = useQueryClient();
  const [removing, setRemoving] = useState<RegisteredModel | null>(null);
  if (error && !models) return <ErrorNote what="Registered models" error={error} retry={retry} />;
  if (!models) return <TableSkeleton />;
  if (models.length === 0) {
    return (
      <Empty title="No model is registered" action={isAdmin && <Button look="primary" onClick={onHub}>Find one in the hub</Button>}>
        A registered model&rsquo;s file lies on the router, and every node fetches it from here.
      </Empty>
    );
  }
  const again = () => void client.invalidateQueries({ queryKey: ["models"] });
  const load = (model: RegisteredModel, isLoad: boolean) =>
    void (isLoad ? api.load(model.name) : api.unload(model.name)).then(() => {
      say(isLoad ? `${model.name} is loaded.` : `${model.name} is unloaded.`);
      again();
    }, sayFailed(isLoad ? "Loading failed" : "Unloading failed"));
  return (
    <>
      <ul className="divide-y divide-line rounded-md border border-line">
        {models.map((model) => {
          const isFailed = model.status === "failed" || Boolean(model.error);
          return (
            <li key={model.name} className="flex flex-wrap items-center gap-x-4 gap-y-1 px-3 py-2">
              <div className="min-w-0 flex-1 basis-64">
                <span className="font-medium break-all">{model.name}</span>
                <span className="block truncate text-xs text-muted">{[model.repo, model.filename].filter(Boolean).join(" / ") || model.description}</span>
              </div>
              <span className="text-muted">{model.size_gb ? `${model.size_gb.toFixed(1)} GB` : UNKNOWN}</span>
              <span className="text-muted max-sm:hidden">{model.required_memory_gb ? `needs ${model.required_memory_gb.toFixed(1)} GB` : ""}</span>
              {model.ready ? (
                <Badge tone="good">ready</Badge>
              ) : isFailed ? (
                <Badge tone="bad">failed</Badge>
              ) : (
                <span className="flex w-40 flex-col gap-1">
                  <Badge tone="accent">{model.status === "registered" || !model.status ? "on its way" : model.status.replaceAll("_", " ")}</Badge>
                  {typeof model.progress === "number" && <Meter value={model.progress <= 1 ? model.progress * 100 : model.progress} max={100} tone="accent" label={`${Math.round(model.progress <= 1 ? model.progress * 100 : model.progress)} % of ${model.name} are here`} />}
                </span>
              )}
              {isAdmin && (
                <Menu
                  label={`Actions for ${model.name}`}
                  icon={MoreHorizontal}
                  items={[
                    { label: "Load on a node", disabled: !model.ready, onSelect: () => load(model, true) },
                    { label: "Unload", disabled: !model.ready, onSelect: () => load(model, false) },
                    { label: "Delete", icon: Trash2, danger: true, onSelect: () => setRemoving(model) },
                  ]}
                />
              )}
              {model.error && <p className="w-full break-words text-bad">{model.error}</p>}
            </li>
          );
        })}
      </ul>
      {removing && (
        <Confirm
          title={`Delete ${removing.name}`}
          action="Delete"
          typed={removing.name}
          onClose={() => setRemoving(null)}
          onConfirm={async () => {
            await api.remove(removing.name);
            say(`${removing.name} is deleted.`);
            setRemoving(null);
            again();
          }}
        >
          <p>Its file on the router is removed. Nodes that have a copy keep it until they are told otherwise; requests for the model fail where no node has it.</p>
        </Confirm>
      )}
    </>
  );
}
