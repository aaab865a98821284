// Where the executable is: LLM_ROUTER_BIN, else the first on PATH.

import { access, constants, stat } from "node:fs/promises";
import path from "node:path";

/** There is no executable; its message says what to do. */
export class NotFound extends Error {}

const HOW = "build LLM Router (`make install` puts `llm-router` on PATH), or name the executable in LLM_ROUTER_BIN";

/** The path of the executable. `environment` has `LLM_ROUTER_BIN` and `PATH`. */
export async function find(environment, platform = process.platform) {
  const named = environment.LLM_ROUTER_BIN?.trim();
  if (named) {
    if (await isExecutable(named)) return named;
    throw new NotFound(`LLM_ROUTER_BIN names no executable file (${named}): ${HOW}`);
  }
  const isWindows = platform === "win32";
  const name = isWindows ? "llm-router.exe" : "llm-router";
  const search = environment.PATH ?? environment.Path ?? "";
  // An empty entry would be the working directory, which is the client's and not ours to run programs from.
  for (const folder of search.split(isWindows ? ";" : ":").filter(Boolean)) {
    const place = path.join(folder, name);
    if (await isExecutable(place)) return place;
  }
  throw new NotFound(`there is no \`${name}\` on PATH: ${HOW}`);
}

async function isExecutable(place) {
  try {
    await access(place, constants.X_OK);
    return (await stat(place)).isFile();
  } catch {
    return false;
  }
}
