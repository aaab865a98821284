// Two requests beside each other: what differs stands out.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowLeft } from "lucide-react";
import { queries } from "../api/queries";
import type { RequestDetail } from "../api/types";
import { Empty, ErrorNote, Section, Skeleton, classes } from "../parts/basics";
import { DiffView } from "../parts/diffview";
import { RequestState } from "../parts/states";
import { useFilters } from "../shell/address";
import { count, duration, money, stamp, UNKNOWN } from "../text/format";

const text = (body: unknown) => (typeof body === "string" ? body : JSON.stringify(body ?? null, null, 2));

const ROWS: [string, (row: RequestDetail) => string][] = [
  ["Time", (row) => stamp(row.timestamp)],
  ["Model", (row) => row.model || UNKNOWN],
  ["Served as", (row) => row.model_served ?? UNKNOWN],
  ["Target", (row) => row.node_machine_name ?? row.target ?? UNKNOWN],
  ["First token", (row) => duration(row.first_byte_ms)],
  ["Total", (row) => duration(row.duration_ms)],
  ["Prompt tokens", (row) => count(row.prompt_tokens)],
  ["Completion tokens", (row) => count(row.completion_tokens)],
  ["Cost", (row) => money(row.cost_usd)],
  ["Attempts", (row) => count(row.attempts)],
  ["Key", (row) => row.key_name ?? UNKNOWN],
];

export default function ComparePage() {
  const [{ a = "", b = "" }] = useFilters();
  const first = useQuery({ ...queries.request(a), enabled: a !== "" });
  const second = useQuery({ ...queries.request(b), enabled: b !== "" });
  const back = (
    <Link to="/dashboard/requests" className="inline-flex items-center gap-1 text-muted hover:text-text">
      <ArrowLeft className="size-3.5" aria-hidden />
      Requests
    </Link>
  );
  const error = first.error ?? second.error;
  return (
    <div className="flex flex-col gap-4">
      {back}
      <h1 className="text-lg font-semibold">Two requests compared</h1>
      {(!a || !b) && <Empty title="Choose two requests">Mark two rows of the list and press Compare.</Empty>}
      {error && <ErrorNote what="One of the requests" error={error} />}
      {a && b && !error && (!first.data || !second.data) && <Skeleton className="h-64" />}
      {first.data && second.data && (
        <>
          <div tabIndex={0} role="group" aria-label="Compared, scrolled sideways" className="overflow-x-auto rounded-md border border-line">
            <table className="w-full text-left" aria-label="Compared">
              <thead className="bg-sunken">
                <tr>
                  <td className="h-8 px-3" />
                  {[first.data, second.data].map((row) => (
                    <th key={row.id} scope="col" className="px-3 font-medium">
                      <Link to="/dashboard/requests/$id" params={{ id: row.id }} className="link mr-2 font-mono text-xs">
                        {row.id}
                      </Link>
                      <RequestState row={row} />
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {ROWS.map(([name, of]) => {
                  const values = [of(first.data), of(second.data)];
                  const differs = values[0] !== values[1];
                  return (
                    <tr key={name} className="border-t border-line">
                      <th scope="row" className="h-8 px-3 font-normal text-muted">
                        {name}
                      </th>
                      {values.map((value, n) => (
                        <td key={n} className={classes("px-3", differs && "font-semibold")}>
                          {value}
                        </td>
                      ))}
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
          <Section title="Requests">
            <DiffView before={text(first.data.request_body)} after={text(second.data.request_body)} same="Both asked the same." />
          </Section>
          <Section title="Responses">
            <DiffView before={text(first.data.response_body)} after={text(second.data.response_body)} same="Both got the same answer." />
          </Section>
        </>
      )}
    </div>
  );
}
