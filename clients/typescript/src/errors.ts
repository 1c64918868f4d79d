/** Errors, all of them a `FanwiseError`. */

import type { JobView } from "./types.js";

export class FanwiseError extends Error {
  override name = "FanwiseError";
}

/** The rows or the options cannot become a job. Nothing was sent. */
export class InvalidInput extends FanwiseError {
  override name = "InvalidInput";
}

/** The service did not answer, also when asked again. */
export class Unreachable extends FanwiseError {
  override name = "Unreachable";
}

/** The job was not over in time. It goes on; `wait` can be called again. */
export class WaitTimeout extends FanwiseError {
  override name = "WaitTimeout";
}

export interface Fault {
  path: string;
  message: string;
}

/** The service refused a request. `code` is stable. */
export class ApiError extends FanwiseError {
  override name = "ApiError";
  readonly status: number;
  readonly code: string;
  readonly requestId: string | undefined;
  readonly faults: Fault[];

  constructor(status: number, code: string, detail: string, requestId?: string, faults: Fault[] = []) {
    const first = faults.slice(0, 10).map((fault) => `\n  ${fault.path} ${fault.message}`);
    if (faults.length > 10) first.push(`\n  and ${faults.length - 10} more`);
    const request = requestId === undefined ? "" : `, request ${requestId}`;
    super(`${detail} (${status} ${code}${request})${first.join("")}`);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.faults = faults;
  }
}

/** The job stands still and does not go on by itself. */
export class JobHalted extends FanwiseError {
  override name = "JobHalted";
  readonly job: JobView;

  constructor(job: JobView) {
    const action =
      job.state === "awaiting_approval"
        ? "Call `approve()`, or `cancel()`."
        : "Raise the limit with `change({ maxUsd })` if it is the budget, then call `resume()`.";
    super(`Job ${job.id} is ${job.state}: ${job.halt?.detail ?? ""} ${action}`);
    this.job = job;
  }
}

/** The job failed. Results that exist can be read all the same. */
export class JobFailed extends FanwiseError {
  override name = "JobFailed";
  readonly job: JobView;

  constructor(job: JobView) {
    const reason = job.error ? `${job.error.message} (${job.error.code})` : "no reason was given";
    const { covered, total } = job.progress.items;
    super(`Job ${job.id} failed: ${reason} ${covered} of ${total} rows have a result.`);
    this.job = job;
  }
}
