//! Stages over some of the results before them: what they may choose from, what they have chosen, and what they brought.

use serde::Serialize;

use crate::ports::Statement;
use crate::store::task::tasks;
use crate::store::task::tasks::{NewTask, Slice};
use crate::store::{params, sql, to_json};

const INPUTS: &str = "-- inputs_of_tasks
SELECT idx, body, blob FROM inputs WHERE job = ?1 AND idx IN (SELECT value FROM json_each(?2)) ORDER BY idx";

/// What results of these tasks were made of.
pub fn inputs(job: &str, tasks: &[u32]) -> Statement {
    sql(INPUTS, params![job, to_json(tasks)])
}

const CHOSEN: &str = "-- chosen_already
SELECT ids FROM tasks WHERE job = ?1 AND idx IN (
  SELECT task FROM amended WHERE job = ?1 AND stage = ?2 AND base BETWEEN ?3 AND ?4)";

/// The items that a stage has tasks for already, of results of the tasks `from..=to`.
pub fn chosen(job: &str, stage: u32, from: u32, to: u32) -> Statement {
    sql(CHOSEN, params![job, stage, from, to])
}

const BROUGHT: &str = "-- amendments
SELECT o.body, o.blob FROM tasks t JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.covered > 0 AND t.idx IN (
  SELECT task FROM amended WHERE job = ?1 AND stage = ?2 AND base IN (SELECT value FROM json_each(?3)))
ORDER BY t.idx";

/// What a stage has brought for results of these tasks.
pub fn brought(job: &str, stage: u32, tasks: &[u32]) -> Statement {
    sql(BROUGHT, params![job, stage, to_json(tasks)])
}

const FLAGGED: &str = "-- flagged_of
SELECT DISTINCT f.id FROM json_each(?3) e CROSS JOIN json_each(?2) s
  CROSS JOIN flags f ON f.job = ?1 AND f.stage = s.value AND f.id = e.value";

/// Which of these ids a check has flagged in any of these stages.
pub fn flagged(job: &str, stages: &[u32], ids: &[&str]) -> Statement {
    sql(FLAGGED, params![job, to_json(stages), to_json(ids)])
}

/// A task that amends results of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Amends {
    pub base: u32,
    pub task: u32,
}

const AMENDS: &str = "-- keep_amended
INSERT OR IGNORE INTO amended (job, stage, base, task)
SELECT ?1, ?2, value->>'$.base', value->>'$.task' FROM json_each(?3)";

/// A slice of tasks over chosen results.
pub fn expand(slice: &Slice<'_>, tasks: &[NewTask], amends: &[Amends]) -> Vec<Statement> {
    let mut statements = tasks::expand(slice, tasks);
    if !amends.is_empty() {
        statements.push(sql(
            AMENDS,
            params![slice.job, slice.stage, to_json(amends)],
        ));
    }
    statements
}

const LEFT: &str = "-- not_followed_up
SELECT EXISTS (SELECT 1 FROM flags WHERE job = ?1 AND flag = 'not_followed_up') AS some_left";

/// Whether some result was chosen for a follow-up that it did not get.
pub fn left(job: &str) -> Statement {
    sql(LEFT, params![job])
}
