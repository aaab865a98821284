#!/usr/bin/env node
// Starts `llm-router mcp` and stands aside: standard input, output and error are the program's own.

import { spawn } from "node:child_process";

import { find, NotFound } from "../lib/find.mjs";

/** As a shell says that there is no such command. */
const NOT_FOUND = 127;

let program;
try {
  program = await find(process.env);
} catch (error) {
  if (!(error instanceof NotFound)) throw error;
  process.stderr.write(`llm-router-mcp: ${error.message}\n`);
  process.exit(NOT_FOUND);
}

const child = spawn(program, ["mcp", ...process.argv.slice(2)], { stdio: "inherit", windowsHide: true });
child.on("error", (error) => {
  process.stderr.write(`llm-router-mcp: ${program} cannot be started: ${error.message}\n`);
  process.exit(1);
});
// The client ends this process; the program has to end with it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
