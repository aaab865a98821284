import { describe, expect, it } from "vitest";
import type { Node, RequestRow } from "../api/types";
import { problems } from "./problems";

const now = Date.parse("2026-11-21T12:00:00Z");
const node = (more: Partial<Node>) => ({ id: "n", machine_name: "atlas", custom_name: null, status: "online", last_seen: "2026-11-21T11:40:00Z", registered_at: "2026-11-21T11:00:00Z", ...more }) as Node;
const row = (more: Partial<RequestRow>) => ({ id: "r", model: "m", timestamp: "2026-11-21T11:59:00Z", status: { type: "error" }, error_code: "upstream_error", ...more }) as RequestRow;

describe("what an operator should know", () => {
  it("is nothing where all is well", () => expect(problems({ health: { status: "healthy", version: "1", details: { store: "ok", uptime_seconds: 3 } }, nodes: [node({})], failures: [row({ status: { type: "success" } })] }, now)).toEqual([]));
  it("names missing parts, machines and services", () => {
    const found = problems(
      {
        health: { status: "degraded", version: "1", details: { store: "missing" } },
        nodes: [node({ status: "offline" }), node({ id: "p", status: "pending", custom_name: "new one" })],
        live: { active_requests: 0, open_streams: 0, queued_requests: 0, accounts: { a: { state: "failing", resting_seconds: 41, first_byte_ms: null, tokens_per_second: null }, b: { state: "open", resting_seconds: 0, first_byte_ms: 1, tokens_per_second: 1 } } },
      },
      now,
    );
    expect(found.map(({ text }) => text)).toEqual(["The database does not answer", "Account a failed several times in a row", "Node atlas is offline", "Node new one waits for approval"]);
    expect(found[1]?.detail).toContain("41 s");
  });
  it("counts failures that are alike as one", () => {
    const found = problems({ failures: [row({}), row({ id: "newest", timestamp: "2026-11-21T11:59:30Z" }), row({ error_code: "upstream_timeout", timestamp: "2026-11-21T11:00:00Z" })] }, now);
    expect(found.map(({ text, to }) => [text, to])).toEqual([
      ["m: 2 requests ended with upstream error", "/dashboard/requests/newest"],
      ["m: a request ended with upstream timeout", "/dashboard/requests/r"],
    ]);
  });
});
