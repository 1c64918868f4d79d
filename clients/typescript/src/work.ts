/** A job as the client holds it: rows made ready, the body to submit, and what was tried before. */

import { type Json, saysNothing, text as wellFormed, toId, toJson } from "./cells.js";
import { InvalidInput } from "./errors.js";
import { Into, type JsonSchema, type StandardSchema, isRecord } from "./into.js";
import type { JobView, SubmitOptions } from "./types.js";

export interface MapOptions<I extends StandardSchema | JsonSchema | undefined = undefined> {
  /** What is to be found out about each row. */
  ask: string;
  /** The form of an answer: a zod schema, or a JSON Schema. Without it, a text. */
  into?: I;
  /** The field whose values name the rows. Without it, and where it is blank, they are numbered. */
  id?: string;
  /** The fields that are sent. Without both, all of them. */
  text?: string;
  fields?: readonly string[];
  /** What a report over all answers should say. */
  report?: string;
  /** Fields of the answers to count. */
  countBy?: readonly string[];
  /** The cap, trials included. It is never passed. */
  maxUsd?: number;
  model?: string;
  /** Reference material that every call may look things up in. */
  context?: string;
  rowsPerCall?: number;
  /** Names this submit, so that the same code run again finds the same job. */
  key?: string;
  /** Any other field of `POST /v1/jobs`, laid over the rest field by field. */
  options?: SubmitOptions;
}

export type Item = { id: string; [field: string]: Json };
type Body = Record<string, unknown>;

interface Trial {
  job: string;
  places: number[];
  spentUsd: number;
  /** Whether the whole job can take its answers over. */
  answered: boolean;
}

export class Work<R> {
  job: string | undefined;
  view: JobView | undefined;
  readonly trials: Trial[] = [];

  constructor(
    readonly rows: readonly R[],
    readonly ids: readonly string[],
    readonly items: readonly Item[],
    /** By the place of the row: why it is not sent. */
    readonly skipped: ReadonlyMap<number, string>,
    readonly into: Into,
    readonly body: Body,
    readonly key: string,
  ) {}

  /** The submit without its input. What trials paid is off the cap, and what they found out is not asked again. */
  asked(): Body {
    const body: Body = { ...this.body };
    const trial = this.trials.findLast(({ answered }) => answered);
    if (trial !== undefined) body["extends"] = trial.job;
    const limits = isRecord(body["limits"]) ? body["limits"] : {};
    const cap = limits["max_cost_usd"];
    if (typeof cap === "number" && this.trials.length > 0) {
      const left = this.trials.reduce((rest, { spentUsd }) => rest - spentUsd, cap);
      if (left <= 0) throw new InvalidInput(`The trials cost all of maxUsd ${cap}. Raise it.`);
      body["limits"] = { ...limits, max_cost_usd: left };
    }
    return body;
  }

  /** Places of `n` rows, spread over the whole. A smaller sample is part of a larger one, so none is paid twice. */
  sample(n: number): number[] {
    if (!(n >= 1)) throw new InvalidInput("A trial needs at least one row.");
    const sent = this.rows.map((_, place) => place).filter((place) => !this.skipped.has(place));
    const chosen = sent.sort((a, b) => scattered(a) - scattered(b) || a - b).slice(0, n);
    return chosen.sort((a, b) => a - b);
  }

  known(places: readonly number[]): string | undefined {
    return this.trials.find((trial) => trial.answered && places.every((place) => trial.places.includes(place)))?.job;
  }

  /** The same work over some rows, live and without the report. */
  trial(places: readonly number[]): Work<R> {
    const ids = places.map((place) => this.ids[place] as string);
    const chosen = new Set(ids);
    const stages = (this.body["stages"] as { kind: string }[]).filter(({ kind }) => kind === "map");
    const part = new Work(
      places.map((place) => this.rows[place] as R),
      ids,
      this.items.filter(({ id }) => chosen.has(id)),
      new Map(),
      this.into,
      { ...this.body, delivery: "live", stages },
      randomKey(),
    );
    part.trials.push(...this.trials);
    return part;
  }
}

/** A place as a number without order (the finaliser of MurmurHash3). */
function scattered(place: number): number {
  let mixed = Math.imul(place ^ (place >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** `crypto.randomUUID` is missing on pages that did not come by HTTPS. */
export function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Rows as items. Nothing is sent. */
export function prepare<R>(
  given: Iterable<R>,
  options: Pick<MapOptions<StandardSchema | JsonSchema | undefined>, "id" | "text" | "fields" | "key">,
  into: Into,
  body: Body,
): Work<R> {
  const rows = rowsOf(given);
  const records = rows.map(record);
  const columns = new Set(records.flatMap((row) => Object.keys(row)));
  const { id, text, fields } = options;
  for (const name of [id, text, ...(fields ?? [])]) {
    if (name !== undefined && !columns.has(name)) {
      throw new InvalidInput(`No row has a field \`${name}\`; there are ${[...columns].map((c) => `\`${c}\``).join(", ")}.`);
    }
  }
  const all = text === undefined ? [...columns].filter((column) => column !== id) : [];
  const sources = (fields ?? all).filter((column) => column !== text).map((column): [string, string] => [column === "id" ? "id_" : column, column]);
  if (text !== undefined) sources.unshift(["text", text]);
  const ids = rowIds(records, id);
  const items: Item[] = [];
  const skipped = new Map<number, string>();
  for (const [place, row] of records.entries()) {
    const item: Item = { id: ids[place] as string };
    for (const [name, column] of sources) {
      const value = toJson(row[column]);
      if (value !== undefined && !saysNothing(value)) item[wellFormed(name)] = value;
    }
    if (Object.keys(item).length > 1) items.push(item);
    else skipped.set(place, "blank");
  }
  if (items.length === 0) throw new InvalidInput("Every row is blank in the fields that are sent.");
  return new Work(rows, ids, items, skipped, into, body, options.key ?? randomKey());
}

function rowsOf<R>(given: Iterable<R>): R[] {
  if (typeof given === "string" || !isIterable(given)) throw new InvalidInput("Rows must be an array of texts or objects.");
  const rows = Array.from(given);
  if (rows.length === 0) throw new InvalidInput("There are no rows.");
  return rows;
}

function isIterable(value: unknown): boolean {
  return typeof value === "object" && value !== null && Symbol.iterator in value;
}

/** A row as fields: a text is the field `text`. */
export function record(row: unknown, place: number): Record<string, unknown> {
  if (row === null || row === undefined || typeof row === "string") return { text: row };
  if (isRecord(row)) return row;
  throw new InvalidInput(`Row ${place} is ${Array.isArray(row) ? "an array" : typeof row}; it must be a text or an object.`);
}

/** An id for each row. Where the value can be none, the row goes by its place, as the service names items itself. */
function rowIds(records: readonly Record<string, unknown>[], column: string | undefined): string[] {
  const seen = new Map<string, number>();
  return records.map((row, place) => {
    const id = (column === undefined ? undefined : toId(row[column])) ?? `item-${place + 1}`;
    const first = seen.get(id);
    if (first !== undefined) {
      throw new InvalidInput(
        `Rows ${first} and ${place} (from 0) have the same id ${JSON.stringify(id)}. Ids must differ; leave out \`id\` to number the rows.`,
      );
    }
    seen.set(id, place);
    return id;
  });
}

/** The submit that the options of `map` stand for. */
export function bodyOf(given: MapOptions<StandardSchema | JsonSchema | undefined>, into: Into): Body {
  if (given.ask.trim() === "") throw new InvalidInput("`ask` is empty: say what is to be found out about each row.");
  const stage: Body = { name: "answer", kind: "map", output: "item", instructions: given.ask };
  if (into.schema !== undefined) stage["output_schema"] = into.schema;
  if (given.model !== undefined) stage["model"] = given.model;
  if (given.rowsPerCall !== undefined) stage["chunk"] = { items: given.rowsPerCall };
  if (given.countBy !== undefined && given.countBy.length > 0) stage["merge"] = { count_by: given.countBy };
  const stages = [stage];
  if (given.report !== undefined) stages.push({ name: "report", kind: "synthesis", instructions: given.report });
  const body: Body = { task: given.report ?? given.ask, stages };
  if (given.context !== undefined) body["context"] = given.context;
  if (given.maxUsd !== undefined) body["limits"] = { max_cost_usd: given.maxUsd };
  return laidOver(body, given.options ?? {});
}

function laidOver(body: Body, options: Readonly<Record<string, unknown>>): Body {
  const merged: Body = { ...body };
  for (const [name, value] of Object.entries(options)) {
    const known = merged[name];
    merged[name] = isRecord(known) && isRecord(value) ? laidOver(known, value) : value;
  }
  return merged;
}
