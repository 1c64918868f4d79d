//! Checks of a map stage's results: its phases, what a judge is shown and says, and what is asked for once more.

use serde::Serialize;

use crate::core::job::stage_step::StagePhase;
use crate::ports::Statement;
use crate::store::{params, sql, to_json};

const GUARD: &str = "-- guard_phase
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM stages s JOIN jobs j ON j.id = s.job
  WHERE s.job = ?1 AND s.idx = ?2 AND s.phase = ?3 AND s.pending + s.queued + s.running = 0
    AND j.state = 'running' AND j.stage = s.idx)";

/// Ends the batch unless the job works on that stage, it is in that phase, and no task of it is open.
pub fn guard(job: &str, stage: u32, phase: StagePhase) -> Statement {
    sql(GUARD, params![job, stage, phase.as_str()])
}

const BEGIN: &str = "-- begin_phase
UPDATE stages SET phase = ?3, state = 'running', look = 0, expanded = 0 WHERE job = ?1 AND idx = ?2";
const END: &str = "-- end_checks
UPDATE stages SET phase = 'checked', state = 'done', expanded = 1 WHERE job = ?1 AND idx = ?2";

/// After [`guard`]: the next phase begins.
pub fn begin(job: &str, stage: u32, phase: StagePhase) -> Statement {
    sql(BEGIN, params![job, stage, phase.as_str()])
}

/// After [`guard`]: the stage is through.
pub fn end(job: &str, stage: u32) -> Statement {
    sql(END, params![job, stage])
}

const LOOK: &str = "-- look_on
UPDATE stages SET look = ?3 WHERE job = ?1 AND idx = ?2";

/// From which task on the next slice looks.
pub fn look(job: &str, stage: u32, from: u32) -> Statement {
    sql(LOOK, params![job, stage, from])
}

const TO_CHECK: &str = "-- results_to_check
SELECT t.idx, t.label, t.state, t.verified, i.body AS input, i.blob AS input_blob, t.body, t.blob FROM (
  SELECT t.job, t.idx, t.label, t.state, t.verified, o.body, o.blob,
    SUM(o.bytes) OVER (ORDER BY t.idx ROWS UNBOUNDED PRECEDING) - o.bytes AS ahead
  FROM (SELECT job, idx, label, state, verified FROM tasks WHERE job = ?1 AND stage = ?2 AND idx >= ?3 AND covered > 0
      AND purpose = 'work' ORDER BY idx LIMIT ?4) t
    JOIN outputs o ON o.job = t.job AND o.idx = t.idx) t
  JOIN inputs i ON i.job = t.job AND i.idx = t.idx
WHERE t.ahead < ?5 ORDER BY t.idx";

/// Results of a stage with what they were made of, from task `from` on: at most `most` tasks, and no further one once
/// there are so many bytes.
pub fn to_check(job: &str, stage: u32, from: u32, most: u32, bytes: u64) -> Statement {
    sql(TO_CHECK, params![job, stage, from, most, bytes])
}

const VERIFIED: &str = "-- mark_verified
UPDATE tasks SET verified = 1 WHERE job = ?1 AND idx IN (SELECT value FROM json_each(?2))";

/// All results of these tasks were looked at for the sample.
pub fn verified(job: &str, tasks: &[u32]) -> Statement {
    sql(VERIFIED, params![job, to_json(tasks)])
}

const VERDICTS: &str = "-- verdicts
SELECT t.idx, o.body, o.blob FROM tasks t JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.stage = ?2 AND t.idx > ?3 AND t.purpose = 'verify' AND t.covered > 0 ORDER BY t.idx LIMIT ?4";

/// What judges said about results of a stage, after one task.
pub fn verdicts(job: &str, stage: u32, after: i64, limit: u32) -> Statement {
    sql(VERDICTS, params![job, stage, after, limit])
}

const REDONE: &str = "-- redone_ids
SELECT id, task, tier, answered FROM redone WHERE job = ?1 AND stage = ?2";

/// What was chosen to be asked for again, ever.
pub fn redone(job: &str, stage: u32) -> Statement {
    sql(REDONE, params![job, stage])
}

const TAKEN_OVER: &str = "-- tasks_taken_over
SELECT idx FROM tasks WHERE job = ?1 AND stage = ?2 AND taken_nano IS NOT NULL";

/// Tasks of a stage whose results an earlier job gave.
pub fn taken_over(job: &str, stage: u32) -> Statement {
    sql(TAKEN_OVER, params![job, stage])
}

const RESULTS_BY_TIER: &str = "-- results_by_tier
SELECT tier, SUM(covered) AS items FROM tasks
WHERE job = ?1 AND stage = ?2 AND purpose = 'work' AND covered > 0 AND taken_nano IS NULL GROUP BY tier";

/// How many items each model of a cascade gave first results for, what another job gave left out.
pub fn results_by_tier(job: &str, stage: u32) -> Statement {
    sql(RESULTS_BY_TIER, params![job, stage])
}

const REPLACED_BY_TIER: &str = "-- replaced_by_tier
SELECT t.tier AS was, r.answered AS now, SUM(CASE WHEN t.label IS NULL THEN 1 ELSE t.items END) AS items
FROM redone r JOIN tasks t ON t.job = r.job AND t.idx = r.task
WHERE r.job = ?1 AND r.stage = ?2 AND r.answered IS NOT NULL GROUP BY 1, 2";

/// Of those, how many were replaced, and by which model's.
pub fn replaced_by_tier(job: &str, stage: u32) -> Statement {
    sql(REPLACED_BY_TIER, params![job, stage])
}

const CALLS_BY_MODEL: &str = "-- calls_by_model
SELECT model, COUNT(*) AS calls, SUM(cost_nano) AS cost,
  SUM(CASE role WHEN 'worker' THEN cost_nano END) AS first_cost,
  SUM(CASE role WHEN 'worker' THEN input_tokens END) AS input,
  SUM(CASE role WHEN 'worker' THEN cache_read_tokens END) AS cache_read,
  SUM(CASE role WHEN 'worker' THEN cache_write_tokens END) AS cache_write,
  SUM(CASE role WHEN 'worker' THEN output_tokens END) AS output
FROM attempts WHERE job = ?1 AND stage = ?2 AND role IN ('worker', 'repair') GROUP BY model";

/// What a stage's own calls took, model by model; of first looks, without repairs, the tokens too.
pub fn calls_by_model(job: &str, stage: u32) -> Statement {
    sql(CALLS_BY_MODEL, params![job, stage])
}

/// A result that is to be asked for again, and of which model of the stage's cascade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    pub id: String,
    pub tier: u32,
}

const CHOOSE: &str = "-- choose_to_redo
INSERT INTO redone (job, stage, id, tier) SELECT ?1, ?2, value->>'$.id', value->>'$.tier' FROM json_each(?3) WHERE true
ON CONFLICT (job, stage, id) DO UPDATE SET task = NULL, tier = excluded.tier WHERE tier < excluded.tier";

/// These are to be asked for again: for the first time, or of the next model.
pub fn choose(job: &str, stage: u32, chosen: &[Chosen]) -> Statement {
    sql(CHOOSE, params![job, stage, to_json(chosen)])
}

/// A result that is asked for again, and the task it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub id: String,
    pub task: u32,
}

const ASKED: &str = "-- asked_again
UPDATE redone SET task = e.task FROM (SELECT value->>'$.id' AS id, value->>'$.task' AS task FROM json_each(?3)) AS e
WHERE redone.job = ?1 AND redone.stage = ?2 AND redone.id = e.id";

/// Tasks are written for these.
pub fn asked(job: &str, stage: u32, asked: &[Asked]) -> Statement {
    sql(ASKED, params![job, stage, to_json(asked)])
}

const ANSWERS: &str = "-- answers_of_redo
SELECT t.idx, t.grp, t.items, t.tier, o.body, o.blob FROM tasks t JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.stage = ?2 AND t.purpose = 'redo' AND t.covered > 0 AND t.given IS NULL ORDER BY t.idx LIMIT ?3";

/// Answers to what was asked again that did not take the place of the first ones yet.
pub fn answers(job: &str, stage: u32, limit: u32) -> Statement {
    sql(ANSWERS, params![job, stage, limit])
}

const FIRST: &str = "-- first_outputs
SELECT t.idx, t.items, t.label, o.body, o.blob FROM tasks t JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.idx IN (SELECT value FROM json_each(?2))";

/// The outputs of these tasks.
pub fn first(job: &str, tasks: &[u32]) -> Statement {
    sql(FIRST, params![job, to_json(tasks)])
}

/// An output as it is from now on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replaced {
    pub idx: u32,
    pub body: Option<String>,
    pub blob: Option<String>,
    pub bytes: u64,
}

const REPLACE: &str = "-- replace_outputs
UPDATE outputs SET body = e.body, blob = e.blob, bytes = e.bytes
FROM (SELECT value->>'$.idx' AS idx, value->>'$.body' AS body, value->>'$.blob' AS blob, value->>'$.bytes' AS bytes
  FROM json_each(?2)) AS e
WHERE outputs.job = ?1 AND outputs.idx = e.idx";
const APPLIED: &str = "-- redo_applied
UPDATE tasks SET given = '*' WHERE job = ?1 AND idx = ?2";
const ANSWERED: &str = "-- redo_answered
UPDATE redone SET answered = ?4 WHERE job = ?1 AND stage = ?2 AND id IN (SELECT value FROM json_each(?3))";
const UNFLAG: &str = "-- unflag
DELETE FROM flags WHERE job = ?1 AND stage = ?2 AND flag = ?3 AND id IN (SELECT value FROM json_each(?4))";

/// An answer by the model of `tier` takes the place of first results; what a judge said about those is past.
pub fn replace(
    job: &str,
    stage: u32,
    answer: u32,
    outputs: &[Replaced],
    judged: (&str, &[String]),
    tier: u32,
) -> Vec<Statement> {
    vec![
        sql(REPLACE, params![job, to_json(outputs)]),
        sql(APPLIED, params![job, answer]),
        sql(ANSWERED, params![job, stage, to_json(judged.1), tier]),
        sql(UNFLAG, params![job, stage, judged.0, to_json(judged.1)]),
    ]
}
