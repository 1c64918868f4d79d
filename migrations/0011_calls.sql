-- A call that was claimed and never sent (its job was halted first, or its places went to others) is none; also where its holder was
-- given up in between and says so late.

CREATE TRIGGER attempts_unsent AFTER UPDATE OF state ON attempts
WHEN OLD.state <> NEW.state AND NEW.state = 'done' AND NEW.error_class = 'not_sent'
BEGIN
  UPDATE jobs SET calls = calls - 1 WHERE id = NEW.job;
END;
