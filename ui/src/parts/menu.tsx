// A button that opens a short list of things to do.

import { type LucideIcon } from "lucide-react";
import { useEffect, useId, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { Button, classes } from "./basics";

export interface MenuItem {
  label: string;
  icon?: LucideIcon;
  danger?: boolean;
  disabled?: boolean;
  onSelect: () => void;
}

export function Menu({ label, icon, items, children, align = "right" }: { label: string; icon?: LucideIcon; items: MenuItem[]; children?: ReactNode; align?: "left" | "right" }) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  useEffect(() => {
    if (!open) return;
    list.current?.querySelector<HTMLButtonElement>("button:not(:disabled)")?.focus();
    const outside = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as globalThis.Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  const close = () => {
    setOpen(false);
    root.current?.querySelector<HTMLButtonElement>("button")?.focus();
  };
  const move = (event: KeyboardEvent) => {
    const buttons = [...(list.current?.querySelectorAll<HTMLButtonElement>("button:not(:disabled)") ?? [])];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      event.stopPropagation();
      close();
    } else if (to !== undefined) {
      event.preventDefault();
      buttons[(to + buttons.length) % buttons.length]?.focus();
    }
  };
  return (
    <div ref={root} className="relative">
      <Button look="quiet" icon={icon} aria-label={children ? undefined : label} title={label} aria-haspopup="menu" aria-expanded={open} aria-controls={open ? id : undefined} onClick={() => setOpen(!open)}>
        {children}
      </Button>
      {open && (
        <div ref={list} id={id} role="menu" tabIndex={-1} aria-label={label} onKeyDown={move} className={classes("absolute z-30 mt-1 min-w-44 rounded-md border border-line bg-raised py-1", align === "right" ? "right-0" : "left-0")}>
          {items.map(({ label: text, icon: Icon, danger, disabled, onSelect }) => (
            <button
              key={text}
              type="button"
              role="menuitem"
              disabled={disabled}
              onClick={() => {
                close();
                onSelect();
              }}
              className={classes("flex h-8 w-full items-center gap-2 px-3 text-left whitespace-nowrap hover:bg-hover focus:bg-hover disabled:opacity-50", danger && "text-bad")}
            >
              {Icon && <Icon className="size-3.5 shrink-0" aria-hidden />}
              {text}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
