// The official MCP client with `llm-router mcp`, as the example's configuration starts it, and through the launcher.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import * as bed from "./bed.mjs";

const launcher = fileURLToPath(new URL("../../packages/mcp-server/", import.meta.url));
const program = process.env.LLM_ROUTER_BIN;
const example = JSON.parse(await readFile(path.join(launcher, "example/.mcp.json"), "utf8")).mcpServers["llm-router"];

/** The example's command with this router's address and key, as a client fills it in. */
const env = {
  ...example.env,
  PATH: `${path.dirname(program)}${path.delimiter}${process.env.PATH}`,
  LLM_ROUTER_URL: bed.url,
  LLM_ROUTER_API_KEY: bed.key,
};
const ways = {
  "the example": { command: example.command, args: example.args, env },
  "the launcher": { command: process.execPath, args: [path.join(launcher, "bin/llm-router-mcp.mjs")], env },
};

async function connected(way, body) {
  const client = new Client({ name: "tests", version: "1" });
  await client.connect(new StdioClientTransport({ ...way, stderr: "inherit" }));
  try {
    // From here on the client judges structured results by the tools' schemas.
    const { tools } = await client.listTools();
    return await body(client, tools);
  } finally {
    await client.close();
  }
}

for (const [name, way] of Object.entries(ways)) {
  describe(name, () => {
    test("lists tools that say what they take and give", () =>
      connected(way, (client, tools) => {
        assert.equal(client.getServerVersion().name, "llm-router");
        const names = tools.map((tool) => tool.name);
        for (const wanted of ["execute_curl", "list_models", "chat", "request_history", "usage", "create_api_key"]) assert.ok(names.includes(wanted), wanted);
        assert.ok(tools.every((tool) => tool.outputSchema?.type === "object" && tool.annotations));
      }));

    test("asks a model and looks it up", () =>
      connected(way, async (client) => {
        await bed.answers("chat", { parts: [bed.text] });
        const model = bed.modelOn("chat");
        const models = await client.callTool({ name: "list_models", arguments: {} });
        assert.ok(models.structuredContent.models.some((each) => each.id === model));
        const said = await client.callTool({ name: "chat", arguments: { model, messages: [{ role: "user", content: bed.question }] } });
        assert.equal(said.structuredContent.content, bed.text);
        assert.deepEqual(bed.turns(await bed.last(), "user").map((turn) => turn[1]), [bed.question]);
      }));

    test("makes any other request, and refuses what is none", () =>
      connected(way, async (client) => {
        const done = await client.callTool({ name: "execute_curl", arguments: { command: `curl -s ${bed.url}/router/info` } });
        assert.equal(done.structuredContent.success, true, JSON.stringify(done.content));
        assert.ok(Array.isArray(done.structuredContent.body.registered_strategies));
        const refused = await client.callTool({ name: "execute_curl", arguments: { command: `curl -o /tmp/x ${bed.url}/router/info` } });
        assert.equal(refused.isError, true);
        assert.match(refused.structuredContent.error, /-o/);
      }));

    test("says in words what fails", () =>
      connected({ ...way, env: { ...way.env, LLM_ROUTER_API_KEY: "sk_wrong" } }, async (client) => {
        const failed = await client.callTool({ name: "list_models", arguments: {} });
        const said = JSON.parse(failed.content[0].text);
        assert.deepEqual([failed.isError, said.status, said.code, said.retryable], [true, 401, "invalid_api_key", false]);
      }));

    test("has guides, the description of all paths, and prompts", () =>
      connected(way, async (client) => {
        const { resources } = await client.listResources();
        for (const { uri } of resources) assert.ok((await client.readResource({ uri })).contents[0].text.length > 400, uri);
        const openapi = await client.readResource({ uri: "llm-router://api/openapi" });
        assert.ok(JSON.parse(openapi.contents[0].text).paths["/v1/models"]);
        const { prompts } = await client.listPrompts();
        const prompt = await client.getPrompt({ name: prompts[0].name });
        assert.equal(prompt.messages[0].role, "user");
      }));
  });
}
