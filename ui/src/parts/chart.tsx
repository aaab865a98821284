// Lines over time. One cross-hair runs through all charts of a page; a gap in the data is a gap in the line.

import { useEffect, useRef } from "react";
import uPlot from "uplot";
import { useTheme } from "../shell/theme";
import { clock, stamp } from "../text/format";

export interface Series {
  name: string;
  values: (number | null)[];
  tone: "accent" | "good" | "warn" | "bad" | "muted";
  /** Draws the area below, or bars. */
  as?: "line" | "area" | "bars";
}

export interface ChartProps {
  label: string;
  /** Unix milliseconds. */
  times: number[];
  series: Series[];
  format: (value: number) => string;
  height?: number;
  /** Highest value of the axis, where the unit has one. */
  max?: number;
  /** The axis goes up to this at least: whole things need a few of them. */
  least?: number;
}

/** Whether the axis is so long that days say more than hours. */
const isDays = (splits: number[]) => (splits[splits.length - 1] ?? 0) - (splits[0] ?? 0) > 2 * 86_400;

/** From half a step before the first to half a step behind the last, so that bars stand whole. */
function withRoom(low: number, high: number, times: ArrayLike<number>): [number, number] {
  const half = times.length > 1 ? (high - low) / (times.length - 1) / 2 : 30;
  return [low - half, high + half];
}

/** While nobody points at a time, the newest values stand below the chart. */
function tellNewest(plot: uPlot): void {
  if (typeof plot.cursor.idx === "number") return;
  const [, ...series] = plot.data;
  let newest = plot.data[0].length - 1;
  while (newest > 0 && series.every((values) => typeof values[newest] !== "number")) newest -= 1;
  if (newest >= 0) plot.setLegend({ idx: newest }, false);
}

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export default function Chart({ label, times, series, format, height = 160, max, least = 1 }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const { theme } = useTheme();
  // A chart is made anew for another theme or other series; new values only move its lines.
  const shape = series.map(({ name, tone, as }) => `${name}:${tone}:${as}`).join("|");
  const data: uPlot.AlignedData = [times.map((ms) => ms / 1000), ...series.map(({ values }) => values)];
  const newest = useRef(data);
  newest.current = data;
  const write = useRef(format);
  write.current = format;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const muted = colour("muted");
    const isBars = series.some(({ as }) => as === "bars");
    const axis = { stroke: muted, font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: colour("line"), width: 1 } };
    const options: uPlot.Options = {
      width: Math.max(120, element.clientWidth),
      height,
      padding: [8, 16, 0, 0],
      legend: { live: true },
      hooks: { setLegend: [tellNewest] },
      cursor: { sync: { key: "time" }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { ...(isBars ? { x: { range: (_: uPlot, low: number, high: number): [number, number] => withRoom(low, high, newest.current[0]) } } : {}), y: { range: (_, low, high) => [Math.min(0, low ?? 0), max ?? Math.max(least, (high ?? 1) * 1.1)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 26, space: 70, values: (_, splits) => splits.map((s) => (isDays(splits) ? stamp(s * 1000).slice(5, 10) : clock(s * 1000).slice(0, 5))) },
        { ...axis, size: 52, space: 26, values: (_, splits) => splits.map((value) => write.current(value)) },
      ],
      series: [
        { value: (plot, seconds) => (seconds === null || seconds === undefined || typeof plot.cursor.idx !== "number" ? "" : stamp(seconds * 1000)), label: "at" },
        ...series.map(({ name, tone, as }): uPlot.Series => {
          const stroke = colour(tone);
          return {
            label: name,
            stroke,
            width: as === "bars" ? 0 : 1.5,
            fill: as === "bars" ? stroke : as === "area" ? `color-mix(in srgb, ${stroke} 14%, transparent)` : undefined,
            paths: as === "bars" ? uPlot.paths.bars?.({ size: [0.7, 14], gap: 1 }) : undefined,
            points: { show: false },
            spanGaps: false,
            value: (_, value) => (value === null || value === undefined ? "—" : write.current(value)),
          };
        }),
      ],
    };
    const made = new uPlot(options, newest.current, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: Math.max(120, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
    // `series` is watched through its shape.
    // oxlint-disable-next-line exhaustive-deps
  }, [shape, theme, height, max, least]);

  useEffect(() => {
    plot.current?.setData(newest.current);
    if (plot.current) tellNewest(plot.current);
  });

  const last = series.map(({ name, values }) => `${name} ${format(values.findLast((value) => value !== null) ?? 0)}`).join(", ");
  return (
    <figure aria-label={`${label}: now ${last}`} className="min-w-0 overflow-hidden rounded-md border border-line p-2">
      <figcaption className="px-1 font-medium">{label}</figcaption>
      <div ref={box} aria-hidden />
    </figure>
  );
}
