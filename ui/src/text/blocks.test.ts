import { describe, expect, it } from "vitest";
import { aliased, item, place, range, section, switched, switchedOff } from "./blocks";

const FILE = `# the team's
server:
  port: 8080

accounts:
  # the large one
  - name: openai  # ours
    provider: openai
    limits:
      name: not this
  - provider: vllm
    name: "team"
    enabled: false

aliases: {fast: [a]}
list:
- name: x
- name: y
last: 1
`;
const lines = (block: { from: number; to: number } | null) => block && FILE.split("\n").slice(block.from, block.to).join("\n");

describe("blocks", () => {
  it("of keys", () => {
    expect(lines(section(FILE, "server"))).toBe("server:\n  port: 8080");
    expect(lines(section(FILE, "aliases"))).toBe("aliases: {fast: [a]}");
    expect(lines(section(FILE, "list"))).toBe("list:\n- name: x\n- name: y");
    expect(section(FILE, "port")).toBeNull();
  });
  it("of items by name, wherever the name stands", () => {
    expect(lines(item(FILE, "accounts", "openai"))).toBe("  - name: openai  # ours\n    provider: openai\n    limits:\n      name: not this");
    expect(lines(item(FILE, "accounts", "team"))).toBe('  - provider: vllm\n    name: "team"\n    enabled: false');
    expect(lines(item(FILE, "list", "y"))).toBe("- name: y");
    expect([item(FILE, "accounts", "not this"), item(FILE, "nothing", "x")]).toEqual([null, null]);
  });
  it("by what a link says", () => expect([lines(place(FILE, "last")), lines(place(FILE, "accounts.team"))?.includes("vllm")]).toEqual(["last: 1", true]));
  it("as characters", () => {
    const [from, to] = range(FILE, section(FILE, "server") ?? { from: 0, to: 0 });
    expect(FILE.slice(from, to)).toBe("server:\n  port: 8080");
  });
});

describe("accounts", () => {
  it("are switched off and on again", () => {
    const off = switched(FILE, "openai", false);
    expect(off).toBe(FILE.replace("      name: not this\n", "      name: not this\n    enabled: false\n"));
    expect(switched(off ?? "", "openai", true)).toBe(off?.replace("    enabled: false\n  - provider", "    enabled: true\n  - provider"));
    expect(switched(FILE, "team", true)).toBe(FILE.replace("enabled: false", "enabled: true"));
    expect(switched(FILE, "openai", true)).toBe(FILE);
  });
  it("that are off are known", () => expect(switchedOff(FILE)).toEqual(["team"]));
  it("that stand elsewhere are left alone", () => expect(switched(FILE, "azure", false)).toBeNull());
});

describe("aliases", () => {
  it("are added in the form that is there", () => {
    expect(aliased(FILE, "quick", ["a", "b/c:4"])).toBe(FILE.replace("{fast: [a]}", '{fast: [a], quick: [a, "b/c:4"]}'));
    expect(aliased("aliases: {}\n", "q", ["a"])).toBe("aliases: {q: [a]}\n");
    expect(aliased("aliases:\n    fast: [a]\nlast: 1\n", "1", ["a"])).toBe('aliases:\n    fast: [a]\n    "1": [a]\nlast: 1\n');
    expect(aliased("last: 1\n\n", "q", ["a"])).toBe("last: 1\n\naliases:\n  q: [a]\n");
  });
  it("that are there are not made twice", () => expect([aliased(FILE, "fast", ["b"]), aliased("aliases:\n  fast: [a]\n", "fast", ["b"])]).toEqual([null, null]));
});
