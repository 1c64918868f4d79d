//! Jobs, their specs, pages of input and stages.

use serde_json::{Map, Value, json};

use super::plans;
use super::plans::Round;
use crate::core::estimate::profile::Profile;
use crate::core::job::delivery::Choice;
use crate::core::job::stage_step::{StagePhase, StageState, StageStatus};
use crate::core::job::state::{JobEvent, JobState, job_states_that_accept};
use crate::core::plan::carry_over::Extension;
use crate::core::plan::planner::PLAN;
use crate::core::plan::spec::{OnBudget, PLAN_STAGE, Spec, StageKind};
use crate::core::task::answer_room::Answers;
use crate::ports::Statement;
use crate::store::row::{Columns, Row};
use crate::store::{params, sql, to_json};

/// What is written when a job comes in.
pub struct NewJob<'a> {
    pub id: &'a str,
    pub tenant: &'a str,
    pub now: i64,
    pub deadline_at: Option<i64>,
    pub drive_at: i64,
    pub concurrency: u32,
    pub max_attempts: u32,
    pub min_success_ratio: f64,
    pub limit_nano: Option<i64>,
    pub synthesis_fixed_nano: i64,
    pub synthesis_nano_per_byte: i64,
    pub items_total: u32,
    /// The plan waits for a caller's approval.
    pub approval: bool,
    pub spec: &'a Spec,
    pub profile: &'a Profile,
    /// The plan as it came in; `None` where it is still to be made.
    pub round: Option<&'a Round>,
    /// Key and body hash.
    pub idempotency: Option<&'a (String, String)>,
    /// Model classes its calls will draw on.
    pub classes: Vec<String>,
}

/// A page of items: inline, or in a blob.
pub struct NewPage {
    pub first: u32,
    pub count: u32,
    pub body: Option<String>,
    pub blob: Option<String>,
}

const INSERT_JOB: &str = "-- insert_job
INSERT INTO jobs (id, tenant, state, mode, created_at, updated_at, deadline_at, drive_at, concurrency,
  max_attempts, min_success_ratio, on_budget, reuse, limit_nano, synthesis_fixed_nano,
  synthesis_nano_per_byte, items_total, approval, delivery)
VALUES (?1, ?2, 'queued', ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
const INSERT_SPEC: &str = "-- insert_spec
INSERT INTO specs (job, spec, metadata, profile) VALUES (?1, ?2, ?3, ?4)";
const INSERT_PAGES: &str = "-- insert_pages
INSERT INTO pages (job, first, count, body, blob)
SELECT ?1, value->>'$.first', value->>'$.count', value->>'$.body', value->>'$.blob' FROM json_each(?2)";
const INSERT_STAGES: &str = "-- insert_stages
INSERT INTO stages (job, idx, kind, name, amends)
SELECT ?1, value->>'$.idx', value->>'$.kind', value->>'$.name', value->>'$.amends' FROM json_each(?2)";
const GUARD_IDEMPOTENCY: &str = "-- guard_idempotency
INSERT INTO assertions SELECT NOT EXISTS (SELECT 1 FROM idempotency WHERE tenant = ?1 AND key = ?2)";
const INSERT_IDEMPOTENCY: &str = "-- insert_idempotency
INSERT INTO idempotency (tenant, key, body_hash, job, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
const INSERT_CLASSES: &str = "-- insert_classes
INSERT OR IGNORE INTO classes (class) SELECT value FROM json_each(?1)";

/// Everything of a new job, in one batch. A doubled idempotency key makes the guard fail.
pub fn insert(job: &NewJob<'_>, pages: &[NewPage]) -> Vec<Statement> {
    let mut statements = Vec::new();
    if let Some((key, hash)) = job.idempotency {
        statements.push(sql(GUARD_IDEMPOTENCY, params![job.tenant, key.as_str()]));
        statements.push(sql(
            INSERT_IDEMPOTENCY,
            params![job.tenant, key.as_str(), hash.as_str(), job.id, job.now],
        ));
    }
    let spec = job.spec;
    statements.push(sql(
        INSERT_JOB,
        params![
            job.id,
            job.tenant,
            spec.mode.as_str(),
            job.now,
            job.deadline_at,
            job.drive_at,
            job.concurrency,
            job.max_attempts,
            job.min_success_ratio,
            spec.limits.on_budget.unwrap_or_default().as_str(),
            u32::from(spec.reuse),
            job.limit_nano,
            job.synthesis_fixed_nano,
            job.synthesis_nano_per_byte,
            job.items_total,
            job.approval.then_some("wanted"),
            spec.delivery.at_first(),
        ],
    ));
    statements.push(sql(
        INSERT_SPEC,
        params![
            job.id,
            to_json(spec),
            Value::Object(spec.metadata.clone()).to_string(),
            to_json(job.profile),
        ],
    ));
    let pages: Vec<Value> = pages
        .iter()
        .map(|p| json!({"first": p.first, "count": p.count, "body": p.body, "blob": p.blob}))
        .collect();
    statements.push(sql(
        INSERT_PAGES,
        params![job.id, Value::Array(pages).to_string()],
    ));
    let mut stages: Vec<Value> = (0_u32..)
        .zip(&spec.stages)
        .map(|(idx, s)| json!({"idx": idx, "kind": s.kind.as_str(), "name": s.name, "amends": s.amends()}))
        .collect();
    if spec.planning.is_some() {
        let kind = StageKind::Plan.as_str();
        stages.push(json!({"idx": PLAN_STAGE, "kind": kind, "name": PLAN, "amends": false}));
    }
    statements.push(sql(
        INSERT_STAGES,
        params![job.id, Value::Array(stages).to_string()],
    ));
    statements.push(sql(INSERT_CLASSES, params![to_json(&job.classes)]));
    statements.extend(job.round.map(|round| plans::keep(job.id, round)));
    statements
}

const IDEMPOTENT_JOB: &str = "-- idempotent_job
SELECT job, body_hash FROM idempotency WHERE tenant = ?1 AND key = ?2";

/// The job that came with this key before, and the hash of its body.
pub fn idempotent(tenant: &str, key: &str) -> Statement {
    sql(IDEMPOTENT_JOB, params![tenant, key])
}

/// A job's row, as the engine reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub id: String,
    pub tenant: String,
    pub run: u32,
    pub state: JobState,
    pub resume_state: Option<JobState>,
    pub halt: Option<Value>,
    pub stage: u32,
    /// A caller's approval is wanted and was not given yet.
    pub needs_approval: bool,
    pub created_at: i64,
    pub deadline_at: Option<i64>,
    pub concurrency: u32,
    pub max_attempts: u32,
    pub min_success_ratio: f64,
    pub on_budget: OnBudget,
    pub reuse: bool,
    pub limit_nano: Option<i64>,
    pub items_total: u32,
    pub next_index: u32,
    pub in_flight: u32,
    pub spent_nano: i64,
    pub reserved_nano: i64,
    pub unknown_nano: i64,
    /// What answers from the ledger would have cost.
    pub saved_nano: i64,
    /// How calls go out now: `live`, `batch`, or `undecided`.
    pub delivery: String,
    /// Why that is so, once it is decided.
    pub choice: Option<Choice>,
    /// The job that it extends, and whether results of that are still to be copied.
    pub extends: Option<Extension>,
    pub extending: bool,
}

impl JobRow {
    /// `None` for a row whose state nobody knows.
    pub fn read(row: &Row) -> Option<JobRow> {
        Some(JobRow {
            id: row.text("id"),
            tenant: row.text("tenant"),
            run: row.count("run"),
            state: JobState::parse(&row.text("state"))?,
            resume_state: row
                .maybe_text("resume_state")
                .and_then(|text| JobState::parse(&text)),
            halt: row.json("halt"),
            stage: row.count("stage"),
            needs_approval: row.text("approval") == "wanted",
            created_at: row.int("created_at"),
            deadline_at: row.maybe_int("deadline_at"),
            concurrency: row.count("concurrency"),
            max_attempts: row.count("max_attempts"),
            min_success_ratio: row.real("min_success_ratio"),
            on_budget: if row.text("on_budget") == OnBudget::Pause.as_str() {
                OnBudget::Pause
            } else {
                OnBudget::Finish
            },
            reuse: row.flag("reuse"),
            limit_nano: row.maybe_int("limit_nano"),
            items_total: row.count("items_total"),
            next_index: row.count("next_index"),
            in_flight: row.count("in_flight"),
            spent_nano: row.int("spent_nano"),
            reserved_nano: row.int("reserved_nano"),
            unknown_nano: row.int("unknown_nano"),
            saved_nano: row.int("saved_nano"),
            delivery: row.text("delivery"),
            choice: row.json("choice"),
            extends: row.json("extends"),
            extending: row.maybe_text("extends_job").is_some(),
        })
    }
}

/// A stage's row.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRow {
    pub idx: u32,
    pub kind: StageKind,
    pub name: String,
    pub state: StageState,
    pub cursor: u32,
    /// Where inside the item at `cursor` expansion stands.
    pub within: Option<Value>,
    /// Of the tree before a synthesis; 0 where none is worked on.
    pub level: u32,
    /// Of a tree: from which task index on it is this run's. Of a check: from which on it looks next.
    pub look: u32,
    /// What is being done: its own work, or a check of it.
    pub phase: StagePhase,
    pub expanded: bool,
    pub pending: u32,
    pub queued: u32,
    pub running: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub skipped: u32,
    pub cancelled: u32,
    pub items_covered: u32,
    /// From which task of the earlier job on results are copied; below 0: all are.
    pub earlier: i64,
    /// What its answers were like so far.
    pub answers: Answers,
}

impl StageRow {
    /// `None` where a later version of the Worker wrote a value that this one does not know.
    pub fn read(row: &Row) -> Option<StageRow> {
        Some(StageRow {
            idx: row.count("idx"),
            kind: StageKind::parse(&row.text("kind"))?,
            name: row.text("name"),
            state: StageState::parse(&row.text("state"))?,
            cursor: row.count("cursor"),
            within: row.json("within"),
            level: row.count("level"),
            look: row.count("look"),
            phase: StagePhase::parse(&row.text("phase"))?,
            expanded: row.flag("expanded"),
            pending: row.count("pending"),
            queued: row.count("queued"),
            running: row.count("running"),
            succeeded: row.count("succeeded"),
            failed: row.count("failed"),
            skipped: row.count("skipped"),
            cancelled: row.count("cancelled"),
            items_covered: row.count("items_covered"),
            earlier: row.int("earlier"),
            answers: crate::store::task::admission::answers(row),
        })
    }

    /// Tasks that are not terminal.
    pub fn open(&self) -> u32 {
        self.pending + self.queued + self.running
    }

    /// Where it stands, for the next step.
    pub fn status(&self) -> StageStatus {
        StageStatus {
            state: self.state,
            phase: self.phase,
            expanded: self.expanded,
            open: self.open() > 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.expanded && self.open() == 0
    }
}

const JOB: &str = "-- job
SELECT * FROM jobs WHERE id = ?1";
const STAGES: &str = "-- stages
SELECT * FROM stages WHERE job = ?1 ORDER BY idx";
const SPEC: &str = "-- spec
SELECT spec FROM specs WHERE job = ?1";

/// The job's row, its stages, and its spec: three statements.
pub fn load(id: &str) -> Vec<Statement> {
    vec![
        sql(JOB, params![id]),
        sql(STAGES, params![id]),
        sql(SPEC, params![id]),
    ]
}

const SPECS: &str = "-- specs
SELECT job, spec FROM specs WHERE job IN (SELECT value FROM json_each(?1))";

/// The specs of several jobs.
pub fn specs(jobs: &[String]) -> Statement {
    sql(SPECS, params![to_json(&jobs)])
}

const PAGES: &str = "-- pages
SELECT first, count, body, blob FROM pages
WHERE job = ?1 AND first < ?3 AND first + count > ?2 ORDER BY first";

/// The pages that hold any of the items `from..to`.
pub fn pages(job: &str, from: u32, to: u32) -> Statement {
    sql(PAGES, params![job, from, to])
}

const MOVE: &str = "-- move_job
UPDATE jobs SET state = ?3, updated_at = ?4, drive_at = ?5, stage = COALESCE(?6, stage),
  halt = NULL, resume_state = NULL, error = NULL
WHERE id = ?1 AND state = ?2
RETURNING id, state AS moved_to, run";
const START_STAGE: &str = "-- start_stage
UPDATE stages SET state = 'running' WHERE job = ?1 AND idx = ?2 AND state = 'waiting'
  AND EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND state = ?3 AND stage = ?2)";

/// Moves a job from one working state to another; one row comes back where it was still in `from`.
pub fn advance(
    id: &str,
    from: JobState,
    to: JobState,
    stage: Option<u32>,
    now: i64,
    drive_at: i64,
) -> Statement {
    sql(
        MOVE,
        params![id, from.as_str(), to.as_str(), now, drive_at, stage],
    )
}

/// Opens a stage of a job that is in `state` at that stage.
pub fn start_stage(id: &str, stage: u32, state: JobState) -> Statement {
    sql(START_STAGE, params![id, stage, state.as_str()])
}

const NEXT_STAGE: &str = "-- next_stage
UPDATE jobs SET stage = ?3, updated_at = ?4, drive_at = ?5
WHERE id = ?1 AND stage = ?2 AND state = 'running' RETURNING id";

/// Goes on to the next map stage.
pub fn next_stage(id: &str, from: u32, to: u32, now: i64, drive_at: i64) -> Statement {
    sql(NEXT_STAGE, params![id, from, to, now, drive_at])
}

const DRIVE_AT: &str = "-- drive_at
UPDATE jobs SET drive_at = ?2 WHERE id = ?1 AND finished_at IS NULL";

/// Tells the sweep when to look at the job next.
pub fn drive_at(id: &str, at: i64) -> Statement {
    sql(DRIVE_AT, params![id, at])
}

const FINISH: &str = "-- finish_job
UPDATE jobs SET state = ?2, error = ?3, halt = NULL, resume_state = NULL, updated_at = ?4, finished_at = ?4
WHERE id = ?1 AND run = ?5 AND state = ?6
RETURNING id, state AS moved_to, run, error";

/// Ends a run of a job that still stands where it was when that was decided. Of two that try, one gets a row back.
pub fn finish(job: &JobRow, to: JobState, error: Option<Value>, now: i64) -> Statement {
    sql(
        FINISH,
        params![
            job.id.as_str(),
            to.as_str(),
            error.map(|e| e.to_string()),
            now,
            job.run,
            job.state.as_str(),
        ],
    )
}

const MERGED: &str = "-- keep_merged
UPDATE specs SET merged = ?2 WHERE job = ?1";

/// Keeps the outcome of the deterministic merge.
pub fn keep_merged(job: &str, merged: &Value) -> Statement {
    sql(MERGED, params![job, merged.to_string()])
}

const PAUSE: &str = "-- pause_job
UPDATE jobs SET resume_state = state, state = 'paused', halt = ?3, updated_at = ?4
WHERE id = ?1 AND state IN (SELECT value FROM json_each(?2))
RETURNING id, state AS moved_to, run";

/// Halts one job.
pub fn pause(id: &str, halt: &Value, now: i64) -> Statement {
    sql(
        PAUSE,
        params![
            id,
            to_json(&job_states_that_accept(JobEvent::Paused)),
            halt.to_string(),
            now
        ],
    )
}

const RESUME: &str = "-- resume_job
UPDATE jobs SET state = resume_state, resume_state = NULL, halt = NULL, updated_at = ?2, drive_at = ?3
WHERE id = ?1 AND state = 'paused' AND resume_state IS NOT NULL
RETURNING id, state AS moved_to, run";

/// Sends a paused job back to where it was.
pub fn resume(id: &str, now: i64, drive_at: i64) -> Statement {
    sql(RESUME, params![id, now, drive_at])
}

/// A column as a JSON object, empty where it holds none.
pub fn object(row: &Row, name: &str) -> Map<String, Value> {
    row.json(name).unwrap_or_default()
}

const GUARD_AT: &str = "-- guard_job_at
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND run = ?2 AND state = ?3 AND stage = ?4)";

/// Ends the batch unless the job stands exactly there.
pub fn guard_at(id: &str, run: u32, state: JobState, stage: u32) -> Statement {
    sql(GUARD_AT, params![id, run, state.as_str(), stage])
}

const OPEN_STAGE: &str = "-- open_stage
UPDATE stages SET state = 'running', cursor = 0, expanded = 0, level = 0 WHERE job = ?1 AND idx = ?2";

/// Begins a synthesis stage, again where an earlier run had one.
pub fn open_stage(id: &str, stage: u32) -> Statement {
    sql(OPEN_STAGE, params![id, stage])
}

const END_EXPANSION: &str = "-- end_expansion
UPDATE stages SET expanded = 1, state = 'done' WHERE job = ?1 AND kind = 'map'";

/// No more tasks are made; items without one stay missing.
pub fn end_expansion(id: &str) -> Statement {
    sql(END_EXPANSION, params![id])
}

const STOP_EXPANSION: &str = "-- stop_expansion
UPDATE stages SET expanded = 1 WHERE job = ?1 AND idx = ?2";

/// No more tasks of this stage are made; those there are go on.
pub fn stop_expansion(id: &str, stage: u32) -> Statement {
    sql(STOP_EXPANSION, params![id, stage])
}
