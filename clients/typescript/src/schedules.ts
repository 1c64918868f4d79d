/** Schedules: a job that the service submits by itself. */

import { type Connection, get, write } from "./http.js";
import { Job } from "./job.js";
import type { NewSchedule, Schedule, ScheduleChange, ScheduleRun } from "./types.js";

export type ScheduleOptions = Omit<NewSchedule, "job"> & {
  job: Job<any, any> | Record<string, unknown>;
};

/** `Fanwise.schedules`. */
export class Schedules {
  constructor(private readonly to: Connection) {}

  /** Submits `job` whenever `cron` is due: over the same rows, or over what `input_url` holds at that time. */
  create(options: ScheduleOptions): Promise<Schedule> {
    const { job, ...given } = options;
    const { input, extends: base, ...plan } = job instanceof Job ? job.body : job;
    // At each run the rows come from there, so those of today are not kept.
    const fromUrl = given.input_url !== undefined && given.input_url !== null;
    const rest = fromUrl ? {} : { ...(input === undefined ? {} : { input }), ...(base === undefined ? {} : { extends: base }) };
    return write(this.to, "POST", "/v1/schedules", { ...given, job: { ...plan, ...rest } }, false);
  }

  async list(): Promise<Schedule[]> {
    const found: Schedule[] = [];
    let cursor: string | null | undefined;
    do {
      const page: { data: Schedule[]; next_cursor?: string | null } = await get(this.to, "/v1/schedules", {
        limit: "200",
        cursor: cursor ?? undefined,
      });
      found.push(...page.data);
      cursor = page.next_cursor;
    } while (cursor);
    return found;
  }

  get(id: string): Promise<Schedule> {
    return get(this.to, `/v1/schedules/${id}`);
  }

  /** Changes fields, for example `{ paused: true }`. */
  update(id: string, changes: ScheduleChange): Promise<Schedule> {
    return write(this.to, "PATCH", `/v1/schedules/${id}`, changes);
  }

  /** Runs it now, whatever is at work. */
  run(id: string): Promise<ScheduleRun> {
    return write(this.to, "POST", `/v1/schedules/${id}/run`, undefined, false);
  }

  /** Its jobs stay. */
  async delete(id: string): Promise<void> {
    await write(this.to, "DELETE", `/v1/schedules/${id}`);
  }
}
