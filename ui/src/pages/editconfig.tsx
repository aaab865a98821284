// The configuration as a text: checked and compared before it is put in force.

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { settings as api } from "../api/endpoints";
import type { Config } from "../api/types";
import { Button, Empty, Field, Section } from "../parts/basics";
import { DiffView } from "../parts/diffview";
import { FormDialog, Refused } from "../parts/dialog";
import { say } from "../parts/toast";
import { place, range } from "../text/blocks";

export function EditConfig({ config, at }: { config: Config; at?: string }) {
  const client = useQueryClient();
  const now = config.text ?? "";
  // What the edit began with stays what it is compared with, whatever others put in force meanwhile: the router then says that there was one.
  const [{ before, base }, setStart] = useState({ before: now, base: config.version ?? null });
  const [text, setText] = useState(now);
  const [mine, setMine] = useState<number | null>(null);
  const isOld = before !== now && mine === null;
  const [checked, setChecked] = useState<{ text: string; error: unknown; warnings: string[] } | null>(null);
  const [busy, setBusy] = useState(false);
  const [saving, setSaving] = useState(false);
  const [comment, setComment] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);
  // What one put in force oneself is what comes next is compared with, as the router shows it: with its secrets masked.
  useEffect(() => {
    if (mine === null || config.version !== mine) return;
    setStart({ before: now, base: mine });
    setText(now);
    setMine(null);
  }, [mine, config.version, now]);
  // Whoever came for one part of it finds that part marked and in sight.
  useEffect(() => {
    const element = area.current;
    const found = at && element ? place(element.value, at) : null;
    if (!element || !found) return;
    const [from, to] = range(element.value, found);
    element.focus({ preventScroll: true });
    element.setSelectionRange(from, to);
    const line = element.scrollHeight / Math.max(1, element.value.split("\n").length);
    element.scrollTop = Math.max(0, (found.from - 3) * line);
  }, [at]);
  if (config.text === null || config.text === undefined) {
    return (
      <Empty title="The file is edited on its machine" command={`llm-router config check --config ${config.file ?? "router.yaml"}\nllm-router config set-route …`}>
        <p>This router shows no text to edit. Change the file there, then press Read again: what is not valid changes nothing.</p>
      </Empty>
    );
  }
  const isChanged = text !== before;
  const isChecked = checked?.text === text && !checked.error;
  const check = async () => {
    setBusy(true);
    try {
      const said = await api.change(text, "", true, null);
      setChecked({ text, error: null, warnings: said?.warnings ?? [] });
    } catch (error) {
      setChecked({ text, error, warnings: [] });
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="flex flex-col gap-4">
      <Field label="Configuration" hint="Secrets are shown as ***. What is left as *** keeps its value.">
        {(props) => (
          <textarea
            {...props}
            ref={area}
            className="input min-h-[26rem] font-mono !text-xs"
            rows={Math.min(32, Math.max(16, text.split("\n").length + 1))}
            value={text}
            spellCheck={false}
            onChange={(event) => setText(event.target.value)}
          />
        )}
      </Field>
      {isOld && (
        <p role="status" className="flex flex-wrap items-center gap-3 rounded-md border border-warn/40 bg-warn-soft p-2">
          <span className="min-w-0 flex-1">Another configuration was put in force since this edit began.</span>
          <Button
            onClick={() => {
              setStart({ before: now, base: config.version ?? null });
              setText(now);
            }}
          >
            Begin again from that one
          </Button>
        </p>
      )}
      {checked?.text === text && checked.error !== null && <Refused error={checked.error} />}
      {isChecked && (
        <p role="status" className="rounded-md border border-good/40 bg-good-soft p-2">
          It is valid.{checked.warnings.length > 0 && ` Warnings: ${checked.warnings.join("; ")}`}
        </p>
      )}
      {isChanged && (
        <Section title="What is different">
          <DiffView before={before} after={text} />
        </Section>
      )}
      <div className="flex justify-end gap-2">
        <Button disabled={!isChanged} onClick={() => setText(before)}>
          Undo my changes
        </Button>
        <Button disabled={!isChanged} busy={busy} onClick={() => void check()}>
          Check
        </Button>
        <Button look="primary" disabled={!isChanged || !isChecked} title={isChanged && !isChecked ? "Check it first" : undefined} onClick={() => setSaving(true)}>
          Put in force
        </Button>
      </div>
      {saving && (
        <FormDialog
          title="Put it in force"
          submit="Put in force"
          wide
          onClose={() => setSaving(false)}
          onSubmit={async () => {
            const { version } = await api.change(text, comment.trim(), false, base);
            setMine(version);
            setSaving(false);
            say("It is in force. The version before is kept.");
            await client.invalidateQueries();
          }}
        >
          <DiffView before={before} after={text} />
          <Field label="Why" hint="For those who look at the versions later.">
            {(props) => <input {...props} className="input" value={comment} onChange={(event) => setComment(event.target.value)} />}
          </Field>
        </FormDialog>
      )}
    </div>
  );
}
