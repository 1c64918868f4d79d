//! Results in the order of the input: which task an item is in, what tasks brought, what was found about it.

use crate::ports::Statement;
use crate::store::{params, sql, to_json};

/// Tasks of a stage by index as far as their ids have so many bytes; `$which` chooses among them.
macro_rules! items_of_tasks {
    ($name:literal, $which:literal) => {
        concat!(
            "-- ", $name, "
SELECT idx, ids, label FROM (
  SELECT idx, ids, label, SUM(LENGTH(ids)) OVER (ORDER BY idx ROWS UNBOUNDED PRECEDING) - LENGTH(ids) AS ahead
  FROM (SELECT idx, ids, label FROM tasks WHERE job = ?1 AND stage = ?2 AND purpose = 'work' AND ", $which, " AND idx > ?3
    ORDER BY idx LIMIT ?4))
WHERE ahead < ?5 ORDER BY idx"
        )
    };
}

const MADE: &str = items_of_tasks!("items_of_tasks", "origin IS NULL");
const HALVES: &str = items_of_tasks!("items_of_halves", "origin IS NOT NULL");

/// The items of the tasks that expansion made, after the task `after`: these stand about in the order of the input.
pub fn made(job: &str, stage: u32, after: i64, limit: u32, bytes: u64) -> Statement {
    sql(MADE, params![job, stage, after, limit, bytes])
}

/// The items of the tasks that other tasks were split into.
pub fn halves(job: &str, stage: u32, after: i64, limit: u32, bytes: u64) -> Statement {
    sql(HALVES, params![job, stage, after, limit, bytes])
}

const OUTPUTS: &str = "-- outputs_of_tasks
SELECT idx, ids, grp, label, body, blob FROM (
  SELECT e.key AS place, t.idx, t.ids, t.grp, t.label, o.body, o.blob,
    SUM(o.bytes) OVER (ORDER BY e.key ROWS UNBOUNDED PRECEDING) - o.bytes AS ahead
  FROM json_each(?2) e CROSS JOIN tasks t ON t.job = ?1 AND t.idx = e.value AND t.covered > 0
    CROSS JOIN outputs o ON o.job = ?1 AND o.idx = e.value)
WHERE ahead < ?3 ORDER BY place";

/// The outputs of these tasks in this order, and no further one once there are so many bytes.
pub fn outputs(job: &str, tasks: &[u32], bytes: u64) -> Statement {
    sql(OUTPUTS, params![job, to_json(tasks), bytes])
}

const WITH_RESULTS: &str = "-- tasks_with_results
SELECT idx FROM tasks WHERE job = ?1 AND stage = ?2 AND purpose = 'work' AND covered > 0 AND idx > ?3 ORDER BY idx LIMIT ?4";

/// The tasks of a stage that have results, after the task `after`.
pub fn with_results(job: &str, stage: u32, after: i64, limit: u32) -> Statement {
    sql(WITH_RESULTS, params![job, stage, after, limit])
}

const SLICES: &str = "-- slices_of_items
SELECT d.item, d.slices FROM json_each(?3) e CROSS JOIN documents d ON d.job = ?1 AND d.stage = ?2 AND d.item = e.value";

/// Which of these items a stage works on in slices, and in how many.
pub fn slices(job: &str, stage: u32, items: &[&str]) -> Statement {
    sql(SLICES, params![job, stage, to_json(items)])
}

const FLAGS: &str = "-- flags_of_items
SELECT DISTINCT f.id, f.flag FROM json_each(?3) e CROSS JOIN json_each(?2) s
  CROSS JOIN flags f ON f.job = ?1 AND f.stage = s.value AND f.id = e.value
ORDER BY f.id, f.flag";

/// What checks have found about results with these ids in these stages.
pub fn flags(job: &str, stages: &[u32], ids: &[&str]) -> Statement {
    sql(FLAGS, params![job, to_json(stages), to_json(ids)])
}
