//! Plans: their rounds, the stages they bring, and their approval.

use serde_json::Value;

use crate::core::estimate::Expected;
use crate::core::job::state::JobState;
use crate::core::plan::spec::ResolvedStage;
use crate::ports::Statement;
use crate::store::row::{Columns, Row};
use crate::store::stage::reduce_tree;
use crate::store::{params, sql, to_json};

/// One time that stages were given, made or added.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// 0 is the plan that the job began with.
    pub round: u32,
    /// `caller`, `recipe`, `orchestrator` or `default`.
    pub source: String,
    pub rationale: Option<String>,
    /// Names of the stages that it brought.
    pub stages: Vec<String>,
    /// What was wrong with answers that were not used.
    pub faults: Vec<String>,
    pub expected: Option<Expected>,
    pub at: i64,
}

impl Round {
    fn read(row: &Row) -> Round {
        Round {
            round: row.count("round"),
            source: row.text("source"),
            rationale: row.maybe_text("rationale"),
            stages: row.json("stages").unwrap_or_default(),
            faults: row.json("faults").unwrap_or_default(),
            expected: row.json("expected"),
            at: row.int("at"),
        }
    }
}

const KEEP: &str = "-- keep_round
INSERT OR REPLACE INTO plans (job, round, source, rationale, stages, faults, expected, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// Keeps a round, in place of one of the same number.
pub fn keep(job: &str, round: &Round) -> Statement {
    sql(
        KEEP,
        params![
            job,
            round.round,
            round.source.as_str(),
            round.rationale.as_deref(),
            to_json(&round.stages),
            to_json(&round.faults),
            round.expected.as_ref().map(to_json),
            round.at,
        ],
    )
}

const ROUNDS: &str = "-- rounds
SELECT * FROM plans WHERE job = ?1 ORDER BY round";
const PROFILE: &str = "-- profile
SELECT profile FROM specs WHERE job = ?1";

/// The rounds of a job and the profile of its input: two statements.
pub fn load(job: &str) -> Vec<Statement> {
    vec![sql(ROUNDS, params![job]), sql(PROFILE, params![job])]
}

/// Reads the rows of the first statement of [`load`].
pub fn rounds(rows: &[Row]) -> Vec<Round> {
    rows.iter().map(Round::read).collect()
}

const DROP: &str = "-- drop_stages
DELETE FROM stages WHERE job = ?1 AND idx >= ?2 AND kind IN ('map', 'synthesis')";
const ADD: &str = "-- add_stages
INSERT INTO stages (job, idx, kind, name, amends)
SELECT ?1, key, value->>'$.kind', value->>'$.name', value->'$.of' IS NOT NULL FROM json_each(?2) WHERE key >= ?3";
const SET: &str = "-- set_stages
UPDATE specs SET spec = json_set(spec, '$.stages', json(?2)) WHERE job = ?1";
const CLASSES: &str = "-- add_classes
INSERT OR IGNORE INTO classes (class) SELECT value FROM json_each(?1)";
const PRICE: &str = "-- set_synthesis_price
UPDATE jobs SET synthesis_fixed_nano = ?2, synthesis_nano_per_byte = ?3 WHERE id = ?1";

/// What the hold for a job's synthesis must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynthesisPrice {
    /// At worst, whatever it reads.
    pub fixed_nano: i64,
    pub nano_per_byte: i64,
    /// Bytes of results from which on there is a tree, and what that costs for each byte; `None` without a synthesis.
    pub tree: Option<(u64, i64)>,
}

/// The stages of a job from the position `from` on become these; those before it are the same as ever. No task of what
/// is replaced may have been made.
pub fn set_stages(
    job: &str,
    stages: &[ResolvedStage],
    from: u32,
    classes: &[String],
    synthesis: SynthesisPrice,
) -> Vec<Statement> {
    let stages = to_json(stages);
    let mut statements = vec![
        sql(DROP, params![job, from]),
        sql(ADD, params![job, stages.as_str(), from]),
        sql(SET, params![job, stages]),
        sql(CLASSES, params![to_json(classes)]),
        sql(
            PRICE,
            params![job, synthesis.fixed_nano, synthesis.nano_per_byte],
        ),
    ];
    let tree = synthesis
        .tree
        .map(|(bytes, nano)| reduce_tree::price(job, bytes, nano));
    statements.extend(tree);
    statements
}

const STAND_AT: &str = "-- stand_at_stage
UPDATE jobs SET stage = ?2, updated_at = ?3, drive_at = ?4 WHERE id = ?1";

/// After a guard: the job stands at this stage.
pub fn stand_at(job: &str, stage: u32, now: i64, drive_at: i64) -> Statement {
    sql(STAND_AT, params![job, stage, now, drive_at])
}

const FORGET: &str = "-- forget_answers
DELETE FROM ledger WHERE (tenant, key) IN (SELECT j.tenant, t.key FROM tasks t JOIN jobs j ON j.id = t.job
  WHERE t.job = ?1 AND t.stage = ?2)";

/// What a stage was answered is not used again.
pub fn forget_answers(job: &str, stage: u32) -> Statement {
    sql(FORGET, params![job, stage])
}

const AWAIT: &str = "-- await_approval
UPDATE jobs SET state = ?3, stage = ?4, halt = ?5, awaits_since = ?6, updated_at = ?6, drive_at = ?7
WHERE id = ?1 AND state = ?2 AND approval = 'wanted' RETURNING id";
const APPROVE: &str = "-- approve
UPDATE jobs SET state = ?2, approval = 'given', halt = NULL, updated_at = ?3, drive_at = ?3,
  deadline_at = deadline_at + ?3 - COALESCE(awaits_since, ?3), awaits_since = NULL
WHERE id = ?1";

/// The plan is there and waits for its caller.
pub fn await_approval(job: &str, stage: u32, halt: &Value, now: i64, drive_at: i64) -> Statement {
    sql(
        AWAIT,
        params![
            job,
            JobState::Planning.as_str(),
            JobState::AwaitingApproval.as_str(),
            stage,
            halt.to_string(),
            now,
            drive_at
        ],
    )
}

/// After a guard on the state: the job goes to work, and its deadline moves on by the time it waited.
pub fn approve(job: &str, now: i64) -> Statement {
    sql(APPROVE, params![job, JobState::Running.as_str(), now])
}
