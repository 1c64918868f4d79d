//! What callers see: the wire form of jobs, tasks, attempts, results and reports.
//!
//! Shapes and names are the HTTP API's, version 1. The API layer serves them as they are and generates its
//! OpenAPI document from them; the store fills them.

pub mod job;
mod results;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::core::job::state::{JobState, TaskState};
use crate::core::net::webhook::{WebhookEvent, WebhookFormat};
use crate::core::plan::spec::Mode;
use crate::core::schedule::{Cause, InputFormat, Overlap, RunState};
use crate::core::task::kind::TaskKind;
use crate::core::value::token::Scope;

pub use results::{AnyResult, ResultLine, ResultRow, RowStatus};

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct JobView {
    pub id: String,
    #[schema(value_type = JobState)]
    pub state: String,
    /// Counts up with each `retry`.
    pub run: u32,
    #[schema(value_type = Mode)]
    pub mode: String,
    pub task: String,
    pub recipe: Option<String>,
    /// The job whose results it took over.
    pub extends: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// The name of the current stage.
    pub stage: Option<String>,
    pub progress: Progress,
    pub usage: Usage,
    pub cost: Cost,
    pub halt: Option<Halt>,
    pub error: Option<ErrorView>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Progress {
    pub tasks: TaskCounts,
    pub items: ItemCounts,
}

/// Tasks of all map stages by state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct TaskCounts {
    pub total: u64,
    pub pending: u64,
    pub queued: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub skipped: u64,
    pub cancelled: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct ItemCounts {
    pub total: u64,
    /// Items with a valid result in every map stage. With several stages this counts those of the last one while it
    /// runs, which is never too many; exact once the maps are done.
    pub covered: u64,
    pub missing: u64,
    /// Rows of the input's table that are no items, because all of their cells are blank; left out where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blank_rows: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Usage {
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_input_tokens: u64,
}

/// Dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Cost {
    /// The cost of calls whose end is known.
    pub spent_usd: f64,
    /// The worst case of the calls in flight, and of calls whose end was not seen (possibly paid).
    pub reserved_usd: f64,
    /// The part of `reserved_usd` that is possibly paid.
    pub possibly_paid_usd: f64,
    /// Calls that answered and whose tokens the endpoint did not report: each counts with its upper bound, as possibly paid.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncounted_calls: u64,
    pub limit_usd: Option<f64>,
    /// The earlier price of results from the ledger, or copied from an earlier job.
    pub saved_usd: f64,
    /// The saving by the prompt cache: the price of all calls without it, less their real cost. Below 0 until the
    /// written part has been read.
    #[serde(default)]
    pub cache_saved_usd: f64,
    /// For a single job that is not over: its likely total cost. That is the money spent, the open tasks at the average
    /// of the finished ones, and the later stages as the plan expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_usd: Option<f64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Why a job waits. A `running` job has one where none of its calls may go out for a minute or more.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, ToSchema)]
pub struct Halt {
    /// `user`, `budget`, `quota`, `approval`, `answers` (a stage had no valid result, or its tasks were refused alike), or
    /// `rate_limit`: no call may go out before `not_before`, and the job stays `running`.
    pub reason: String,
    pub detail: String,
    #[schema(format = DateTime)]
    pub resumes_at: Option<String>,
    /// When the next call may go out, with `rate_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub not_before: Option<String>,
}

/// The error, as a code and a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, ToSchema)]
pub struct ErrorView {
    /// Stable, snake_case.
    pub code: String,
    pub message: String,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Schedule)]
pub struct ScheduleView {
    #[schema(examples("sched_0199c1d2e3f47a5b8c6d7e8f90a1b2c3"))]
    pub id: String,
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    pub overlap: Overlap,
    pub paused: bool,
    /// The body of a submit; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub job: Option<Value>,
    pub input_url: Option<String>,
    pub input_format: Option<InputFormat>,
    /// The next five; none while it is paused.
    pub next_runs: Vec<String>,
    /// The last twenty, newest first.
    pub last_runs: Vec<ScheduleRunView>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// One time that a schedule was due, or was run by hand.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = ScheduleRun)]
pub struct ScheduleRunView {
    /// If several times were missed, the first.
    #[schema(format = DateTime)]
    pub due_at: String,
    #[schema(value_type = Cause)]
    pub cause: String,
    #[schema(value_type = RunState)]
    pub state: String,
    /// The job that it started; null again once that was deleted.
    pub job: Option<String>,
    /// Why it waits, was skipped or failed.
    pub reason: Option<ErrorView>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// An event of a job on its way to a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Delivery)]
pub struct DeliveryView {
    /// The header `webhook-id`, the same in each try.
    #[schema(examples("msg_0199c1d2e3f47a5b8c6d7e8f90a1b2c3_1"))]
    pub id: String,
    #[schema(value_type = WebhookEvent)]
    pub event: String,
    pub run: u32,
    /// The job's state at that time.
    #[schema(value_type = JobState)]
    pub state: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Where it goes, without path and query: those may be secret.
    #[schema(examples("https://hooks.example.com"))]
    pub target: String,
    #[schema(value_type = WebhookFormat)]
    pub format: String,
    #[schema(value_type = DeliveryStatus)]
    pub status: String,
    #[schema(format = DateTime)]
    pub next_try_at: Option<String>,
    #[schema(format = DateTime)]
    pub delivered_at: Option<String>,
    /// The last 25, the oldest first.
    pub tries: Vec<TryView>,
}

/// `failed`: no try succeeded for a day, or the receiver answered 410.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = DeliveryTry)]
pub struct TryView {
    pub n: u32,
    #[schema(format = DateTime)]
    pub at: String,
    /// How long it took.
    pub ms: u64,
    /// The status of the receiver's answer; null if there was none.
    pub status: Option<u16>,
    pub error: Option<String>,
}

/// The secret with which receivers of webhooks check signatures.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct WebhookSecret {
    #[schema(examples("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))]
    pub secret: String,
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct TaskView {
    /// Counts over the whole job.
    pub index: u32,
    pub stage: String,
    #[schema(value_type = TaskState)]
    pub state: String,
    /// `work`: a chunk of a map stage, or the synthesis; `verify`: results are judged; `redo`: they are asked for once
    /// more; `reduce`: a part of them is read for the synthesis.
    #[schema(value_type = TaskKind)]
    pub purpose: String,
    pub item_ids: Vec<String>,
    /// Calls made for it.
    pub attempts: u32,
    pub error: Option<ErrorView>,
    /// Its next call waits until then; left out where nothing holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub not_before: Option<String>,
}

/// A task whole.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct TaskDetail {
    pub index: u32,
    pub stage: String,
    #[schema(value_type = TaskState)]
    pub state: String,
    #[schema(value_type = TaskKind)]
    pub purpose: String,
    pub item_ids: Vec<String>,
    pub error: Option<ErrorView>,
    /// The worker's input.
    pub input: Value,
    /// Its valid results so far, `null` where there are none.
    pub output: Value,
    pub attempts: Vec<AttemptView>,
}

/// One call to Claude.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct AttemptView {
    pub number: u32,
    /// `open`, `done`, or `unknown`: its end was not seen, it is possibly paid.
    pub state: String,
    /// `worker`, `repair`, `verify`, `reduce` or `synthesis`.
    pub role: String,
    pub model: String,
    /// The body as it was sent; `null` where it can no longer be rebuilt.
    pub request: Value,
    /// The text of the answer.
    pub response: Option<String>,
    pub stop_reason: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Stable, snake_case; absent where the call succeeded.
    pub error_class: Option<String>,
    pub error: Option<String>,
    /// Claude's `request-id`.
    pub request_id: Option<String>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cost_usd: f64,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Report {
    /// A text, or an object by the stage's `output_schema`; `null` where there is none.
    pub synthesis: Value,
    pub merged: Merged,
    pub coverage: Coverage,
    /// The share of each model of a cascade; absent if no stage has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cascades: Vec<Cascade>,
}

/// The models of one stage, and what it saved to ask the cheap one first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Cascade {
    pub stage: String,
    /// In the order in which they are asked.
    pub models: Vec<ModelShare>,
    /// The price of the first model's own calls at the last model's rates, less the cost of all calls of the stage.
    /// Below zero if the dear models were asked too often for the cascade to pay.
    pub saved_usd: f64,
}

/// One model's part.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct ModelShare {
    pub model: String,
    /// Items whose result it gave, and the share of those that all models of the stage gave.
    pub results: u64,
    pub share: f64,
    pub calls: u64,
    pub cost_usd: f64,
}

/// The deterministic merge: of the last map stage, and of each under `stages`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, serde::Deserialize, ToSchema)]
pub struct Merged {
    /// field → value → how often.
    pub count_by: BTreeMap<String, BTreeMap<String, u64>>,
    /// Results that differ in the fields of `dedupe_by`; absent where none are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    #[serde(default)]
    pub stages: BTreeMap<String, StageMerge>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, serde::Deserialize, ToSchema)]
pub struct StageMerge {
    pub count_by: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// Results that went in.
    pub results: u64,
}

/// Which items have a valid result, which do not, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Coverage {
    pub total: u64,
    pub covered: u64,
    pub missing: Vec<Missing>,
    /// Rows of the input's table that are no items, because all of their cells are blank; left out where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blank_rows: u64,
    pub flagged: Vec<Flagged>,
    /// The part that the synthesis did not see, if not everything fitted, and the number of results without the
    /// follow-up they were chosen for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, ToSchema)]
pub struct Missing {
    pub id: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Flagged {
    pub id: String,
    pub flag: String,
}

/// The account's limits, and what is left of them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Governor)]
pub struct LimitsView {
    pub classes: Vec<ClassView>,
    pub breaker: BreakerView,
    /// How full the database is; `null` where it does not say.
    pub storage: Option<StorageView>,
    /// Parts of requests that calls leave out, because a model's endpoint refused or ignored them.
    #[cfg_attr(not(target_arch = "wasm32"), serde(default))]
    pub left_out: Vec<LeftOutView>,
}

/// How full the database is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Storage)]
pub struct StorageView {
    pub used_bytes: u64,
    pub capacity_bytes: u64,
    /// False: submits are refused with `storage_full` until something is deleted.
    pub takes_jobs: bool,
}

/// A part that requests to a model leave out.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = LeftOut)]
pub struct LeftOutView {
    /// The base URL.
    pub endpoint: String,
    pub model: String,
    /// `format` (the schema is given in words then), `thinking`, `effort` or `cache`.
    pub part: String,
    /// The words of the refusal, or the newest fault of an answer.
    pub reason: Option<String>,
    #[schema(format = DateTime)]
    pub learned_at: String,
    /// When one call tries it again.
    #[schema(format = DateTime)]
    pub until: String,
}

/// One class of models that share their rate limits.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = ModelClass)]
pub struct ClassView {
    pub class: String,
    /// Whether an answer has announced its limits. While it is false they are all 0, and few calls go out at a time.
    pub seen: bool,
    /// Calls under way.
    pub in_flight: u32,
    /// How many calls may be under way after refusals; `null` while there were none.
    pub window: Option<f64>,
    pub requests: BucketView,
    pub input_tokens: BucketView,
    pub output_tokens: BucketView,
    /// Calls that the rate limiter refused, ever.
    pub refused: u64,
    /// No call goes out before; `null` where nothing holds them.
    #[schema(format = DateTime)]
    pub slow_until: Option<String>,
}

/// One limit. It refills all the time, up to `capacity`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Limit)]
pub struct BucketView {
    pub limit_per_minute: u64,
    /// The part that may be used at once. Below 0 it is owed.
    pub free: i64,
    /// The most that `free` can be: a little under the most that was ever announced as remaining.
    pub capacity: u64,
    /// When all of it is free if nothing is used; `null` where it is, or nothing refills it.
    #[schema(format = DateTime)]
    pub full_at: Option<String>,
}

/// Stops all calls while the account cannot pay for any, or its key is refused.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Breaker)]
pub struct BreakerView {
    pub state: BreakerState,
    /// Why it is not closed.
    pub reason: Option<String>,
    /// When an open one is tried again.
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

/// `half_open`: one call is tried before others may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Token)]
pub struct TokenView {
    pub id: String,
    /// Whose jobs it reads and submits.
    pub tenant: String,
    pub name: String,
    pub scopes: Vec<Scope>,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From then on it is refused; `null`: never.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[schema(format = DateTime)]
    pub last_submit_at: Option<String>,
    /// Dollars that its jobs may spend in a UTC day; `null`: no cap of its own.
    pub daily_budget_usd: Option<f64>,
    pub spent_today_usd: f64,
    /// Calls in flight of all its jobs together; `null`: no cap of its own.
    pub concurrency: Option<u32>,
    /// The admin token that made it; `null`: the token in the secret.
    pub made_by: Option<String>,
}

/// The tokens and schedules that depend on a revoked token.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct RevokedToken {
    /// The tokens that are refused from now on.
    pub revoked: Vec<String>,
    /// Tokens that it made, that those made, and so on, which are still good: `?descendants=true` revokes them as well.
    pub descendants: Vec<String>,
    /// Schedules that ran in the name of these tokens: each stops at its next run, and says so there.
    pub schedules: Vec<String>,
}

/// A token that was just made. Its text is shown this once.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = NewToken)]
pub struct MadeToken {
    pub token: String,
    #[serde(flatten)]
    pub about: TokenView,
}

/// How a job stands; the event `progress`, and at its end `done`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct ProgressEvent {
    #[schema(value_type = JobState)]
    pub state: String,
    pub run: u32,
    /// The name of the current stage.
    pub stage: Option<String>,
    #[serde(flatten)]
    pub progress: Progress,
    /// Calls to Claude so far.
    pub calls: u64,
    #[serde(default)]
    pub usage: Usage,
    pub cost: Cost,
}

/// Where an `EventSource` may watch a job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct EventsUrl {
    #[schema(examples(
        "https://fanwise.example/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/events?ticket=…"
    ))]
    pub url: String,
    /// After this no connection begins with it any more.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Opaque; `null` on the last page.
    pub next_cursor: Option<String>,
}
