// How the models are asked.

import { Field, Checkbox, Button } from "../parts/basics";
import type { FieldFault, Parameters } from "./chat";

const TOOL = [{ type: "function", function: { name: "get_weather", description: "The weather at a place now", parameters: { type: "object", properties: { place: { type: "string" } }, required: ["place"], additionalProperties: false } } }];
const SCHEMA = { type: "object", properties: { answer: { type: "string" }, sure: { type: "number" } }, required: ["answer", "sure"], additionalProperties: false };

export function Controls({ parameters, onChange, apiKey, onKey, fault }: { parameters: Parameters; onChange: (to: Parameters) => void; apiKey: string; onKey: (key: string) => void; fault: FieldFault | null }) {
  const set = (name: keyof Parameters) => (event: { target: { value: string } }) => onChange({ ...parameters, [name]: event.target.value });
  const wrong = (name: keyof Parameters) => (fault?.field === name ? fault.message : null);
  const field = (name: Exclude<keyof Parameters, "stream">, label: string, more: { placeholder?: string; min?: number; max?: number; step?: number } = {}) => (
    <Field label={label} error={wrong(name)}>
      {(props) => <input {...props} {...more} type="number" className="input" value={parameters[name]} onChange={set(name)} />}
    </Field>
  );
  const json = (name: "tools" | "schema" | "more", label: string, hint: string, example?: unknown) => (
    <Field label={label} hint={hint} error={wrong(name)}>
      {(props) => (
        <>
          <textarea {...props} className="input font-mono !text-xs" rows={parameters[name] ? 8 : 2} spellCheck={false} value={parameters[name]} onChange={set(name)} />
          {example !== undefined && !parameters[name] && (
            <Button look="quiet" className="self-start" onClick={() => onChange({ ...parameters, [name]: JSON.stringify(example, null, 2) })}>
              An example
            </Button>
          )}
        </>
      )}
    </Field>
  );
  return (
    <div className="flex flex-col gap-4">
      <Field label="System prompt">{(props) => <textarea {...props} className="input" rows={3} value={parameters.system} onChange={set("system")} placeholder="You are a patient teacher." />}</Field>
      <Checkbox label="Stream the answer" checked={parameters.stream} onChange={(stream) => onChange({ ...parameters, stream })} />
      <div className="grid grid-cols-2 gap-3">
        {field("temperature", "Temperature", { placeholder: "model's", min: 0, max: 2, step: 0.1 })}
        {field("topP", "Top p", { placeholder: "model's", min: 0, max: 1, step: 0.05 })}
        {field("maxTokens", "Most tokens", { placeholder: "model's", min: 1, step: 1 })}
        {field("seed", "Seed", { placeholder: "any", step: 1 })}
      </div>
      <Field label="Stop at" hint="A text in each line.">
        {(props) => <textarea {...props} className="input font-mono !text-xs" rows={2} value={parameters.stop} onChange={set("stop")} />}
      </Field>
      {json("tools", "Tools", "A list as OpenAI writes it. You give the results.", TOOL)}
      {json("schema", "Answer's JSON Schema", "The answer keeps to it.", SCHEMA)}
      {json("more", "More fields", 'Anything else of the body, such as {"route": {"quality": 0.3}}.')}
      <Field label="API key" hint="Instead of your session. Kept until the page is closed, and nowhere else.">
        {(props) => <input {...props} type="password" className="input font-mono" value={apiKey} onChange={(event) => onKey(event.target.value.trim())} placeholder="sk_…" autoComplete="off" />}
      </Field>
    </div>
  );
}
