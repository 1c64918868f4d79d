-- Who may call, how often, and what a job's watchers are told.
--
-- Times are milliseconds since the epoch; money is nano-dollars.

-- Tokens made by `/v1/tokens`. The one in the secret FANWISE_TOKEN has no row. A revoked one keeps its row: the caps of
-- the jobs that it submitted go on to hold.
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  hash TEXT NOT NULL,                       -- SHA-256 of the token, in hex
  name TEXT NOT NULL,
  scopes TEXT NOT NULL,                     -- JSON: some of read, run, admin
  created_at INTEGER NOT NULL,
  expires_at INTEGER,                       -- NULL: never
  revoked_at INTEGER,
  daily_nano INTEGER,                       -- what its jobs may spend in a UTC day; NULL: no cap of its own
  concurrency INTEGER                       -- calls in flight of all its jobs; NULL: no cap of its own
) WITHOUT ROWID;
CREATE INDEX tokens_by_age ON tokens (created_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX tokens_of_tenant ON tokens (tenant, created_at DESC, id DESC) WHERE revoked_at IS NULL;

-- Submits that a token may still send at `at`; refills with time. The key '' is the secret's token.
CREATE TABLE submits (
  token TEXT PRIMARY KEY,
  at INTEGER NOT NULL,
  level REAL NOT NULL
) WITHOUT ROWID;

-- Which token submitted a job; NULL: the secret's.
ALTER TABLE jobs ADD COLUMN token TEXT;
CREATE INDEX jobs_calling ON jobs (token) WHERE token IS NOT NULL AND in_flight > 0;
-- The same for its attempts: a job may be gone when they close.
ALTER TABLE attempts ADD COLUMN token TEXT;

-- Which token made a schedule; without a row, the secret's.
CREATE TABLE schedule_tokens (
  schedule TEXT PRIMARY KEY,
  token TEXT NOT NULL
) WITHOUT ROWID;

-- What a token's jobs spent per UTC day.
CREATE TABLE token_days (
  day TEXT NOT NULL,
  token TEXT NOT NULL,
  spent_nano INTEGER NOT NULL DEFAULT 0,
  reserved_nano INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (day, token)
) WITHOUT ROWID;

CREATE TRIGGER token_attempts_opened AFTER INSERT ON attempts
BEGIN
  UPDATE attempts SET token = (SELECT token FROM jobs WHERE id = NEW.job)
  WHERE id = NEW.id AND EXISTS (SELECT 1 FROM jobs WHERE id = NEW.job AND token IS NOT NULL);
  INSERT INTO token_days (day, token, reserved_nano)
    SELECT NEW.day, token, NEW.reserved_nano FROM jobs WHERE id = NEW.job AND token IS NOT NULL
    ON CONFLICT (day, token) DO UPDATE SET reserved_nano = reserved_nano + excluded.reserved_nano;
END;

-- As `attempts_closed` keeps `spending`.
CREATE TRIGGER token_attempts_closed AFTER UPDATE OF state ON attempts
WHEN OLD.state <> NEW.state AND NEW.token IS NOT NULL
BEGIN
  UPDATE token_days SET
    reserved_nano = reserved_nano
      - CASE OLD.state WHEN 'done' THEN 0 ELSE OLD.reserved_nano END
      + CASE NEW.state WHEN 'done' THEN 0 ELSE NEW.reserved_nano END,
    spent_nano = spent_nano + CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END
  WHERE day = NEW.day AND token = NEW.token;
END;

-- What happened to a job, numbered from 1, for those who watch it. Progress is not in here: it is read off the counters.
CREATE TABLE events (
  job TEXT NOT NULL,
  seq INTEGER NOT NULL,
  kind TEXT NOT NULL,                       -- state, task_failed
  body TEXT NOT NULL,                       -- JSON, as watchers get it
  PRIMARY KEY (job, seq)
) WITHOUT ROWID;

CREATE TRIGGER events_job_written AFTER INSERT ON jobs
BEGIN
  INSERT INTO events (job, seq, kind, body)
  VALUES (NEW.id, 1, 'state', json_object('state', NEW.state, 'run', NEW.run, 'halt', NULL, 'error', NULL,
    'at', strftime('%Y-%m-%dT%H:%M:%fZ', NEW.created_at / 1000.0, 'unixepoch')));
END;

CREATE TRIGGER events_job_moved AFTER UPDATE OF state ON jobs
WHEN OLD.state <> NEW.state
BEGIN
  INSERT INTO events (job, seq, kind, body)
  SELECT NEW.id, COALESCE(MAX(seq), 0) + 1, 'state', json_object('state', NEW.state, 'run', NEW.run,
    'halt', json(CASE WHEN NEW.halt IS NOT NULL THEN json_object('reason', NEW.halt->>'$.reason', 'detail', NEW.halt->>'$.detail',
      'resumes_at', NEW.halt->>'$.resumes_at') END),
    'error', json(NEW.error), 'at', strftime('%Y-%m-%dT%H:%M:%fZ', NEW.updated_at / 1000.0, 'unixepoch'))
  FROM events WHERE job = NEW.id;
END;

-- The first hundred of a stage: a job of 10,000 tasks that all fail must not tell 10,000 times. The counters have them all.
CREATE TRIGGER events_task_failed AFTER UPDATE OF state ON tasks
WHEN NEW.state = 'failed' AND OLD.state <> 'failed'
BEGIN
  INSERT INTO events (job, seq, kind, body)
  SELECT NEW.job, (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE job = NEW.job), 'task_failed',
    json_object('task', NEW.idx, 'stage', s.name, 'items', NEW.items - NEW.covered, 'error', json(NEW.error),
    'at', strftime('%Y-%m-%dT%H:%M:%fZ', NEW.finished_at / 1000.0, 'unixepoch'))
  FROM stages s JOIN jobs j ON j.id = s.job WHERE s.job = NEW.job AND s.idx = NEW.stage AND s.failed <= 100;
END;
