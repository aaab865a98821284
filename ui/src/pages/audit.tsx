// What changed, and who changed it.

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { queries } from "../api/queries";
import type { AuditRow } from "../api/types";
import { Ago, Badge, Button, Code, Empty, ErrorNote, Facts, Id } from "../parts/basics";
import { Dialog } from "../parts/dialog";
import { Typed } from "../parts/filters";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { useFilters } from "../shell/address";
import { stamp, UNKNOWN } from "../text/format";

const PAGE = 100;

const isWell = (outcome: string) => ["success", "ok", "allowed", "done"].includes(outcome.toLowerCase());

const column = createColumnHelper<AuditRow>();
const COLUMNS = [
  column.accessor("timestamp", { header: "Time", enableSorting: false, cell: ({ getValue }) => <Ago time={getValue()} /> }),
  column.accessor("actor", { header: "Who", enableSorting: false, cell: ({ getValue }) => <span className="font-medium">{getValue() ?? "nobody known"}</span> }),
  column.accessor("action", { header: "Did", enableSorting: false, cell: ({ getValue }) => getValue().replaceAll(/[._]/g, " ") }),
  column.accessor("resource", { header: "To", enableSorting: false, meta: { grow: true }, cell: ({ getValue }) => <span className="break-all">{getValue() ?? UNKNOWN}</span> }),
  column.accessor("outcome", { header: "Outcome", enableSorting: false, cell: ({ getValue }) => <Badge tone={isWell(getValue()) ? "good" : "bad"}>{getValue()}</Badge> }),
  column.accessor("client_ip", { header: "From", enableSorting: false, meta: { wide: "lg" }, cell: ({ getValue }) => <span className="text-muted">{getValue() ?? UNKNOWN}</span> }),
];

export default function AuditPage() {
  const [filters, change] = useFilters();
  const found = useQuery(queries.audit({ actor: filters.actor, action: filters.action, after: filters.after, limit: PAGE }));
  const [open, setOpen] = useState<AuditRow | null>(null);
  const rows = found.data?.rows ?? [];
  const last = rows[rows.length - 1];
  const isFiltered = Boolean(filters.actor || filters.action || filters.after);
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Audit</h1>
      <div className="flex flex-wrap items-center gap-2">
        <Typed label="Who" placeholder="Who" type="search" value={filters.actor} onChange={(actor) => change({ actor, after: "" })} className="w-44" />
        <Typed label="What was done" placeholder="What, such as key" value={filters.action} onChange={(action) => change({ action, after: "" })} className="w-44" />
      </div>
      {found.error && !found.data && <ErrorNote what="The audit trail" error={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <TableSkeleton />}
      {found.data && rows.length === 0 && (isFiltered ? <Empty title="No change is like that" action={<Button onClick={() => change({ actor: "", action: "", after: "" })}>Show all</Button>} /> : <Empty title="Nothing was changed yet">Every change of keys, users, nodes, models and settings leaves a row here, with who made it and how it ended.</Empty>)}
      {rows.length > 0 && <DataTable label="Changes" columns={COLUMNS} rows={rows} rowId={(row) => String(row.id ?? `${row.timestamp}-${row.action}-${row.resource}`)} onOpen={setOpen} />}
      {rows.length > 0 && (
        <div className="flex justify-end gap-2">
          {filters.after && <Button onClick={() => change({ after: "" })}>To the newest</Button>}
          {found.data?.has_more && last?.id !== undefined && <Button onClick={() => change({ after: String(last.id) })}>Older</Button>}
        </div>
      )}
      {open && (
        <Dialog title={open.action.replaceAll(/[._]/g, " ")} onClose={() => setOpen(null)} wide>
          <div className="flex flex-col gap-4">
            <Facts
              rows={[
                ["When", stamp(open.timestamp)],
                ["Who", open.actor ?? "nobody known"],
                ["To", open.resource ?? UNKNOWN],
                ["Outcome", open.outcome],
                ["From", open.client_ip ?? UNKNOWN],
                ["Request", open.request_id ? <Id key="r" id={open.request_id} whole /> : UNKNOWN],
              ]}
            />
            {open.details !== undefined && open.details !== null && <Code text={JSON.stringify(open.details, null, 2)} label="Details" />}
          </div>
        </Dialog>
      )}
    </div>
  );
}
