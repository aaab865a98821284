// The executable as it serves the pages: files and their rules, a session, keys, a request and the way it went.

import { PERSON } from "./others";
import { accessible, ask, expect, PASSWORD, test, told } from "./setup";

test.use({ settings: { LLM_ROUTER_ADMIN_USERNAME: "admin", LLM_ROUTER_ADMIN_PASSWORD: PASSWORD } });

test("the files come with their rules, and nothing is asked for twice", async ({ page, real: { url } }) => {
  const answers = new Map<string, string>();
  page.on("response", (answer) => answers.set(new URL(answer.url()).pathname, answer.headers()["cache-control"] ?? ""));
  await page.goto(`${url}/dashboard/nodes/some-node.5`);
  await expect(page.getByLabel("User name")).toBeVisible();
  const scripts = [...answers].filter(([path]) => path.startsWith("/dashboard/assets/"));
  expect(scripts.length).toBeGreaterThan(1);
  for (const [path, caching] of scripts) expect(caching, path).toContain("immutable");
  const first = await page.request.get(`${url}/dashboard`);
  expect(first.headers()["content-security-policy"]).not.toContain("unsafe");
  expect((await page.request.get(`${url}/dashboard/licences.txt`)).ok()).toBe(true);
});

test("a key is made, used, explained, revoked", async ({ page, real: { url } }) => {
  await page.goto(`${url}/dashboard/keys?new=1`);
  await page.getByLabel("User name").fill("admin");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await page.getByLabel("Name", { exact: true }).fill("journey");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  const secret = await page.getByRole("group", { name: "The secret" }).innerText();
  expect(secret).toMatch(/^sk_[A-Za-z0-9]{32}$/);
  await page.getByRole("button", { name: "I have copied it" }).click();
  await accessible(page, "keys");
  await page.screenshot({ path: "artefacts/router/serving-keys.png" });

  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Playground" }).click();
  await page.getByLabel("Model", { exact: true }).selectOption("dummy");
  await page.getByLabel("API key").fill(secret);
  await page.getByLabel("Message").fill("Hello");
  await page.getByLabel("Message").press("Enter");
  await expect(page.getByText("Hello world")).toBeVisible();
  await page.screenshot({ path: "artefacts/router/serving-playground.png" });
  await page.getByRole("button", { name: "Decision" }).click();
  await expect(page.getByRole("table", { name: "Candidates" })).toContainText("answered");
  await page.screenshot({ path: "artefacts/router/serving-decision.png" });
  await page.keyboard.press("Escape");
  expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(secret);

  for (const place of ["Nodes", "Models", "Accounts", "Routing", "Settings"]) {
    await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: place }).click();
    await expect(page.locator("main h1")).toHaveText(place);
    await expect(page.locator("[aria-busy=true], .skeleton")).toHaveCount(0);
    await page.screenshot({ path: `artefacts/router/serving-${place.toLowerCase()}.png` });
    await accessible(page, place);
  }
  await expect(page.getByText("server.port")).toBeVisible();

  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Keys" }).click();
  await page.getByRole("button", { name: "Actions for journey" }).click();
  await page.getByRole("menuitem", { name: "Revoke" }).click();
  await page.getByLabel("Type journey to confirm").fill("journey");
  await page.getByRole("button", { name: "Revoke" }).click();
  await expect(page.getByRole("row", { name: /journey/ })).toHaveCount(0);
  expect((await ask(url, secret)).status).toBe(401);
});

test("somebody logs in at the identity provider", async ({ page, real: { url } }) => {
  // The way leads through another host, which no page of ours asks by itself.
  const own = await (await page.context().browser()?.newContext())?.newPage();
  if (!own) throw new Error("no second window");
  await own.goto(`${url}/dashboard`);
  await accessible(own, "log-in");
  await own.screenshot({ path: "artefacts/router/login-elsewhere.png" });
  await own.getByRole("link", { name: "Log in with Our house" }).click();
  await own.getByRole("link", { name: "It is me" }).click();
  await expect(own).toHaveURL(`${url}/dashboard`);
  await expect(own.getByText("Requests, last hour")).toBeVisible();
  expect(await told(own, url, "/api/auth/me")).toMatchObject({ username: PERSON, role: "admin" });
  await own.getByRole("button", { name: `Account: ${PERSON}` }).click();
  await own.getByRole("menuitem", { name: "Log out" }).click();
  await expect(own.getByRole("link", { name: "Log in with Our house" })).toBeVisible();
  // Whoever begins nothing gets nothing.
  await own.goto(`${url}/api/auth/oidc/callback?code=c1&state=x`);
  await expect(own.getByRole("heading", { name: "Not logged in" })).toBeVisible();
  await own.getByRole("link", { name: "Back" }).click();
  await expect(own.getByLabel("User name")).toBeVisible();
  await own.context().close();
});
