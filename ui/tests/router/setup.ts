// The real executable on a data directory of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, expect, type Page } from "@playwright/test";
import axe from "axe-core";
import { hub, identity, provider } from "./others";

export const PASSWORD = "four words in a row";

export interface Real {
  url: string;
  /** What it has printed so far. */
  printed: () => string;
  /** The paths that it describes, with `{}` for what may vary. */
  paths: Set<string>;
}

/** A model of the provider, which speaks another dialect than those who ask, and its price in dollars a million tokens. */
export const MODEL = "claude-test";
const PRICE = { input: 3, output: 15 };

const file = (address: string, people: string) => `# The journey's own.
auth:
  oidc: {issuer: "${people}", client_id: router, name: Our house, admins: [operators]}
accounts:
  - name: claude
    provider: anthropic
    base_url: ${address}
    api_key: sk-ant-secret-of-the-provider
    models: [${MODEL}]
models:
  - {id: ${MODEL}, context: 200000, capabilities: [tools, vision], price: {input: ${PRICE.input}, output: ${PRICE.output}}}
`;

const freePort = () =>
  new Promise<number>((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });

/** Settings of whoever runs the tests are not the router's. */
const SETTINGS = /^(LLM_|ROUTER_|[A-Z]+_API_KEY|DATABASE_URL|REDIS_URL|PORT|HOST$)/;

export const test = base.extend<{ quiet: void }, { settings: Record<string, string>; real: Real }>({
  settings: [{}, { option: true, scope: "worker" }],
  real: [
    async ({ settings }, use) => {
      const program = process.env.LLM_ROUTER_BIN;
      if (!program) throw new Error("LLM_ROUTER_BIN must name the router's executable");
      const data = mkdtempSync(join(tmpdir(), "llm-router-ui-"));
      const port = await freePort();
      const [models, upstream, people] = await Promise.all([hub(), provider(), identity()]);
      writeFileSync(join(data, "router.yaml"), file(upstream.url, people.url));
      const url = `http://127.0.0.1:${port}`;
      const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !SETTINGS.test(name)));
      const router: ChildProcess = spawn(program, ["serve", "--config", join(data, "router.yaml")], { cwd: data, env: { ...own, LLM_ROUTER_DATA_DIR: data, LLM_ROUTER_HOST: "127.0.0.1", LLM_ROUTER_PORT: String(port), HF_BASE_URL: models.url, LLM_ROUTER_DOWNLOADS_DISK_RESERVE: "1KiB", ...settings } });
      let printed = "";
      for (const stream of [router.stdout, router.stderr]) stream?.on("data", (piece: Buffer) => (printed += piece.toString()));
      await expect.poll(async () => (await fetch(`${url}/health`).catch(() => null))?.status, { timeout: 60_000, message: "the router answers" }).toBe(200);
      const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, object> };
      await use({ url, printed: () => printed, paths: new Set(Object.keys(paths).map((path) => path.replace(/\{[^}]*\}/g, "{}"))) });
      const ended = new Promise((resolve) => router.once("exit", resolve));
      router.kill("SIGTERM");
      await ended;
      models.close();
      upstream.close();
      people.close();
      rmSync(data, { recursive: true, force: true });
    },
    { scope: "worker", timeout: 90_000 },
  ],
  quiet: [
    async ({ page, real }, use) => {
      const faults: string[] = [];
      page.on("request", (request) => {
        if (!request.url().startsWith(real.url) && !/^(data|blob):/.test(request.url())) faults.push(`asks elsewhere: ${request.url()}`);
      });
      page.on("pageerror", (error) => faults.push(String(error)));
      page.on("console", (message) => {
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
      });
      await use();
      expect(faults).toEqual([]);
    },
    { auto: true },
  ],
});

export async function accessible(page: Page, what: string): Promise<void> {
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => (await (window as unknown as { axe: typeof axe }).axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag22aa"] })).violations.map(({ id }) => id));
  expect.soft(found, what).toEqual([]);
}

/** The router's answer to whoever is logged in on the page. */
export async function told<T = Record<string, unknown>>(page: Page, url: string, path: string): Promise<T> {
  const said = await page.request.get(url + path);
  expect(said.ok(), `${path}: ${said.status()}`).toBe(true);
  return (await said.json()) as T;
}

export const QUESTION = "a word from the journey";

export const ask = (url: string, secret: string, model: string = MODEL, more: object = {}) =>
  fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" }, body: JSON.stringify({ model, messages: [{ role: "user", content: QUESTION }], ...more }) });

export { expect };
