// Fields above a table.

import { useEffect, useRef, useState } from "react";

/** How long typing rests before it is asked for. */
const TYPING_MS = 300;

/** A field that is asked for when typing rests. */
export function Typed({ label, value = "", onChange, className, ...rest }: { label: string; placeholder?: string; value?: string; type?: string; min?: number; step?: string; className?: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const send = useRef(onChange);
  send.current = onChange;
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => send.current(text.trim()), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, value]);
  return (
    <div className={className}>
      <input aria-label={label} className="input" value={text} onChange={(event) => setText(event.target.value)} spellCheck={false} autoComplete="off" {...rest} />
    </div>
  );
}

export function Select({ label, value = "", onChange, options }: { label: string; value?: string; onChange: (value: string) => void; options: [string, string][] }) {
  return (
    <select aria-label={label} className="input w-auto max-w-44" value={value} onChange={(event) => onChange(event.target.value)}>
      {options.map(([id, name]) => (
        <option key={id} value={id}>
          {name}
        </option>
      ))}
    </select>
  );
}
