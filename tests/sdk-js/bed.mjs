// What `tests/sdk/bed.py` has started: the router, and the mocked providers that it stands in front of.

import assert from "node:assert/strict";

export const url = process.env.LLM_ROUTER_URL;
export const key = process.env.LLM_ROUTER_KEY;
export const localModel = process.env.LLM_LOCAL_MODEL;
const providersUrl = process.env.LLM_PROVIDERS_URL;
assert.ok(url && key && providersUrl, "run this through `cargo xtask black-box`, or `python tests/sdk/bed.py node --test …`");

export const wires = ["chat", "responses", "messages", "gemini"];
const families = { "": "", gpt: "gpt-5-", claude: "claude-opus-4-6-", gemini: "gemini-3-pro-" };

/** The public name of the model behind a wire; SDKs judge models by their names, so each has one that sounds like its own. */
export const modelOn = (wire, family = "") => `${families[family]}on-${wire}`;

async function control(path, value) {
  const answer = await fetch(`${providersUrl}/control/${path}`, { method: "POST", body: JSON.stringify(value ?? null) });
  assert.equal(answer.status, 200);
  return answer.json();
}

/** What the next requests on a wire are answered with; the last reply also answers all that come after. */
export async function answers(wire, ...replies) {
  await control("clear");
  await control(`answer/${wire}`, replies);
}

/** The requests that came upstream since `answers`. None of them may have been refused. */
export async function seen() {
  const { seen, refused } = await control("seen");
  assert.deepEqual(refused, []);
  return seen;
}

export const last = async () => (await seen()).at(-1);

export const turns = (request, kind) => request.turns.filter((turn) => turn[0] === kind);

// What all SDKs are asked to do, in the words of none of them.
export const system = "Answer briefly.";
export const question = "What is the weather in Paris, and what time is it?";
export const text = 'It is sunny in Paris – 21 °C 🌞.\nTake "glasses" and a \\ hat.';
export const thought = "Both must be looked up.";
export const seal = "sealed-by-the-provider+/==";
export const results = { get_weather: "sunny, 21 °C", get_time: "12:00" };
export const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
export const pixelUrl = `data:image/png;base64,${pixel}`;
export const personText = '{"name": "Ada", "age": 36}';
export const usage = { fresh: 100, read: 40, written: 20, text: 9, reasoning: 5 };

/** Parts of a reply that calls both tools at once, the second without arguments; Gemini's newest models always seal the first call. */
export const calls = (wire, ...before) => [
  ...before,
  { call: "get_weather", id: "call_weather_1", arguments: { city: "Paris" }, seal: wire === "gemini" && !before.some((part) => part.thought) ? seal : null },
  { call: "get_time", id: "call_time_2" },
];

/** The provider was shown both calls and both results, each under its tool's name, in order. */
export function assertResultsCame(request) {
  assert.deepEqual(turns(request, "call").map((turn) => turn.slice(1)), [["get_weather", { city: "Paris" }], ["get_time", {}]]);
  const came = turns(request, "result");
  assert.deepEqual(came.map((turn) => turn[1]), ["get_weather", "get_time"]);
  came.forEach((turn) => assert.ok(turn[2].includes(results[turn[1]]), JSON.stringify(turn)));
}

/** What the provider reasoned before its calls is before them again, sealed as it was. Chat has no seals. */
export function assertThoughtCameBack(request) {
  if (request.wire === "chat") return;
  const at = request.turns.findIndex((turn) => turn[0] === "thought" && turn[2] === seal);
  assert.ok(at >= 0, `the sealed thought is gone: ${JSON.stringify(request.turns)}`);
  assert.ok(at < request.turns.findIndex((turn) => turn[0] === "call"));
}

export function assertSchemaCame(request) {
  const schema = request.settings.schema;
  assert.deepEqual(Object.keys(schema.properties).sort(), ["age", "name"]);
}
