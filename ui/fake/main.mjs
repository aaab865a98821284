// `npm run fake -- [seeded|empty|first] [port]`: the fake router with the built dashboard.

import { fileURLToPath } from "node:url";
import { serve } from "./server.mjs";

const [kind = "seeded", port = "18080"] = process.argv.slice(2);
const { url } = await serve({ kind, port: Number(port), root: fileURLToPath(new URL("../dist", import.meta.url)) });
console.log(`${kind}: ${url}/dashboard  (admin, correct horse battery)`);
