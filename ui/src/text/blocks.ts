// Places in a configuration file: which lines a key or an account takes. Only what is written in lines of its own is found; nothing is guessed.

/** Lines from `from` up to, not with, `to`. */
export interface Block {
  from: number;
  to: number;
}

const indent = (line: string) => line.length - line.trimStart().length;
const isBlank = (line: string) => /^\s*(#.*)?$/.test(line);
const bare = (text: string) => text.replace(/\s+#.*$/, "").trim().replace(/^(["'])(.*)\1$/, "$2");

/** Lines that follow `from` and stand deeper than it, without the blank ones at the end. */
function below(lines: string[], from: number, depth: number): number {
  let to = from + 1;
  for (let at = from + 1; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (isBlank(line)) continue;
    if (indent(line) <= depth) break;
    to = at + 1;
  }
  return to;
}

/** The lines of a key that stands at the margin. */
export function section(text: string, key: string): Block | null {
  const lines = text.split("\n");
  const from = lines.findIndex((line) => line.startsWith(`${key}:`) || line.startsWith(`"${key}":`));
  if (from < 0) return null;
  // A list may stand as far left as its key.
  let to = below(lines, from, 0);
  for (let at = to; at < lines.length && (isBlank(lines[at] ?? "") || /^(- |\s)/.test(lines[at] ?? "")); at += 1) if (!isBlank(lines[at] ?? "")) to = at + 1;
  return { from, to };
}

/** The items of the list `key`, each with its name and its lines. */
function items(text: string, key: string): (Block & { name: string | null; own: string[] })[] {
  const list = section(text, key);
  if (!list) return [];
  const lines = text.split("\n");
  const starts = lines.flatMap((line, at) => (at > list.from && at < list.to && /^\s*- /.test(line) ? [at] : []));
  const depth = Math.min(...starts.map((at) => indent(lines[at] ?? "")));
  const found = starts.filter((at) => indent(lines[at] ?? "") === depth);
  return found.map((from) => {
    const to = Math.min(below(lines, from, depth), list.to);
    // Without the dash, and without what belongs to its members.
    const own = lines.slice(from, to).map((line) => line.replace(/^(\s*)- /, "$1  "));
    const members = own.filter((line) => indent(line) === depth + 2).map((line) => line.trim());
    const name = members.find((line) => line.startsWith("name:"));
    return { from, to, name: name === undefined ? null : bare(name.slice("name:".length)), own: members };
  });
}

/** The lines of the item of the list `key` whose `name` is that. */
export function item(text: string, key: string, name: string): Block | null {
  const found = items(text, key).find((one) => one.name === name);
  return found ? { from: found.from, to: found.to } : null;
}

/** Accounts that are written down and switched off. */
export const switchedOff = (text: string): string[] => items(text, "accounts").flatMap(({ name, own }) => (name && own.some((line) => /^enabled:\s*(false|no|off)\b/i.test(line)) ? [name] : []));

/** The text with the account `name` switched on or off; `null` where it does not stand in lines of its own. */
export function switched(text: string, name: string, on: boolean): string | null {
  const block = item(text, "accounts", name);
  if (!block) return null;
  const lines = text.split("\n");
  const margin = " ".repeat(indent(lines[block.from] ?? "") + 2);
  const at = lines.findIndex((line, n) => n >= block.from && n < block.to && (line.startsWith(`${margin}enabled:`) || /^\s*- enabled:/.test(line)));
  if (at >= 0) lines[at] = (lines[at] ?? "").replace(/enabled:.*/, `enabled: ${on}`);
  else if (on) return text;
  else lines.splice(block.to, 0, `${margin}enabled: false`);
  return lines.join("\n");
}

/** A word as YAML takes it: bare where it is no number, no truth value and has no mark of its own. */
const word = (text: string) => (/^[A-Za-z_][\w./-]*$/.test(text) && !/^(true|false|yes|no|on|off|null)$/i.test(text) ? text : JSON.stringify(text));

/** The text with one more alias; `null` where the aliases stand in a form that is not known here, or have that one. */
export function aliased(text: string, name: string, targets: readonly string[]): string | null {
  const entry = `${word(name)}: [${targets.map(word).join(", ")}]`;
  const block = section(text, "aliases");
  if (!block) return `${text.replace(/\n*$/, "\n")}\naliases:\n  ${entry}\n`;
  const lines = text.split("\n");
  const head = lines[block.from] ?? "";
  const own = lines.slice(block.from + 1, block.to);
  if (own.some((line) => bare(line.split(":")[0] ?? "") === name)) return null;
  if (/^"?aliases"?:\s*(#.*)?$/.test(head)) {
    const margin = /^\s+/.exec(own.find((line) => !isBlank(line)) ?? "  ")?.[0] ?? "  ";
    if (own.some((line) => line.startsWith("- "))) return null;
    lines.splice(block.to, 0, `${margin}${entry}`);
  } else if (/^"?aliases"?:\s*\{.*\}\s*$/.test(head) && own.length === 0) {
    if (new RegExp(`[{,]\\s*"?${name.replace(/[^\w]/g, "\\$&")}"?\\s*:`).test(head)) return null;
    lines[block.from] = /\{\s*\}\s*$/.test(head) ? head.replace(/\{\s*\}/, `{${entry}}`) : head.replace(/\s*\}\s*$/, `, ${entry}}`);
  } else return null;
  return lines.join("\n");
}

/** Where in `text` a block begins and ends, in characters. */
export function range(text: string, { from, to }: Block): [number, number] {
  const lines = text.split("\n");
  const start = lines.slice(0, from).reduce((sum, line) => sum + line.length + 1, 0);
  return [start, start + lines.slice(from, to).join("\n").length];
}

/** The block that `at` names: a key at the margin, or `accounts.` and a name. */
export function place(text: string, at: string): Block | null {
  const dot = at.indexOf(".");
  return dot < 0 ? section(text, at) : item(text, at.slice(0, dot), at.slice(dot + 1));
}
