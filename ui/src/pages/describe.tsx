// What a model costs, how much it takes and what it can do: written into the configuration, and shown as a difference before it is.

import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Model } from "../api/types";
import { Field } from "../parts/basics";
import { described, type Facts } from "../text/described";
import { abilities } from "./models";
import { words } from "./nodeactions";
import { WriteConfig } from "./writeconfig";

/** Words that are commonly said of models. */
const KNOWN = ["tools", "vision", "audio", "reasoning", "json"];

const text = (value: number | null | undefined) => (typeof value === "number" ? String(value) : "");
/** `undefined`: what is typed is no such number. */
const number = (typed: string): number | null | undefined => {
  if (typed.trim() === "") return null;
  const value = Number(typed);
  return Number.isFinite(value) && value >= 0 ? value : undefined;
};
const same = (a: readonly string[], b: readonly string[]) => a.length === b.length && a.every((one) => b.includes(one));

export function Describe({ model, text: before, base, onClose }: { model: Model; text: string; base: number | null; onClose: () => void }) {
  const was = { input: text(model.price?.input), output: text(model.price?.output), context: text(model.context_length), longest: text(model.max_output), can: abilities(model) };
  const [input, setInput] = useState(was.input);
  const [output, setOutput] = useState(was.output);
  const [context, setContext] = useState(was.context);
  const [longest, setLongest] = useState(was.longest);
  const [can, setCan] = useState(was.can.join(", "));

  const [inUsd, outUsd, contextTokens, longestTokens] = [input, output, context, longest].map(number);
  const isHalf = (inUsd === null) !== (outUsd === null);
  const whole = (value: number | null | undefined) => value === null || (value !== undefined && Number.isInteger(value) && value > 0);
  const isPriced = input !== was.input || output !== was.output;
  // What is not touched is not written down: a value that a provider says stays the provider's.
  const facts: Facts = {
    ...(context !== was.context ? { context: contextTokens } : {}),
    ...(longest !== was.longest ? { max_output: longestTokens } : {}),
    ...(same(words(can), was.can) ? {} : { capabilities: words(can) }),
    ...(isPriced ? { price: typeof inUsd === "number" && typeof outUsd === "number" ? { input: inUsd, output: outUsd } : null } : {}),
  };
  const isRight = inUsd !== undefined && outUsd !== undefined && !isHalf && whole(contextTokens) && whole(longestTokens);
  const isTouched = Object.keys(facts).length > 0;
  const next = isRight && isTouched ? described(before, model.id, facts) : null;
  const wrong = (value: number | null | undefined, what: string) => (value === undefined ? `${what} is a number.` : null);
  const tokens = (value: number | null | undefined) => (whole(value) ? null : "A whole number of tokens.");
  const half = (mine: number | null | undefined) => (isHalf && mine === null ? "A price has both sides; 0 is one." : null);

  return (
    <WriteConfig
      title={`Price and capabilities of ${model.id}`}
      wide
      before={before}
      after={next}
      base={base}
      comment={`${Object.keys(facts).join(", ").replace("max_output", "longest answer")} of ${model.id}`}
      done={`It holds for ${model.id} from the next request on.`}
      onClose={onClose}
    >
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Prompt, $ a million tokens" error={wrong(inUsd, "A price") ?? half(inUsd)}>
          {(props) => <input {...props} className="input" inputMode="decimal" value={input} placeholder="not known" onChange={(event) => setInput(event.target.value)} />}
        </Field>
        <Field label="Answer, $ a million tokens" error={wrong(outUsd, "A price") ?? half(outUsd)}>
          {(props) => <input {...props} className="input" inputMode="decimal" value={output} placeholder="not known" onChange={(event) => setOutput(event.target.value)} />}
        </Field>
        <Field label="Context, tokens" hint="Of prompt and answer together." error={tokens(contextTokens)}>
          {(props) => <input {...props} className="input" inputMode="numeric" value={context} placeholder="not known" onChange={(event) => setContext(event.target.value)} />}
        </Field>
        <Field label="Longest answer, tokens" error={tokens(longestTokens)}>
          {(props) => <input {...props} className="input" inputMode="numeric" value={longest} placeholder="not known" onChange={(event) => setLongest(event.target.value)} />}
        </Field>
      </div>
      <Field label="It can" hint={`Between commas: ${KNOWN.join(", ")}, or words of your own.`}>
        {(props) => <input {...props} className="input" value={can} spellCheck={false} onChange={(event) => setCan(event.target.value)} />}
      </Field>
      <p className="text-muted">An account that has a price of its own keeps it.</p>
      {isRight && isTouched && next === null && (
        <p role="alert" className="rounded-md border border-warn/40 bg-warn-soft p-2">
          The configuration writes its models in a form that is edited by hand:{" "}
          <Link to="/dashboard/settings" search={{ tab: "edit", at: "models" } as never} className="link">
            open it there
          </Link>
          .
        </p>
      )}
    </WriteConfig>
  );
}
