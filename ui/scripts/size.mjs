// What a browser loads before the first page shows must stay small. Fails beyond the limit.

import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** Scripts and styles of the first load, compressed. */
const FIRST_LOAD_BYTES_MAX = 350 * 1000;
/** Any one page on top. */
const PAGE_BYTES_MAX = 120 * 1000;

const dist = new URL("../dist/", import.meta.url);
const packed = (name) => gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length;

export function check() {
  const html = readFileSync(new URL("index.html", dist), "utf8");
  const named = [...html.matchAll(/(?:src|href)="\/dashboard\/([^"]+\.(?:js|css))"/g)].map(([, name]) => name);
  // The overview's own page, with everything that it pulls in, is part of the first load.
  const first = new Set(named);
  const pages = readdirSync(new URL("assets/", dist)).filter((name) => name.endsWith(".js"));
  const follow = (name) => {
    for (const [, other] of readFileSync(new URL(name, dist), "utf8").matchAll(/from\s*"\.\/([^"]+\.js)"|import"\.\/([^"]+\.js)"/g)) {
      if (other && !first.has(`assets/${other}`)) {
        first.add(`assets/${other}`);
        follow(`assets/${other}`);
      }
    }
  };
  for (const page of pages.filter((name) => /^(overview|chart)-/.test(name))) first.add(`assets/${page}`);
  for (const name of [...first].filter((one) => one.endsWith(".js"))) follow(name);
  const sizes = [...first].map((name) => [name, packed(name)]);
  const whole = sizes.reduce((sum, [, bytes]) => sum + bytes, 0) + packed("index.html");
  console.log(`first load: ${(whole / 1000).toFixed(1)} kB gzip of ${FIRST_LOAD_BYTES_MAX / 1000} (${sizes.length} files)`);
  const large = pages.map((name) => [name, packed(`assets/${name}`)]).filter(([name, bytes]) => !first.has(`assets/${name}`) && bytes > PAGE_BYTES_MAX);
  for (const [name, bytes] of large) console.error(`${name} has ${(bytes / 1000).toFixed(1)} kB gzip, more than ${PAGE_BYTES_MAX / 1000}`);
  if (whole > FIRST_LOAD_BYTES_MAX) {
    for (const [name, bytes] of sizes.sort(([, a], [, b]) => b - a)) console.error(`  ${(bytes / 1000).toFixed(1).padStart(7)} kB  ${name}`);
    console.error(`The first load has ${whole} bytes, more than ${FIRST_LOAD_BYTES_MAX}.`);
  }
  if (whole > FIRST_LOAD_BYTES_MAX || large.length > 0) process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) check();
