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
