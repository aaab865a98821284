// The providers behind the router: how they do, what is left of their limits, whether they answer.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { FlaskConical, MoreHorizontal, Pencil, Power, PowerOff, RotateCcw } from "lucide-react";
import { useMemo, useState } from "react";
import { services } from "../api/endpoints";
import { queries } from "../api/queries";
import type { Backend, LiveMetrics, Policy, RequestRow } from "../api/types";
import { Badge, Button, Empty, ErrorNote, Facts, Field, Meter, Section, Tag } from "../parts/basics";
import { Confirm, Dialog, FormDialog, Refused } from "../parts/dialog";
import { Menu } from "../parts/menu";
import { Breaker, Wellness } from "../parts/states";
import { TableSkeleton } from "../parts/table";
import { say } from "../parts/toast";
import { useSession } from "../shell/session";
import { item, switched, switchedOff } from "../text/blocks";
import { count, duration, exact, money, percent, span, speed, UNKNOWN } from "../text/format";
import { WriteConfig } from "./writeconfig";

export default function AccountsPage() {
  const { isAdmin } = useSession();
  const client = useQueryClient();
  const backend = useQuery(queries.backend());
  const policy = useQuery(queries.policy());
  const live = useQuery(queries.live());
  const since = new Date(Date.now() - 30 * 86_400_000).toISOString().slice(0, 10);
  const usage = useQuery(queries.usage("account", `${since}T00:00:00Z`));
  const failed = useQuery(queries.requests({ page: 1, per_page: 100, status: "error" }, 30_000));
  const failures = useMemo(() => failuresOf(failed.data?.records ?? []), [failed.data]);
  const [testing, setTesting] = useState<string | null>(null);
  const [resetting, setResetting] = useState(false);
  const config = useQuery({ ...queries.config(), enabled: isAdmin });
  const text = config.data?.text ?? null;
  const [switching, setSwitching] = useState<{ name: string; on: boolean } | null>(null);
  const off = text === null ? [] : switchedOff(text);
  const stats = backend.data?.router_stats;
  const names = stats?.service_order ?? [];
  return (
    <div className="flex flex-col gap-4">
      <h1 className="sr-only">Accounts</h1>
      {backend.error && !backend.data && <ErrorNote what="Accounts" error={backend.error} retry={() => void backend.refetch()} />}
      {backend.isPending && <TableSkeleton />}
      {stats && (
        <div className="flex flex-wrap items-center gap-x-6 gap-y-2 rounded-md border border-line px-3 py-2">
          <span>
            All accounts: <Wellness status={backend.data?.health.overall_status ?? "unknown"} />
          </span>
          <span className="text-muted" title={exact(stats.total_requests)}>
            {count(stats.total_requests)} requests
          </span>
          <span className="text-muted">
            {percent(stats.failover_rate)} moved on to another ({count(stats.total_failovers)})
          </span>
          <span className="text-muted">
            {percent(stats.rate_limit_skip_rate)} passed by a full limit ({count(stats.total_rate_limit_skips)})
          </span>
          {isAdmin && (
            <span className="ml-auto flex flex-wrap gap-2">
              <Button icon={RotateCcw} onClick={() => setResetting(true)}>
                Reset counts
              </Button>
              <Link to="/dashboard/settings" search={{ tab: "edit" } as never} className="inline-flex h-8 items-center gap-1.5 rounded-md border border-line-strong/60 px-2.5 font-medium whitespace-nowrap hover:bg-hover">
                <Pencil className="size-3.5" aria-hidden />
                Edit the configuration
              </Link>
            </span>
          )}
        </div>
      )}
      {stats && names.length === 0 && (
        <Empty title="No account yet" command="llm-router config add-account --name openai --provider openai --api-key-env OPENAI_API_KEY">
          <p>
            An account is a provider with a credential. Naming its variable before the router starts is enough: <code>OPENAI_API_KEY</code>, <code>ANTHROPIC_API_KEY</code>, <code>GOOGLE_API_KEY</code> and others.
          </p>
        </Empty>
      )}
      <div className="grid gap-4 xl:grid-cols-2">
        {names.map((name, n) => (
          <Account key={name} name={name} place={n + 1} backend={backend.data} policy={policy.data} live={live.data} cost={usage.data?.rows.find((row) => row.group === name || row.name === name)?.cost_usd} failures={failures.get(name)} onTest={() => setTesting(name)} written={text !== null && item(text, "accounts", name) !== null} onOff={() => setSwitching({ name, on: false })} />
        ))}
      </div>
      {off.length > 0 && (
        <Section title="Switched off" hint="they stand in the configuration and are asked nothing">
          <ul className="divide-y divide-line rounded-md border border-line">
            {off.map((name) => (
              <li key={name} className="flex min-h-10 items-center gap-3 px-3">
                <span className="min-w-0 flex-1 truncate font-medium">{name}</span>
                <Button icon={Power} aria-label={`Switch ${name} on`} onClick={() => setSwitching({ name, on: true })}>
                  Switch on
                </Button>
              </li>
            ))}
          </ul>
        </Section>
      )}
      {switching && text !== null && <Switch {...switching} text={text} base={config.data?.version ?? null} onClose={() => setSwitching(null)} />}
      {testing && <Test account={testing} models={policy.data?.accounts.find((one) => one.name === testing)?.models ?? []} onClose={() => setTesting(null)} />}
      {resetting && (
        <Confirm
          title="Reset the counts"
          action="Reset"
          onClose={() => setResetting(false)}
          onConfirm={async () => {
            await services.resetStats();
            setResetting(false);
            say("The counts begin at nothing.");
            await client.invalidateQueries({ queryKey: ["backend"] });
          }}
        >
          <p>Requests, failures and fail-overs of all accounts are counted from nothing again. The history and its costs stay.</p>
        </Confirm>
      )}
    </div>
  );
}

/** How sure it is that an account speaks a dialect. */
const STANDINGS: Record<string, string> = { named: "the configuration says so", sure: "its provider says so", possible: "nobody has asked it yet", spoken: "it was asked and answered" };

/** How often which kind of failure ended at which account, of the records that are given. */
export function failuresOf(rows: readonly RequestRow[]): Map<string, Map<string, number>> {
  const all = new Map<string, Map<string, number>>();
  for (const { target, error_code, http_status } of rows) {
    if (!target) continue;
    const code = error_code ?? (http_status ? `status ${http_status}` : "error");
    const own = all.get(target) ?? new Map<string, number>();
    all.set(target, own.set(code, (own.get(code) ?? 0) + 1));
  }
  return all;
}

interface AccountProps {
  name: string;
  place: number;
  backend?: Backend;
  policy?: Policy;
  live?: LiveMetrics;
  cost?: number | null;
  failures?: Map<string, number>;
  onTest: () => void;
  /** It stands in the configuration in lines of its own. */
  written: boolean;
  onOff: () => void;
}

function Account({ name, place, backend, policy, live, cost, failures, onTest, written, onOff }: AccountProps) {
  const navigate = useNavigate();
  const health = backend?.health.services[name];
  const limit = backend?.router_stats.rate_limiting[name];
  const rule = policy?.accounts.find((one) => one.name === name);
  const now = live?.accounts[name];
  const spoken = Object.entries(now?.wires ?? {}).filter(([, standing]) => standing !== "never" && standing !== "not_spoken");
  const used = limit?.current_requests ?? null;
  const all = used !== null && typeof limit?.remaining_quota === "number" ? used + limit.remaining_quota : null;
  return (
    <Section
      title={name}
      hint={`${rule?.provider ?? health?.backend_type ?? ""} · asked ${["first", "second", "third"][place - 1] ?? `as number ${place}`}`}
      className="rounded-md border border-line p-3"
      actions={
        <>
          {now && <Breaker state={now.state} />}
          {health && <Wellness status={health.status} title={`${percent(health.failure_rate)} of its requests failed`} />}
          <Button icon={FlaskConical} onClick={onTest}>
            Test call
          </Button>
          {written && (
            <Menu
              label={`Actions for ${name}`}
              icon={MoreHorizontal}
              items={[
                { label: "Edit", icon: Pencil, onSelect: () => void navigate({ to: "/dashboard/settings", search: { tab: "edit", at: `accounts.${name}` } as never }) },
                { label: "Switch off", icon: PowerOff, danger: true, onSelect: onOff },
              ]}
            />
          )}
        </>
      }
    >
      <Facts
        rows={[
          ...(health?.base_url ? [["Address", <code key="a" className="break-all">{health.base_url}</code>] as [string, React.ReactNode]] : []),
          ["Credential", health?.trouble ? <span key="c" className="text-bad">{health.trouble}</span> : health ? (health.has_api_key ? "there" : <span key="c" className="text-warn">none is set</span>) : UNKNOWN],
          ["Requests", <span key="r">{count(health?.requests)}, of which {count(health?.failures)} failed ({percent(health?.failure_rate)})</span>],
          ...(failures
            ? [
                [
                  "Failed lately",
                  <span key="f" className="flex flex-wrap gap-1">
                    {[...failures].sort(([, a], [, b]) => b - a).map(([code, times]) => (
                      <Link key={code} to="/dashboard/requests" search={{ account: name, status: "error", q: code } as never}>
                        <Badge tone="bad">
                          {times} × {code.replaceAll("_", " ")}
                        </Badge>
                      </Link>
                    ))}
                  </span>,
                ] as [string, React.ReactNode],
              ]
            : []),
          [
            "Limit",
            limit && all !== null ? (
              <span key="l" className="flex flex-wrap items-center gap-x-3 gap-y-1">
                <span className="whitespace-nowrap">
                  {used} of {all} ({limit.rate_limit})
                </span>
                <span className="w-32">
                  <Meter value={used ?? 0} max={all} label={`${used} of ${all} requests of the window`} />
                </span>
                {limit.is_rate_limited && <Badge tone="warn">full{limit.window_reset_in ? `, free in ${span(limit.window_reset_in)}` : ""}</Badge>}
              </span>
            ) : limit?.is_rate_limited ? (
              <Badge key="l" tone="warn">it asked for rest{limit.window_reset_in ? `, ${span(limit.window_reset_in)} more` : ""}</Badge>
            ) : (
              "none of its own"
            ),
          ],
          ["First byte", duration(now?.first_byte_ms)],
          ["Speed", speed(now?.tokens_per_second)],
          ...(spoken.length > 0 ? [["Speaks", <span key="w" className="flex flex-wrap gap-1">{spoken.map(([wire, standing]) => <Tag key={wire} title={STANDINGS[standing] ?? standing}>{standing === "possible" ? `${wire}?` : wire}</Tag>)}</span>] as [string, React.ReactNode]] : []),
          ["Cost, 30 days", cost === undefined || cost === null ? <span key="m" className="text-muted">not known</span> : money(cost)],
          ["Priority, weight", rule ? `${rule.priority}, ${rule.weight}` : UNKNOWN],
          [
            "Models",
            rule && rule.models.length > 0 ? (
              <span key="o" className="flex flex-wrap gap-1">
                {rule.models.slice(0, 8).map((model) => (
                  <Tag key={model}>{model}</Tag>
                ))}
                {rule.models.length > 8 && <span className="text-muted">and {rule.models.length - 8} more</span>}
              </span>
            ) : (
              "those that it lists itself"
            ),
          ],
        ]}
      />
    </Section>
  );
}

/** Switches an account on or off in the configuration, and shows the line that this changes before it does. */
function Switch({ name, on, text, base, onClose }: { name: string; on: boolean; text: string; base: number | null; onClose: () => void }) {
  return (
    <WriteConfig
      title={on ? `Switch ${name} on` : `Switch ${name} off`}
      submit={on ? "Switch on" : "Switch off"}
      danger={!on}
      before={text}
      after={switched(text, name, on)}
      base={base}
      comment={on ? `${name} switched on` : `${name} switched off`}
      done={on ? `${name} is asked again.` : `${name} is asked nothing more.`}
      onClose={onClose}
    >
      <p>{on ? "It takes requests from now on." : "Requests go to other accounts that have the model; where there is none, they fail. What is under way there is finished."}</p>
    </WriteConfig>
  );
}

function Test({ account, models, onClose }: { account: string; models: string[]; onClose: () => void }) {
  const named = models.filter((model) => !model.includes("*"));
  const [model, setModel] = useState(named[0] ?? "");
  const [result, setResult] = useState<{ ms: number; model: string; tokens: number | null } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const run = async () => {
    setResult(null);
    setError(null);
    const began = performance.now();
    try {
      const said = await services.test(account, model);
      setResult({ ms: performance.now() - began, model: said.model ?? model, tokens: said.usage?.completion_tokens ?? null });
    } catch (failure) {
      setError(failure);
    }
  };
  if (!account) return <Dialog title="Test call" onClose={onClose}>{null}</Dialog>;
  return (
    <FormDialog title={`Test call to ${account}`} submit="Ask" onSubmit={run} onClose={onClose} disabled={!model.trim()}>
      <p className="text-muted">A short question to this account and no other. It counts and costs like any request.</p>
      <Field label="Model">
        {(props) => (
          <>
            <input {...props} className="input" list="test-models" value={model} onChange={(event) => setModel(event.target.value)} required />
            <datalist id="test-models">
              {named.map((name) => (
                <option key={name} value={name} />
              ))}
            </datalist>
          </>
        )}
      </Field>
      {result && (
        <p role="status" className="rounded-md border border-good/40 bg-good-soft p-2">
          <b>{result.model}</b> answered in {duration(result.ms)}
          {result.tokens === null ? "" : `, ${result.tokens} tokens`}.
        </p>
      )}
      {error !== null && <Refused error={error} />}
    </FormDialog>
  );
}
