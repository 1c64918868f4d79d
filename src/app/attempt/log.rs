//! One line for each call that has ended.

use serde_json::{Value, json};

use super::Resolved;
use crate::app::App;
use crate::app::support::log::moved_with;
use crate::ports::{Answer, Log, Ports};

/// One line per attempt, and one for the tasks that moved with it.
pub fn settled<P: Ports>(app: &App<P>, ended: &[Resolved], answers: &[Answer]) {
    for one in ended {
        let attempt = one.attempt.as_ref();
        let mut line = json!({
            "event": if attempt.is_some() { "attempt" } else { "reused" }, "job": one.job, "task": one.idx, "n": one.task.attempts,
            "state": attempt.map(|a| a.state), "next": one.task.state,
            "status": attempt.and_then(|a| a.status), "error": attempt.and_then(|a| a.error_class.clone()),
            "request_id": attempt.and_then(|a| a.request_id.clone()),
            "cost_nano": attempt.map(|a| a.cost), "saved_nano": one.saved.as_ref().map(|s| s.nano),
            "tries": one.task.tries, "split": one.half.is_some(),
        });
        if app.config.log_payloads
            && let Value::Object(line) = &mut line
        {
            line.insert(
                "response".into(),
                json!(one.response.as_ref().map(|(text, _)| text)),
            );
        }
        app.ports.log().line(line);
    }
    let rows_read: u64 = answers.iter().map(|answer| answer.rows_read).sum();
    let more = json!({"rows_read": rows_read});
    moved_with(app, answers, "settled", more);
}
