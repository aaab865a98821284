// Changed lines with a little around them.

import { diff, folded } from "../text/diff";
import { classes } from "./basics";

const MARKS = { same: " ", added: "+", removed: "−" };
const LOOKS = { same: "", added: "bg-good-soft text-good", removed: "bg-bad-soft text-bad" };
const WORDS = { same: "", added: "added: ", removed: "removed: " };

export function DiffView({ before, after, same = "Nothing is different." }: { before: string; after: string; same?: string }) {
  const lines = diff(before, after);
  if (lines.every((line) => line.kind === "same")) return <p className="text-muted">{same}</p>;
  return (
    <div tabIndex={0} role="group" aria-label="What is different" className="max-h-[28rem] overflow-auto rounded-md border border-line bg-sunken py-2 font-mono text-xs leading-relaxed">
      {folded(lines).map((line, n) =>
        line === null ? (
          <div key={n} className="px-3 text-muted select-none">
            ⋯
          </div>
        ) : (
          <div key={n} className={classes("px-3 break-words whitespace-pre-wrap", LOOKS[line.kind])}>
            <span aria-hidden className="select-none">
              {MARKS[line.kind]}{" "}
            </span>
            <span className="sr-only">{WORDS[line.kind]}</span>
            {line.text}
          </div>
        ),
      )}
    </div>
  );
}
