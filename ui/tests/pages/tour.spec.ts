// Every page in both themes, wide and narrow, full and empty: looked at by axe, and by people in artefacts/.

import { accessible, expect, login, open, settled, test, type Fake } from "./setup";

const PAGES: [string, string | ((fake: Fake) => string)][] = [
  ["overview", "/dashboard"],
  ["requests", "/dashboard/requests"],
  ["request", (fake) => `/dashboard/requests/${fake.state.requests.find((row: { attempts: number; request_type: string; status: { type: string } }) => row.attempts > 1 && row.request_type === "chat" && row.status.type === "success")?.id ?? "gone-0000"}`],
  ["request-decision", (fake) => `/dashboard/requests/${fake.state.requests.find((row: { attempts: number }) => row.attempts > 1)?.id ?? "gone-0000"}?tab=decision`],
  ["request-response", (fake) => `/dashboard/requests/${fake.state.requests.find((row: { provider: string }) => row.provider === "anthropic")?.id ?? "gone-0000"}?tab=response`],
  ["request-request", (fake) => `/dashboard/requests/${fake.state.requests.find((row: { provider: string }) => row.provider === "anthropic")?.id ?? "gone-0000"}?tab=request`],
  ["compare", (fake) => `/dashboard/requests/compare?a=${fake.state.requests[0]?.id ?? ""}&b=${fake.state.requests[1]?.id ?? ""}`],
  ["nodes", "/dashboard/nodes"],
  ["node", (fake) => `/dashboard/nodes/${fake.state.nodes[0]?.id ?? "gone"}`],
  ["node-metrics", (fake) => `/dashboard/nodes/${fake.state.nodes[0]?.id ?? "gone"}?tab=metrics`],
  ["node-settings", (fake) => `/dashboard/nodes/${fake.state.nodes[0]?.id ?? "gone"}?tab=settings`],
  ["node-logs", (fake) => `/dashboard/nodes/${fake.state.nodes[0]?.id ?? "gone"}?tab=logs`],
  ["logs", "/dashboard/logs"],
  ["models", "/dashboard/models"],
  ["models-registered", "/dashboard/models?tab=registered"],
  ["models-hub", "/dashboard/models?tab=hub"],
  ["models-conversions", "/dashboard/models?tab=conversions"],
  ["accounts", "/dashboard/accounts"],
  ["routing", "/dashboard/routing"],
  ["keys", "/dashboard/keys"],
  ["keys-new", "/dashboard/keys?new=1"],
  ["users", "/dashboard/users"],
  ["usage", "/dashboard/usage"],
  ["audit", "/dashboard/audit"],
  ["settings", "/dashboard/settings"],
  ["settings-edit", "/dashboard/settings?tab=edit"],
  ["settings-versions", "/dashboard/settings?tab=versions"],
  ["playground", "/playground"],
];

const SIZES = { wide: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

for (const kind of ["seeded", "empty"] as const) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const theme of ["light", "dark"] as const) {
      test.describe(`${kind}, ${size}, ${theme}`, () => {
        test.use({ kind, viewport, colorScheme: theme });
        test("all pages", async ({ page, fake }) => {
          test.setTimeout(400_000);
          await login(page, fake.url);
          for (const [name, path] of PAGES) {
            await test.step(name, async () => {
              await page.goto(fake.url + (typeof path === "string" ? path : path(fake)));
              await settled(page);
              await page.screenshot({ path: `artefacts/pages/${name}-${kind}-${size}-${theme}.png` });
              await accessible(page);
              // A page that is wider than a phone cannot be read on one.
              const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
              expect.soft(beyond, `${name} is wider than the window`).toBeLessThanOrEqual(0);
            });
          }
        });
      });
    }
  }
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const theme of ["light", "dark"] as const) {
    test.describe(`the door, ${size}, ${theme}`, () => {
      test.use({ kind: "first", viewport, colorScheme: theme });
      test("log-in and change of the password", async ({ page, fake }) => {
        await page.goto(`${fake.url}/dashboard`);
        await page.getByLabel("User name").waitFor();
        await page.screenshot({ path: `artefacts/pages/login-${size}-${theme}.png` });
        await accessible(page);
        await open(page, fake, "/dashboard");
        await page.getByLabel("New password").waitFor();
        await page.screenshot({ path: `artefacts/pages/password-${size}-${theme}.png` });
        await accessible(page);
      });
    });
  }
}
