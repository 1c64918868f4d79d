//! Checks of a map stage's results: its phases, what a judge is shown and says, and what is asked for once more.

use serde::Serialize;

use super::jobs::to_json;
use super::{params, sql};
use crate::ports::Statement;

const GUARD: &str = "-- guard_phase
INSERT INTO guards SELECT EXISTS (SELECT 1 FROM stages s JOIN jobs j ON j.id = s.job
  WHERE s.job = ?1 AND s.idx = ?2 AND s.phase = ?3 AND s.pending + s.queued + s.running = 0
    AND j.state = 'running' AND j.stage = s.idx)";

/// Ends the batch unless the job works on that stage, it is in that phase, and no task of it is open.
pub fn guard(job: &str, stage: u32, phase: &str) -> Statement {
    sql(GUARD, params![job, stage, phase])
}

const BEGIN: &str = "-- begin_phase
UPDATE stages SET phase = ?3, state = 'running', look = 0, expanded = 0 WHERE job = ?1 AND idx = ?2";
const END: &str = "-- end_checks
UPDATE stages SET phase = 'checked', state = 'done', expanded = 1 WHERE job = ?1 AND idx = ?2";

/// After [`guard`]: the next phase begins.
pub fn begin(job: &str, stage: u32, phase: &str) -> Statement {
    sql(BEGIN, params![job, stage, phase])
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
SELECT id, task FROM redone WHERE job = ?1 AND stage = ?2";

/// What was chosen to be asked for again, ever.
pub fn redone(job: &str, stage: u32) -> Statement {
    sql(REDONE, params![job, stage])
}

const CHOOSE: &str = "-- choose_to_redo
INSERT OR IGNORE INTO redone (job, stage, id) SELECT ?1, ?2, value FROM json_each(?3)";

/// These are to be asked for again.
pub fn choose(job: &str, stage: u32, ids: &[String]) -> Statement {
    sql(CHOOSE, params![job, stage, to_json(ids)])
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
SELECT t.idx, t.grp, t.items, o.body, o.blob FROM tasks t JOIN outputs o ON o.job = t.job AND o.idx = t.idx
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
const UNFLAG: &str = "-- unflag
DELETE FROM flags WHERE job = ?1 AND stage = ?2 AND flag = ?3 AND id IN (SELECT value FROM json_each(?4))";

/// An answer takes the place of first results; what a judge said about those is past.
pub fn replace(
    job: &str,
    stage: u32,
    answer: u32,
    outputs: &[Replaced],
    judged: (&str, &[String]),
) -> Vec<Statement> {
    vec![
        sql(REPLACE, params![job, to_json(outputs)]),
        sql(APPLIED, params![job, answer]),
        sql(UNFLAG, params![job, stage, judged.0, to_json(judged.1)]),
    ]
}
