// Dialogs are the browser's own: it keeps the focus inside, closes on Escape and gives the focus back. Nothing is injected into the page,
// so that its policy can forbid inline styles.

import { X } from "lucide-react";
import { useEffect, useId, useRef, useState, type FormEvent, type ReactNode } from "react";
import { ApiError } from "../api/http";
import { Button, Field, classes } from "./basics";

export function Dialog({ title, onClose, children, wide, side }: { title: string; onClose: () => void; children: ReactNode; wide?: boolean; side?: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (!element || element.open) return;
    element.showModal();
    // The first thing to fill in, not the button that closes.
    element.querySelector<HTMLElement>("[data-content] :is(input,textarea,select)")?.focus();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => {
        // A press on the backdrop is one on the dialog itself.
        if (event.target === dialog.current) onClose();
      }}
      className={classes(
        "m-auto w-[calc(100vw-1.5rem)] rounded-lg border border-line bg-bg p-0 text-sm text-text",
        side ? "mr-0 h-dvh max-h-none max-w-2xl rounded-none border-y-0 border-r-0" : classes("max-h-[calc(100dvh-3rem)]", wide ? "max-w-3xl" : "max-w-lg"),
      )}
    >
      <div className="flex max-h-[inherit] flex-col">
        <header className="sticky top-0 z-10 flex items-center gap-2 border-b border-line bg-bg px-4 py-2">
          <h2 id={id} className="min-w-0 flex-1 truncate text-base font-semibold">
            {title}
          </h2>
          <Button look="quiet" icon={X} aria-label="Close" onClick={onClose} />
        </header>
        <div data-content className="min-h-0 p-4">{children}</div>
      </div>
    </dialog>
  );
}

/** A form in a dialog: what the router refuses stays beside it. */
export function FormDialog({
  title,
  submit,
  onSubmit,
  onClose,
  children,
  wide,
  danger,
  disabled,
}: {
  title: string;
  submit: string;
  onSubmit: () => Promise<unknown>;
  onClose: () => void;
  children: ReactNode;
  wide?: boolean;
  danger?: boolean;
  disabled?: boolean;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const send = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await onSubmit();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose} wide={wide}>
      <form onSubmit={send} className="flex flex-col gap-4">
        {children}
        {error !== null && <Refused error={error} />}
        <div className="flex flex-wrap justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look={danger ? "danger" : "primary"} busy={busy} disabled={disabled}>
            {submit}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** What the router said to something that was asked of it. */
export function Refused({ error }: { error: unknown }) {
  const failure = error instanceof ApiError ? error : null;
  const text = failure?.isMissing ? "This router cannot do that: it is older than this page, or was built without that part." : error instanceof Error ? error.message : String(error);
  const problems = failure?.problems ?? [];
  return (
    <div role="alert" className="rounded-md border border-bad/40 bg-bad-soft p-2 break-words">
      {text}
      {problems.length > 1 && (
        <ul className="mt-1 list-disc pl-5">
          {problems.map(({ message, key, line }) => (
            <li key={`${key}-${line}-${message}`}>
              {line ? `line ${line}: ` : ""}
              {message}
            </li>
          ))}
        </ul>
      )}
      {failure?.requestId && <span className="mt-1 block font-mono text-xs text-muted">request {failure.requestId}</span>}
    </div>
  );
}

/** Says what will happen; what cannot be taken back wants its name typed. */
export function Confirm({
  title,
  children,
  action,
  typed,
  onConfirm,
  onClose,
}: {
  title: string;
  children: ReactNode;
  action: string;
  typed?: string;
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
}) {
  const [text, setText] = useState("");
  return (
    <FormDialog title={title} submit={action} onSubmit={onConfirm} onClose={onClose} danger disabled={typed !== undefined && text.trim() !== typed}>
      <div className="flex flex-col gap-2">{children}</div>
      {typed !== undefined && (
        <Field label={`Type ${typed} to confirm`}>{(props) => <input {...props} className="input" value={text} autoComplete="off" spellCheck={false} onChange={(event) => setText(event.target.value)} />}</Field>
      )}
    </FormDialog>
  );
}
