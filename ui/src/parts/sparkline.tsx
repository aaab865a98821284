// The last few values of something, as a line as high as a row. The figure beside it says what it comes to.

const WIDTH = 48;
const HEIGHT = 16;

/** Points of a line through `values` from left to right; the least at the bottom. */
export function points(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = WIDTH / Math.max(1, values.length - 1);
  return values.map((value, n) => `${(n * step).toFixed(1)},${(high === low ? HEIGHT / 2 : HEIGHT - 1 - ((value - low) / (high - low)) * (HEIGHT - 2)).toFixed(1)}`).join(" ");
}

export function Sparkline({ values, title }: { values: readonly number[]; title: string }) {
  if (values.length < 2) return null;
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={title} className="shrink-0 text-accent">
      <title>{title}</title>
      <polyline points={points(values)} fill="none" stroke="currentColor" strokeWidth="1.25" vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
