import { describe, expect, it } from "vitest";
import { ago, bytes, count, duration, money, percent, percentile, plural, rate, shortId, span, UNKNOWN } from "./format";

describe("numbers for people", () => {
  it.each([
    [0, "0 ms"], [0.4, "< 1 ms"], [843.2, "843 ms"], [999.4, "999 ms"], [999.6, "1.0 s"], [1240, "1.2 s"], [12_400, "12 s"], [200_000, "3 min 20 s"], [null, UNKNOWN], [Number.NaN, UNKNOWN],
  ])("lasts %s", (ms, said) => expect(duration(ms)).toBe(said));
  it.each([
    [0, "0"], [999, "999"], [1000, "1.0k"], [12_400, "12.4k"], [999_949, "1000k"], [999_950, "1.0M"], [3_140_000, "3.1M"], [2e9, "2.0B"], [-12_400, "-12.4k"], [undefined, UNKNOWN],
  ])("counts %s", (n, said) => expect(count(n)).toBe(said));
  it.each([
    [0, "$0"], [0.00001, "< $0.0001"], [0.0031, "$0.0031"], [0.05, "$0.05"], [1.239, "$1.24"], [1204.4, "$1,204"], [null, UNKNOWN],
  ])("costs %s", (usd, said) => expect(money(usd)).toBe(said));
  it.each([[0, "0 %"], [0.04, "< 0.1 %"], [0.42, "0.4 %"], [12.4, "12 %"], [100, "100 %"]])("is a share of %s", (n, said) => expect(percent(n)).toBe(said));
  it.each([[512, "512 B"], [14_200, "14 kB"], [3.2e9, "3.2 GB"]])("has %s bytes", (n, said) => expect(bytes(n)).toBe(said));
  it.each([[50, 1000, 50], [50, 99, null], [0, 1000, null], [null, 1000, null], [5, null, null]])("comes %s tokens in %s ms", (tokens, ms, said) => expect(rate(tokens, ms)).toBe(said));
  it.each([[45, "45 s"], [720, "12 min"], [11_100, "3 h 5 min"], [353_000, "4 d 2 h"], [-3, "0 s"]])("spans %s", (s, said) => expect(span(s)).toBe(said));
  it("names one and many", () => expect([plural(1, "node"), plural(2, "node"), plural(0, "key")]).toEqual(["1 node", "2 nodes", "0 keys"]));
});

describe("times", () => {
  const now = Date.parse("2026-11-21T12:00:00Z");
  it.each([
    ["2026-11-21T12:00:00Z", "now"], ["2026-11-21T11:59:18Z", "42 s ago"], ["2026-11-21T11:53:00Z", "7 min ago"], ["2026-11-20T09:00:00Z", "1 d ago"], ["2026-11-24T12:00:00Z", "in 3 d"], [null, UNKNOWN], ["yesterday", UNKNOWN],
  ])("%s", (time, said) => expect(ago(time, now)).toBe(said));
});

it("shortens ids and leaves short ones", () => expect([shortId("0199aaaa-bbbb-7ccc"), shortId("short")]).toEqual(["0199aaaa…", "short"]));

describe("percentiles", () => {
  it("are values of the list", () => expect([percentile([5, 1, 3], 0.5), percentile([5, 1, 3], 0.99), percentile([], 0.5), percentile([7], 0)]).toEqual([3, 5, null, 7]));
});
