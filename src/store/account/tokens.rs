//! Tokens: made, found, changed, revoked; what each may still submit; which job is whose.
//!
//! What is listed or changed is scoped by tenant where one is given; without one it is the operator who asks.

use crate::ports::Statement;
use crate::store::{params, sql};

/// What is written when a token is made.
pub struct NewToken<'a> {
    pub id: &'a str,
    pub tenant: &'a str,
    pub hash: &'a str,
    pub name: &'a str,
    /// JSON.
    pub scopes: &'a str,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub daily_nano: Option<i64>,
    pub concurrency: Option<u32>,
    pub made_by: Option<&'a str>,
}

const INSERT: &str = "-- insert_token
INSERT INTO tokens (id, tenant, hash, name, scopes, created_at, expires_at, daily_nano, concurrency, made_by)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// A token comes into being.
pub fn insert(token: &NewToken<'_>) -> Statement {
    sql(
        INSERT,
        params![
            token.id,
            token.tenant,
            token.hash,
            token.name,
            token.scopes,
            token.created_at,
            token.expires_at,
            token.daily_nano,
            token.concurrency,
            token.made_by
        ],
    )
}

const FIND: &str = "-- find_token
SELECT tenant, hash, scopes FROM tokens
WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";

/// What a caller's token is compared with; no row for one that is revoked or has expired.
pub fn find(id: &str, now: i64) -> Statement {
    sql(FIND, params![id, now])
}

macro_rules! token_columns {
    () => {
        "SELECT k.id, k.tenant, k.name, k.scopes, k.created_at, k.expires_at, k.daily_nano, k.concurrency, k.made_by, s.at AS submitted_at,
  (SELECT spent_nano FROM token_days WHERE day = ?1 AND token = k.id) AS spent_today_nano
FROM tokens k LEFT JOIN submits s ON s.token = k.id WHERE k.revoked_at IS NULL AND "
    };
}

const VIEW: &str = concat!(
    "-- token_view\n",
    token_columns!(),
    "k.id = ?2 AND (?3 IS NULL OR k.tenant = ?3)"
);
const VIEWS: &str = concat!(
    "-- token_views\n",
    token_columns!(),
    "(?2 IS NULL OR (k.created_at, k.id) < (?2, ?3)) ORDER BY k.created_at DESC, k.id DESC LIMIT ?4"
);
const VIEWS_OF_TENANT: &str = concat!(
    "-- token_views_of_tenant\n",
    token_columns!(),
    "k.tenant = ?5 AND (?2 IS NULL OR (k.created_at, k.id) < (?2, ?3)) ORDER BY k.created_at DESC, k.id DESC LIMIT ?4"
);

/// One token that is not revoked.
pub fn view(id: &str, tenant: Option<&str>, day: &str) -> Statement {
    sql(VIEW, params![day, id, tenant])
}

/// Tokens that are not revoked, newest first.
pub fn views(
    tenant: Option<&str>,
    day: &str,
    after: Option<(i64, String)>,
    limit: u32,
) -> Statement {
    let (at, id) = after.unzip();
    match tenant {
        Some(tenant) => sql(VIEWS_OF_TENANT, params![day, at, id, limit, tenant]),
        None => sql(VIEWS, params![day, at, id, limit]),
    }
}

const CHANGE: &str = "-- change_token
UPDATE tokens SET name = ?3, scopes = ?4, expires_at = ?5, daily_nano = ?6, concurrency = ?7
WHERE id = ?1 AND revoked_at IS NULL AND (?2 IS NULL OR tenant = ?2) RETURNING id";

/// What a change leaves; all of it is written.
pub struct Changed<'a> {
    pub name: &'a str,
    pub scopes: &'a str,
    pub expires_at: Option<i64>,
    pub daily_nano: Option<i64>,
    pub concurrency: Option<u32>,
}

/// One row comes back where there is such a token.
pub fn change(id: &str, tenant: Option<&str>, to: &Changed<'_>) -> Statement {
    sql(
        CHANGE,
        params![
            id,
            tenant,
            to.name,
            to.scopes,
            to.expires_at,
            to.daily_nano,
            to.concurrency
        ],
    )
}

const REVOKE: &str = "-- revoke_token
UPDATE tokens SET revoked_at = ?3 WHERE id = ?1 AND revoked_at IS NULL AND (?2 IS NULL OR tenant = ?2) RETURNING id";

/// One row comes back where there was such a token.
pub fn revoke(id: &str, tenant: Option<&str>, now: i64) -> Statement {
    sql(REVOKE, params![id, tenant, now])
}

const DESCENDANTS: &str = "-- descendants_of_token
WITH RECURSIVE made(id) AS (
  SELECT id FROM tokens WHERE made_by = ?1
  UNION SELECT k.id FROM tokens k JOIN made m ON k.made_by = m.id)
SELECT k.id FROM tokens k JOIN made m ON m.id = k.id WHERE k.revoked_at IS NULL AND k.id <> ?1 ORDER BY k.created_at, k.id";
const SCHEDULES: &str = "-- schedules_of_token
SELECT s.id, s.name FROM schedules s JOIN schedule_tokens o ON o.schedule = s.id
WHERE o.token = ?1 AND s.paused = 0 ORDER BY s.created_at, s.id";

/// Tokens that it made, that those made, and so on, as far as they are not revoked; and the schedules that ran in its name.
pub fn left_by(id: &str) -> Vec<Statement> {
    vec![sql(DESCENDANTS, params![id]), sql(SCHEDULES, params![id])]
}

const FOREIGN_JOB: &str = "-- job_of_other_token
SELECT 1 AS one FROM jobs j, tokens k
WHERE j.id = ?1 AND k.id = ?2 AND (k.daily_nano IS NOT NULL OR k.concurrency IS NOT NULL) AND j.token IS NOT k.id";
const FOREIGN_SCHEDULE: &str = "-- schedule_of_other_token
SELECT 1 AS one FROM schedules s JOIN tokens k ON k.id = ?2 LEFT JOIN schedule_tokens o ON o.schedule = s.id
WHERE s.id = ?1 AND (k.daily_nano IS NOT NULL OR k.concurrency IS NOT NULL) AND o.token IS NOT k.id";

/// A row comes back where a token has caps and the job is another's.
pub fn foreign_job(job: &str, token: &str) -> Statement {
    sql(FOREIGN_JOB, params![job, token])
}

/// The same of a schedule.
pub fn foreign_schedule(schedule: &str, token: &str) -> Statement {
    sql(FOREIGN_SCHEDULE, params![schedule, token])
}

const TAKE_SUBMIT: &str = "-- take_submit
INSERT INTO submits (token, at, level) VALUES (?1, ?2, ?3 - 1)
ON CONFLICT (token) DO UPDATE SET at = MAX(at, ?2), level = MIN(?3, level + ?3 / 60000.0 * MAX(0, ?2 - at)) - 1
WHERE MIN(?3, level + ?3 / 60000.0 * MAX(0, ?2 - at)) >= 1
RETURNING level";
const SUBMIT_WAIT: &str = "-- submit_wait
SELECT (1 - level) / (?2 / 60000.0) - (?3 - at) AS wait_ms FROM submits WHERE token = ?1";

/// Takes one of the `per_minute` submits of a token (`None`: the secret's). The first statement answers with a
/// row where there was one, the second with how long the next one takes.
pub fn take_submit(token: Option<&str>, now: i64, per_minute: u32) -> Vec<Statement> {
    let token = token.unwrap_or_default();
    vec![
        sql(TAKE_SUBMIT, params![token, now, f64::from(per_minute)]),
        sql(SUBMIT_WAIT, params![token, f64::from(per_minute), now]),
    ]
}

const OWN: &str = "-- job_of_token
UPDATE jobs SET token = ?2 WHERE id = ?1";

/// Says which token a job is of; in the batch that writes the job.
pub fn own(job: &str, token: &str) -> Statement {
    sql(OWN, params![job, token])
}

const OWN_SCHEDULE: &str = "-- schedule_of_token
INSERT INTO schedule_tokens (schedule, token) VALUES (?1, ?2)";
const OF_SCHEDULE: &str = "-- token_of_schedule
SELECT token FROM schedule_tokens WHERE schedule = ?1";
const FORGET_SCHEDULE: &str = "-- forget_schedule_token
DELETE FROM schedule_tokens WHERE schedule IN (SELECT id FROM schedules WHERE id = ?1 AND tenant = ?2)";

/// Says which token made a schedule; in the batch that writes it.
pub fn own_schedule(schedule: &str, token: &str) -> Statement {
    sql(OWN_SCHEDULE, params![schedule, token])
}

/// The token that a schedule's jobs are counted to; no row: the secret's.
pub fn of_schedule(schedule: &str) -> Statement {
    sql(OF_SCHEDULE, params![schedule])
}

/// Before the schedule goes.
pub fn forget_schedule(schedule: &str, tenant: &str) -> Statement {
    sql(FORGET_SCHEDULE, params![schedule, tenant])
}

const GUARD: &str = "-- guard_tokens
INSERT INTO assertions SELECT NOT EXISTS (
  SELECT 1 FROM (
    SELECT j.token AS token, SUM(e.value->>'$.calls') AS calls, SUM(e.value->>'$.worst') AS worst
    FROM json_each(?1) e JOIN jobs j ON j.id = e.value->>'$.job' WHERE j.token IS NOT NULL GROUP BY j.token) w
  JOIN tokens k ON k.id = w.token WHERE w.calls > 0 AND (
    w.calls + (SELECT COALESCE(SUM(in_flight - in_batches), 0) FROM jobs WHERE token = w.token AND in_flight > 0) > k.concurrency
    OR w.worst + COALESCE((SELECT spent_nano + reserved_nano FROM token_days WHERE day = ?2 AND token = w.token), 0)
      > k.daily_nano))";

/// Ends a claim that would pass the caps of a token. `jobs` is JSON `[{"job","calls","worst"}]`.
pub fn guard(jobs: &str, day: &str) -> Statement {
    sql(GUARD, params![jobs, day])
}

const ANY: &str = "-- any_token
SELECT id FROM tokens LIMIT 1";

/// Whether the tables are there.
pub fn any() -> Statement {
    sql(ANY, params![])
}

const FORGET_DAYS: &str = "-- forget_token_days
DELETE FROM token_days WHERE day < ?1";

/// Old days.
pub fn forget_days(before: &str) -> Statement {
    sql(FORGET_DAYS, params![before])
}
