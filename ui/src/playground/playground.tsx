// Try a model, or two beside each other.

import { useQuery } from "@tanstack/react-query";
import { CodeXml, Columns2, Eraser, History, Play, Plus, SlidersHorizontal, Trash2, X } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import { queries } from "../api/queries";
import type { Model } from "../api/types";
import { Where, isLocal } from "../pages/models";
import { Snippets } from "../pages/request";
import { Ago, Badge, Button, ErrorNote, classes } from "../parts/basics";
import { Dialog } from "../parts/dialog";
import { say } from "../parts/toast";
import { useFilters } from "../shell/address";
import { FieldFault, ask, bodyOf, type Message, type Part, type ToolCall } from "./chat";
import { Composer } from "./composer";
import { Controls } from "./controls";
import { inSight } from "./looking";
import { opened } from "./opened";
import { replay } from "./replay";
import { fresh, load, store, titleOf, type Session } from "./sessions";
import { Thread } from "./thread";

/** Always answers, and is in no list. */
const DUMMY: Model = { id: "dummy", owned_by: "llm-router" };

type Panel = "sessions" | "controls" | null;

export default function Playground() {
  const [filters] = useFilters();
  const models = useQuery(queries.models());
  const health = useQuery(queries.health());
  const [sessions, setSessions] = useState(load);
  const [current, setCurrent] = useState<Session>(() => {
    const { body: seen = null, model } = inSight();
    return opened(replay.take() ?? (filters.model ? null : seen), filters.model ?? model);
  });
  const [where, setWhere] = useState("");
  const [key, setKey] = useState("");
  const [fault, setFault] = useState<FieldFault | null>(null);
  const [running, setRunning] = useState<AbortController | null>(null);
  const [panel, setPanel] = useState<Panel>(null);
  const [code, setCode] = useState(false);
  const latest = useRef(current);
  latest.current = current;

  // The first model that there is, where none was named.
  useEffect(() => {
    const first = models.data && (models.data.find((model) => model.ready || model.loaded) ?? models.data.find((model) => model.id === "auto") ?? models.data[0] ?? DUMMY);
    if (first && !latest.current.models[0]) setCurrent((session) => ({ ...session, models: session.models.map((model) => model || first.id) }));
  }, [models.data]);
  // Leaving the page ends what is under way.
  useEffect(() => () => running?.abort(), [running]);

  const keep = useCallback((session: Session) => {
    setSessions((all) => {
      const next = [session, ...all.filter((one) => one.id !== session.id)];
      store(next);
      return next;
    });
  }, []);

  // After the last piece has been drawn.
  const [finished, setFinished] = useState(0);
  useEffect(() => {
    if (finished > 0 && latest.current.threads.some((thread) => thread.length > 0)) keep(latest.current);
  }, [finished, keep]);

  const run = async (threads: Message[][], only?: number) => {
    let bodies: (Record<string, unknown> | null)[];
    try {
      bodies = current.models.map((model, n) => (only !== undefined && only !== n ? null : bodyOf(model, threads[n] ?? [], current.parameters)));
      setFault(null);
    } catch (error) {
      if (!(error instanceof FieldFault)) throw error;
      setFault(error);
      setPanel("controls");
      say(error.message, { tone: "bad" });
      return false;
    }
    const stop = new AbortController();
    setRunning(stop);
    // Somebody may open another conversation while this one is still answered.
    const own = (change: (session: Session) => Session) => setCurrent((session) => (session.id === current.id ? change(session) : session));
    own((session) => ({ ...session, threads }));
    const show = (n: number) => (message: Message) => own((session) => ({ ...session, threads: session.threads.map((thread, at) => (at === n ? [...(threads[n] ?? []), message] : thread)) }));
    await Promise.all(bodies.map((body, n) => (body ? ask(body, key, stop.signal, show(n)) : null)));
    setRunning(null);
    // What was shown stays as it is: an error may have been dismissed while another model still answered.
    own((session) => ({ ...session, title: titleOf(session.threads), changed: Date.now() }));
    setFinished((times) => times + 1);
    return true;
  };

  const send = (content: string | Part[]) => run(current.threads.map((thread) => [...thread, { role: "user" as const, content }]));
  const result = (n: number) => (call: ToolCall, text: string) =>
    void run(
      current.threads.map((thread, at) => (at === n ? [...thread, { role: "tool" as const, content: text, tool_call_id: call.id }] : thread)),
      n,
    );
  const dismiss = (n: number) => (at: number) =>
    setCurrent((session) => ({
      ...session,
      threads: session.threads.map((thread, one) =>
        one === n ? thread.flatMap((message, place) => (place !== at ? [message] : message.content || message.tool_calls ? [{ ...message, outcome: { ...message.outcome, error: undefined } }] : [])) : thread,
      ),
    }));
  const choose = (n: number, model: string) => setCurrent((session) => ({ ...session, models: session.models.map((one, at) => (at === n ? model : one)) }));
  const two = () =>
    setCurrent((session) =>
      session.models.length > 1
        ? { ...session, models: session.models.slice(0, 1), threads: session.threads.slice(0, 1) }
        : { ...session, models: [...session.models, models.data?.find((model) => model.id !== session.models[0])?.id ?? session.models[0] ?? ""], threads: [...session.threads, session.threads[0]?.filter((message) => message.role === "user").slice(0, 0) ?? []] },
    );
  const begin = () => {
    running?.abort();
    setCurrent((session) => ({ ...fresh(session.models), parameters: session.parameters }));
  };
  const body = (): Record<string, unknown> | null => {
    try {
      const thread = current.threads[0] ?? [];
      // The call that was answered last, not one that ends with its own answer.
      const messages = thread.slice(0, thread.findLastIndex(({ role }) => role !== "assistant") + 1);
      return bodyOf(current.models[0] ?? "", messages.length ? messages : [{ role: "user", content: "Hello" }], current.parameters);
    } catch {
      return null;
    }
  };
  const shown = [...(models.data ?? []), ...(models.data?.some(({ id }) => id === DUMMY.id) ? [] : [DUMMY])].filter((model) => (where === "local" ? isLocal(model) : where === "cloud" ? !isLocal(model) : true));
  const sessionList = (
    <Sessions
      sessions={sessions}
      current={current.id}
      onOpen={(session) => {
        running?.abort();
        setCurrent(session);
        setPanel(null);
      }}
      onRemove={(id) =>
        setSessions((all) => {
          const next = all.filter((one) => one.id !== id);
          store(next);
          return next;
        })
      }
    />
  );
  const controls = <Controls parameters={current.parameters} onChange={(parameters) => setCurrent((session) => ({ ...session, parameters }))} apiKey={key} onKey={setKey} fault={fault} />;
  // A recorded request that was opened here has its question already.
  const isWaiting = running === null && current.threads.some((thread) => thread[thread.length - 1]?.role === "user");
  const isEmpty = current.threads.every((thread) => thread.length === 0);

  return (
    <div className="flex h-full min-h-0">
      <h1 className="sr-only">Playground</h1>
      <aside aria-label="Conversations" className="hidden w-52 shrink-0 overflow-y-auto border-r border-line p-2 xl:block">
        {sessionList}
      </aside>
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex flex-wrap items-center gap-2 border-b border-line px-3 py-2">
          <Where value={where} onChange={setWhere} />
          {current.models.map((model, n) => (
            <ModelChoice key={n} label={current.models.length > 1 ? `Model ${n + 1}` : "Model"} model={model} models={shown} onChoose={(to) => choose(n, to)} />
          ))}
          <Button icon={current.models.length > 1 ? X : Columns2} onClick={two} disabled={running !== null}>
            {current.models.length > 1 ? "One model" : "Compare"}
          </Button>
          <span className="ml-auto flex items-center gap-1">
            {health.data && health.data.status !== "healthy" && <Badge tone="warn">router {health.data.status}</Badge>}
            {health.error && <Badge tone="bad">router away</Badge>}
            <Button look="quiet" icon={CodeXml} aria-label="As code" title="As code" onClick={() => setCode(true)} />
            <Button look="quiet" icon={Plus} aria-label="New conversation" title="New conversation" onClick={begin} />
            <Button look="quiet" icon={Eraser} aria-label="Clear" title="Clear this conversation" disabled={isEmpty || running !== null} onClick={() => setCurrent((session) => ({ ...session, threads: session.models.map(() => []) }))} />
            <Button look="quiet" icon={History} aria-label="Conversations" title="Conversations" className="xl:hidden" onClick={() => setPanel("sessions")} />
            <Button look="quiet" icon={SlidersHorizontal} aria-label="Parameters" title="Parameters" className="lg:hidden" onClick={() => setPanel("controls")} />
          </span>
        </div>
        {models.error && !models.data && (
          <div className="p-4">
            <ErrorNote what="Models" error={models.error} retry={() => void models.refetch()} />
          </div>
        )}
        <div className={classes("grid min-h-0 flex-1", current.models.length > 1 && "divide-line max-md:divide-y md:grid-cols-2 md:divide-x")}>
          {current.threads.map((thread, n) => (
            <section key={n} aria-label={current.models[n] ?? "Conversation"} className="flex min-h-0 min-w-0 flex-col">
              {current.models.length > 1 && <h2 className="border-b border-line px-4 py-1.5 text-xs font-medium text-muted">{current.models[n]}</h2>}
              {thread.length === 0 ? <Hint models={models.data} /> : <Thread model={current.models[n] ?? ""} messages={thread} busy={running !== null} onDismiss={dismiss(n)} onToolResult={result(n)} />}
            </section>
          ))}
        </div>
        {isWaiting && (
          <div className="flex items-center justify-center gap-3 border-t border-line bg-sunken px-3 py-2">
            <span className="text-muted">This question has no answer yet.</span>
            <Button look="primary" icon={Play} disabled={!current.models.every(Boolean)} onClick={() => void run(current.threads)}>
              Ask it
            </Button>
          </div>
        )}
        <Composer busy={running !== null} disabled={!current.models.every(Boolean)} onSend={send} onStop={() => running?.abort()} />
      </div>
      <aside aria-label="Parameters" className="hidden w-72 shrink-0 overflow-y-auto border-l border-line p-4 lg:block">
        {controls}
      </aside>
      {panel && (
        <Dialog title={panel === "sessions" ? "Conversations" : "Parameters"} onClose={() => setPanel(null)} side>
          {panel === "sessions" ? sessionList : controls}
        </Dialog>
      )}
      {code && <CodeOf body={body()} onClose={() => setCode(false)} />}
    </div>
  );
}

function CodeOf({ body, onClose }: { body: Record<string, unknown> | null; onClose: () => void }) {
  if (body) return <Snippets path="/v1/chat/completions" body={body} onClose={onClose} />;
  return (
    <Dialog title="This request as code" onClose={onClose}>
      <p>One of the parameters is not valid yet.</p>
    </Dialog>
  );
}

function ModelChoice({ label, model, models, onChoose }: { label: string; model: string; models: Model[]; onChoose: (model: string) => void }) {
  const isListed = models.some(({ id }) => id === model);
  return (
    <select aria-label={label} className="input w-auto max-w-60 min-w-32" value={model} onChange={(event) => onChoose(event.target.value)}>
      {!isListed && <option value={model}>{model || "no model"}</option>}
      {models.map(({ id, loaded }) => (
        <option key={id} value={id}>
          {id}
          {loaded ? " · in memory" : ""}
        </option>
      ))}
    </select>
  );
}

function Hint({ models }: { models?: Model[] }) {
  return (
    <div className="flex flex-1 flex-col items-center justify-center gap-1 p-6 text-center text-muted">
      {models?.length === 0 ? (
        <p>
          No model yet but <code>dummy</code>, which always answers the same. Nodes and accounts bring others.
        </p>
      ) : (
        <>
          <p className="text-base text-text">Ask something</p>
          <p>Enter sends, Shift and Enter begin a new line. Pictures can be pasted or dropped.</p>
        </>
      )}
    </div>
  );
}

function Sessions({ sessions, current, onOpen, onRemove }: { sessions: Session[]; current: string; onOpen: (session: Session) => void; onRemove: (id: string) => void }) {
  if (sessions.length === 0) return <p className="p-2 text-xs text-muted">Conversations are kept here, in this browser only.</p>;
  return (
    <ul className="flex flex-col gap-px">
      {sessions.map((session) => (
        <li key={session.id} className={classes("group flex items-center rounded-md hover:bg-hover", session.id === current && "bg-hover")}>
          <button type="button" onClick={() => onOpen(session)} aria-current={session.id === current} className="min-w-0 flex-1 px-2 py-1.5 text-left">
            <span className="block truncate">{session.title || "Untitled"}</span>
            <span className="block truncate text-xs text-muted">
              {session.models.join(", ")} · <Ago time={session.changed} />
            </span>
          </button>
          <Button look="quiet" icon={Trash2} aria-label={`Delete ${session.title || "this conversation"}`} className="opacity-0 group-hover:opacity-100 focus:opacity-100" onClick={() => onRemove(session.id)} />
        </li>
      ))}
    </ul>
  );
}
