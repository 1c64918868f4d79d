-- Jobs, their stages and tasks, every attempt to call Claude, the pay-once ledger, and the governor.
--
-- Times are milliseconds since the epoch; money is nano-dollars. Every row that belongs to a caller
-- carries its tenant. Counters are kept by triggers, so no code path can move a task or complete
-- an attempt and forget to count it; an update that changes nothing (a doubled delivery) counts nothing.

CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  run INTEGER NOT NULL DEFAULT 1,
  state TEXT NOT NULL,
  resume_state TEXT,                        -- where a paused job goes back to
  halt TEXT,                                -- JSON {reason, detail, resumes_at}
  error TEXT,                               -- JSON {code, message}
  mode TEXT NOT NULL,
  stage INTEGER NOT NULL DEFAULT 0,         -- the current stage
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  finished_at INTEGER,
  deadline_at INTEGER,
  drive_at INTEGER NOT NULL,                -- when the sweep looks at it if nobody else did

  concurrency INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  min_success_ratio REAL NOT NULL,
  on_budget TEXT NOT NULL,
  reuse INTEGER NOT NULL,
  limit_nano INTEGER,                       -- NULL: no cap
  synthesis_fixed_nano INTEGER NOT NULL,    -- what a synthesis costs whatever it reads
  synthesis_nano_per_byte INTEGER NOT NULL, -- and for each byte of results

  items_total INTEGER NOT NULL,
  next_index INTEGER NOT NULL DEFAULT 0,    -- of the next task to be written
  in_flight INTEGER NOT NULL DEFAULT 0,     -- attempts whose end is not known yet
  result_bytes INTEGER NOT NULL DEFAULT 0,
  results INTEGER NOT NULL DEFAULT 0,       -- tasks that added to result_bytes

  calls INTEGER NOT NULL DEFAULT 0,
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0,
  spent_nano INTEGER NOT NULL DEFAULT 0,
  reserved_nano INTEGER NOT NULL DEFAULT 0, -- worst case of the calls in flight
  unknown_nano INTEGER NOT NULL DEFAULT 0,  -- worst case of calls whose end nobody saw
  saved_nano INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_of_tenant ON jobs (tenant, created_at DESC, id DESC);
CREATE INDEX jobs_at_work ON jobs (state) WHERE state IN ('running', 'synthesizing');
CREATE INDEX jobs_paused ON jobs (state) WHERE state = 'paused';
CREATE INDEX jobs_to_drive ON jobs (drive_at) WHERE finished_at IS NULL;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE finished_at IS NULL AND deadline_at IS NOT NULL;

-- The large and rarely read half of a job.
CREATE TABLE specs (
  job TEXT PRIMARY KEY,
  spec TEXT NOT NULL,                       -- JSON core::plan::Spec
  merged TEXT,                              -- JSON of the deterministic merge, once the maps are done
  metadata TEXT NOT NULL
);

CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  job TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;

-- The input, in pages of whole items.
CREATE TABLE pages (
  job TEXT NOT NULL,
  first INTEGER NOT NULL,                   -- position of its first item
  count INTEGER NOT NULL,
  body TEXT,                                -- JSON [{id, fields}], or
  blob TEXT,                                -- the key of a blob that holds it
  PRIMARY KEY (job, first)
);

CREATE TABLE stages (
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',    -- waiting, running, done
  cursor INTEGER NOT NULL DEFAULT 0,        -- items expanded so far
  expanded INTEGER NOT NULL DEFAULT 0,
  pending INTEGER NOT NULL DEFAULT 0,
  queued INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  succeeded INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  skipped INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  items_covered INTEGER NOT NULL DEFAULT 0,
  answers INTEGER NOT NULL DEFAULT 0,       -- answers seen, and their output tokens: what the
  answer_tokens INTEGER NOT NULL DEFAULT 0, -- governor expects of the next one
  PRIMARY KEY (job, idx)
) WITHOUT ROWID;

CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  stage INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  ids TEXT NOT NULL,                        -- JSON: the items it stands for
  items INTEGER NOT NULL,
  wanted TEXT,                              -- JSON: the items its next call asks for; NULL: all
  covered INTEGER NOT NULL DEFAULT 0,       -- how many of them have a valid result
  error TEXT,                               -- JSON {code, message}
  class TEXT NOT NULL,                      -- which bucket its calls draw on
  form TEXT NOT NULL DEFAULT 'fresh',       -- how it asks next: fresh, repair; '+plain' without a schema
  key TEXT,                                 -- what the ledger knows its next request by
  bytes INTEGER NOT NULL,                   -- upper bound of its next request's input in tokens
  max_tokens INTEGER NOT NULL,
  worst_nano INTEGER NOT NULL,              -- worst case of its next call
  tries INTEGER NOT NULL DEFAULT 0,         -- calls that count against max_attempts
  attempts INTEGER NOT NULL DEFAULT 0,      -- calls made
  delays INTEGER NOT NULL DEFAULT 0,        -- refusals in a row that cost no attempt
  crashes INTEGER NOT NULL DEFAULT 0,       -- holders that went silent
  not_before INTEGER NOT NULL DEFAULT 0,
  queued_at INTEGER,
  lease TEXT,
  lease_until INTEGER,
  finished_at INTEGER,
  origin TEXT,                              -- of a half: 'PARENT:ATTEMPT', so that a split happens once
  UNIQUE (job, idx)
);
CREATE INDEX tasks_ready ON tasks (job, not_before, idx) WHERE state IN ('pending', 'queued');
CREATE INDEX tasks_queued ON tasks (job, queued_at) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (lease, lease_until) WHERE state = 'running';
CREATE INDEX tasks_missing ON tasks (job, idx) WHERE state IN ('failed', 'skipped', 'cancelled');
CREATE UNIQUE INDEX tasks_origin ON tasks (job, origin) WHERE origin IS NOT NULL;

-- What a worker reads and what it brought, apart from the row that changes with every step.
CREATE TABLE inputs (
  job TEXT NOT NULL, idx INTEGER NOT NULL,
  body TEXT, blob TEXT,
  PRIMARY KEY (job, idx)
);
CREATE TABLE outputs (
  job TEXT NOT NULL, idx INTEGER NOT NULL,
  body TEXT, blob TEXT,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (job, idx)
);

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  n INTEGER NOT NULL,                       -- 1, 2, … for the task
  tenant TEXT NOT NULL,
  stage INTEGER NOT NULL,
  lease TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'open',       -- open, done, unknown (its end was not seen: possibly paid)
  form TEXT NOT NULL,                       -- see tasks.form
  role TEXT NOT NULL,
  model TEXT NOT NULL,
  class TEXT NOT NULL,
  ids TEXT NOT NULL,                        -- JSON: the items it asked for
  day TEXT NOT NULL,
  bytes INTEGER NOT NULL,                   -- upper bound of its input in tokens
  reserved_nano INTEGER NOT NULL,
  reserved_input INTEGER NOT NULL,          -- permits taken from the class
  reserved_output INTEGER NOT NULL,
  mark REAL NOT NULL DEFAULT 0,             -- its class's input_admitted with this one
  cost_nano INTEGER NOT NULL DEFAULT 0,
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0,
  status INTEGER,
  error_class TEXT,
  error TEXT,
  request_id TEXT,
  stop_reason TEXT,
  response TEXT, response_blob TEXT,
  started_at INTEGER NOT NULL,
  finished_at INTEGER,
  UNIQUE (job, idx, n)
);
CREATE INDEX attempts_open ON attempts (lease) WHERE state = 'open';

-- Results that were paid for, by what was asked.
CREATE TABLE ledger (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  body TEXT, blob TEXT,                     -- the answer's text
  cost_nano INTEGER NOT NULL,
  job TEXT NOT NULL,                        -- who paid
  shared INTEGER NOT NULL DEFAULT 0,        -- another job used it
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX ledger_of_job ON ledger (job);
CREATE INDEX ledger_expiry ON ledger (expires_at);

-- The governor: one row per model class of the account. Levels hold as of `at` and refill at limit/minute.
CREATE TABLE classes (
  class TEXT PRIMARY KEY,
  seen INTEGER NOT NULL DEFAULT 0,          -- its rate headers have been seen
  in_flight INTEGER NOT NULL DEFAULT 0,
  window REAL,                              -- calls in flight after overload; NULL: not bounded here
  slow_until INTEGER NOT NULL DEFAULT 0,    -- no new call before
  at INTEGER NOT NULL DEFAULT 0,
  requests_limit REAL NOT NULL DEFAULT 0, requests_cap REAL NOT NULL DEFAULT 0, requests_level REAL NOT NULL DEFAULT 0,
  input_limit REAL NOT NULL DEFAULT 0, input_cap REAL NOT NULL DEFAULT 0, input_level REAL NOT NULL DEFAULT 0,
  output_limit REAL NOT NULL DEFAULT 0, output_cap REAL NOT NULL DEFAULT 0, output_level REAL NOT NULL DEFAULT 0,
  requests_admitted REAL NOT NULL DEFAULT 0, -- ever; a header tells what was left after a known one of these
  input_admitted REAL NOT NULL DEFAULT 0,
  input_mark REAL NOT NULL DEFAULT 0,       -- input_admitted up to the newest header that was read
  output_open REAL NOT NULL DEFAULT 0,      -- reserved by calls in flight: not yet in any header
  learned_size REAL NOT NULL DEFAULT 0,     -- bytes of the largest request whose input tokens are known
  learned_most REAL NOT NULL DEFAULT 0,     -- the most tokens for a byte: what the next request may take
  refused INTEGER NOT NULL DEFAULT 0        -- by the limiter
) WITHOUT ROWID;

-- The breaker: one row.
CREATE TABLE breaker (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  state TEXT NOT NULL DEFAULT 'closed',     -- closed, open, half_open
  reason TEXT,
  until INTEGER NOT NULL DEFAULT 0,
  trips INTEGER NOT NULL DEFAULT 0,         -- in a row
  probe TEXT                                -- lease of the one call that may go out while half open
);
INSERT INTO breaker (id) VALUES (1);

-- The next message that a consumer sent for what falls due later: one is enough for all.
CREATE TABLE alarm (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL DEFAULT 0
);
INSERT INTO alarm (id) VALUES (1);

-- What was spent per UTC day, for each tenant and (tenant '*') for the account.
CREATE TABLE spending (
  day TEXT NOT NULL,
  tenant TEXT NOT NULL,
  spent_nano INTEGER NOT NULL DEFAULT 0,
  reserved_nano INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (day, tenant)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY,
  queue TEXT NOT NULL,
  body TEXT NOT NULL,
  at INTEGER NOT NULL
);

-- An assertion inside a batch: inserting 0 ends the whole batch, inserting 1 writes nothing.
CREATE TABLE guards (holds INTEGER NOT NULL);
CREATE TRIGGER guards_hold BEFORE INSERT ON guards
BEGIN
  SELECT RAISE(ABORT, 'guard failed') WHERE NEW.holds IS NOT 1;
  SELECT RAISE(IGNORE);
END;

CREATE TRIGGER tasks_written AFTER INSERT ON tasks
BEGIN
  UPDATE stages SET pending = pending + (NEW.state = 'pending') WHERE job = NEW.job AND idx = NEW.stage;
END;

CREATE TRIGGER tasks_moved AFTER UPDATE OF state, covered ON tasks
WHEN OLD.state <> NEW.state OR OLD.covered <> NEW.covered
BEGIN
  UPDATE stages SET
    pending = pending + (NEW.state = 'pending') - (OLD.state = 'pending'),
    queued = queued + (NEW.state = 'queued') - (OLD.state = 'queued'),
    running = running + (NEW.state = 'running') - (OLD.state = 'running'),
    succeeded = succeeded + (NEW.state = 'succeeded') - (OLD.state = 'succeeded'),
    failed = failed + (NEW.state = 'failed') - (OLD.state = 'failed'),
    skipped = skipped + (NEW.state = 'skipped') - (OLD.state = 'skipped'),
    cancelled = cancelled + (NEW.state = 'cancelled') - (OLD.state = 'cancelled'),
    items_covered = items_covered + NEW.covered - OLD.covered
  WHERE job = NEW.job AND idx = NEW.stage;
END;

CREATE TRIGGER outputs_written AFTER INSERT ON outputs
BEGIN
  UPDATE jobs SET results = results + 1, result_bytes = result_bytes + NEW.bytes WHERE id = NEW.job;
END;

CREATE TRIGGER outputs_changed AFTER UPDATE OF bytes ON outputs
BEGIN
  UPDATE jobs SET result_bytes = result_bytes + NEW.bytes - OLD.bytes WHERE id = NEW.job;
END;

CREATE TRIGGER attempts_opened AFTER INSERT ON attempts
BEGIN
  UPDATE jobs SET
    in_flight = in_flight + 1, calls = calls + 1, reserved_nano = reserved_nano + NEW.reserved_nano
  WHERE id = NEW.job;
  UPDATE classes SET
    in_flight = in_flight + 1,
    requests_level = requests_level - 1, requests_admitted = requests_admitted + 1,
    input_level = input_level - NEW.reserved_input, input_admitted = input_admitted + NEW.reserved_input,
    output_level = output_level - NEW.reserved_output, output_open = output_open + NEW.reserved_output
  WHERE class = NEW.class;
  UPDATE attempts SET mark = (SELECT input_admitted FROM classes WHERE class = NEW.class) WHERE id = NEW.id;
  INSERT INTO spending (day, tenant, reserved_nano)
    VALUES (NEW.day, NEW.tenant, NEW.reserved_nano), (NEW.day, '*', NEW.reserved_nano)
    ON CONFLICT (day, tenant) DO UPDATE SET reserved_nano = reserved_nano + excluded.reserved_nano;
END;

-- An attempt closes once as done, or as unknown and perhaps later as done after all.
CREATE TRIGGER attempts_closed AFTER UPDATE OF state ON attempts
WHEN OLD.state <> NEW.state
BEGIN
  UPDATE jobs SET
    in_flight = in_flight - (OLD.state = 'open'),
    reserved_nano = reserved_nano - CASE OLD.state WHEN 'open' THEN OLD.reserved_nano ELSE 0 END,
    unknown_nano = unknown_nano
      + CASE NEW.state WHEN 'unknown' THEN NEW.reserved_nano ELSE 0 END
      - CASE OLD.state WHEN 'unknown' THEN OLD.reserved_nano ELSE 0 END,
    spent_nano = spent_nano + CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END,
    input_tokens = input_tokens + NEW.input_tokens,
    output_tokens = output_tokens + NEW.output_tokens,
    cache_read_tokens = cache_read_tokens + NEW.cache_read_tokens,
    cache_write_tokens = cache_write_tokens + NEW.cache_write_tokens
  WHERE id = NEW.job;
  -- What was reserved and not used comes back; what was used beyond it is taken too. Input that a header has been read
  -- after is in that header as it was used, so there is nothing to correct. `input_admitted` is never
  -- corrected: a header is read against what was admitted after its call. A call that the server began
  -- and failed counts with its input all the same.
  UPDATE classes SET
    in_flight = in_flight - (OLD.state = 'open'),
    input_level = input_level + CASE WHEN NEW.state = 'done' AND OLD.state = 'open' AND NEW.mark > input_mark
        AND COALESCE(NEW.status, 0) < 500
      THEN NEW.reserved_input - NEW.input_tokens - NEW.cache_write_tokens ELSE 0 END,
    output_level = output_level + CASE WHEN NEW.state = 'done' AND OLD.state = 'open'
      THEN NEW.reserved_output - NEW.output_tokens ELSE 0 END,
    output_open = output_open - CASE OLD.state WHEN 'open' THEN OLD.reserved_output ELSE 0 END,
    learned_size = MAX(learned_size, CASE WHEN NEW.input_tokens > 0 THEN NEW.bytes ELSE 0 END),
    learned_most = MAX(learned_most,
      CAST(NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_tokens AS REAL) / MAX(NEW.bytes, 1))
  WHERE class = NEW.class;
  UPDATE spending SET
    reserved_nano = reserved_nano
      - CASE OLD.state WHEN 'done' THEN 0 ELSE OLD.reserved_nano END
      + CASE NEW.state WHEN 'done' THEN 0 ELSE NEW.reserved_nano END,
    spent_nano = spent_nano + CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END
  WHERE day = NEW.day AND tenant IN (NEW.tenant, '*');
  UPDATE stages SET
    answers = answers + (NEW.output_tokens > 0),
    answer_tokens = answer_tokens + NEW.output_tokens
  WHERE job = NEW.job AND idx = NEW.stage AND NEW.state = 'done';
END;
