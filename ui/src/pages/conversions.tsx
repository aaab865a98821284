// Models on their way from their own format to GGUF.

import { useQueryClient } from "@tanstack/react-query";
import { Plus, RotateCw, Trash2 } from "lucide-react";
import { useState } from "react";
import { models as api } from "../api/endpoints";
import type { ConvertTask } from "../api/types";
import { Ago, Button, Empty, ErrorNote, Field, Meter } from "../parts/basics";
import { Confirm, FormDialog } from "../parts/dialog";
import { Select } from "../parts/filters";
import { TaskState } from "../parts/states";
import { TableSkeleton } from "../parts/table";
import { say, sayFailed } from "../parts/toast";
import { useSession } from "../shell/session";

const QUANTIZATIONS = ["", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"];
const percentOf = (progress: number) => (progress <= 1 ? progress * 100 : progress);

export function Conversions({ tasks, error, retry }: { tasks?: ConvertTask[]; error: unknown; retry: () => void }) {
  const { isAdmin } = useSession();
  const client = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<ConvertTask | null>(null);
  const reload = () => void client.invalidateQueries({ queryKey: ["conversions"] });
  const again = (task: ConvertTask) =>
    void api.convert({ repo: task.repo, filename: task.filename ?? undefined, revision: task.revision ?? undefined, quantization: task.quantization ?? undefined }).then(() => {
      say("It is queued again.");
      reload();
    }, sayFailed("It could not be queued"));
  const add = isAdmin && (
    <Button icon={Plus} look="primary" onClick={() => setAdding(true)}>
      Convert a model
    </Button>
  );
  return (
    <div className="flex flex-col gap-3">
      {tasks && tasks.length > 0 && <div className="flex justify-end">{add}</div>}
      {error !== null && error !== undefined && !tasks && <ErrorNote what="Conversions" error={error} retry={retry} />}
      {!tasks && !error && <TableSkeleton rows={3} />}
      {tasks?.length === 0 && (
        <Empty title="Nothing is being converted" action={add}>
          A model that nobody offers as GGUF can be converted here. It takes the disk space of both, and minutes to hours.
        </Empty>
      )}
      {tasks && tasks.length > 0 && (
        <ul className="divide-y divide-line rounded-md border border-line">
          {tasks.map((task) => (
            <li key={task.id} className="flex flex-wrap items-center gap-x-4 gap-y-1 px-3 py-2">
              <div className="min-w-0 flex-1 basis-64">
                <span className="font-medium break-all">{task.repo}</span>
                <span className="block truncate text-xs text-muted">{[task.filename, task.revision, task.quantization].filter(Boolean).join(" · ")}</span>
              </div>
              <TaskState status={task.status} />
              <span className="w-28">{task.status === "in_progress" && <Meter value={percentOf(task.progress)} max={100} tone="accent" label={`${Math.round(percentOf(task.progress))} % done`} />}</span>
              <span className="text-muted">
                <Ago time={task.updated_at} />
              </span>
              {isAdmin && (
                <span className="flex">
                  {task.status === "failed" && <Button look="quiet" icon={RotateCw} aria-label={`Try ${task.repo} again`} title="Try again" onClick={() => again(task)} />}
                  <Button look="quiet" icon={Trash2} aria-label={`Remove ${task.repo}`} title="Remove" onClick={() => setRemoving(task)} />
                </span>
              )}
              {task.error && <p className="w-full break-words text-bad">{task.error}</p>}
            </li>
          ))}
        </ul>
      )}
      {adding && (
        <Convert
          onClose={() => setAdding(false)}
          onDone={() => {
            setAdding(false);
            reload();
          }}
        />
      )}
      {removing && (
        <Confirm
          title="Remove this conversion"
          action="Remove"
          onClose={() => setRemoving(null)}
          onConfirm={async () => {
            await api.removeConversion(removing.id);
            setRemoving(null);
            reload();
          }}
        >
          <p>{removing.status === "in_progress" ? "It is stopped, and what it has made so far is thrown away." : "Its entry goes away. A model that it has made stays."}</p>
        </Confirm>
      )}
    </div>
  );
}

function Convert({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [repo, setRepo] = useState("");
  const [revision, setRevision] = useState("");
  const [quantization, setQuantization] = useState("Q4_K_M");
  const start = async () => {
    await api.convert({ repo: repo.trim(), ...(revision.trim() ? { revision: revision.trim() } : {}), ...(quantization ? { quantization } : {}) });
    say("It is queued.");
    onDone();
  };
  return (
    <FormDialog title="Convert a model" submit="Convert" onSubmit={start} onClose={onClose} disabled={!repo.trim()}>
      <Field label="Repository" hint="With the model in its own format (safetensors).">
        {(props) => <input {...props} className="input" value={repo} placeholder="Qwen/Qwen3-4B" spellCheck={false} onChange={(event) => setRepo(event.target.value)} required />}
      </Field>
      <Field label="Revision" hint="A branch or commit; left empty, the newest.">
        {(props) => <input {...props} className="input" value={revision} spellCheck={false} onChange={(event) => setRevision(event.target.value)} />}
      </Field>
      <div className="flex flex-col gap-1">
        <span className="font-medium">Quantization</span>
        <Select label="Quantization" value={quantization} onChange={setQuantization} options={QUANTIZATIONS.map((name) => [name, name || "as it is"])} />
      </div>
    </FormDialog>
  );
}
