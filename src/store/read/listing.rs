//! What callers read: jobs, tasks, attempts, results. Every statement that begins at a job is given the
//! tenant too, so that nobody reads another's.

use crate::ports::Statement;
use crate::store::{params, sql};

/// Tasks of the map stages of job `j` by state as JSON, and how many of its items have a result.
macro_rules! progress_columns {
    () => {
        "(SELECT json_object('total', SUM(pending + queued + running + succeeded + failed + skipped + cancelled),
      'pending', SUM(pending), 'queued', SUM(queued), 'running', SUM(running), 'succeeded', SUM(succeeded),
      'failed', SUM(failed), 'skipped', SUM(skipped), 'cancelled', SUM(cancelled))
    FROM stages WHERE job = j.id AND kind = 'map') AS counts,
  COALESCE(j.covered, (SELECT items_covered FROM stages WHERE job = j.id AND kind = 'map' AND amends = 0
    ORDER BY idx DESC LIMIT 1)) AS covered_so_far"
    };
}
pub(super) use progress_columns;

macro_rules! job_columns {
    () => {
        concat!(
            "SELECT j.*, p.spec->>'$.task' AS task, p.spec->>'$.recipe' AS recipe, p.metadata,
  p.spec->>'$.blank_rows' AS blank_rows,
  (SELECT name FROM stages WHERE job = j.id AND idx = j.stage) AS stage_name,
  ",
            progress_columns!(),
            "
FROM jobs j JOIN specs p ON p.job = j.id "
        )
    };
}

const JOB_VIEW: &str = concat!(
    "-- job_view\n",
    job_columns!(),
    "WHERE j.id = ?1 AND j.tenant = ?2"
);
// What its likely cost is worked out from: a row for each stage and round.
const STANDING: &str = "-- job_standing
SELECT json_group_array(json_object('name', name, 'expanded', json(IIF(expanded, 'true', 'false')),
    'done', json(IIF(state = 'done', 'true', 'false')), 'open', pending + queued + running,
    'over', succeeded + failed + skipped + cancelled, 'spent_nano', spent_nano)) AS stages,
  (SELECT json_group_array(json(expected)) FROM plans WHERE job = ?1 AND expected IS NOT NULL) AS rounds
FROM stages WHERE job = (SELECT id FROM jobs WHERE id = ?1 AND tenant = ?2 AND finished_at IS NULL)
HAVING COUNT(*) > 0";
const JOB_VIEWS: &str = concat!(
    "-- job_views\n",
    job_columns!(),
    "WHERE j.tenant = ?1 AND (?2 IS NULL OR j.state = ?2) AND (?3 IS NULL OR (j.created_at, j.id) < (?3, ?4))
ORDER BY j.created_at DESC, j.id DESC LIMIT ?5"
);

/// One job with its counts.
pub fn job(id: &str, tenant: &str) -> Statement {
    sql(JOB_VIEW, params![id, tenant])
}

/// How the stages of a job that is not over stand, and what was expected of it.
pub fn standing(id: &str, tenant: &str) -> Statement {
    sql(STANDING, params![id, tenant])
}

/// Jobs, newest first.
pub fn jobs(
    tenant: &str,
    state: Option<&str>,
    after: Option<(i64, String)>,
    limit: u32,
) -> Statement {
    let (at, id) = after.unzip();
    sql(JOB_VIEWS, params![tenant, state, at, id, limit])
}

const OWNER: &str = "-- job_owner
SELECT id, state, stage, items_total FROM jobs WHERE id = ?1 AND tenant = ?2";

/// Whether the job is the tenant's, and how it stands.
pub fn owner(id: &str, tenant: &str) -> Statement {
    sql(OWNER, params![id, tenant])
}

const NEXT_CALL: &str = "-- next_call
SELECT t.not_before, t.bytes, c.* FROM jobs j CROSS JOIN tasks t ON t.id = (SELECT n.id FROM tasks n
    WHERE n.job = j.id AND n.state IN ('pending', 'queued') AND n.batched = 0 ORDER BY n.not_before, n.idx LIMIT 1)
  LEFT JOIN classes c ON c.class = t.class
WHERE j.tenant = ?2 AND j.id = ?1 AND j.state IN ('planning', 'running', 'synthesizing') AND j.in_flight = 0";

/// Of a job at work that has nothing in flight: the task that goes next, with its class.
pub fn next_call(job: &str, tenant: &str) -> Statement {
    sql(NEXT_CALL, params![job, tenant])
}

const TASKS: &str = "-- task_views
SELECT t.idx, t.state, t.ids, t.attempts, t.error, t.purpose, t.not_before, s.name AS stage
FROM tasks t JOIN stages s ON s.job = t.job AND s.idx = t.stage
WHERE t.job = ?1 AND t.idx > ?2 AND (?3 IS NULL OR t.state = ?3)
  AND CASE WHEN ?4 IS NULL THEN s.kind = 'map' ELSE s.name = ?4 END
  AND (?5 IS NULL OR t.label = ?5 OR EXISTS (SELECT 1 FROM json_each(t.ids)
    WHERE value = ?5 OR substr(value, 1, length(?5) + 1) = ?5 || '#'))
ORDER BY t.idx LIMIT ?6";

/// Tasks by index, after `after` (-1: from the first).
pub fn tasks(
    job: &str,
    after: i64,
    state: Option<&str>,
    stage: Option<&str>,
    item: Option<&str>,
    limit: u32,
) -> Statement {
    sql(TASKS, params![job, after, state, stage, item, limit])
}

const TASK: &str = "-- task_whole
SELECT t.*, s.name AS stage_name, i.body, i.blob, o.body AS output, o.blob AS output_blob
FROM tasks t JOIN stages s ON s.job = t.job AND s.idx = t.stage
  LEFT JOIN inputs i ON i.job = t.job AND i.idx = t.idx
  LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.idx = ?2";
const ATTEMPTS: &str = "-- attempts_of_task
SELECT * FROM attempts WHERE job = ?1 AND idx = ?2 ORDER BY n LIMIT 200";

/// One task with its input and output, and its attempts: two statements.
pub fn task(job: &str, idx: u32) -> Vec<Statement> {
    vec![
        sql(TASK, params![job, idx]),
        sql(ATTEMPTS, params![job, idx]),
    ]
}

const RESULTS: &str = "-- results_page
SELECT idx, ids, grp, label, body, blob FROM (
  SELECT t.idx, t.ids, t.grp, t.label, o.body, o.blob,
    SUM(o.bytes) OVER (ORDER BY t.idx ROWS UNBOUNDED PRECEDING) - o.bytes AS ahead
  FROM (SELECT job, idx, ids, grp, label FROM tasks WHERE job = ?1 AND stage = ?2 AND idx > ?3 AND covered > 0
      AND purpose = 'work' ORDER BY idx LIMIT ?4) t
    JOIN outputs o ON o.job = t.job AND o.idx = t.idx)
WHERE ahead < ?5 ORDER BY idx";

/// Outputs of a stage by task index, after `after`: at most `limit`, and no further one once there are so many bytes.
pub fn results(job: &str, stage: u32, after: i64, limit: u32, bytes: u64) -> Statement {
    sql(RESULTS, params![job, stage, after, limit, bytes])
}

const MISSING: &str = "-- missing_page
SELECT t.idx, t.ids, t.items, t.covered, t.state, t.error, o.body, o.blob
FROM tasks t LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx AND t.covered > 0
WHERE t.job = ?1 AND t.stage = ?2 AND t.state IN ('failed', 'skipped', 'cancelled') AND t.idx > ?3 AND t.purpose = 'work'
ORDER BY t.idx LIMIT ?4";

/// Tasks of a stage that left items without a result.
pub fn missing(job: &str, stage: u32, after: i64, limit: u32) -> Statement {
    sql(MISSING, params![job, stage, after, limit])
}

const MERGED: &str = "-- merged
SELECT merged FROM specs WHERE job = ?1";

/// What the merge left.
pub fn merged(job: &str) -> Statement {
    sql(MERGED, params![job])
}

const STAGE_TASK: &str = "-- task_of_stage
SELECT t.idx, t.state, t.error, o.body, o.blob FROM tasks t
  LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.stage = ?2 AND t.purpose = 'work' ORDER BY t.idx DESC LIMIT 1";

/// The newest task of a stage: the synthesis of this run.
pub fn stage_task(job: &str, stage: u32) -> Statement {
    sql(STAGE_TASK, params![job, stage])
}

const LIMITS: &str = "-- limits
SELECT * FROM classes WHERE class <> 'batch' ORDER BY class";

/// The governor's rows.
pub fn limits() -> Statement {
    sql(LIMITS, params![])
}
