// Conversations, kept in this browser and nowhere else. Pictures are left out: they are large, and the storage is small.

import type { Message, Parameters } from "./chat";
import { PARAMETERS } from "./chat";

export interface Session {
  id: string;
  title: string;
  changed: number;
  models: string[];
  parameters: Parameters;
  /** A thread for each model. */
  threads: Message[][];
}

const STORED = "llm-router.playground";
const SESSIONS_MAX = 30;
/** Most characters that are kept; browsers allow about five million. */
const CHARS_MAX = 2_000_000;
const TITLE_CHARS_MAX = 60;

export const fresh = (models: string[] = [""]): Session => ({ id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, title: "", changed: Date.now(), models, parameters: PARAMETERS, threads: models.map(() => []) });

const textOf = (content: Message["content"]): string => (typeof content === "string" ? content : (content ?? []).map((part) => (part.type === "text" ? part.text : "")).join(" "));

/** The beginning of the first question. */
export function titleOf(threads: Message[][]): string {
  const first = threads[0]?.find((message) => message.role === "user");
  const text = first ? textOf(first.content).replace(/\s+/g, " ").trim() : "";
  return text.length > TITLE_CHARS_MAX ? `${text.slice(0, TITLE_CHARS_MAX - 1)}…` : text;
}

const withoutPictures = (message: Message): Message =>
  Array.isArray(message.content) ? { ...message, content: message.content.map((part) => (part.type === "image_url" ? { type: "text" as const, text: "(a picture)" } : part)) } : message;

/** The sessions as they are stored: newest first, bounded in number and size. */
export function storable(sessions: Session[]): string {
  let kept = sessions
    .filter((session) => session.threads.some((thread) => thread.length > 0))
    .sort((a, b) => b.changed - a.changed)
    .slice(0, SESSIONS_MAX)
    .map((session) => ({ ...session, threads: session.threads.map((thread) => thread.map(withoutPictures)) }));
  let text = JSON.stringify(kept);
  while (text.length > CHARS_MAX && kept.length > 1) {
    kept = kept.slice(0, -1);
    text = JSON.stringify(kept);
  }
  return text.length > CHARS_MAX ? "[]" : text;
}

export function load(): Session[] {
  try {
    const stored = JSON.parse(localStorage.getItem(STORED) ?? "[]") as Session[];
    return stored.filter((session) => Array.isArray(session.threads) && Array.isArray(session.models)).map((session) => ({ ...session, parameters: { ...PARAMETERS, ...session.parameters } }));
  } catch {
    return [];
  }
}

export function store(sessions: Session[]): void {
  try {
    localStorage.setItem(STORED, storable(sessions));
  } catch {
    // Kept as long as the page is open, then.
  }
}
