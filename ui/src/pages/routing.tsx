// How the router chooses, and what it would choose.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { services } from "../api/endpoints";
import { queries } from "../api/queries";
import type { RouteChoice } from "../api/types";
import { Badge, Button, Empty, ErrorNote, Facts, Field, Meter, Section, Tag } from "../parts/basics";
import { Refused } from "../parts/dialog";
import { TableSkeleton } from "../parts/table";
import { useSession } from "../shell/session";
import { count, percent } from "../text/format";

/** Statuses below 500 after which another target is always tried. */
const RETRIED = [408, 409, 425, 429];

/** Strategies that are shown at once: there may be dozens. */
const STRATEGIES_MAX = 5;

const DAYS = 7;
const MODELS_MAX = 12;

/** Parts of the configuration that say how the router chooses. */
const EDITED = [
  ["default_model", "Edit the rules"],
  ["aliases", "Edit aliases"],
  ["routes", "Edit routes"],
];

export default function RoutingPage() {
  const { isAdmin } = useSession();
  const policy = useQuery(queries.policy());
  const info = useQuery(queries.info());
  const backend = useQuery(queries.backend());
  const stats = Object.entries(backend.data?.router_stats.service_stats ?? {}).sort(([, a], [, b]) => b.requests - a.requests);
  const others = policy.data?.retry_statuses.filter((status) => status < 500 ? !RETRIED.includes(status) : status > 599) ?? [];
  const most = Math.max(1, ...stats.map(([, { requests }]) => requests));
  const all = stats.reduce((sum, [, { requests }]) => sum + requests, 0);
  return (
    <div className="flex flex-col gap-6">
      <h1 className="sr-only">Routing</h1>
      <WhatIf />
      <div className="grid gap-6 lg:grid-cols-2">
        <Section title="Rules in force" actions={isAdmin && EDITED.map(([at, name]) => <Link key={at} to="/dashboard/settings" search={{ tab: "edit", at } as never} className="link">{name}</Link>)}>
          {policy.error && !policy.data && <ErrorNote what="The rules" error={policy.error} retry={() => void policy.refetch()} />}
          {policy.isPending && <TableSkeleton rows={4} />}
          {policy.data && (
            <Facts
              rows={[
                ["Without a name", policy.data.default_model ? <Tag key="d">{policy.data.default_model}</Tag> : <span key="d" className="text-muted">a request must name a model: no <code>default_model</code> is set</span>],
                ["Fall back to", policy.data.fallback_models.length ? <span key="f" className="flex flex-wrap gap-1">{policy.data.fallback_models.map((model) => <Tag key={model}>{model}</Tag>)}</span> : "nothing beyond the model's own targets"],
                ["Attempts", `at most ${policy.data.max_attempts} a request; retries at most ${percent(policy.data.retry_budget * 100)} of all`],
                ["Tried again after", `connection faults, time-outs, 408, 409, 425, 429, 5xx${others.length ? `, and ${others.join(", ")}` : ""}`],
                ["Strategies", info.data?.registered_strategies.length ? <Strategies key="s" names={info.data.registered_strategies} /> : "—"],
                ["Follows its file", info.data?.hot_reload_enabled ? "yes, by itself" : "when it is told to (Settings, or SIGHUP)"],
              ]}
            />
          )}
        </Section>
        <Section title="Share and outcome by service" hint="since the counts began">
          {backend.error && !backend.data && <ErrorNote what="The counts" error={backend.error} retry={() => void backend.refetch()} />}
          {backend.data && stats.length === 0 && <Empty title="Nothing was asked yet" />}
          {stats.length > 0 && (
            <ul className="divide-y divide-line rounded-md border border-line">
              {stats.map(([name, { requests, failures, rate_limited }]) => (
                <li key={name} className="grid grid-cols-[1fr_auto] items-center gap-x-4 gap-y-1 px-3 py-2 sm:grid-cols-[10rem_1fr_17rem]">
                  <span className="truncate font-medium">{name}</span>
                  <span className="max-sm:hidden">
                    <Meter value={requests} max={most} tone="accent" label={`${requests} of ${all} requests`} />
                  </span>
                  <span className="flex items-center justify-end gap-2 text-muted">
                    {count(requests)} · {all ? percent((requests / all) * 100) : "0 %"}
                    {failures > 0 && <Badge tone={failures / Math.max(1, requests) >= 0.1 ? "bad" : "warn"}>{count(failures)} failed</Badge>}
                    {rate_limited > 0 && <Badge tone="warn">{count(rate_limited)} limited</Badge>}
                  </span>
                </li>
              ))}
            </ul>
          )}
        </Section>
      </div>
      <ByModel />
    </div>
  );
}

function Strategies({ names }: { names: readonly string[] }) {
  const tags = (some: readonly string[]) => (
    <span className="flex flex-wrap gap-1">
      {some.map((name) => (
        <Tag key={name}>{name}</Tag>
      ))}
    </span>
  );
  if (names.length <= STRATEGIES_MAX) return tags(names);
  return (
    <details>
      <summary>{names.length} that a route may name</summary>
      <div className="mt-1">{tags(names)}</div>
    </details>
  );
}

/** How requests were shared among models, and how they ended. */
function ByModel() {
  const from = `${new Date(Date.now() - (DAYS - 1) * 86_400_000).toISOString().slice(0, 10)}T00:00:00Z`;
  const used = useQuery(queries.usage("model", from));
  const rows = [...(used.data?.rows ?? [])].sort((a, b) => b.requests - a.requests).slice(0, MODELS_MAX);
  const most = Math.max(1, ...rows.map(({ requests }) => requests));
  const all = used.data?.totals.requests ?? 0;
  if (rows.length === 0) return null;
  return (
    <Section title="Share and outcome by model" hint={`last ${DAYS} days`} actions={<Link to="/dashboard/usage" search={{ by: "model", days: String(DAYS) } as never} className="link">What it cost</Link>}>
      <ul className="divide-y divide-line rounded-md border border-line">
        {rows.map(({ group, requests, errors = 0 }) => (
          <li key={group} className="grid grid-cols-[1fr_auto] items-center gap-x-4 gap-y-1 px-3 py-2 sm:grid-cols-[16rem_1fr_17rem]">
            <Link to="/dashboard/requests" search={{ model: group } as never} className="truncate font-medium hover:underline">
              {group || "none"}
            </Link>
            <span className="max-sm:hidden">
              <Meter value={requests} max={most} tone="accent" label={`${requests} of ${all} requests`} />
            </span>
            <span className="flex items-center justify-end gap-2 text-muted">
              {count(requests)} · {percent((requests / Math.max(1, all)) * 100)}
              {errors > 0 && <Badge tone={errors / requests >= 0.1 ? "bad" : "warn"}>{count(errors)} failed</Badge>}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

/** Asks the router what it would do. Nothing is called. */
function WhatIf() {
  const [prompt, setPrompt] = useState("");
  const [model, setModel] = useState("");
  const [choice, setChoice] = useState<RouteChoice | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const { data: models = [] } = useQuery(queries.models());
  const ask = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      setChoice(await services.choose(prompt, model.trim() || "auto"));
    } catch (failure) {
      setChoice(null);
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Section title="What would happen" hint="nothing is called, nothing is kept">
      <form onSubmit={ask} className="grid gap-3 rounded-md border border-line p-3 md:grid-cols-[1fr_14rem_auto] md:items-end">
        <Field label="Prompt">{(props) => <textarea {...props} className="input" rows={2} value={prompt} placeholder="Explain quicksort to a child" onChange={(event) => setPrompt(event.target.value)} required />}</Field>
        <Field label="Model">
          {(props) => (
            <>
              <input {...props} className="input" list="route-models" value={model} placeholder="auto" onChange={(event) => setModel(event.target.value)} />
              <datalist id="route-models">
                {models.map(({ id }) => (
                  <option key={id} value={id} />
                ))}
              </datalist>
            </>
          )}
        </Field>
        <Button type="submit" look="primary" busy={busy} disabled={!prompt.trim()}>
          Choose
        </Button>
      </form>
      {error !== null && <Refused error={error} />}
      {choice && (
        <div className="flex flex-col gap-3 rounded-md border border-line p-3" role="status">
          <p>
            It would ask <b>{choice.selected_model}</b> <Tag>{choice.rule}</Tag> <span className="text-muted">sure to {percent(choice.confidence * 100)}</span>
          </p>
          <ol className="flex list-decimal flex-col gap-1 pl-5">
            {choice.candidates.map((candidate, n) => (
              <li key={n}>
                <b>{candidate.target}</b> with {candidate.model} <span className="text-muted">{candidate.reason.replaceAll("_", " ")}</span>
              </li>
            ))}
          </ol>
          {choice.alternatives.length > 0 && (
            <p className="text-muted">
              Then: {choice.alternatives.map(({ model: other, score }) => `${other}${score ? ` (${score.toFixed(2)})` : ""}`).join(", ")}
            </p>
          )}
        </div>
      )}
    </Section>
  );
}
