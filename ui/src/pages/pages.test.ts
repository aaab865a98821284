import { describe, expect, it } from "vitest";
import { ApiError, errorOf, withQuery } from "../api/http";
import { sameRows } from "../api/queries";
import { merged } from "../api/tail";
import type { ApiKey, Explanation, Node, NodeMetrics, RequestRow } from "../api/types";
import { chosen } from "../parts/logview";
import { points } from "../parts/sparkline";
import { isFor, PLACES } from "../shell/places";
import { failuresOf } from "./accounts";
import { nameIn } from "./audit";
import { budgetWords, spentShare, tightest } from "./budgets";
import { outcome, picked, weight } from "./decision";
import { firstBytes, work } from "./instances";
import { expiry } from "./keys";
import { asBody } from "./keyform";
import { words } from "./nodeactions";
import { fault } from "./password";
import { failure } from "./request";
import { rowOf } from "./nodes";
import { question } from "./requests";
import { drawn, withSample } from "./samples";
import { grouped, originKind } from "./settings";
import { generated } from "./users";
import { bars } from "./waterfall";

describe("rows", () => {
  const row = (id: string, more: object = {}) => ({ id, status: { type: "success" }, ...more }) as RequestRow;
  const page = (...records: RequestRow[]) => ({ records, total_count: records.length, page: 1, per_page: 50 });
  it("of requests stay the same objects wherever they stand, unless they say something else", () => {
    const before = page(row("a"), row("b", { cost_usd: 1 }));
    const now = sameRows(before, page(row("c"), row("a"), row("b", { cost_usd: 2 })));
    expect([now.records[1] === before.records[0], now.records[2] === before.records[1], now.records[2]?.cost_usd]).toEqual([true, false, 2]);
    expect(sameRows(before, page(row("a"), row("b", { cost_usd: 1 })))).toBe(before);
    expect(sameRows(before, page(row("b", { cost_usd: 1 }), row("a"))).records.map(({ id }) => id)).toEqual(["b", "a"]);
    expect(sameRows(undefined, before).records).toEqual(before.records);
  });
  it("of nodes are made anew where something is new", () => {
    const node = { id: "n" } as Node;
    const first = rowOf(node, undefined, [1]);
    expect([rowOf(node, undefined, [1], first) === first, rowOf(node, undefined, [1, 2], first) === first, rowOf({ ...node }, undefined, [1], first) === first]).toEqual([true, false, false]);
  });
});

describe("failures", () => {
  it("are told as the client was told", () => {
    const status = { type: "error" as const, message: "model_not_found" };
    expect(failure({ status, response_body: { error: { message: "there is no model `x`" } } })).toBe("there is no model `x`");
    expect([failure({ status, response_body: null }), failure({ status, response_body: { error: "odd" } }), failure(undefined)]).toEqual(["model_not_found", "odd", null]);
  });
});

describe("errors", () => {
  it("are read in the router's form", () => {
    const error = errorOf(400, '{"error":{"message":"`name` is empty","code":"invalid_request","param":"name","request_id":"r"}}', null);
    expect([error.message, error.code, error.param, error.requestId, error.isMissing]).toEqual(["`name` is empty", "invalid_request", "name", "r", false]);
  });
  it("of something in between are said to be", () => expect(errorOf(502, "<html>", null).message).toContain("something between"));
  it("tell what is not offered from what is not there", () => {
    expect(new ApiError(404, "not_found", "there is nothing at `/api/usage`").isMissing).toBe(true);
    expect(new ApiError(404, "not_found", "there is no such key").isMissing).toBe(false);
  });
  it("query without what says nothing", () => expect(withQuery("/p", { a: "x y", b: "", c: null, d: 0, e: undefined })).toBe("/p?a=x+y&d=0"));
});

const why = (more: Partial<Explanation["timings"]>, attempts: Explanation["attempts"]) =>
  ({ stream: true, attempts, timings: { duration_ms: 1000, first_byte_ms: 400, overhead_ms: 10, waited_ms: 390, streaming_ms: 600, queued_ms: null, ...more } }) as Explanation;

describe("the waterfall", () => {
  it("gives attempts without times their share", () => {
    const list = bars(why({}, [{ outcome: "refused" }, { outcome: "limited" }, { outcome: "served" }]));
    expect(list.map(({ from, ms }) => [from, ms])).toEqual([[0, 10], [10, 195], [205, 195], [400, 600]]);
    expect(list[1]?.note).toContain("share");
  });
  it("uses the times that there are", () => expect(bars(why({ queued_ms: 50 }, [{ outcome: "served", duration_ms: 900, started_ms: 60 }])).map(({ from, ms }) => [from, ms])).toEqual([[0, 50], [50, 10], [60, 340], [400, 600]]));
  it("ends where nothing came", () => expect(bars(why({ first_byte_ms: null, streaming_ms: null, waited_ms: null }, [{ outcome: "broken" }])).map(({ ms }) => ms)).toEqual([10, 990]));
});

describe("small rules", () => {
  it("passwords", () => {
    expect(fault("short", "short", "admin")).toContain("At least");
    expect(fault("admin-has-a-long-one", "x", "admin")).toContain("user name");
    expect(fault("a long one indeed", "another", "admin")).toContain("not the same");
    expect(fault("a long one indeed", "a long one indeed", "admin", "a long one indeed")).toContain("now");
    expect(fault("a long one indeed", "a long one indeed", "admin")).toBeNull();
  });
  it("generated passwords are long and never the same", () => expect(new Set(Array.from({ length: 50 }, generated)).size).toBe(50));
  it("words between commas", () => expect(words(" a, b ,,a")).toEqual(["a", "b"]));
  it("outcomes", () => expect([outcome("served")[1], outcome("circuit_open")[0], outcome("odd_thing"), outcome(null)[0]]).toEqual(["answered", "warn", ["bad", "odd thing"], "unknown"]));
  it("expiry", () => {
    const now = Date.parse("2026-11-21T00:00:00Z");
    expect([null, "2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z", "2027-11-23T00:00:00Z"].map((expires_at) => expiry({ expires_at }, now).tone)).toEqual([null, "bad", "warn", null]);
  });
  it("levels of a log", () => {
    const entries = ["ERROR", "WARN", "INFO", "DEBUG"].map((level) => ({ timestamp: "", level, target: "t", message: "m", fields: { who: level } }));
    expect([chosen(entries, "warn", "").length, chosen(entries, "", "info").length, chosen(entries, "error", "debug").length]).toEqual([2, 1, 0]);
  });
  it("origins", () => expect(["default", "environment (X)", "file a.yaml:3"].map(originKind)).toEqual(["default", "environment", "file"]));
  it("settings by group", () => {
    const config = { file: null, warnings: [], settings: { "server.port": { value: 1, origin: "default" }, "server.host": { value: "h", origin: "environment (H)" }, "auth.mode": { value: "off", origin: "default" } } };
    expect(grouped(config, "", "").map(([group, rows]) => [group, rows.length])).toEqual([["server", 2], ["auth", 1]]);
    expect(grouped(config, "", "environment").map(([group]) => group)).toEqual(["server"]);
  });
  it("samples are drawn over five minutes at least", () => {
    expect(drawn([], 400_000).map(({ at }) => at)).toEqual([100_000, 400_000]);
    expect(drawn([{ at: 390_000, active: 1, queued: 0 }], 400_000).map(({ at }) => at)).toEqual([90_000, 390_000]);
  });
  it("samples with gaps", () => {
    const one = withSample([], { at: 1000, active: 1, queued: 0 });
    expect(withSample(one, { at: 1000, active: 2, queued: 0 })).toBe(one);
    expect(withSample(one, { at: 60_000, active: 2, queued: 0 }).map(({ active }) => active)).toEqual([1, null, 2]);
  });
});

describe("what a key may", () => {
  const form = { name: " bot ", owner: "", tags: "a", scopes: ["inference"], models: "m, n", expires: "", rpm: "60", tpm: "", concurrency: "", amount: "", window: "month" };
  it("is said when it is made", () => expect(asBody(form, true)).toEqual({ name: "bot", scopes: ["inference"], allowed_models: ["m", "n"], tags: ["a"], limits: { rpm: 60 } }));
  it("is taken away by an edit", () => expect(asBody({ ...form, rpm: "" }, false)).toMatchObject({ limits: null, budget: null, expires_at: null, owner: null }));
});

const row = (id: string, timestamp: string, more: Partial<RequestRow> = {}) => ({ id, timestamp, ...more }) as RequestRow;

describe("the tail", () => {
  const before = [row("c", "3"), row("a", "1")];
  it("puts what comes in its place, each once, and keeps what was there", () => {
    const after = merged(before, [row("b", "2"), row("c", "3"), row("d", "4")], 10);
    expect(after.map(({ id }) => id)).toEqual(["d", "c", "b", "a"]);
    expect(after[1]).toBe(before[0]);
  });
  it("has no more than it may", () => expect(merged(before, [row("d", "4")], 2).map(({ id }) => id)).toEqual(["d", "c"]));
  it("does not change for nothing", () => expect(merged(before, [row("a", "1")], 10)).toBe(before));
});

describe("a question for requests", () => {
  const now = Date.parse("2026-11-21T12:00:30Z");
  it("takes outcomes and statuses from one field", () => {
    expect(question({ status: "429" }, now)).toMatchObject({ http_status: "429", status: undefined });
    expect(question({ status: "error" }, now)).toMatchObject({ http_status: undefined, status: "error" });
  });
  it("goes back from now, or lies between two times", () => {
    expect(question({ span: "15m" }, now)).toMatchObject({ start_time: "2026-11-21T11:45:00.000Z", end_time: undefined });
    expect(question({ span: "own", from: "2026-11-21T10:00:00Z", to: "nonsense" }, now)).toMatchObject({ start_time: "2026-11-21T10:00:00.000Z", end_time: undefined });
    expect(question({ from: "2026-11-21T10:00:00Z" }, now).start_time).toBeUndefined();
  });
});

describe("decisions", () => {
  it("say by what equals were ordered", () => {
    const by = (name: string, figure: number | null) => weight({ weighed: { by: name, figure } });
    expect([by("latency-based-routing", 0.412), by("least-busy", 1), by("cost-based-routing", 4.5), by("latency-based-routing", null), by("new-one", 7)]).toEqual(["412 ms to the first byte", "1 request under way", "$4.50 a million tokens", "latency-based-routing: not known yet", "new-one: 7"]);
    expect([weight({ score: 0.5 }), weight({})]).toEqual(["0.500", "—"]);
  });
  it("say why it was that node", () => expect(picked({ policy: "auto", reason: "fewest_requests", candidates: 3, active: 1, queue_position: 2, queue_wait_ms: 1200 })).toBe("one of 3 nodes, by auto: fewest requests, 1 request in flight there; it stood in line for 1.2 s, as number 2"));
});

describe("what nodes are doing", () => {
  const instance = { model: "m", slots_total: 4, slots_busy: 1, queue_len: 0, kv_used: 0, kv_total: 0, prefill_tps: 0, tpot_ms: 0 };
  it("is summed up", () => {
    const metrics: NodeMetrics = { instances: [instance, { ...instance, slots_busy: 3, queue_len: 2, prefill_tps: 900, tpot_ms: 20 }] };
    expect(work(metrics)).toEqual({ slots: 8, busy: 4, queued: 2, prefill: 900, decode: 50 });
    expect([work({}), work(undefined), work({ instances: [instance] })?.decode]).toEqual([null, null, null]);
  });
  it("is drawn from old to new", () => {
    const rows = [row("b", "2026-11-21T12:00:02Z", { node_id: "n", first_byte_ms: 30 }), row("a", "2026-11-21T12:00:01Z", { node_id: "n", first_byte_ms: 10 }), row("c", "2026-11-21T12:00:03Z", { node_id: null, first_byte_ms: 5 })];
    expect([...firstBytes(rows)]).toEqual([["n", [10, 30]]]);
    expect([points([1, 3]), points([2, 2])]).toEqual(["0.0,15.0 48.0,1.0", "0.0,8.0 48.0,8.0"]);
  });
});

describe("budgets", () => {
  const key = (name: string, amount: number | null, spent: number) => ({ name, budget: amount === null ? null : { amount, spent, window: "month" } }) as ApiKey;
  it("with least left come first", () => expect(tightest([key("a", 100, 10), key("b", null, 0), key("c", 1, 2), key("d", 0, 0)]).map(({ name }) => name)).toEqual(["c", "a", "d"]));
  it("are said in words", () => expect([budgetWords({ amount: 400, window: "month", spent: 351.2 }), budgetWords({ amount: 5, window: "total" }, 1), spentShare({ amount: 0, spent: 1 })]).toEqual(["$351.20 of $400.00 a month", "$1.00 of $5.00 in all", 1]));
});

it("failures are counted by account and kind", () => {
  const rows = [row("a", "", { target: "x", error_code: "upstream_error" }), row("b", "", { target: "x", error_code: "upstream_error" }), row("c", "", { target: "x", http_status: 429 }), row("d", "", { target: null })];
  expect([...failuresOf(rows)].map(([name, kinds]) => [name, Object.fromEntries(kinds)])).toEqual([["x", { upstream_error: 2, "status 429": 1 }]]);
});

it("places are for those who may see them", () => {
  const seen = (isAdmin: boolean, isReader: boolean) => PLACES.filter((place) => isFor(place, { isAdmin, isReader })).map(({ name }) => name);
  expect(seen(false, false)).toEqual(["Playground", "Usage and cost"]);
  expect(seen(false, true)).not.toContain("Keys");
  expect(seen(true, true)).toHaveLength(PLACES.length);
});

it("what was changed is called by its name", () => {
  expect([nameIn({ before: { name: "old" }, after: { name: "new" } }), nameIn({ before: { username: "otto" }, after: null }), nameIn({ after: { role: "admin" } }), nameIn(null), nameIn("x")]).toEqual(["new", "otto", null, null, null]);
});
