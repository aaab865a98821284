// Every value in force and where it comes from; the file behind them, its versions, and the way back.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { RefreshCw } from "lucide-react";
import { useMemo, useState } from "react";
import { services } from "../api/endpoints";
import { queries } from "../api/queries";
import type { Config } from "../api/types";
import { Badge, Button, CopyButton, Empty, ErrorNote, Section, Tag } from "../parts/basics";
import { Typed, Select } from "../parts/filters";
import { TableSkeleton } from "../parts/table";
import { Tabs } from "../parts/tabs";
import { say, sayFailed } from "../parts/toast";
import { useFilters } from "../shell/address";
import { matches } from "../text/search";
import { EditConfig } from "./editconfig";
import { Versions } from "./versions";

type Tab = "values" | "edit" | "versions";

/** `environment` out of `environment (LLM_ROUTER_PORT)`. */
export const originKind = (origin: string) => origin.split(/[\s(:]/)[0] ?? origin;

const asText = (value: unknown) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

/** Settings by what stands before the first dot. */
export function grouped(config: Config, wanted: string, origin: string): [string, [string, { value: unknown; origin: string }][]][] {
  const groups = new Map<string, [string, { value: unknown; origin: string }][]>();
  for (const [key, setting] of Object.entries(config.settings)) {
    if (origin && originKind(setting.origin) !== origin) continue;
    if (!matches(wanted, `${key} ${asText(setting.value)} ${setting.origin}`)) continue;
    const group = key.split(/[.[]/)[0] ?? key;
    groups.set(group, [...(groups.get(group) ?? []), [key, setting]]);
  }
  return [...groups];
}

export default function SettingsPage() {
  const [filters, change] = useFilters();
  const client = useQueryClient();
  const config = useQuery(queries.config());
  const tab = (["edit", "versions"].includes(filters.tab ?? "") ? filters.tab : "values") as Tab;
  const [busy, setBusy] = useState(false);
  const reload = () => {
    setBusy(true);
    void services
      .reload()
      .then((said) => {
        say(said.warnings?.length ? `Read again, with warnings: ${said.warnings.join("; ")}` : "Read again, and in force.");
        return client.invalidateQueries();
      }, sayFailed("Nothing was changed"))
      .finally(() => setBusy(false));
  };
  if (config.error && !config.data) return <ErrorNote what="The settings" error={config.error} retry={() => void config.refetch()} />;
  if (!config.data) return <TableSkeleton rows={10} />;
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Settings</h1>
      <div className="flex flex-wrap items-center gap-2">
        <p className="min-w-0 text-muted">
          {config.data.file ? (
            <>
              File <code className="break-all">{config.data.file}</code> <CopyButton text={config.data.file} label="Copy the path" />
            </>
          ) : (
            "There is no configuration file: everything comes from defaults and the environment."
          )}
        </p>
        <Button className="ml-auto" icon={RefreshCw} busy={busy} onClick={reload}>
          Read again
        </Button>
      </div>
      {config.data.warnings.length > 0 && (
        <ul className="flex flex-col gap-1 rounded-md border border-warn/40 bg-warn-soft p-3">
          {config.data.warnings.map((warning) => (
            <li key={warning}>{warning}</li>
          ))}
        </ul>
      )}
      <Tabs<Tab>
        label="Settings"
        chosen={tab}
        onChoose={(to) => change({ tab: to === "values" ? "" : to, q: "", at: "" })}
        tabs={[
          { id: "values", name: "Values and origins" },
          { id: "edit", name: "Edit" },
          { id: "versions", name: "Versions" },
        ]}
      >
        {tab === "values" && <Values config={config.data} q={filters.q ?? ""} origin={filters.origin ?? ""} change={change} />}
        {tab === "edit" && <EditConfig config={config.data} at={filters.at} />}
        {tab === "versions" && <Versions current={config.data.version ?? null} now={config.data.text ?? null} />}
      </Tabs>
    </div>
  );
}

function Values({ config, q, origin, change }: { config: Config; q: string; origin: string; change: (to: Record<string, string>) => void }) {
  const groups = useMemo(() => grouped(config, q, origin), [config, q, origin]);
  const kinds = useMemo(() => [...new Set(Object.values(config.settings).map((setting) => originKind(setting.origin)))].sort(), [config]);
  return (
    <div className="flex flex-col gap-4">
      <div className="flex flex-wrap gap-2">
        <Typed label="Search settings" placeholder="Key, value or origin" type="search" value={q} onChange={(to) => change({ q: to })} className="w-64" />
        <Select label="Origin" value={origin} onChange={(to) => change({ origin: to })} options={[["", "Any origin"], ...kinds.map((kind): [string, string] => [kind, kind === "default" ? "Defaults" : `From ${kind}`])]} />
      </div>
      {groups.length === 0 && <Empty title="No setting is like that" action={<Button onClick={() => change({ q: "", origin: "" })}>Show all</Button>} />}
      {groups.map(([group, settings]) => (
        <Section key={group} title={group}>
          <div className="overflow-hidden rounded-md border border-line">
            <table className="w-full table-fixed" aria-label={group}>
              <thead className="sr-only">
                <tr>
                  <th scope="col">Key</th>
                  <th scope="col">Value</th>
                  <th scope="col">Origin</th>
                </tr>
              </thead>
              <tbody>
                {settings.map(([key, setting]) => (
                  <tr key={key} className="border-b border-line align-top last:border-0 hover:bg-hover max-sm:flex max-sm:flex-col max-sm:px-3 max-sm:py-1.5">
                    <td className="w-[34%] px-3 py-1.5 font-mono text-xs break-all max-sm:w-auto max-sm:p-0">{key}</td>
                    <td className="px-3 py-1.5 font-mono text-xs break-all max-sm:p-0">{asText(setting.value) || <span className="text-muted">not set</span>}</td>
                    <td className="w-[30%] px-3 py-1 text-right max-sm:w-auto max-sm:p-0 max-sm:text-left">{originKind(setting.origin) === "default" ? <span className="text-xs text-muted">default</span> : <Origin origin={setting.origin} />}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Section>
      ))}
    </div>
  );
}

const Origin = ({ origin }: { origin: string }) => (origin.length > 40 ? <Tag title={origin}>{origin}</Tag> : <Badge tone="accent" icon={false}>{origin}</Badge>);
