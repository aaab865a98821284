// A fake router for each file of tests, and a browser that is logged in.

import { fileURLToPath } from "node:url";
import { test as base, expect, type Page } from "@playwright/test";
import axe from "axe-core";
// @ts-expect-error plain JavaScript, without declarations
import { serve } from "../../fake/server.mjs";

export const PASSWORD = "correct horse battery";
const root = fileURLToPath(new URL("../../dist", import.meta.url));

export interface Fake {
  url: string;
  // The fake's own state, whose shape is its own matter.
  // oxlint-disable-next-line no-explicit-any
  state: any;
}

interface Options {
  kind: "seeded" | "empty" | "first";
}

export const test = base.extend<Options & { fake: Fake; quiet: void }>({
  kind: ["seeded", { option: true }],
  fake: async ({ kind }, use) => {
    const { server, url, state } = await serve({ kind, root });
    await use({ url, state });
    server.closeAllConnections();
    server.close();
  },
  // Nothing may be loaded from elsewhere, and nothing may break behind the scenes.
  quiet: [
    async ({ page, fake }, use) => {
      const faults: string[] = [];
      page.on("pageerror", (error) => faults.push(String(error)));
      page.on("console", (message) => {
        // A refused request is no fault of the page.
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
      });
      page.on("request", (request) => {
        if (!request.url().startsWith(fake.url) && !/^(data|blob):/.test(request.url())) faults.push(`asks elsewhere: ${request.url()}`);
      });
      await use();
      expect(faults).toEqual([]);
    },
    { auto: true },
  ],
});

export async function login(page: Page, url: string, username = "admin", password = PASSWORD): Promise<void> {
  const said = await page.request.post(`${url}/api/auth/login`, { data: { username, password } });
  expect(said.ok()).toBe(true);
}

export async function open(page: Page, fake: Fake, path: string): Promise<void> {
  await login(page, fake.url);
  await page.goto(fake.url + path);
}

/** Everything that was to come is there. */
export async function settled(page: Page): Promise<void> {
  await page.locator("main h1").first().waitFor({ state: "attached" });
  await expect(page.locator("[aria-busy=true], .skeleton")).toHaveCount(0);
  await page.evaluate(() => document.fonts.ready);
}

/** Finds nothing that keeps somebody out. */
export async function accessible(page: Page): Promise<void> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    (window as unknown as { axe: typeof axe }).axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"] }),
  );
  const found = violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map((node) => `${node.target.join(" ")} ${node.failureSummary?.split("\n")[1]?.trim()}`).join("; ")}`);
  // One run shows what is wrong on all pages.
  expect.soft(found, page.url()).toEqual([]);
}

export { expect };
