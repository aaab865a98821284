// One question to one model: its body, its stream, what is known of it at the end.

import { ApiError, errorOf, proof, unreachable } from "../api/http";
import { Events } from "../text/sse";

export type Part = { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export interface Message {
  role: "user" | "assistant" | "tool";
  content: string | Part[] | null;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
  reasoning?: string;
  outcome?: Outcome;
}

/** What is known when an answer is over, or while it comes. */
export interface Outcome {
  model?: string;
  target?: string;
  requestId?: string;
  firstMs?: number;
  totalMs?: number;
  promptTokens?: number;
  completionTokens?: number;
  costUsd?: number;
  fidelity?: string;
  finish?: string;
  stopped?: boolean;
  error?: string;
}

export interface Parameters {
  system: string;
  stream: boolean;
  temperature: string;
  topP: string;
  maxTokens: string;
  seed: string;
  stop: string;
  /** A list of tools as OpenAI writes it. */
  tools: string;
  /** A JSON Schema that the answer must keep to. */
  schema: string;
  /** Anything else, merged into the body. */
  more: string;
}

export const PARAMETERS: Parameters = { system: "", stream: true, temperature: "", topP: "", maxTokens: "", seed: "", stop: "", tools: "", schema: "", more: "" };

/** What is wrong with a field, said of the field. */
export class FieldFault extends Error {
  constructor(
    readonly field: keyof Parameters,
    message: string,
  ) {
    super(message);
  }
}

function parsed(field: keyof Parameters, text: string, what: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FieldFault(field, `${what} must be JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function number(field: keyof Parameters, text: string, what: string): number | undefined {
  if (text.trim() === "") return undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new FieldFault(field, `${what} must be a number.`);
  return value;
}

/** The body of `POST /v1/chat/completions`. */
export function bodyOf(model: string, messages: Message[], parameters: Parameters): Record<string, unknown> {
  const tools = parsed("tools", parameters.tools, "Tools");
  if (tools !== undefined && !Array.isArray(tools)) throw new FieldFault("tools", "Tools must be a list.");
  const schema = parsed("schema", parameters.schema, "The schema");
  if (schema !== undefined && (typeof schema !== "object" || schema === null || Array.isArray(schema))) throw new FieldFault("schema", "The schema must be an object.");
  const more = parsed("more", parameters.more, "More fields");
  if (more !== undefined && (typeof more !== "object" || more === null || Array.isArray(more))) throw new FieldFault("more", "More fields must be an object.");
  const stop = parameters.stop.split("\n").filter((line) => line !== "");
  const wire = messages
    .filter(({ outcome, content, tool_calls }) => !outcome?.error || content || tool_calls)
    .map(({ role, content, tool_calls, tool_call_id }) => ({ role, content, ...(tool_calls ? { tool_calls } : {}), ...(tool_call_id ? { tool_call_id } : {}) }));
  const body: Record<string, unknown> = {
    model,
    messages: parameters.system.trim() ? [{ role: "system", content: parameters.system }, ...wire] : wire,
    temperature: number("temperature", parameters.temperature, "Temperature"),
    top_p: number("topP", parameters.topP, "Top p"),
    max_tokens: number("maxTokens", parameters.maxTokens, "Longest answer"),
    seed: number("seed", parameters.seed, "Seed"),
    stop: stop.length > 0 ? stop : undefined,
    tools: Array.isArray(tools) && tools.length > 0 ? tools : undefined,
    response_format: schema === undefined ? undefined : { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
    stream: parameters.stream || undefined,
    stream_options: parameters.stream ? { include_usage: true } : undefined,
    ...(more as object | undefined),
  };
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}

interface Choice {
  delta?: Delta;
  message?: Delta;
  finish_reason?: string | null;
}
interface Delta {
  content?: string | null;
  reasoning?: string | null;
  reasoning_content?: string | null;
  tool_calls?: { index?: number; id?: string; function?: { name?: string; arguments?: string } }[];
}
export interface Chunk {
  model?: string;
  choices?: Choice[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  error?: { message?: string };
}

/** The answer with one more piece of it, or all of it. */
export function grown(message: Message, chunk: Chunk): Message {
  const choice = chunk.choices?.[0];
  const piece = choice?.delta ?? choice?.message;
  const outcome: Outcome = { ...message.outcome };
  if (chunk.model) outcome.model = chunk.model;
  if (chunk.usage) {
    outcome.promptTokens = chunk.usage.prompt_tokens;
    outcome.completionTokens = chunk.usage.completion_tokens;
  }
  if (choice?.finish_reason) outcome.finish = choice.finish_reason;
  if (chunk.error) outcome.error = chunk.error.message ?? "The stream broke off.";
  const next: Message = { ...message, outcome };
  if (piece?.content) next.content = `${typeof message.content === "string" ? message.content : ""}${piece.content}`;
  const thought = piece?.reasoning ?? piece?.reasoning_content;
  if (thought) next.reasoning = `${message.reasoning ?? ""}${thought}`;
  if (piece?.tool_calls) {
    const calls = [...(message.tool_calls ?? [])];
    for (const [n, call] of piece.tool_calls.entries()) {
      const at = call.index ?? n;
      const before = calls[at];
      calls[at] = {
        id: call.id ?? before?.id ?? `call_${at}`,
        type: "function",
        function: { name: call.function?.name ?? before?.function.name ?? "", arguments: `${before?.function.arguments ?? ""}${call.function?.arguments ?? ""}` },
      };
    }
    next.tool_calls = calls;
  }
  return next;
}

/** What the router says in the stream's last comment: `router {"cost_usd": 0.0012, …}`. */
export function costIn(comment: string): number | undefined {
  try {
    const { cost_usd } = JSON.parse(comment.slice(comment.indexOf("{"))) as { cost_usd?: unknown };
    return typeof cost_usd === "number" ? cost_usd : undefined;
  } catch {
    return undefined;
  }
}

function headersOf(headers: Headers): Outcome {
  const text = (name: string) => headers.get(name) ?? undefined;
  const cost = text("x-llm-router-cost-known") === "false" ? Number.NaN : Number(text("x-llm-router-cost") ?? Number.NaN);
  const fidelity = text("x-llm-router-fidelity");
  return {
    requestId: text("x-request-id"),
    model: text("x-llm-router-model"),
    target: text("x-llm-router-target") ?? text("x-llm-router-provider"),
    costUsd: Number.isFinite(cost) ? cost : undefined,
    fidelity: fidelity && fidelity !== "exact" ? fidelity : undefined,
  };
}

/** Asks and gives the answer as it grows. What fails is in the outcome: this never throws. */
export async function ask(body: Record<string, unknown>, key: string, signal: AbortSignal, onGrown: (message: Message) => void): Promise<Message> {
  const began = performance.now();
  let message: Message = { role: "assistant", content: null, outcome: {} };
  const put = (outcome: Outcome) => {
    const said = Object.fromEntries(Object.entries(outcome).filter(([, value]) => value !== undefined));
    message = { ...message, outcome: { ...message.outcome, ...said } };
    onGrown(message);
  };
  const grow = (chunk: Chunk) => {
    message = grown(message, chunk);
    const hasStarted = message.content || message.reasoning || message.tool_calls;
    if (hasStarted && message.outcome?.firstMs === undefined) message = { ...message, outcome: { ...message.outcome, firstMs: performance.now() - began } };
    onGrown(message);
  };
  try {
    // A key that somebody typed stands in for the session; it is shown to nobody else. A stream tells its cost only to those who ask.
    const headers = { "content-type": "application/json", "x-router-debug": "1", ...(key ? { authorization: `Bearer ${key}` } : proof("POST")) };
    const answer = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal, credentials: key ? "omit" : "same-origin" }).catch((error: unknown) => {
      if (signal.aborted) throw error;
      throw unreachable();
    });
    put(headersOf(answer.headers));
    if (!answer.ok) throw errorOf(answer.status, await answer.text(), answer.headers.get("x-request-id"));
    if (answer.headers.get("content-type")?.includes("text/event-stream") && answer.body) {
      const events = new Events();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        for (const event of events.take(piece.value)) {
          if (event.comment) put({ costUsd: costIn(event.comment) });
          if (event.data && event.data !== "[DONE]") grow(JSON.parse(event.data) as Chunk);
        }
      }
    } else grow(JSON.parse(await answer.text()) as Chunk);
  } catch (error) {
    if (signal.aborted) put({ stopped: true });
    else put({ error: error instanceof ApiError || error instanceof Error ? error.message : String(error) });
  }
  put({ totalMs: performance.now() - began });
  return message;
}
