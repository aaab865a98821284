// A conversation with one model.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { GitBranch, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { queries } from "../api/queries";
import { Button, CopyButton, ErrorNote, Skeleton, Tag, classes } from "../parts/basics";
import { Dialog } from "../parts/dialog";
import { Decision } from "../pages/decision";
import { count, duration, exact, money, rate, speed } from "../text/format";
import type { Message, Outcome, ToolCall } from "./chat";

export function Thread({ model, messages, busy, onDismiss, onToolResult }: { model: string; messages: Message[]; busy: boolean; onDismiss: (at: number) => void; onToolResult: (call: ToolCall, result: string) => void }) {
  const end = useRef<HTMLDivElement>(null);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    // Follows unless somebody reads further up.
    if (element && element.scrollHeight - element.scrollTop - element.clientHeight < 160) end.current?.scrollIntoView({ block: "end" });
  }, [messages]);
  const answered = new Set(messages.flatMap((message) => (message.tool_call_id ? [message.tool_call_id] : [])));
  return (
    <div ref={box} tabIndex={0} role="log" aria-label={`Conversation with ${model || "no model yet"}`} aria-busy={busy} className="min-h-0 flex-1 overflow-y-auto px-4 py-3 -outline-offset-2">
      <ol className="mx-auto flex max-w-3xl flex-col gap-4">
        {messages.map((message, at) => (
          <li key={at} className={classes("flex flex-col gap-1.5", message.role === "user" && "items-end")}>
            {message.role === "user" && <Question message={message} />}
            {message.role === "tool" && (
              <div className="max-w-full rounded-md border border-line bg-sunken px-3 py-2">
                <span className="text-xs text-muted">Result of the tool</span>
                <pre className="overflow-x-auto text-xs whitespace-pre-wrap">{String(message.content)}</pre>
              </div>
            )}
            {message.role === "assistant" && (
              <Answer message={message} busy={busy && at === messages.length - 1} onDismiss={() => onDismiss(at)} answered={answered} onToolResult={busy ? undefined : onToolResult} />
            )}
          </li>
        ))}
      </ol>
      <div ref={end} />
    </div>
  );
}

function Question({ message }: { message: Message }) {
  const parts = typeof message.content === "string" ? [{ type: "text" as const, text: message.content }] : (message.content ?? []);
  return (
    <div className="flex max-w-[85%] flex-col items-end gap-2 rounded-lg bg-accent-soft px-3 py-2">
      {parts.map((part, n) => (part.type === "image_url" ? <img key={n} src={part.image_url.url} alt="What was sent" className="max-h-48 rounded" /> : <p key={n} className="break-words whitespace-pre-wrap">{part.text}</p>))}
    </div>
  );
}

/** Text with its code set apart. Nothing in it is taken for markup of the page. */
function Prose({ text }: { text: string }) {
  const pieces = text.split(/^```(.*)$/m);
  if (pieces.length < 3) return <p className="break-words whitespace-pre-wrap">{text}</p>;
  return (
    <div className="flex flex-col gap-2">
      {pieces.map((piece, n) => {
        // Texts, the word after the fence, code, the empty word after the closing fence, text…
        if (n % 4 === 0) return piece.trim() ? <p key={n} className="break-words whitespace-pre-wrap">{piece.trim()}</p> : null;
        if (n % 4 !== 2) return null;
        return (
          <div key={n} className="relative rounded-md border border-line bg-sunken">
            <span className="absolute top-1 right-1">
              <CopyButton text={piece.trim()} label="Copy the code" />
            </span>
            <pre tabIndex={0} role="group" aria-label="Code" className="overflow-x-auto p-3 pr-11 text-xs leading-relaxed">
              {piece.trim()}
            </pre>
          </div>
        );
      })}
    </div>
  );
}

function Answer({ message, busy, onDismiss, answered, onToolResult }: { message: Message; busy: boolean; onDismiss: () => void; answered: Set<string>; onToolResult?: (call: ToolCall, result: string) => void }) {
  const { outcome = {} } = message;
  const text = typeof message.content === "string" ? message.content : "";
  return (
    <div className="flex w-full min-w-0 flex-col gap-2">
      {message.reasoning && (
        <details className="rounded-md border border-line px-3 py-2 text-muted">
          <summary>What it thought</summary>
          <p className="mt-2 break-words whitespace-pre-wrap">{message.reasoning}</p>
        </details>
      )}
      {text && <Prose text={text} />}
      {busy && !text && !message.tool_calls && <span className="text-muted">{outcome.requestId ? "Answering…" : "Asking…"}</span>}
      {message.tool_calls?.map((call) => <Call key={call.id} call={call} onResult={answered.has(call.id) ? undefined : onToolResult} />)}
      {outcome.error && (
        <div role="alert" className="flex items-start gap-2 rounded-md border border-bad/40 bg-bad-soft p-2">
          <span className="min-w-0 flex-1 break-words">{outcome.error}</span>
          <Button look="quiet" icon={X} aria-label="Dismiss the error" onClick={onDismiss} />
        </div>
      )}
      {!busy && <Figures outcome={outcome} text={text} />}
    </div>
  );
}

function Call({ call, onResult }: { call: ToolCall; onResult?: (call: ToolCall, result: string) => void }) {
  const [result, setResult] = useState("");
  return (
    <div className="flex flex-col gap-2 rounded-md border border-line bg-sunken p-3">
      <p>
        It calls <b className="font-mono">{call.function.name}</b>
      </p>
      <pre className="overflow-x-auto text-xs whitespace-pre-wrap">{call.function.arguments}</pre>
      {onResult && (
        <div className="flex gap-2">
          <input aria-label={`Result of ${call.function.name}`} className="input font-mono" placeholder="The result that it gets" value={result} onChange={(event) => setResult(event.target.value)} />
          <Button onClick={() => onResult(call, result)}>Send the result</Button>
        </div>
      )}
    </div>
  );
}

function Figures({ outcome, text }: { outcome: Outcome; text: string }) {
  const [why, setWhy] = useState(false);
  const { firstMs, totalMs, promptTokens, completionTokens, costUsd, model, target, requestId, fidelity, finish, stopped } = outcome;
  if (totalMs === undefined) return null;
  const perSecond = rate(completionTokens, firstMs === undefined ? null : totalMs - firstMs);
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-xs text-muted">
      {stopped && <Tag>stopped</Tag>}
      {finish && finish !== "stop" && finish !== "tool_calls" && <Tag title="why it ended">{finish}</Tag>}
      {model && (
        <span>
          {model}
          {target && target !== model ? ` at ${target}` : ""}
        </span>
      )}
      {firstMs !== undefined && <span title={`${exact(firstMs)} ms`}>first {duration(firstMs)}</span>}
      <span title={`${exact(totalMs)} ms`}>total {duration(totalMs)}</span>
      {promptTokens !== undefined && (
        <span>
          {count(promptTokens)} → {count(completionTokens)} tokens
        </span>
      )}
      {perSecond !== null && <span>{speed(perSecond)}</span>}
      <span title={costUsd === undefined ? "no price is known, or it is not known yet" : `$${costUsd}`}>{costUsd === undefined ? "cost not known" : money(costUsd)}</span>
      {fidelity && <Tag title="what the translation could not carry">{fidelity}</Tag>}
      {requestId && (
        <span className="flex items-center">
          <button type="button" className="link inline-flex h-6 items-center gap-1" onClick={() => setWhy(true)}>
            <GitBranch className="size-3" aria-hidden />
            Decision
          </button>
        </span>
      )}
      {requestId && (
        <Link to="/dashboard/requests/$id" params={{ id: requestId }} className="link inline-flex h-6 items-center">
          Record
        </Link>
      )}
      {text && <CopyButton text={text} label="Copy the answer" />}
      {why && requestId && <Why id={requestId} onClose={() => setWhy(false)} />}
    </div>
  );
}

function Why({ id, onClose }: { id: string; onClose: () => void }) {
  const told = useQuery({ ...queries.explain(id), retry: 3 });
  return (
    <Dialog title="Why it went there" onClose={onClose} wide>
      {told.error && <ErrorNote what="The decision" error={told.error} retry={() => void told.refetch()} />}
      {told.isPending && <Skeleton className="h-40" />}
      {told.data && <Decision why={told.data} />}
    </Dialog>
  );
}
