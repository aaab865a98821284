// Tables: sorted by their heads, walked with j and k, opened with Enter, rows chosen where that is of use.

import { createColumnHelper, flexRender, getCoreRowModel, getPaginationRowModel, getSortedRowModel, useReactTable, type ColumnDef, type Row, type RowSelectionState, type SortingState } from "@tanstack/react-table";
import { ArrowDown, ArrowUp, ChevronLeft, ChevronRight } from "lucide-react";
import { memo, useCallback, useRef, useState, type ReactNode } from "react";
import { count } from "../text/format";
import { Button, Skeleton, classes } from "./basics";

export { createColumnHelper };

declare module "@tanstack/react-table" {
  // The parameters must be those of the declaration that this adds to.
  // oxlint-disable-next-line no-unused-vars
  interface ColumnMeta<TData, TValue> {
    /** Numbers stand to the right. */
    right?: boolean;
    /** Left out where there is no room for it. */
    wide?: "sm" | "md" | "lg" | "xl" | "2xl";
    grow?: boolean;
  }
}

const WIDE = { sm: "max-sm:hidden", md: "max-md:hidden", lg: "max-lg:hidden", xl: "max-xl:hidden", "2xl": "max-2xl:hidden" };

export interface TableProps<T> {
  label: string;
  // Each column knows its own value's type.
  // oxlint-disable-next-line no-explicit-any
  columns: ColumnDef<T, any>[];
  rows: T[];
  rowId: (row: T) => string;
  onOpen?: (row: T) => void;
  chosen?: RowSelectionState;
  onChoose?: (chosen: RowSelectionState) => void;
  sorting?: SortingState;
  onSort?: (sorting: SortingState) => void;
  /** Rows of a page, where the whole list is here. */
  pageRows?: number;
  /** Marks rows that just came. */
  isNew?: (row: T) => boolean;
  /** Many columns: less room between them. */
  dense?: boolean;
}

export function DataTable<T>({ label, columns, rows, rowId, onOpen, chosen, onChoose, sorting, onSort, pageRows, isNew, dense }: TableProps<T>) {
  const [ownSorting, setOwnSorting] = useState<SortingState>([]);
  const [page, setPage] = useState(0);
  const order = sorting ?? ownSorting;
  const pages = pageRows ? Math.max(1, Math.ceil(rows.length / pageRows)) : 1;
  const table = useReactTable({
    data: rows,
    columns,
    getRowId: rowId,
    state: { sorting: order, rowSelection: chosen ?? {}, ...(pageRows ? { pagination: { pageIndex: Math.min(page, pages - 1), pageSize: pageRows } } : {}) },
    onSortingChange: (update) => (onSort ?? setOwnSorting)(typeof update === "function" ? update(order) : update),
    onRowSelectionChange: (update) => onChoose?.(typeof update === "function" ? update(chosen ?? {}) : update),
    enableRowSelection: onChoose !== undefined,
    autoResetPageIndex: false,
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
    ...(pageRows ? { getPaginationRowModel: getPaginationRowModel() } : {}),
  });
  // Rows outlive the functions of the page that holds them.
  const newest = useRef(onOpen);
  newest.current = onOpen;
  const open = useCallback((original: unknown) => newest.current?.(original as T), []);
  return (
    <div className="flex min-w-0 flex-col gap-2">
      <div className="relative overflow-x-auto rounded-md border border-line">
        <table className="w-full border-collapse text-left" aria-label={label}>
          <thead className="bg-sunken text-xs text-muted">
            {table.getHeaderGroups().map((group) => (
              <tr key={group.id}>
                {onChoose && (
                  <th scope="col" className="w-8 pl-3 max-sm:hidden">
                    <input
                      type="checkbox"
                      aria-label={`Choose all ${rows.length}`}
                      className="block size-3.5 accent-accent"
                      checked={table.getIsAllRowsSelected()}
                      ref={(box) => {
                        if (box) box.indeterminate = table.getIsSomeRowsSelected();
                      }}
                      onChange={table.getToggleAllRowsSelectedHandler()}
                    />
                  </th>
                )}
                {group.headers.map((header) => {
                  const { right, wide } = header.column.columnDef.meta ?? {};
                  const sorted = header.column.getIsSorted();
                  const text = flexRender(header.column.columnDef.header, header.getContext());
                  const Arrow = sorted === "asc" ? ArrowUp : ArrowDown;
                  return (
                    <th
                      key={header.id}
                      scope="col"
                      aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : undefined}
                      className={classes(dense ? "px-2" : "px-3 max-sm:px-2", "h-8 font-medium whitespace-nowrap", right && "text-right", wide && WIDE[wide])}
                    >
                      {header.column.getCanSort() ? (
                        <button type="button" onClick={header.column.getToggleSortingHandler()} className={classes("inline-flex h-8 items-center gap-1 hover:text-text", right && "flex-row-reverse")}>
                          {text}
                          <Arrow className={classes("size-3", !sorted && "invisible")} aria-hidden />
                        </button>
                      ) : (
                        text
                      )}
                    </th>
                  );
                })}
              </tr>
            ))}
          </thead>
          <tbody>
            {table.getRowModel().rows.map((row) => (
              <OneRow
                key={row.id}
                row={row as Row<unknown>}
                original={row.original}
                columns={columns as ColumnDef<unknown>[]}
                isChosen={onChoose ? row.getIsSelected() : null}
                isFresh={isNew?.(row.original) ?? false}
                onOpen={onOpen && open}
                dense={dense}
              />
            ))}
          </tbody>
        </table>
      </div>
      {pageRows && rows.length > pageRows && <Pager page={Math.min(page, pages - 1)} pages={pages} total={rows.length} onPage={setPage} />}
    </div>
  );
}

interface RowProps {
  row: Row<unknown>;
  original: unknown;
  columns: ColumnDef<unknown>[];
  /** `null`: rows cannot be chosen. */
  isChosen: boolean | null;
  isFresh: boolean;
  onOpen?: (original: unknown) => void;
  dense?: boolean;
}

/** Drawn again only when what it shows is another: figures that come every few seconds change few rows of many. */
const OneRow = memo(
  function OneRow({ row, original, isChosen, isFresh, onOpen, dense }: RowProps) {
    return (
      <tr
        data-row
        tabIndex={onOpen ? 0 : undefined}
        onClick={(event) => {
          // Links, buttons and boxes in the row do their own work; marking text is no click.
          if (!(event.target as Element).closest("a,button,input,label,[role=menu]") && !getSelection()?.toString()) onOpen?.(original);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && event.target === event.currentTarget) onOpen?.(original);
        }}
        className={classes(
          "border-t border-line -outline-offset-2",
          onOpen && "cursor-pointer hover:bg-hover",
          isChosen && "bg-accent-soft",
          // An animation of its own: a transition on all rows would paint all of them for a second whenever they change.
          isFresh && !isChosen && "fresh",
        )}
      >
        {isChosen !== null && (
          <td className="w-8 pl-3 max-sm:hidden">
            <input type="checkbox" aria-label="Choose this row" className="block size-3.5 accent-accent" checked={isChosen} onChange={row.getToggleSelectedHandler()} />
          </td>
        )}
        {row.getVisibleCells().map((cell) => {
          const { right, wide, grow } = cell.column.columnDef.meta ?? {};
          return (
            <td key={cell.id} className={classes(dense ? "px-2" : "px-3 max-sm:px-2", "h-8 py-1", right && "text-right tabular-nums", wide && WIDE[wide], grow ? "w-full max-w-0 min-w-24 sm:min-w-40" : "whitespace-nowrap")}>
              {flexRender(cell.column.columnDef.cell, cell.getContext())}
            </td>
          );
        })}
      </tr>
    );
  },
  // The table makes a new `row` for the same thing with each answer.
  (before, now) => before.original === now.original && before.columns === now.columns && before.isChosen === now.isChosen && before.isFresh === now.isFresh && before.onOpen === now.onOpen,
);

/** Which page this is, counted from nothing, and the ways to its neighbours. */
export function Pager({ page, pages, total, onPage, children }: { page: number; pages: number; total: number; onPage: (page: number) => void; children?: ReactNode }) {
  return (
    <nav aria-label="Pages" className="flex flex-wrap items-center gap-2 text-muted">
      <span title={total.toLocaleString("en-US")}>{count(total)} in all</span>
      {children}
      <span className="ml-auto">
        page {page + 1} of {count(pages)}
      </span>
      <Button icon={ChevronLeft} aria-label="Page before" disabled={page <= 0} onClick={() => onPage(page - 1)} />
      <Button icon={ChevronRight} aria-label="Next page" disabled={page >= pages - 1} onClick={() => onPage(page + 1)} />
    </nav>
  );
}

/** Stands for a table that is on its way. */
export function TableSkeleton({ rows = 6 }: { rows?: number }) {
  return (
    <div className="flex flex-col gap-2 rounded-md border border-line p-3" aria-busy="true">
      <span className="sr-only">Loading</span>
      {Array.from({ length: rows }, (_, n) => (
        <Skeleton key={n} className="h-5 w-full" />
      ))}
    </div>
  );
}
