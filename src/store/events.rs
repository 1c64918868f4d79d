//! What watchers of a job are told. Events are written by triggers alone, in the transactions that they tell of.

use super::listing::progress_columns;
use super::{params, sql};
use crate::ports::Statement;

/// Events read at a time.
pub const PAGE: usize = 200;

const PULSE: &str = concat!(
    "-- job_pulse
SELECT j.id, j.state, j.run, j.items_total, j.calls, j.input_tokens, j.output_tokens, j.cache_read_tokens, j.cache_write_tokens, j.spent_nano, j.reserved_nano, j.unknown_nano, j.saved_nano, j.cache_saved_nano, j.limit_nano,
  (SELECT name FROM stages WHERE job = j.id AND idx = j.stage) AS stage_name,
  ",
    progress_columns!(),
    ",
  (SELECT MAX(seq) FROM events WHERE job = j.id) AS last_seq,
  (SELECT json_group_array(json_object('seq', seq, 'kind', kind, 'body', json(body))) FROM (
    SELECT seq, kind, body FROM events WHERE job = j.id AND seq > ?3 ORDER BY seq LIMIT ?4)) AS events
FROM jobs j WHERE j.id = ?1 AND j.tenant = ?2"
);

/// How a job stands, and what happened to it after event `after`: one row, at one moment.
pub fn pulse(job: &str, tenant: &str, after: u64) -> Statement {
    sql(PULSE, params![job, tenant, after, PAGE as u64])
}
