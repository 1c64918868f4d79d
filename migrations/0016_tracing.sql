-- What a collector of traces is told about jobs. A job has a row here only where tracing was on when it came in.

CREATE TABLE traces (
  job TEXT PRIMARY KEY,
  parent TEXT,                              -- the traceparent of the request that submitted it
  run INTEGER NOT NULL DEFAULT 0,           -- that is told, or was last
  since INTEGER NOT NULL DEFAULT 0,         -- what happened up to here was told with earlier runs
  ended INTEGER NOT NULL DEFAULT 0,         -- when that run was over
  after INTEGER NOT NULL DEFAULT -1,        -- tasks up to this one are told
  began INTEGER NOT NULL DEFAULT 0,         -- tries of this slice begin
  tries INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER                           -- NULL: nothing is to be told
) WITHOUT ROWID;
CREATE INDEX traces_due ON traces (next_at) WHERE next_at IS NOT NULL;

-- A run is told when it is over, from rows that no longer change.
CREATE TRIGGER jobs_traced AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND NEW.state IN ('succeeded', 'partial', 'failed', 'cancelled')
BEGIN
  UPDATE traces SET run = NEW.run, ended = NEW.updated_at, after = -1, began = NEW.updated_at, tries = 0,
    next_at = NEW.updated_at
  WHERE job = NEW.id;
END;
