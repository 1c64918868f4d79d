//! What the log says of jobs and tasks: one line of JSON for each attempt, and for each change of a job's state; tasks
//! that one transaction moves share a line with all their numbers, for there may be a thousand of them.
//!
//! Statements that move rows answer with `moved_to`, so that only what was really moved is told. Knows no
//! texts: payloads stand in a line only where the configuration wants them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::app::App;
use crate::ports::{Answer, Ports};
use crate::store::row::Columns;

/// What these statements moved, as their rows say: `moved_to`, with the id of a job, or a task's job and number; the job
/// whose tasks were counted; new tasks; attempts that were given up. A row's own `why` goes before `why`.
pub fn moved<P: Ports>(app: &App<P>, answers: &[Answer], why: &str) {
    moved_with(app, answers, why, Value::Null);
}

/// The same; the first line of moved tasks has `more`.
pub fn moved_with<P: Ports>(app: &App<P>, answers: &[Answer], why: &str, mut more: Value) {
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
        let mut line = json!({"state": to, "why": why, "tasks": numbers});
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more.take()) {
            line.extend(more);
        }
        app.log_job(&job, "tasks", line);
    }
}
