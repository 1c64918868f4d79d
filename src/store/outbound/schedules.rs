//! Schedules and their runs.
//!
//! A run is a row keyed by its schedule and the time it was due, made in the transaction that moves the schedule on:
//! two sweeps at once cannot make two of one.

use serde_json::Value;

use crate::core::schedule::{Overlap, RunState};
use crate::ports::Statement;
use crate::store::{params, sql};

const STOP: &str = "-- stop_schedule
UPDATE schedules SET paused = 1, next_at = NULL, updated_at = ?2 WHERE id = ?1";

/// Pauses a schedule of whatever tenant.
pub fn stop(id: &str, now: i64) -> Statement {
    sql(STOP, params![id, now])
}

/// Runs of one schedule that may wait for others of it.
pub const MOST_WAITING: u32 = 10;
/// Runs of one schedule that are remembered.
const KEPT_RUNS: u32 = 100;

/// A schedule as it is written; all of it that a caller may say.
#[derive(Debug, Clone, PartialEq)]
pub struct Written<'a> {
    pub id: &'a str,
    pub tenant: &'a str,
    pub name: &'a str,
    pub cron: &'a str,
    pub time_zone: &'a str,
    pub overlap: Overlap,
    pub paused: bool,
    /// JSON of the body of a submit.
    pub job: &'a str,
    pub input_url: Option<&'a str>,
    pub input_format: Option<&'a str>,
    pub next_at: Option<i64>,
    pub now: i64,
}

impl Written<'_> {
    fn values(&self) -> Vec<Value> {
        params![
            self.id,
            self.tenant,
            self.name,
            self.cron,
            self.time_zone,
            self.overlap.as_str(),
            u32::from(self.paused),
            self.job,
            self.input_url,
            self.input_format,
            self.next_at,
            self.now
        ]
    }
}

const ROOM: &str = "-- guard_schedules
INSERT INTO assertions SELECT (SELECT COUNT(*) FROM schedules WHERE tenant = ?1) < ?2";
const INSERT: &str = "-- insert_schedule
INSERT INTO schedules (id, tenant, name, cron, time_zone, overlap, paused, body, input_url, input_format,
  next_at, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)";
const REPLACE: &str = "-- replace_schedule
UPDATE schedules SET name = ?3, cron = ?4, time_zone = ?5, overlap = ?6, paused = ?7, body = ?8,
  input_url = ?9, input_format = ?10, next_at = ?11, updated_at = ?12
WHERE id = ?1 AND tenant = ?2 RETURNING id";

/// A new one; the guard refuses more than `most` of a tenant.
pub fn insert(schedule: &Written<'_>, most: u32) -> Vec<Statement> {
    vec![
        sql(ROOM, params![schedule.tenant, most]),
        sql(INSERT, schedule.values()),
    ]
}

/// A row comes back where there is such a schedule.
pub fn replace(schedule: &Written<'_>) -> Statement {
    sql(REPLACE, schedule.values())
}

const DELETE_RUNS: &str = "-- delete_schedule_runs
DELETE FROM schedule_runs WHERE schedule IN (SELECT id FROM schedules WHERE id = ?1 AND tenant = ?2)";
const DELETE: &str = "-- delete_schedule
DELETE FROM schedules WHERE id = ?1 AND tenant = ?2 RETURNING id";

/// Takes a schedule away with what is remembered of its runs; its jobs stay. The last statement brings a row back where
/// there was one.
pub fn delete(id: &str, tenant: &str) -> Vec<Statement> {
    vec![
        sql(DELETE_RUNS, params![id, tenant]),
        sql(DELETE, params![id, tenant]),
    ]
}

const ONE: &str = "-- schedule
SELECT * FROM schedules WHERE id = ?1 AND tenant = ?2";
const LIST: &str = "-- schedules_page
SELECT id, name, cron, time_zone, overlap, paused, input_url, input_format, next_at, created_at, updated_at
FROM schedules WHERE tenant = ?1 AND (?2 IS NULL OR (created_at, id) < (?2, ?3))
ORDER BY created_at DESC, id DESC LIMIT ?4";
const RUNS: &str = "-- runs_of_schedules
SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY schedule ORDER BY due_at DESC) AS place FROM schedule_runs
  WHERE schedule IN (SELECT value FROM json_each(?1))) WHERE place <= ?2 ORDER BY schedule, due_at DESC";

/// One whole.
pub fn one(id: &str, tenant: &str) -> Statement {
    sql(ONE, params![id, tenant])
}

/// Without what they submit, newest first.
pub fn list(tenant: &str, after: Option<(i64, String)>, limit: u32) -> Statement {
    let (at, id) = after.unzip();
    sql(LIST, params![tenant, at, id, limit])
}

/// The last `most` runs of each, newest first.
pub fn runs(ids: &[String], most: u32) -> Statement {
    sql(RUNS, params![crate::store::to_json(ids), most])
}

const DUE: &str = "-- schedules_due
SELECT id, tenant, cron, time_zone, next_at FROM schedules WHERE paused = 0 AND next_at <= ?1 ORDER BY next_at LIMIT ?2";

/// Schedules whose time has come.
pub fn due(now: i64, most: u32) -> Statement {
    sql(DUE, params![now, most])
}

const MAKE_RUN: &str = "-- make_run
INSERT OR IGNORE INTO schedule_runs (schedule, due_at, tenant, cause, state, reason, next_at, ended_at)
SELECT id, ?2, tenant, 'cron', CASE full WHEN 1 THEN 'skipped' ELSE 'waiting' END, CASE full WHEN 1 THEN ?4 END, ?3,
  CASE full WHEN 1 THEN ?3 END
FROM (SELECT id, tenant, (SELECT COUNT(*) FROM schedule_runs WHERE schedule = ?1 AND state = 'waiting') >= ?5 AS full
  FROM schedules WHERE id = ?1 AND paused = 0 AND next_at = ?2)";
const MOVE_ON: &str = "-- move_schedule_on
UPDATE schedules SET next_at = ?3 WHERE id = ?1 AND paused = 0 AND next_at = ?2";
const FORGET_RUNS: &str = "-- forget_runs
DELETE FROM schedule_runs WHERE schedule = ?1 AND ended_at IS NOT NULL AND due_at <= (
    SELECT due_at FROM schedule_runs WHERE schedule = ?1 ORDER BY due_at DESC LIMIT 1 OFFSET ?2)
  AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = schedule_runs.job_id AND finished_at IS NULL)";

/// Makes the run that was due at `due_at`, and moves the schedule on to `next_at`. Of two sweeps, one does.
pub fn fall_due(
    id: &str,
    due_at: i64,
    next_at: Option<i64>,
    full: &Value,
    now: i64,
) -> Vec<Statement> {
    vec![
        sql(
            MAKE_RUN,
            params![id, due_at, now, full.to_string(), MOST_WAITING],
        ),
        sql(MOVE_ON, params![id, due_at, next_at]),
        sql(FORGET_RUNS, params![id, KEPT_RUNS]),
    ]
}

const RUN_NOW: &str = "-- run_now
INSERT OR IGNORE INTO schedule_runs (schedule, due_at, tenant, cause, next_at)
SELECT id, ?3, tenant, 'caller', ?3 FROM schedules WHERE id = ?1 AND tenant = ?2";
const RUN: &str = "-- run_of_schedule
SELECT * FROM schedule_runs WHERE schedule = ?1 AND due_at = ?2";

/// Makes a run that a caller asks for; the last statement answers with it.
pub fn run_now(id: &str, tenant: &str, now: i64) -> Vec<Statement> {
    vec![
        sql(RUN_NOW, params![id, tenant, now]),
        sql(FORGET_RUNS, params![id, KEPT_RUNS]),
        sql(RUN, params![id, now]),
    ]
}

const WAITING: &str = "-- runs_waiting
SELECT schedule, due_at FROM schedule_runs WHERE state = 'waiting' AND next_at <= ?1 AND held_until <= ?1
ORDER BY next_at LIMIT ?2";

/// Runs that wait to be looked at.
pub fn waiting(now: i64, most: u32) -> Statement {
    sql(WAITING, params![now, most])
}

const HOLD: &str = "-- hold_run
UPDATE schedule_runs SET held_until = ?4, tries = tries + 1
WHERE schedule = ?1 AND due_at = ?2 AND state = 'waiting' AND next_at <= ?3 AND held_until <= ?3
  AND NOT EXISTS (SELECT 1 FROM schedule_runs o
    WHERE o.schedule = ?1 AND o.due_at <> ?2 AND o.state = 'waiting' AND o.held_until > ?3)
RETURNING *";
const OF_RUN: &str = "-- schedule_of_run
SELECT s.*, (SELECT r.job_id FROM schedule_runs r JOIN jobs j ON j.id = r.job_id
    WHERE r.schedule = ?1 AND j.finished_at IS NULL LIMIT 1) AS at_work,
  EXISTS (SELECT 1 FROM schedule_runs r WHERE r.schedule = ?1 AND r.state = 'waiting' AND r.due_at < ?2) AS before
FROM schedules s WHERE s.id = ?1";

/// Takes a run to start it, one of a schedule at a time, so that two cannot both see that none is at work. The first
/// statement brings the run back to one of all that ask; the second its schedule, with a job of it that is `at_work` and
/// whether runs wait `before` it.
pub fn hold(schedule: &str, due_at: i64, now: i64, until: i64) -> Vec<Statement> {
    vec![
        sql(HOLD, params![schedule, due_at, now, until]),
        sql(OF_RUN, params![schedule, due_at]),
    ]
}

const END_RUN: &str = "-- end_run
UPDATE schedule_runs SET state = ?3, job_id = ?4, reason = ?5, ended_at = ?6, held_until = 0
WHERE schedule = ?1 AND due_at = ?2 AND state = 'waiting'";
const PUT_OFF: &str = "-- put_run_off
UPDATE schedule_runs SET next_at = ?3, reason = ?4, held_until = 0 WHERE schedule = ?1 AND due_at = ?2 AND state = 'waiting'";

/// A run is over: it has become a job, or will not.
pub fn end_run(
    schedule: &str,
    due_at: i64,
    state: RunState,
    job: Option<&str>,
    reason: Option<&Value>,
    now: i64,
) -> Statement {
    let reason = reason.map(Value::to_string);
    sql(
        END_RUN,
        params![schedule, due_at, state.as_str(), job, reason, now],
    )
}

/// A run waits longer.
pub fn put_off(schedule: &str, due_at: i64, until: i64, reason: &Value) -> Statement {
    sql(
        PUT_OFF,
        params![schedule, due_at, until, reason.to_string()],
    )
}
