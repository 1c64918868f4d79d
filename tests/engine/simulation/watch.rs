//! What is watched in the database itself, at every commit: triggers of the simulation's own, beside the engine's.

use std::fmt::Write as _;

use fanwise::config::Config;
use fanwise::core::job::state::{JobEvent, JobState, TaskEvent, TaskState, next_job, next_task};

const TABLES: &str = "
CREATE TEMP TABLE clock (seq INTEGER);
INSERT INTO clock VALUES (0);
CREATE TEMP TABLE violations (text TEXT);
CREATE TEMP TABLE opened (attempt INTEGER PRIMARY KEY, seq INTEGER);
CREATE TEMP TABLE recorded (attempt INTEGER PRIMARY KEY, seq INTEGER);
CREATE TEMP TABLE seen (class TEXT, seq INTEGER);
CREATE TEMP TABLE written (job TEXT, run INTEGER, idx INTEGER);
CREATE TEMP TABLE ended (job TEXT, run INTEGER, state TEXT);
CREATE TEMP TABLE caps (job TEXT, nano INTEGER);
CREATE TEMP TABLE allowed (job TEXT, calls INTEGER);
CREATE TEMP TABLE setting (governor_start INTEGER, account_day INTEGER, tenant_day INTEGER);
CREATE TEMP TABLE job_moves (a TEXT, b TEXT);
CREATE TEMP TABLE task_moves (a TEXT, b TEXT);

CREATE TEMP TRIGGER watch_tasks AFTER UPDATE OF state ON tasks
WHEN OLD.state <> NEW.state AND NOT EXISTS (SELECT 1 FROM task_moves WHERE a = OLD.state AND b = NEW.state)
BEGIN
  INSERT INTO violations VALUES ('P1: a task moved from ' || OLD.state || ' to ' || NEW.state);
END;
CREATE TEMP TRIGGER watch_jobs AFTER UPDATE OF state ON jobs
WHEN OLD.state <> NEW.state AND NOT EXISTS (SELECT 1 FROM job_moves WHERE a = OLD.state AND b = NEW.state)
BEGIN
  INSERT INTO violations VALUES ('P1: a job moved from ' || OLD.state || ' to ' || NEW.state);
END;
CREATE TEMP TRIGGER watch_runs AFTER UPDATE OF state ON jobs
WHEN OLD.finished_at IS NOT NULL AND OLD.state <> NEW.state AND NEW.run <> OLD.run + 1
BEGIN
  INSERT INTO violations VALUES ('P1: a job left ' || OLD.state || ' within one run');
END;
CREATE TEMP TRIGGER watch_ends AFTER UPDATE OF finished_at ON jobs
WHEN NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL
BEGIN
  INSERT INTO ended VALUES (NEW.id, NEW.run, NEW.state);
END;
CREATE TEMP TRIGGER watch_stages AFTER UPDATE OF state ON stages
WHEN NEW.state = 'done' AND OLD.state <> 'done' AND EXISTS (
  SELECT 1 FROM tasks WHERE job = NEW.job AND stage = NEW.idx AND state IN ('pending', 'queued', 'running'))
BEGIN
  INSERT INTO violations VALUES ('P1: stage ' || NEW.idx || ' is done while tasks of it are not');
END;
CREATE TEMP TRIGGER watch_synthesis AFTER UPDATE OF state ON tasks
WHEN NEW.state = 'succeeded' AND OLD.state <> 'succeeded' AND NEW.purpose = 'work'
  AND (SELECT kind FROM stages WHERE job = NEW.job AND idx = NEW.stage) = 'synthesis'
BEGIN
  INSERT INTO written SELECT NEW.job, run, NEW.idx FROM jobs WHERE id = NEW.job;
END;

CREATE TEMP TRIGGER watch_budget AFTER UPDATE OF spent_nano, reserved_nano, unknown_nano ON jobs
WHEN NEW.spent_nano + NEW.reserved_nano + NEW.unknown_nano > NEW.limit_nano
  AND NEW.spent_nano + NEW.reserved_nano + NEW.unknown_nano > OLD.spent_nano + OLD.reserved_nano + OLD.unknown_nano
BEGIN
  INSERT INTO violations VALUES ('P3: ' || NEW.spent_nano || ' + ' || NEW.reserved_nano || ' + ' || NEW.unknown_nano
    || ' is more than ' || NEW.limit_nano);
END;
CREATE TEMP TRIGGER watch_cap AFTER INSERT ON jobs
BEGIN
  INSERT INTO caps VALUES (NEW.id, NEW.limit_nano);
END;
CREATE TEMP TRIGGER watch_caps AFTER UPDATE OF limit_nano ON jobs
BEGIN
  INSERT INTO caps VALUES (NEW.id, NEW.limit_nano);
END;

CREATE TEMP TRIGGER watch_first_of_day AFTER INSERT ON spending
WHEN NEW.spent_nano + NEW.reserved_nano > (SELECT tenant_day FROM setting)
  OR (SELECT SUM(spent_nano + reserved_nano) FROM spending WHERE day = NEW.day) > (SELECT account_day FROM setting)
BEGIN
  INSERT INTO violations VALUES ('P3: ' || (NEW.spent_nano + NEW.reserved_nano) || ' is more than a day''s cap');
END;
CREATE TEMP TRIGGER watch_day AFTER UPDATE ON spending
WHEN NEW.spent_nano + NEW.reserved_nano > OLD.spent_nano + OLD.reserved_nano
  AND (NEW.spent_nano + NEW.reserved_nano > (SELECT tenant_day FROM setting)
    OR (SELECT SUM(spent_nano + reserved_nano) FROM spending WHERE day = NEW.day) > (SELECT account_day FROM setting))
BEGIN
  INSERT INTO violations VALUES ('P3: ' || (NEW.spent_nano + NEW.reserved_nano) || ' is more than a day''s cap');
END;

CREATE TEMP TRIGGER watch_start AFTER UPDATE OF in_flight ON classes
WHEN NEW.seen = 0 AND NEW.in_flight > OLD.in_flight AND NEW.in_flight > (SELECT governor_start FROM setting)
BEGIN
  INSERT INTO violations VALUES ('P4: ' || NEW.in_flight || ' calls of a class that nothing is known of');
END;
CREATE TEMP TRIGGER watch_concurrency AFTER UPDATE OF in_flight ON jobs
WHEN NEW.in_flight - NEW.in_batches > NEW.concurrency + NEW.concurrency / 2 AND NEW.in_flight > OLD.in_flight
BEGIN
  INSERT INTO violations VALUES ('P4: ' || (NEW.in_flight - NEW.in_batches) || ' tasks claimed, the job allows '
    || NEW.concurrency || ' calls and half as many ahead');
END;
CREATE TEMP TRIGGER watch_allowed AFTER INSERT ON jobs
BEGIN
  INSERT INTO allowed VALUES (NEW.id, NEW.concurrency);
END;
CREATE TEMP TRIGGER watch_allowed_anew AFTER UPDATE OF concurrency ON jobs
BEGIN
  INSERT INTO allowed VALUES (NEW.id, NEW.concurrency);
END;
CREATE TEMP TRIGGER watch_seen AFTER UPDATE OF seen ON classes
WHEN NEW.seen = 1 AND OLD.seen = 0
BEGIN
  INSERT INTO seen SELECT NEW.class, seq FROM clock;
END;

CREATE TEMP TRIGGER watch_opened AFTER INSERT ON attempts
BEGIN
  INSERT INTO opened SELECT NEW.id, seq FROM clock;
  INSERT INTO violations SELECT 'P6: a call was admitted while the breaker was open'
    WHERE (SELECT state FROM breaker WHERE id = 1) = 'open';
  INSERT INTO violations SELECT 'P6: a call beside the probe was admitted'
    WHERE (SELECT state = 'half_open' AND probe IS NOT NEW.lease FROM breaker WHERE id = 1);
  INSERT INTO violations SELECT 'P6: a second call was admitted with the probe'
    WHERE NEW.batch IS NULL AND (SELECT state = 'half_open' FROM breaker WHERE id = 1) AND 1 < (
      SELECT COUNT(*) FROM attempts WHERE lease = NEW.lease AND state = 'open' AND started_at = NEW.started_at);
  INSERT INTO violations SELECT 'P1: a call was admitted for a job that is ' || state FROM jobs
    WHERE id = NEW.job AND state NOT IN ('running', 'synthesizing')
      AND NOT (state = 'planning' AND (SELECT kind FROM stages WHERE job = NEW.job AND idx = NEW.stage) = 'plan');
END;
CREATE TEMP TRIGGER watch_recorded AFTER UPDATE OF state ON attempts
WHEN NEW.state = 'done' AND OLD.state <> 'done' AND NEW.error_class IS NULL AND NEW.status = 200
  AND NEW.stop_reason IS NOT 'pause_turn'
BEGIN
  INSERT INTO recorded SELECT NEW.id, seq FROM clock;
END;
";

/// What a story's configuration allows; for a database that has [`schema`].
pub fn settings(config: &Config) -> String {
    let nano =
        |cap: Option<f64>| cap.map_or("NULL".to_owned(), |usd| ((usd * 1e9) as i64).to_string());
    format!(
        "INSERT INTO setting VALUES ({}, {}, {});",
        config.governor_start,
        nano(config.account_daily_usd),
        nano(config.tenant_daily_usd)
    )
}

/// Everything, and the moves that the state machines know.
pub fn schema() -> String {
    let mut sql = TABLES.to_owned();
    let resumed = [
        JobState::Queued,
        JobState::Planning,
        JobState::Running,
        JobState::Synthesizing,
    ];
    let mut job_events = vec![
        JobEvent::PlanStarted,
        JobEvent::PlanReady,
        JobEvent::ApprovalNeeded,
        JobEvent::Approved,
        JobEvent::MapsDone,
        JobEvent::Succeeded,
        JobEvent::EndedPartial,
        JobEvent::Failed,
        JobEvent::Paused,
        JobEvent::Cancelled,
        JobEvent::Retried,
    ];
    job_events.extend(resumed.map(JobEvent::Resumed));
    for from in JobState::ALL {
        for event in &job_events {
            if let Ok(to) = next_job(from, *event) {
                let (from, to) = (from.as_str(), to.as_str());
                let _ = writeln!(sql, "INSERT INTO job_moves VALUES ('{from}', '{to}');");
            }
        }
    }
    let task_events = [
        TaskEvent::Queued,
        TaskEvent::Claimed,
        TaskEvent::Released,
        TaskEvent::LeaseExpired,
        TaskEvent::Succeeded,
        TaskEvent::Failed,
        TaskEvent::Skipped,
        TaskEvent::Cancelled,
        TaskEvent::Revived,
    ];
    for from in TaskState::ALL {
        for event in task_events {
            if let Ok(to) = next_task(from, event) {
                let (from, to) = (from.as_str(), to.as_str());
                let _ = writeln!(sql, "INSERT INTO task_moves VALUES ('{from}', '{to}');");
            }
        }
    }
    sql
}

/// Counters against the rows they count: each line that comes back is a violation.
pub const COUNTERS: &[(&str, &str)] = &[
    ("a stage's counts", "
      SELECT s.job, s.idx FROM stages s LEFT JOIN (SELECT job, stage,
          SUM(state = 'pending') p, SUM(state = 'queued') q, SUM(state = 'running') r, SUM(state = 'succeeded') s,
          SUM(state = 'failed') f, SUM(state = 'skipped') k, SUM(state = 'cancelled') c, SUM(covered * (purpose = 'work' AND document IS NULL)) n
        FROM tasks GROUP BY job, stage) t ON t.job = s.job AND t.stage = s.idx
      WHERE s.pending <> COALESCE(p, 0) OR s.queued <> COALESCE(q, 0) OR s.running <> COALESCE(r, 0)
        OR s.succeeded <> COALESCE(t.s, 0) OR s.failed <> COALESCE(f, 0) OR s.skipped <> COALESCE(k, 0)
        OR s.cancelled <> COALESCE(c, 0) OR s.items_covered <> COALESCE(n, 0)
          + (SELECT COUNT(*) FROM documents d WHERE d.job = s.job AND d.stage = s.idx AND d.covered = d.slices)"),
    ("a job's money", "
      SELECT j.id, j.spent_nano, j.reserved_nano, j.unknown_nano, j.in_flight, a.* FROM jobs j LEFT JOIN (SELECT job,
          SUM(state = 'open') o, SUM(error_class IS NOT 'not_sent') c,
          SUM(CASE state WHEN 'done' THEN cost_nano ELSE 0 END) s,
          SUM(CASE state WHEN 'open' THEN reserved_nano ELSE 0 END) r,
          SUM(CASE state WHEN 'unknown' THEN reserved_nano ELSE 0 END) u
        FROM attempts GROUP BY job) a ON a.job = j.id
      WHERE j.in_flight <> COALESCE(o, 0) OR j.calls <> COALESCE(c, 0) OR j.spent_nano <> COALESCE(s, 0)
        OR j.reserved_nano <> COALESCE(r, 0) OR j.unknown_nano <> COALESCE(u, 0)"),
    ("a job's tokens", "
      SELECT j.id, j.input_tokens, i, j.output_tokens, o FROM jobs j JOIN (SELECT job, SUM(input_tokens) i, SUM(output_tokens) o,
          SUM(cache_read_tokens) r, SUM(cache_write_tokens) w FROM attempts GROUP BY job) a ON a.job = j.id
      WHERE j.input_tokens <> i OR j.output_tokens <> o OR j.cache_read_tokens <> r OR j.cache_write_tokens <> w"),
    ("a class's calls in flight", "
      SELECT c.class, c.in_flight FROM classes c
      WHERE c.in_flight <> (SELECT COUNT(*) FROM attempts a WHERE a.class = c.class AND a.state = 'open')
        OR c.output_open <> (SELECT COALESCE(SUM(reserved_output), 0) FROM attempts a
          WHERE a.class = c.class AND a.state = 'open')"),
    ("a day's money", "
      SELECT s.day, s.tenant FROM spending s
      WHERE s.spent_nano <> (SELECT COALESCE(SUM(cost_nano), 0) FROM attempts a
          WHERE a.day = s.day AND s.tenant = a.tenant AND a.state = 'done')
        OR s.reserved_nano <> (SELECT COALESCE(SUM(reserved_nano), 0) FROM attempts a
          WHERE a.day = s.day AND s.tenant = a.tenant AND a.state <> 'done')"),
    ("results and their bytes", "
      SELECT j.id FROM jobs j LEFT JOIN (SELECT job, COUNT(*) n, SUM(bytes) b FROM outputs GROUP BY job) o ON o.job = j.id
      WHERE j.results <> COALESCE(n, 0) OR j.result_bytes <> COALESCE(b, 0)"),
    ("nothing in flight at the end", "
      SELECT id, in_flight, reserved_nano FROM jobs WHERE in_flight <> 0 OR reserved_nano <> 0"),
    ("no open task in a job that is over", "
      SELECT t.job, t.idx, t.state FROM tasks t JOIN jobs j ON j.id = t.job
      WHERE j.finished_at IS NOT NULL AND t.state IN ('pending', 'queued', 'running')"),
    ("one synthesis for each run", "
      SELECT job, run FROM written GROUP BY job, run HAVING COUNT(*) > 1"),
    ("a synthesis in every run that came to one", "
      SELECT e.job, e.run FROM ended e WHERE e.state IN ('succeeded', 'partial')
        AND EXISTS (SELECT 1 FROM stages s WHERE s.job = e.job AND s.kind = 'synthesis')
        AND NOT EXISTS (SELECT 1 FROM written w WHERE w.job = e.job AND w.run = e.run)"),
    ("one end for each run", "
      SELECT job, run FROM ended GROUP BY job, run HAVING COUNT(*) > 1"),
    ("tries that no call explains", "
      SELECT t.job, t.idx, t.tries FROM tasks t WHERE t.form <> 'fetch' AND t.tries > (SELECT COUNT(*) FROM attempts a
        -- Those of the task that a half was split from are its items' too.
        WHERE a.job = t.job AND a.idx IN (WITH RECURSIVE up(idx) AS (SELECT t.idx UNION SELECT CAST(p.origin AS INTEGER)
            FROM up JOIN tasks p ON p.job = t.job AND p.idx = up.idx WHERE p.origin IS NOT NULL) SELECT idx FROM up)
          AND (a.error_class IS NULL OR a.error_class NOT IN ('not_sent',
          'rate_limited', 'ramp_limited', 'overloaded', 'request_blocked', 'schema_refused', 'authentication_failed', 'billing_failed',
          'permission_denied', 'spend_limit_reached', 'contract_spend_limit_reached', 'usage_limit_reached',
          'organization_on_hold', 'encryption_key_unusable', 'batch_expired', 'batch_canceled')))"),
    ("what is in batches", "
      SELECT j.id, j.in_batches FROM jobs j WHERE j.in_batches <> (SELECT COUNT(*) FROM attempts a
        WHERE a.job = j.id AND a.state = 'open' AND a.batch IS NOT NULL)"),
    ("no batch that nobody looks at", "
      SELECT id, state FROM batches WHERE state <> 'ended'"),
    ("no task of a batch that has ended", "
      SELECT t.job, t.idx FROM tasks t JOIN batches b ON b.id = t.lease WHERE b.state = 'ended' AND t.state = 'running'"),
    ("a ledger of each tenant's own", "
      SELECT l.key FROM ledger l JOIN jobs j ON j.id = l.job WHERE j.tenant <> l.tenant"),
];

/// What wide stories must come by, or they tell of nothing: how often one of them did.
pub const REACHED: &[(&str, &str)] = &[
    (
        "slices",
        "SELECT COALESCE(SUM(slices), 0) AS n FROM documents",
    ),
    (
        "turns that were gone on with",
        "SELECT COUNT(*) AS n FROM attempts WHERE form LIKE 'resume%' AND status = 200",
    ),
    (
        "readers of a tree",
        "SELECT COUNT(*) AS n FROM tasks WHERE purpose = 'reduce' AND state = 'succeeded'",
    ),
    (
        "second levels",
        "SELECT COUNT(*) AS n FROM tasks WHERE purpose = 'reduce' AND state = 'succeeded' AND level > 1",
    ),
    (
        "judges",
        "SELECT COUNT(*) AS n FROM tasks WHERE purpose = 'verify' AND state = 'succeeded'",
    ),
    (
        "results asked for again",
        "SELECT COUNT(*) AS n FROM tasks WHERE purpose = 'redo' AND state = 'succeeded'",
    ),
    (
        "groups",
        "SELECT COUNT(*) AS n FROM tasks WHERE grp IS NOT NULL AND state = 'succeeded'",
    ),
    ("results amended", "SELECT COUNT(*) AS n FROM amended"),
    (
        "plans of the orchestrator's",
        "SELECT COUNT(*) AS n FROM plans WHERE source = 'orchestrator'",
    ),
    (
        "plans replaced",
        "SELECT COUNT(*) AS n FROM plans p WHERE source = 'caller'
       AND EXISTS (SELECT 1 FROM tasks t WHERE t.job = p.job AND t.stage = 1000)",
    ),
    (
        "plans thought over",
        "SELECT COUNT(*) AS n FROM plans WHERE round > 0",
    ),
    (
        "citations of nothing",
        "SELECT COUNT(*) AS n FROM flags WHERE flag = 'unknown_citation'",
    ),
];
