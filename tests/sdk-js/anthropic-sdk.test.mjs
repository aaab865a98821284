// Anthropic's own SDK in front of every wire.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";

import * as bed from "./bed.mjs";

const client = (credential = { apiKey: bed.key }) => new Anthropic({ baseURL: bed.url, maxRetries: 0, ...credential });
const user = { role: "user", content: bed.question };
const tools = [
  { name: "get_weather", description: "The weather of a city", input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
  { name: "get_time", description: "What time it is", input_schema: { type: "object", properties: {} } },
];
const resultsOf = (message) => ({
  role: "user",
  content: message.content
    .filter((block) => block.type === "tool_use")
    .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: bed.results[block.name] })),
});
const asHistory = (message) => ({ role: "assistant", content: message.content });

for (const wire of bed.wires) {
  const ask = (more) => ({ model: bed.modelOn(wire), max_tokens: 1000, system: bed.system, messages: [user], ...more });
  const reply = (parts, more) => ({ parts: [].concat(parts), ...more });
  const ways = { whole: (more) => client().messages.create(ask(more)), streamed: (more) => client().messages.stream(ask(more)).finalMessage() };

  for (const [way, run] of Object.entries(ways)) {
    describe(`messages to ${wire}, ${way}`, () => {
      test("a text is answered", async () => {
        await bed.answers(wire, reply(bed.text, { usage: bed.usage }));
        const message = await run();
        assert.deepEqual([message.stop_reason, message.content.map((block) => block.text)], ["end_turn", [bed.text]]);
        const written = wire === "gemini" ? 0 : 20;
        const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens } = message.usage;
        assert.deepEqual([input_tokens, cache_read_input_tokens, cache_creation_input_tokens ?? 0, output_tokens], [120 - written, 40, written, 14]);
        assert.deepEqual((await bed.last()).turns, [["system", bed.system], ["user", bed.question]]);
      });

      test("tools are called and their results go back", async () => {
        await bed.answers(wire, reply(bed.calls(wire, "I look it up.")), reply(bed.text));
        const message = await run({ tools });
        assert.equal(message.stop_reason, "tool_use");
        assert.deepEqual(message.content.slice(1).map((block) => [block.name, block.input]), [["get_weather", { city: "Paris" }], ["get_time", {}]]);
        const answer = await run({ tools, messages: [user, asHistory(message), resultsOf(message)] });
        assert.equal(answer.content[0].text, bed.text);
        bed.assertResultsCame(await bed.last());
      });

      test("reasoning comes back to its provider", async () => {
        await bed.answers(wire, reply(bed.calls(wire, { thought: bed.thought, seal: bed.seal })), reply(bed.text));
        const thinking = { tools, thinking: { type: "enabled", budget_tokens: 2000 }, max_tokens: 4000 };
        const message = await run(thinking);
        assert.deepEqual(message.content.map((block) => block.type), ["thinking", "tool_use", "tool_use"]);
        assert.equal(message.content[0].thinking, bed.thought);
        await run({ ...thinking, messages: [user, asHistory(message), resultsOf(message)] });
        bed.assertResultsCame(await bed.last());
        bed.assertThoughtCameBack(await bed.last());
      });

      test("an image arrives, in a question and in a result", async () => {
        const image = { type: "image", source: { type: "base64", media_type: "image/png", data: bed.pixel } };
        await bed.answers(wire, reply("a pixel"));
        await run({ messages: [{ role: "user", content: [{ type: "text", text: "What is this?" }, image] }] });
        assert.deepEqual((await bed.last()).turns.slice(1), [["user", "What is this?"], ["image", bed.pixelUrl]]);
        await bed.answers(wire, reply(bed.calls(wire)), reply(bed.text));
        const message = await run({ tools });
        const results = resultsOf(message);
        results.content[0].content = [{ type: "text", text: bed.results.get_weather }, image];
        await run({ tools, messages: [user, asHistory(message), results] });
        const request = await bed.last();
        const images = [...bed.turns(request, "result")[0][3], ...bed.turns(request, "image").map((turn) => turn[1])];
        assert.deepEqual(images, [bed.pixelUrl]);
      });

      test("an answer follows its schema", async () => {
        await bed.answers(wire, reply(bed.personText));
        const schema = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"], additionalProperties: false };
        const message = await run({ output_config: { format: { type: "json_schema", schema } } });
        assert.deepEqual(JSON.parse(message.content[0].text), { name: "Ada", age: 36 });
        bed.assertSchemaCame(await bed.last());
      });

      test("length, stop and refusal are told apart", async () => {
        for (const [stop, wanted] of [["length", "max_tokens"], ["refusal", "refusal"], ["stop_sequence", wire === "messages" ? "stop_sequence" : "end_turn"]]) {
          await bed.answers(wire, reply("It is", { stop, stop_sequence: stop === "stop_sequence" ? "END" : null }));
          assert.equal((await run({ stop_sequences: ["END"] })).stop_reason, wanted);
        }
      });

      test("errors are typed", async () => {
        await bed.answers(wire, { status: 400, message: "the provider says no" });
        await assert.rejects(run(), (error) => error instanceof Anthropic.BadRequestError && /the provider says no/.test(error.message));
        await bed.answers(wire, { status: 429, message: "slowly" });
        await assert.rejects(run(), Anthropic.RateLimitError);
        await assert.rejects(run({ model: "no-such-model" }), Anthropic.NotFoundError);
      });
    });
  }

  describe(`messages to ${wire}`, () => {
    test("either header opens, and a wrong key does not", async () => {
      await bed.answers(wire, reply(bed.text));
      for (const credential of [{ apiKey: bed.key, authToken: null }, { apiKey: null, authToken: bed.key }]) {
        assert.equal((await client(credential).messages.create(ask())).content[0].text, bed.text);
      }
      for (const credential of [{ apiKey: "sk-wrong", authToken: null }, { apiKey: null, authToken: "sk-wrong" }]) {
        await assert.rejects(client(credential).messages.create(ask()), Anthropic.AuthenticationError);
      }
    });

    test("tokens are counted", async () => {
      await bed.answers(wire, reply(bed.text));
      const { input_tokens } = await client().messages.countTokens({ model: bed.modelOn(wire), messages: [user], tools });
      assert.ok(input_tokens > 0);
    });

    for (const broken of ["error", "ended", "closed"]) {
      test(`a stream that breaks (${broken}) raises`, async () => {
        for (const parts of [bed.text, bed.calls(wire)]) {
          await bed.answers(wire, reply(parts, { broken }));
          await assert.rejects(client().messages.stream(ask({ tools })).finalMessage(), Anthropic.APIError);
        }
      });
    }
  });
}

test("the local model answers", async () => {
  const ask = { model: bed.localModel, max_tokens: 12, messages: [user] };
  const message = await client().messages.create(ask);
  assert.ok(message.content[0].text.trim());
  const streamed = await client().messages.stream(ask).finalMessage();
  assert.ok(streamed.content[0].text.trim() && streamed.usage.output_tokens <= 12);
});

test("models are listed", async () => {
  const names = [];
  for await (const model of client().models.list()) names.push(model.id);
  bed.wires.forEach((wire) => assert.ok(names.includes(bed.modelOn(wire)), wire));
});
