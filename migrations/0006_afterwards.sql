-- What becomes of jobs afterwards: removals, webhooks and their deliveries; and schedules, which bring new ones.
--
-- A removed job has no row in `jobs` any more, so nobody sees it from that moment on; the rest goes in slices.

-- What is being taken away, until nothing of it is left.
CREATE TABLE removals (
  job TEXT NOT NULL,
  what TEXT NOT NULL,                       -- job: all of it; answers: what models said, attempt by attempt
  tenant TEXT NOT NULL,
  since INTEGER NOT NULL,
  next_at INTEGER NOT NULL,                 -- when the sweep asks for it again
  PRIMARY KEY (job, what)
) WITHOUT ROWID;
CREATE INDEX removals_due ON removals (next_at);

-- What is old, found without looking at what is not.
ALTER TABLE jobs ADD COLUMN answers_kept INTEGER NOT NULL DEFAULT 1; -- attempts still have their texts
CREATE INDEX jobs_over ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_with_answers ON jobs (finished_at) WHERE finished_at IS NOT NULL AND answers_kept = 1;
CREATE INDEX idempotency_of_job ON idempotency (job);
CREATE INDEX idempotency_age ON idempotency (created_at);
CREATE INDEX dead_letters_age ON dead_letters (at);

CREATE TRIGGER jobs_ran_again AFTER UPDATE OF run ON jobs WHEN NEW.answers_kept = 0
BEGIN
  UPDATE jobs SET answers_kept = 1 WHERE id = NEW.id;
END;

-- A paid answer that comes after its job was removed is nobody's any more.
CREATE TRIGGER ledger_of_nobody BEFORE INSERT ON ledger
WHEN NOT EXISTS (SELECT 1 FROM jobs WHERE id = NEW.job)
BEGIN
  SELECT RAISE(IGNORE);
END;
