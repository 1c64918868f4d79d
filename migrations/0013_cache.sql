-- Prompt caching: what is known of the beginnings that prompts share, and what it saved.

CREATE TABLE prefixes (
  prefix TEXT PRIMARY KEY,                   -- hash of model, schema, tools and system prompt
  ttl TEXT NOT NULL,                         -- how long an entry lives after each use: 5m, 1h
  warm_until INTEGER NOT NULL DEFAULT 0,     -- it can be read until then
  leader INTEGER NOT NULL,                   -- attempt that was sent ahead to write it
  led_at INTEGER NOT NULL,
  leads INTEGER NOT NULL DEFAULT 0,          -- sent ahead since one brought a head
  off_until INTEGER NOT NULL DEFAULT 0,      -- not marked before: it was learned that this brings nothing
  known_until INTEGER NOT NULL               -- after this none of it says anything any more
) WITHOUT ROWID;
CREATE INDEX prefixes_known ON prefixes (known_until);

ALTER TABLE attempts ADD COLUMN cache TEXT;  -- how long what it writes lives; NULL: it was not marked
ALTER TABLE attempts ADD COLUMN cache_saved_nano INTEGER NOT NULL DEFAULT 0; -- below 0 where it wrote
ALTER TABLE jobs ADD COLUMN cache_saved_nano INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER attempts_cached AFTER UPDATE OF state ON attempts
WHEN OLD.state <> NEW.state AND NEW.state = 'done' AND NEW.cache_saved_nano <> 0
BEGIN
  UPDATE jobs SET cache_saved_nano = cache_saved_nano + NEW.cache_saved_nano WHERE id = NEW.job;
END;
