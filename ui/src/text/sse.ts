// Server-sent events out of pieces that may be cut anywhere.

export interface Event {
  name: string;
  data: string;
  /** Lines that start with a colon: the router says cost and usage in one at the end of a stream. */
  comment: string;
}

/** Longest event that is waited for. */
const EVENT_CHARS_MAX = 4 << 20;

/** Takes pieces and gives whole events. */
export class Events {
  private rest = "";

  /** The events that `piece` completes. */
  take(piece: string): Event[] {
    this.rest += piece;
    // Half of a line end may still be coming.
    const held = this.rest.endsWith("\r") ? "\r" : "";
    const blocks = (held ? this.rest.slice(0, -1) : this.rest).split(/\r\n\r\n|\n\n|\r\r/);
    this.rest = (blocks.pop() ?? "") + held;
    if (this.rest.length > EVENT_CHARS_MAX) throw new Error("An event of the stream is longer than 4 MB.");
    return blocks.filter((block) => block !== "").map(event);
  }
}

function event(block: string): Event {
  const data: string[] = [];
  const comments: string[] = [];
  let name = "message";
  for (const line of block.split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "") comments.push(value);
    else if (field === "data") data.push(value);
    else if (field === "event") name = value;
  }
  return { name, data: data.join("\n"), comment: comments.join("\n") };
}
