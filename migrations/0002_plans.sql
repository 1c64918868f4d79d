-- Plans: what each round brought, who made it and why; approval; and the input's profile that figures come from.

-- One row for each time that stages were given, made or added. Round 0 is the plan the job began with.
CREATE TABLE plans (
  job TEXT NOT NULL,
  round INTEGER NOT NULL,
  source TEXT NOT NULL,                     -- caller, recipe, orchestrator, default
  rationale TEXT,                           -- in the orchestrator's words, or why there is a default plan
  stages TEXT NOT NULL,                     -- JSON: the names of the stages that it brought
  faults TEXT NOT NULL,                     -- JSON: what was wrong with answers that were not used
  expected TEXT,                            -- JSON core::estimate::Expected, as of then
  at INTEGER NOT NULL,
  PRIMARY KEY (job, round)
) WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN approval TEXT;         -- NULL: none is wanted; wanted; given
ALTER TABLE jobs ADD COLUMN awaits_since INTEGER;  -- the deadline does not run on while approval is awaited
ALTER TABLE specs ADD COLUMN profile TEXT;         -- JSON core::profile::Profile

-- A plan is made by a call too.
DROP INDEX jobs_at_work;
CREATE INDEX jobs_at_work ON jobs (state) WHERE state IN ('planning', 'running', 'synthesizing');
