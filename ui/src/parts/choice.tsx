// One of a few, as buttons of which one is pressed.

export function Choice<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void }) {
  return (
    <div role="group" aria-label={label} className="inline-flex overflow-hidden rounded-md border border-line-strong/60">
      {options.map(([id, name]) => (
        <button key={id} type="button" aria-pressed={value === id} onClick={() => onChange(id)} className={`h-[1.875rem] px-2.5 -outline-offset-2 ${value === id ? "bg-accent-soft font-medium text-accent" : "hover:bg-hover"}`}>
          {name}
        </button>
      ))}
    </div>
  );
}
