//! What watchers of a job are told. Events are written by triggers alone, in the transactions that they tell of.

use super::listing::progress_columns;
use crate::ports::Statement;
use crate::store::{params, sql};

/// Events read at a time.
pub const PAGE: usize = 200;

const PULSE: &str = concat!(
    "-- job_pulse
SELECT j.id, j.state, j.run, j.finished_at, j.items_total, j.calls, j.input_tokens, j.output_tokens, j.cache_read_tokens, j.cache_write_tokens, j.spent_nano, j.reserved_nano, j.unknown_nano, j.uncounted, j.saved_nano, j.cache_saved_nano, j.limit_nano,
  (SELECT name FROM stages WHERE job = j.id AND idx = j.stage) AS stage_name,
  ",
    progress_columns!(),
    ",
  (SELECT json_group_array(json_object('name', name, 'expanded', json(IIF(expanded, 'true', 'false')),
      'done', json(IIF(state = 'done', 'true', 'false')), 'open', pending + queued + running,
      'over', succeeded + failed + skipped + cancelled, 'spent_nano', spent_nano))
    FROM stages WHERE job = j.id AND j.finished_at IS NULL) AS stages,
  (SELECT json_group_array(json(expected)) FROM plans WHERE job = j.id AND expected IS NOT NULL) AS rounds,
  (SELECT MAX(seq) FROM events WHERE job = j.id) AS last_seq,
  (SELECT json_group_array(json_object('seq', seq, 'kind', kind, 'body', json(body))) FROM (
    SELECT seq, kind, body FROM events WHERE job = j.id AND seq > ?3 ORDER BY seq LIMIT ?4)) AS events
FROM jobs j WHERE j.id = ?1 AND j.tenant = ?2"
);

/// How a job stands, and what happened to it after event `after`: one row, at one moment.
pub fn pulse(job: &str, tenant: &str, after: u64) -> Statement {
    sql(PULSE, params![job, tenant, after, PAGE as u64])
}
