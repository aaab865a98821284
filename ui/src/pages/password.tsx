// A generated password is changed before anything else is done.

import { useState, type FormEvent } from "react";
import { session, users } from "../api/endpoints";
import { ApiError, holdToken, hasCookieSession } from "../api/http";
import type { Me } from "../api/types";
import { Button, Field } from "../parts/basics";
import { Refused } from "../parts/dialog";
import { say } from "../parts/toast";
import { Door } from "./login";

/** The router's own rule: its API refuses what this refuses. */
export const PASSWORD_CHARS_MIN = 12;

/** What makes a password one that a user must not have; `null`: nothing. */
export function weakness(password: string, username: string): string | null {
  if ([...password].length < PASSWORD_CHARS_MIN) return `At least ${PASSWORD_CHARS_MIN} characters: a few words in a row are easy to keep in mind.`;
  if ([...username].length >= 4 && password.toLowerCase().includes(username.toLowerCase())) return "It must not have the user name in it.";
  return null;
}

/** What is wrong with a new password; `null`: nothing. */
export function fault(password: string, again: string, username: string, old?: string): string | null {
  const weak = weakness(password, username);
  if (weak) return weak;
  if (password === old) return "That is the password you have now.";
  if (password !== again) return "The two are not the same.";
  return null;
}

export function ChangePassword({ me, old, onDone, onLogout }: { me: Me; old?: string; onDone: () => Promise<void>; onLogout: () => Promise<void> }) {
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const wrong = fault(password, again, me.username, old);
  const send = async (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (wrong) return;
    setBusy(true);
    setError(null);
    try {
      await users.change(me.user_id, { password });
      // The old session may have ended with the old password.
      const said = await session.login(me.username, password);
      if (!hasCookieSession()) holdToken(said.token);
      say("The password is changed.");
      await onDone();
    } catch (failure) {
      if (failure instanceof ApiError && failure.isMissing) {
        // Nobody is locked out by a part that is not there.
        say("This router has no way to change a password from here.", { tone: "bad" });
        await onDone();
        return;
      }
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <Door title="Choose a new password">
      <p className="mb-4 text-muted">
        Your password was made by the router and has been on a screen. Choose one that only you know, <b className="text-text">{me.username}</b>.
      </p>
      <form onSubmit={send} className="flex flex-col gap-4">
        <Field label="New password" hint={`At least ${PASSWORD_CHARS_MIN} characters.`} error={tried && wrong !== "The two are not the same." ? wrong : null}>
          {(props) => <input {...props} className="input h-9" type="password" value={password} onChange={(event) => setPassword(event.target.value)} autoComplete="new-password" required autoFocus />}
        </Field>
        <Field label="Once more" error={tried && wrong === "The two are not the same." ? wrong : null}>
          {(props) => <input {...props} className="input h-9" type="password" value={again} onChange={(event) => setAgain(event.target.value)} autoComplete="new-password" required />}
        </Field>
        {error !== null && <Refused error={error} />}
        <div className="flex gap-2">
          <Button type="submit" look="primary" busy={busy} className="h-9 flex-1">
            Change and go on
          </Button>
          <Button className="h-9" onClick={() => void onLogout()}>
            Log out
          </Button>
        </div>
      </form>
    </Door>
  );
}
