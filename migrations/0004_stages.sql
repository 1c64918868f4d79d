-- Map after map: the results of one stage are the items of the next, as they are or grouped by a field.

ALTER TABLE tasks ADD COLUMN label TEXT;       -- the id its single result has as an item; NULL: results have their items' ids
ALTER TABLE tasks ADD COLUMN grp TEXT;         -- the group it works on
ALTER TABLE tasks ADD COLUMN given TEXT;       -- JSON: which of its results the next stage has taken; '*': all
CREATE INDEX tasks_labelled ON tasks (job, stage, label) WHERE label IS NOT NULL;

ALTER TABLE stages ADD COLUMN made INTEGER NOT NULL DEFAULT 0; -- tasks written by expansion, halves not counted
ALTER TABLE jobs ADD COLUMN covered INTEGER;   -- of several map stages: items with a result in each; NULL: not known yet

-- Items on their way into groups: what one slice of expansion found of one group. Gone once their tasks are written.
CREATE TABLE bundles (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,                      -- that groups them
  grp TEXT NOT NULL,
  seq INTEGER NOT NULL,                        -- in the order in which they were found
  body TEXT NOT NULL,                          -- JSON: items in their wire form
  bytes INTEGER NOT NULL,
  PRIMARY KEY (job, stage, grp, seq)
);

-- What is done around a stage's own work: the tree of reduce tasks before a synthesis.
ALTER TABLE tasks ADD COLUMN purpose TEXT NOT NULL DEFAULT 'work'; -- work, verify, redo, reduce
ALTER TABLE tasks ADD COLUMN level INTEGER NOT NULL DEFAULT 0;     -- of the tree; 1 reads the results themselves
ALTER TABLE stages ADD COLUMN level INTEGER NOT NULL DEFAULT 0;    -- that is being worked on; 0: none, or the synthesis itself
ALTER TABLE stages ADD COLUMN look INTEGER NOT NULL DEFAULT 0;     -- tasks of earlier runs have lower indexes
ALTER TABLE jobs ADD COLUMN synthesis_bytes INTEGER;               -- results beyond so many bytes need the tree; NULL: no synthesis
ALTER TABLE jobs ADD COLUMN reduce_nano_per_byte INTEGER NOT NULL DEFAULT 0; -- what the tree costs for each byte it reads
ALTER TABLE jobs ADD COLUMN hold_nano INTEGER;                     -- held back for the synthesis while the tree is worked on

-- What checks found: never a reason to take an item out of the coverage.
CREATE TABLE flags (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,
  id TEXT NOT NULL,
  flag TEXT NOT NULL,
  PRIMARY KEY (job, stage, id, flag)
) WITHOUT ROWID;

-- Checks of a map stage's results: a sample is judged, what is flagged is asked for once more.
ALTER TABLE stages ADD COLUMN phase TEXT NOT NULL DEFAULT 'work'; -- work, verify, check, redo, checked
ALTER TABLE tasks ADD COLUMN verified INTEGER NOT NULL DEFAULT 0; -- its results were looked at for the sample

-- Results that a check wants asked for once more, and only once.
CREATE TABLE redone (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,
  id TEXT NOT NULL,
  task INTEGER,                                -- whose result it is; NULL: chosen, and not asked for yet
  PRIMARY KEY (job, stage, id)
) WITHOUT ROWID;

-- Only a stage's own work covers items; who judges results or asks for them again does not count twice.
DROP TRIGGER tasks_moved;
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
    items_covered = items_covered + CASE NEW.purpose WHEN 'work' THEN NEW.covered - OLD.covered ELSE 0 END
  WHERE job = NEW.job AND idx = NEW.stage;
END;
