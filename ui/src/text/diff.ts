// What changed between two texts, line by line.

export interface Line {
  kind: "same" | "added" | "removed";
  text: string;
}

/** Beyond this many lines the middle is shown as replaced: the table grows with the product of both lengths. */
const LINES_MAX = 2000;

/** The shortest list of lines that turns `before` into `after`. */
export function diff(before: string, after: string): Line[] {
  const a = before === "" ? [] : before.replace(/\n$/, "").split("\n");
  const b = after === "" ? [] : after.replace(/\n$/, "").split("\n");
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (lines: string[]): Line[] => lines.map((text) => ({ kind: "same", text }));
  const middle = changed(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return [...same(a.slice(0, start)), ...middle, ...same(a.slice(a.length - end))];
}

function changed(a: string[], b: string[]): Line[] {
  const removed = (text = ""): Line => ({ kind: "removed", text });
  const added = (text = ""): Line => ({ kind: "added", text });
  if (a.length > LINES_MAX || b.length > LINES_MAX) return [...a.map(removed), ...b.map(added)];
  // longest[i][j]: how many lines the rests of both have in common, in order.
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] =
        a[i] === b[j] ? (longest[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0);
    }
  }
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: "same", text: a[i] ?? "" });
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && (longest[(i + 1) * width + j] ?? 0) >= (longest[i * width + j + 1] ?? 0))) {
      lines.push(removed(a[i]));
      i += 1;
    } else {
      lines.push(added(b[j]));
      j += 1;
    }
  }
  return lines;
}

/** Only changed lines, each with up to `context` lines around it; `null` stands for what is left out. */
export function folded(lines: Line[], context = 3): (Line | null)[] {
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - context), at + context + 1).some((line) => line.kind !== "same"));
  const shown: (Line | null)[] = [];
  lines.forEach((line, at) => {
    if (near[at]) shown.push(line);
    else if (shown[shown.length - 1] !== null || shown.length === 0) shown.push(null);
  });
  return shown;
}
