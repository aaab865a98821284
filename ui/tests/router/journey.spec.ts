// The way of a new administrator against the real executable: what the pages say is what the API says.

import { readFileSync } from "node:fs";
import { PASSWORD, accessible, ask, expect, test } from "./setup";

test("the first log-in, a key, a request, its record, and the key's end", async ({ page, real: { url, printed, paths } }) => {
  test.skip(!paths.has("/api/users"), "this router has no users to change");
  test.setTimeout(120_000);
    const generated = /First start:.*?password[^A-Za-z0-9]*(?:is )?[`"']?([A-Za-z0-9_-]{12,})/.exec(printed())?.[1] ?? "";
  expect(generated, printed()).not.toBe("");

  await test.step("a browser is sent to the dashboard and logs in", async () => {
    await page.goto(url);
    await expect(page).toHaveURL(/\/dashboard$/);
    await page.getByLabel("User name").fill("admin");
    await page.getByLabel("Password").fill(generated);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByLabel("New password").fill(PASSWORD);
    await page.getByLabel("Once more").fill(PASSWORD);
    await page.getByRole("button", { name: "Change and go on" }).click();
    await expect(page.getByText("Requests, last hour")).toBeVisible();
    await page.screenshot({ path: "artefacts/router/overview.png" });
  });

  let secret = "";
  await test.step("a key is made", async () => {
    await page.goto(`${url}/dashboard/keys?new=1`);
    await page.getByLabel("Name", { exact: true }).fill("journey");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    secret = await page.getByRole("group", { name: "The secret" }).innerText();
    expect(secret).toMatch(/^sk_[A-Za-z0-9]{32}$/);
    await page.getByRole("button", { name: "I have copied it" }).click();
    await page.reload();
    await expect(page.getByRole("row", { name: /journey/ })).toBeVisible();
  });

  await test.step("it is used, and the request shows with the way it went", async () => {
    const answer = await ask(url, secret);
    expect(answer.status).toBe(200);
    const id = answer.headers.get("x-request-id") ?? "";
    await page.goto(`${url}/dashboard/requests`);
    await expect(page.getByRole("row", { name: /dummy/ })).toBeVisible();
    await page.screenshot({ path: "artefacts/router/requests.png" });
    await page.goto(`${url}/dashboard/requests/${id}`);
    await expect(page.getByText("Where the time went")).toBeVisible();
    await page.getByRole("tab", { name: "Decision" }).click();
    await expect(page.getByRole("table", { name: "Candidates" })).toContainText("answered");
    await page.screenshot({ path: "artefacts/router/decision.png" });
    await page.getByRole("tab", { name: "Request", exact: true }).click();
    // The router keeps no bodies by now, and the page says so.
    await expect(page.getByText("The body was not kept")).toBeVisible();
  });

  await test.step("the playground answers with the session alone", async () => {
    await page.goto(`${url}/playground?model=dummy`);
    await page.getByLabel("Message").fill("Hello");
    await page.getByLabel("Message").press("Enter");
    await expect(page.getByText("Hello world")).toBeVisible();
    await expect(page.getByText(/total \d/)).toBeVisible();
    await page.screenshot({ path: "artefacts/router/playground.png" });
  });

  await test.step("revoked, it is refused", async () => {
    await page.goto(`${url}/dashboard/keys?q=journey`);
    await page.getByRole("button", { name: "Actions for journey" }).click();
    await page.getByRole("menuitem", { name: "Revoke" }).click();
    await page.getByLabel("Type journey to confirm").fill("journey");
    await page.getByRole("button", { name: "Revoke" }).click();
    await expect(page.getByRole("row", { name: /journey/ })).toHaveCount(0);
    expect((await ask(url, secret)).status).toBe(401);
  });

  await test.step("every page shows what the router says, and keeps nobody out", async () => {
    for (const place of ["", "/requests", "/nodes", "/logs", "/models", "/accounts", "/routing", "/keys", "/users", "/usage", "/audit", "/settings"]) {
      await page.goto(`${url}/dashboard${place}`);
      await page.locator("main h1").first().waitFor({ state: "attached" });
      await expect(page.locator("[aria-busy=true], .skeleton")).toHaveCount(0);
      await page.screenshot({ path: `artefacts/router/page${place.replace("/", "-") || "-overview"}.png` });
      // What the router does not offer by now is said in a notice.
      await expect.soft(page.getByRole("alert"), place).toHaveCount(place === "/audit" ? 1 : 0);
      await accessible(page, place);
    }
  });
});

/** What the dashboard is ready for and the router does not offer by now; its pages say so. A path that is offered leaves this list. */
const UNOFFERED = ["/api/audit", "/api/config/versions", "/api/feedback", "/api/models/load", "/api/models/unload"];

test("every path that the dashboard asks is one that the router describes", async ({ real: { paths } }) => {
  test.skip(!paths.has("/api/users"), "this router has no users to change");
  const source = readFileSync(new URL("../../src/api/endpoints.ts", import.meta.url), "utf8");
  const asked = [...source.matchAll(/["`](\/(?:api|v1|router|backend|config|health)[^"`]*)["`]/g)].map(([, path = ""]) => path.replace(/\$\{[^}]*\}/g, "{}").replace(/\/$/, "/{}"));
  expect(asked.length).toBeGreaterThan(30);
  expect(asked.filter((path) => !paths.has(path)).sort()).toEqual(UNOFFERED);
});
