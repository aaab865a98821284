// A request as code that somebody can paste. The key is read from the environment, so that none is ever written down.

export type Language = "curl" | "python" | "javascript";

export const LANGUAGES: { id: Language; name: string }[] = [
  { id: "curl", name: "curl" },
  { id: "python", name: "Python" },
  { id: "javascript", name: "JavaScript" },
];

const KEY = "LLM_ROUTER_API_KEY";

/** The OpenAI SDKs say these themselves. */
const SDK_ARGUMENTS = new Set([
  "model", "messages", "stream", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "tools", "tool_choice",
  "response_format", "presence_penalty", "frequency_penalty", "stream_options", "user", "logprobs", "top_logprobs", "reasoning_effort", "metadata",
]);

type Body = Record<string, unknown>;

/** The same call in one of the languages. */
export function snippet(language: Language, origin: string, path: string, body: Body): string {
  const isChat = path === "/v1/chat/completions";
  if (language === "curl") return curl(origin, path, body);
  if (language === "python") return isChat ? pythonSdk(origin, body) : pythonPlain(origin, path, body);
  return isChat ? javascriptSdk(origin, body) : javascriptPlain(origin, path, body);
}

function curl(origin: string, path: string, body: Body): string {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const unbuffered = body.stream === true ? " -N" : "";
  return `curl${unbuffered} ${origin}${path} \\\n  -H "Authorization: Bearer $${KEY}" \\\n  -H "Content-Type: application/json" \\\n  -d '${json}'\n`;
}

/** JSON as Python writes it. */
export function python(value: unknown, indent = 0): string {
  const pad = "    ".repeat(indent + 1);
  const end = "    ".repeat(indent);
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string" || typeof value === "number") return JSON.stringify(value);
  const parts = Array.isArray(value)
    ? value.map((item) => python(item, indent + 1))
    : Object.entries(value as Body).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, indent + 1)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (parts.length === 0) return open + close;
  const line = `${open}${parts.join(", ")}${close}`;
  if (line.length <= 70 && !line.includes("\n")) return line;
  return `${open}\n${parts.map((part) => `${pad}${part},`).join("\n")}\n${end}${close}`;
}

function pythonSdk(origin: string, body: Body): string {
  const known = Object.entries(body).filter(([name]) => SDK_ARGUMENTS.has(name));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !SDK_ARGUMENTS.has(name)));
  const lines = known.map(([name, value]) => `    ${name}=${python(value, 1)},`);
  if (Object.keys(extra).length > 0) lines.push(`    extra_body=${python(extra, 1)},`);
  const read =
    body.stream === true
      ? 'for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\nprint()\n'
      : "print(answer.choices[0].message.content)\n";
  return `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key=os.environ["${KEY}"])\nanswer = client.chat.completions.create(\n${lines.join("\n")}\n)\n${read}`;
}

function pythonPlain(origin: string, path: string, body: Body): string {
  return `import json\nimport os\nimport urllib.request\n\nrequest = urllib.request.Request(\n    "${origin}${path}",\n    data=json.dumps(${python(body, 1)}).encode(),\n    headers={"Authorization": f"Bearer {os.environ['${KEY}']}", "Content-Type": "application/json"},\n)\nwith urllib.request.urlopen(request) as answer:\n    print(answer.read().decode())\n`;
}

const indented = (text: string, by: string) => text.split("\n").join(`\n${by}`);

function javascriptSdk(origin: string, body: Body): string {
  const json = JSON.stringify(body, null, 2);
  const read =
    body.stream === true
      ? 'for await (const chunk of answer) {\n  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n}\n'
      : "console.log(answer.choices[0].message.content);\n";
  return `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${origin}/v1", apiKey: process.env.${KEY} });\nconst answer = await client.chat.completions.create(${json});\n${read}`;
}

function javascriptPlain(origin: string, path: string, body: Body): string {
  return `const answer = await fetch("${origin}${path}", {\n  method: "POST",\n  headers: {\n    Authorization: \`Bearer \${process.env.${KEY}}\`,\n    "Content-Type": "application/json",\n  },\n  body: JSON.stringify(${indented(JSON.stringify(body, null, 2), "  ")}),\n});\nconsole.log(await answer.text());\n`;
}
