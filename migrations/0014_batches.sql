-- Message Batches: many requests that go out as one, at half the price, and come back within a day.

-- How a job's calls go out now: live, batch; undecided until its work begins.
ALTER TABLE jobs ADD COLUMN delivery TEXT NOT NULL DEFAULT 'live';
ALTER TABLE jobs ADD COLUMN choice TEXT;                               -- JSON core::delivery::Choice: what was decided, and why
ALTER TABLE jobs ADD COLUMN in_batches INTEGER NOT NULL DEFAULT 0;     -- of in_flight, those that are in batches

ALTER TABLE tasks ADD COLUMN batched INTEGER NOT NULL DEFAULT 0;       -- its next call goes out in a batch
ALTER TABLE attempts ADD COLUMN batch TEXT;                            -- the batch it is in; NULL: a call of its own

-- Consumers look at what goes live, batches take the rest: neither may walk past the other's.
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (job, not_before, idx) WHERE state IN ('pending', 'queued') AND batched = 0;
CREATE INDEX tasks_batching ON tasks (job, idx) WHERE state IN ('pending', 'queued') AND batched = 1;

-- Where attempts in batches are counted: apart from every class of live calls, and without limits.
INSERT INTO classes (class, seen) VALUES ('batch', 1);

-- One row for each batch, written before it is sent, so that one whose answer is lost is known.
CREATE TABLE batches (
  id TEXT PRIMARY KEY,                      -- the lease of its tasks, and how the custom ids of its requests begin
  job TEXT NOT NULL,
  tenant TEXT NOT NULL,
  state TEXT NOT NULL,                      -- sending (nobody saw yet that it was made), sent, reading, ended
  remote TEXT,                              -- what the API calls it
  strangers TEXT NOT NULL DEFAULT '[]',     -- JSON: batches that might have been this one and are not
  requests INTEGER NOT NULL,
  cancel INTEGER NOT NULL DEFAULT 0,        -- 1: it must be cancelled; 2: the API was told
  began_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,                 -- when somebody looks at it next
  misses INTEGER NOT NULL DEFAULT 0,        -- looks in a row that it was not found at
  ended_at INTEGER,
  note TEXT                                 -- what went wrong with it
) WITHOUT ROWID;
CREATE INDEX batches_due ON batches (next_at) WHERE state <> 'ended';
CREATE INDEX batches_of_job ON batches (job);
CREATE INDEX batches_remote ON batches (remote) WHERE remote IS NOT NULL;

CREATE TRIGGER batch_attempts_opened BEFORE INSERT ON attempts
WHEN NEW.batch IS NOT NULL
BEGIN
  UPDATE jobs SET in_batches = in_batches + 1 WHERE id = NEW.job;
END;

CREATE TRIGGER batch_attempts_closed AFTER UPDATE OF state ON attempts
WHEN NEW.batch IS NOT NULL AND OLD.state = 'open' AND NEW.state <> 'open'
BEGIN
  UPDATE jobs SET in_batches = in_batches - 1 WHERE id = NEW.job;
END;
