// Former configurations, what each changed, and the way back to one.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Undo2 } from "lucide-react";
import { useState } from "react";
import { settings as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { ConfigVersion } from "../api/types";
import { Ago, Badge, Button, Empty, ErrorNote } from "../parts/basics";
import { DiffView } from "../parts/diffview";
import { Confirm } from "../parts/dialog";
import { TableSkeleton } from "../parts/table";
import { say } from "../parts/toast";

export function Versions({ current }: { current: number | string | null }) {
  const client = useQueryClient();
  const found = useQuery(queries.versions());
  const [reverting, setReverting] = useState<ConfigVersion | null>(null);
  if (found.error && !found.data) return <ErrorNote what="Versions" error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <TableSkeleton rows={3} />;
  if (found.data.length === 0) return <Empty title="There is one version, the one in force">Each change that is put in force keeps the one before, to compare with and to go back to.</Empty>;
  const newest = current ?? found.data[0]?.version ?? null;
  return (
    <>
      <ol className="divide-y divide-line rounded-md border border-line">
        {found.data.map((version, n) => {
          const before = found.data[n + 1];
          return (
            <li key={version.version} className="px-3 py-2">
              <div className="flex flex-wrap items-center gap-x-4 gap-y-1">
                <b>Version {version.version}</b>
                {version.version === newest && <Badge tone="good">in force</Badge>}
                <span>{version.author ?? "not known"}</span>
                <span className="text-muted">
                  <Ago time={version.created_at} />
                </span>
                <span className="min-w-0 flex-1 break-words">{version.comment}</span>
                {version.version !== newest && (
                  <Button icon={Undo2} onClick={() => setReverting(version)}>
                    Go back to it
                  </Button>
                )}
              </div>
              {version.changes && version.changes.length > 0 && (
                <ul className="mt-1 font-mono text-xs text-muted">
                  {version.changes.map(({ key, from, to }) => (
                    <li key={key} className="break-all">
                      {key}: {JSON.stringify(from)} → {JSON.stringify(to)}
                    </li>
                  ))}
                </ul>
              )}
              {typeof version.text === "string" && typeof before?.text === "string" && (
                <details className="mt-1">
                  <summary className="text-muted">What it changed</summary>
                  <div className="mt-2">
                    <DiffView before={before.text} after={version.text} />
                  </div>
                </details>
              )}
            </li>
          );
        })}
      </ol>
      {reverting && (
        <Confirm
          title={`Go back to version ${reverting.version}`}
          action="Go back"
          onClose={() => setReverting(null)}
          onConfirm={async () => {
            await api.revert(reverting.version);
            setReverting(null);
            say(`Version ${reverting.version} is in force again.`);
            await client.invalidateQueries();
          }}
        >
          <p>It comes in force at once, as a new version: the one of now is kept too.</p>
        </Confirm>
      )}
    </>
  );
}
