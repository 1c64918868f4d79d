/** Requests to the service: sent again where that is the same as once. */

import { ApiError, FanwiseError, type Fault, InvalidInput, Unreachable } from "./errors.js";
import { isRecord } from "./into.js";

/** A `fetch`, or what has one: a service binding of a Worker. */
export type Fetch = (input: string, init: RequestInit) => Promise<Response>;
export type Fetcher = Fetch | { fetch(input: string, init: RequestInit): Promise<Response> };

export interface Connection {
  readonly url: string;
  readonly token: string | undefined;
  readonly fetch: Fetch;
}

/** A request is tried this often; the waits between double from half a second. */
const TRIES = 6;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** Above this many characters the rows go as a file, which the service reads piece by piece. */
export const INLINE_CHARS = 8_000_000;

export interface Call {
  readonly method: string;
  readonly path: string;
  /** Made for each try: a stream or a form is read once. */
  readonly body?: (() => BodyInit) | undefined;
  readonly headers?: Record<string, string>;
  /** Doing it twice is the same as doing it once. */
  readonly safe?: boolean;
}

export function connection(url: string | undefined, token: string | undefined, fetcher: Fetcher | undefined): Connection {
  const address = url ?? environment("FANWISE_URL");
  if (!address) throw new FanwiseError("Give the Worker's address as `url`, or set FANWISE_URL.");
  const given = fetcher ?? globalThis.fetch;
  // A browser's fetch must not be called as another object's method; a binding's must be its own.
  const fetch: Fetch =
    typeof given === "function" ? (input, init) => given.call(globalThis, input, init) : (input, init) => given.fetch(input, init);
  return { url: address.replace(/\/+$/, ""), token: token ?? environment("FANWISE_TOKEN"), fetch };
}

function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name];
}

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export async function send(to: Connection, call: Call): Promise<Response> {
  const safe = call.safe ?? true;
  let wait = FIRST_WAIT_MS;
  for (let attempt = 1; ; attempt += 1) {
    const last = attempt === TRIES;
    let pause = wait;
    try {
      const response = await once(to, call);
      if (response.ok) return response;
      const error = await refused(response);
      if (last || !passes(error, safe)) throw error;
      pause = askedWait(response) ?? wait;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      if (last || !safe) throw new Unreachable(`${to.url} does not answer: ${reason(error)}`, { cause: error });
    }
    await sleep(pause);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

function once(to: Connection, call: Call): Promise<Response> {
  const headers: Record<string, string> = { ...call.headers };
  if (to.token !== undefined) headers["authorization"] = `Bearer ${to.token}`;
  const body = call.body?.();
  return to.fetch(to.url + call.path, { method: call.method, headers, ...(body === undefined ? {} : { body }) });
}

function passes(error: ApiError, safe: boolean): boolean {
  // A request that was turned away for its rate was not begun.
  if (error.status === 429) return true;
  return safe && (error.code === "unavailable" || error.status === 502 || error.status === 504);
}

function askedWait(response: Response): number | undefined {
  const asked = response.headers.get("retry-after");
  return asked !== null && /^\d+$/.test(asked) ? Math.min(Number(asked), 60) * 1000 : undefined;
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** The error that an answer stands for, also one that some proxy wrote. */
async function refused(response: Response): Promise<ApiError> {
  const body = await response.text();
  try {
    const problem: unknown = JSON.parse(body);
    if (isRecord(problem) && typeof problem["code"] === "string") {
      const faults = Array.isArray(problem["errors"]) ? (problem["errors"] as Fault[]) : [];
      const request = typeof problem["request_id"] === "string" ? problem["request_id"] : undefined;
      return new ApiError(response.status, problem["code"], String(problem["detail"]), request, faults);
    }
  } catch {
    // Not JSON: the same as JSON without a code.
  }
  const request = response.headers.get("x-request-id") ?? undefined;
  const detail = `The answer is not from Fanwise: ${JSON.stringify(body.slice(0, 200))}`;
  return new ApiError(response.status, "not_fanwise", detail, request);
}

export async function get<T>(to: Connection, path: string, query: Record<string, string | undefined> = {}): Promise<T> {
  const given = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined);
  const search = given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
  return whole<T>(to, path + search);
}

/** A JSON document, read again where it broke off. */
async function whole<T>(to: Connection, path: string): Promise<T> {
  for (let attempt = 1; attempt < TRIES; attempt += 1) {
    const response = await send(to, { method: "GET", path });
    try {
      return (await response.json()) as T;
    } catch {
      await sleep(FIRST_WAIT_MS);
    }
  }
  throw new Unreachable(`${path} broke off ${TRIES - 1} times; try again later`);
}

export async function write<T>(to: Connection, method: string, path: string, body?: unknown, safe: boolean = true): Promise<T> {
  const json = body === undefined ? undefined : JSON.stringify(body);
  const response = await send(to, {
    method,
    path,
    safe,
    ...(json === undefined ? {} : { body: () => json, headers: { "content-type": "application/json" } }),
  });
  const answer = await response.text();
  return (answer === "" ? undefined : JSON.parse(answer)) as T;
}

/** Submits a job. The same key with the same body is the same job, so a lost answer costs nothing. */
export async function submit<T>(
  to: Connection,
  body: Record<string, unknown>,
  items: readonly unknown[],
  key: string,
  inline: number = INLINE_CHARS,
): Promise<T> {
  if (!/^[!-~]{1,255}$/.test(key)) throw new InvalidInput("`key` must have 1 to 255 visible ASCII characters.");
  const lines = items.map((item) => JSON.stringify(item));
  const spec = JSON.stringify(body);
  const small = lines.reduce((sum, line) => sum + line.length, spec.length) <= inline;
  const form = (): FormData => {
    const parts = new FormData();
    parts.append("spec", new Blob([spec], { type: "application/json" }), "spec.json");
    parts.append("input", new Blob([lines.join("\n")], { type: "application/x-ndjson" }), "rows.jsonl");
    return parts;
  };
  const whole = small ? `${spec.slice(0, -1)},"input":{"items":[${lines.join(",")}]}}` : undefined;
  const response = await send(to, {
    method: "POST",
    path: "/v1/jobs",
    body: whole === undefined ? form : () => whole,
    headers: { "idempotency-key": key, ...(whole === undefined ? {} : { "content-type": "application/json" }) },
  });
  return (await response.json()) as T;
}
