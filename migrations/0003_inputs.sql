-- Input that is split: long documents in parts, documents in slices, tasks that stand for one slice each.

-- The text of an item that is too long for a page. Its page has the item without its text.
CREATE TABLE parts (
  job TEXT NOT NULL,
  item INTEGER NOT NULL,                    -- position of its item
  n INTEGER NOT NULL,                       -- 0, 1, …: parts follow each other without a gap
  blob TEXT NOT NULL,                       -- the key of the blob that holds it
  PRIMARY KEY (job, item, n)
) WITHOUT ROWID;

-- Where expansion stands inside the item at `cursor`: JSON, or nothing at its beginning.
ALTER TABLE stages ADD COLUMN within TEXT;

-- The item that a task's single slice was cut from; NULL for a task of whole items.
ALTER TABLE tasks ADD COLUMN document TEXT;

-- Items of a stage that are in slices: one is covered when all its slices are.
CREATE TABLE documents (
  job TEXT NOT NULL,
  stage INTEGER NOT NULL,
  item TEXT NOT NULL,
  slices INTEGER NOT NULL,
  covered INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, stage, item)
) WITHOUT ROWID;

-- `tasks_moved` has counted a slice as an item: taken back, for its document counts once, when it is whole.
CREATE TRIGGER slices_covered AFTER UPDATE OF covered ON tasks
WHEN NEW.document IS NOT NULL AND OLD.covered <> NEW.covered
BEGIN
  UPDATE stages SET items_covered = items_covered - NEW.covered + OLD.covered
  WHERE job = NEW.job AND idx = NEW.stage;
  UPDATE documents SET covered = covered + NEW.covered - OLD.covered
  WHERE job = NEW.job AND stage = NEW.stage AND item = NEW.document;
END;

CREATE TRIGGER documents_covered AFTER UPDATE OF covered ON documents
WHEN (OLD.covered >= OLD.slices) <> (NEW.covered >= NEW.slices)
BEGIN
  UPDATE stages SET items_covered = items_covered + (NEW.covered >= NEW.slices) - (OLD.covered >= OLD.slices)
  WHERE job = NEW.job AND idx = NEW.stage;
END;
