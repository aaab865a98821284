import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const chromium = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));

export default defineConfig({
  outputDir: "artefacts/failures",
  snapshotDir: "artefacts",
  fullyParallel: false,
  workers: 2,
  forbidOnly: Boolean(process.env.CI),
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: [["list"]],
  use: {
    actionTimeout: 10_000,
    navigationTimeout: 20_000,
    viewport: { width: 1440, height: 900 },
    screenshot: "only-on-failure",
    locale: "en-US",
    timezoneId: "UTC",
    launchOptions: { executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] },
  },
  projects: [
    // Against the fake router: every page, quickly, with figures that are always the same.
    { name: "pages", testDir: "tests/pages" },
    // Against the executable that LLM_ROUTER_BIN names.
    { name: "router", testDir: "tests/router" },
  ],
});
