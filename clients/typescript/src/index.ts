/** Ask Claude one question about every row. */

export { Fanwise, type FanwiseOptions } from "./client.js";
export {
  ApiError,
  FanwiseError,
  type Fault,
  InvalidInput,
  JobFailed,
  JobHalted,
  Unreachable,
  WaitTimeout,
} from "./errors.js";
export type { Fetch, Fetcher } from "./http.js";
export type { Answer, JsonSchema, StandardSchema } from "./into.js";
export { type Estimate, Job, type WaitOptions } from "./job.js";
export type { Row, Status } from "./join.js";
export { type ScheduleOptions, Schedules } from "./schedules.js";
export type { components, operations, paths } from "./openapi.js";
export type * from "./types.js";
export type { MapOptions } from "./work.js";
