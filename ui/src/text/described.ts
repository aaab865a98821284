// What the configuration says of a model, written into its text and nowhere else in it.

import { section } from "./blocks";

/** What is said anew; a member that is not there stays as it is, `null` takes it away. */
export interface Facts {
  context?: number | null;
  max_output?: number | null;
  capabilities?: readonly string[] | null;
  /** Dollars for a million tokens. */
  price?: { input: number; output: number } | null;
}

/** A member of an item with all that it takes, as it stands in the text. */
type Member = [name: string, text: string];

/** A word as YAML takes it: bare where it is no number, no truth value and has no mark of its own. */
const word = (text: string) => (/^[A-Za-z_][\w./-]*$/.test(text) && !/^(true|false|yes|no|on|off|null)$/i.test(text) ? text : JSON.stringify(text));
const bare = (text: string) => text.replace(/\s+#.*$/, "").trim().replace(/^(["'])(.*)\1$/, "$2");

const written = (facts: Facts): [string, string | null][] =>
  Object.entries(facts).flatMap(([name, value]): [string, string | null][] => {
    if (value === undefined) return [];
    if (value === null) return [[name, null]];
    if (Array.isArray(value)) return [[name, value.length > 0 ? `[${value.map(word).join(", ")}]` : null]];
    if (typeof value === "object") return [[name, `{input: ${(value as { input: number }).input}, output: ${(value as { output: number }).output}}`]];
    return [[name, String(value)]];
  });

/** What stands between commas, those in brackets and quotes left alone; `null` where they do not close. */
export function split(text: string): string[] | null {
  const parts: string[] = [];
  let [depth, from, quote] = [0, 0, ""];
  for (let at = 0; at < text.length; at += 1) {
    const letter = text.charAt(at);
    if (quote) {
      if (letter === quote && text.charAt(at - 1) !== "\\") quote = "";
    } else if (letter === '"' || letter === "'") quote = letter;
    else if ("[{".includes(letter)) depth += 1;
    else if ("]}".includes(letter)) depth -= 1;
    else if (letter === "," && depth === 0) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
    if (depth < 0) return null;
  }
  if (depth !== 0 || quote) return null;
  const last = text.slice(from);
  return [...parts, ...(last.trim() ? [last] : [])].map((part) => part.trim());
}

/** Members with what is said anew, in the place of what was there, else behind it. */
function renewed(members: Member[], facts: Facts, form: (name: string, value: string) => string): Member[] {
  let all = members;
  for (const [name, value] of written(facts)) {
    const isThere = all.some(([own]) => own === name);
    if (value === null) all = all.filter(([own]) => own !== name);
    else if (isThere) all = all.map((member) => (member[0] === name ? [name, form(name, value)] : member));
    else all = [...all, [name, form(name, value)]];
  }
  return all;
}

const inline = (name: string, value: string) => `${name}: ${value}`;
const nameOf = (member: string) => bare(member.split(":")[0] ?? "");
const said = (members: Member[], name: string) => bare(members.find(([own]) => own === name)?.[1].slice(name.length + 1) ?? "");

/** `- {id: x, …}` in one line. */
function flow(line: string, id: string, facts: Facts): string | null {
  const found = /^(\s*- )\{(.*)\}(\s*(?:#.*)?)$/.exec(line);
  const parts = found && split(found[2] ?? "");
  if (!found || !parts) return null;
  const members = parts.map((part): Member => [nameOf(part), part]);
  if (said(members, "id") !== id) return null;
  return `${found[1]}{${renewed(members, facts, inline).map(([, text]) => text).join(", ")}}${found[3]}`;
}

/** `- id: x` with its members below. */
function block(lines: string[], id: string, facts: Facts): string[] | null {
  const first = /^(\s*)- (.*)$/.exec(lines[0] ?? "");
  if (!first) return null;
  const margin = `${first[1]}  `;
  const members: Member[] = [];
  for (const line of [`${margin}${first[2]}`, ...lines.slice(1)]) {
    const isMember = line.startsWith(margin) && /^[^\s#]/.test(line.slice(margin.length));
    const last = members[members.length - 1];
    if (isMember) members.push([nameOf(line.trim()), line.slice(margin.length)]);
    else if (last) last[1] += `\n${line}`;
    else return null;
  }
  if (said(members, "id") !== id) return null;
  const text = renewed(members, facts, inline).map(([, own]) => `${margin}${own}`).join("\n");
  return `${first[1]}- ${text.slice(margin.length)}`.split("\n");
}

/** The text in which that is said of the model `id`; `null` where its models stand in a form that is not followed. */
export function described(text: string, id: string, facts: Facts): string | null {
  const list = section(text, "models");
  const fresh = (margin: string) => [`${margin}- id: ${word(id)}`, ...written(facts).flatMap(([name, value]) => (value === null ? [] : [`${margin}  ${name}: ${value}`]))];
  if (!list) return `${text.replace(/\n*$/, text.trim() ? "\n\n" : "")}models:\n${fresh("  ").join("\n")}\n`;
  const lines = text.split("\n");
  const head = lines[list.from] ?? "";
  if (/^"?models"?:\s*\[\s*\]\s*$/.test(head)) return lines.toSpliced(list.from, 1, "models:", ...fresh("  ")).join("\n");
  if (!/^"?models"?:\s*(#.*)?$/.test(head)) return null;
  const starts = lines.flatMap((line, at) => (at > list.from && at < list.to && /^\s*- /.test(line) ? [at] : []));
  const depth = Math.min(...starts.map((at) => /^\s*/.exec(lines[at] ?? "")?.[0].length ?? 0));
  const items = starts.filter((at) => /^\s*/.exec(lines[at] ?? "")?.[0].length === depth);
  const margin = " ".repeat(Number.isFinite(depth) ? depth : 2);
  for (const [n, from] of items.entries()) {
    // Comments and blank lines before the next one are that one's.
    let to = items[n + 1] ?? list.to;
    while (to > from + 1 && /^\s*(#.*)?$/.test(lines[to - 1] ?? "")) to -= 1;
    const line = lines[from] ?? "";
    if (bare(line.slice(depth + 2)) === id) return lines.toSpliced(from, to - from, ...fresh(margin)).join("\n");
    const one = to === from + 1 ? flow(line, id, facts) : null;
    if (one !== null) return lines.toSpliced(from, 1, one).join("\n");
    const many = block(lines.slice(from, to), id, facts);
    if (many) return lines.toSpliced(from, to - from, ...many).join("\n");
  }
  // It may stand in lines that are not followed: then it must not be said twice.
  if (lines.slice(list.from, list.to).some((line) => new RegExp(`\\bid"?:\\s*["']?${id.replace(/[^\w]/g, "\\$&")}["']?\\s*([,}#]|$)`).test(line))) return null;
  return lines.toSpliced(list.to, 0, ...fresh(margin)).join("\n");
}
