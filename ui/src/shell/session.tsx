// Who is here. Everything behind the log-in waits for this.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import { session as endpoints } from "../api/endpoints";
import { ApiError, hasCookieSession, holdToken, whenLoggedOut } from "../api/http";
import type { Me } from "../api/types";
import { Button, ErrorNote } from "../parts/basics";
import { Login } from "../pages/login";
import { ChangePassword } from "../pages/password";

interface Session {
  me: Me;
  isAdmin: boolean;
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

const ANYONE: Me = { user_id: "", username: "anyone", role: "admin" };

/** The user; `null`: somebody must log in. */
async function whoIsHere(): Promise<{ me: Me; isOpen: boolean } | null> {
  try {
    return { me: await endpoints.me(), isOpen: false };
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    const about = await endpoints.about();
    return about.authentication.enabled ? null : { me: ANYONE, isOpen: true };
  }
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
    const { me, isOpen } = here.data;
    const logout = async () => {
      await endpoints.logout();
      holdToken(null);
      // The session is still watched: it changes, while all else is forgotten.
      client.setQueryData(["session"], null);
      client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "session" });
    };
    return { me, isOpen, isAdmin: me.role === "admin", logout };
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
