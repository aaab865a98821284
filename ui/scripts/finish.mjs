// After the build: the licences of all that is in the bundle, and the size of what the first page loads.

import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "./size.mjs";

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));

/** Every package that is not only for development, with the text of its licence. */
function licences() {
  const parts = ["The dashboard of LLM Router contains the packages below. Nothing else is in it: its fonts are the system's.\n"];
  for (const [path, { version, license, dev }] of Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!path.startsWith("node_modules/") || dev) continue;
    if (!existsSync(path)) continue;
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const file = readdirSync(path).find((one) => /^licen[cs]e/i.test(one));
    parts.push(`${"-".repeat(80)}\n${name} ${version} (${license})\n\n${file ? readFileSync(join(path, file), "utf8").trim() : "The package has no file with its licence."}\n`);
  }
  return parts.join("\n");
}

writeFileSync("dist/licences.txt", licences());
check();
