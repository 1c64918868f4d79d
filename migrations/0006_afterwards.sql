-- What becomes of jobs afterwards: removals, webhooks and their deliveries; and schedules, which bring new ones.
--
-- A removed job has no row in `jobs` any more, so nobody sees it from that moment on; the rest goes in slices.

-- What is being taken away, until nothing of it is left.
CREATE TABLE removals (
  job TEXT NOT NULL,
  what TEXT NOT NULL,                       -- job: all of it; answers: what models said, attempt by attempt
  tenant TEXT NOT NULL,
  since INTEGER NOT NULL,
  next_at INTEGER NOT NULL,                 -- when the sweep asks for it again
  PRIMARY KEY (job, what)
) WITHOUT ROWID;
CREATE INDEX removals_due ON removals (next_at);

-- What is old, found without looking at what is not.
ALTER TABLE jobs ADD COLUMN answers_kept INTEGER NOT NULL DEFAULT 1; -- attempts still have their texts
CREATE INDEX jobs_over ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_with_answers ON jobs (finished_at) WHERE finished_at IS NOT NULL AND answers_kept = 1;
CREATE INDEX idempotency_of_job ON idempotency (job);
CREATE INDEX idempotency_age ON idempotency (created_at);
CREATE INDEX dead_letters_age ON dead_letters (at);

CREATE TRIGGER jobs_ran_again AFTER UPDATE OF run ON jobs WHEN NEW.answers_kept = 0
BEGIN
  UPDATE jobs SET answers_kept = 1 WHERE id = NEW.id;
END;

-- A paid answer that comes after its job was removed is nobody's any more.
CREATE TRIGGER ledger_of_nobody BEFORE INSERT ON ledger
WHEN NOT EXISTS (SELECT 1 FROM jobs WHERE id = NEW.job)
BEGIN
  SELECT RAISE(IGNORE);
END;

-- Who is told about a job. The address may be a secret itself (as Slack's are): it is shown nowhere.
CREATE TABLE webhooks (
  job TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  url TEXT NOT NULL,
  events TEXT NOT NULL,                     -- JSON: ["job.finished", …]
  format TEXT NOT NULL                      -- standard, slack
) WITHOUT ROWID;

-- What happened to a job and must be told: written by the trigger below in the very transaction that made it happen.
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY,                      -- of the event, the same in each try
  job TEXT NOT NULL,
  tenant TEXT NOT NULL,
  run INTEGER NOT NULL,
  event TEXT NOT NULL,
  state TEXT NOT NULL,                      -- of the job, then
  error TEXT,
  at INTEGER NOT NULL,
  payload TEXT,                             -- what is sent, from the first try on
  status TEXT NOT NULL DEFAULT 'pending',   -- pending, delivered, failed
  tries INTEGER NOT NULL DEFAULT 0,
  since INTEGER NOT NULL,                   -- tries begin, or begin again
  next_at INTEGER NOT NULL,
  closed_at INTEGER
);
CREATE INDEX deliveries_of_job ON deliveries (job, at, id);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE status = 'pending';
CREATE INDEX deliveries_age ON deliveries (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE delivery_tries (
  delivery TEXT NOT NULL,
  n INTEGER NOT NULL,
  job TEXT NOT NULL,
  at INTEGER NOT NULL,
  ms INTEGER NOT NULL,                      -- how long it took
  status INTEGER,                           -- what the server answered; NULL: nothing
  error TEXT,
  PRIMARY KEY (delivery, n)
) WITHOUT ROWID;
CREATE INDEX delivery_tries_of_job ON delivery_tries (job);

-- A run ends once, so `job.finished` has one id for each run. A job can be paused several times in a run.
CREATE TRIGGER jobs_told AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state
  AND NEW.state IN ('succeeded', 'partial', 'failed', 'cancelled', 'paused', 'awaiting_approval')
BEGIN
  INSERT OR IGNORE INTO deliveries (id, job, tenant, run, event, state, error, at, since, next_at)
  SELECT 'msg_' || substr(NEW.id, 5) || '_' || NEW.run || CASE
      WHEN NEW.state IN ('paused', 'awaiting_approval') THEN '_' || NEW.state || '_' || NEW.updated_at ELSE '' END,
    NEW.id, NEW.tenant, NEW.run, e.event, NEW.state, NEW.error, NEW.updated_at, NEW.updated_at, NEW.updated_at
  FROM webhooks w, (SELECT CASE NEW.state WHEN 'paused' THEN 'job.paused'
      WHEN 'awaiting_approval' THEN 'job.awaiting_approval' ELSE 'job.finished' END AS event) e
  WHERE w.job = NEW.id AND instr(w.events, '"' || e.event || '"') > 0;
END;

CREATE TABLE schedules (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  cron TEXT NOT NULL,
  time_zone TEXT NOT NULL,                  -- of the IANA database
  overlap TEXT NOT NULL,                    -- skip, queue, parallel
  paused INTEGER NOT NULL DEFAULT 0,
  body TEXT NOT NULL,                       -- JSON: the body of a submit; checked again with each run
  input_url TEXT,
  input_format TEXT,
  next_at INTEGER,                          -- when it is due; NULL: not again
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX schedules_of_tenant ON schedules (tenant, created_at DESC, id DESC);
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL;

-- One row for each time a schedule was due, or was run by hand: two sweeps cannot make two of it.
CREATE TABLE schedule_runs (
  schedule TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  cause TEXT NOT NULL,                      -- cron, caller
  state TEXT NOT NULL DEFAULT 'waiting',    -- waiting, started, skipped, failed
  job_id TEXT,                              -- what it started
  reason TEXT,                              -- JSON {code, message}: why it waits, was skipped or failed
  tries INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER NOT NULL,                 -- when it is looked at again
  held_until INTEGER NOT NULL DEFAULT 0,    -- somebody is about to start it
  ended_at INTEGER,
  PRIMARY KEY (schedule, due_at)
) WITHOUT ROWID;
CREATE INDEX schedule_runs_due ON schedule_runs (next_at) WHERE state = 'waiting';
CREATE INDEX schedule_runs_of_job ON schedule_runs (job_id) WHERE job_id IS NOT NULL;
