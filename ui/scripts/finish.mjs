// After the build: the licences of all that is in the bundle, and the size of what the first page loads.

import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
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

/** Files that are worth it get a smaller form beside them, which the router sends to browsers that take it. */
function compress(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) compress(path);
    else if (/\.(?:html|js|css|svg|txt)$/.test(entry.name)) {
      const whole = readFileSync(path);
      const small = brotliCompressSync(whole, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
      if (small.length < whole.length * 0.9) writeFileSync(`${path}.br`, small);
    }
  }
}

writeFileSync("dist/licences.txt", licences());
compress("dist");
check();
