// How a machine joins: what to run there, and the token that lets it in.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound, Trash2 } from "lucide-react";
import { useState, type FormEvent } from "react";
import { nodes } from "../api/endpoints";
import { queries } from "../api/queries";
import type { JoinToken, MadeJoinToken } from "../api/types";
import { Ago, Button, Checkbox, Code, ErrorNote, Field, Section } from "../parts/basics";
import { Dialog, Refused } from "../parts/dialog";
import { say, sayFailed } from "../parts/toast";
import { useSession } from "../shell/session";
import { instant, plural } from "../text/format";

const DAY_MS = 86_400_000;
/** How long a new token lets nodes in, in days. */
const DAYS = 7;

export function AddNode({ onClose }: { onClose: () => void }) {
  const { isAdmin } = useSession();
  const [made, setMade] = useState<MadeJoinToken | null>(null);
  const run = `llm-node serve --router ${location.origin}`;
  return (
    <Dialog title="Add a node" onClose={onClose} wide>
      <div className="flex flex-col gap-5">
        <Section title="On the machine" hint="with llm-node installed">
          <Code text={made ? `LLM_ROUTER_JOIN_TOKEN=${made.token} ${run}` : run} label="What to run there" />
          <p className="text-muted">
            {made
              ? "The token is shown this once. "
              : "A machine of this network joins without a token unless the settings ask for one; any other needs one. "}
            The router calls the node back, so its port 11435 must be reachable from here.
          </p>
        </Section>
        {isAdmin && <Tokens onMade={setMade} />}
        {isAdmin && <Adopt onDone={onClose} />}
      </div>
    </Dialog>
  );
}

function Tokens({ onMade }: { onMade: (made: MadeJoinToken) => void }) {
  const client = useQueryClient();
  const found = useQuery(queries.joinTokens());
  const [name, setName] = useState("");
  const [approval, setApproval] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const again = () => void client.invalidateQueries({ queryKey: ["join-tokens"] });
  const make = async (event: FormEvent) => {
    event.preventDefault();
    setError(null);
    try {
      onMade(await nodes.makeJoinToken({ name: name.trim(), require_approval: approval, expires_at: new Date(Date.now() + DAYS * DAY_MS).toISOString() }));
      setName("");
      again();
    } catch (failure) {
      setError(failure);
    }
  };
  const revoke = (token: JoinToken) =>
    void nodes.revokeJoinToken(token.id).then(() => {
      say(`The token ${token.name} lets nobody in any more.`);
      again();
    }, sayFailed("The token was not revoked"));
  const living = (found.data ?? []).filter((token) => !token.revoked_at && (instant(token.expires_at) ?? Number.POSITIVE_INFINITY) > Date.now());
  return (
    <Section title="Join tokens" hint={`a new one holds for ${DAYS} days`}>
      <form onSubmit={make} className="flex flex-wrap items-end gap-3">
        <Field label="Name of a new token" className="w-56">
          {(props) => <input {...props} className="input" value={name} onChange={(event) => setName(event.target.value)} placeholder="rack 2" required />}
        </Field>
        <Checkbox label="its nodes wait for approval" checked={approval} onChange={setApproval} />
        <Button type="submit" icon={KeyRound} disabled={!name.trim()}>
          Make a token
        </Button>
      </form>
      {error !== null && <Refused error={error} />}
      {found.error && !found.data && <ErrorNote what="Join tokens" error={found.error} />}
      {living.length > 0 && (
        <ul className="divide-y divide-line rounded-md border border-line">
          {living.map((token) => (
            <li key={token.id} className="flex min-h-10 flex-wrap items-center gap-x-4 px-3">
              <span className="min-w-0 flex-1 truncate font-medium">{token.name}</span>
              <span className="text-muted">{plural(token.uses, "node")} came with it</span>
              <span className="text-muted">{token.expires_at ? <>ends <Ago time={token.expires_at} /></> : "for ever"}</span>
              <Button look="quiet" icon={Trash2} aria-label={`Revoke ${token.name}`} title="Revoke" onClick={() => revoke(token)} />
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

/** An engine that runs already becomes a node without a program of ours on its machine. */
function Adopt({ onDone }: { onDone: () => void }) {
  const client = useQueryClient();
  const [endpoint, setEndpoint] = useState("");
  const [name, setName] = useState("");
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const adopt = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const node = await nodes.adopt({ endpoint: endpoint.trim(), ...(name.trim() ? { name: name.trim() } : {}), ...(key ? { api_key: key } : {}) });
      say(`${node.custom_name ?? node.machine_name} is one of the nodes now.`);
      await client.invalidateQueries({ queryKey: ["nodes"] });
      onDone();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <Section title="An engine that runs already" hint="Ollama, vLLM, LM Studio, llama-server, or anything that speaks OpenAI's API">
      <form onSubmit={adopt} className="grid gap-3 sm:grid-cols-[1fr_10rem_10rem_auto] sm:items-end">
        <Field label="Address">{(props) => <input {...props} className="input" type="url" value={endpoint} onChange={(event) => setEndpoint(event.target.value)} placeholder="http://10.0.0.7:11434" required />}</Field>
        <Field label="Shown as">{(props) => <input {...props} className="input" value={name} onChange={(event) => setName(event.target.value)} placeholder="its address" />}</Field>
        <Field label="Its key">{(props) => <input {...props} className="input" type="password" autoComplete="off" value={key} onChange={(event) => setKey(event.target.value)} placeholder="none" />}</Field>
        <Button type="submit" busy={busy} disabled={!endpoint.trim()}>
          Adopt
        </Button>
      </form>
      {error !== null && <Refused error={error} />}
    </Section>
  );
}
