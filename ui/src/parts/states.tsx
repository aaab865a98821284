// States of things, each as the same badge everywhere.

import type { ConvertTask, Node, Outcome, RequestRow } from "../api/types";
import { Badge, type Tone } from "./basics";

const NODE: Record<string, [Tone, string, string]> = {
  ready: ["good", "ready", "takes requests"],
  online: ["good", "online", "takes requests"],
  joining: ["accent", "joining", "is being called back"],
  registering: ["accent", "starting", "loads models before it takes requests"],
  degraded: ["warn", "degraded", "answers with errors; others are preferred"],
  suspect: ["warn", "suspect", "missed a report"],
  draining: ["warn", "draining", "finishes what it has and takes nothing new"],
  pending: ["warn", "waits for approval", "an administrator has to let it in"],
  offline: ["bad", "offline", "reports no more"],
  gone: ["bad", "offline", "reports no more"],
};

/** What a node's state is called, and what that means. */
export function nodeState(node: Pick<Node, "status" | "state">): [Tone, string, string] {
  return NODE[node.state ?? ""] ?? NODE[node.status] ?? ["unknown", node.state ?? node.status, "this page does not know that state"];
}

export function NodeState({ node }: { node: Pick<Node, "status" | "state"> }) {
  const [tone, word, meaning] = nodeState(node);
  return (
    <Badge tone={tone} title={meaning}>
      {word}
    </Badge>
  );
}

const OUTCOMES: Record<Outcome, [Tone, string]> = { success: ["good", "ok"], error: ["bad", "error"], cancelled: ["unknown", "cancelled"] };

/** The outcome with the status that the client saw, where it is known. */
export function RequestState({ row }: { row: Pick<RequestRow, "status" | "http_status" | "error_code"> }) {
  const [tone, word] = OUTCOMES[row.status.type] ?? ["unknown", row.status.type];
  return (
    <Badge tone={tone} title={[row.error_code, row.status.message].filter(Boolean).join(": ") || word}>
      {row.http_status && row.status.type !== "cancelled" ? row.http_status : word}
      {!(row.http_status && row.status.type !== "cancelled") ? null : <span className="sr-only">{word}</span>}
    </Badge>
  );
}

const HEALTH: Record<string, Tone> = { healthy: "good", degraded: "warn", unhealthy: "bad", unknown: "unknown" };
export const Wellness = ({ status, title }: { status: string; title?: string }) => (
  <Badge tone={HEALTH[status] ?? "unknown"} title={title}>
    {status === "unknown" ? "not asked yet" : status}
  </Badge>
);

const BREAKERS: Record<string, [Tone, string, string]> = {
  open: ["good", "in use", "it is asked"],
  limited: ["warn", "limited", "it asked for rest"],
  refused: ["bad", "refused", "its credential was refused, and it is left alone for a while"],
  failing: ["bad", "failing", "it failed several times in a row, and is left alone for a while"],
};
export function Breaker({ state }: { state: string }) {
  const [tone, word, meaning] = BREAKERS[state] ?? ["unknown", state, ""];
  return (
    <Badge tone={tone} title={meaning}>
      {word}
    </Badge>
  );
}

const TASKS: Record<ConvertTask["status"], [Tone, string]> = { queued: ["unknown", "queued"], in_progress: ["accent", "in progress"], completed: ["good", "completed"], failed: ["bad", "failed"] };
export function TaskState({ status }: { status: ConvertTask["status"] }) {
  const [tone, word] = TASKS[status] ?? ["unknown", status];
  return <Badge tone={tone}>{word}</Badge>;
}
