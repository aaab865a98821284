import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// In development everything that is not ours goes to a router: LLM_ROUTER_URL, else the fake one that `npm run dev` starts.
const router = process.env.LLM_ROUTER_URL ?? "http://127.0.0.1:18080";

export default defineConfig({
  base: "/dashboard/",
  plugins: [react(), tailwindcss()],
  build: {
    target: "es2022",
    // The router's policy allows no data: scripts or fonts; small files stay files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
  },
  server: {
    proxy: Object.fromEntries(["/api", "/v1", "/router", "/auth", "/backend", "/config", "/health", "/_health"].map((path) => [path, router])),
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
