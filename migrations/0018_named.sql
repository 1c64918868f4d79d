-- Who watches a job is told by name what has no result, not only how many.

DROP TRIGGER events_task_failed;
-- The first hundred of a stage: a job of 10,000 tasks that all fail must not tell 10,000 times. The counters have them all. Of a task's
-- items the first three are named, of 1,000 that it may have; `wanted` are those that its last call was still asked for.
CREATE TRIGGER events_task_failed AFTER UPDATE OF state ON tasks
WHEN NEW.state = 'failed' AND OLD.state <> 'failed'
BEGIN
  INSERT INTO events (job, seq, kind, body)
  SELECT NEW.job, (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE job = NEW.job), 'task_failed',
    json_object('task', NEW.idx, 'stage', s.name, 'items', NEW.items - NEW.covered,
    'item_ids', json((SELECT json_group_array(value) FROM (
      SELECT value FROM json_each(COALESCE(NEW.wanted, OLD.wanted, NEW.ids)) ORDER BY key LIMIT 3))),
    'error', json(NEW.error),
    'at', strftime('%Y-%m-%dT%H:%M:%fZ', NEW.finished_at / 1000.0, 'unixepoch'))
  FROM stages s JOIN jobs j ON j.id = s.job WHERE s.job = NEW.job AND s.idx = NEW.stage AND s.failed <= 100;
END;
