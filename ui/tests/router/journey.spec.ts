// The way of a new administrator against the real executable: what the pages say is what the API says.

import { readFileSync } from "node:fs";
import { ANSWER, HUB_MODEL } from "./others";
import { MODEL, PASSWORD, QUESTION, accessible, ask, expect, test, told } from "./setup";

test("the first log-in, a model, a key, a request and why it went there, and the key's end", async ({ page, real: { url, printed } }) => {
  test.setTimeout(180_000);
  const generated = /First start:.*?password[^A-Za-z0-9]*(?:is )?[`"']?([A-Za-z0-9_-]{12,})/.exec(printed())?.[1] ?? "";
  expect(generated, printed()).not.toBe("");
  const api = <T = Record<string, unknown>>(path: string) => told<T>(page, url, path);

  await test.step("a browser is sent to the dashboard, logs in, and changes the password that was made", async () => {
    await page.goto(url);
    await expect(page).toHaveURL(/\/dashboard$/);
    await page.getByLabel("User name").fill("admin");
    await page.getByLabel("Password").fill(generated);
    await page.getByRole("button", { name: "Log in", exact: true }).click();
    await page.getByLabel("New password").fill(PASSWORD);
    await page.getByLabel("Once more").fill(PASSWORD);
    await page.getByRole("button", { name: "Change and go on" }).click();
    await expect(page.getByText("Requests, last hour")).toBeVisible();
    expect(await api("/api/auth/me")).toMatchObject({ username: "admin", role: "admin", must_change_password: false });
    await page.screenshot({ path: "artefacts/router/overview.png" });
  });

  await test.step("a model comes from the hub", async () => {
    await page.goto(`${url}/dashboard/models?tab=hub`);
    await page.getByRole("button", { name: `Register ${HUB_MODEL}` }).click();
    await page.screenshot({ path: "artefacts/router/hub.png" });
    await page.getByRole("button", { name: "Register", exact: true }).click();
    await expect(page.getByRole("listitem").filter({ hasText: HUB_MODEL })).toContainText("ready", { timeout: 30_000 });
    await page.reload();
    await expect(page.getByRole("listitem").filter({ hasText: HUB_MODEL })).toContainText("ready");
    const [model] = await api<{ name: string; status: string; ready: boolean }[]>("/api/models/registered");
    expect(model).toMatchObject({ name: HUB_MODEL, status: "ready", ready: true });
    await page.screenshot({ path: "artefacts/router/registered.png" });
  });

  let secret = "";
  await test.step("a key is made", async () => {
    await page.goto(`${url}/dashboard/keys?new=1`);
    await page.getByLabel("Name", { exact: true }).fill("journey");
    await page.getByLabel("Requests a minute").fill("30");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    secret = await page.getByRole("group", { name: "The secret" }).innerText();
    expect(secret).toMatch(/^sk_[A-Za-z0-9]{32}$/);
    await page.getByRole("button", { name: "I have copied it" }).click();
    await page.reload();
    await expect(page.getByRole("row", { name: /journey/ })).toContainText("30 req/min");
    const { api_keys } = await api<{ api_keys: { name: string; limits: { rpm: number } }[] }>("/api/api-keys");
    expect(api_keys.find(({ name }) => name === "journey")?.limits.rpm).toBe(30);
  });

  await test.step("it is used, and the request shows with the way it went and what was said", async () => {
    await page.goto(`${url}/dashboard/requests?live=1`);
    await expect(page.getByText("following", { exact: true })).toBeVisible();
    const answer = await ask(url, secret, MODEL, { seed: 7 });
    expect(answer.status, await answer.clone().text()).toBe(200);
    const id = answer.headers.get("x-request-id") ?? "";
    // It comes by itself.
    await expect(page.getByRole("row", { name: new RegExp(MODEL) })).toBeVisible();
    await page.screenshot({ path: "artefacts/router/requests.png" });
    await page.locator("body").press("j");
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(new RegExp(`requests/${id}`));
    await expect(page.getByText("Where the time went")).toBeVisible();
    await page.screenshot({ path: "artefacts/router/request.png" });
    await page.getByRole("tab", { name: "Decision" }).click();
    await expect(page.getByRole("table", { name: "Candidates" })).toContainText("answered");
    await expect(page.getByRole("table", { name: "Candidates" })).toContainText("claude");
    await page.screenshot({ path: "artefacts/router/decision.png" });
    await page.getByRole("tab", { name: "Request", exact: true }).click();
    await expect(page.getByText("dropped: seed")).toBeVisible();
    await expect(page.getByRole("group", { name: "Body as the client saw it" })).toContainText(QUESTION);
    await page.screenshot({ path: "artefacts/router/request-body.png" });
    await page.getByRole("tab", { name: "Response" }).click();
    await expect(page.getByRole("group", { name: "Body as the client saw it" })).toContainText(ANSWER);
    await page.screenshot({ path: "artefacts/router/response-body.png" });
    await page.getByRole("button", { name: "Good answer" }).click();
    await expect(page.getByText("It is kept with the request.")).toBeVisible();
    await page.reload();
    await expect(page.getByRole("button", { name: "Good answer" })).toHaveAttribute("aria-pressed", "true");
    expect(await api(`/api/requests/${id}/explain`)).toMatchObject({ served: { target: "claude", model: MODEL }, key: { name: "journey" } });
  });

  await test.step("replayed in the playground, it is answered with the session alone", async () => {
    await page.getByRole("button", { name: "Replay" }).click();
    await expect(page.getByText(QUESTION)).toBeVisible();
    await page.getByRole("button", { name: "Ask it" }).click();
    await expect(page.getByText(ANSWER)).toBeVisible();
    await expect(page.getByText(/total \d/)).toBeVisible();
    await page.screenshot({ path: "artefacts/router/playground.png" });
  });

  await test.step("who holds the key sees its use, and nothing else", async () => {
    const other = await (await page.context().browser())?.newContext();
    const own = await other?.newPage();
    if (!own) throw new Error("no second window");
    await own.goto(`${url}/dashboard`);
    await own.getByRole("button", { name: "I have an API key only" }).click();
    await own.getByLabel("API key").fill(secret);
    await own.getByRole("button", { name: "Show its use" }).click();
    await expect(own.getByText("This is what journey has used.")).toBeVisible();
    await expect(own.getByRole("table", { name: "Usage by model" }).getByRole("row", { name: new RegExp(MODEL) })).toBeVisible();
    await expect(own.getByRole("navigation", { name: "Places" })).not.toContainText("Keys");
    expect(await own.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage))).not.toContain(secret);
    await accessible(own, "own use");
    await own.screenshot({ path: "artefacts/router/own-use.png" });
    await other?.close();
  });

  await test.step("a budget is set, what was spent of it shows as a bar, and beyond it the key is refused", async () => {
    await page.goto(`${url}/dashboard/keys?q=journey`);
    await page.getByRole("button", { name: "Actions for journey" }).click();
    await page.getByRole("menuitem", { name: "Edit" }).click();
    await page.getByLabel("Budget, $").fill("0.0001");
    await page.getByRole("button", { name: "Save" }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
    await page.reload();
    await expect(page.getByRole("row", { name: /journey/ }).getByRole("meter")).toHaveAccessibleName(/of \$0\.0001 a month/);
    const { api_keys } = await api<{ api_keys: { name: string; budget: { amount: number; spent: number } | null }[] }>("/api/api-keys");
    const budget = api_keys.find(({ name }) => name === "journey")?.budget;
    expect(budget?.amount).toBe(0.0001);
    // Twelve tokens in and five out of a request before came to more than that.
    expect(budget?.spent).toBeCloseTo(0.000111, 6);
    expect((await ask(url, secret)).status).toBe(402);
    await page.screenshot({ path: "artefacts/router/budget.png" });
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

  await test.step("the configuration is changed, compared, and taken back", async () => {
    await page.goto(`${url}/dashboard/settings?tab=edit&at=models`);
    const text = page.getByLabel("Configuration");
    const before = await text.inputValue();
    expect(before).not.toContain("sk-ant-secret-of-the-provider");
    await text.fill(`${before}\nno_such_key: 1\n`);
    await page.getByRole("button", { name: "Check", exact: true }).click();
    await expect(page.getByRole("alert")).toContainText("no_such_key");
    await text.fill(`${before}\naliases:\n  quick: [${MODEL}]\n`);
    await page.getByRole("button", { name: "Check", exact: true }).click();
    await expect(page.getByText("It is valid.")).toBeVisible();
    await page.getByRole("button", { name: "Put in force" }).click();
    await page.getByLabel("Why").fill("a shorter name");
    await page.screenshot({ path: "artefacts/router/settings-diff.png" });
    await page.getByRole("dialog").getByRole("button", { name: "Put in force" }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
    await page.reload();
    await expect(page.getByLabel("Configuration")).toHaveValue(/quick: \[claude-test\]/);
    expect(JSON.stringify(await api("/v1/models"))).toContain('"quick"');
    await page.getByRole("tab", { name: "Versions" }).click();
    await expect(page.getByText("a shorter name")).toBeVisible();
    await page.screenshot({ path: "artefacts/router/versions.png" });
    await page.getByRole("button", { name: "Go back to it" }).first().click();
    await page.getByRole("button", { name: "Go back", exact: true }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
    expect(JSON.stringify(await api("/v1/models"))).not.toContain('"quick"');
  });

  await test.step("an account is switched off, and taken back", async () => {
    const accounts = async () => (await api<{ accounts: { name: string }[] }>("/v1/router/policy")).accounts.map(({ name }) => name);
    await page.goto(`${url}/dashboard/accounts`);
    await page.getByRole("button", { name: "Actions for claude" }).click();
    await page.getByRole("menuitem", { name: "Switch off" }).click();
    await expect(page.getByRole("group", { name: "What is different" })).toContainText("enabled: false");
    await page.getByRole("button", { name: "Switch off" }).click();
    await expect(page.getByRole("region", { name: "Switched off" })).toContainText("claude");
    expect(await accounts()).not.toContain("claude");
    await page.screenshot({ path: "artefacts/router/account-off.png" });
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByRole("region", { name: "claude" })).toBeVisible();
    expect(await accounts()).toContain("claude");
  });

  await test.step("the audit trail tells what was done", async () => {
    await page.goto(`${url}/dashboard/audit?action=key`);
    await expect(page.getByRole("row").nth(1)).toContainText("admin");
    await page.getByLabel("What was done").fill("config");
    await expect(page.getByRole("row", { name: /config/ }).first()).toBeVisible();
    const { rows } = await api<{ rows: unknown[] }>("/api/audit?action=config");
    await expect(page.getByRole("table", { name: "Changes" }).getByRole("row")).toHaveCount(rows.length + 1);
  });

  await test.step("every page shows what the router says, and keeps nobody out", async () => {
    for (const place of ["", "/requests", "/nodes", "/logs", "/models", "/accounts", "/routing", "/keys", "/users", "/usage", "/audit", "/settings"]) {
      await page.goto(`${url}/dashboard${place}`);
      await page.locator("main h1").first().waitFor({ state: "attached" });
      await expect(page.locator("[aria-busy=true], .skeleton")).toHaveCount(0);
      await page.screenshot({ path: `artefacts/router/page${place.replace("/", "-") || "-overview"}.png` });
      await expect.soft(page.getByRole("alert"), place).toHaveCount(0);
      await accessible(page, place);
    }
  });

  await test.step("logged out, the session is over", async () => {
    const cookies = await page.context().cookies();
    await page.getByRole("button", { name: "Account: admin" }).click();
    await page.getByRole("menuitem", { name: "Log out" }).click();
    await expect(page.getByLabel("User name")).toBeVisible();
    // Whoever has kept the cookies has nothing.
    const kept = cookies.map(({ name, value }) => `${name}=${value}`).join("; ");
    expect((await fetch(`${url}/api/auth/me`, { headers: { cookie: kept } })).status).toBe(401);
  });
});

test("every path that the dashboard asks is one that the router describes", async ({ real: { paths } }) => {
  const source = readFileSync(new URL("../../src/api/endpoints.ts", import.meta.url), "utf8");
  const asked = [...source.matchAll(/["`](\/(?:api|v1|router|backend|config|health)[^"`]*)["`]/g)].map(([, path = ""]) => path.replace(/\$\{[^}]*\}/g, "{}").replace(/\/$/, "/{}"));
  expect(asked.length).toBeGreaterThan(30);
  expect(asked.filter((path) => !paths.has(path)).sort()).toEqual([]);
});
