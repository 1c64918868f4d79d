-- What stages took, by what they have in common: an estimate goes by what earlier ones of the same shape took.

ALTER TABLE stages ADD COLUMN shape TEXT;                                -- hash of the tenant, what workers are told, and how chunks are made
ALTER TABLE stages ADD COLUMN measured INTEGER NOT NULL DEFAULT 0;       -- first calls of tasks that were answered whole:
ALTER TABLE stages ADD COLUMN measured_items INTEGER NOT NULL DEFAULT 0; -- the items they asked for,
ALTER TABLE stages ADD COLUMN measured_bytes INTEGER NOT NULL DEFAULT 0; -- the bytes of their requests, as in attempts,
ALTER TABLE stages ADD COLUMN measured_input INTEGER NOT NULL DEFAULT 0; -- and tokens put in, cached ones too,
ALTER TABLE stages ADD COLUMN measured_output INTEGER NOT NULL DEFAULT 0; -- and taken out
ALTER TABLE stages ADD COLUMN spent_nano INTEGER NOT NULL DEFAULT 0;     -- by all its calls
CREATE INDEX stages_alike ON stages (shape, job) WHERE shape IS NOT NULL;

-- As before, with the measures in the same update of the stage: they write no row of their own.
DROP TRIGGER attempts_closed;
CREATE TRIGGER attempts_closed AFTER UPDATE OF state ON attempts
WHEN OLD.state <> NEW.state
BEGIN
  UPDATE jobs SET
    in_flight = in_flight - (OLD.state = 'open'),
    reserved_nano = reserved_nano - CASE OLD.state WHEN 'open' THEN OLD.reserved_nano ELSE 0 END,
    unknown_nano = unknown_nano
      + CASE NEW.state WHEN 'unknown' THEN NEW.reserved_nano ELSE 0 END
      - CASE OLD.state WHEN 'unknown' THEN OLD.reserved_nano ELSE 0 END,
    spent_nano = spent_nano + CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END,
    input_tokens = input_tokens + NEW.input_tokens,
    output_tokens = output_tokens + NEW.output_tokens,
    cache_read_tokens = cache_read_tokens + NEW.cache_read_tokens,
    cache_write_tokens = cache_write_tokens + NEW.cache_write_tokens
  WHERE id = NEW.job;
  -- What was reserved and not used comes back; what was used beyond it is taken too. Input that a header has been read
  -- after is in that header as it was used, so there is nothing to correct. `input_admitted` is never
  -- corrected: a header is read against what was admitted after its call. A call that the server began
  -- and failed counts with its input all the same.
  UPDATE classes SET
    in_flight = in_flight - (OLD.state = 'open'),
    input_level = input_level + CASE WHEN NEW.state = 'done' AND OLD.state = 'open' AND NEW.mark > input_mark
        AND COALESCE(NEW.status, 0) < 500
      THEN NEW.reserved_input - NEW.input_tokens - NEW.cache_write_tokens ELSE 0 END,
    output_level = output_level + CASE WHEN NEW.state = 'done' AND OLD.state = 'open'
      THEN NEW.reserved_output - NEW.output_tokens ELSE 0 END,
    output_open = output_open - CASE OLD.state WHEN 'open' THEN OLD.reserved_output ELSE 0 END,
    learned_size = MAX(learned_size, CASE WHEN NEW.input_tokens > 0 THEN NEW.bytes ELSE 0 END),
    learned_most = MAX(learned_most,
      CAST(NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_tokens AS REAL) / MAX(NEW.bytes, 1))
  WHERE class = NEW.class;
  UPDATE spending SET
    reserved_nano = reserved_nano
      - CASE OLD.state WHEN 'done' THEN 0 ELSE OLD.reserved_nano END
      + CASE NEW.state WHEN 'done' THEN 0 ELSE NEW.reserved_nano END,
    spent_nano = spent_nano + CASE NEW.state WHEN 'done' THEN NEW.cost_nano ELSE 0 END
  WHERE day = NEW.day AND tenant IN (NEW.tenant, '*');
  UPDATE stages SET
    answers = answers + (NEW.output_tokens > 0),
    answer_tokens = answer_tokens + NEW.output_tokens,
    spent_nano = spent_nano + NEW.cost_nano,
    measured = measured + m.one,
    measured_items = measured_items + m.one * json_array_length(NEW.ids),
    measured_bytes = measured_bytes + m.one * NEW.bytes,
    measured_input = measured_input + m.one * (NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_tokens),
    measured_output = measured_output + m.one * NEW.output_tokens
  FROM (SELECT IFNULL(NEW.stop_reason = 'end_turn', 0) AND NEW.error_class IS NULL AND NEW.form IN ('fresh', 'fresh+plain')
    AND NEW.role IN ('worker', 'synthesis', 'orchestrator') AS one) m
  WHERE job = NEW.job AND idx = NEW.stage AND NEW.state = 'done';
END;
