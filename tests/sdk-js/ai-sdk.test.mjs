// Vercel's AI SDK with three of its providers, in all four dialects, in front of every wire.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

import * as bed from "./bed.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const Person = z.object({ name: z.string(), age: z.number().int() });

/** Each dialect: its model by wire, and how it is asked to reason. */
const dialects = {
  chat: {
    model: (wire, apiKey = bed.key) => createOpenAI({ baseURL: `${bed.url}/v1`, apiKey }).chat(bed.modelOn(wire, "gpt")),
    thinking: { openai: { reasoningEffort: "high" } },
  },
  responses: {
    model: (wire, apiKey = bed.key) => createOpenAI({ baseURL: `${bed.url}/v1`, apiKey }).responses(bed.modelOn(wire, "gpt")),
    thinking: { openai: { reasoningEffort: "high", reasoningSummary: "auto", store: false, include: ["reasoning.encrypted_content"] } },
    settings: { openai: { store: false } },
    showsThoughts: true,
  },
  messages: {
    model: (wire, apiKey = bed.key) => createAnthropic({ baseURL: `${bed.url}/v1`, apiKey })(bed.modelOn(wire, "claude")),
    thinking: { anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } } },
    showsThoughts: true,
  },
  gemini: {
    model: (wire, apiKey = bed.key) => createGoogleGenerativeAI({ baseURL: `${bed.url}/v1beta`, apiKey })(bed.modelOn(wire, "gemini")),
    thinking: { google: { thinkingConfig: { includeThoughts: true, thinkingLevel: "high" } } },
    showsThoughts: true,
  },
};

const tools = {
  get_weather: tool({ description: "The weather of a city", inputSchema: z.object({ city: z.string() }), execute: async () => bed.results.get_weather }),
  get_time: tool({ description: "What time it is", inputSchema: z.object({}), execute: async () => bed.results.get_time }),
};

for (const [dialect, { model, thinking, settings, showsThoughts }] of Object.entries(dialects)) {
  for (const wire of bed.wires) {
    const ask = (more) => ({ model: model(wire), system: bed.system, prompt: bed.question, maxRetries: 0, providerOptions: settings, ...more });
    const reply = (parts, more) => ({ parts: [].concat(parts), ...more });

    /** The same question as a whole answer and as a stream, read to its end. */
    const bothWays = async (check, more) => {
      await check(await generateText(ask(more)));
      const streamed = streamText(ask({ ...more, onError: () => {} }));
      await streamed.consumeStream();
      const names = ["text", "reasoningText", "finishReason", "usage", "toolCalls", "steps"];
      const values = await Promise.all(names.map((name) => streamed[name]));
      await check(Object.fromEntries(names.map((name, at) => [name, values[at]])));
    };

    describe(`${dialect} to ${wire}`, () => {
      test("a text is answered", async () => {
        await bed.answers(wire, reply(bed.text, { usage: bed.usage }));
        await bothWays(async (answer) => {
          assert.equal(answer.text, bed.text);
          assert.equal(answer.finishReason, "stop");
          assert.deepEqual([answer.usage.inputTokens, answer.usage.outputTokens], [160, 14]);
          assert.equal(answer.usage.inputTokenDetails.cacheReadTokens, 40);
          const request = await bed.last();
          assert.deepEqual(request.turns, [["system", bed.system], ["user", bed.question]]);
          assert.equal(request.settings.max, 500);
        }, { maxOutputTokens: 500 });
      });

      test("a stream comes in pieces", async () => {
        await bed.answers(wire, reply(bed.text));
        const pieces = [];
        for await (const piece of streamText(ask()).textStream) pieces.push(piece);
        assert.equal(pieces.join(""), bed.text);
        assert.ok(pieces.length > 2);
      });

      test("tools are called and their results go back", async () => {
        for (const run of [(more) => generateText(ask(more)), (more) => streamText(ask(more))]) {
          await bed.answers(wire, reply(bed.calls(wire, "I look it up.")), reply(bed.text));
          const answer = await run({ tools, stopWhen: stepCountIs(3) });
          const steps = await answer.steps;
          assert.equal(await answer.text, bed.text);
          assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
          assert.deepEqual(steps[0].toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", { city: "Paris" }], ["get_time", {}]]);
          assert.equal(steps[0].text, "I look it up.");
          bed.assertResultsCame(await bed.last());
        }
      });

      test("a choice of tools arrives", async () => {
        for (const [toolChoice, wanted] of [["required", "required"], [{ type: "tool", toolName: "get_time" }, ["function", "get_time"]]]) {
          await bed.answers(wire, reply({ call: "get_time", id: "call_1", seal: bed.seal }));
          await generateText(ask({ tools, toolChoice }));
          assert.deepEqual((await bed.last()).settings.choice, wanted);
        }
      });

      test("a result with an image arrives", async () => {
        const seeing = {
          ...tools,
          get_weather: tool({
            ...tools.get_weather,
            toModelOutput: ({ output }) => ({
              type: "content",
              value: [{ type: "text", text: output }, { type: "image-data", data: bed.pixel, mediaType: "image/png" }],
            }),
          }),
        };
        await bed.answers(wire, reply(bed.calls(wire)), reply(bed.text));
        const answer = await generateText(ask({ tools: seeing, stopWhen: stepCountIs(3) }));
        assert.equal(answer.text, bed.text);
        const request = await bed.last();
        // Chat's own clients write a result's parts as text.
        if (dialect === "chat") return assert.ok(bed.turns(request, "result")[0][2].includes(bed.results.get_weather));
        const images = [...bed.turns(request, "result")[0][3], ...bed.turns(request, "image").map((turn) => turn[1])];
        assert.deepEqual(images, [bed.pixelUrl]);
      });

      test("an image arrives", async () => {
        await bed.answers(wire, reply("a pixel"));
        const content = [{ type: "text", text: "What is this?" }, { type: "image", image: bed.pixel, mediaType: "image/png" }];
        await generateText(ask({ prompt: undefined, messages: [{ role: "user", content }] }));
        assert.deepEqual((await bed.last()).turns.slice(1), [["user", "What is this?"], ["image", bed.pixelUrl]]);
      });

      test("reasoning comes back to its provider", async () => {
        for (const run of [(more) => generateText(ask(more)), (more) => streamText(ask(more))]) {
          await bed.answers(wire, reply(bed.calls(wire, { thought: bed.thought, seal: bed.seal })), reply(bed.text));
          const answer = await run({ tools, stopWhen: stepCountIs(3), providerOptions: thinking, maxOutputTokens: 4000 });
          assert.equal(await answer.text, bed.text);
          if (showsThoughts) assert.equal((await answer.steps)[0].reasoningText, bed.thought);
          const request = await bed.last();
          bed.assertResultsCame(request);
          bed.assertThoughtCameBack(request);
        }
      });

      test("an object follows its schema", async () => {
        await bed.answers(wire, reply(bed.personText));
        const { object } = await generateObject(ask({ schema: Person }));
        assert.deepEqual(object, { name: "Ada", age: 36 });
        bed.assertSchemaCame(await bed.last());
        const streamed = streamObject(ask({ schema: Person }));
        for await (const _ of streamed.partialObjectStream);
        assert.deepEqual(await streamed.object, { name: "Ada", age: 36 });
      });

      test("an answer that is too long says so", async () => {
        await bed.answers(wire, reply("It is", { stop: "length" }));
        await bothWays(async (answer) => assert.deepEqual([answer.text, answer.finishReason], ["It is", "length"]));
      });

      test("a refusal is one", async () => {
        await bed.answers(wire, reply("I will not.", { stop: "refusal" }));
        const answer = await generateText(ask());
        const { refusal } = answer.response.body?.choices?.[0].message ?? {};
        const inParts = answer.response.body?.output?.flatMap((item) => item.content ?? []).some((part) => part.type === "refusal");
        assert.ok(answer.finishReason === "content-filter" || refusal || inParts, answer.finishReason);
      });

      test("errors are typed", async () => {
        const caught = async (more) => {
          const error = await generateText(ask(more)).then(() => assert.fail("it must not be answered"), (error) => error);
          assert.ok(APICallError.isInstance(error), String(error));
          return error;
        };
        await bed.answers(wire, { status: 400, message: "the provider says no" });
        const refused = await caught();
        assert.deepEqual([refused.statusCode, refused.isRetryable], [400, false]);
        assert.match(refused.message, /the provider says no/);
        await bed.answers(wire, { status: 429, message: "slowly" });
        const limited = await caught();
        assert.deepEqual([limited.statusCode, limited.isRetryable], [429, true]);
        assert.equal((await caught({ model: model(wire, "sk-wrong") })).statusCode, 401);
        assert.equal((await caught({ model: model("nowhere") })).statusCode, 404);
      });

      for (const broken of ["error", "ended", "closed"]) {
        test(`a stream that breaks (${broken}) does not end well`, async () => {
          await bed.answers(wire, reply(bed.text, { broken }));
          const parts = [];
          for await (const part of streamText(ask({ onError: () => {} })).fullStream) parts.push(part);
          const reasons = parts.filter((part) => part.type === "finish").map((part) => part.finishReason);
          assert.ok(parts.some((part) => part.type === "error"), JSON.stringify(parts.map((part) => part.type)));
          assert.ok(reasons.every((reason) => !["stop", "length", "tool-calls"].includes(reason)), String(reasons));
        });
      }
    });
  }

  test(`${dialect}: the local model answers`, async () => {
    const ask = { model: local(dialect), prompt: bed.question, maxOutputTokens: 16, maxRetries: 0, providerOptions: settings };
    const { text } = await generateText(ask);
    assert.ok(text.trim());
    const streamed = streamText(ask);
    assert.ok((await streamed.text).trim());
    assert.ok((await streamed.usage).outputTokens <= 16);
  });
}

function local(dialect) {
  const at = { apiKey: bed.key, baseURL: `${bed.url}/v1` };
  if (dialect === "messages") return createAnthropic(at)(bed.localModel);
  if (dialect === "gemini") return createGoogleGenerativeAI({ ...at, baseURL: `${bed.url}/v1beta` })(bed.localModel);
  return createOpenAI(at)[dialect](bed.localModel);
}
