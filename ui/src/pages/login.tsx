// The door.

import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { session } from "../api/endpoints";
import { Button, Field } from "../parts/basics";
import { Refused } from "../parts/dialog";

/** A page of its own with nothing else on it. */
export function Door({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <main className="flex min-h-full items-start justify-center bg-sunken p-4 pt-[14vh]">
      <div className="w-full max-w-sm rounded-lg border border-line bg-bg p-6">
        <div className="mb-5 flex items-center gap-2.5">
          <img src="/dashboard/icon.svg" alt="" className="size-7" />
          <h1 className="text-lg font-semibold">{title}</h1>
        </div>
        {children}
      </div>
    </main>
  );
}

export function Login({ onLogin, onKey }: { onLogin: (username: string, password: string) => Promise<void>; onKey: (key: string) => Promise<void> }) {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [isKey, setIsKey] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const about = useQuery({ queryKey: ["about"], queryFn: session.about, staleTime: Number.POSITIVE_INFINITY });
  const elsewhere = about.data?.authentication.oidc;
  const send = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await (isKey ? onKey(password.trim()) : onLogin(username.trim(), password));
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <Door title="LLM Router">
      <form onSubmit={send} className="flex flex-col gap-4">
        {!isKey && (
          <Field label="User name">
            {/* The first thing that is done here. */}
            {(props) => <input {...props} className="input h-9" value={username} onChange={(event) => setUsername(event.target.value)} autoComplete="username" autoCapitalize="none" spellCheck={false} required autoFocus />}
          </Field>
        )}
        {isKey ? (
          <Field label="API key" hint="It shows what the key has used, and what else it may see. It is kept until the page is closed, and nowhere else.">
            {(props) => <input {...props} className="input h-9 font-mono" type="password" value={password} onChange={(event) => setPassword(event.target.value)} placeholder="sk_…" autoComplete="off" spellCheck={false} required autoFocus />}
          </Field>
        ) : (
          <Field label="Password">
            {(props) => <input {...props} className="input h-9" type="password" value={password} onChange={(event) => setPassword(event.target.value)} autoComplete="current-password" required />}
          </Field>
        )}
        {error !== null && <Refused error={error} />}
        <Button type="submit" look="primary" busy={busy} className="h-9">
          {isKey ? "Show its use" : "Log in"}
        </Button>
        {elsewhere && !isKey && (
          <a href="/api/auth/oidc/login" className="inline-flex h-9 items-center justify-center rounded-md border border-line-strong/60 px-2.5 font-medium hover:bg-hover">
            Log in with {elsewhere}
          </a>
        )}
        <button
          type="button"
          className="link self-start"
          onClick={() => {
            setIsKey(!isKey);
            setPassword("");
            setError(null);
          }}
        >
          {isKey ? "Log in with a user name" : "I have an API key only"}
        </button>
      </form>
      {!isKey && (
        <p className="mt-5 text-xs text-muted">
          The first administrator is <code>admin</code>; the router printed the password when it first started. It is lost? <code>llm-router user set-password admin</code> on the router&rsquo;s machine sets another.
        </p>
      )}
    </Door>
  );
}
