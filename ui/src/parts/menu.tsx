// A button that opens a short list of things to do.

import { type LucideIcon } from "lucide-react";
import { useEffect, useId, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { Button, classes } from "./basics";

export interface MenuItem {
  label: string;
  icon?: LucideIcon;
  danger?: boolean;
  disabled?: boolean;
  onSelect: () => void;
}

/** Between the button and the list, and between the list and the window's edge. */
const GAP_PX = 4;

/** Puts the list below its button, or above it where there is no room; a table that scrolls does not cut it off. */
function put(list: HTMLElement, button: DOMRect, align: "left" | "right"): void {
  const { offsetWidth: width, offsetHeight: height } = list;
  const isAbove = button.bottom + GAP_PX + height > window.innerHeight - GAP_PX && button.top - GAP_PX - height >= GAP_PX;
  const left = align === "right" ? button.right - width : button.left;
  list.style.top = `${isAbove ? button.top - GAP_PX - height : button.bottom + GAP_PX}px`;
  list.style.left = `${Math.max(GAP_PX, Math.min(left, window.innerWidth - width - GAP_PX))}px`;
}

export function Menu({ label, icon, items, children, align = "right" }: { label: string; icon?: LucideIcon; items: MenuItem[]; children?: ReactNode; align?: "left" | "right" }) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const button = root.current?.querySelector("button");
    if (open && list.current && button) put(list.current, button.getBoundingClientRect(), align);
  }, [open, align]);
  useEffect(() => {
    if (!open) return;
    list.current?.querySelector<HTMLButtonElement>("button:not(:disabled)")?.focus();
    const outside = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as globalThis.Node)) setOpen(false);
    };
    // What it belongs to moves away from under it.
    const moved = (event: Event) => {
      const isOwn = event.target instanceof globalThis.Node && list.current?.contains(event.target);
      if (!isOwn) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("scroll", moved, true);
    window.addEventListener("resize", moved);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("scroll", moved, true);
      window.removeEventListener("resize", moved);
    };
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
        <div ref={list} id={id} role="menu" tabIndex={-1} aria-label={label} onKeyDown={move} className="fixed z-30 max-h-[calc(100dvh-1rem)] min-w-44 overflow-y-auto rounded-md border border-line bg-raised py-1">
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
