-- Cascades of models, and jobs that extend earlier ones.

-- Which model of its stage's cascade a task asks next; 0: the first, and the only one of a stage without a cascade.
ALTER TABLE tasks ADD COLUMN tier INTEGER NOT NULL DEFAULT 0;
-- The same for a result that is asked for again: which model is asked, and which one's answer took its place.
ALTER TABLE redone ADD COLUMN tier INTEGER NOT NULL DEFAULT 0;
ALTER TABLE redone ADD COLUMN answered INTEGER;

-- The job that this one extends: JSON app::extend::Extension.
ALTER TABLE jobs ADD COLUMN extends TEXT;
ALTER TABLE jobs ADD COLUMN extends_job TEXT;      -- NULL once nothing more is read of it, which holds its removal back
CREATE INDEX jobs_extending ON jobs (extends_job) WHERE extends_job IS NOT NULL;
-- From which task of the earlier job's stage on results are still to be copied; -1: all are.
ALTER TABLE stages ADD COLUMN earlier INTEGER NOT NULL DEFAULT 0;

-- Results of the earlier job by what they were made of.
CREATE TABLE earlier (
  job TEXT NOT NULL,                        -- that extends
  stage INTEGER NOT NULL,                   -- of that job
  key TEXT NOT NULL,                        -- hash of an item, or of all items of a chunk
  body TEXT, blob TEXT,                     -- JSON of the result
  nano INTEGER NOT NULL,                    -- what it had cost
  PRIMARY KEY (job, stage, key)
) WITHOUT ROWID;

-- What results that were taken over had cost; NULL: the task did its work itself.
ALTER TABLE tasks ADD COLUMN taken_nano INTEGER;
