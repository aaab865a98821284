// A request on its way from its record to the playground. It is held here and nowhere else: a prompt does not belong into an address or into storage.

type Body = Record<string, unknown>;

let waiting: Body | null = null;

export const replay = {
  put(body: Body): void {
    waiting = body;
  },
  take(): Body | null {
    const body = waiting;
    waiting = null;
    return body;
  },
};
