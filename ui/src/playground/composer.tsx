// What is asked next, with pictures.

import { ArrowUp, ImagePlus, Square, X } from "lucide-react";
import { useEffect, useRef, useState, type DragEvent } from "react";
import { Button } from "../parts/basics";
import { say } from "../parts/toast";
import { bytes } from "../text/format";
import type { Part } from "./chat";

const PICTURE_BYTES_MAX = 10 << 20;
const PICTURES_MAX = 8;
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];

const read = (file: File) =>
  new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });

export function Composer({ busy, disabled, onSend, onStop }: { busy: boolean; disabled: boolean; onSend: (content: string | Part[]) => Promise<boolean>; onStop: () => void }) {
  const [text, setText] = useState("");
  const [pictures, setPictures] = useState<string[]>([]);
  const area = useRef<HTMLTextAreaElement>(null);
  const file = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight + 2, 240)}px`;
  }, [text]);

  const add = async (files: Iterable<File>) => {
    for (const one of files) {
      if (!KINDS.includes(one.type)) say(`${one.name}: only PNG, JPEG, WebP and GIF can be sent.`, { tone: "bad" });
      else if (one.size > PICTURE_BYTES_MAX) say(`${one.name} has ${bytes(one.size)}; at most ${bytes(PICTURE_BYTES_MAX)} can be sent.`, { tone: "bad" });
      else {
        const url = await read(one);
        setPictures((all) => [...all, url].slice(0, PICTURES_MAX));
      }
    }
  };
  const send = async () => {
    const asked = text.trim();
    if (busy || disabled || (!asked && pictures.length === 0)) return;
    const content = pictures.length === 0 ? asked : [...pictures.map((url): Part => ({ type: "image_url", image_url: { url } })), ...(asked ? [{ type: "text" as const, text: asked }] : [])];
    setText("");
    setPictures([]);
    if (!(await onSend(content))) setText(asked);
    area.current?.focus();
  };
  const drop = (event: DragEvent) => {
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    void add(event.dataTransfer.files);
  };
  return (
    <div className="border-t border-line p-3" onDrop={drop} onDragOver={(event) => event.preventDefault()}>
      <div className="mx-auto max-w-3xl">
        {pictures.length > 0 && (
          <ul className="mb-2 flex flex-wrap gap-2">
            {pictures.map((url, n) => (
              <li key={n} className="relative">
                <img src={url} alt={`To be sent, ${n + 1}`} className="h-16 rounded border border-line" />
                <button type="button" aria-label={`Leave out picture ${n + 1}`} onClick={() => setPictures(pictures.filter((_, at) => at !== n))} className="absolute -top-1.5 -right-1.5 rounded-full border border-line bg-raised p-0.5">
                  <X className="size-3" aria-hidden />
                </button>
              </li>
            ))}
          </ul>
        )}
        <div className="flex items-end gap-2 rounded-lg border border-line-strong bg-bg p-1.5 focus-within:outline-2 focus-within:outline-accent">
          <input ref={file} type="file" accept={KINDS.join(",")} multiple className="sr-only" tabIndex={-1} aria-label="Pictures" onChange={(event) => (void add(event.target.files ?? []), (event.target.value = ""))} />
          <Button look="quiet" icon={ImagePlus} aria-label="Add a picture" title="Add a picture" onClick={() => file.current?.click()} />
          <textarea
            ref={area}
            rows={1}
            aria-label="Message"
            placeholder="Ask something"
            value={text}
            onChange={(event) => setText(event.target.value)}
            onPaste={(event) => {
              if (event.clipboardData.files.length > 0) {
                event.preventDefault();
                void add(event.clipboardData.files);
              }
            }}
            onKeyDown={(event) => {
              // Enter that ends a composed character sends nothing.
              if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                event.preventDefault();
                void send();
              }
            }}
            className="max-h-60 min-h-8 flex-1 resize-none bg-transparent px-1 py-1.5 leading-5 outline-none placeholder:text-muted"
          />
          {busy ? (
            <Button look="danger" icon={Square} onClick={onStop}>
              Stop
            </Button>
          ) : (
            <Button look="primary" icon={ArrowUp} aria-label="Send" title="Send (Enter)" disabled={disabled || (!text.trim() && pictures.length === 0)} onClick={() => void send()} />
          )}
        </div>
      </div>
    </div>
  );
}
