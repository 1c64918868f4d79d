-- How long a stage's answers are, and how many items fit one, so that later calls are given room by it.

ALTER TABLE stages ADD COLUMN longest INTEGER NOT NULL DEFAULT 0;     -- output tokens of the longest answer of a worker
ALTER TABLE stages ADD COLUMN cut_items INTEGER;                      -- fewest items whose answer did not fit what the stage allows
ALTER TABLE stages ADD COLUMN whole_items INTEGER NOT NULL DEFAULT 0; -- most items whose answer was not cut off

ALTER TABLE attempts ADD COLUMN max_tokens INTEGER; -- room for its answer; NULL: all that its task allows

-- The conditions stand in the update, so that an answer like those before it writes nothing.
CREATE TRIGGER attempts_measured AFTER UPDATE OF state ON attempts
WHEN OLD.state <> NEW.state AND NEW.state = 'done' AND NEW.role = 'worker' AND NEW.output_tokens > 0
BEGIN
  UPDATE stages SET longest = NEW.output_tokens WHERE job = NEW.job AND idx = NEW.stage AND longest < NEW.output_tokens;
  UPDATE stages SET
    cut_items = CASE WHEN NEW.stop_reason = 'max_tokens' AND NEW.max_tokens IS NULL
      THEN MIN(IFNULL(cut_items, json_array_length(NEW.ids)), json_array_length(NEW.ids)) ELSE cut_items END,
    whole_items = CASE WHEN NEW.stop_reason <> 'max_tokens' THEN MAX(whole_items, json_array_length(NEW.ids)) ELSE whole_items END
  WHERE job = NEW.job AND idx = NEW.stage AND CASE NEW.stop_reason
    WHEN 'max_tokens' THEN NEW.max_tokens IS NULL AND json_array_length(NEW.ids) < IFNULL(cut_items, 1000000)
    ELSE json_array_length(NEW.ids) > whole_items END;
END;
