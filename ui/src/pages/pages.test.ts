import { describe, expect, it } from "vitest";
import { ApiError, errorOf, withQuery } from "../api/http";
import type { Explanation } from "../api/types";
import { chosen } from "../parts/logview";
import { outcome } from "./decision";
import { expiry } from "./keys";
import { asBody } from "./keyform";
import { words } from "./nodeactions";
import { fault } from "./password";
import { drawn, withSample } from "./samples";
import { grouped, originKind } from "./settings";
import { generated } from "./users";
import { bars } from "./waterfall";

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
