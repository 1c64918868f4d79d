/** The client. */

import { type Connection, type Fetcher, connection, get, write } from "./http.js";
import { type Answer, Into, type JsonSchema, type StandardSchema } from "./into.js";
import { Job } from "./job.js";
import { Schedules } from "./schedules.js";
import type { JobView } from "./types.js";
import { type MapOptions, bodyOf, prepare } from "./work.js";

export interface FanwiseOptions {
  /** The Worker's address; `FANWISE_URL` where it is left out. */
  url?: string;
  /** `FANWISE_TOKEN` where it is left out. */
  token?: string;
  /** Another `fetch`, or a service binding: `{ url: "https://fanwise", fetch: env.FANWISE }`. */
  fetch?: Fetcher;
}

/** A deployed Fanwise. */
export class Fanwise {
  readonly schedules: Schedules;
  private readonly to: Connection;

  constructor(options: FanwiseOptions = {}) {
    this.to = connection(options.url, options.token, options.fetch);
    this.schedules = new Schedules(this.to);
  }

  /** Prepares one question about every row. Nothing is sent yet. */
  map<R, const I extends StandardSchema | JsonSchema | undefined = undefined>(
    rows: Iterable<R>,
    options: MapOptions<I>,
  ): Job<R, Answer<I>> {
    const into = new Into(options.into);
    return new Job<R, Answer<I>>(this.to, prepare(rows, options, into, bodyOf(options, into)));
  }

  /** A job that was submitted before, beside the rows it was submitted with. Give the same options as to `map`. */
  attach<R, const I extends StandardSchema | JsonSchema | undefined = undefined>(
    job: string,
    rows: Iterable<R>,
    options: Pick<MapOptions<I>, "id" | "text" | "fields" | "into"> = {},
  ): Job<R, Answer<I>> {
    const work = prepare(rows, options, new Into(options.into), { stages: [] });
    work.job = job;
    return new Job<R, Answer<I>>(this.to, work);
  }

  /** A job as the service shows it. */
  job(id: string): Promise<JobView> {
    return get(this.to, `/v1/jobs/${id}`);
  }

  /** All jobs, newest first. */
  async *jobs(options: { state?: string } = {}): AsyncGenerator<JobView> {
    let cursor: string | null | undefined;
    do {
      const page: { data: JobView[]; next_cursor?: string | null } = await get(this.to, "/v1/jobs", {
        state: options.state,
        limit: "200",
        cursor: cursor ?? undefined,
      });
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor);
  }

  /** Deletes a job that is over, with all its rows and answers. */
  async delete(id: string): Promise<void> {
    await write(this.to, "DELETE", `/v1/jobs/${id}`);
  }

  /** Any other call of the HTTP API, for example `request("GET", "/v1/limits")`. */
  request<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
    // Only what is the same done twice is asked for twice.
    const safe = ["GET", "HEAD", "PUT", "PATCH", "DELETE"].includes(method.toUpperCase());
    return write<T>(this.to, method, path, body, safe);
  }
}
