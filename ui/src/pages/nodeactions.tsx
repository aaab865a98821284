// What can be done to a node, said before it is done.

import { Check, LogOut, PauseCircle, Pencil, PlayCircle, Trash2 } from "lucide-react";
import { useState } from "react";
import { nodes } from "../api/endpoints";
import type { Node } from "../api/types";
import { Field } from "../parts/basics";
import { Confirm, FormDialog } from "../parts/dialog";
import type { MenuItem } from "../parts/menu";
import { say, sayFailed } from "../parts/toast";
import { plural } from "../text/format";

export type NodeAction = "edit" | "approve" | "drain" | "resume" | "disconnect" | "remove";

export function nodeItems(node: Node, act: (action: NodeAction) => void): MenuItem[] {
  const isPending = node.status === "pending" || node.state === "pending";
  const isThere = node.status === "online" || node.status === "registering";
  return [
    ...(isPending ? [{ label: "Approve", icon: Check, onSelect: () => act("approve") }] : []),
    { label: "Name, tags and notes", icon: Pencil, onSelect: () => act("edit") },
    node.state === "draining" || node.status === "draining"
      ? { label: "Take requests again", icon: PlayCircle, onSelect: () => act("resume") }
      : { label: "Drain", icon: PauseCircle, disabled: !isThere, onSelect: () => act("drain") },
    { label: "Disconnect", icon: LogOut, disabled: node.status === "offline", onSelect: () => act("disconnect") },
    { label: "Delete", icon: Trash2, danger: true, onSelect: () => act("remove") },
  ];
}

export function NodeActions({ node, action, onClose, onDone }: { node: Node; action: NodeAction; onClose: () => void; onDone: () => void }) {
  const name = node.custom_name ?? node.machine_name;
  const run = (work: () => Promise<unknown>, words: string, back?: () => Promise<unknown>) => async () => {
    await work();
    say(words, { undo: back && (() => void back().then(onDone, sayFailed("It was not taken back"))) });
    onDone();
  };
  const inFlight = node.active_requests > 0 ? `${plural(node.active_requests, "request")} in flight there` : "Nothing is in flight there";
  if (action === "edit") return <Edit node={node} onClose={onClose} onDone={onDone} />;
  if (action === "approve") {
    return (
      <FormDialog title={`Approve ${name}`} submit="Approve" onClose={onClose} onSubmit={run(() => nodes.approve(node.id), `${name} may take requests now.`)}>
        <p>It will get requests for the models that it has. It says that it is at {node.ip_address}.</p>
      </FormDialog>
    );
  }
  if (action === "drain") {
    return (
      <Confirm title={`Drain ${name}`} action="Drain" onClose={onClose} onConfirm={run(() => nodes.drain(node.id), `${name} gets nothing new.`, () => nodes.drain(node.id, false))}>
        <p>It gets no new requests and finishes what it has. {inFlight}.</p>
        <p className="text-muted">It takes requests again when it is told to.</p>
      </Confirm>
    );
  }
  if (action === "resume") {
    return (
      <FormDialog title={`Let ${name} take requests again`} submit="Take requests" onClose={onClose} onSubmit={run(() => nodes.drain(node.id, false), `${name} takes requests again.`)}>
        <p>It gets requests for the models that it has, as the others do.</p>
      </FormDialog>
    );
  }
  if (action === "disconnect") {
    return (
      <Confirm title={`Disconnect ${name}`} action="Disconnect" onClose={onClose} onConfirm={run(() => nodes.disconnect(node.id), `${name} is off line until it reports again.`)}>
        <p>It counts as offline at once. {inFlight}. A node that still runs comes back with its next report.</p>
      </Confirm>
    );
  }
  return (
    <Confirm title={`Delete ${name}`} action="Delete" typed={name} onClose={onClose} onConfirm={run(() => nodes.remove(node.id), `${name} is deleted.`)}>
      <p>Its record, settings and token are removed; its past requests stay in the history. A node that still runs has to register anew.</p>
    </Confirm>
  );
}

export function Edit({ node, onClose, onDone }: { node: Node; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState(node.custom_name ?? "");
  const [tags, setTags] = useState(node.tags.join(", "));
  const [notes, setNotes] = useState(node.notes ?? "");
  const before = { custom_name: node.custom_name, tags: node.tags, notes: node.notes };
  const save = async () => {
    await nodes.settings(node.id, { custom_name: name.trim() || null, tags: words(tags), notes: notes.trim() || null });
    say("Saved.", { undo: () => void nodes.settings(node.id, before).then(onDone) });
    onDone();
  };
  return (
    <FormDialog title={`Settings of ${node.machine_name}`} submit="Save" onSubmit={save} onClose={onClose}>
      <Field label="Name" hint="Shown instead of the machine's own.">
        {(props) => <input {...props} className="input" value={name} placeholder={node.machine_name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <Field label="Tags" hint="Between commas. Routes can ask for them.">
        {(props) => <input {...props} className="input" value={tags} onChange={(event) => setTags(event.target.value)} />}
      </Field>
      <Field label="Notes">{(props) => <textarea {...props} className="input" rows={4} value={notes} onChange={(event) => setNotes(event.target.value)} />}</Field>
    </FormDialog>
  );
}

/** What stands between commas, each once. */
export const words = (text: string): string[] => [...new Set(text.split(",").map((word) => word.trim()).filter(Boolean))];
