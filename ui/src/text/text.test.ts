import { describe, expect, it } from "vitest";
import { csv } from "./csv";
import { diff, folded } from "./diff";
import { python, snippet } from "./snippets";
import { matches } from "./search";
import { Events } from "./sse";

describe("differences", () => {
  const apply = (lines: ReturnType<typeof diff>, kind: "added" | "removed") => lines.filter((line) => line.kind !== kind).map((line) => line.text).join("\n");
  it.each([
    ["a\nb\nc", "a\nx\nc"], ["", "a"], ["a", ""], ["a\nb", "b\na"], ["same", "same"], ["a\na\nb", "a\nb\nb"],
  ])("turn %j into %j", (before, after) => {
    const lines = diff(before, after);
    expect(apply(lines, "added")).toBe(before);
    expect(apply(lines, "removed")).toBe(after);
  });
  it("name the least", () => expect(diff("a\nb\nc\nd", "a\nc\nd").filter((line) => line.kind !== "same")).toEqual([{ kind: "removed", text: "b" }]));
  it("leave out what is far away", () => {
    const many = Array.from({ length: 30 }, (_, n) => String(n));
    const shown = folded(diff(many.join("\n"), many.map((line) => (line === "15" ? "x" : line)).join("\n")), 2);
    expect(shown.map((line) => line?.text ?? null)).toEqual([null, "13", "14", "15", "x", "16", "17", null]);
  });
});

describe("tables", () => {
  it("quote what they must and make no formula", () => {
    expect(csv([{ a: 'say "hi", you', b: "=1+1", c: -3, d: ["x", "y"], e: null }], ["a", "b", "c", "d", "e"])).toBe('a,b,c,d,e\r\n"say ""hi"", you",\'=1+1,-3,x y,\r\n');
  });
});

describe("code", () => {
  const body = { model: "m", messages: [{ role: "user", content: "it's\nso" }], stream: true, route: { quality: 0.3 } };
  it("has no key in it", () => {
    for (const language of ["curl", "python", "javascript"] as const) {
      for (const path of ["/v1/chat/completions", "/v1/messages"]) expect(snippet(language, "http://r", path, body)).toMatch(/LLM_ROUTER_API_KEY/);
    }
  });
  it("survives quotes in a shell", () => expect(snippet("curl", "http://r", "/v1/chat/completions", body)).toContain(`it'\\''s`));
  it("puts what the SDK does not know aside", () => {
    const text = snippet("python", "http://r", "/v1/chat/completions", body);
    expect(text).toContain('extra_body={"route": {"quality": 0.3}},');
    expect(text).toContain("stream=True,");
  });
  it("writes JSON as Python does", () => expect(python({ a: null, b: [true, false], c: "x" })).toBe('{"a": None, "b": [True, False], "c": "x"}'));
});

describe("streams", () => {
  const text = ': hello\r\n\r\nevent: e\r\ndata: {"a":1}\r\ndata: two\r\n\r\ndata:[DONE]\n\n';
  const whole = new Events().take(text);
  it("have events", () => expect(whole).toEqual([{ name: "message", data: "", comment: "hello" }, { name: "e", data: '{"a":1}\ntwo', comment: "" }, { name: "message", data: "[DONE]", comment: "" }]));
  it("may be cut anywhere", () => {
    for (let at = 0; at <= text.length; at += 1) {
      const events = new Events();
      expect([...events.take(text.slice(0, at)), ...events.take(text.slice(at))], `cut at ${at}`).toEqual(whole);
    }
  });
  it("are bounded", () => expect(() => new Events().take("data: ".padEnd((4 << 20) + 1, "x"))).toThrow(/longer/));
});

it("finds all words in any order", () => expect([matches("b A", "xA, yb"), matches("", "x"), matches("q", "x")]).toEqual([true, true, false]));
