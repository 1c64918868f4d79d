//! Idle time with work and room, for each job; and claims that bring nothing.

use std::collections::HashMap;

use fanwise::ports::{Answer, DbError, Statement};

use crate::world::World;

/// The longest time in which a job had tasks that wait and fewer calls running than it may, and nothing was sent.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Calls that each job may run.
    pub concurrency: u32,
    jobs: HashMap<String, Idle>,
    pub longest_ms: i64,
    /// When the first call of all went out.
    pub first_call: Option<i64>,
    pub most_running: u32,
}

#[derive(Debug, Default)]
struct Idle {
    waiting: u32,
    running: u32,
    since: Option<i64>,
}

impl Gauge {
    fn turn(&mut self, job: &str, now: i64, sent: bool, change: impl FnOnce(&mut Idle)) {
        let concurrency = self.concurrency;
        let idle = self.jobs.entry(job.to_owned()).or_default();
        change(idle);
        let could = idle.waiting > 0 && idle.running < concurrency;
        if let Some(since) = idle.since
            && (sent || !could)
        {
            self.longest_ms = self.longest_ms.max(now - since);
            idle.since = None;
        }
        if could && idle.since.is_none() {
            idle.since = Some(now);
        }
    }

    /// Reads how many tasks of each job wait. Those that the engine gave back for a moment count: nothing but the
    /// engine itself keeps them waiting.
    pub fn look(&mut self, world: &World) {
        let rows = world.query(
            "SELECT j.id, COALESCE((SELECT SUM(pending + queued) FROM stages WHERE job = j.id), 0) AS waiting
             FROM jobs j WHERE j.state IN ('planning', 'running', 'synthesizing')",
        );
        let now = world.now();
        for row in rows {
            let waiting = row["waiting"].as_u64().unwrap_or(0) as u32;
            let job = row["id"].as_str().unwrap_or_default();
            self.turn(job, now, false, |idle| idle.waiting = waiting);
        }
    }

    pub fn sent(&mut self, job: &str, now: i64, running: u32) {
        self.first_call.get_or_insert(now);
        self.most_running = self.most_running.max(running);
        self.turn(job, now, true, |idle| idle.running = running);
    }

    pub fn ended(&mut self, job: &str, now: i64, running: u32) {
        self.turn(job, now, false, |idle| idle.running = running);
    }
}

/// Claims, and those of them that took nothing or lost a race.
#[derive(Debug, Default, Clone, Copy)]
pub struct Claims {
    pub all: u64,
    pub lost: u64,
    pub empty: u64,
}

impl Claims {
    /// Counts a batch if it claims tasks: its statements carry their names in their first lines.
    pub fn note(&mut self, statements: &[Statement], result: &Result<Vec<Answer>, DbError>) {
        let at = |name: &str| {
            statements
                .iter()
                .position(|statement| statement.sql.starts_with(name))
        };
        if at("-- claim_tasks").is_none() {
            return;
        }
        self.all += 1;
        match result {
            Err(DbError::Guard(_)) => self.lost += 1,
            Ok(answers) => {
                let taken = at("-- claimed_tasks").and_then(|at| answers.get(at));
                let none = taken.is_some_and(|answer| answer.rows.is_empty());
                self.empty += u64::from(none);
            }
            Err(_) => {}
        }
    }

    pub fn wasted(&self) -> f64 {
        (self.lost + self.empty) as f64 / (self.all as f64).max(1.0)
    }
}
