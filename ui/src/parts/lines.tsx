// Small lines in rows, without axes; and the chart, whose code comes when one is shown.

import { Suspense, lazy } from "react";
import { Skeleton } from "./basics";
import type { ChartProps } from "./chart";

const Drawn = lazy(() => import("./chart"));

export function Chart(props: ChartProps) {
  return (
    <Suspense fallback={<Skeleton className="h-56 w-full" />}>
      <Drawn {...props} />
    </Suspense>
  );
}

const [WIDTH, HEIGHT] = [72, 18];

export function Sparkline({ values, label }: { values: (number | null | undefined)[]; label: string }) {
  const known = values.filter((value): value is number => typeof value === "number");
  if (known.length < 2) return <span className="text-muted">—</span>;
  const high = Math.max(...known, 1e-9);
  const step = WIDTH / (values.length - 1);
  let path = "";
  let isDrawing = false;
  values.forEach((value, at) => {
    if (typeof value !== "number") {
      isDrawing = false;
      return;
    }
    path += `${isDrawing ? "L" : "M"}${(at * step).toFixed(1)} ${(HEIGHT - 1 - (value / high) * (HEIGHT - 2)).toFixed(1)}`;
    isDrawing = true;
  });
  return (
    <svg role="img" aria-label={label} width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} className="inline-block overflow-visible align-middle">
      <path d={path} fill="none" stroke="var(--accent)" strokeWidth="1.25" strokeLinejoin="round" />
    </svg>
  );
}
