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
