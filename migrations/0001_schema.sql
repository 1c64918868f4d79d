-- The whole schema of Fanwise. Each column has a comment, is in the glossary below, or is a time or a count of tokens.
--
-- Until version 0.2.0 is released this file is edited in place. After that, each change is a new file. It first expands
-- and a later one contracts, so that two versions of the Worker can share the database.
--
-- Rules of this file. The server that applies a remote migration splits it with simple rules, and a test applies them:
-- keywords are in upper case, every `CASE` is in parentheses, comments have no quote and no semicolon.
-- A trigger is below the table whose change fires it. Nothing depends on the order in which triggers of one event fire,
-- because SQLite does not define it.
-- Counters are kept by triggers, so no code path can move a task or close an attempt without counting it. An update
-- that changes nothing, as of a message that is delivered twice, counts nothing. Each row that is written costs money,
-- so the statements of the hot path count many rows at once: see `tallies`.
--
-- Glossary. These words mean the same in every table, unless a comment says otherwise:
-- `id`: key of the row. Other tables name it by what it identifies
-- `job`: id of the job that the row belongs to, job_…
-- `tenant`: who owns the row. A caller sees only rows of its own tenant
-- `idx`: number of the task in its job, from 0. In `stages`: number of the stage in its job
-- `stage`: number of the stage in its job, stages.idx. 1000 is the call that makes a plan
-- `body`: the content, as JSON. NULL where `blob` is set
-- `blob`: key of the content in the blob store, where it is too large for a row
-- `run`: 1 for the first run of a job, one more for each retry
-- `tries`: how often it was attempted so far
-- `next_at`: when a consumer or the sweep works on the row next
-- `counted`: raised by each statement that also counts, in `tallies`, what it changes. Triggers count every other change
-- Names that end in _at are times in milliseconds since the epoch. Names that end in _nano are nano-dollars.
-- Names that end in _tokens count tokens as Claude reports them. `day` is a UTC day, 2026-11-30.

------------------------------------------------------------------------------------------------------------------------
-- Jobs
------------------------------------------------------------------------------------------------------------------------

-- One row for each job: its state, limits and totals. Columns under totals change by triggers alone.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  token TEXT,                               -- id of the token that submitted it, NULL: the token of the secret
  run INTEGER NOT NULL DEFAULT 1,
  mode TEXT NOT NULL,                       -- static: the caller gave the plan, dynamic: Claude makes it

  -- State
  -- queued, planning, awaiting_approval, running, synthesizing, paused, succeeded, partial, failed, cancelled
  state TEXT NOT NULL,                      -- the moves between them are in core::state
  resume_state TEXT,                        -- the state that a paused job goes back to
  halt TEXT,                                -- JSON {reason, cause, detail, resumes_at}: why it is paused
  error TEXT,                               -- JSON {code, message}: why it failed
  stage INTEGER NOT NULL DEFAULT 0,         -- the stage that is worked on
  approval TEXT,                            -- NULL: none is needed, wanted, given
  awaits_since INTEGER,                     -- since when it waits for approval: the deadline does not run on meanwhile
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  finished_at INTEGER,
  deadline_at INTEGER,
  drive_at INTEGER NOT NULL,                -- when the sweep moves the job on, if no message did
  answers_kept INTEGER NOT NULL DEFAULT 1,  -- 1: its attempts still have the texts that models wrote

  -- Limits that the caller set, or the defaults
  concurrency INTEGER NOT NULL,             -- most calls in flight
  max_attempts INTEGER NOT NULL,            -- most calls for one task that count as attempts
  min_success_ratio REAL NOT NULL,          -- a smaller share of covered items makes the job fail
  on_budget TEXT NOT NULL,                  -- at the budget: finish with what there is, or pause
  reuse INTEGER NOT NULL,                   -- 1: results from the ledger are used
  limit_nano INTEGER,                       -- budget, NULL: none

  -- How its calls are delivered
  delivery TEXT NOT NULL DEFAULT 'live',    -- live, batch, undecided (until its work begins)
  choice TEXT,                              -- JSON core::delivery::Choice: which delivery was chosen, and why

  -- The job that it extends
  extends TEXT,                             -- JSON app::extend::Extension
  extends_job TEXT,                         -- id of that job, NULL once all was copied: then it may be removed

  -- Money held back for the synthesis
  synthesis_fixed_nano INTEGER NOT NULL,    -- price of a synthesis that reads nothing
  synthesis_nano_per_byte INTEGER NOT NULL, -- price of each byte of results that it reads
  synthesis_bytes INTEGER,                  -- more bytes of results need reduce tasks first, NULL: no synthesis
  reduce_nano_per_byte INTEGER NOT NULL DEFAULT 0, -- price of the tree for each byte that it reads
  hold_nano INTEGER,                        -- held back while reduce tasks run, NULL: computed from the columns above

  -- Progress and totals
  items_total INTEGER NOT NULL,             -- items of the input
  covered INTEGER,                          -- items with a result in each of several map stages, NULL: not known
  next_index INTEGER NOT NULL DEFAULT 0,    -- idx of the next task that is written
  in_flight INTEGER NOT NULL DEFAULT 0,     -- attempts whose end is not known yet
  in_batches INTEGER NOT NULL DEFAULT 0,    -- how many of in_flight are in batches
  results INTEGER NOT NULL DEFAULT 0,       -- tasks with an output
  result_bytes INTEGER NOT NULL DEFAULT 0,  -- bytes of all outputs
  calls INTEGER NOT NULL DEFAULT 0,         -- attempts that were sent
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0,
  spent_nano INTEGER NOT NULL DEFAULT 0,    -- price of the calls that ended
  reserved_nano INTEGER NOT NULL DEFAULT 0, -- worst case of the calls in flight
  unknown_nano INTEGER NOT NULL DEFAULT 0,  -- worst case of the calls whose end was not seen: possibly paid
  uncounted INTEGER NOT NULL DEFAULT 0,     -- calls in unknown_nano that were answered without a count of tokens
  saved_nano INTEGER NOT NULL DEFAULT 0,    -- price of the results that came from the ledger
  cache_saved_nano INTEGER NOT NULL DEFAULT 0 -- by the prompt cache, below 0 where writes cost more
);
CREATE INDEX jobs_of_tenant ON jobs (tenant, created_at DESC, id DESC);
CREATE INDEX jobs_paused ON jobs (state) WHERE state = 'paused';
CREATE INDEX jobs_to_drive ON jobs (drive_at) WHERE finished_at IS NULL;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE finished_at IS NULL AND deadline_at IS NOT NULL;
CREATE INDEX jobs_at_work ON jobs (state) WHERE state IN ('planning', 'running', 'synthesizing');
CREATE INDEX jobs_calling ON jobs (token) WHERE token IS NOT NULL AND in_flight > 0;
CREATE INDEX jobs_over ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_with_answers ON jobs (finished_at) WHERE finished_at IS NOT NULL AND answers_kept = 1;
CREATE INDEX jobs_extending ON jobs (extends_job) WHERE extends_job IS NOT NULL;

-- The large and rarely read half of a job.
CREATE TABLE specs (
  job TEXT PRIMARY KEY,
  spec TEXT NOT NULL,                       -- JSON core::plan::Spec
  merged TEXT,                              -- JSON of the deterministic merge, once the map stages are done
  metadata TEXT NOT NULL,                   -- JSON: the labels that the caller gave
  profile TEXT                              -- JSON core::profile::Profile: sizes of the input, which estimates read
);

-- The Idempotency-Key headers of submits.
CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,                        -- as the caller sent it
  body_hash TEXT NOT NULL,                  -- the same key with another body is refused
  job TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_of_job ON idempotency (job);
CREATE INDEX idempotency_age ON idempotency (created_at);

-- What happened to a job, numbered, for those who watch it. Progress is not here: it is read from the counters.
CREATE TABLE events (
  job TEXT NOT NULL,
  seq INTEGER NOT NULL,                     -- 1, 2, … without a gap
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
    'halt', json((CASE WHEN NEW.halt IS NOT NULL THEN json_object('reason', NEW.halt->>'$.reason', 'detail', NEW.halt->>'$.detail',
      'resumes_at', NEW.halt->>'$.resumes_at') END)),
    'error', json(NEW.error), 'at', strftime('%Y-%m-%dT%H:%M:%fZ', NEW.updated_at / 1000.0, 'unixepoch'))
  FROM events WHERE job = NEW.id;
END;

-- A retry makes new attempts, which have texts again.
CREATE TRIGGER jobs_ran_again AFTER UPDATE OF run ON jobs WHEN NEW.answers_kept = 0
BEGIN
  UPDATE jobs SET answers_kept = 1 WHERE id = NEW.id;
END;

-- Writes the webhook delivery in the transaction that moves the job. A run ends once, so `job.finished` has one id for
-- each run. A job can be paused several times in a run, so the id of a pause has its time.
CREATE TRIGGER jobs_told AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state
  AND NEW.state IN ('succeeded', 'partial', 'failed', 'cancelled', 'paused', 'awaiting_approval')
BEGIN
  INSERT OR IGNORE INTO deliveries (id, job, tenant, run, event, state, error, at, since, next_at)
  SELECT 'msg_' || substr(NEW.id, 5) || '_' || NEW.run || (CASE
      WHEN NEW.state IN ('paused', 'awaiting_approval') THEN '_' || NEW.state || '_' || NEW.updated_at ELSE '' END),
    NEW.id, NEW.tenant, NEW.run, e.event, NEW.state, NEW.error, NEW.updated_at, NEW.updated_at, NEW.updated_at
  FROM webhooks w, (SELECT (CASE NEW.state WHEN 'paused' THEN 'job.paused'
      WHEN 'awaiting_approval' THEN 'job.awaiting_approval' ELSE 'job.finished' END) AS event) e
  WHERE w.job = NEW.id AND instr(w.events, '"' || e.event || '"') > 0;
END;

-- A run is traced when it is over, from rows that no longer change.
CREATE TRIGGER jobs_traced AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND NEW.state IN ('succeeded', 'partial', 'failed', 'cancelled')
BEGIN
  UPDATE traces SET run = NEW.run, ended = NEW.updated_at, after = -1, began = NEW.updated_at, tries = 0,
    next_at = NEW.updated_at
  WHERE job = NEW.id;
END;

------------------------------------------------------------------------------------------------------------------------
-- Input
------------------------------------------------------------------------------------------------------------------------

-- The input, in pages of whole items.
CREATE TABLE pages (
  job TEXT NOT NULL,
  first INTEGER NOT NULL,                   -- position of its first item in the input
  count INTEGER NOT NULL,                   -- items in it
  body TEXT,                                -- JSON [{id, fields}]
  blob TEXT,
  PRIMARY KEY (job, first)
);

-- The text of an item that is too long for a page. The page has the item without its text.
CREATE TABLE parts (
  job TEXT NOT NULL,
  item INTEGER NOT NULL,                    -- position of the item in the input
  n INTEGER NOT NULL,                       -- 0, 1, …: the parts join without a gap
  blob TEXT NOT NULL,
  PRIMARY KEY (job, item, n)
) WITHOUT ROWID;

------------------------------------------------------------------------------------------------------------------------
-- Plans and stages
------------------------------------------------------------------------------------------------------------------------

-- One row for each time that stages were given, made or added. Round 0 is the plan that the job began with.
CREATE TABLE plans (
  job TEXT NOT NULL,
  round INTEGER NOT NULL,                   -- 0, 1, …
  source TEXT NOT NULL,                     -- caller, recipe, orchestrator, default
  rationale TEXT,                           -- in the words of the orchestrator, or why the default plan is used
  stages TEXT NOT NULL,                     -- JSON: names of the stages that this round brought
  faults TEXT NOT NULL,                     -- JSON: what was wrong with answers that were not used
  expected TEXT,                            -- JSON core::estimate::Expected, as of then
  at INTEGER NOT NULL,                      -- when the round was kept
  PRIMARY KEY (job, round)
) WITHOUT ROWID;

-- One row for each stage of a job. Counters change by triggers alone.
CREATE TABLE stages (
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  kind TEXT NOT NULL,                       -- map, synthesis, plan
  name TEXT NOT NULL,                       -- unique in the job
  amends INTEGER NOT NULL DEFAULT 0,        -- 1: it adds to results of the stages before, and has none of its own

  -- State
  state TEXT NOT NULL DEFAULT 'waiting',    -- waiting, running, done
  phase TEXT NOT NULL DEFAULT 'work',       -- work, verify, check, redo, checked
  look INTEGER NOT NULL DEFAULT 0,          -- idx of the first task that this phase or level has still to read
  level INTEGER NOT NULL DEFAULT 0,         -- level of reduce tasks that is worked on, 0: none, or the synthesis

  -- Expansion: making tasks of items
  cursor INTEGER NOT NULL DEFAULT 0,        -- items expanded so far
  within TEXT,                              -- JSON: how far the item at cursor is expanded, NULL: not begun
  earlier INTEGER NOT NULL DEFAULT 0,       -- idx of the next task of the extended job to copy from, -1: all done
  made INTEGER NOT NULL DEFAULT 0,          -- tasks that expansion wrote, without halves
  expanded INTEGER NOT NULL DEFAULT 0,      -- 1: all tasks are written

  -- Its tasks by state
  pending INTEGER NOT NULL DEFAULT 0,       -- tasks in this state
  queued INTEGER NOT NULL DEFAULT 0,        -- tasks in this state
  running INTEGER NOT NULL DEFAULT 0,       -- tasks in this state
  succeeded INTEGER NOT NULL DEFAULT 0,     -- tasks in this state
  failed INTEGER NOT NULL DEFAULT 0,        -- tasks in this state
  skipped INTEGER NOT NULL DEFAULT 0,       -- tasks in this state
  cancelled INTEGER NOT NULL DEFAULT 0,     -- tasks in this state
  items_covered INTEGER NOT NULL DEFAULT 0, -- items with a valid result, a document once it has all its slices

  -- Sizes of its answers, from which the size of the next answer is estimated
  answers INTEGER NOT NULL DEFAULT 0,       -- answers that had output
  answer_tokens INTEGER NOT NULL DEFAULT 0, -- their output tokens
  longest INTEGER NOT NULL DEFAULT 0,       -- output tokens of the longest answer of a worker
  cut_items INTEGER,                        -- fewest items whose answer was cut off at the limit of the stage
  whole_items INTEGER NOT NULL DEFAULT 0,   -- most items whose answer was not cut off

  -- Measures for estimates of later jobs: first calls of tasks that were answered whole
  shape TEXT,                               -- hash of tenant, prompt and how chunks are made: alike stages share it
  measured INTEGER NOT NULL DEFAULT 0,      -- such calls
  measured_items INTEGER NOT NULL DEFAULT 0, -- the items that they asked for
  measured_bytes INTEGER NOT NULL DEFAULT 0, -- the sum of attempts.bytes
  measured_input INTEGER NOT NULL DEFAULT 0, -- their input tokens, cached ones too
  measured_output INTEGER NOT NULL DEFAULT 0, -- their output tokens
  spent_nano INTEGER NOT NULL DEFAULT 0,    -- price of all its calls
  fruitless INTEGER NOT NULL DEFAULT 0,     -- answers without a valid result, while there is none at all
  refusals INTEGER NOT NULL DEFAULT 0,      -- requests refused as invalid since it was paused for them
  PRIMARY KEY (job, idx)
) WITHOUT ROWID;
CREATE INDEX stages_alike ON stages (shape, job) WHERE shape IS NOT NULL;

-- Items on their way into groups: items of one group that one slice of expansion found. Deleted when they have tasks.
CREATE TABLE bundles (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,                   -- the stage that groups them
  grp TEXT NOT NULL,                        -- value of the field that it groups by
  seq INTEGER NOT NULL,                     -- in the order in which they were found
  body TEXT NOT NULL,                       -- JSON: items in their wire form
  bytes INTEGER NOT NULL,                   -- length of body
  PRIMARY KEY (job, stage, grp, seq)
);

-- Results of the extended job, by the hash of their input.
CREATE TABLE earlier (
  job TEXT NOT NULL,                        -- the job that extends
  stage INTEGER NOT NULL,                   -- a stage of that job
  key TEXT NOT NULL,                        -- hash of an item, or of all items of a chunk
  body TEXT,                                -- JSON of the result
  blob TEXT,
  nano INTEGER NOT NULL,                    -- what it cost, in nano-dollars
  PRIMARY KEY (job, stage, key)
) WITHOUT ROWID;

------------------------------------------------------------------------------------------------------------------------
-- Tasks
------------------------------------------------------------------------------------------------------------------------

-- One row for each task: some items that one call asks for. What changes with every step is here, texts are not.
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,                   -- unique over all jobs
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  stage INTEGER NOT NULL,
  purpose TEXT NOT NULL DEFAULT 'work',     -- work, verify (judges results), redo (asks again), reduce (tree node)
  level INTEGER NOT NULL DEFAULT 0,         -- of a reduce task: its level in the tree, 1 reads the results themselves
  origin TEXT,                              -- of a half: PARENT:ATTEMPT, so that a split happens once

  -- The items that it stands for
  ids TEXT NOT NULL,                        -- JSON: their ids
  items INTEGER NOT NULL,                   -- how many they are
  wanted TEXT,                              -- JSON: ids that the next call asks for, NULL: all
  covered INTEGER NOT NULL DEFAULT 0,       -- how many of them have a valid result
  document TEXT,                            -- id of the item that its slice was cut from, NULL: whole items
  label TEXT,                               -- id of its single result as an item, NULL: results keep item ids
  grp TEXT,                                 -- the group that it works on
  given TEXT,                               -- JSON: ids of the results that the next stage has, or * for all
  verified INTEGER NOT NULL DEFAULT 0,      -- 1: the choice of the sample has considered its results

  -- State
  state TEXT NOT NULL DEFAULT 'pending',    -- pending, queued, running, succeeded, failed, skipped, cancelled
  error TEXT,                               -- JSON {code, message}
  tries INTEGER NOT NULL DEFAULT 0,         -- calls that count against max_attempts
  attempts INTEGER NOT NULL DEFAULT 0,      -- calls made, attempts.n of the newest
  delays INTEGER NOT NULL DEFAULT 0,        -- refusals in a row that cost no attempt
  crashes INTEGER NOT NULL DEFAULT 0,       -- leases that ran out
  not_before INTEGER NOT NULL DEFAULT 0,    -- time before which it is not claimed
  queued_at INTEGER,                        -- -1: it was queued until its claim
  lease TEXT,                               -- the consumer (see leases) or the batch that holds it
  finished_at INTEGER,

  -- Its next call
  class TEXT NOT NULL,                      -- rate limit pool that the call draws on
  form TEXT NOT NULL DEFAULT 'fresh',       -- fresh, repair, resume, each with +plain where no schema is sent, or fetch
  tier INTEGER NOT NULL DEFAULT 0,          -- which model of the cascade is asked, 0: the first, or the only one
  batched INTEGER NOT NULL DEFAULT 0,       -- 1: it goes out in a batch
  key TEXT,                                 -- key of the request in the ledger
  bytes INTEGER NOT NULL,                   -- upper bound of its input tokens
  max_tokens INTEGER NOT NULL,              -- most output tokens that the stage allows
  worst_nano INTEGER NOT NULL,              -- worst case of its price
  taken_nano INTEGER,                       -- price of results copied from the extended job, NULL: it worked itself
  counted INTEGER NOT NULL DEFAULT 0,
  UNIQUE (job, idx)
);
CREATE INDEX tasks_queued ON tasks (job, queued_at) WHERE state = 'queued';
CREATE INDEX tasks_missing ON tasks (job, idx) WHERE state IN ('failed', 'skipped', 'cancelled');
CREATE UNIQUE INDEX tasks_origin ON tasks (job, origin) WHERE origin IS NOT NULL;
CREATE INDEX tasks_labelled ON tasks (job, stage, label) WHERE label IS NOT NULL;
-- Consumers read what goes live, batches take the rest: neither has to step over the tasks of the other.
CREATE INDEX tasks_ready ON tasks (job, not_before, idx) WHERE state IN ('pending', 'queued') AND batched = 0;
CREATE INDEX tasks_batching ON tasks (job, idx) WHERE state IN ('pending', 'queued') AND batched = 1;

-- Until when each consumer holds its tasks. A lease of a batch has no row: it does not run out.
CREATE TABLE leases (
  lease TEXT PRIMARY KEY,                   -- tasks.lease
  until INTEGER NOT NULL,                   -- time at which it runs out
  graced INTEGER NOT NULL DEFAULT 0         -- 1: it ran out while nobody could renew it, and has a last term
) WITHOUT ROWID;

-- What a task sends to the model, apart from the row that changes with every step.
CREATE TABLE inputs (
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  body TEXT,
  blob TEXT,
  PRIMARY KEY (job, idx)
) WITHOUT ROWID;

-- Items of a stage that are cut into slices: an item is covered when all its slices are.
CREATE TABLE documents (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,
  item TEXT NOT NULL,                       -- id of the item
  slices INTEGER NOT NULL,                  -- how many it has
  covered INTEGER NOT NULL DEFAULT 0,       -- how many of them have a result
  PRIMARY KEY (job, stage, item)
) WITHOUT ROWID;

-- Which task of a stage that amends has results for which task. Nothing is copied: a reader of results looks here for
-- what was added to them, so a result that was not chosen costs no row.
CREATE TABLE amended (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,                   -- the stage that amends
  base INTEGER NOT NULL,                    -- idx of the task whose results are amended
  task INTEGER NOT NULL,                    -- idx of the task that amends some of them
  PRIMARY KEY (job, stage, base, task)
) WITHOUT ROWID;
CREATE INDEX amended_by ON amended (job, task);

CREATE TRIGGER tasks_written AFTER INSERT ON tasks
WHEN NEW.counted = 0
BEGIN
  UPDATE stages SET pending = pending + (NEW.state = 'pending') WHERE job = NEW.job AND idx = NEW.stage;
END;

-- A document counts as an item once, when it is whole.
CREATE TRIGGER slices_covered AFTER UPDATE OF covered ON tasks
WHEN NEW.document IS NOT NULL AND OLD.covered <> NEW.covered
BEGIN
  UPDATE documents SET covered = covered + NEW.covered - OLD.covered
  WHERE job = NEW.job AND stage = NEW.stage AND item = NEW.document;
END;

-- Only the work of a stage covers items. A task that judges results or asks for them again does not count twice.
CREATE TRIGGER tasks_moved AFTER UPDATE OF state, covered ON tasks
WHEN OLD.counted = NEW.counted AND (OLD.state <> NEW.state OR OLD.covered <> NEW.covered)
BEGIN
  UPDATE stages SET
    pending = pending + (NEW.state = 'pending') - (OLD.state = 'pending'),
    queued = queued + (NEW.state = 'queued') - (OLD.state = 'queued'),
    running = running + (NEW.state = 'running') - (OLD.state = 'running'),
    succeeded = succeeded + (NEW.state = 'succeeded') - (OLD.state = 'succeeded'),
    failed = failed + (NEW.state = 'failed') - (OLD.state = 'failed'),
    skipped = skipped + (NEW.state = 'skipped') - (OLD.state = 'skipped'),
    cancelled = cancelled + (NEW.state = 'cancelled') - (OLD.state = 'cancelled'),
    items_covered = items_covered
      + (CASE WHEN NEW.purpose = 'work' AND NEW.document IS NULL THEN NEW.covered - OLD.covered ELSE 0 END)
  WHERE job = NEW.job AND idx = NEW.stage;
END;

-- Events for the first hundred failed tasks of a stage: a job of 10,000 tasks that all fail must not write 10,000
-- events, and the counters have them all. A task may have 1,000 items, so the first three are named. `wanted` has the
-- items that its last call was still asked for.
CREATE TRIGGER events_task_failed AFTER UPDATE OF state ON tasks
WHEN NEW.state = 'failed' AND OLD.state <> 'failed'
BEGIN
  INSERT INTO events (job, seq, kind, body)
  SELECT NEW.job, (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE job = NEW.job), 'task_failed',
    json_object('task', NEW.idx, 'stage', s.name, 'items', NEW.items - NEW.covered,
    'item_ids', json((SELECT json_group_array(value) FROM (
      SELECT value FROM json_each(COALESCE(NEW.wanted, OLD.wanted, NEW.ids)) ORDER BY key LIMIT 3))),
    'error', json(NEW.error),
    'at', strftime('%Y-%m-%dT%H:%M:%fZ', NEW.finished_at / 1000.0, 'unixepoch'))
  FROM stages s JOIN jobs j ON j.id = s.job WHERE s.job = NEW.job AND s.idx = NEW.stage AND s.failed <= 1000
    AND (SELECT COUNT(*) FROM events e WHERE e.job = NEW.job AND e.kind = 'task_failed' AND e.body->>'$.stage' = s.name) < 100;
END;

-- A half has some of the items of the task that was split, whose idx its origin begins with.
CREATE TRIGGER halves_amend AFTER INSERT ON tasks
WHEN NEW.origin IS NOT NULL
BEGIN
  INSERT OR IGNORE INTO amended (job, stage, base, task)
  SELECT job, stage, base, NEW.idx FROM amended WHERE job = NEW.job AND task = CAST(NEW.origin AS INTEGER);
END;

CREATE TRIGGER documents_covered AFTER UPDATE OF covered ON documents
WHEN (OLD.covered >= OLD.slices) <> (NEW.covered >= NEW.slices)
BEGIN
  UPDATE stages SET items_covered = items_covered + (NEW.covered >= NEW.slices) - (OLD.covered >= OLD.slices)
  WHERE job = NEW.job AND idx = NEW.stage;
END;

------------------------------------------------------------------------------------------------------------------------
-- Attempts
------------------------------------------------------------------------------------------------------------------------

-- One row for each call, written before it is sent. Texts are last, so that a long one is not read past.
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,                   -- unique over all jobs
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  n INTEGER NOT NULL,                       -- 1, 2, … for the task
  tenant TEXT NOT NULL,
  token TEXT,                               -- jobs.token, kept because a job may be removed before its attempts close
  stage INTEGER NOT NULL,
  lease TEXT NOT NULL,                      -- tasks.lease under which it was made
  batch TEXT,                               -- the batch that it is in, NULL: a call of its own
  state TEXT NOT NULL DEFAULT 'open',       -- open, done, unknown (its end was not seen: possibly paid)
  started_at INTEGER NOT NULL,
  finished_at INTEGER,

  -- What was asked
  role TEXT NOT NULL,                       -- worker, repair, reduce, verify, synthesis, orchestrator
  form TEXT NOT NULL,                       -- see tasks.form
  model TEXT NOT NULL,                      -- id at the API
  ids TEXT NOT NULL,                        -- JSON: ids of the items that it asked for
  max_tokens INTEGER,                       -- room for the answer, NULL: all that its task allows
  cache TEXT,                               -- lifetime of a prompt cache entry that it writes: 5m, 1h, NULL: none
  lacks TEXT,                               -- parts left out because the endpoint does not take them: format,effort

  -- What was reserved for it
  day TEXT NOT NULL,                        -- the UTC day that it is booked on
  class TEXT NOT NULL,                      -- rate limit pool that it drew on
  bytes INTEGER NOT NULL,                   -- upper bound of its input tokens
  reserved_nano INTEGER NOT NULL,           -- worst case of its price
  reserved_input INTEGER NOT NULL,          -- input tokens drawn from the pool
  reserved_output INTEGER NOT NULL,         -- output tokens drawn from the pool
  mark REAL NOT NULL DEFAULT 0,             -- classes.input_admitted including this attempt
  counted INTEGER NOT NULL DEFAULT 0,

  -- How it ended
  cost_nano INTEGER NOT NULL DEFAULT 0,     -- price by its tokens
  cache_saved_nano INTEGER NOT NULL DEFAULT 0, -- saved by the prompt cache, below 0 where it wrote an entry
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0,
  status INTEGER,                           -- of the HTTP answer
  error_class TEXT,                         -- kind of error that the retry policy decides by
  error TEXT,                               -- message
  request_id TEXT,                          -- of the API, for support
  stop_reason TEXT,                         -- as the API reports it
  response TEXT,                            -- text of the answer
  response_blob TEXT,                       -- key of the text in the blob store, where it is too large for a row
  UNIQUE (job, idx, n)
);
-- Those of live calls are found by their tasks, or by the counters of their jobs.
CREATE INDEX attempts_open ON attempts (lease) WHERE state = 'open' AND batch IS NOT NULL;
-- Those whose reservation is released by time: the server never began to answer.
CREATE INDEX attempts_unheard ON attempts (finished_at)
  WHERE state = 'unknown' AND batch IS NULL AND error_class <> 'unknown_end' AND IFNULL(status, 599) >= 500;

-- Attempts of batches. Those of live calls are counted by `tallies`, in tally_claimed.
CREATE TRIGGER attempts_opened AFTER INSERT ON attempts
WHEN NEW.counted = 0
BEGIN
  UPDATE jobs SET
    in_flight = in_flight + 1, in_batches = in_batches + (NEW.batch IS NOT NULL), calls = calls + 1,
    reserved_nano = reserved_nano + NEW.reserved_nano
  WHERE id = NEW.job;
  UPDATE classes SET
    in_flight = in_flight + 1,
    requests_level = requests_level - 1, requests_admitted = requests_admitted + 1,
    input_level = input_level - NEW.reserved_input, input_admitted = input_admitted + NEW.reserved_input,
    output_level = output_level - NEW.reserved_output, output_open = output_open + NEW.reserved_output
  WHERE class = NEW.class;
  INSERT INTO spending (day, tenant, reserved_nano) VALUES (NEW.day, NEW.tenant, NEW.reserved_nano)
    ON CONFLICT (day, tenant) DO UPDATE SET reserved_nano = reserved_nano + excluded.reserved_nano;
  INSERT INTO token_days (day, token, reserved_nano)
    SELECT NEW.day, NEW.token, NEW.reserved_nano WHERE NEW.token IS NOT NULL
    ON CONFLICT (day, token) DO UPDATE SET reserved_nano = reserved_nano + excluded.reserved_nano;
END;

-- Keeps `token_days` as `attempts_closed` keeps `spending`.
CREATE TRIGGER token_attempts_closed AFTER UPDATE OF state ON attempts
WHEN OLD.counted = NEW.counted AND OLD.state <> NEW.state AND NEW.token IS NOT NULL
BEGIN
  UPDATE token_days SET
    reserved_nano = reserved_nano
      - (CASE OLD.state WHEN 'done' THEN 0 ELSE OLD.reserved_nano END)
      + (CASE NEW.state WHEN 'done' THEN 0 ELSE NEW.reserved_nano END),
    spent_nano = spent_nano + (CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END)
  WHERE day = NEW.day AND token = NEW.token;
END;

-- A call that was claimed and never sent does not count: its job was halted first, or its place went to another. The
-- same holds where its holder lost the lease meanwhile and reports late.
CREATE TRIGGER attempts_unsent AFTER UPDATE OF state ON attempts
WHEN OLD.counted = NEW.counted AND OLD.state <> NEW.state AND NEW.state = 'done' AND NEW.error_class = 'not_sent'
BEGIN
  UPDATE jobs SET calls = calls - 1 WHERE id = NEW.job;
END;

CREATE TRIGGER attempts_cached AFTER UPDATE OF state ON attempts
WHEN OLD.counted = NEW.counted AND OLD.state <> NEW.state AND NEW.state = 'done' AND NEW.cache_saved_nano <> 0
BEGIN
  UPDATE jobs SET cache_saved_nano = cache_saved_nano + NEW.cache_saved_nano WHERE id = NEW.job;
END;

CREATE TRIGGER batch_attempts_closed AFTER UPDATE OF state ON attempts
WHEN OLD.counted = NEW.counted AND NEW.batch IS NOT NULL AND OLD.state = 'open' AND NEW.state <> 'open'
BEGIN
  UPDATE jobs SET in_batches = in_batches - 1 WHERE id = NEW.job;
END;

-- The conditions are in the updates, so that an answer like those before it writes nothing.
CREATE TRIGGER attempts_measured AFTER UPDATE OF state ON attempts
WHEN OLD.counted = NEW.counted AND OLD.state <> NEW.state AND NEW.state = 'done' AND NEW.role = 'worker' AND NEW.output_tokens > 0
BEGIN
  UPDATE stages SET longest = NEW.output_tokens WHERE job = NEW.job AND idx = NEW.stage AND longest < NEW.output_tokens;
  UPDATE stages SET
    cut_items = (CASE WHEN NEW.stop_reason = 'max_tokens' AND NEW.max_tokens IS NULL
      THEN MIN(IFNULL(cut_items, json_array_length(NEW.ids)), json_array_length(NEW.ids)) ELSE cut_items END),
    whole_items = (CASE WHEN NEW.stop_reason <> 'max_tokens' THEN MAX(whole_items, json_array_length(NEW.ids)) ELSE whole_items END)
  WHERE job = NEW.job AND idx = NEW.stage AND (CASE NEW.stop_reason
    WHEN 'max_tokens' THEN NEW.max_tokens IS NULL AND json_array_length(NEW.ids) < IFNULL(cut_items, 1000000)
    ELSE json_array_length(NEW.ids) > whole_items END);
END;

-- Counted until the first valid result. An answer that was given less room than it may have is no fault of the model.
CREATE TRIGGER attempts_fruitless AFTER UPDATE OF state ON attempts
WHEN OLD.state = 'open' AND NEW.error_class IN ('invalid_json', 'invalid_output', 'truncated', 'refused',
  'invalid_request', 'model_not_found', 'not_found')
  AND NOT (NEW.error_class = 'truncated' AND NEW.max_tokens IS NOT NULL)
BEGIN
  UPDATE stages SET fruitless = fruitless + 1
  WHERE job = NEW.job AND idx = NEW.stage AND items_covered = 0 AND succeeded = 0;
END;

-- Counted in every stage: a few of them, and what the calls since the last good answer have in common is looked at.
CREATE TRIGGER attempts_refused AFTER UPDATE OF state ON attempts
WHEN OLD.state = 'open' AND NEW.error_class IN ('invalid_request', 'model_not_found', 'not_found')
BEGIN
  UPDATE stages SET refusals = refusals + 1 WHERE job = NEW.job AND idx = NEW.stage;
END;

-- An attempt closes once as done, or as unknown and perhaps later as done. The measures of its stage are in the same
-- update as its counters, so they write no row of their own.
CREATE TRIGGER attempts_closed AFTER UPDATE OF state ON attempts
WHEN OLD.counted = NEW.counted AND OLD.state <> NEW.state
BEGIN
  UPDATE jobs SET
    in_flight = in_flight - (OLD.state = 'open'),
    reserved_nano = reserved_nano - (CASE OLD.state WHEN 'open' THEN OLD.reserved_nano ELSE 0 END),
    unknown_nano = unknown_nano
      + (CASE NEW.state WHEN 'unknown' THEN NEW.reserved_nano ELSE 0 END)
      - (CASE OLD.state WHEN 'unknown' THEN OLD.reserved_nano ELSE 0 END),
    -- An answer came, so it has a stop reason.
    uncounted = uncounted + (NEW.state = 'unknown' AND NEW.stop_reason IS NOT NULL)
      - (OLD.state = 'unknown' AND OLD.stop_reason IS NOT NULL),
    spent_nano = spent_nano + (CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END),
    input_tokens = input_tokens + NEW.input_tokens,
    output_tokens = output_tokens + NEW.output_tokens,
    cache_read_tokens = cache_read_tokens + NEW.cache_read_tokens,
    cache_write_tokens = cache_write_tokens + NEW.cache_write_tokens
  WHERE id = NEW.job;
  -- What was reserved and not used goes back to the pool, and what was used beyond it is drawn as well. A header that
  -- was read after the attempt already counts its input as used, so that needs no correction. `input_admitted` is
  -- never corrected: a header is compared with what was admitted after its call. A call that the server began and
  -- failed counts with its whole input.
  UPDATE classes SET
    in_flight = in_flight - (OLD.state = 'open'),
    input_level = input_level + (CASE WHEN NEW.state = 'done' AND OLD.state = 'open' AND NEW.mark > input_mark
        AND COALESCE(NEW.status, 0) < 500
      THEN NEW.reserved_input - NEW.input_tokens - NEW.cache_write_tokens ELSE 0 END),
    output_level = output_level + (CASE WHEN NEW.state = 'done' AND OLD.state = 'open'
      THEN NEW.reserved_output - NEW.output_tokens ELSE 0 END),
    output_open = output_open - (CASE OLD.state WHEN 'open' THEN OLD.reserved_output ELSE 0 END),
    learned_size = MAX(learned_size, (CASE WHEN NEW.input_tokens > 0 THEN NEW.bytes ELSE 0 END)),
    learned_most = MAX(learned_most,
      CAST(NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_tokens AS REAL) / MAX(NEW.bytes, 1))
  WHERE class = NEW.class;
  UPDATE spending SET
    reserved_nano = reserved_nano
      - (CASE OLD.state WHEN 'done' THEN 0 ELSE OLD.reserved_nano END)
      + (CASE NEW.state WHEN 'done' THEN 0 ELSE NEW.reserved_nano END),
    spent_nano = spent_nano + (CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END)
  WHERE day = NEW.day AND tenant = NEW.tenant;
  UPDATE stages SET
    answers = answers + (NEW.output_tokens > 0),
    answer_tokens = answer_tokens + NEW.output_tokens,
    spent_nano = spent_nano + NEW.cost_nano,
    measured = measured + m.one,
    measured_items = measured_items + m.one * json_array_length(NEW.ids),
    measured_bytes = measured_bytes + m.one * NEW.bytes,
    measured_input = measured_input + m.one * (NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_tokens),
    measured_output = measured_output + m.one * NEW.output_tokens
  FROM (SELECT IFNULL(NEW.stop_reason = 'end_turn', 0) AND NEW.error_class IS NULL AND NEW.form IN ('fresh', 'fresh+plain')
    AND NEW.role IN ('worker', 'synthesis', 'orchestrator') AS one) m
  WHERE job = NEW.job AND idx = NEW.stage AND NEW.state = 'done';
END;

------------------------------------------------------------------------------------------------------------------------
-- Results
------------------------------------------------------------------------------------------------------------------------

-- The valid results of a task so far.
CREATE TABLE outputs (
  job TEXT NOT NULL,
  idx INTEGER NOT NULL,
  body TEXT,
  blob TEXT,
  bytes INTEGER NOT NULL,                   -- length of the content
  counted INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, idx)
) WITHOUT ROWID;

-- Answers that were paid for, by the hash of the request: the same request is not paid twice.
CREATE TABLE ledger (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,                        -- hash of the request
  body TEXT,                                -- text of the answer
  blob TEXT,
  cost_nano INTEGER NOT NULL,               -- what the answer cost
  job TEXT NOT NULL,                        -- the job that paid, empty once it was removed and the row is shared
  shared INTEGER NOT NULL DEFAULT 0,        -- 1: another job used it, so it outlives the job that paid
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  listed INTEGER NOT NULL DEFAULT 1,        -- 0: a succeeded task of the job has the key, by which a removal finds it
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX ledger_of_job ON ledger (job) WHERE listed = 1;
-- An answer of a job that is there goes with the job, though it is not used after it has expired.
CREATE INDEX ledger_expiry ON ledger (expires_at) WHERE job = '';

-- Findings of checks. A finding never takes an item out of the coverage.
CREATE TABLE flags (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,
  id TEXT NOT NULL,                         -- id of the item
  flag TEXT NOT NULL,                       -- empty, short, same_text, unsure, not_followed_up
  PRIMARY KEY (job, stage, id, flag)
) WITHOUT ROWID;

-- Results that a check wants to ask for once more, and only once.
CREATE TABLE redone (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,
  id TEXT NOT NULL,                         -- id of the item
  task INTEGER,                             -- idx of the task whose result it is, NULL: chosen, and not asked for yet
  tier INTEGER NOT NULL DEFAULT 0,          -- which model of the cascade is asked
  answered INTEGER,                         -- which one gave the result that replaced it, NULL: none yet
  PRIMARY KEY (job, stage, id)
) WITHOUT ROWID;

CREATE TRIGGER outputs_written AFTER INSERT ON outputs WHEN NEW.counted = 0
BEGIN
  UPDATE jobs SET results = results + 1, result_bytes = result_bytes + NEW.bytes WHERE id = NEW.job;
END;

CREATE TRIGGER outputs_changed AFTER UPDATE OF bytes ON outputs WHEN OLD.counted = NEW.counted
BEGIN
  UPDATE jobs SET result_bytes = result_bytes + NEW.bytes - OLD.bytes WHERE id = NEW.job;
END;

-- A paid answer that comes after its job was removed is not kept: no removal would find it.
CREATE TRIGGER ledger_of_nobody BEFORE INSERT ON ledger
WHEN NOT EXISTS (SELECT 1 FROM jobs WHERE id = NEW.job)
BEGIN
  SELECT RAISE(IGNORE);
END;

------------------------------------------------------------------------------------------------------------------------
-- Governor: rate limits, breaker, prompt cache, money by day
------------------------------------------------------------------------------------------------------------------------

-- Rate limit pools of the account, one for each class of models. Levels hold as of `at` and refill by limit a minute.
CREATE TABLE classes (
  class TEXT PRIMARY KEY,                   -- name of the pool
  seen INTEGER NOT NULL DEFAULT 0,          -- 1: a rate header was read, so the limits are known
  in_flight INTEGER NOT NULL DEFAULT 0,     -- open attempts
  window REAL,                              -- most calls in flight since the API was overloaded, NULL: not bounded here
  slow_until INTEGER NOT NULL DEFAULT 0,    -- time before which no call goes out
  at INTEGER NOT NULL DEFAULT 0,            -- time of the levels
  requests_limit REAL NOT NULL DEFAULT 0,   -- requests a minute
  requests_cap REAL NOT NULL DEFAULT 0,     -- most that the level rises to
  requests_level REAL NOT NULL DEFAULT 0,   -- requests that may go out now
  input_limit REAL NOT NULL DEFAULT 0,      -- input tokens a minute
  input_cap REAL NOT NULL DEFAULT 0,        -- most that the level rises to
  input_level REAL NOT NULL DEFAULT 0,      -- input tokens that may go out now
  output_limit REAL NOT NULL DEFAULT 0,     -- output tokens a minute
  output_cap REAL NOT NULL DEFAULT 0,       -- most that the level rises to
  output_level REAL NOT NULL DEFAULT 0,     -- output tokens that may be reserved now
  requests_admitted REAL NOT NULL DEFAULT 0, -- ever, a header says what was left after a known number of them
  input_admitted REAL NOT NULL DEFAULT 0,   -- input tokens ever reserved
  input_mark REAL NOT NULL DEFAULT 0,       -- input_admitted at the call of the newest header that was read
  output_open REAL NOT NULL DEFAULT 0,      -- output tokens reserved by calls in flight: in no header yet
  learned_size REAL NOT NULL DEFAULT 0,     -- attempts.bytes of the largest request whose input tokens are known
  learned_most REAL NOT NULL DEFAULT 0,     -- most tokens that a byte had: bounds the input of the next request
  refused INTEGER NOT NULL DEFAULT 0,       -- calls that the limiter of the API refused
  failures INTEGER NOT NULL DEFAULT 0,      -- calls in a row without an answer: no connection, or a 5xx
  down INTEGER NOT NULL DEFAULT 0,          -- probes in a row that failed, above 0: one call goes out at a time
  down_since INTEGER NOT NULL DEFAULT 0     -- since when, 0: it is not down
) WITHOUT ROWID;
-- Attempts in batches count here: apart from every pool of live calls, and without limits.
INSERT INTO classes (class, seen) VALUES ('batch', 1);

-- The breaker: one row. While it is open, no call of the account goes out.
CREATE TABLE breaker (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  state TEXT NOT NULL DEFAULT 'closed',     -- closed, open, half_open (one probe may go out)
  reason TEXT,                              -- why it tripped
  until INTEGER NOT NULL DEFAULT 0,         -- time at which it turns half open
  trips INTEGER NOT NULL DEFAULT 0,         -- how often it tripped in a row
  probe TEXT                                -- lease of the probe, NULL: none is out
);
INSERT INTO breaker (id) VALUES (1);

-- Prompt cache: what is known of the prefixes that prompts share.
CREATE TABLE prefixes (
  prefix TEXT PRIMARY KEY,                  -- hash of model, schema, tools and system prompt
  ttl TEXT NOT NULL,                        -- lifetime of an entry after each use: 5m, 1h
  warm_until INTEGER NOT NULL DEFAULT 0,    -- time until which the entry can be read
  leader INTEGER NOT NULL,                  -- attempts.id of the call that was sent ahead to write it
  led_at INTEGER NOT NULL,
  leads INTEGER NOT NULL DEFAULT 0,         -- calls sent ahead since one of them got a response head
  off_until INTEGER NOT NULL DEFAULT 0,     -- time before which it is not marked, because marking it saved nothing
  known_until INTEGER NOT NULL              -- time after which the row is deleted
) WITHOUT ROWID;
CREATE INDEX prefixes_known ON prefixes (known_until);

-- Parts of requests that models at endpoints do not take, or ignore. Learned from refusals and from answers.
CREATE TABLE capabilities (
  endpoint TEXT NOT NULL,                   -- base URL of the endpoint
  model TEXT NOT NULL,                      -- id at the API
  part TEXT NOT NULL,                       -- format, thinking, effort, cache
  doubts INTEGER NOT NULL,                  -- answers without it, less those that had it, from -20 to 3
  off_until INTEGER NOT NULL DEFAULT 0,     -- time until which requests leave it out
  at INTEGER NOT NULL,                      -- when doubts changed last
  reason TEXT,                              -- words of the refusal, or the newest fault
  PRIMARY KEY (endpoint, model, part)
) WITHOUT ROWID;

-- Money by day and tenant. That of the account is the sum.
CREATE TABLE spending (
  day TEXT NOT NULL,                        -- UTC
  tenant TEXT NOT NULL,
  spent_nano INTEGER NOT NULL DEFAULT 0,    -- price of the calls that ended
  reserved_nano INTEGER NOT NULL DEFAULT 0, -- worst case of the calls that are open or unknown
  PRIMARY KEY (day, tenant)
) WITHOUT ROWID;

------------------------------------------------------------------------------------------------------------------------
-- Tokens
------------------------------------------------------------------------------------------------------------------------

-- Tokens made by /v1/tokens. The token in the secret FANWISE_TOKEN has no row. A revoked token keeps its row, because
-- its caps hold for the jobs that it submitted.
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  hash TEXT NOT NULL,                       -- SHA-256 of the token, in hex
  name TEXT NOT NULL,                       -- as the caller named it
  scopes TEXT NOT NULL,                     -- JSON: some of read, run, admin
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  daily_nano INTEGER,                       -- what its jobs may spend on a UTC day, NULL: no cap of its own
  concurrency INTEGER,                      -- most calls in flight of all its jobs, NULL: no cap of its own
  made_by TEXT                              -- id of the admin token that made it, NULL: the token of the secret
) WITHOUT ROWID;
CREATE INDEX tokens_by_age ON tokens (created_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX tokens_of_tenant ON tokens (tenant, created_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX tokens_made_by ON tokens (made_by) WHERE made_by IS NOT NULL;

-- How many submits each token may still send.
CREATE TABLE submits (
  token TEXT PRIMARY KEY,                   -- id of the token, empty: the token of the secret
  at INTEGER NOT NULL,                      -- time of the level
  level REAL NOT NULL                       -- submits left at that time, refills with time
) WITHOUT ROWID;

-- Money by day of the jobs of each token.
CREATE TABLE token_days (
  day TEXT NOT NULL,                        -- UTC
  token TEXT NOT NULL,                      -- id of the token
  spent_nano INTEGER NOT NULL DEFAULT 0,    -- price of the calls that ended
  reserved_nano INTEGER NOT NULL DEFAULT 0, -- worst case of the calls that are open or unknown
  PRIMARY KEY (day, token)
) WITHOUT ROWID;

------------------------------------------------------------------------------------------------------------------------
-- Tallies: counters of the hot path
------------------------------------------------------------------------------------------------------------------------

-- Counts many changes of tasks, attempts and outputs at once, so that each counter is written once and not once for each
-- task. An insert writes no row here: the table stays empty. The statements that it counts raise `counted`.
CREATE TABLE tallies (
  what TEXT NOT NULL,                       -- claimed, settled
  list TEXT NOT NULL,                       -- JSON: what changes
  lease TEXT NOT NULL,                      -- tasks.lease under which they change
  day TEXT NOT NULL,                        -- claimed: the day of the attempts
  at INTEGER NOT NULL                       -- time of the change
);

-- After a claim and its attempts: the buckets are filled up to its time, and less is in them. A list has {id, free}: a task that is free opens no attempt, and trigger tasks_moved
-- counts it. A claim that runs twice fails before it comes here, because an attempt is written once.
CREATE TRIGGER tally_claimed BEFORE INSERT ON tallies
WHEN NEW.what = 'claimed'
BEGIN
  UPDATE stages SET pending = stages.pending - m.pending, queued = stages.queued - m.queued, running = running + m.pending + m.queued
  FROM (SELECT t.job, t.stage, SUM(t.queued_at IS NULL) AS pending, SUM(t.queued_at IS NOT NULL) AS queued
    FROM json_each(NEW.list) e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
    WHERE e.value->>'$.free' = 0 AND t.lease = NEW.lease AND t.state = 'running' GROUP BY t.job, t.stage) m
  WHERE stages.job = m.job AND stages.idx = m.stage;
  UPDATE jobs SET in_flight = in_flight + m.n, calls = calls + m.n, reserved_nano = reserved_nano + m.nano
  FROM (SELECT a.job, COUNT(*) AS n, SUM(a.reserved_nano) AS nano
    FROM json_each(NEW.list) e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
      CROSS JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts
    WHERE e.value->>'$.free' = 0 AND t.lease = NEW.lease AND t.state = 'running' GROUP BY a.job) m
  WHERE jobs.id = m.job;
  UPDATE classes SET
    at = MAX(at, NEW.at), in_flight = in_flight + m.n,
    requests_level = MAX(MIN(requests_level, 0.0), MIN(MAX(requests_cap * 0.9, 1.0),
      requests_level + requests_limit * 0.97 / 60000.0 * MAX(0, NEW.at - at))) - m.n,
    requests_admitted = requests_admitted + m.n,
    input_level = MAX(MIN(input_level, 0.0), MIN(MAX(input_cap * 0.9, 1.0),
      input_level + input_limit * 0.97 / 60000.0 * MAX(0, NEW.at - at))) - m.input,
    input_admitted = input_admitted + m.input,
    output_level = MAX(MIN(output_level, 0.0), MIN(MAX(output_cap * 0.9, 1.0),
      output_level + output_limit * 0.97 / 60000.0 * MAX(0, NEW.at - at))) - m.output,
    output_open = output_open + m.output
  FROM (SELECT a.class, COUNT(*) AS n, SUM(a.reserved_input) AS input, SUM(a.reserved_output) AS output
    FROM json_each(NEW.list) e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
      CROSS JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts
    WHERE e.value->>'$.free' = 0 AND t.lease = NEW.lease AND t.state = 'running' GROUP BY a.class) m
  WHERE classes.class = m.class;
  INSERT INTO spending (day, tenant, reserved_nano)
    SELECT NEW.day, a.tenant, SUM(a.reserved_nano)
    FROM json_each(NEW.list) e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
      CROSS JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts
    WHERE e.value->>'$.free' = 0 AND t.lease = NEW.lease AND t.state = 'running' GROUP BY a.tenant
    ON CONFLICT (day, tenant) DO UPDATE SET reserved_nano = reserved_nano + excluded.reserved_nano;
  INSERT INTO token_days (day, token, reserved_nano)
    SELECT NEW.day, a.token, SUM(a.reserved_nano)
    FROM json_each(NEW.list) e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
      CROSS JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts
    WHERE e.value->>'$.free' = 0 AND t.lease = NEW.lease AND t.state = 'running' AND a.token IS NOT NULL GROUP BY a.token
    ON CONFLICT (day, token) DO UPDATE SET reserved_nano = reserved_nano + excluded.reserved_nano;
  SELECT RAISE(IGNORE);
END;

-- Before a settle closes attempts, keeps outputs and moves tasks: each part of the list names what the statement after it
-- will find unchanged, so what runs twice counts once. The rules are those of the triggers attempts_closed,
-- attempts_measured, attempts_unsent, attempts_cached, token_attempts_closed, batch_attempts_closed, outputs_written,
-- outputs_changed and tasks_moved, which count what does not come by here.
CREATE TRIGGER tally_settled BEFORE INSERT ON tallies
WHEN NEW.what = 'settled'
BEGIN
  UPDATE jobs SET
    in_flight = in_flight - m.closed, in_batches = in_batches - m.batched, calls = calls - m.unsent,
    reserved_nano = reserved_nano - m.reserved, unknown_nano = unknown_nano + m.unknown, spent_nano = spent_nano + m.spent,
    uncounted = jobs.uncounted + m.uncounted, input_tokens = input_tokens + m.input, output_tokens = output_tokens + m.output,
    cache_read_tokens = cache_read_tokens + m.cache_read, cache_write_tokens = cache_write_tokens + m.cache_write,
    cache_saved_nano = cache_saved_nano + m.saved, results = jobs.results + m.results, result_bytes = result_bytes + m.bytes,
    updated_at = (CASE WHEN finished_at IS NULL THEN MAX(updated_at, NEW.at) ELSE updated_at END)
  FROM (SELECT job, SUM(closed) AS closed, SUM(batched) AS batched, SUM(unsent) AS unsent, SUM(reserved) AS reserved,
      SUM(unknown) AS unknown, SUM(uncounted) AS uncounted, SUM(spent) AS spent, SUM(input) AS input, SUM(output) AS output, SUM(cache_read) AS cache_read,
      SUM(cache_write) AS cache_write, SUM(saved) AS saved, SUM(results) AS results, SUM(bytes) AS bytes
    FROM (SELECT a.job, a.state = 'open' AS closed, a.state = 'open' AND a.batch IS NOT NULL AS batched,
        e.value->>'$.state' = 'done' AND IFNULL(e.value->>'$.error_class' = 'not_sent', 0) AS unsent,
        (a.state = 'open') * a.reserved_nano AS reserved,
        ((e.value->>'$.state' = 'unknown') - (a.state = 'unknown')) * a.reserved_nano AS unknown,
        (e.value->>'$.state' = 'unknown' AND e.value->>'$.stop_reason' IS NOT NULL)
          - (a.state = 'unknown' AND a.stop_reason IS NOT NULL) AS uncounted,
        (e.value->>'$.state' = 'done') * (e.value->>'$.cost') AS spent,
        e.value->>'$.input_tokens' AS input, e.value->>'$.output_tokens' AS output, e.value->>'$.cache_read' AS cache_read,
        e.value->>'$.cache_write' AS cache_write, (e.value->>'$.state' = 'done') * (e.value->>'$.cache_saved') AS saved,
        0 AS results, 0 AS bytes
      FROM json_each(NEW.list, '$.attempts') e CROSS JOIN attempts a ON a.id = e.value->>'$.id'
      WHERE a.state <> 'done' AND a.state <> e.value->>'$.state'
      UNION ALL
      SELECT t.job, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, o.job IS NULL, e.value->>'$.bytes' - IFNULL(o.bytes, 0)
      FROM json_each(NEW.list, '$.outputs') e CROSS JOIN tasks t ON t.id = e.value->>'$.task'
        LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx
      WHERE t.lease = NEW.lease AND t.state = 'running' AND t.attempts = e.value->>'$.attempts')
    GROUP BY job) m
  WHERE jobs.id = m.job;
  UPDATE classes SET
    in_flight = in_flight - m.closed, input_level = input_level + m.input, output_level = output_level + m.output,
    output_open = output_open - m.opened, learned_size = MAX(learned_size, m.size), learned_most = MAX(learned_most, m.most)
  FROM (SELECT a.class, SUM(a.state = 'open') AS closed,
      SUM((CASE WHEN e.value->>'$.state' = 'done' AND a.state = 'open' AND a.mark > c.input_mark
          AND IFNULL(e.value->>'$.status', 0) < 500
        THEN a.reserved_input - e.value->>'$.input_tokens' - e.value->>'$.cache_write' ELSE 0 END)) AS input,
      SUM((CASE WHEN e.value->>'$.state' = 'done' AND a.state = 'open'
        THEN a.reserved_output - e.value->>'$.output_tokens' ELSE 0 END)) AS output,
      SUM((CASE a.state WHEN 'open' THEN a.reserved_output ELSE 0 END)) AS opened,
      MAX((CASE WHEN e.value->>'$.input_tokens' > 0 THEN a.bytes ELSE 0 END)) AS size,
      MAX(CAST(e.value->>'$.input_tokens' + e.value->>'$.cache_read' + e.value->>'$.cache_write' AS REAL)
        / MAX(a.bytes, 1)) AS most
    FROM json_each(NEW.list, '$.attempts') e CROSS JOIN attempts a ON a.id = e.value->>'$.id'
      JOIN classes c ON c.class = a.class
    WHERE a.state <> 'done' AND a.state <> e.value->>'$.state' GROUP BY a.class) m
  WHERE classes.class = m.class;
  UPDATE spending SET reserved_nano = reserved_nano - m.reserved, spent_nano = spent_nano + m.spent
  FROM (SELECT a.day, a.tenant, SUM((e.value->>'$.state' = 'done') * a.reserved_nano) AS reserved,
      SUM((e.value->>'$.state' = 'done') * (e.value->>'$.cost')) AS spent
    FROM json_each(NEW.list, '$.attempts') e CROSS JOIN attempts a ON a.id = e.value->>'$.id'
    WHERE a.state <> 'done' AND a.state <> e.value->>'$.state' GROUP BY a.day, a.tenant) m
  WHERE spending.day = m.day AND spending.tenant = m.tenant;
  UPDATE token_days SET reserved_nano = reserved_nano - m.reserved, spent_nano = spent_nano + m.spent
  FROM (SELECT a.day, a.token, SUM((e.value->>'$.state' = 'done') * a.reserved_nano) AS reserved,
      SUM((e.value->>'$.state' = 'done') * (e.value->>'$.cost')) AS spent
    FROM json_each(NEW.list, '$.attempts') e CROSS JOIN attempts a ON a.id = e.value->>'$.id'
    WHERE a.state <> 'done' AND a.state <> e.value->>'$.state' AND a.token IS NOT NULL GROUP BY a.day, a.token) m
  WHERE token_days.day = m.day AND token_days.token = m.token;
  UPDATE stages SET
    answers = stages.answers + m.answers, answer_tokens = answer_tokens + m.tokens, spent_nano = spent_nano + m.spent,
    longest = MAX(stages.longest, m.longest), cut_items = MIN(IFNULL(cut_items, m.cut), IFNULL(m.cut, cut_items)),
    whole_items = MAX(whole_items, m.whole), measured = stages.measured + m.measured, measured_items = measured_items + m.items,
    measured_bytes = measured_bytes + m.bytes, measured_input = measured_input + m.input,
    measured_output = measured_output + m.output, running = running - m.left, pending = stages.pending + m.pending,
    queued = stages.queued + m.queued, succeeded = stages.succeeded + m.succeeded, failed = stages.failed + m.failed, skipped = stages.skipped + m.skipped,
    cancelled = stages.cancelled + m.cancelled, items_covered = items_covered + m.covered
  FROM (SELECT job, stage, SUM(answered) AS answers, SUM(tokens) AS tokens, SUM(spent) AS spent, MAX(longest) AS longest,
      MIN(cut) AS cut, MAX(whole) AS whole, SUM(one) AS measured, SUM(one * items) AS items, SUM(one * bytes) AS bytes,
      SUM(one * input) AS input, SUM(one * tokens) AS output, SUM(moved <> '') AS left, SUM(moved = 'pending') AS pending,
      SUM(moved = 'queued') AS queued, SUM(moved = 'succeeded') AS succeeded, SUM(moved = 'failed') AS failed,
      SUM(moved = 'skipped') AS skipped, SUM(moved = 'cancelled') AS cancelled, SUM(covered) AS covered
    FROM (SELECT job, stage, tokens > 0 AS answered, tokens, spent, worker * tokens AS longest,
        (CASE WHEN worker AND tokens > 0 AND stop = 'max_tokens' AND max_tokens IS NULL THEN items END) AS cut,
        (CASE WHEN worker AND tokens > 0 AND stop <> 'max_tokens' THEN items ELSE 0 END) AS whole,
        one, items, bytes, input, '' AS moved, 0 AS covered
      FROM (SELECT a.job, a.stage, a.role = 'worker' AS worker, a.max_tokens, a.bytes, json_array_length(a.ids) AS items,
          e.value->>'$.output_tokens' AS tokens, e.value->>'$.cost' AS spent, e.value->>'$.stop_reason' AS stop,
          e.value->>'$.input_tokens' + e.value->>'$.cache_read' + e.value->>'$.cache_write' AS input,
          IFNULL(e.value->>'$.stop_reason' = 'end_turn', 0) AND e.value->>'$.error_class' IS NULL
            AND a.form IN ('fresh', 'fresh+plain') AND a.role IN ('worker', 'synthesis', 'orchestrator') AS one
        FROM json_each(NEW.list, '$.attempts') e CROSS JOIN attempts a ON a.id = e.value->>'$.id'
        WHERE a.state <> 'done' AND e.value->>'$.state' = 'done')
      UNION ALL
      SELECT t.job, t.stage, 0, 0, 0, 0, NULL, 0, 0, 0, 0, 0, e.value->>'$.state',
        (CASE WHEN t.purpose = 'work' AND t.document IS NULL THEN e.value->>'$.covered' - t.covered ELSE 0 END)
      FROM json_each(NEW.list, '$.tasks') e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
      WHERE t.lease = NEW.lease AND t.state = 'running' AND t.attempts = e.value->>'$.attempts')
    GROUP BY job, stage) m
  WHERE stages.job = m.job AND stages.idx = m.stage;
  SELECT RAISE(IGNORE);
END;

------------------------------------------------------------------------------------------------------------------------
-- Batches
------------------------------------------------------------------------------------------------------------------------

-- Message Batches: many requests in one, at half the price, answered within a day. A row is written before its batch is
-- sent, so that a batch whose creation was not answered is known.
CREATE TABLE batches (
  id TEXT PRIMARY KEY,                      -- lease of its tasks, and the beginning of the custom ids of its requests
  job TEXT NOT NULL,
  tenant TEXT NOT NULL,
  state TEXT NOT NULL,                      -- sending (its creation was not confirmed yet), sent, reading, ended
  remote TEXT,                              -- its id at the API
  strangers TEXT NOT NULL DEFAULT '[]',     -- JSON: ids of batches at the API that might have been this one and are not
  requests INTEGER NOT NULL,                -- how many it has
  cancel INTEGER NOT NULL DEFAULT 0,        -- 1: it must be cancelled, 2: the API has the request
  began_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  misses INTEGER NOT NULL DEFAULT 0,        -- searches in a row that did not find it
  ended_at INTEGER,
  note TEXT                                 -- what went wrong with it
) WITHOUT ROWID;
CREATE INDEX batches_due ON batches (next_at) WHERE state <> 'ended';
CREATE INDEX batches_of_job ON batches (job);
CREATE INDEX batches_remote ON batches (remote) WHERE remote IS NOT NULL;

------------------------------------------------------------------------------------------------------------------------
-- Outbound: webhooks and traces
------------------------------------------------------------------------------------------------------------------------

-- The webhook of a job.
CREATE TABLE webhooks (
  job TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  url TEXT NOT NULL,                        -- may be a secret itself, as those of Slack are: it is shown nowhere
  events TEXT NOT NULL,                     -- JSON: ["job.finished", …]
  format TEXT NOT NULL                      -- standard, slack
) WITHOUT ROWID;

-- Events that a webhook must get, written by the trigger jobs_told in the transaction that made them happen.
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY,                      -- of the event, the same in each try
  job TEXT NOT NULL,
  tenant TEXT NOT NULL,
  run INTEGER NOT NULL,
  event TEXT NOT NULL,                      -- job.finished, job.paused, job.awaiting_approval
  state TEXT NOT NULL,                      -- of the job at that time
  error TEXT,                               -- of the job at that time
  at INTEGER NOT NULL,                      -- when it happened
  payload TEXT,                             -- what is sent, from the first try on
  status TEXT NOT NULL DEFAULT 'pending',   -- pending, delivered, failed
  tries INTEGER NOT NULL DEFAULT 0,
  since INTEGER NOT NULL,                   -- when the tries began, or began again
  next_at INTEGER NOT NULL,
  closed_at INTEGER
);
CREATE INDEX deliveries_of_job ON deliveries (job, at, id);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE status = 'pending';
CREATE INDEX deliveries_age ON deliveries (closed_at) WHERE closed_at IS NOT NULL;

-- Each try of a delivery.
CREATE TABLE delivery_tries (
  delivery TEXT NOT NULL,                   -- deliveries.id
  n INTEGER NOT NULL,                       -- 1, 2, …
  job TEXT NOT NULL,
  at INTEGER NOT NULL,                      -- when it began
  ms INTEGER NOT NULL,                      -- how long it lasted, in milliseconds
  status INTEGER,                           -- of the HTTP answer, NULL: there was none
  error TEXT,                               -- why it failed
  PRIMARY KEY (delivery, n)
) WITHOUT ROWID;
CREATE INDEX delivery_tries_of_job ON delivery_tries (job);

-- What is sent to a collector of traces. A job has a row only where tracing was on when it was submitted.
CREATE TABLE traces (
  job TEXT PRIMARY KEY,
  parent TEXT,                              -- the traceparent header of the submit
  run INTEGER NOT NULL DEFAULT 0,           -- the run that is sent, or was sent last
  since INTEGER NOT NULL DEFAULT 0,         -- time up to which earlier runs were sent
  ended INTEGER NOT NULL DEFAULT 0,         -- time at which this run ended
  after INTEGER NOT NULL DEFAULT -1,        -- idx of the last task that was sent
  began INTEGER NOT NULL DEFAULT 0,         -- time at which the tries of this slice began
  tries INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER                           -- NULL: nothing is to be sent
) WITHOUT ROWID;
CREATE INDEX traces_due ON traces (next_at) WHERE next_at IS NOT NULL;

------------------------------------------------------------------------------------------------------------------------
-- Schedules
------------------------------------------------------------------------------------------------------------------------

-- A job that is submitted again and again.
CREATE TABLE schedules (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,                       -- as the caller named it
  cron TEXT NOT NULL,                       -- five fields
  time_zone TEXT NOT NULL,                  -- of the IANA database
  overlap TEXT NOT NULL,                    -- when the run before is not over: skip, queue, parallel
  paused INTEGER NOT NULL DEFAULT 0,        -- 1: it does not run
  body TEXT NOT NULL,                       -- JSON: the body of a submit, checked again with each run
  input_url TEXT,                           -- where its input is fetched from, NULL: it is in the body
  input_format TEXT,                        -- csv, jsonl, text
  next_at INTEGER,                          -- when it is due, NULL: not again
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX schedules_of_tenant ON schedules (tenant, created_at DESC, id DESC);
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL;

-- Which token made a schedule. Without a row: the token of the secret.
CREATE TABLE schedule_tokens (
  schedule TEXT PRIMARY KEY,                -- schedules.id
  token TEXT NOT NULL                       -- id of the token
) WITHOUT ROWID;
CREATE INDEX schedules_of_token ON schedule_tokens (token);

-- One row for each time that a schedule was due or was run by hand. Two sweeps cannot make two rows of one time.
CREATE TABLE schedule_runs (
  schedule TEXT NOT NULL,                   -- schedules.id
  due_at INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  cause TEXT NOT NULL,                      -- cron, caller
  state TEXT NOT NULL DEFAULT 'waiting',    -- waiting, started, skipped, failed
  job_id TEXT,                              -- the job that it started
  reason TEXT,                              -- JSON {code, message}: why it waits, was skipped or failed
  tries INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER NOT NULL,
  held_until INTEGER NOT NULL DEFAULT 0,    -- until then one consumer alone may start it
  ended_at INTEGER,
  PRIMARY KEY (schedule, due_at)
) WITHOUT ROWID;
CREATE INDEX schedule_runs_due ON schedule_runs (next_at) WHERE state = 'waiting';
CREATE INDEX schedule_runs_of_job ON schedule_runs (job_id) WHERE job_id IS NOT NULL;

------------------------------------------------------------------------------------------------------------------------
-- Upkeep: wake-up messages, removals, dead letters, assertions
------------------------------------------------------------------------------------------------------------------------

-- When the newest message arrives that a consumer sent for tasks that fall due later. One is enough for all consumers.
CREATE TABLE alarm (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL DEFAULT 0,            -- time of its arrival
  passed_at INTEGER NOT NULL DEFAULT 0      -- when a consumer whose places were full last woke others
);
INSERT INTO alarm (id) VALUES (1);

-- When the next message arrives that looks for leases that ran out. One is enough for all consumers.
CREATE TABLE watch (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL DEFAULT 0,            -- time of its arrival
  looked_at INTEGER NOT NULL DEFAULT 0      -- time of the last look
);
INSERT INTO watch (id) VALUES (1);

-- Removals under way. A removed job has no row in `jobs`, so callers stop seeing it at once. The rest goes in slices.
CREATE TABLE removals (
  job TEXT NOT NULL,
  what TEXT NOT NULL,                       -- job: all of it, answers: the texts that models wrote in its attempts
  tenant TEXT NOT NULL,
  since INTEGER NOT NULL,                   -- when it was asked for
  next_at INTEGER NOT NULL,
  PRIMARY KEY (job, what)
) WITHOUT ROWID;
CREATE INDEX removals_due ON removals (next_at);

-- Messages that no consumer could settle.
CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY,
  queue TEXT NOT NULL,                      -- name of the queue that it came from
  body TEXT NOT NULL,                       -- the message
  at INTEGER NOT NULL                       -- when it was given up
);
CREATE INDEX dead_letters_age ON dead_letters (at);

-- An assertion inside a batch: to insert 0 ends the whole batch, to insert 1 writes nothing. The table stays empty.
CREATE TABLE assertions (
  holds INTEGER NOT NULL                    -- value of the condition, 1 or 0
);
CREATE TRIGGER assertions_hold BEFORE INSERT ON assertions
BEGIN
  SELECT RAISE(ABORT, 'batch assertion failed') WHERE NEW.holds IS NOT 1;
  SELECT RAISE(IGNORE);
END;
