// Go to anything, do anything: places, nodes, models, keys, a request's id, and a few commands.

import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Activity, Boxes, CornerDownLeft, Eraser, KeyRound, Moon, RefreshCw, Server, type LucideIcon } from "lucide-react";
import { useId, useMemo, useState, type KeyboardEvent } from "react";
import { services } from "../api/endpoints";
import { queries } from "../api/queries";
import { classes } from "../parts/basics";
import { Dialog } from "../parts/dialog";
import { say, sayFailed } from "../parts/toast";
import { plural } from "../text/format";
import { matches } from "../text/search";
import { isFor, PLACES } from "./places";
import { useSession } from "./session";
import { useTheme } from "./theme";

interface Entry {
  id: string;
  kind: string;
  name: string;
  words: string;
  icon: LucideIcon;
  run: () => void;
}

const SHOWN_MAX = 12;

/** What a request's id may look like: long, and without spaces. */
const isId = (text: string) => /^[\w.:-]{8,128}$/.test(text);

export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const navigate = useNavigate();
  const session = useSession();
  const { isAdmin, isReader } = session;
  const { toggle } = useTheme();
  const { data: nodes = [] } = useQuery({ ...queries.nodes(), enabled: isReader });
  const { data: models = [] } = useQuery(queries.models());
  const { data: keys = [] } = useQuery({ ...queries.keys(), enabled: isAdmin });

  const all = useMemo(() => {
    const go = (to: string, search?: Record<string, string>) => () => void navigate({ to, search: search as never });
    const entries: Entry[] = PLACES.filter((place) => isFor(place, session)).map(({ to, name, words, icon }) => ({ id: to, kind: "Go to", name, words, icon, run: go(to) }));
    entries.push({ id: "theme", kind: "Do", name: "Change the theme", words: "dark light", icon: Moon, run: toggle });
    if (isAdmin) {
      const reload = () => void services.reload().then(() => say("The configuration was read again."), sayFailed("Reading the configuration failed"));
      entries.push({ id: "new-key", kind: "Do", name: "Create a key", words: "new api", icon: KeyRound, run: go("/dashboard/keys", { new: "1" }) });
      const forget = () => void services.forget().then(({ flushed }) => say(`${plural(flushed, "remembered answer")} forgotten.`), sayFailed("Nothing was forgotten"));
      entries.push({ id: "forget", kind: "Do", name: "Forget remembered answers", words: "cache flush clear", icon: Eraser, run: forget });
      entries.push({ id: "reload", kind: "Do", name: "Read the configuration again", words: "reload file", icon: RefreshCw, run: reload });
    }
    for (const node of nodes) entries.push({ id: `n-${node.id}`, kind: "Node", name: node.custom_name ?? node.machine_name, words: `${node.machine_name} ${node.ip_address} ${node.tags.join(" ")}`, icon: Server, run: go(`/dashboard/nodes/${node.id}`) });
    for (const model of models) entries.push({ id: `m-${model.id}`, kind: "Model", name: model.id, words: model.service ?? "", icon: Boxes, run: go("/dashboard/models", { q: model.id }) });
    for (const key of keys) entries.push({ id: `k-${key.id}`, kind: "Key", name: key.name, words: `${key.prefix ?? ""} ${key.owner ?? ""}`, icon: KeyRound, run: go("/dashboard/keys", { q: key.name }) });
    return entries;
  }, [nodes, models, keys, session, isAdmin, navigate, toggle]);

  const found = useMemo(() => {
    const hits = all.filter(({ name, words, kind }) => matches(text, `${name} ${words} ${kind}`)).slice(0, SHOWN_MAX);
    const wanted = text.trim();
    if (isId(wanted)) hits.push({ id: "request", kind: "Request", name: wanted, words: "", icon: Activity, run: () => void navigate({ to: "/dashboard/requests/$id", params: { id: wanted } }) });
    else if (wanted) hits.push({ id: "search", kind: "Search requests", name: wanted, words: "", icon: Activity, run: () => void navigate({ to: "/dashboard/requests", search: { q: wanted } as never }) });
    return hits;
  }, [all, text, navigate]);

  const chosen = Math.min(at, found.length - 1);
  const run = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    entry.run();
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setAt((chosen + (event.key === "ArrowDown" ? 1 : -1) + found.length) % Math.max(1, found.length));
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(found[chosen]);
    }
  };

  return (
    <Dialog title="Search or go to" onClose={onClose}>
      <input
        className="input h-9"
        type="search"
        role="combobox"
        aria-label="Search"
        aria-expanded="true"
        aria-controls={list}
        aria-activedescendant={found[chosen] ? `${list}-${chosen}` : undefined}
        placeholder="A page, a node, a model, a key, a request id…"
        value={text}
        autoFocus
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={press}
      />
      <div role="listbox" id={list} aria-label="Found" className="mt-3 flex flex-col gap-px">
        {found.map((entry, n) => (
          <div
            key={entry.id}
            id={`${list}-${n}`}
            role="option"
            tabIndex={-1}
            aria-selected={n === chosen}
            onPointerMove={() => setAt(n)}
            onClick={() => run(entry)}
            className={classes("flex h-8 cursor-pointer items-center gap-2.5 rounded-md px-2", n === chosen && "bg-hover")}
          >
            <entry.icon className="size-3.5 shrink-0 text-muted" aria-hidden />
            <span className="min-w-0 flex-1 truncate">{entry.name}</span>
            <span className="text-xs text-muted">{entry.kind}</span>
            {n === chosen && <CornerDownLeft className="size-3 text-muted" aria-hidden />}
          </div>
        ))}
      </div>
      {found.length === 0 && <p className="py-2 text-muted">Nothing has that in its name.</p>}
    </Dialog>
  );
}
