// One request: where the time went, why it went there, what it cost, and what was said.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ArrowLeft, CodeXml, MessageSquareText, Play, ThumbsDown, ThumbsUp } from "lucide-react";
import { useMemo, useState } from "react";
import { requests } from "../api/endpoints";
import { ApiError } from "../api/http";
import { queries } from "../api/queries";
import type { Explanation, Feedback, RequestDetail } from "../api/types";
import { Ago, Badge, Button, Code, Empty, ErrorNote, Facts, Field, Id, Section, Skeleton, Tag } from "../parts/basics";
import { Dialog, FormDialog } from "../parts/dialog";
import { RequestState } from "../parts/states";
import { Tabs } from "../parts/tabs";
import { say, sayFailed } from "../parts/toast";
import { useLookingAt } from "../playground/looking";
import { asChat } from "../playground/recorded";
import { replay } from "../playground/replay";
import { useFilters } from "../shell/address";
import { useSession } from "../shell/session";
import { bytes, count, exact, money, stamp, UNKNOWN } from "../text/format";
import { LANGUAGES, snippet } from "../text/snippets";
import { Bodies } from "./bodies";
import { Decision } from "./decision";
import { Waterfall } from "./waterfall";

type Tab = "overview" | "decision" | "request" | "response";

export default function RequestPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const [filters, change] = useFilters();
  const tab = (["decision", "request", "response"].includes(filters.tab ?? "") ? filters.tab : "overview") as Tab;
  const told = useQuery(queries.explain(id));
  const kept = useQuery(queries.request(id));
  const back = (
    <Link to="/dashboard/requests" className="inline-flex items-center gap-1 text-muted hover:text-text">
      <ArrowLeft className="size-3.5" aria-hidden />
      Requests
    </Link>
  );
  if (told.isPending && kept.isPending) {
    return (
      <div className="flex flex-col gap-4" aria-busy="true">
        {back}
        <Skeleton className="h-8 w-72" />
        <Skeleton className="h-48" />
      </div>
    );
  }
  const detail = kept.data;
  const why = told.data;
  if (!detail && !why) {
    const isGone = [told.error, kept.error].some((error) => error instanceof ApiError && error.status === 404 && !error.isMissing);
    return (
      <div className="flex flex-col gap-4">
        {back}
        <h1 className="sr-only">Request</h1>
        {isGone ? (
          <Empty title="There is no record of this request" action={<Button onClick={() => void Promise.all([told.refetch(), kept.refetch()])}>Look again</Button>}>
            <code className="break-all">{id}</code> is not kept: it may be older than the history is kept for, or its row has not been written yet.
          </Empty>
        ) : (
          <ErrorNote what="The request" error={kept.error ?? told.error} retry={() => void Promise.all([told.refetch(), kept.refetch()])} />
        )}
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center gap-3">
        {back}
        <h1 className="text-lg font-semibold">{detail?.model ?? why?.requested_model ?? "Request"}</h1>
        {detail ? <RequestState row={detail} /> : why && <Badge tone={why.outcome === "success" ? "good" : why.outcome === "error" ? "bad" : "unknown"}>{why.status}</Badge>}
        <Id id={id} />
        <Actions id={id} detail={detail} why={why} />
      </div>
      <Tabs<Tab>
        label="Parts of the request"
        chosen={tab}
        onChoose={(to) => change({ tab: to === "overview" ? "" : to })}
        tabs={[
          { id: "overview", name: "Overview" },
          { id: "decision", name: "Decision" },
          { id: "request", name: "Request" },
          { id: "response", name: "Response" },
        ]}
      >
        {tab === "overview" && <Overview detail={detail} why={why} whyError={told.error} />}
        {tab === "decision" && (why ? <Decision why={why} /> : <ErrorNote what="The decision" error={told.error} retry={() => void told.refetch()} />)}
        {tab === "request" && (detail ? <Bodies own={detail.request_body} isCut={detail.request_body_truncated} other={detail.upstream_request_body} otherName="As the service got it" why={why} /> : <ErrorNote what="The request's body" error={kept.error} />)}
        {tab === "response" && (detail ? <Bodies own={detail.response_body} isCut={detail.response_body_truncated} other={detail.upstream_response_body} otherName="As the service answered" why={why} /> : <ErrorNote what="The response" error={kept.error} />)}
      </Tabs>
    </div>
  );
}

function Actions({ id, detail, why }: { id: string; detail?: RequestDetail; why?: Explanation }) {
  const [code, setCode] = useState(false);
  const navigate = useNavigate();
  const kept = detail?.request_body;
  const body = kept && typeof kept === "object" ? (kept as Record<string, unknown>) : null;
  const path = why?.path ?? "/v1/chat/completions";
  const chat = useMemo(() => body && asChat(body, path, detail?.model ?? ""), [body, path, detail?.model]);
  useLookingAt(detail?.model, chat);
  const missing = body ? undefined : "The body was not kept";
  return (
    <div className="ml-auto flex flex-wrap items-center gap-1">
      <Opinion id={id} said={detail?.feedback ?? []} />
      <Button icon={CodeXml} disabled={!body} title={missing} onClick={() => setCode(true)}>
        Code
      </Button>
      <Button
        icon={Play}
        look="primary"
        disabled={!chat}
        title={missing ?? (chat ? undefined : "The playground asks for texts, and this request asked for something else")}
        onClick={() => {
          if (!chat) return;
          replay.put(chat);
          void navigate({ to: "/playground" });
        }}
      >
        Replay
      </Button>
      {code && body && <Snippets path={path} body={body} onClose={() => setCode(false)} />}
    </div>
  );
}

/** Whether the answer was good, and why. A second word stands in place of the first. */
function Opinion({ id, said }: { id: string; said: Feedback[] }) {
  const { me } = useSession();
  const client = useQueryClient();
  const [sent, setSent] = useState<number | null>(null);
  const [isSaying, setSaying] = useState(false);
  const [comment, setComment] = useState("");
  const score = sent ?? said.find(({ by }) => by === me.user_id)?.score ?? null;
  const isGood = score === null ? null : score > 0;
  const send = async (to: number, words?: string) => {
    await requests.feedback(id, to, words);
    setSent(to);
    await client.invalidateQueries({ queryKey: ["request", id] });
  };
  const rate = (to: number) => void send(to).then(() => say("It is kept with the request."), sayFailed("The feedback was not kept"));
  return (
    <>
      <Button look="quiet" icon={ThumbsUp} aria-label="Good answer" title="Good answer" aria-pressed={isGood === true} className="aria-pressed:text-good" onClick={() => rate(1)} />
      <Button look="quiet" icon={ThumbsDown} aria-label="Bad answer" title="Bad answer" aria-pressed={isGood === false} className="aria-pressed:text-bad" onClick={() => rate(0)} />
      {score !== null && <Button look="quiet" icon={MessageSquareText} aria-label="Say why" title="Say why" onClick={() => setSaying(true)} />}
      {isSaying && score !== null && (
        <FormDialog
          title={isGood ? "Why the answer was good" : "Why the answer was bad"}
          submit="Keep it"
          disabled={!comment.trim()}
          onClose={() => setSaying(false)}
          onSubmit={async () => {
            await send(score, comment.trim());
            setSaying(false);
            setComment("");
            say("It is kept with the request.");
          }}
        >
          <Field label="Comment">{(props) => <textarea {...props} className="input" rows={4} value={comment} onChange={(event) => setComment(event.target.value)} required />}</Field>
        </FormDialog>
      )}
    </>
  );
}

export function Snippets({ path, body, onClose }: { path: string; body: Record<string, unknown>; onClose: () => void }) {
  const [language, setLanguage] = useState(LANGUAGES[0]?.id ?? "curl");
  return (
    <Dialog title="This request as code" onClose={onClose} wide>
      <Tabs label="Language" tabs={LANGUAGES} chosen={language} onChoose={setLanguage}>
        <Code text={snippet(language, location.origin, path, body)} label={`As ${language}`} />
        <p className="mt-2 text-xs text-muted">
          The key is read from <code>LLM_ROUTER_API_KEY</code>.
        </p>
      </Tabs>
    </Dialog>
  );
}

function Overview({ detail, why, whyError }: { detail?: RequestDetail; why?: Explanation; whyError: Error | null }) {
  const usage = why?.usage;
  const tokens = (n: number | null | undefined) => <span title={exact(n)}>{n === null || n === undefined ? UNKNOWN : exact(n)}</span>;
  const code = why?.error_code ?? detail?.error_code;
  const message = failure(detail);
  return (
    <div className="flex flex-col gap-6">
      {(message || code) && detail?.status.type !== "success" && (
        <p role="note" className="rounded-md border border-bad/40 bg-bad-soft p-3 break-words">
          {code && <b className="mr-2 font-mono">{code}</b>}
          {message !== code && message}
        </p>
      )}
      {why ? <Waterfall why={why} /> : <ErrorNote what="Where the time went" error={whyError} />}
      <div className="grid gap-6 lg:grid-cols-3">
        <Section title="Where it went">
          <Facts
            rows={[
              ["Asked for", why?.requested_model ?? detail?.model ?? UNKNOWN],
              ["Answered by", why?.served.target ?? detail?.node_machine_name ?? detail?.target ?? "nobody"],
              ["Model there", why?.served.model ?? detail?.model_served ?? UNKNOWN],
              ["Remembered", why?.cache ? <Tag key="r">{why.cache.state}</Tag> : "not looked for"],
              ["Provider", why?.served.provider ?? detail?.provider ?? UNKNOWN],
              ["Attempts", why ? String(why.attempts.length) : (detail?.attempts ?? UNKNOWN)],
              ["Rule", why?.rule ?? UNKNOWN],
            ]}
          />
        </Section>
        <Section title="Who and when">
          <Facts
            rows={[
              ["Received", <span key="t">{stamp(why?.received_at ?? detail?.timestamp)} (<Ago time={why?.received_at ?? detail?.timestamp} />)</span>],
              ["Key", <KeyLink key="k" name={why?.key?.name ?? detail?.key_name ?? why?.key?.id} />],
              ["Address", detail?.client_ip ? <Link key="a" to="/dashboard/requests" search={{ ip: detail.client_ip } as never} className="link" title="Its other requests">{detail.client_ip}</Link> : UNKNOWN],
              ["Path", <code key="p">{why?.path ?? UNKNOWN}</code>],
              ["Dialect", why?.dialect ?? UNKNOWN],
              ["Bytes", why ? `${bytes(why.bytes_in)} in, ${bytes(why.bytes_out)} out` : UNKNOWN],
            ]}
          />
        </Section>
        <Section title="Use and price" hint={usage?.is_estimated ? "estimated: the stream ended before it said" : undefined}>
          <Facts
            rows={[
              ["Prompt tokens", tokens(usage?.prompt_tokens ?? detail?.prompt_tokens)],
              ["of them cached", tokens(usage?.cached_tokens ?? detail?.cached_tokens)],
              ["Completion tokens", tokens(usage?.completion_tokens ?? detail?.completion_tokens)],
              ["of them reasoning", tokens(usage?.reasoning_tokens)],
              ["Cost", <Price key="c" why={why} detail={detail} />],
            ]}
          />
          {why?.cost?.lines && why.cost.lines.length > 0 && (
            <table className="w-full text-xs" aria-label="Price line by line">
              <tbody>
                {why.cost.lines.map((line) => (
                  <tr key={line.what} className="border-t border-line">
                    <td className="py-1">{line.what}</td>
                    <td className="text-right">{count(line.tokens)}</td>
                    <td className="text-right text-muted">{line.usd_per_million === null ? "no price" : `× $${line.usd_per_million}/M`}</td>
                    <td className="text-right">{money(line.usd)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          {why?.cost?.price_book && <p className="text-xs text-muted">Price book {why.cost.price_book}</p>}
        </Section>
      </div>
      <Opinions said={detail?.feedback ?? []} />
    </div>
  );
}

/** What the client was told, in words, else what is recorded of it. */
export function failure(detail: Pick<RequestDetail, "response_body" | "status"> | undefined): string | null {
  const said = (typeof detail?.response_body === "object" ? detail.response_body : null) as { error?: { message?: unknown } | string } | null;
  const error = said?.error;
  const words = typeof error === "string" ? error : error?.message;
  return typeof words === "string" && words ? words : (detail?.status.message ?? null);
}

const KeyLink = ({ name }: { name?: string | null }) =>
  name ? (
    <Link to="/dashboard/requests" search={{ key: name } as never} className="link" title="Its other requests">
      {name}
    </Link>
  ) : (
    <>{UNKNOWN}</>
  );

function Opinions({ said }: { said: Feedback[] }) {
  const { me } = useSession();
  if (said.length === 0) return null;
  return (
    <Section title="What people thought of it">
      <ul className="divide-y divide-line rounded-md border border-line">
        {said.map(({ score, label, preferred_model, comment, by, at }, n) => (
          <li key={n} className="flex flex-wrap items-center gap-x-3 gap-y-1 px-3 py-2">
            {typeof score === "number" && <Badge tone={score > 0 ? "good" : "bad"}>{score === 1 ? "good" : score === 0 ? "bad" : `score ${score}`}</Badge>}
            {label && <Tag>{label}</Tag>}
            {preferred_model && <Tag>rather {preferred_model}</Tag>}
            <span className="min-w-0 flex-1 break-words">{comment}</span>
            <span className="text-xs text-muted">
              {by === me.user_id ? "you, " : ""}
              <Ago time={at} />
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Price({ why, detail }: { why?: Explanation; detail?: RequestDetail }) {
  const usd = why?.cost?.total_usd ?? detail?.cost_usd;
  return usd === null || usd === undefined ? <span className="text-muted">not known: no price for this model</span> : <span title={`$${usd}`}>{money(usd)}</span>;
}
