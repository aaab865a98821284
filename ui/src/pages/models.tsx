// What can be asked for, where it lives, and how more of it is brought here.

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { MoreHorizontal, Play, Plus } from "lucide-react";
import { useMemo, useState } from "react";
import { queries } from "../api/queries";
import type { Model } from "../api/types";
import { Badge, Button, Empty, ErrorNote, Field, Tag } from "../parts/basics";
import { Choice } from "../parts/choice";
import { Typed } from "../parts/filters";
import { Menu } from "../parts/menu";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { Tabs } from "../parts/tabs";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { aliased } from "../text/blocks";
import { count, exact, UNKNOWN } from "../text/format";
import { matches } from "../text/search";
import { Conversions } from "./conversions";
import { Describe } from "./describe";
import { Hub } from "./hub";
import { words } from "./nodeactions";
import { Registered } from "./registered";
import { WriteConfig } from "./writeconfig";

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
const columns = (edit: Edits | null) => [
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
  column.accessor((model) => model.price?.input ?? -1, {
    id: "price",
    header: "$ per million, in / out",
    meta: { right: true, wide: "md" },
    cell: ({ row: { original: model } }) => {
      const { price } = model;
      if (typeof price?.input === "number") return <span title={price.source ? `from ${price.source}` : undefined}>{`${price.input} / ${price.output ?? UNKNOWN}`}</span>;
      return isLocal(model) ? <span className="text-muted">own machine</span> : <span title="no price is known">{UNKNOWN}</span>;
    },
  }),
  column.display({
    id: "try",
    header: () => <span className="sr-only">Actions</span>,
    cell: ({ row }) => (
      <span className="flex">
        <Link to="/playground" search={{ model: row.original.id } as never} className="inline-flex size-8 items-center justify-center rounded-md text-muted hover:bg-hover hover:text-text" aria-label={`Try ${row.original.id} in the playground`} title="Try in the playground">
          <Play className="size-3.5" aria-hidden />
        </Link>
        {edit && <ModelMenu model={row.original} edit={edit} />}
      </span>
    ),
  }),
];

/** What can be said of a model in the configuration. */
interface Edits {
  onAlias: (model: string) => void;
  onDescribe: (model: Model) => void;
}

function ModelMenu({ model, edit }: { model: Model; edit: Edits }) {
  const navigate = useNavigate();
  return (
    <Menu
      label={`Actions for ${model.id}`}
      icon={MoreHorizontal}
      items={[
        { label: "Its requests", onSelect: () => void navigate({ to: "/dashboard/requests", search: { model: model.id } as never }) },
        { label: "Another name for it", onSelect: () => edit.onAlias(model.id) },
        model.alias_of === undefined
          ? { label: "Price and capabilities", onSelect: () => edit.onDescribe(model) }
          : { label: "Edit the alias", onSelect: () => void navigate({ to: "/dashboard/settings", search: { tab: "edit", at: "aliases" } as never }) },
      ]}
    />
  );
}

/** Writes an alias into the configuration, and shows the line before it does. */
function Alias({ model, text, base, onClose }: { model: string; text: string; base: number | null; onClose: () => void }) {
  const [name, setName] = useState("");
  const [more, setMore] = useState("");
  const wanted = name.trim();
  const next = wanted ? aliased(text, wanted, [model, ...words(more).filter((other) => other !== model)]) : null;
  return (
    <WriteConfig title={`Another name for ${model}`} wide before={text} after={next} base={base} comment={`${wanted} stands for ${model}`} done={`${wanted} can be asked for.`} onClose={onClose}>
      <Field label="Name" error={wanted && next === null ? "The configuration has that one already, or writes its aliases in a form that is edited by hand: Settings, Edit." : null}>
        {(props) => <input {...props} className="input" value={name} spellCheck={false} onChange={(event) => setName(event.target.value)} required />}
      </Field>
      <Field label="Then" hint="Models that are tried after it, between commas.">
        {(props) => <input {...props} className="input" value={more} spellCheck={false} onChange={(event) => setMore(event.target.value)} />}
      </Field>
    </WriteConfig>
  );
}

export default function ModelsPage() {
  const [filters, change] = useFilters();
  const { isAdmin } = useSession();
  const tab = (["registered", "hub", "conversions"].includes(filters.tab ?? "") ? filters.tab : "all") as Tab;
  const all = useQuery(queries.models());
  const registered = useQuery(queries.registered());
  const conversions = useQuery({ ...queries.conversions(), enabled: tab === "conversions" });
  const config = useQuery({ ...queries.config(), enabled: isAdmin });
  const text = config.data?.text ?? null;
  const [naming, setNaming] = useState<string | null>(null);
  const [describing, setDescribing] = useState<Model | null>(null);
  const canEdit = text !== null;
  const table = useMemo(() => columns(canEdit ? { onAlias: setNaming, onDescribe: setDescribing } : null), [canEdit]);
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
            {shown.length > 0 && <DataTable label="Models" columns={table} rows={shown} rowId={(model) => model.id} pageRows={100} />}
          </div>
        )}
        {naming !== null && text !== null && <Alias model={naming} text={text} base={config.data?.version ?? null} onClose={() => setNaming(null)} />}
        {describing !== null && text !== null && <Describe model={describing} text={text} base={config.data?.version ?? null} onClose={() => setDescribing(null)} />}
        {tab === "registered" && <Registered models={registered.data} error={registered.error} retry={() => void registered.refetch()} onHub={() => change({ tab: "hub" })} />}
        {tab === "hub" && isAdmin && <Hub registered={registered.data ?? []} />}
        {tab === "conversions" && <Conversions tasks={conversions.data} error={conversions.error} retry={() => void conversions.refetch()} />}
      </Tabs>
    </div>
  );
}

const WHERE = [
  ["", "All"],
  ["local", "Local"],
  ["cloud", "Cloud"],
] as const;

/** Local, cloud, or all. */
export const Where = ({ value, onChange }: { value: string; onChange: (where: string) => void }) => <Choice<string> label="Where models live" value={value} options={WHERE} onChange={onChange} />;
