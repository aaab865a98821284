// What a key may: said when it is made, changed later.

import { useState } from "react";
import { keys as api } from "../api/endpoints";
import { SCOPES, type ApiKey, type MadeKey, type NewApiKey } from "../api/types";
import { Checkbox, Field } from "../parts/basics";
import { FormDialog } from "../parts/dialog";
import { words } from "./nodeactions";

const MEANINGS: Record<(typeof SCOPES)[number], string> = {
  inference: "ask models",
  mcp: "use tools",
  a2a: "talk to agents",
  files: "keep files",
  read: "see nodes, records and use",
  ops: "reset counts, read keys again",
  admin: "change everything",
};

interface Form {
  name: string;
  owner: string;
  tags: string;
  scopes: string[];
  models: string;
  expires: string;
  rpm: string;
  tpm: string;
  concurrency: string;
  amount: string;
  window: string;
}

/** A time as the field wants it, in the reader's zone. */
function local(time: string | null | undefined): string {
  if (!time) return "";
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const start = (key: ApiKey | undefined, owner: string): Form => ({
  name: key?.name ?? "",
  owner: key ? (key.owner ?? "") : owner,
  tags: key?.tags?.join(", ") ?? "",
  scopes: key?.scopes ?? ["inference"],
  models: key?.allowed_models?.join(", ") ?? "",
  expires: local(key?.expires_at),
  rpm: String(key?.limits?.rpm ?? ""),
  tpm: String(key?.limits?.tpm ?? ""),
  concurrency: String(key?.limits?.concurrency ?? ""),
  amount: String(key?.budget?.amount ?? ""),
  window: key?.budget?.window ?? "month",
});

const number = (text: string) => (text.trim() === "" ? null : Number(text));

/** The form as the router wants it. An edit names everything, so that what was emptied is taken away. */
export function asBody(form: Form, isNew: boolean): NewApiKey {
  const limits = { rpm: number(form.rpm), tpm: number(form.tpm), concurrency: number(form.concurrency) };
  const said = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== null));
  const amount = number(form.amount);
  const body: NewApiKey = {
    name: form.name.trim(),
    scopes: form.scopes,
    allowed_models: words(form.models),
    tags: words(form.tags),
    owner: form.owner.trim() || null,
    expires_at: form.expires ? new Date(form.expires).toISOString() : null,
    limits: Object.keys(said).length > 0 ? said : null,
    budget: amount === null ? null : { amount, currency: "USD", window: form.window },
  };
  if (!isNew) return body;
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)) as unknown as NewApiKey;
}

export function KeyForm({ existing, owner, onClose, onMade, onChanged }: { existing?: ApiKey; owner: string; onClose: () => void; onMade?: (key: MadeKey) => void; onChanged?: () => void }) {
  const [form, setForm] = useState(() => start(existing, owner));
  const set = (name: keyof Form) => (event: { target: { value: string } }) => setForm({ ...form, [name]: event.target.value });
  const save = async () => {
    const body = asBody(form, !existing);
    if (existing) {
      await api.change(existing.id, body);
      onChanged?.();
    } else onMade?.(await api.create(body));
  };
  return (
    <FormDialog title={existing ? `Edit ${existing.name}` : "Create a key"} submit={existing ? "Save" : "Create"} onSubmit={save} onClose={onClose} wide disabled={!form.name.trim() || form.scopes.length === 0}>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Name" hint="What uses it: it is in every record.">
          {(props) => <input {...props} className="input" value={form.name} onChange={set("name")} maxLength={256} required />}
        </Field>
        <Field label="Owner">{(props) => <input {...props} className="input" value={form.owner} onChange={set("owner")} />}</Field>
      </div>
      <fieldset>
        <legend className="mb-1 font-medium">It may</legend>
        <div className="grid gap-x-4 sm:grid-cols-2">
          {SCOPES.map((scope) => (
            <Checkbox
              key={scope}
              checked={form.scopes.includes(scope)}
              onChange={(on) => setForm({ ...form, scopes: on ? [...form.scopes, scope] : form.scopes.filter((one) => one !== scope) })}
              label={
                <>
                  <code>{scope}</code> <span className="text-muted">{MEANINGS[scope]}</span>
                </>
              }
            />
          ))}
        </div>
      </fieldset>
      <Field label="Models" hint="Names between commas. Left empty, all.">
        {(props) => <input {...props} className="input" value={form.models} onChange={set("models")} placeholder="gpt-5, claude-sonnet-5" spellCheck={false} />}
      </Field>
      <div className="grid gap-4 sm:grid-cols-3">
        <Field label="Requests a minute">{(props) => <input {...props} className="input" type="number" min={1} step={1} value={form.rpm} onChange={set("rpm")} placeholder="no limit" />}</Field>
        <Field label="Tokens a minute">{(props) => <input {...props} className="input" type="number" min={1} step={1} value={form.tpm} onChange={set("tpm")} placeholder="no limit" />}</Field>
        <Field label="At once">{(props) => <input {...props} className="input" type="number" min={1} step={1} value={form.concurrency} onChange={set("concurrency")} placeholder="no limit" />}</Field>
        <Field label="Budget, $">{(props) => <input {...props} className="input" type="number" min={0} step="any" value={form.amount} onChange={set("amount")} placeholder="no budget" />}</Field>
        <Field label="in each">
          {(props) => (
            <select {...props} className="input" value={form.window} onChange={set("window")} disabled={!form.amount}>
              {["hour", "day", "week", "month", "total"].map((window) => (
                <option key={window}>{window}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Expires" hint="Left empty, never.">
          {(props) => <input {...props} className="input" type="datetime-local" value={form.expires} onChange={set("expires")} />}
        </Field>
      </div>
      <Field label="Tags" hint="Between commas.">
        {(props) => <input {...props} className="input" value={form.tags} onChange={set("tags")} />}
      </Field>
    </FormDialog>
  );
}
