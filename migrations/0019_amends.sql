-- Stages over some of the results before them: each result is laid over the one that its item had.

ALTER TABLE stages ADD COLUMN amends INTEGER NOT NULL DEFAULT 0; -- it adds to the results of the stages before, and has none of its own

-- Which task of a stage that amends has results for which task's results. Nothing is copied: who reads results looks here for what
-- was added to them, so what was not chosen costs no row, and what was not followed up is there as it was.
CREATE TABLE amended (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,                      -- that amends
  base INTEGER NOT NULL,                       -- the task whose results are amended
  task INTEGER NOT NULL,                       -- the task that amends some of them
  PRIMARY KEY (job, stage, base, task)
) WITHOUT ROWID;
CREATE INDEX amended_by ON amended (job, task);

-- A half stands for some of the items of the task that gave it away, whose index its origin begins with.
CREATE TRIGGER halves_amend AFTER INSERT ON tasks
WHEN NEW.origin IS NOT NULL
BEGIN
  INSERT OR IGNORE INTO amended (job, stage, base, task)
  SELECT job, stage, base, NEW.idx FROM amended WHERE job = NEW.job AND task = CAST(NEW.origin AS INTEGER);
END;
