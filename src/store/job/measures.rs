//! What stages took, kept with their rows by the trigger that closes an attempt; and found again by the shape that stages have in
//! common.

use serde_json::{Value, json};

use crate::ports::Statement;
use crate::store::{params, sql};

const SHAPES: &str = "-- set_shapes
UPDATE stages SET shape = w.shape FROM (SELECT value->>0 AS idx, value->>1 AS shape FROM json_each(?2)) w
WHERE job = ?1 AND stages.idx = w.idx";

/// Stages of a job are known by these from now on.
pub fn set_shapes(job: &str, shapes: &[(u32, String)]) -> Statement {
    let shapes: Vec<Value> = shapes
        .iter()
        .map(|(idx, shape)| json!([idx, shape]))
        .collect();
    sql(SHAPES, params![job, Value::Array(shapes).to_string()])
}

// The newest twelve of each shape, whatever there is of them: two rows each.
const EARLIER: &str = "-- earlier_stages
SELECT w.value AS shape, SUM(s.measured) AS calls, SUM(s.measured_bytes) AS bytes, SUM(s.measured_input) AS input,
  SUM(s.measured_output) AS output,
  SUM(IIF(j.state = 'succeeded' AND j.saved_nano = 0, s.measured, 0)) AS whole_calls,
  SUM(IIF(j.state = 'succeeded' AND j.saved_nano = 0, s.measured_items, 0)) AS whole_items,
  SUM(IIF(j.state = 'succeeded' AND j.saved_nano = 0, s.measured_bytes, 0)) AS whole_bytes,
  SUM(IIF(j.state = 'succeeded' AND j.saved_nano = 0 AND s.measured > 0, j.items_total, 0)) AS came_in
FROM (SELECT DISTINCT value FROM json_each(?1)) w
  JOIN stages s ON s.shape = w.value
    AND s.job IN (SELECT job FROM stages WHERE shape = w.value ORDER BY job DESC LIMIT 12)
  JOIN jobs j ON j.id = s.job
GROUP BY w.value";

/// What the newest stages of these shapes took.
pub fn earlier(shapes: &[String]) -> Statement {
    sql(EARLIER, params![json!(shapes).to_string()])
}
