import { describe, expect, it } from "vitest";
import { described, split } from "./described";

const FILE = `models:
  - gpt-5
  # ours
  - {id: a/b:4, context: 1000, price: {input: 1, output: 2}, tags: ["x, y"]}  # keep
  - id: "block"
    context: 8192
    price:
      input: 3
      output: 15
    capabilities: [tools]

last: 1
`;

describe("what the configuration says of a model", () => {
  it("is changed where it stands in one line, and the rest of it stays", () =>
    expect(described(FILE, "a/b:4", { price: { input: 0.5, output: 4 }, capabilities: ["vision"], context: null })).toBe(
      FILE.replace("{id: a/b:4, context: 1000, price: {input: 1, output: 2}, tags: [\"x, y\"]}", '{id: a/b:4, price: {input: 0.5, output: 4}, tags: ["x, y"], capabilities: [vision]}'),
    ));
  it("is changed where it stands in lines", () => {
    expect(described(FILE, "block", { price: { input: 1, output: 2 }, max_output: 100 })).toBe(
      FILE.replace("    price:\n      input: 3\n      output: 15\n    capabilities: [tools]\n", "    price: {input: 1, output: 2}\n    capabilities: [tools]\n    max_output: 100\n"),
    );
    expect(described(FILE, "block", { price: null, capabilities: [] })).toBe(FILE.replace("    price:\n      input: 3\n      output: 15\n    capabilities: [tools]\n", ""));
  });
  it("is said of a bare name, and of one that was not there", () => {
    expect(described(FILE, "gpt-5", { context: 5 })).toBe(FILE.replace("  - gpt-5\n", "  - id: gpt-5\n    context: 5\n"));
    expect(described(FILE, "new:1", { context: 5 })).toBe(FILE.replace("\n\nlast", '\n  - id: "new:1"\n    context: 5\n\nlast'));
    expect(described("last: 1\n", "m", { price: { input: 0, output: 0 } })).toBe("last: 1\n\nmodels:\n  - id: m\n    price: {input: 0, output: 0}\n");
    expect(described("models: []\nlast: 1", "m", { context: 1 })).toBe("models:\n  - id: m\n    context: 1\nlast: 1");
  });
  it("is left alone in a form that is not followed", () => {
    expect(described("models: [a, b]\n", "a", { context: 1 })).toBeNull();
    expect(described("models:\n  - {context: 1,\n     id: m}\n", "m", { context: 2 })).toBeNull();
  });
  it("is split at commas that stand free", () => expect([split('a: [1, 2], b: "x, y", c'), split("a: [1"), split("a}")]).toEqual([["a: [1, 2]", 'b: "x, y"', "c"], null, null]));
});
