// Models of Hugging Face: found, looked into, registered.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { useState } from "react";
import { models as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { AvailableModel, RegisteredModel } from "../api/types";
import { Badge, Button, Empty, ErrorNote, Field, Section, Tag } from "../parts/basics";
import { FormDialog } from "../parts/dialog";
import { Typed } from "../parts/filters";
import { Pager, TableSkeleton } from "../parts/table";
import { say } from "../parts/toast";
import { useFilters } from "../shell/address";
import { bytes, UNKNOWN } from "../text/format";

const PAGE = 20;

interface Wanted {
  repo: string;
  filename: string;
  name: string;
}

export function Hub({ registered }: { registered: RegisteredModel[] }) {
  const [filters, change] = useFilters();
  const search = filters.q ?? "";
  const offset = Math.max(0, Number(filters.offset) || 0);
  const found = useQuery(queries.available(search, offset));
  const [wanted, setWanted] = useState<Wanted | null>(null);
  const here = new Set(registered.map((model) => `${model.repo}/${model.filename}`));
  const want = (model: AvailableModel) => setWanted({ repo: model.repo, filename: model.filename, name: "" });
  return (
    <div className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center gap-2">
        <Typed label="Search the hub" placeholder="Search Hugging Face for GGUF models" type="search" value={filters.q} onChange={(q) => change({ q, offset: "" })} className="w-80 max-w-full" />
        <Button className="ml-auto" icon={Download} onClick={() => setWanted({ repo: "", filename: "", name: "" })}>
          By repository name
        </Button>
      </div>
      {found.error && !found.data && <ErrorNote what="The hub" error={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <TableSkeleton />}
      {found.data?.models.length === 0 && (
        <Empty title="The hub has no GGUF file like that">
          A model without one can be converted: look for its GGUF editions below, or convert it on the tab Conversions.
        </Empty>
      )}
      {found.data && found.data.models.length > 0 && (
        <>
          <ul className="divide-y divide-line rounded-md border border-line">
            {found.data.models.map((model) => (
              <li key={`${model.repo}/${model.filename}`} className="flex flex-wrap items-center gap-x-4 gap-y-1 px-3 py-2">
                <div className="min-w-0 flex-1 basis-64">
                  <span className="font-medium break-all">{model.display_name ?? model.name}</span>
                  <span className="block truncate text-xs text-muted">
                    {model.repo} / {model.filename}
                  </span>
                </div>
                {model.quantization && <Tag>{model.quantization}</Tag>}
                <span className="w-16 text-right text-muted">{model.size_gb ? `${model.size_gb.toFixed(1)} GB` : UNKNOWN}</span>
                <span className="w-28 text-right text-muted max-sm:hidden">{model.required_memory_gb ? `needs ${model.required_memory_gb.toFixed(1)} GB` : ""}</span>
                {here.has(`${model.repo}/${model.filename}`) ? (
                  <Badge tone="good">registered</Badge>
                ) : (
                  <Button onClick={() => want(model)} aria-label={`Register ${model.name}`}>
                    Register
                  </Button>
                )}
              </li>
            ))}
          </ul>
          <Pager page={Math.floor(offset / PAGE)} pages={Math.max(1, Math.ceil(found.data.pagination.total / PAGE))} total={found.data.pagination.total} onPage={(page) => change({ offset: page > 0 ? String(page * PAGE) : "" })} />
        </>
      )}
      <Editions onWant={(repo, filename) => setWanted({ repo, filename, name: "" })} />
      {wanted && <Register wanted={wanted} onClose={() => setWanted(null)} onDone={() => change({ tab: "registered", q: "", offset: "" })} />}
    </div>
  );
}

function Editions({ onWant }: { onWant: (repo: string, filename: string) => void }) {
  const [model, setModel] = useState("");
  const found = useQuery({ ...queries.alternatives(model), enabled: model !== "", placeholderData: undefined });
  return (
    <Section title="GGUF editions of a model" hint="by people who are known to make good ones">
      <Typed label="Name of the original model" placeholder="Qwen/Qwen3-4B" value={model} onChange={setModel} className="w-80 max-w-full" />
      {found.error && <ErrorNote what="Editions" error={found.error} />}
      {model && found.isPending && <TableSkeleton rows={2} />}
      {found.data?.gguf_alternatives.length === 0 && <p className="text-muted">Nobody has made one that was found.</p>}
      {found.data && found.data.gguf_alternatives.length > 0 && (
        <ul className="divide-y divide-line rounded-md border border-line">
          {found.data.gguf_alternatives.map((edition) => (
            <li key={edition.repo} className="px-3 py-2">
              <p className="flex items-center gap-2 font-medium">
                {edition.repo} {edition.trusted && <Badge tone="good">trusted</Badge>}
              </p>
              <div className="mt-1 flex flex-wrap gap-1.5">
                {edition.files.map((file) => (
                  <Button key={file.filename} onClick={() => onWant(edition.repo, file.filename)} title={file.filename}>
                    {file.quantization ?? file.filename} · {bytes(file.size_bytes)}
                  </Button>
                ))}
              </div>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function Register({ wanted, onClose, onDone }: { wanted: Wanted; onClose: () => void; onDone: () => void }) {
  const client = useQueryClient();
  const [repo, setRepo] = useState(wanted.repo);
  const [filename, setFilename] = useState(wanted.filename);
  const [name, setName] = useState(wanted.name);
  const save = async () => {
    const made = await api.register({ repo: repo.trim(), ...(filename.trim() ? { filename: filename.trim() } : {}), ...(name.trim() ? { display_name: name.trim() } : {}) });
    say(made.warnings?.length ? `Registered, but: ${made.warnings.join("; ")}` : `${made.name} is registered; its file is on the way.`);
    await client.invalidateQueries({ queryKey: ["models"] });
    onClose();
    onDone();
  };
  return (
    <FormDialog title="Register a model" submit="Register" onSubmit={save} onClose={onClose} disabled={!repo.trim()}>
      <Field label="Repository" hint="As Hugging Face names it: who/what.">
        {(props) => <input {...props} className="input" value={repo} placeholder="bartowski/Llama-3.2-3B-Instruct-GGUF" spellCheck={false} onChange={(event) => setRepo(event.target.value)} required />}
      </Field>
      <Field label="File" hint="Left empty, the router picks one; a repository without GGUF files is converted.">
        {(props) => <input {...props} className="input" value={filename} spellCheck={false} onChange={(event) => setFilename(event.target.value)} />}
      </Field>
      <Field label="Shown name">{(props) => <input {...props} className="input" value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <p className="text-muted">The file comes to the router first; nodes fetch it from here when they are asked for the model.</p>
    </FormDialog>
  );
}
