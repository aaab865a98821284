// Who is here. Everything behind the log-in waits for this.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import { session as endpoints } from "../api/endpoints";
import { ApiError, hasCookieSession, holdKey, holdsKey, holdToken, whenLoggedOut } from "../api/http";
import type { Me } from "../api/types";
import { Button, ErrorNote } from "../parts/basics";
import { Login } from "../pages/login";
import { ChangePassword } from "../pages/password";

interface Session {
  me: Me;
  isAdmin: boolean;
  /** May see nodes, records and everybody's use. Who holds a key that may not sees its own use. */
  isReader: boolean;
  /** Without authentication everybody is an administrator, and there is nothing to log out of. */
  isOpen: boolean;
  logout: () => Promise<void>;
}

const Context = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(Context);
  if (!session) throw new Error("used outside of a session");
  return session;
}

interface Here {
  me: Me;
  isOpen: boolean;
  isAdmin: boolean;
  isReader: boolean;
}

const ANYONE: Here = { me: { user_id: "", username: "anyone", role: "admin" }, isOpen: true, isAdmin: true, isReader: true };

/** The user; `null`: somebody must log in. */
async function whoIsHere(): Promise<Here | null> {
  if (holdsKey()) return keyHolder();
  try {
    const me = await endpoints.me();
    return { me, isOpen: false, isAdmin: me.role === "admin", isReader: true };
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    const about = await endpoints.about();
    return about.authentication.enabled ? null : ANYONE;
  }
}

/** Whether the router lets this caller do something; other faults than a refusal are thrown. */
const may = (work: Promise<unknown>): Promise<boolean> =>
  work.then(
    () => true,
    (error: unknown) => {
      if (error instanceof ApiError && error.status === 403) return false;
      throw error;
    },
  );

/** Whoever holds a key: what it may is found out by asking. */
async function keyHolder(): Promise<Here> {
  const own = await endpoints.ownUse();
  const [isReader, isAdmin] = await Promise.all([may(endpoints.mayRead()), may(endpoints.mayAdminister())]);
  const name = own.rows.length === 1 ? own.rows[0]?.name : null;
  return { me: { user_id: "", username: name || "an API key", role: "key" }, isOpen: false, isAdmin, isReader };
}

export function SessionGate({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const here = useQuery({ queryKey: ["session"], queryFn: whoIsHere, staleTime: Number.POSITIVE_INFINITY, retry: 1 });
  const [mustChange, setMustChange] = useState<{ id: string; password: string } | null>(null);

  useEffect(() => {
    whenLoggedOut(() => {
      holdToken(null);
      client.setQueryData(["session"], null);
    });
  }, [client]);

  const value = useMemo<Session | null>(() => {
    if (!here.data) return null;
    const logout = async () => {
      // A key has no session that could be ended.
      if (!holdsKey()) await endpoints.logout();
      holdToken(null);
      // The session is still watched: it changes, while all else is forgotten.
      client.setQueryData(["session"], null);
      client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "session" });
    };
    return { ...here.data, logout };
  }, [here.data, client]);

  const enter = async () => {
    await client.resetQueries();
  };

  if (here.isPending) return <Waiting />;
  if (here.error && !here.data) {
    return (
      <main className="mx-auto max-w-lg p-6 pt-24">
        <ErrorNote what="The router" error={here.error} retry={() => void here.refetch()} />
      </main>
    );
  }
  if (!value) {
    return (
      <Login
        onLogin={async (username, password) => {
          const said = await endpoints.login(username, password);
          if (!hasCookieSession()) holdToken(said.token);
          if (said.user.must_change_password) setMustChange({ id: said.user.id, password });
          await enter();
        }}
        onKey={async (key) => {
          holdKey(key);
          try {
            client.setQueryData(["session"], await keyHolder());
          } catch (error) {
            holdToken(null);
            throw error;
          }
        }}
      />
    );
  }
  if (mustChange || value.me.must_change_password) {
    return (
      <ChangePassword
        me={value.me}
        old={mustChange?.password}
        onDone={async () => {
          setMustChange(null);
          await enter();
        }}
        onLogout={value.logout}
      />
    );
  }
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

/** Shown only where the router takes longer than a moment; never without a way on. */
function Waiting() {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 4000);
    return () => clearTimeout(timer);
  }, []);
  if (!late) return null;
  return (
    <main className="mx-auto flex max-w-lg flex-col items-start gap-3 p-6 pt-24">
      <h1 className="text-lg font-semibold">The router takes its time</h1>
      <p className="text-muted">No answer yet. It may be starting or very busy.</p>
      <Button onClick={() => location.reload()}>Load again</Button>
    </main>
  );
}
