// What changed, and who changed it.

import { useQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight, Download, X } from "lucide-react";
import { useState } from "react";
import { govern } from "../api/endpoints";
import { withQuery } from "../api/http";
import { queries } from "../api/queries";
import type { AuditRow } from "../api/types";
import { Ago, Badge, Button, Code, Empty, ErrorNote, Facts, Id, type Tone } from "../parts/basics";
import { DiffView } from "../parts/diffview";
import { Dialog } from "../parts/dialog";
import { Select, Typed } from "../parts/filters";
import { Menu } from "../parts/menu";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { useFilters } from "../shell/address";
import { stamp, UNKNOWN } from "../text/format";

const PAGE = 50;
const HOUR_MS = 3_600_000;

const SPANS: [string, string, number][] = [
  ["1d", "last day", 1],
  ["7d", "last 7 days", 7],
  ["30d", "last 30 days", 30],
];

const TONES: Record<string, Tone> = { success: "good", denied: "warn", error: "bad", begun: "warn" };

const column = createColumnHelper<AuditRow>();
const COLUMNS = [
  column.accessor("timestamp", { header: "Time", enableSorting: false, cell: ({ getValue }) => <Ago time={getValue()} /> }),
  column.accessor("actor", { header: "Who", enableSorting: false, cell: ({ getValue }) => <span className="font-medium">{getValue() ?? "nobody known"}</span> }),
  column.accessor("action", { header: "Did", enableSorting: false, meta: { wide: "sm" }, cell: ({ getValue }) => did(getValue()) }),
  column.accessor("resource", { header: "To", enableSorting: false, meta: { grow: true }, cell: ({ row: { original: row } }) => <Resource row={row} /> }),
  column.accessor("outcome", { header: "Outcome", enableSorting: false, cell: ({ row: { original: row } }) => <Badge tone={TONES[row.outcome] ?? "unknown"} title={row.reason?.replaceAll("_", " ") ?? undefined}>{row.outcome}</Badge> }),
  column.accessor("client_ip", { header: "From", enableSorting: false, meta: { wide: "lg" }, cell: ({ getValue }) => <span className="text-muted">{getValue() ?? UNKNOWN}</span> }),
];

/** What the thing was called when it was changed, where the row tells that. */
export function nameIn(details: unknown): string | null {
  const { before, after } = (typeof details === "object" && details ? details : {}) as { before?: unknown; after?: unknown };
  for (const side of [after, before]) {
    const { name, username } = (typeof side === "object" && side ? side : {}) as { name?: unknown; username?: unknown };
    if (typeof name === "string") return name;
    if (typeof username === "string") return username;
  }
  return null;
}

const did = (action: string) => action.replaceAll(/[._]/g, " ");

/** On a phone there is no column for it. */
const Did = ({ row }: { row: AuditRow }) => <span className="block text-muted sm:hidden">{did(row.action)}</span>;

function Resource({ row }: { row: AuditRow }) {
  const name = nameIn(row.details);
  if (name === null) {
    return (
      <span className="block">
        <Did row={row} />
        <span className="break-all">{row.resource || UNKNOWN}</span>
      </span>
    );
  }
  return (
    <span className="block" title={row.resource}>
      <Did row={row} />
      <span className="break-words">{name}</span>
      <span className="ml-2 text-xs break-all text-muted max-sm:hidden">{row.resource}</span>
    </span>
  );
}

const OUTCOMES: [string, string][] = [
  ["", "Any outcome"],
  ["success", "Succeeded"],
  ["denied", "Denied"],
  ["error", "Failed"],
  ["begun", "Cut off"],
];
const NOTHING_FILTERED = { actor: "", action: "", resource_id: "", outcome: "", ip: "", span: "", after: "", before: "" };

export default function AuditPage() {
  const [filters, change] = useFilters();
  const days = SPANS.find(([id]) => id === filters.span)?.[2];
  // To the hour, so that the same question keeps its answer.
  const start_time = days ? new Date(Math.floor(Date.now() / HOUR_MS - days * 24) * HOUR_MS).toISOString() : undefined;
  const { actor, action, resource_id, outcome, ip, after, before } = filters;
  const like = { actor, action, resource_id, outcome, client_ip: ip, start_time };
  const found = useQuery(queries.audit({ ...like, after, before, limit: PAGE }));
  const [open, setOpen] = useState<AuditRow | null>(null);
  const rows = found.data?.rows ?? [];
  const [first, last] = [rows[0], rows[rows.length - 1]];
  // What lies beyond a page is said; the way back to where one came from is there.
  const hasNewer = before ? found.data?.has_more : after;
  const hasOlder = before || found.data?.has_more;
  const isFiltered = Object.keys(NOTHING_FILTERED).some((name) => filters[name]);
  const filter = (name: keyof typeof NOTHING_FILTERED) => (value: string) => change({ [name]: value, after: "", before: "" });
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Audit</h1>
      <div className="flex flex-wrap items-center gap-2">
        <Typed label="Who" placeholder="Who" type="search" value={actor} onChange={filter("actor")} className="w-36" />
        <Typed label="What was done" placeholder="Did, such as key" value={action} onChange={filter("action")} className="w-40" />
        <Typed label="To what" placeholder="To what: its id" value={resource_id} onChange={filter("resource_id")} className="w-40" />
        <Select label="Outcome" value={outcome} onChange={filter("outcome")} options={OUTCOMES} />
        <Typed label="Client address" placeholder="From" value={ip} onChange={filter("ip")} className="w-28" />
        <Select label="Time" value={filters.span} onChange={filter("span")} options={[["", "All that is kept"], ...SPANS.map(([id, name]): [string, string] => [id, name])]} />
        {isFiltered && (
          <Button look="quiet" icon={X} onClick={() => change(NOTHING_FILTERED)}>
            Clear
          </Button>
        )}
        <span className="ml-auto">
          <Menu label="Export" icon={Download} items={(["csv", "json"] as const).map((format) => ({ label: `Export as ${format.toUpperCase()}`, icon: Download, onSelect: () => location.assign(withQuery(govern.auditExportPath, { ...like, format })) }))} />
        </span>
      </div>
      {found.error && !found.data && <ErrorNote what="The audit trail" error={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <TableSkeleton />}
      {found.data && rows.length === 0 && (isFiltered ? <Empty title="No change is like that" action={<Button onClick={() => change(NOTHING_FILTERED)}>Show all</Button>} /> : <Empty title="Nothing was changed yet">Every change of keys, users, nodes, models and settings leaves a row here, with who made it and how it ended.</Empty>)}
      {rows.length > 0 && <DataTable label="Changes" columns={COLUMNS} rows={rows} rowId={(row) => row.id} onOpen={setOpen} />}
      {(hasNewer || hasOlder) && (
        <nav aria-label="Pages" className="flex justify-end gap-2">
          {(after || before) && <Button onClick={() => change({ after: "", before: "" })}>To the newest</Button>}
          <Button icon={ChevronLeft} disabled={!hasNewer || !first} onClick={() => change({ before: first?.id, after: "" })}>
            Newer
          </Button>
          <Button icon={ChevronRight} disabled={!hasOlder || !last} onClick={() => change({ after: last?.id, before: "" })}>
            Older
          </Button>
        </nav>
      )}
      {open && (
        <Dialog title={open.action.replaceAll(/[._]/g, " ")} onClose={() => setOpen(null)} wide>
          <div className="flex flex-col gap-4">
            <Facts
              rows={[
                ["When", stamp(open.timestamp)],
                ["Who", [open.actor ?? "nobody known", open.actor_type && `(${open.actor_type.replaceAll("_", " ")})`].filter(Boolean).join(" ")],
                ["To", open.resource ?? UNKNOWN],
                ["Outcome", open.reason ? `${open.outcome}: ${open.reason.replaceAll("_", " ")}` : open.outcome],
                ["From", open.client_ip ?? UNKNOWN],
                ["Request", open.request_id ? <Id key="r" id={open.request_id} whole /> : UNKNOWN],
              ]}
            />
            <Details details={open.details} />
          </div>
        </Dialog>
      )}
    </div>
  );
}

/** What was before and what is now, where that is told; else all that is. */
function Details({ details }: { details: unknown }) {
  if (details === null || details === undefined || (typeof details === "object" && Object.keys(details).length === 0)) return null;
  const { before, after } = typeof details === "object" ? (details as { before?: unknown; after?: unknown }) : {};
  if (before !== undefined && after !== undefined) return <DiffView before={JSON.stringify(before, null, 2)} after={JSON.stringify(after, null, 2)} />;
  return <Code text={JSON.stringify(details, null, 2)} label="Details" />;
}
