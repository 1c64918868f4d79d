/** The service's own types, by name. They are generated from its OpenAPI document. */

import type { components } from "./openapi.js";

type Schemas = components["schemas"];

export type JobView = Schemas["JobView"];
export type Report = Schemas["Report"];
export type ResultRow = Schemas["ResultRow"];
export type EstimateView = Schemas["Estimate"];
export type Schedule = Schemas["Schedule"];
export type ScheduleRun = Schemas["ScheduleRun"];
export type NewSchedule = Schemas["NewSchedule"];
export type ScheduleChange = Schemas["ScheduleChange"];
export type Stage = Schemas["Stage"];
export type Limits = Schemas["Limits"];
export type Submit = Schemas["Submit"];
/** Any other field of a submit, laid over what `map` makes. */
export type SubmitOptions = Partial<Omit<Submit, "input">>;
