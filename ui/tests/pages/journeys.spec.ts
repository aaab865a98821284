// One journey for each page: it changes something, loads the page again, and compares with what the API says.

import type { Page } from "@playwright/test";
import { accessible, expect, login, open, PASSWORD, settled, test, type Fake } from "./setup";

/** What the router says to the same session. */
async function api(page: Page, fake: Fake, path: string) {
  const said = await page.request.get(fake.url + path);
  expect(said.ok(), `${path}: ${said.status()}`).toBe(true);
  return said.json();
}

const menu = async (page: Page, of: string, item: string) => {
  await page.getByRole("button", { name: of }).click();
  await page.getByRole("menuitem", { name: item }).click();
};

test.describe("the first log-in", () => {
  test.use({ kind: "first" });
  test("a wrong password is refused in words, and a generated one is changed before anything else", async ({ page, fake }) => {
    await page.goto(`${fake.url}/dashboard/keys`);
    await page.getByLabel("User name").fill("admin");
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Log in" }).click();
    await expect(page.getByRole("alert")).toContainText("Invalid username or password");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByLabel("New password").fill("short");
    await page.getByLabel("Once more").fill("short");
    await page.getByRole("button", { name: "Change and go on" }).click();
    await expect(page.getByText("At least 12 characters: a few words")).toBeVisible();
    await page.getByLabel("New password").fill("four words in a row");
    await page.getByLabel("Once more").fill("four words in a row");
    await page.getByRole("button", { name: "Change and go on" }).click();
    // The page that was asked for, now that it may be seen.
    await expect(page.getByText("No key yet")).toBeVisible();
    expect(fake.state.users[0]).toMatchObject({ password: "four words in a row", must_change_password: false });
    expect(await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage))).not.toMatch(/t\.|four words/);
    await page.getByRole("button", { name: "Account: admin" }).click();
    await page.getByRole("menuitem", { name: "Log out" }).click();
    await expect(page.getByLabel("User name")).toBeVisible();
    expect((await page.request.get(`${fake.url}/api/users`)).status()).toBe(401);
  });
});

test("keys: made, shown once, changed, renewed, revoked", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/keys");
  await page.getByRole("button", { name: "Create a key" }).click();
  await page.getByLabel("Name").fill("release notes");
  await page.getByLabel("Models", { exact: true }).fill("gpt-5, fast");
  await page.getByLabel("Requests a minute").fill("30");
  await page.getByLabel("Budget, $").fill("25");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  const secret = await page.getByRole("group", { name: "The secret" }).innerText();
  expect(secret).toMatch(/^sk_\w{32}$/);
  await page.getByRole("button", { name: "I have copied it" }).click();
  await page.reload();
  await settled(page);
  await expect(page.getByRole("row", { name: /release notes/ })).toContainText("30 req/min");
  expect(await page.content()).not.toContain(secret);
  const find = async () => (await api(page, fake, "/api/api-keys")).api_keys.find((key: { name: string }) => key.name === "release notes");
  expect(await find()).toMatchObject({ allowed_models: ["gpt-5", "fast"], limits: { rpm: 30 }, budget: { amount: 25, window: "month" }, scopes: ["inference"] });

  await menu(page, "Actions for release notes", "Edit");
  await page.getByLabel("Requests a minute").fill("");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  expect((await find()).limits).toBeNull();

  await menu(page, "Actions for release notes", "New secret");
  await page.getByRole("button", { name: "Make a new secret" }).click();
  expect(await page.getByRole("group", { name: "The secret" }).innerText()).not.toBe(secret);
  await page.getByRole("button", { name: "I have copied it" }).click();

  await menu(page, "Actions for release notes", "Revoke");
  await expect(page.getByRole("button", { name: "Revoke" })).toBeDisabled();
  await page.getByLabel("Type release notes to confirm").fill("release notes");
  await page.getByRole("button", { name: "Revoke" }).click();
  await expect(page.getByRole("row", { name: /release notes/ })).toHaveCount(0);
  expect(await find()).toBeUndefined();
});

test("users: added, promoted, given a password, deleted; the last administrator stays", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/users");
  await page.getByRole("button", { name: "Add a user" }).click();
  await page.getByLabel("User name").fill("otto");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await expect(page.getByRole("row", { name: /otto/ })).toContainText("viewer");
  await menu(page, "Actions for otto", "Make an administrator");
  await page.getByRole("button", { name: "Change the role" }).click();
  await page.reload();
  await expect(page.getByRole("row", { name: /otto/ })).toContainText("administrator");
  const find = async (name: string) => (await api(page, fake, "/api/users")).users.find((user: { username: string }) => user.username === name);
  expect(await find("otto")).toMatchObject({ role: "admin" });
  for (const name of ["otto", "mara"]) {
    await menu(page, `Actions for ${name}`, "Delete");
    await page.getByLabel(`Type ${name} to confirm`).fill(name);
    await page.getByRole("button", { name: "Delete" }).click();
    await expect(page.getByRole("row", { name })).toHaveCount(0);
  }
  expect(await find("otto")).toBeUndefined();
  await page.getByRole("button", { name: "Actions for admin" }).click();
  await expect(page.getByRole("menuitem", { name: "Delete" })).toBeDisabled();
});

test("nodes: found, named, approved, drained, exported, deleted", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/nodes");
  await page.getByLabel("Search nodes").fill("L4");
  await page.getByLabel("Search nodes").fill("fauna");
  await expect(page.getByRole("row")).toHaveCount(2);
  await menu(page, "Actions for fauna", "Approve");
  await page.getByRole("button", { name: "Approve" }).click();
  await expect(page.getByRole("row", { name: /fauna/ })).toContainText("ready");
  await menu(page, "Actions for fauna", "Name, tags and notes");
  await page.getByLabel("Name").fill("under the desk");
  await page.getByLabel("Tags").fill("gpu, borrowed");
  await page.getByRole("button", { name: "Save" }).click();
  await page.reload();
  await page.getByRole("row", { name: /under the desk/ }).click();
  await expect(page).toHaveURL(/nodes\/[\w-]+$/);
  const find = async () => (await api(page, fake, "/api/nodes")).find((node: { machine_name: string }) => node.machine_name === "fauna");
  expect(await find()).toMatchObject({ custom_name: "under the desk", tags: ["gpu", "borrowed"], status: "online" });
  await page.getByRole("tab", { name: "Metrics" }).click();
  await expect(page.getByRole("figure", { name: /Use: now CPU/ })).toBeVisible();
  await page.getByRole("tab", { name: "Logs" }).click();
  await page.getByLabel("Level").selectOption("error");
  await expect(page.getByRole("log")).not.toContainText("INFO");
  await menu(page, "Actions", "Drain");
  await page.getByRole("button", { name: "Drain" }).click();
  await expect(page.getByText("draining")).toBeVisible();
  expect((await find()).state).toBe("draining");
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/nodes$/);
  await page.getByLabel("Choose all 7").check();
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: "CSV, 7 chosen" }).click()]);
  expect(download.suggestedFilename()).toMatch(/^nodes-.*\.csv$/);
  await menu(page, "Actions for under the desk", "Delete");
  await page.getByLabel("Type under the desk to confirm").fill("under the desk");
  await page.getByRole("button", { name: "Delete" }).click();
  await expect(page.getByRole("row")).toHaveCount(7);
  expect(await find()).toBeUndefined();
});

test("join tokens: made, shown once, revoked", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/nodes");
  await page.getByRole("button", { name: "Add a node" }).click();
  await page.getByLabel("Name of a new token").fill("rack 2");
  await page.getByRole("button", { name: "Make a token" }).click();
  await expect(page.getByRole("group", { name: "What to run there" })).toContainText(/LLM_ROUTER_JOIN_TOKEN=jt_\w+ llm-node serve/);
  await accessible(page);
  await page.screenshot({ path: "artefacts/pages/add-node.png" });
  await page.getByLabel("Address").fill("http://10.0.0.7:11434");
  await page.getByLabel("Shown as").fill("the old ollama");
  await page.getByRole("button", { name: "Adopt" }).click();
  await expect(page.getByRole("row", { name: /the old ollama/ })).toContainText("ready");
  await page.getByRole("button", { name: "Add a node" }).click();
  await page.getByRole("button", { name: "Revoke lab" }).click();
  await expect(page.getByRole("button", { name: "Revoke lab" })).toHaveCount(0);
  await page.reload();
  const tokens = (await api(page, fake, "/api/nodes/join-tokens")).join_tokens;
  expect(tokens.map(({ name, revoked_at, require_approval }: { name: string; revoked_at: string | null; require_approval: boolean }) => [name, revoked_at !== null, require_approval])).toEqual([["lab", true, true], ["rack 2", false, true]]);
});

test("models: registered from the hub, converted, deleted", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/models?tab=hub");
  await page.getByLabel("Search the hub").fill("phi-4");
  await page.getByRole("button", { name: "Register phi-4-mini-instruct-q4_k_m" }).click();
  await page.getByRole("button", { name: "Register", exact: true }).click();
  await expect(page.getByText("phi-4-mini-instruct-q4_k_m", { exact: true })).toBeVisible();
  await page.reload();
  await expect(page.getByText("phi-4-mini-instruct-q4_k_m", { exact: true })).toBeVisible();
  expect((await api(page, fake, "/api/models/registered"))[0]).toMatchObject({ repo: "bartowski/Phi-4-mini-instruct-GGUF", ready: false });
  await menu(page, "Actions for phi-4-mini-instruct-q4_k_m", "Delete");
  await page.getByLabel(/to confirm/).fill("phi-4-mini-instruct-q4_k_m");
  await page.getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("phi-4-mini-instruct-q4_k_m", { exact: true })).toHaveCount(0);
  await page.getByRole("tab", { name: "Conversions" }).click();
  await page.getByRole("button", { name: "Convert a model" }).click();
  await page.getByLabel("Repository").fill("us/finetune");
  await page.getByRole("button", { name: "Convert", exact: true }).click();
  await expect(page.getByText("us/finetune")).toBeVisible();
  await page.getByRole("button", { name: "Remove us/private-finetune" }).click();
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await expect(page.getByText("us/private-finetune")).toHaveCount(0);
  const tasks = await api(page, fake, "/api/models/convert");
  expect(tasks.map((task: { repo: string }) => task.repo)).toEqual(["us/finetune", "Qwen/Qwen3-4B"]);
  await page.getByRole("tab", { name: /Can be asked for/ }).click();
  await page.getByRole("group", { name: "Where models live" }).getByRole("button", { name: "Local" }).click();
  await expect(page.getByRole("row", { name: /gpt-5/ })).toHaveCount(0);
  await expect(page.getByRole("row", { name: /qwen3-14b/ })).toBeVisible();
});

test("requests: filtered by the address, followed, opened, explained, replayed", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/requests?status=error");
  await settled(page);
  const failed = (await api(page, fake, "/api/dashboard/request-responses?status=error&per_page=50")).total_count;
  await expect(page.getByText(`${failed} in all`)).toBeVisible();
  await page.getByLabel("Model", { exact: true }).fill("qwen3-14b");
  await expect(page).toHaveURL(/model=qwen3-14b/);
  await expect(page.getByText(/[0-9]+ in all/)).not.toHaveText(`${failed} in all`);
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("button", { name: "Live tail" }).click();
  await expect(page.getByText("following", { exact: true })).toBeVisible();
  const answered = await page.request.post(`${fake.url}/v1/chat/completions`, { data: { model: "smollm2-135m-instruct", messages: [{ role: "user", content: "hi" }] }, headers: { "x-csrf-token": await csrf(page) } });
  const id = answered.headers()["x-request-id"] ?? "";
  await expect(page.getByRole("row").nth(1)).toContainText("smollm2-135m-instruct");
  await page.locator("body").press("j");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(new RegExp(`requests/${id}`));
  await expect(page.getByText("Where the time went")).toBeVisible();
  await page.getByRole("tab", { name: "Decision" }).click();
  await expect(page.getByRole("table", { name: "Candidates" })).toContainText("passed by: its limit is used up");
  await page.getByRole("tab", { name: "Response" }).click();
  await expect(page.getByText("Quicksort picks one number")).toBeVisible();
  await page.getByRole("button", { name: "Good answer" }).click();
  await expect(page.getByText("kept with the request")).toBeVisible();
  await page.getByRole("button", { name: "Code" }).click();
  await page.getByRole("tab", { name: "Python" }).click();
  await expect(page.getByRole("group", { name: "As python" })).toContainText("client.chat.completions.create");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Replay" }).click();
  await expect(page.getByText("Explain quicksort to a child.")).toBeVisible();
  await page.getByRole("button", { name: "Ask it" }).click();
  await expect(page.getByText(/until nothing is left to move/)).toBeVisible();
});

const csrf = async (page: Page) => (await page.context().cookies()).find((cookie) => cookie.name === "csrf")?.value ?? "";

test("two requests are compared", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/requests");
  await page.getByLabel("Choose this row").nth(0).check();
  await page.getByLabel("Choose this row").nth(1).check();
  await page.getByRole("button", { name: "Compare 2 of 2" }).click();
  await expect(page.getByRole("table", { name: "Compared" })).toContainText(fake.state.requests[0].id);
});

test("accounts and routing: a test call, counts set back, what would happen", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/accounts");
  await page.getByRole("region", { name: "openai" }).getByRole("button", { name: "Test call" }).click();
  await page.getByRole("button", { name: "Ask" }).click();
  await expect(page.getByRole("dialog").getByRole("status")).toContainText("answered in");
  await page.keyboard.press("Escape");
  await page.getByRole("region", { name: "team-vllm" }).getByRole("button", { name: "Test call" }).click();
  await page.getByRole("button", { name: "Ask" }).click();
  await expect(page.getByRole("alert")).toContainText("could not be reached");
  await page.keyboard.press("Escape");
  await page.goto(`${fake.url}/dashboard/routing`);
  await page.getByLabel("Prompt").fill("Explain quicksort");
  await page.getByRole("button", { name: "Choose" }).click();
  await expect(page.getByText("It would ask qwen3-14b")).toBeVisible();
});

test("settings: found by origin, checked, compared, put in force, taken back", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/settings");
  await page.getByLabel("Origin", { exact: true }).selectOption("environment");
  await expect(page.getByText("server.port")).toBeVisible();
  await expect(page.getByText("server.host")).toHaveCount(0);
  await page.getByRole("tab", { name: "Edit" }).click();
  const text = page.getByLabel("Configuration");
  const before = await text.inputValue();
  await text.fill("nothing good");
  await page.getByRole("button", { name: "Check" }).click();
  await expect(page.getByRole("alert")).toContainText("`server` is missing");
  await text.fill(before.replace("port: 8080", "port: 9090"));
  await expect(page.getByRole("button", { name: "Put in force" })).toBeDisabled();
  await page.getByRole("button", { name: "Check" }).click();
  await expect(page.getByText("It is valid.")).toBeVisible();
  await page.getByRole("button", { name: "Put in force" }).click();
  await page.getByLabel("Why").fill("another port");
  await page.getByRole("dialog").getByRole("button", { name: "Put in force" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.reload();
  expect((await api(page, fake, "/api/config")).text).toContain("port: 9090");
  await page.getByRole("tab", { name: "Versions" }).click();
  await expect(page.getByText("another port")).toBeVisible();
  await page.getByRole("button", { name: "Go back to it" }).first().click();
  await page.getByRole("button", { name: "Go back", exact: true }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  expect((await api(page, fake, "/api/config")).text).toContain("port: 8080");
  await page.goto(`${fake.url}/dashboard/audit`);
  await expect(page.getByRole("row").nth(1)).toContainText("config update");
  await page.getByRole("row").nth(1).click();
  await expect(page.getByRole("dialog")).toContainText("version 16");
});

test("usage: grouped, over another time, as a file", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/usage?by=model&days=7");
  await settled(page);
  const rows = (await api(page, fake, "/api/usage?group_by=model")).rows;
  await expect(page.getByRole("table", { name: "Usage by model" }).getByRole("row")).toHaveCount(rows.length + 1);
  await expect(page.getByRole("row", { name: /house-model/ })).toContainText("unknown");
  await page.getByRole("tab", { name: "By account" }).click();
  await expect(page).toHaveURL(/by=account/);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
  expect(download.suggestedFilename()).toContain("usage-by-account");
});

test("logs: the router's and a node's; one that is offline is said to be", async ({ page, fake }) => {
  await open(page, fake, "/dashboard/logs");
  await page.getByLabel("Search the log").fill("no target");
  await expect(page.getByRole("log")).toContainText("no target is left");
  await expect(page.getByRole("log")).not.toContainText("listening");
  await page.getByLabel("Whose log").selectOption({ label: "old workstation (offline)" });
  await expect(page.getByRole("alert")).toContainText("is offline");
});

test("the playground: streams, stops, compares, calls tools, keeps its conversations", async ({ page, fake }) => {
  await open(page, fake, "/playground?model=gpt-5");
  const message = page.getByLabel("Message");
  await message.fill("What is quicksort?");
  await message.press("Enter");
  await expect(page.getByText(/until nothing is left to move/)).toBeVisible();
  await expect(page.getByText("24 → 33 tokens")).toBeVisible();
  await expect(page.getByText("$0.00031")).toBeVisible();
  await page.getByRole("button", { name: "Decision" }).click();
  await expect(page.getByRole("table", { name: "Candidates" })).toBeVisible();
  await page.keyboard.press("Escape");
  await message.fill("slowly, please");
  await message.press("Enter");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.getByText("stopped")).toBeVisible();
  await page.reload();
  await page.getByRole("button", { name: /What is quicksort/ }).first().click();
  await expect(page.getByText("slowly, please")).toBeVisible();
  await message.fill("slowly, please");
  await message.press("Enter");
  await expect(page.getByText("Answering…")).toHaveCount(0);
  await page.getByRole("button", { name: "New conversation" }).click();
  // What was still being answered does not follow.
  await expect(page.getByText("Ask something", { exact: true })).toBeVisible();
  await expect(page.getByRole("button", { name: "Stop" })).toHaveCount(0);
  await expect(page.getByText("slowly, please")).toHaveCount(0);
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByLabel("Model 2").selectOption("house-model");
  await message.fill("Both of you");
  await message.press("Enter");
  await expect(page.getByRole("alert")).toContainText("could not be reached");
  await page.getByRole("button", { name: "Dismiss the error" }).click();
  await expect(page.getByRole("alert")).toHaveCount(0);
  await page.getByRole("button", { name: "One model" }).click();
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByRole("button", { name: "An example" }).first().click();
  await message.fill("The weather in Oslo?");
  await message.press("Enter");
  await expect(page.getByText("get_weather", { exact: true })).toBeVisible();
  await page.getByLabel("Result of get_weather").fill("rain");
  await page.getByRole("button", { name: "Send the result" }).click();
  await expect(page.getByText("Result of the tool")).toBeVisible();
  await page.getByLabel("Temperature").fill("");
  await page.getByLabel("More fields").fill("{");
  await message.fill("again");
  await message.press("Enter");
  await expect(page.getByText(/More fields must be JSON/).first()).toBeVisible();
});

test("the palette goes anywhere, and the keyboard too", async ({ page, fake }) => {
  await open(page, fake, "/dashboard");
  await settled(page);
  await page.keyboard.press("Control+k");
  await page.getByLabel("Search", { exact: true }).fill("boreas");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/nodes\//);
  await page.keyboard.press("g");
  await page.keyboard.press("l");
  await expect(page).toHaveURL(/logs$/);
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard" })).toBeVisible();
});

test("a viewer looks, and is offered nothing to change", async ({ page, fake }) => {
  await login(page, fake.url, "vera", "viewers have one too");
  await page.goto(`${fake.url}/dashboard/nodes`);
  await settled(page);
  await expect(page.getByRole("navigation", { name: "Places" })).not.toContainText("Keys");
  await expect(page.getByRole("button", { name: /Actions for/ })).toHaveCount(0);
  await page.goto(`${fake.url}/dashboard/keys`);
  await expect(page.getByRole("alert")).toContainText("Your role may not see");
});

test("a router that goes away is said to be, and comes back by itself", async ({ page, fake }) => {
  await open(page, fake, "/dashboard");
  await settled(page);
  await page.route("**/api/**", (route) => route.abort());
  await page.route("**/v1/**", (route) => route.abort());
  await expect(page.getByText("No answer")).toBeVisible({ timeout: 20_000 });
  // What was known stays.
  await expect(page.getByText("Requests, last hour")).toBeVisible();
  await page.unroute("**/api/**");
  await page.unroute("**/v1/**");
  await expect(page.getByText("Live", { exact: true })).toBeVisible({ timeout: 20_000 });
});

test("a part that the router does not offer is said so", async ({ page, fake }) => {
  await page.route("**/api/usage*", (route) => route.fulfill({ status: 404, contentType: "application/json", body: '{"error":{"message":"there is nothing at `/api/usage`","code":"not_found"}}' }));
  await open(page, fake, "/dashboard/usage");
  await expect(page.getByRole("alert")).toContainText("Usage: not available");
});
