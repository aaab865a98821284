// Models whose files lie on the router: how far they are, loaded on nodes, deleted.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { MoreHorizontal, Trash2 } from "lucide-react";
import { useState } from "react";
import { models as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { RegisteredModel } from "../api/types";
import { Badge, Button, Empty, ErrorNote, Field, Meter } from "../parts/basics";
import { Confirm, FormDialog } from "../parts/dialog";
import { Menu } from "../parts/menu";
import { TableSkeleton } from "../parts/table";
import { say, sayFailed } from "../parts/toast";
import { useSession } from "../shell/session";
import { UNKNOWN } from "../text/format";

export function Registered({ models, error, retry, onHub }: { models?: RegisteredModel[]; error: Error | null; retry: () => void; onHub: () => void }) {
  const { isAdmin } = useSession();
  const client = useQueryClient();
  const [removing, setRemoving] = useState<RegisteredModel | null>(null);
  const [loading, setLoading] = useState<RegisteredModel | null>(null);
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
  const unload = (model: RegisteredModel) =>
    void api.unload(model.name).then(() => {
      say(`${model.name} is unloaded.`);
      again();
    }, sayFailed("Unloading failed"));
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
                <span className="flex w-40 flex-col items-start gap-1">
                  <Badge tone="accent">{model.status === "registered" || !model.status ? "on its way" : model.status.replaceAll("_", " ")}</Badge>
                  {typeof model.progress === "number" && <Meter value={model.progress <= 1 ? model.progress * 100 : model.progress} max={100} tone="accent" label={`${Math.round(model.progress <= 1 ? model.progress * 100 : model.progress)} % of ${model.name} are here`} />}
                </span>
              )}
              {isAdmin && (
                <Menu
                  label={`Actions for ${model.name}`}
                  icon={MoreHorizontal}
                  items={[
                    { label: "Load on a node", disabled: !model.ready, onSelect: () => setLoading(model) },
                    { label: "Unload everywhere", disabled: !model.ready, onSelect: () => unload(model) },
                    { label: "Delete", icon: Trash2, danger: true, onSelect: () => setRemoving(model) },
                  ]}
                />
              )}
              {model.error && <p className="w-full break-words text-bad">{model.error}</p>}
            </li>
          );
        })}
      </ul>
      {loading && <Load model={loading.name} onClose={() => setLoading(null)} />}
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

/** Brings a model into a node's memory. */
function Load({ model, onClose }: { model: string; onClose: () => void }) {
  const client = useQueryClient();
  const { data: nodes = [] } = useQuery(queries.nodes());
  const [node, setNode] = useState("");
  const there = nodes.filter((one) => one.status === "online" && one.available_models?.includes(model));
  return (
    <FormDialog
      title={`Load ${model}`}
      submit="Load"
      disabled={there.length === 0}
      onClose={onClose}
      onSubmit={async () => {
        await api.load(model, node || undefined);
        say(`${model} is in memory.`);
        onClose();
        await client.invalidateQueries({ queryKey: ["nodes"] });
      }}
    >
      {there.length === 0 ? (
        <p>No node that is online has its file yet. Nodes fetch it from here by themselves, a moment after it is ready.</p>
      ) : (
        <Field label="Node" hint="Those that have its file. This waits until it is in memory.">
          {(props) => (
            <select {...props} className="input" value={node} onChange={(event) => setNode(event.target.value)}>
              <option value="">whichever is best</option>
              {there.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.custom_name ?? one.machine_name}
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
    </FormDialog>
  );
}
