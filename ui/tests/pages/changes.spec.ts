// What the pages change and follow: it is changed, the page is loaded again, and the API says the same.

import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { accessible, expect, open, settled, test, type Fake } from "./setup";

async function api(page: Page, fake: Fake, path: string) {
  const said = await page.request.get(fake.url + path);
  expect(said.ok(), `${path}: ${said.status()}`).toBe(true);
  return said.json();
}

const csrf = async (page: Page) => (await page.context().cookies()).find((cookie) => cookie.name === "csrf")?.value ?? "";

/** Somebody asks a model. */
async function ask(page: Page, fake: Fake, model: string): Promise<string> {
  const said = await page.request.post(`${fake.url}/v1/chat/completions`, { data: { model, messages: [{ role: "user", content: "hi" }] }, headers: { "x-csrf-token": await csrf(page) } });
  return said.headers()["x-request-id"] ?? "";
}

/** The tab is put behind another, or before it. */
const hide = (page: Page, isHidden: boolean) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);

test("the tail follows one stream, rests while the tab is hidden, and goes on without a jump", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/requests?live=1");
  await expect(page.getByText("following", { exact: true })).toBeVisible();
  const first = await ask(page, fake, "tail-one");
  await expect(page.getByRole("row").nth(1)).toContainText("tail-one");
  expect(fake.state.tails.size).toBe(1);
  // Somebody reads further down.
  const read = page.getByRole("row").nth(20);
  await read.scrollIntoViewIfNeeded();
  await page.locator("main").evaluate((main) => main.scrollBy(0, 300));
  await read.focus();
  const [text, place] = [await read.innerText(), (await read.boundingBox())?.y ?? 0];
  await hide(page, true);
  await expect.poll(() => fake.state.tails.size).toBe(0);
  await ask(page, fake, "tail-two");
  await ask(page, fake, "tail-three");
  await hide(page, false);
  await expect(page.getByRole("row").nth(1)).toContainText("tail-three");
  await expect(page.getByRole("row").nth(2)).toContainText("tail-two");
  expect(fake.state.tails.size).toBe(1);
  const focused = page.locator("tr:focus");
  expect((await focused.innerText()).split("\n").slice(1)).toEqual(text.split("\n").slice(1));
  expect(Math.abs(((await focused.boundingBox())?.y ?? 0) - place)).toBeLessThan(40);
  // Filters hold for the stream too.
  await page.getByLabel("Model", { exact: true }).fill("tail-four");
  await expect(page).toHaveURL(/model=tail-four/);
  await expect(page.getByText("No request is like that")).toBeVisible();
  await ask(page, fake, "tail-five");
  await ask(page, fake, "tail-four");
  await expect(page.getByRole("row", { name: /tail-four/ })).toBeVisible();
  await expect(page.getByRole("row", { name: /tail-five/ })).toHaveCount(0);
  await page.getByRole("button", { name: "Live tail" }).click();
  await expect.poll(() => fake.state.tails.size).toBe(0);
  expect((await api(page, fake, "/api/dashboard/request-responses?search=" + first)).total_count).toBe(1);
});

test("a router without the stream is asked instead", async ({ page, fake }) => {
  await page.route("**/request-responses/stream*", (route) => route.fulfill({ status: 404, contentType: "application/json", body: '{"error":{"message":"there is no record of this request","code":"not_found"}}' }));
  await open(page, fake, "/dashboard/requests?live=1");
  await expect(page.getByText("asked every 2 s")).toBeVisible();
  await ask(page, fake, "tail-one");
  await expect(page.getByRole("row").nth(1)).toContainText("tail-one");
});

test("requests: by status, address and a time of one's own, as a file", async ({ page, fake }) => {
  const some = fake.state.requests[40];
  await open(page, fake, `/dashboard/requests?status=${some.http_status}&ip=${some.client_ip}`);
  await settled(page);
  const like = `http_status=${some.http_status}&client_ip=${some.client_ip}`;
  const { total_count } = await api(page, fake, `/api/dashboard/request-responses?${like}`);
  expect(total_count).toBeGreaterThan(0);
  await expect(page.getByText(`${total_count} in all`)).toBeVisible();
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByLabel("Time", { exact: true }).selectOption("own");
  const local = (ms: number) => new Date(ms).toISOString().slice(0, 16);
  const at = Date.parse(some.timestamp);
  await page.getByLabel("From", { exact: true }).fill(local(at - 300_000));
  await page.getByLabel("Until", { exact: true }).fill(local(at));
  await page.reload();
  const asked = new URL(page.url()).searchParams;
  const span = await api(page, fake, `/api/dashboard/request-responses?start_time=${asked.get("from")}:00.000Z&end_time=${asked.get("to")}:00.000Z`);
  await expect(page.getByText(`${span.total_count} in all`)).toBeVisible();
});

test("requests: by cache, times, tokens and cost", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/requests");
  const counted = async (query: string) => (await api(page, fake, `/api/dashboard/request-responses?${query}`)).total_count as number;
  const all = await counted("");
  await page.getByRole("button", { name: "More filters" }).click();
  await page.getByLabel("Cache", { exact: true }).selectOption("miss");
  const missed = await counted("cache=miss");
  expect(missed).toBeGreaterThan(0);
  expect(missed).toBeLessThan(all);
  await expect(page.getByText(`${missed} in all`)).toBeVisible();
  await page.getByLabel("Total, at least").fill("1.5");
  await page.getByLabel("Total, at most").fill("6");
  await page.getByLabel("First token, at most").fill("0.9");
  await page.getByLabel("Tokens, at least").fill("300");
  await page.getByLabel("Cost, at least").fill("0.0005");
  await expect(page).toHaveURL(/cost_min=0.0005/);
  // The address alone tells it again.
  await page.reload();
  const like = await counted("cache=miss&duration_min_ms=1500&duration_max_ms=6000&first_byte_max_ms=900&tokens_min=300&cost_min_usd=0.0005");
  expect(like).toBeGreaterThan(0);
  expect(like).toBeLessThan(missed);
  await expect(page.getByText(`${like} in all`)).toBeVisible();
  await expect(page.getByLabel("Total, at most")).toHaveValue("6");
  await page.screenshot({ path: "artefacts/pages/requests-figures.png" });
  await page.getByLabel("Total, at most").fill("1");
  await expect(page.getByText("is more than", { exact: false })).toBeVisible();
  await page.getByLabel("Total, at most").fill("6");
  await page.getByLabel("Cost, at least").fill("9000");
  await expect(page.getByText("No request is like that")).toBeVisible();
  await page.getByRole("button", { name: "Show all" }).click();
  await expect(page.getByText(`${all} in all`)).toBeVisible();
});

test("feedback stays with the request", async ({ page, fake }) => {
  const id = fake.state.requests.find((row: { status: { type: string } }) => row.status.type === "success").id;
  await open(page, fake, `/dashboard/requests/${id}`);
  await page.getByRole("button", { name: "Bad answer" }).click();
  await page.getByRole("button", { name: "Say why" }).click();
  await page.getByLabel("Comment").fill("It made the figures up.");
  await page.getByRole("button", { name: "Keep it" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.reload();
  await expect(page.getByText("It made the figures up.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Bad answer" })).toHaveAttribute("aria-pressed", "true");
  expect((await api(page, fake, `/api/dashboard/request-responses/${id}`)).feedback[0]).toMatchObject({ score: 0, comment: "It made the figures up." });
});

test("a request that was translated shows both sides and what was lost", async ({ page, fake }) => {
  const id = fake.state.requests.find((row: { provider: string }) => row.provider === "anthropic").id;
  await open(page, fake, `/dashboard/requests/${id}?tab=request`);
  await expect(page.getByRole("group", { name: "Body as the client saw it" })).toContainText('"role": "system"');
  await expect(page.getByRole("group", { name: "As the service got it" })).toContainText('"max_tokens": 8192');
  await expect(page.getByText("dropped: seed")).toBeVisible();
  await page.getByRole("button", { name: "Client", exact: true }).click();
  await expect(page.getByRole("group", { name: "As the service got it" })).toHaveCount(0);
  await page.getByRole("button", { name: "Difference" }).click();
  await expect(page.getByRole("group", { name: "What is different" })).toContainText('added:   "max_tokens": 8192');
  await accessible(page);
});

test("the audit trail: by outcome, page by page", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/audit");
  const table = page.getByRole("table", { name: "Changes" });
  await expect(table.getByRole("row")).toHaveCount(51);
  await page.getByRole("button", { name: "Older" }).click();
  const newest = await api(page, fake, "/api/audit?limit=50");
  const older = await api(page, fake, `/api/audit?limit=50&after=${newest.rows[49].id}`);
  await expect(table.getByRole("row")).toHaveCount(older.rows.length + 1);
  await expect(table).toContainText(older.rows[0].resource);
  await page.reload();
  await expect(table).toContainText(older.rows[0].resource);
  await page.getByRole("button", { name: "Newer" }).click();
  await expect(table).toContainText(newest.rows[0].resource);
  await expect(page.getByRole("button", { name: "Newer" })).toBeDisabled();
  await page.getByLabel("Outcome").selectOption("denied");
  await expect(table.getByRole("row")).toHaveCount(2);
  await expect(table).toContainText("sam");
  await page.reload();
  await expect(table.getByRole("row")).toHaveCount(2);
});

test("accounts: switched off, taken back, and found in the configuration", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/accounts");
  await page.getByRole("button", { name: "Actions for team-vllm" }).click();
  await page.getByRole("menuitem", { name: "Switch off" }).click();
  await expect(page.getByRole("group", { name: "What is different" })).toContainText("enabled: false");
  await accessible(page);
  await page.screenshot({ path: "artefacts/pages/account-off.png" });
  await page.getByRole("button", { name: "Switch off" }).click();
  await expect(page.getByRole("region", { name: "Switched off" })).toContainText("team-vllm");
  await page.reload();
  await expect(page.getByRole("region", { name: "Switched off" })).toContainText("team-vllm");
  expect((await api(page, fake, "/api/config")).text).toContain("    priority: 10\n    enabled: false\n");
  await page.getByRole("button", { name: "Switch team-vllm on" }).click();
  await page.getByRole("button", { name: "Switch on", exact: true }).click();
  await expect(page.getByRole("region", { name: "team-vllm" })).toBeVisible();
  await page.getByRole("button", { name: "Undo" }).last().click();
  await expect(page.getByRole("region", { name: "Switched off" })).toBeVisible();
  expect((await api(page, fake, "/api/config")).text).toContain("enabled: false");
  await page.getByRole("button", { name: "Actions for anthropic" }).click();
  await page.getByRole("menuitem", { name: "Edit" }).click();
  const marked = await page.getByLabel("Configuration").evaluate((area: HTMLTextAreaElement) => area.value.slice(area.selectionStart, area.selectionEnd));
  expect(marked).toContain("- name: anthropic");
  expect(marked).not.toContain("team-vllm");
});

test("nodes: sorted, chosen, and as files that say what the API says", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/nodes");
  await settled(page);
  const nodes: { id: string; machine_name: string; total_requests: number }[] = await api(page, fake, "/api/nodes");
  await page.getByRole("button", { name: "Total" }).click();
  const most = [...nodes].sort((a, b) => b.total_requests - a.total_requests)[0]?.machine_name ?? "";
  const name = (machine: string) => fake.state.nodes.find((node: { machine_name: string }) => node.machine_name === machine).custom_name ?? machine;
  await expect(page.getByRole("row").nth(1)).toContainText(name(most));
  await page.getByLabel("Choose all 7").check();
  const download = async (item: string) => {
    await page.getByRole("button", { name: "Export" }).click();
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: item }).click()]);
    return readFileSync(await file.path(), "utf8");
  };
  const asJson = JSON.parse(await download("JSON, 7 chosen")) as { id: string }[];
  expect(asJson.map(({ id }) => id).sort()).toEqual(nodes.map(({ id }) => id).sort());
  expect(asJson[0]).not.toHaveProperty("metrics");
  const asCsv = (await download("CSV, 7 chosen")).trim().split("\r\n");
  expect(asCsv[0]).toMatch(/^id,machine_name,custom_name,status/);
  expect(asCsv).toHaveLength(8);
});

test("a model is loaded on a node and unloaded again", async ({ page, fake }) => {
  const id = fake.state.nodes[1].id;
  await open(page, fake, `/dashboard/nodes/${id}`);
  const row = page.getByRole("listitem").filter({ hasText: "smollm2-135m-instruct" });
  await row.getByRole("button", { name: "Load" }).click();
  await expect(row).toContainText("in memory");
  const loaded = async () => (await api(page, fake, "/api/nodes")).find((node: { id: string }) => node.id === id).loaded_models;
  expect(await loaded()).toContain("smollm2-135m-instruct");
  await page.reload();
  await row.getByRole("button", { name: "Unload" }).click();
  await expect(row).toContainText("on disk");
  expect(await loaded()).not.toContain("smollm2-135m-instruct");
});

test("a registered model is brought to a node of one's choice", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/models?tab=registered");
  await page.getByRole("button", { name: "Actions for qwen3-14b" }).click();
  await page.getByRole("menuitem", { name: "Load on a node" }).click();
  await page.getByLabel("Node", { exact: true }).selectOption({ label: "rack 1, left" });
  await page.getByRole("button", { name: "Load", exact: true }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.reload();
  const node = (await api(page, fake, "/api/nodes")).find((one: { machine_name: string }) => one.machine_name === "atlas");
  expect(node.loaded_models).toContain("qwen3-14b");
});

test("who holds a key sees its own use, and is asked for nothing else", async ({ page, fake }) => {
  const key = { ...fake.state.keys[2], secret: "sk_of_the_nightly_evals", budget: { amount: 5, currency: "USD", window: "week", spent: 4.5, resets_at: new Date(Date.now() + 90_000_000).toISOString() } };
  fake.state.keys[2] = key;
  await page.goto(`${fake.url}/dashboard/nodes`);
  await page.getByRole("button", { name: "I have an API key only" }).click();
  await page.getByLabel("API key").fill("sk_wrong");
  await page.getByRole("button", { name: "Show its use" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByLabel("API key").fill(key.secret);
  await page.getByRole("button", { name: "Show its use" }).click();
  await expect(page).toHaveURL(/dashboard\/usage/);
  await expect(page.getByText("This is what nightly-evals has used.")).toBeVisible();
  const used = fake.state.requests.filter((row: { key_id: string }) => row.key_id === key.id).length;
  await expect(page.getByText(`for ${used} requests`)).toBeVisible();
  await expect(page.getByRole("meter", { name: "$4.50 of $5.00 a week" })).toBeVisible();
  await expect(page.getByRole("tab", { name: "By key" })).toHaveCount(0);
  await expect(page.getByRole("navigation", { name: "Places" }).getByRole("link")).toHaveText(["LLM Router", "Playground", "Usage and cost"]);
  await accessible(page);
  await page.screenshot({ path: "artefacts/pages/own-use.png" });
  expect(await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage))).not.toContain(key.secret);
  await page.getByRole("link", { name: "Playground" }).click();
  await page.getByLabel("Message").fill("What is quicksort?");
  await page.getByLabel("Message").press("Enter");
  await expect(page.getByText(/until nothing is left to move/)).toBeVisible();
  await page.getByRole("button", { name: /^Account/ }).click();
  await page.getByRole("menuitem", { name: "Forget the key" }).click();
  await expect(page.getByLabel("User name")).toBeVisible();
});

test("the theme is chosen, stays, and follows the system again", async ({ page, fake }) => {
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  await page.emulateMedia({ colorScheme: "light" });
  await open(page, fake, "/dashboard");
  await page.getByRole("button", { name: "Theme" }).click();
  await page.getByRole("menuitem", { name: "Dark" }).click();
  await page.reload();
  await settled(page);
  expect(await theme()).toBe("dark");
  await page.getByRole("button", { name: "Theme" }).click();
  await page.getByRole("menuitem", { name: "As the system" }).click();
  expect(await theme()).toBe("light");
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(theme).toBe("dark");
});

/** A picture of one pixel. */
const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQDJ/pLvAAAAAElFTkSuQmCC", "base64");

test("the playground opens with what was looked at, sends pictures, and keeps to a schema", async ({ page, fake }) => {
  const row = fake.state.requests.find((one: { status: { type: string }; request_type: string; model: string }) => one.status.type === "success" && one.request_type === "chat" && one.model === "gpt-5-mini");
  await open(page, fake, `/dashboard/requests/${row.id}`);
  await expect(page.getByText("Where the time went")).toBeVisible();
  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Playground" }).click();
  await expect(page.getByText("Explain quicksort to a child.")).toBeVisible();
  await expect(page.getByLabel("Model", { exact: true })).toHaveValue("gpt-5-mini");
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByLabel("Pictures").setInputFiles({ name: "pixel.png", mimeType: "image/png", buffer: PIXEL });
  await expect(page.getByAltText("To be sent, 1")).toBeVisible();
  // The second example is that of a schema.
  await page.getByRole("button", { name: "An example" }).nth(1).click();
  const sent = page.waitForRequest("**/v1/chat/completions");
  await page.getByLabel("Message").fill("What is this?");
  await page.getByLabel("Message").press("Shift+Enter");
  await page.getByLabel("Message").pressSequentially("In a word.");
  await page.getByLabel("Message").press("Enter");
  const body = (await sent).postDataJSON();
  expect(body.messages.at(-1).content[0].image_url.url).toMatch(/^data:image\/png;base64,/);
  expect(body.messages.at(-1).content[1].text).toBe("What is this?\nIn a word.");
  expect(body.response_format.type).toBe("json_schema");
  await expect(page.getByText('{"answer": "yes", "sure": 0.9}')).toBeVisible();
  await page.getByRole("button", { name: "As code" }).click();
  await expect(page.getByRole("group", { name: "As curl" })).toContainText("response_format");
  // The call that was answered, without its answer.
  await expect(page.getByRole("group", { name: "As curl" })).not.toContainText("\"assistant\"");
});

test("a model gets another name", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/models");
  await page.getByRole("button", { name: "Actions for gpt-5-mini" }).click();
  await page.getByRole("menuitem", { name: "Another name for it" }).click();
  await page.getByLabel("Name", { exact: true }).fill("fast");
  await expect(page.getByText(/has that one already/)).toBeVisible();
  await page.getByLabel("Name", { exact: true }).fill("cheap");
  await page.getByLabel("Then").fill("gemini-3-flash");
  await expect(page.getByRole("group", { name: "What is different" })).toContainText("cheap: [gpt-5-mini, gemini-3-flash]");
  await page.getByRole("button", { name: "Put in force" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.reload();
  expect((await api(page, fake, "/api/config")).text).toContain("aliases:\n  fast: [qwen3-14b, gpt-5-mini]\n  cheap: [gpt-5-mini, gemini-3-flash]\n");
});

test("a model gets a price and says what it can, and that is taken back", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/models");
  const before = (await api(page, fake, "/api/config")).text;
  await page.getByRole("button", { name: "Actions for gpt-5-mini" }).click();
  await page.getByRole("menuitem", { name: "Price and capabilities" }).click();
  await page.getByLabel("Prompt, $ a million tokens").fill("0.5");
  await page.getByLabel("Answer, $ a million tokens").fill("");
  await expect(page.getByText("A price has both sides; 0 is one.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Put in force" })).toBeDisabled();
  await page.getByLabel("Answer, $ a million tokens").fill("4");
  await page.getByLabel("It can").fill("tools, audio");
  await expect(page.getByRole("group", { name: "What is different" })).toContainText("price: {input: 0.5, output: 4}");
  await accessible(page);
  await page.screenshot({ path: "artefacts/pages/model-price.png" });
  await page.getByRole("button", { name: "Put in force" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.reload();
  expect((await api(page, fake, "/api/config")).text).toBe(`${before}\nmodels:\n  - id: gpt-5-mini\n    capabilities: [tools, audio]\n    price: {input: 0.5, output: 4}\n`);
});

test("remembered answers are forgotten from the palette", async ({ page, fake }) => {
  await open(page, fake, "/dashboard");
  await settled(page);
  await page.keyboard.press("Control+k");
  await page.getByLabel("Search", { exact: true }).fill("cache");
  await page.keyboard.press("Enter");
  await expect(page.getByText("12 remembered answers forgotten.")).toBeVisible();
});

test("a line of the log leads to the request that it tells of", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/logs");
  await page.getByRole("log").getByRole("link").first().click();
  await expect(page).toHaveURL(/requests\/.+/);
});

test("a node is drained, and takes requests again", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/nodes");
  const state = async () => (await api(page, fake, "/api/nodes")).find((node: { machine_name: string }) => node.machine_name === "boreas").state;
  await page.getByRole("button", { name: "Actions for boreas" }).click();
  await page.getByRole("menuitem", { name: "Drain" }).click();
  await page.getByRole("button", { name: "Drain" }).click();
  await expect(page.getByRole("row", { name: /boreas/ })).toContainText("draining");
  expect(await state()).toBe("draining");
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByRole("row", { name: /boreas/ })).toContainText("ready");
  await page.getByRole("button", { name: "Actions for build machine" }).click();
  await page.getByRole("menuitem", { name: "Take requests again" }).click();
  await page.getByRole("button", { name: "Take requests" }).click();
  await page.reload();
  await expect(page.getByRole("row", { name: /build machine/ })).toContainText("ready");
  expect(await state()).toBe("ready");
});

test("an edit of what is no longer in force is refused, and begins again", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/settings?tab=edit");
  const text = page.getByLabel("Configuration");
  const before = await text.inputValue();
  await text.fill(before.replace("port: 8080", "port: 9090"));
  await page.getByRole("button", { name: "Check" }).click();
  await expect(page.getByText("It is valid.")).toBeVisible();
  // Somebody else is quicker.
  fake.state.config.version += 1;
  fake.state.config.text = `${before}# theirs\n`;
  await page.getByRole("button", { name: "Put in force" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Put in force" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toContainText("another configuration is in force");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /Refresh/ }).click();
  await expect(page.getByText("Another configuration was put in force since this edit began.")).toBeVisible();
  await page.getByRole("button", { name: "Begin again from that one" }).click();
  await expect(text).toHaveValue(/# theirs/);
  expect((await api(page, fake, "/api/config")).text).not.toContain("9090");
});

test("all that is wrong with a configuration is said at once", async ({ page, fake }) => {
  const errors = [
    { message: "`server.port` must be a number", key: "server.port", line: 3 },
    { message: "`colour` is not known", key: "colour", line: 9 },
  ];
  await page.route("**/api/config", (route) => (route.request().method() === "PUT" ? route.fulfill({ status: 400, contentType: "application/json", body: JSON.stringify({ error: { message: "2 problems", code: "invalid_request", errors, request_id: "r-1" } }) }) : route.continue()));
  await open(page, fake, "/dashboard/settings?tab=edit");
  await page.getByLabel("Configuration").fill("colour: blue\n");
  await page.getByRole("button", { name: "Check" }).click();
  await expect(page.getByRole("alert").getByRole("listitem")).toHaveText(["line 3: `server.port` must be a number", "line 9: `colour` is not known"]);
  await expect(page.getByRole("alert")).toContainText("request r-1");
});
