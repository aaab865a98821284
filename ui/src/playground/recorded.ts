// A recorded request of any dialect as a chat, which is what the playground asks.

type Body = Record<string, unknown>;
type Part = { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };

const list = (value: unknown): Body[] => (Array.isArray(value) ? value.filter((one): one is Body => typeof one === "object" && one !== null) : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** A part of a message, in whichever words it was said. What is no text and no picture is left out. */
function part(said: Body): Part[] {
  if (typeof said.text === "string") return [{ type: "text", text: said.text }];
  const source = said.source as Body | undefined;
  const inline = (said.inlineData ?? said.inline_data) as Body | undefined;
  const image = said.image_url;
  const url =
    source?.type === "base64"
      ? `data:${text(source.media_type)};base64,${text(source.data)}`
      : inline
        ? `data:${text(inline.mimeType ?? inline.mime_type)};base64,${text(inline.data)}`
        : (text(source?.url) || text(image) || text((image as Body | undefined)?.url));
  return url ? [{ type: "image_url", image_url: { url } }] : [];
}

/** One text where there is nothing else. */
function content(said: unknown): string | Part[] {
  if (typeof said === "string") return said;
  const parts = list(said).flatMap(part);
  return parts.every((one) => one.type === "text") ? parts.map((one) => (one.type === "text" ? one.text : "")).join("\n") : parts;
}

const defined = (body: Body): Body => Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
const tool = (name: unknown, description: unknown, parameters: unknown) => ({ type: "function", function: defined({ name, description, parameters }) });

function messages({ model, system, messages: said, max_tokens, temperature, top_p, stop_sequences, stream, tools }: Body): Body {
  const asked = list(said).map(({ role, content: words }) => ({ role, content: content(words) }));
  return defined({
    model,
    messages: system === undefined ? asked : [{ role: "system", content: content(system) }, ...asked],
    max_tokens,
    temperature,
    top_p,
    stop: stop_sequences,
    stream,
    tools: Array.isArray(tools) ? list(tools).map((one) => tool(one.name, one.description, one.input_schema)) : undefined,
  });
}

function responses({ model, input, instructions, max_output_tokens, temperature, top_p, stream, tools, text: format }: Body): Body {
  const asked = typeof input === "string" ? [{ role: "user", content: input }] : list(input).filter(({ role }) => typeof role === "string").map(({ role, content: words }) => ({ role, content: content(words) }));
  const schema = (format as { format?: { schema?: unknown; name?: unknown } } | undefined)?.format;
  return defined({
    model,
    messages: typeof instructions === "string" ? [{ role: "system", content: instructions }, ...asked] : asked,
    max_tokens: max_output_tokens,
    temperature,
    top_p,
    stream,
    tools: Array.isArray(tools) ? list(tools).filter(({ type }) => type === "function").map((one) => tool(one.name, one.description, one.parameters)) : undefined,
    response_format: schema?.schema ? { type: "json_schema", json_schema: { name: schema.name ?? "answer", schema: schema.schema } } : undefined,
  });
}

function gemini({ contents, systemInstruction, system_instruction, generationConfig, generation_config, tools }: Body, model: string): Body {
  const settings = (generationConfig ?? generation_config ?? {}) as Body;
  const system = (systemInstruction ?? system_instruction) as Body | undefined;
  const asked = list(contents).map(({ role, parts }) => ({ role: role === "model" ? "assistant" : "user", content: content(parts) }));
  const declared = list(tools).flatMap((one) => list(one.functionDeclarations ?? one.function_declarations));
  return defined({
    model,
    messages: system ? [{ role: "system", content: content(system.parts) }, ...asked] : asked,
    max_tokens: settings.maxOutputTokens,
    temperature: settings.temperature,
    top_p: settings.topP,
    stop: settings.stopSequences,
    tools: declared.length > 0 ? declared.map((one) => tool(one.name, one.description, one.parameters)) : undefined,
  });
}

/** The body as a chat's; as it is, where it is one. `null`: it asks for no text. */
export function asChat(body: Body, path: string, model: string): Body | null {
  if (path.endsWith("/messages")) return messages(body);
  if (path.endsWith("/responses")) return responses(body);
  if (/:(stream)?generateContent$/i.test(path)) return gemini(body, model);
  if (path.endsWith("/chat/completions")) return body;
  if (path.endsWith("/completions")) {
    const { prompt, ...rest } = body;
    return { ...rest, messages: [{ role: "user", content: Array.isArray(prompt) ? prompt.join("\n") : text(prompt) }] };
  }
  return null;
}
