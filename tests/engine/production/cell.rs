//! One cell of the grid: jobs of one map stage under one setting, and what became of them.
//!
//! `ratio` is makespan over ideal. The makespan goes from the submit of the first job to the end of the last one, with
//! everything in between: queues, expansion, ramp. The ideal is `ceil(items / concurrency) * call_ms`: rounds of full width,
//! and nothing else.

use std::rc::Rc;
use std::sync::Arc;

use fanwise::app::submit::submit;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cloud::{Cloud, Counts};
use super::gauge::Claims;
use super::model::Model;
use super::queues::Site;
use crate::chaos::live;
use crate::world::{TENANT, World, job};

/// A job that takes this many times the ideal (and ten minutes more) is given up.
const MOST_RATIO: i64 = 30;
const MOST_MS: i64 = 600_000;

/// What is played.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cell {
    pub call_ms: u64,
    /// Until the head of the answer.
    pub ttft_ms: u64,
    pub rtt_ms: u64,
    /// Of each job.
    pub concurrency: u32,
    /// Of each job, one call each.
    pub items: usize,
    pub jobs: usize,
    pub seed: u64,
    /// Characters of each item's text.
    pub item_bytes: usize,
    /// Calls differ evenly by this share to both sides.
    pub call_jitter: f64,
    /// Variables of the deployment that differ from the defaults.
    pub vars: Vec<(String, String)>,
    /// Everything else about the platform; its round trip is `rtt_ms`.
    pub model: Model,
}

impl Default for Cell {
    fn default() -> Cell {
        Cell {
            call_ms: 10_000,
            ttft_ms: 600,
            rtt_ms: 30,
            concurrency: 50,
            items: 1_000,
            jobs: 1,
            seed: 1,
            item_bytes: 60,
            call_jitter: 0.0,
            vars: Vec::new(),
            model: Model::default(),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub call_ms: u64,
    pub ttft_ms: u64,
    pub rtt_ms: u64,
    pub concurrency: u32,
    pub items: usize,
    pub jobs: usize,
    pub ratio: f64,
    pub unknown: u64,
    pub crashes: u64,
    pub paid_twice: u64,
    pub wasted_claims: f64,
    pub longest_gap_ms: i64,
    /// False: given up before all jobs had ended, so `ratio` is a lower bound.
    pub finished: bool,
    /// Answers that came whole and are not in any result.
    pub lost_answers: i64,
    /// Attempts that were opened and given back without a call.
    pub not_sent: u64,
    pub failed_tasks: u64,
    pub calls: u64,
    pub first_call_ms: Option<i64>,
    pub most_running: u32,
    pub claims: u64,
    pub d1_ms_per_task: f64,
    pub batches_per_task: f64,
    pub statements_per_task: f64,
    pub invocations: u64,
    pub most_consumers: u32,
    pub most_queries: u32,
    pub over_limit: u64,
    pub killed: u64,
    pub isolate_peak_mb: f64,
    #[serde(skip)]
    pub counts: Counts,
}

/// A site after the jobs of a cell.
pub struct Played {
    pub site: Rc<Site>,
    pub outcome: Outcome,
}

impl Cell {
    pub fn ideal_ms(&self) -> i64 {
        let rounds = self.items.div_ceil(self.concurrency.max(1) as usize);
        rounds as i64 * self.call_ms as i64
    }

    fn claude(&self) -> standin::Config {
        standin::Config {
            latency_ms: self.call_ms,
            first_byte: self.ttft_ms as f64 / self.call_ms.max(1) as f64,
            jitter: self.call_jitter,
            seed: self.seed,
            ..standin::Config::default()
        }
    }

    /// A world for it.
    pub fn world(&self) -> World {
        World::new(self.seed, self.claude())
    }

    /// Plays it to its end.
    pub fn play(&self) -> Played {
        self.play_in(self.world())
    }

    /// The same in a world that is known already.
    pub fn play_in(&self, world: World) -> Played {
        let mut model = self.model.clone();
        model.database.rtt_ms = self.rtt_ms;
        let vars: Vec<(&str, &str)> = self
            .vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let app = world.app(&vars);
        let cloud = Cloud::new(model, self.seed);
        cloud.state().gauge.concurrency = self.concurrency;
        world.limit_size(cloud.model.database.full_bytes);
        let site = Rc::new(Site::new(world.clone(), app, Arc::clone(&cloud)));
        let begun = world.now();
        let most = self.ideal_ms() * MOST_RATIO + MOST_MS;
        let jobs = self.jobs as i64;
        let seen = std::cell::Cell::new(u64::MAX);
        let finished = site.run(most, self.submit(Rc::clone(&site)), || {
            // The database answers only what has changed.
            let batches = cloud.state().counts.batches;
            if seen.replace(batches) == batches {
                return false;
            }
            let rows = world.query("SELECT COUNT(*) AS n FROM jobs WHERE finished_at IS NOT NULL");
            rows[0]["n"].as_i64() == Some(jobs)
        });
        let outcome = self.outcome(&world, &cloud, begun, finished);
        Played { site, outcome }
    }

    /// All jobs at once, each in a request of its own.
    fn submit(&self, site: Rc<Site>) -> impl Future<Output = ()> + 'static {
        let bodies: Vec<_> = (0..self.jobs).map(|number| self.job(number)).collect();
        async move {
            let requests = bodies.into_iter().map(|body| {
                let (actor, app) = site.invoke("request");
                live(actor, async move {
                    submit(&app, TENANT, body).await.unwrap();
                })
            });
            futures::future::join_all(requests).await;
        }
    }

    fn job(&self, number: usize) -> fanwise::app::submit::Submit {
        let texts: Vec<String> = (0..self.items)
            .map(|item| {
                let mut text = format!("Ticket {item} of customer {number}: the app crashes. ");
                while text.len() < self.item_bytes {
                    text.push_str("It did so before, too. ");
                }
                text
            })
            .collect();
        let mut stages = crate::flows::stages(1);
        stages.as_array_mut().unwrap().truncate(1);
        let limits = json!({"concurrency": self.concurrency});
        job(&texts, json!({"stages": stages, "limits": limits}))
    }

    fn outcome(&self, world: &World, cloud: &Cloud, begun: i64, finished: bool) -> Outcome {
        let number = |sql: &str| {
            let rows = world.query(&format!("SELECT ({sql}) AS n"));
            rows[0]["n"].as_u64().unwrap_or(0)
        };
        let ended = number("SELECT MAX(finished_at) FROM jobs") as i64;
        let ended = if finished { ended } else { world.now() };
        let stats = world.claude().stats().json(0, false);
        let count = |path: &str| stats.pointer(path).and_then(serde_json::Value::as_u64);
        let good = count("/answers/good").unwrap_or(0) as i64;
        let kept =
            number("SELECT COUNT(*) FROM attempts WHERE state = 'done' AND error_class IS NULL")
                as i64;
        let tasks = (self.items * self.jobs) as f64;
        let state = cloud.state();
        let claims: Claims = state.claims;
        let counts = state.counts.clone();
        let gauge = &state.gauge;
        let (longest_gap_ms, most_running) = (gauge.longest_ms, gauge.most_running);
        let first_call_ms = gauge.first_call.map(|at| at - begun);
        drop(state);
        Outcome {
            call_ms: self.call_ms,
            ttft_ms: self.ttft_ms,
            rtt_ms: self.rtt_ms,
            concurrency: self.concurrency,
            items: self.items,
            jobs: self.jobs,
            ratio: (ended - begun) as f64 / self.ideal_ms().max(1) as f64,
            unknown: number("SELECT COUNT(*) FROM attempts WHERE state = 'unknown'"),
            crashes: number("SELECT SUM(crashes) FROM tasks"),
            paid_twice: count("/paid_twice/answers").unwrap_or(0),
            wasted_claims: claims.wasted(),
            longest_gap_ms,
            finished,
            lost_answers: good - kept,
            not_sent: number("SELECT COUNT(*) FROM attempts WHERE error_class = 'not_sent'"),
            failed_tasks: number("SELECT COUNT(*) FROM tasks WHERE state <> 'succeeded'"),
            calls: count("/calls/total").unwrap_or(0),
            first_call_ms,
            most_running,
            claims: claims.all,
            d1_ms_per_task: counts.busy_us as f64 / 1_000.0 / tasks,
            batches_per_task: counts.batches as f64 / tasks,
            statements_per_task: counts.statements as f64 / tasks,
            invocations: counts.invocations,
            most_consumers: counts.most_consumers,
            most_queries: counts.most_queries,
            over_limit: counts.over_limit,
            killed: counts.killed,
            isolate_peak_mb: cloud.peak_bytes() as f64 / 1e6,
            counts,
        }
    }
}
