// A dialog that writes something into the configuration: what it changes is shown before, and can be taken back after.

import { useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { settings } from "../api/endpoints";
import { DiffView } from "../parts/diffview";
import { FormDialog } from "../parts/dialog";
import { say, sayFailed } from "../parts/toast";

interface Props {
  title: string;
  submit?: string;
  danger?: boolean;
  wide?: boolean;
  /** The configuration as it is, and as it would be; `null`: nothing can be written yet. */
  before: string;
  after: string | null;
  /** The version that it was read from. */
  base: number | null;
  /** What its version is called. */
  comment: string;
  /** What is said when it holds. */
  done: string;
  onClose: () => void;
  children: ReactNode;
}

export function WriteConfig({ title, submit = "Put in force", danger, wide, before, after, base, comment, done, onClose, children }: Props) {
  const client = useQueryClient();
  const again = () => client.invalidateQueries();
  return (
    <FormDialog
      title={title}
      submit={submit}
      danger={danger}
      wide={wide}
      disabled={after === null}
      onClose={onClose}
      onSubmit={async () => {
        if (after === null) return;
        await settings.change(after, comment, false, base);
        onClose();
        say(done, { undo: base === null ? undefined : () => void settings.revert(base).then(again, sayFailed("It was not taken back")) });
        await again();
      }}
    >
      {children}
      {after !== null && <DiffView before={before} after={after} />}
    </FormDialog>
  );
}
