/**
 * Results beside the rows they belong to: the one place that knows how the service hands results out.
 *
 * The service hands out every item with its fate; the rows themselves are the caller's own. Whatever it hands out later
 * changes `fetchResults` alone.
 */

import { ApiError } from "./errors.js";
import { type Connection, get } from "./http.js";
import type { Into } from "./into.js";
import type { Report, ResultRow } from "./types.js";

/**
 * - `ok`: has an answer
 * - `flagged`: has an answer, and a check found something about it: `flags`
 * - `missing`: has none, and the job is over: `reason` is the service's
 * - `invalid`: has an answer that `into` does not take
 * - `skipped`: was not sent: there is nothing in it
 * - `pending`: has none yet
 */
export type Status = "ok" | "flagged" | "missing" | "invalid" | "skipped" | "pending";

/** One row with its fate. */
export interface Row<R, A> {
  place: number;
  id: string;
  input: R;
  status: Status;
  reason: string | null;
  output: A | null;
  flags: string[];
}

/** What a job has found so far, by the item's id. */
export type Found = Map<string, ResultRow>;

/** Each item of the job with its result, or why it has none. */
export async function fetchResults(to: Connection, job: string): Promise<Found> {
  const page = await get<{ data: ResultRow[] }>(to, `/v1/jobs/${job}/results?include=input`);
  return new Map(page.data.map((line) => [line.id, line]));
}

/** The report, or `null` while the job is not over. */
export async function report(to: Connection, job: string): Promise<Report | null> {
  try {
    return await get<Report>(to, `/v1/jobs/${job}/report`);
  } catch (error) {
    if (error instanceof ApiError && error.code === "conflict") return null;
    throw error;
  }
}

/** Each row in the caller's order. */
export async function join<R, A>(
  rows: readonly R[],
  ids: readonly string[],
  skipped: ReadonlyMap<number, string>,
  found: Found,
  into: Into,
): Promise<Row<R, A>[]> {
  const joined: Row<R, A>[] = [];
  for (const [place, input] of rows.entries()) {
    const id = ids[place] as string;
    const line = found.get(id);
    const row: Row<R, A> = { place, id, input, status: "ok", reason: null, output: null, flags: line?.flags ?? [] };
    joined.push(row);
    const blank = skipped.get(place);
    if (blank !== undefined) {
      Object.assign(row, { status: "skipped", reason: blank });
    } else if (line === undefined) {
      Object.assign(row, { status: "missing", reason: "no_result" });
    } else if (line.status === "missing") {
      if (line.reason === "pending") row.status = "pending";
      else Object.assign(row, { status: "missing", reason: line.reason });
    } else {
      const read = await into.read(line.output);
      if ("fault" in read) Object.assign(row, { status: "invalid", reason: read.fault });
      else Object.assign(row, { output: read.value, status: line.status, reason: line.reason });
    }
  }
  return joined;
}

/**
 * The caller's columns, then the answers', then `_flags` on request, then `_status` and `_reason`. A name that is in use
 * gets `out_` before it.
 */
export function table<R extends Record<string, unknown>>(
  rows: readonly Row<unknown, unknown>[],
  originals: readonly R[],
  into: Into,
  flags: boolean,
): (R & Record<string, unknown>)[] {
  const used = new Set(originals.flatMap((row) => Object.keys(row)));
  const cells = rows.map((row) => (row.output === null ? {} : into.cells(row.output)));
  const names = new Map<string, string>();
  for (const name of [...into.fields(), ...cells.flatMap((row) => Object.keys(row))]) {
    if (!names.has(name)) names.set(name, free(name, used));
  }
  const [flagged, status, reason] = [flags ? free("_flags", used) : "", free("_status", used), free("_reason", used)];
  return originals.map((original, place) => {
    const row = rows[place] as Row<unknown, unknown>;
    const added: Record<string, unknown> = {};
    for (const [name, column] of names) added[column] = cells[place]?.[name] ?? null;
    if (flags) added[flagged] = row.flags;
    return { ...original, ...added, [status]: row.status, [reason]: row.reason };
  });
}

function free(name: string, used: Set<string>): string {
  let unused = name;
  while (used.has(unused)) unused = `out_${unused}`;
  used.add(unused);
  return unused;
}
