//! What the log says of jobs and tasks: one line of JSON for each attempt, and for each change of a job's state; tasks
//! that one transaction moves share a line with all their numbers, for there may be a thousand of them.
//!
//! Statements that move rows answer with `moved_to`, so that only what was really moved is told. Knows no
//! texts: payloads stand in a line only where the configuration wants them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::App;
use super::resolve::Resolved;
use crate::ports::{Answer, Log, Ports};
use crate::store::row::Columns;

/// One line per attempt, and one for the settle as a whole.
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
    if !ended.is_empty() {
        let rows_read: u64 = answers.iter().map(|answer| answer.rows_read).sum();
        app.log(
            json!({"event": "settle", "tasks": ended.len(), "rows_read": rows_read}),
            json!({}),
        );
    }
    moved(app, answers, "settled");
}

/// What these statements moved, as their rows say: `moved_to`, with the id of a job, or a task's job and number; the job
/// whose tasks were counted; new tasks; attempts that were given up. A row's own `why` goes before `why`.
pub fn moved<P: Ports>(app: &App<P>, answers: &[Answer], why: &str) {
    let mut tasks: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for row in answers.iter().flat_map(|answer| &answer.rows) {
        if let Some(job) = row.maybe_text("counted_job") {
            let mut counts = row.clone();
            counts.retain(|name, _| name != "counted_job");
            app.log_job(&job, "tasks", json!({"why": why, "now": counts}));
        }
        if let Some(job) = row.maybe_text("expanded_job") {
            let (first, tasks) = (row.count("first"), row.count("tasks"));
            app.log_job(
                &job,
                "expanded",
                json!({"state": "pending", "first": first, "tasks": tasks}),
            );
        }
        if let Some(n) = row.maybe_int("lost_attempt") {
            app.log_job(
                &row.text("job"),
                "attempt",
                json!({"task": row.count("idx"), "n": n, "state": "unknown", "error": "unknown_end"}),
            );
        }
        let Some(to) = row.maybe_text("moved_to") else {
            continue;
        };
        match row.maybe_text("job") {
            Some(job) => tasks.entry((job, to)).or_default().push(row.count("idx")),
            None => {
                let why = row.maybe_text("why").unwrap_or_else(|| why.to_owned());
                app.log_job(
                    &row.text("id"),
                    "state",
                    json!({"state": to, "run": row.int("run"), "why": why, "error": row.json::<Value>("error")}),
                );
            }
        }
    }
    for ((job, to), numbers) in tasks {
        app.log_job(
            &job,
            "tasks",
            json!({"state": to, "why": why, "tasks": numbers}),
        );
    }
}
