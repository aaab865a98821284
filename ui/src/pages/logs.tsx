// What the router and its nodes say.

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { queries } from "../api/queries";
import { LogView } from "../parts/logview";
import { Select } from "../parts/filters";
import { useFilters } from "../shell/address";

export default function LogsPage() {
  const [filters, change] = useFilters();
  const [tail, setTail] = useState(200);
  const { data: nodes = [] } = useQuery(queries.nodes());
  const source = filters.source ?? "";
  const router = useQuery({ ...queries.routerLogs(tail), enabled: source === "" });
  const node = useQuery({ ...queries.nodeLogs(source, tail), enabled: source !== "", placeholderData: undefined });
  const logs = source === "" ? router : node;
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Logs</h1>
      <Select
        label="Whose log"
        value={source}
        onChange={(to) => change({ source: to })}
        options={[["", "The router"], ...nodes.map((one): [string, string] => [one.id, `${one.custom_name ?? one.machine_name}${one.status === "offline" ? " (offline)" : ""}`])]}
      />
      <LogView key={source} logs={logs.data} error={logs.error} isPending={logs.isPending} tail={tail} onTail={setTail} retry={() => void logs.refetch()} />
    </div>
  );
}
