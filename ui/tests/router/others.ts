// What the router talks to in these tests: a hub with one model, and a provider that speaks one dialect.

import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";

export interface Other {
  url: string;
  close: () => void;
}

const listening = (answer: RequestListener) =>
  new Promise<Other>((resolve) => {
    const server: Server = createServer(answer).listen(0, "127.0.0.1", () => {
      const address = server.address();
      const url = `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
      resolve({
        url,
        close: () => {
          server.closeAllConnections();
          server.close();
        },
      });
    });
  });

const REPO = "someone/Tiny-GGUF";
const FILE = "tiny.Q4_0.gguf";
/** The name that the router gives it. */
export const HUB_MODEL = "tiny";

/** The head of a GGUF file with an architecture and a template, and noise behind it. */
function gguf(bytes: number): Buffer {
  const number = (size: 4 | 8, value: number) => {
    const buffer = Buffer.alloc(size);
    if (size === 4) buffer.writeUInt32LE(value);
    else buffer.writeBigUInt64LE(BigInt(value));
    return buffer;
  };
  const text = (word: string) => Buffer.concat([number(8, word.length), Buffer.from(word)]);
  const pair = (key: string, value: string) => Buffer.concat([text(key), number(4, 8), text(value)]);
  const head = Buffer.concat([Buffer.from("GGUF"), number(4, 3), number(8, 0), number(8, 2), pair("general.architecture", "llama"), pair("tokenizer.chat_template", "{{ messages }}")]);
  return Buffer.concat([head, Buffer.alloc(bytes - head.length, "noise")]);
}

/** Answers as Hugging Face does where the router looks, and sends the file in the pieces that it asks for. */
export function hub(): Promise<Other> {
  const data = gguf(300_000);
  const repository = { id: REPO, sha: "c0ffee", downloads: 7, tags: ["gguf"], siblings: [{ rfilename: FILE, size: data.length, lfs: { sha256: createHash("sha256").update(data).digest("hex"), size: data.length } }] };
  return listening((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://hub");
    if (pathname.startsWith("/api/")) return void response.setHeader("content-type", "application/json").end(JSON.stringify(pathname === "/api/models" ? [repository] : repository));
    const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "");
    const [from, to] = range ? [Number(range[1]), Number(range[2])] : [0, data.length - 1];
    response.writeHead(range ? 206 : 200, { "content-length": to - from + 1, ...(range ? { "content-range": `bytes ${from}-${to}/${data.length}` } : {}) });
    return void response.end(data.subarray(from, to + 1));
  });
}

async function said(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = "";
  for await (const piece of request) text += String(piece);
  return JSON.parse(text || "{}") as Record<string, unknown>;
}

export const ANSWER = "A word from the provider";

/** Answers in Anthropic's words only, so that whatever comes in another dialect is translated. */
export function provider(): Promise<Other> {
  return listening((request, response) => {
    void said(request).then(({ model, stream }) => {
      const message = { id: "msg_1", type: "message", role: "assistant", model, content: [{ type: "text", text: ANSWER }], stop_reason: "end_turn", stop_sequence: null, usage: { input_tokens: 12, output_tokens: 5 } };
      if (!request.url?.startsWith("/v1/messages")) return response.writeHead(404).end("{}");
      if (!stream) return response.setHeader("content-type", "application/json").end(JSON.stringify(message));
      const events = [
        { type: "message_start", message: { ...message, content: [], stop_reason: null, usage: { input_tokens: 12, output_tokens: 1 } } },
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
        ...ANSWER.split(/(?= )/).map((text) => ({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })),
        { type: "content_block_stop", index: 0 },
        { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 5 } },
        { type: "message_stop" },
      ];
      response.writeHead(200, { "content-type": "text/event-stream" });
      return response.end(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(""));
    });
  });
}

/** A person whom the identity provider knows. */
export const PERSON = "ann.operator";

/** An identity provider that lets everybody in as the same person, who is an operator. */
export async function identity(): Promise<Other> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keys = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "ES256" }] };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  let nonce = "";
  const own = await listening((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", own.url);
    const json = (value: object) => void response.setHeader("content-type", "application/json").end(JSON.stringify(value));
    if (pathname === "/.well-known/openid-configuration") return json({ issuer: own.url, authorization_endpoint: `${own.url}/authorize`, token_endpoint: `${own.url}/token`, jwks_uri: `${own.url}/keys` });
    if (pathname === "/keys") return json(keys);
    if (pathname === "/authorize") {
      nonce = searchParams.get("nonce") ?? "";
      const back = `${searchParams.get("redirect_uri")}?code=c1&state=${searchParams.get("state")}`;
      return void response.writeHead(200, { "content-type": "text/html" }).end(`<title>Identity</title><a href="${back}">It is me</a>`);
    }
    const claims = { iss: own.url, aud: "router", sub: "1", nonce, preferred_username: PERSON, groups: ["operators"], exp: Math.floor(Date.now() / 1000) + 60 };
    const text = `${part({ alg: "ES256", kid: "one" })}.${part(claims)}`;
    const signature = sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
    return json({ id_token: `${text}.${signature}` });
  });
  return own;
}
