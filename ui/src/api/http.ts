// The one way to the router: same origin, the session's cookie, and its CSRF token with everything that changes something.

/** One of several things that are wrong with what was sent. */
export interface Problem {
  message: string;
  key?: string | null;
  line?: number | null;
}

/** What went wrong, in words a person can act on. */
export class ApiError extends Error {
  constructor(
    /** 0 where no answer came. */
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null = null,
    /** The field that is at fault, where there is one. */
    readonly param: string | null = null,
    /** Every single thing that is wrong, where there are several. */
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** The router is older than this page, or was built without the part. */
  get isMissing(): boolean {
    return (this.status === 404 && this.message.startsWith("there is nothing at")) || this.status === 405 || this.status === 501;
  }
}

const CSRF_COOKIE = "csrf";

/** What proves who asks where no cookie does: a session's token, or a key. It lives as long as the page: nothing secret goes into the browser's storage. */
let held: { secret: string; isKey: boolean } | null = null;

export function holdToken(token: string | null): void {
  held = token === null ? null : { secret: token, isKey: false };
}

/** From now on an API key asks. */
export function holdKey(key: string): void {
  held = { secret: key, isKey: true };
}

export const holdsKey = (): boolean => held?.isKey === true;

function cookie(name: string): string | null {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : null;
}

/** Headers that prove the session: the cookie goes by itself. */
export function proof(method: string): Record<string, string> {
  const headers: Record<string, string> = {};
  const csrf = cookie(CSRF_COOKIE);
  if (csrf && method !== "GET") headers["x-csrf-token"] = csrf;
  if (held && (held.isKey || !csrf)) headers.authorization = `Bearer ${held.secret}`;
  return headers;
}

export const hasCookieSession = (): boolean => cookie(CSRF_COOKIE) !== null;

export type Query = Record<string, string | number | boolean | null | undefined>;

/** A path with the members of `query` that say something. */
export function withQuery(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") params.set(name, String(value));
  }
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}

/** Reads the error out of an answer: the router's own form, else what can be said of the status. */
export function errorOf(status: number, text: string, requestId: string | null): ApiError {
  try {
    const said = JSON.parse(text) as { error?: { message?: unknown; code?: unknown; type?: unknown; param?: unknown; request_id?: unknown; errors?: unknown } | string };
    if (typeof said.error === "string") return new ApiError(status, "error", said.error, requestId);
    if (said.error && typeof said.error.message === "string") {
      const { message, code, type, param, request_id, errors } = said.error;
      const problems = Array.isArray(errors) ? errors.filter((one): one is Problem => typeof one?.message === "string") : [];
      return new ApiError(status, String(code ?? type ?? "error"), message, requestId ?? (request_id ? String(request_id) : null), param ? String(param) : null, problems);
    }
  } catch {
    // Not JSON: something before the router answered.
  }
  const words = status >= 502 && status <= 504 ? "something between this page and the router answered instead of it" : "the answer is not one of the router's";
  return new ApiError(status, "unreadable", `Status ${status}: ${words}.`, requestId);
}

export const unreachable = (): ApiError =>
  new ApiError(0, "unreachable", "The router does not answer. It may be restarting, or the network is away; this page tries again by itself.");

type Listener = () => void;
let onLoggedOut: Listener = () => {};
/** Called when the router says that the session is over. */
export function whenLoggedOut(listener: Listener): void {
  onLoggedOut = listener;
}

/** The router said that the session is over. */
export const loggedOut = (): void => onLoggedOut();

export interface Options {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  /** A refused log-in is no session that ended. */
  keepsSession?: boolean;
  /** For what takes its time, such as loading a model. */
  timeoutMs?: number;
}

const TIMEOUT_MS = 30_000;

/** Calls the router; an answer without a body is `null`. */
export async function call<T>(path: string, { method = "GET", query, body, signal, keepsSession, timeoutMs = TIMEOUT_MS }: Options = {}): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json", ...proof(method) };
  if (body !== undefined) headers["content-type"] = "application/json";
  const limit = AbortSignal.timeout(timeoutMs);
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(withQuery(path, query), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit.aborted) throw new ApiError(0, "timeout", `The router did not answer within ${timeoutMs / 1000} s.`);
    throw unreachable();
  }
  if (!answer.ok) {
    const failure = errorOf(answer.status, text, answer.headers.get("x-request-id"));
    if (answer.status === 401 && !keepsSession) onLoggedOut();
    throw failure;
  }
  if (text === "") return null as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError(answer.status, "unreadable", "The answer is no JSON: something between this page and the router answered instead of it.");
  }
}
