// `npm run dev`: the dashboard with reloading, in front of LLM_ROUTER_URL or, without it, of the fake router.

import { createServer } from "vite";
import { serve } from "../fake/server.mjs";

if (!process.env.LLM_ROUTER_URL) {
  const { url } = await serve({ kind: process.argv[2] ?? "seeded", port: 18080 });
  console.log(`fake router at ${url} (admin, correct horse battery)`);
}
const server = await createServer();
await server.listen();
server.printUrls();
