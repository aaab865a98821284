// What the playground begins with: a recorded request, a model of the address, or nothing.

import { PARAMETERS, type Message, type Parameters } from "./chat";
import { fresh, type Session } from "./sessions";

type Body = Record<string, unknown>;

/** Members that have a field of their own; the rest goes with them as they are. */
const KNOWN = new Set(["model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "seed", "stop", "tools", "response_format", "system"]);

const text = (value: unknown) => (typeof value === "number" || typeof value === "string" ? String(value) : "");
const pretty = (value: unknown) => JSON.stringify(value, null, 2);

/** A session that asks what `body` asked, up to the last question. */
export function opened(body: Body | null, model?: string): Session {
  const session = fresh([model ?? ""]);
  if (!body) return session;
  const all = Array.isArray(body.messages) ? (body.messages as (Omit<Message, "role"> & { role: string })[]) : [];
  const isSystem = (role: string) => role === "system" || role === "developer";
  const systems = all.filter((message) => isSystem(message.role)).map((message) => (typeof message.content === "string" ? message.content : pretty(message.content)));
  if (typeof body.system === "string") systems.unshift(body.system);
  const format = body.response_format as { json_schema?: { schema?: unknown } } | undefined;
  const rest = Object.fromEntries(Object.entries(body).filter(([name]) => !KNOWN.has(name)));
  if (format && !format.json_schema?.schema) rest.response_format = format;
  const parameters: Parameters = {
    ...PARAMETERS,
    system: systems.join("\n\n"),
    stream: body.stream === true,
    temperature: text(body.temperature),
    topP: text(body.top_p),
    maxTokens: text(body.max_tokens),
    seed: text(body.seed),
    stop: (Array.isArray(body.stop) ? body.stop : [body.stop ?? ""]).map(String).join("\n"),
    tools: Array.isArray(body.tools) ? pretty(body.tools) : "",
    schema: format?.json_schema?.schema ? pretty(format.json_schema.schema) : "",
    more: Object.keys(rest).length > 0 ? pretty(rest) : "",
  };
  const messages = all.filter((message) => !isSystem(message.role)) as Message[];
  return { ...session, models: [typeof body.model === "string" ? body.model : ""], parameters, threads: [messages] };
}
