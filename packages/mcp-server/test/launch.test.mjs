// The launcher with a stand-in for the program: a script that says how it was called and repeats what it reads.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { find, NotFound } from "../lib/find.mjs";

const launcher = fileURLToPath(new URL("../bin/llm-router-mcp.mjs", import.meta.url));
const STAND_IN = `#!${process.execPath}
process.stdout.write(JSON.stringify(process.argv.slice(2)) + "\\n");
process.stderr.write("a line of the log\\n");
process.stdin.pipe(process.stdout);
process.stdin.on("end", () => { process.exitCode = 7; });
`;

let home, program;
before(async () => {
  home = await mkdtemp(path.join(tmpdir(), "llm-router-mcp-"));
  program = path.join(home, "bin", "llm-router");
  await mkdir(path.dirname(program));
  await writeFile(program, STAND_IN);
  await chmod(program, 0o755);
});
after(() => rm(home, { recursive: true }));

/** Runs the launcher with this environment; gives what it wrote and how it ended. */
async function launch(environment, input, args = []) {
  const child = spawn(process.execPath, [launcher, ...args], { env: environment, cwd: home });
  const said = { out: "", err: "" };
  child.stdout.on("data", (piece) => (said.out += piece));
  child.stderr.on("data", (piece) => (said.err += piece));
  child.stdin.end(input);
  const [code] = await once(child, "close");
  return { ...said, code };
}

test("the program that is named gets what comes in, and its status goes out", async () => {
  const done = await launch({ LLM_ROUTER_BIN: program }, "a message\n");
  assert.deepEqual(done, { out: '["mcp"]\na message\n', err: "a line of the log\n", code: 7 });
});

test("without a name the first on PATH is taken, and arguments are passed on", async () => {
  const search = ["", path.join(home, "nowhere"), path.dirname(program)].join(path.delimiter);
  const done = await launch({ PATH: search }, "", ["--help"]);
  assert.equal(done.out, '["mcp","--help"]\n');
});

test("without a program it says what to do, and nothing on standard output", async () => {
  for (const environment of [{ PATH: home }, { PATH: "" }, {}, { LLM_ROUTER_BIN: path.join(home, "gone"), PATH: path.dirname(program) }, { LLM_ROUTER_BIN: home }]) {
    const done = await launch(environment, "");
    assert.deepEqual([done.code, done.out], [127, ""], JSON.stringify(environment));
    assert.match(done.err, /^llm-router-mcp: .*LLM_ROUTER_BIN/);
  }
});

test("a file that cannot be run is none", async () => {
  const place = path.join(home, "plain", "llm-router");
  await mkdir(path.dirname(place));
  await writeFile(place, STAND_IN, { mode: 0o644 });
  await assert.rejects(find({ PATH: path.dirname(place) }), NotFound);
});

test("on Windows the executable has its ending", async () => {
  const place = path.join(home, "windows", "llm-router.exe");
  await mkdir(path.dirname(place));
  await writeFile(place, STAND_IN, { mode: 0o755 });
  const folder = path.dirname(place);
  if (process.platform === "win32") assert.equal(await find({ Path: folder }), place);
  else assert.equal(await find({ PATH: `${home};${folder}` }, "win32"), place);
});

test("a signal reaches the program", { skip: process.platform === "win32" }, async () => {
  const child = spawn(process.execPath, [launcher], { env: { LLM_ROUTER_BIN: program } });
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  const [code, signal] = await once(child, "exit");
  assert.deepEqual([code, signal], [null, "SIGTERM"]);
});
