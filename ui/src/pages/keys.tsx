// Who may call, what they may, and how much of it is used.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Ban, MoreHorizontal, Pencil, Plus, RefreshCw } from "lucide-react";
import { useMemo, useState } from "react";
import { keys as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { ApiKey, MadeKey, UsageRow } from "../api/types";
import { Ago, Badge, Button, Code, Empty, ErrorNote, Tag } from "../parts/basics";
import { Confirm, Dialog } from "../parts/dialog";
import { Typed } from "../parts/filters";
import { Menu } from "../parts/menu";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { say } from "../parts/toast";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { count, instant, money, stamp, UNKNOWN } from "../text/format";
import { matches } from "../text/search";
import { Spent } from "./budgets";
import { KeyForm } from "./keyform";

type Row = ApiKey & { usage?: UsageRow };
type Action = { kind: "edit" | "rotate" | "revoke"; key: ApiKey };

export function expiry(key: Pick<ApiKey, "expires_at">, now = Date.now()): { word: string; tone: "bad" | "warn" | null } {
  const at = instant(key.expires_at);
  if (at === null) return { word: "never", tone: null };
  if (at <= now) return { word: "expired", tone: "bad" };
  return { word: "", tone: at - now < 7 * 86_400_000 ? "warn" : null };
}

const column = createColumnHelper<Row>();
const columns = (act: (action: Action) => void) => [
  column.accessor("name", {
    header: "Name",
    meta: { grow: true },
    cell: ({ row: { original: key } }) => (
      <div className="min-w-0">
        <span className="font-medium break-words">{key.name}</span>
        {key.tags && key.tags.length > 0 && <span className="ml-2 inline-flex gap-1">{key.tags.map((tag) => <Tag key={tag}>{tag}</Tag>)}</span>}
        <span className="block font-mono text-xs text-muted">{key.prefix ? `${key.prefix}…` : key.id.slice(0, 8)}</span>
      </div>
    ),
  }),
  column.accessor((key) => key.owner ?? key.created_by ?? "", { id: "owner", header: "Owner", meta: { wide: "md" } }),
  column.accessor((key) => (key.scopes ?? []).join(" "), {
    id: "scopes",
    header: "May",
    enableSorting: false,
    meta: { wide: "lg" },
    cell: ({ row: { original: key } }) => (
      <span className="flex w-max max-w-80 flex-wrap gap-1">
        {(key.scopes ?? []).map((scope) => (
          <Tag key={scope}>{scope}</Tag>
        ))}
        {key.allowed_models && key.allowed_models.length > 0 && <Tag title={key.allowed_models.join("\n")}>{key.allowed_models.length === 1 ? key.allowed_models[0] : `${key.allowed_models.length} models`}</Tag>}
      </span>
    ),
  }),
  column.display({
    id: "limits",
    header: "Limits",
    meta: { wide: "lg" },
    cell: ({ row: { original: key } }) => {
      const { rpm, tpm, concurrency } = key.limits ?? {};
      const parts = [rpm && `${count(rpm)} req/min`, tpm && `${count(tpm)} tok/min`, concurrency && `${concurrency} at once`].filter(Boolean);
      return <span className="text-muted">{parts.join(" · ") || "none"}</span>;
    },
  }),
  column.accessor((key) => key.budget?.spent ?? key.usage?.cost_usd ?? -1, {
    id: "spend",
    header: "Spend",
    meta: { right: true },
    cell: ({ row: { original: key } }) => <Spend row={key} />,
  }),
  column.accessor((key) => instant(key.last_used_at) ?? 0, { id: "used", header: "Last used", meta: { right: true, wide: "sm" }, cell: ({ row }) => (row.original.last_used_at ? <Ago time={row.original.last_used_at} /> : <span className="text-muted">never</span>) }),
  column.accessor((key) => instant(key.expires_at) ?? Number.MAX_SAFE_INTEGER, {
    id: "expires",
    header: "Expires",
    meta: { right: true, wide: "md" },
    cell: ({ row: { original: key } }) => {
      const { word, tone } = expiry(key);
      if (tone === "bad") return <Badge tone="bad">expired</Badge>;
      return word === "never" ? <span className="text-muted">never</span> : tone === "warn" ? <Badge tone="warn"><Ago time={key.expires_at} /></Badge> : <span title={stamp(key.expires_at)}><Ago time={key.expires_at} /></span>;
    },
  }),
  column.display({
    id: "actions",
    header: () => <span className="sr-only">Actions</span>,
    cell: ({ row: { original: key } }) => (
      <Menu
        label={`Actions for ${key.name}`}
        icon={MoreHorizontal}
        items={[
          { label: "Edit", icon: Pencil, onSelect: () => act({ kind: "edit", key }) },
          { label: "New secret", icon: RefreshCw, onSelect: () => act({ kind: "rotate", key }) },
          { label: "Revoke", icon: Ban, danger: true, onSelect: () => act({ kind: "revoke", key }) },
        ]}
      />
    ),
  }),
];

function Spend({ row: { budget, usage } }: { row: Row }) {
  const used = usage?.cost_usd ?? null;
  if (budget && typeof budget.amount === "number") return <Spent budget={budget} used={used} />;
  return <span title="in the last 30 days">{used === null ? UNKNOWN : money(used)}</span>;
}

export default function KeysPage() {
  const [filters, change] = useFilters();
  const { me } = useSession();
  const client = useQueryClient();
  const found = useQuery(queries.keys());
  const since = new Date(Date.now() - 30 * 86_400_000).toISOString().slice(0, 10);
  const usage = useQuery(queries.usage("key", `${since}T00:00:00Z`));
  const [action, setAction] = useState<Action | null>(null);
  const [made, setMade] = useState<MadeKey | null>(null);
  const table = useMemo(() => columns(setAction), []);
  const shown = useMemo(() => {
    const used = new Map(usage.data?.rows.map((row) => [row.group, row]));
    return (found.data ?? []).filter((key) => matches(filters.q ?? "", `${key.name} ${key.owner ?? ""} ${key.prefix ?? ""} ${key.tags?.join(" ") ?? ""}`)).map((key): Row => ({ ...key, usage: used.get(key.id) ?? used.get(key.name) }));
  }, [found.data, usage.data, filters.q]);
  const again = () => void client.invalidateQueries({ queryKey: ["keys"] });
  const create = () => change({ new: "1" });
  const created = (key: MadeKey) => {
    change({ new: "" });
    setAction(null);
    setMade(key);
    again();
  };
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Keys</h1>
      {(found.data?.length ?? 0) > 0 && (
        <div className="flex flex-wrap items-center gap-2">
          <Typed label="Search keys" placeholder="Name, owner, tag" type="search" value={filters.q} onChange={(q) => change({ q })} className="w-56" />
          <Button className="ml-auto" look="primary" icon={Plus} onClick={create}>
            Create a key
          </Button>
        </div>
      )}
      {found.error && !found.data && <ErrorNote what="Keys" error={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <TableSkeleton />}
      {found.data?.length === 0 && (
        <Empty title="No key yet" action={<Button look="primary" icon={Plus} onClick={create}>Create a key</Button>}>
          Programs show a key with each request. What it may do, how much and until when, is said when it is made and can be changed at any time.
        </Empty>
      )}
      {found.data && found.data.length > 0 && shown.length === 0 && <Empty title="No key is like that" action={<Button onClick={() => change({ q: "" })}>Show all</Button>} />}
      {shown.length > 0 && <DataTable label="Keys" columns={table} rows={shown} rowId={(key) => key.id} pageRows={50} />}
      {filters.new === "1" && <KeyForm owner={me.username} onClose={() => change({ new: "" })} onMade={created} />}
      {action?.kind === "edit" && (
        <KeyForm
          existing={action.key}
          owner={me.username}
          onClose={() => setAction(null)}
          onChanged={() => {
            setAction(null);
            say("Saved. It holds from the next request on.");
            again();
          }}
        />
      )}
      {action?.kind === "rotate" && (
        <Confirm title={`New secret for ${action.key.name}`} action="Make a new secret" onClose={() => setAction(null)} onConfirm={async () => created(await api.rotate(action.key.id))}>
          <p>The old secret is refused at once. Programs that use it fail until they have the new one.</p>
        </Confirm>
      )}
      {action?.kind === "revoke" && (
        <Confirm
          title={`Revoke ${action.key.name}`}
          action="Revoke"
          typed={action.key.name}
          onClose={() => setAction(null)}
          onConfirm={async () => {
            await api.revoke(action.key.id);
            say(`${action.key.name} is revoked.`);
            setAction(null);
            again();
          }}
        >
          <p>
            It is refused from now on, everywhere. This cannot be taken back. {action.key.last_used_at ? <>It was last used <Ago time={action.key.last_used_at} />.</> : "It was never used."}
          </p>
        </Confirm>
      )}
      {made && <Secret made={made} onClose={() => setMade(null)} />}
    </div>
  );
}

function Secret({ made, onClose }: { made: MadeKey; onClose: () => void }) {
  return (
    <Dialog title={`The secret of ${made.name}`} onClose={onClose} wide>
      <div className="flex flex-col gap-4">
        <p>
          Copy it now: it is shown <b>this once</b>, and the router keeps only its fingerprint.
        </p>
        <Code text={made.key} label="The secret" />
        <p className="text-muted">To try it:</p>
        <Code text={`curl ${location.origin}/v1/models -H "Authorization: Bearer ${made.key}"`} label="A request with it" />
        <div className="flex justify-end">
          <Button look="primary" onClick={onClose}>
            I have copied it
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
