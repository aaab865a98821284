import { describe, expect, it } from "vitest";
import { bodyOf, costIn, FieldFault, grown, PARAMETERS, type Message } from "./chat";
import { opened } from "./opened";
import { asChat } from "./recorded";
import { fresh, storable, titleOf } from "./sessions";

const asked: Message[] = [{ role: "user", content: "hi" }];

describe("bodies", () => {
  it("say only what was chosen", () => expect(bodyOf("m", asked, { ...PARAMETERS, stream: false })).toEqual({ model: "m", messages: [{ role: "user", content: "hi" }] }));
  it("carry everything that was", () => {
    const body = bodyOf("m", asked, { ...PARAMETERS, system: "be kind", temperature: "0", maxTokens: "5", stop: "a\n\nb", schema: '{"type":"object"}', tools: '[{"type":"function"}]', more: '{"route":{"quality":0.3}}' });
    expect(body).toMatchObject({ messages: [{ role: "system", content: "be kind" }, { role: "user" }], temperature: 0, max_tokens: 5, stop: ["a", "b"], stream: true, stream_options: { include_usage: true }, response_format: { type: "json_schema" }, tools: [{ type: "function" }], route: { quality: 0.3 } });
  });
  it.each([["temperature", "warm"], ["tools", "{}"], ["schema", "[]"], ["more", "3"], ["tools", "["]] as const)("refuse %s of %s", (field, text) => {
    expect(() => bodyOf("m", asked, { ...PARAMETERS, [field]: text })).toThrow(FieldFault);
  });
  it("leave out answers that were only an error", () => {
    const messages: Message[] = [...asked, { role: "assistant", content: null, outcome: { error: "no" } }, { role: "user", content: "again" }];
    expect((bodyOf("m", messages, PARAMETERS).messages as unknown[]).length).toBe(2);
  });
});

describe("answers", () => {
  const empty: Message = { role: "assistant", content: null };
  it("grow by pieces", () => {
    const all = [{ model: "x", choices: [{ delta: { content: "He" } }] }, { choices: [{ delta: { content: "y", reasoning_content: "hm" } }] }, { choices: [{ delta: {}, finish_reason: "length" }] }, { choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } }].reduce(grown, empty);
    expect(all).toMatchObject({ content: "Hey", reasoning: "hm", outcome: { model: "x", finish: "length", promptTokens: 3, completionTokens: 2 } });
  });
  it("put calls of tools together", () => {
    const piece = (index: number, more: object) => ({ choices: [{ delta: { tool_calls: [{ index, ...more }] } }] });
    const all = [piece(0, { id: "c", function: { name: "f", arguments: '{"a"' } }), piece(0, { function: { arguments: ":1}" } }), piece(1, { id: "d", function: { name: "g", arguments: "{}" } })].reduce(grown, empty);
    expect(all.tool_calls?.map(({ id, function: { name, arguments: text } }) => [id, name, text])).toEqual([["c", "f", '{"a":1}'], ["d", "g", "{}"]]);
  });
  it("say that they broke off", () => expect(grown(empty, { error: { message: "gone" } }).outcome?.error).toBe("gone"));
  it.each([['router {"request_id":"a","cost_usd":0.0012,"prompt_tokens":3}', 0.0012], ['router {"cost_usd":null}', undefined], ["keepalive", undefined]])("find the cost in %s", (comment, cost) => expect(costIn(comment)).toBe(cost));
});

describe("sessions", () => {
  const session = { ...fresh(["m"]), threads: [asked] };
  it("are called by their question", () => expect(titleOf([[{ role: "user", content: `a\n${"b".repeat(99)}` }]])).toHaveLength(60));
  it("are stored without pictures and never without end", () => {
    const pictured = { ...session, threads: [[{ role: "user" as const, content: [{ type: "image_url" as const, image_url: { url: "data:image/png;base64,AAAA" } }] }]] };
    expect(storable([pictured])).not.toContain("base64");
    expect(JSON.parse(storable(Array.from({ length: 99 }, (_, n) => ({ ...session, id: String(n), changed: n })))) as unknown[]).toHaveLength(30);
    expect(storable([{ ...session, threads: [[{ role: "user", content: "x".repeat(3_000_000) }]] }])).toBe("[]");
    expect(storable([fresh()])).toBe("[]");
  });
});

describe("a recorded request", () => {
  it("opens as it was asked", () => {
    const body = bodyOf("m", asked, { ...PARAMETERS, system: "be kind", temperature: "0.5", stop: "x", schema: '{"type":"object"}', more: '{"route":{"quality":0.3}}' });
    const { models, parameters, threads } = opened(body);
    expect(bodyOf(models[0] ?? "", threads[0] ?? [], parameters)).toEqual(body);
  });
  it.each([
    ["/v1/messages", { model: "m", max_tokens: 9, system: [{ type: "text", text: "be kind" }], messages: [{ role: "user", content: [{ type: "text", text: "hi" }] }], tools: [{ name: "f", input_schema: { type: "object" } }] }],
    ["/v1/responses", { model: "m", max_output_tokens: 9, instructions: "be kind", input: [{ role: "user", content: [{ type: "input_text", text: "hi" }] }], tools: [{ type: "function", name: "f", parameters: { type: "object" } }, { type: "web_search" }] }],
    ["/v1beta/models/m:generateContent", { systemInstruction: { parts: [{ text: "be kind" }] }, contents: [{ role: "user", parts: [{ text: "hi" }] }], generationConfig: { maxOutputTokens: 9 }, tools: [{ functionDeclarations: [{ name: "f", parameters: { type: "object" } }] }] }],
  ])("of %s becomes a chat", (path, body) => {
    expect(asChat(body, path, "m")).toEqual({ model: "m", messages: [{ role: "system", content: "be kind" }, { role: "user", content: "hi" }], max_tokens: 9, tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }] });
  });
  it("keeps its pictures", () => {
    const picture = { role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AA" } }] };
    const source = { type: "base64", media_type: "image/png", data: "AA" };
    expect(asChat({ messages: [{ role: "user", content: [{ type: "image", source }] }] }, "/v1/messages", "")?.messages).toEqual([picture]);
    expect(asChat({ contents: [{ parts: [{ inlineData: { mimeType: "image/png", data: "AA" } }] }] }, "/v1beta/models/m:streamGenerateContent", "m")?.messages).toEqual([picture]);
    expect(asChat({ input: [{ role: "user", content: [{ type: "input_image", image_url: "data:image/png;base64,AA" }] }] }, "/v1/responses", "")?.messages).toEqual([picture]);
  });
  it("that asks for no text is none", () => expect([asChat({ input: "x" }, "/v1/embeddings", ""), asChat({ prompt: "hi", model: "m" }, "/v1/completions", "")]).toEqual([null, { model: "m", messages: [{ role: "user", content: "hi" }] }]));
  it("of any other form opens too", () => expect(opened({ model: 3, messages: "x" }).threads).toEqual([[]]));
});
