// Who may come in here.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound, MoreHorizontal, Plus, ShieldCheck, Trash2 } from "lucide-react";
import { useMemo, useState } from "react";
import { users as api } from "../api/endpoints";
import { queries } from "../api/queries";
import type { Role, User } from "../api/types";
import { Ago, Badge, Button, Empty, ErrorNote, Field, Tag } from "../parts/basics";
import { Confirm, FormDialog } from "../parts/dialog";
import { Menu } from "../parts/menu";
import { DataTable, TableSkeleton, createColumnHelper } from "../parts/table";
import { say } from "../parts/toast";
import { useSession } from "../shell/session";
import { instant } from "../text/format";
import { PASSWORD_CHARS_MIN, weakness } from "./password";

type Action = { kind: "password" | "role" | "remove"; user: User };

const column = createColumnHelper<User>();
const columns = (act: (action: Action) => void, me: string, isOnlyAdmin: (user: User) => boolean) => [
  column.accessor("username", {
    header: "User",
    meta: { grow: true },
    cell: ({ row: { original: user } }) => (
      <span className="font-medium">
        {user.username} {user.id === me && <Tag>you</Tag>} {user.must_change_password && <Badge tone="warn">must choose a password</Badge>}
      </span>
    ),
  }),
  column.accessor("role", { header: "Role", cell: ({ getValue }) => (getValue() === "admin" ? "administrator" : "viewer") }),
  column.accessor((user) => instant(user.last_login) ?? 0, { id: "login", header: "Last log-in", meta: { right: true }, cell: ({ row }) => (row.original.last_login ? <Ago time={row.original.last_login} /> : <span className="text-muted">never</span>) }),
  column.accessor((user) => instant(user.created_at) ?? 0, { id: "created", header: "Since", meta: { right: true, wide: "sm" }, cell: ({ row }) => <Ago time={row.original.created_at} /> }),
  column.display({
    id: "actions",
    header: () => <span className="sr-only">Actions</span>,
    cell: ({ row: { original: user } }) => (
      <Menu
        label={`Actions for ${user.username}`}
        icon={MoreHorizontal}
        items={[
          { label: "Set a password", icon: KeyRound, onSelect: () => act({ kind: "password", user }) },
          { label: user.role === "admin" ? "Make a viewer" : "Make an administrator", icon: ShieldCheck, disabled: isOnlyAdmin(user), onSelect: () => act({ kind: "role", user }) },
          { label: "Delete", icon: Trash2, danger: true, disabled: isOnlyAdmin(user), onSelect: () => act({ kind: "remove", user }) },
        ]}
      />
    ),
  }),
];

export default function UsersPage() {
  const { me } = useSession();
  const client = useQueryClient();
  const found = useQuery(queries.users());
  const [adding, setAdding] = useState(false);
  const [action, setAction] = useState<Action | null>(null);
  const admins = found.data?.filter((user) => user.role === "admin").length ?? 0;
  const table = useMemo(() => columns(setAction, me.user_id, (user) => user.role === "admin" && admins <= 1), [me.user_id, admins]);
  const done = (words: string) => {
    setAction(null);
    setAdding(false);
    say(words);
    void client.invalidateQueries({ queryKey: ["users"] });
  };
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Users</h1>
      <div className="flex flex-wrap items-center gap-2">
        <p className="text-muted">Administrators change things; viewers see all but keys, users, settings and audit. The last administrator stays.</p>
        <Button className="ml-auto" look="primary" icon={Plus} onClick={() => setAdding(true)}>
          Add a user
        </Button>
      </div>
      {found.error && !found.data && <ErrorNote what="Users" error={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <TableSkeleton rows={3} />}
      {found.data?.length === 0 && <Empty title="No user yet" action={<Button look="primary" onClick={() => setAdding(true)}>Add the first</Button>} />}
      {found.data && found.data.length > 0 && <DataTable label="Users" columns={table} rows={found.data} rowId={(user) => user.id} pageRows={50} />}
      {adding && <AddUser onClose={() => setAdding(false)} onDone={(name) => done(`${name} can log in.`)} />}
      {action?.kind === "password" && <SetPassword user={action.user} onClose={() => setAction(null)} onDone={() => done(`${action.user.username} has a new password.`)} />}
      {action?.kind === "role" && (
        <Confirm
          title={action.user.role === "admin" ? `Make ${action.user.username} a viewer` : `Make ${action.user.username} an administrator`}
          action="Change the role"
          onClose={() => setAction(null)}
          onConfirm={async () => {
            await api.change(action.user.id, { role: action.user.role === "admin" ? "viewer" : "admin" });
            done("The role is changed.");
          }}
        >
          <p>{action.user.role === "admin" ? "They can look, and change nothing any more." : "They can change everything, other administrators too."}</p>
        </Confirm>
      )}
      {action?.kind === "remove" && (
        <Confirm
          title={`Delete ${action.user.username}`}
          action="Delete"
          typed={action.user.username}
          onClose={() => setAction(null)}
          onConfirm={async () => {
            await api.remove(action.user.id);
            done(`${action.user.username} is deleted.`);
          }}
        >
          <p>They are logged out and cannot come in again. Keys that they made stay valid.</p>
        </Confirm>
      )}
    </div>
  );
}

/** Letters and digits that cannot be taken for each other. */
const ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789";

/** A password of twenty characters, each equally likely. */
export function generated(): string {
  let text = "";
  while (text.length < 20) {
    // A rest would make the first letters likelier.
    for (const byte of crypto.getRandomValues(new Uint8Array(32))) if (byte < 256 - (256 % ALPHABET.length) && text.length < 20) text += ALPHABET[byte % ALPHABET.length];
  }
  return text;
}

function Password({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <Field label="Password" hint={`At least ${PASSWORD_CHARS_MIN} characters, without the user name. Tell it to them on another way than their name.`}>
      {(props) => (
        <span className="flex gap-2">
          <input {...props} className="input font-mono" value={value} onChange={(event) => onChange(event.target.value)} autoComplete="off" spellCheck={false} minLength={PASSWORD_CHARS_MIN} required />
          <Button onClick={() => onChange(generated())}>Generate</Button>
        </span>
      )}
    </Field>
  );
}

function AddUser({ onClose, onDone }: { onClose: () => void; onDone: (name: string) => void }) {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  return (
    <FormDialog
      title="Add a user"
      submit="Add"
      onClose={onClose}
      disabled={!username.trim() || weakness(password, username.trim()) !== null}
      onSubmit={async () => {
        await api.create({ username: username.trim(), password, role });
        onDone(username.trim());
      }}
    >
      <Field label="User name">{(props) => <input {...props} className="input" value={username} onChange={(event) => setUsername(event.target.value)} autoComplete="off" autoCapitalize="none" spellCheck={false} required />}</Field>
      <Password value={password} onChange={setPassword} />
      <Field label="Role">
        {(props) => (
          <select {...props} className="input" value={role} onChange={(event) => setRole(event.target.value as Role)}>
            <option value="viewer">Viewer: looks</option>
            <option value="admin">Administrator: changes things</option>
          </select>
        )}
      </Field>
    </FormDialog>
  );
}

function SetPassword({ user, onClose, onDone }: { user: User; onClose: () => void; onDone: () => void }) {
  const [password, setPassword] = useState("");
  return (
    <FormDialog
      title={`A password for ${user.username}`}
      submit="Set"
      onClose={onClose}
      disabled={weakness(password, user.username) !== null}
      onSubmit={async () => {
        await api.change(user.id, { password });
        onDone();
      }}
    >
      <Password value={password} onChange={setPassword} />
    </FormDialog>
  );
}
