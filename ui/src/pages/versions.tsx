// Former configurations, what each changed, and the way back to one.

import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Undo2 } from "lucide-react";
import { useState } from "react";
import { settings as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { ConfigChange, ConfigVersion } from "../api/types";
import { Ago, Badge, Button, Empty, ErrorNote, Skeleton } from "../parts/basics";
import { DiffView } from "../parts/diffview";
import { Confirm, Dialog } from "../parts/dialog";
import { TableSkeleton } from "../parts/table";
import { say } from "../parts/toast";

const shown = (value: unknown) => (value === undefined || value === null ? "not set" : JSON.stringify(value));

/** What is different, setting by setting. */
export function Changes({ changes }: { changes: readonly ConfigChange[] }) {
  return (
    <ul className="font-mono text-xs text-muted">
      {changes.map(({ key, from, to }) => (
        <li key={key} className="break-all">
          <span className="text-text">{key}</span>: {shown(from)} → {shown(to)}
        </li>
      ))}
    </ul>
  );
}

export function Versions({ current, now }: { current: number | null; now: string | null }) {
  const client = useQueryClient();
  const found = useInfiniteQuery({
    queryKey: ["config", "versions"],
    queryFn: ({ pageParam }) => api.versions(pageParam),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: ({ versions, has_more }) => (has_more ? versions[versions.length - 1]?.version : undefined),
  });
  const [looking, setLooking] = useState<ConfigVersion | null>(null);
  const [reverting, setReverting] = useState<ConfigVersion | null>(null);
  const versions = found.data?.pages.flatMap((page) => page.versions);
  if (found.error && !versions) return <ErrorNote what="Versions" error={found.error} retry={() => void found.refetch()} />;
  if (!versions) return <TableSkeleton rows={3} />;
  if (versions.length === 0) return <Empty title="There is one version, the one in force">Each change that is put in force keeps the one before, to compare with and to go back to.</Empty>;
  const isInForce = ({ version, in_force }: ConfigVersion) => in_force ?? version === current;
  return (
    <>
      <ol className="divide-y divide-line rounded-md border border-line">
        {versions.map((version) => (
          <li key={version.version} className="flex flex-col gap-1 px-3 py-2">
            <div className="flex min-h-8 flex-wrap items-center gap-x-4 gap-y-1">
              <b>Version {version.version}</b>
              {isInForce(version) && <Badge tone="good">in force</Badge>}
              <span>{version.author ?? version.origin?.replaceAll("_", " ") ?? "not known"}</span>
              <span className="text-muted">
                <Ago time={version.created_at} />
              </span>
              <span className="min-w-0 flex-1 break-words max-sm:basis-full max-sm:empty:hidden">{version.comment}</span>
              {!isInForce(version) && (
                <>
                  <Button onClick={() => setLooking(version)}>Compare</Button>
                  <Button icon={Undo2} onClick={() => setReverting(version)}>
                    Go back to it
                  </Button>
                </>
              )}
            </div>
            {version.changes && version.changes.length > 0 && <Changes changes={version.changes} />}
          </li>
        ))}
      </ol>
      {found.hasNextPage && (
        <Button className="self-center" busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>
          Older versions
        </Button>
      )}
      {looking && (
        <Dialog title={`Version ${looking.version} and the one in force`} onClose={() => setLooking(null)} wide>
          <Compared version={looking} now={now} />
        </Dialog>
      )}
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
          <Compared version={reverting} now={now} />
        </Confirm>
      )}
    </>
  );
}

/** What going back would change: as lines of the file, else setting by setting. */
function Compared({ version: { version }, now }: { version: ConfigVersion; now: string | null }) {
  const found = useQuery(queries.version(version));
  if (found.error) return <ErrorNote what="The version" error={found.error} />;
  if (!found.data) return <Skeleton className="h-24" />;
  const { text, changes_to_go_back } = found.data;
  if (typeof text === "string" && now !== null) return <DiffView before={now} after={text} same="Only secrets are different, or nothing is." />;
  return changes_to_go_back ? <Changes changes={changes_to_go_back} /> : <p className="text-muted">Its text cannot be shown.</p>;
}
