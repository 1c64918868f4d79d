//! The platform's loop: messages become invocations, cron fires, invocations are killed, and time passes.
//!
//! Consumers of a queue: with `ramp`, one at first, and one more whenever a batch ends while other messages wait, up to
//! the model's most. A batch that goes on for minutes therefore keeps the number where it is. A queue that was empty for
//! [`IDLE_MS`] begins anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use fanwise::api::read_job;
use fanwise::app::dispatch::Settle;
use fanwise::app::job::sweep;
use fanwise::app::{App, dispatch};
use fanwise::ports::QueueName;
use futures::executor::{LocalPool, LocalSpawner};
use futures::future::join_all;
use futures::task::LocalSpawnExt;

use super::cloud::Cloud;
use super::invocation::Invocation;
use crate::chaos::{Actor, live};
use crate::world::{Message, START, World};

const CRON_MS: i64 = 60_000;
/// An empty queue keeps its number of consumers this long.
const IDLE_MS: i64 = 30_000;
/// `max_retries` of each queue.
const MOST_TRIES: u32 = 10;
const QUEUES: [QueueName; 3] = [QueueName::Control, QueueName::Tasks, QueueName::Outbound];

/// A deployment at work.
pub struct Site {
    pub world: World,
    pub app: App<World>,
    pub cloud: Arc<Cloud>,
    queues: Arc<Mutex<[Consumers; 3]>>,
    /// When an invocation ends whatever it does.
    kills: Mutex<BTreeMap<(i64, usize), Weak<Actor>>>,
}

/// The consumers of one queue.
#[derive(Debug, Clone, Copy)]
struct Consumers {
    running: u32,
    allowed: u32,
    /// Since when nothing waits.
    empty_since: i64,
}

impl Site {
    pub fn new(world: World, app: App<World>, cloud: Arc<Cloud>) -> Site {
        let queues = &cloud.model.queues;
        let consumers = Consumers {
            running: 0,
            allowed: if queues.ramp { 1 } else { queues.consumers },
            empty_since: world.now(),
        };
        Site {
            world,
            app,
            cloud,
            queues: Arc::new(Mutex::new([consumers; 3])),
            kills: Mutex::default(),
        }
    }

    /// The engine in an invocation of its own, and who acts there.
    pub fn invoke(&self, name: &str) -> (Arc<Actor>, App<World>) {
        let actor = Invocation::actor(&self.cloud, name);
        let mut app = self.app.clone();
        app.ports = self.world.actor(&actor);
        let mut kills = self.kills.lock().unwrap();
        let at = self.world.now() + self.cloud.model.limits.wall_ms;
        let number = kills.len() + self.cloud.state().counts.invocations as usize;
        kills.insert((at, number), Arc::downgrade(&actor));
        (actor, app)
    }

    /// Runs until `done` says so; false where that took longer than `most_ms`. `beside` runs from the beginning.
    pub fn run(
        &self,
        most_ms: i64,
        beside: impl Future<Output = ()> + 'static,
        done: impl Fn() -> bool,
    ) -> bool {
        let mut pool = LocalPool::new();
        let spawner = pool.spawner();
        spawner.spawn_local(beside).unwrap();
        let end = self.world.now() + most_ms;
        let mut next_cron = self.world.now() + CRON_MS;
        let mut deploys = self.cloud.model.deploys_ms.clone();
        deploys.sort_unstable();
        deploys.reverse();
        loop {
            pool.run_until_stalled();
            if done() {
                return true;
            }
            let now = self.world.now();
            if now >= end {
                return false;
            }
            if deploys.last().is_some_and(|at| START + at <= now) {
                deploys.pop();
                self.deploy(now);
            }
            if self.kill(now) || self.consume(&spawner) {
                continue;
            }
            let kill = self.kills.lock().unwrap().keys().next().map(|(at, _)| *at);
            let deploy = deploys.last().map(|at| START + at);
            let next = [
                self.world.next_timer(),
                self.world.next_message(),
                kill,
                deploy,
            ];
            let next = next.into_iter().flatten().chain([next_cron, end]).min();
            self.world.advance_to(next.unwrap_or(end));
            if self.world.now() >= next_cron {
                next_cron = self.world.now() + CRON_MS;
                let (actor, app) = self.invoke("cron");
                let work = async move {
                    let _ = sweep::sweep(&app).await;
                };
                let work = async move {
                    live(actor, work).await;
                };
                spawner.spawn_local(work).unwrap();
            }
        }
    }

    /// Every invocation that runs now has [`notice_ms`](super::model::Limits::notice_ms) left.
    fn deploy(&self, now: i64) {
        let until = now + self.cloud.model.limits.notice_ms;
        let mut kills = self.kills.lock().unwrap();
        let sooner: Vec<_> = std::mem::take(&mut *kills)
            .into_iter()
            .map(|((at, number), actor)| ((at.min(until), number), actor))
            .collect();
        kills.extend(sooner);
    }

    fn kill(&self, now: i64) -> bool {
        let due: Vec<_> = {
            let mut kills = self.kills.lock().unwrap();
            let later = kills.split_off(&(now + 1, 0));
            std::mem::replace(&mut *kills, later)
                .into_values()
                .collect()
        };
        let living: Vec<_> = due.iter().filter_map(Weak::upgrade).collect();
        living.iter().for_each(|actor| actor.kill());
        self.cloud.state().counts.killed += living.len() as u64;
        !living.is_empty()
    }

    /// Starts a consumer where a message has come and its queue has one to spare.
    fn consume(&self, spawner: &LocalSpawner) -> bool {
        let model = &self.cloud.model.queues;
        let spare = *self.queues.lock().unwrap();
        let spare = |queue: QueueName| {
            let consumers = spare[at(queue)];
            consumers.running < consumers.allowed
        };
        let Some(first) = self.world.take_due(spare, |_| 0) else {
            return false;
        };
        let queue = first.queue;
        let most = match queue {
            QueueName::Control => model.control_batch,
            QueueName::Tasks => model.tasks_batch,
            QueueName::Outbound => model.outbound_batch,
        };
        let mut batch = vec![first];
        while batch.len() < most {
            match self.world.take_due(|other| other == queue, |_| 0) {
                Some(more) => batch.push(more),
                None => break,
            }
        }
        let (actor, app) = self.invoke(&format!("{queue:?}").to_lowercase());
        {
            let mut queues = self.queues.lock().unwrap();
            let consumers = &mut queues[at(queue)];
            consumers.running += 1;
            let mut state = self.cloud.state();
            let counts = &mut state.counts;
            counts.most_consumers = counts.most_consumers.max(consumers.running);
            counts.delivered += batch.len() as u64;
        }
        let (world, cloud) = (self.world.clone(), Arc::clone(&self.cloud));
        let queues = Arc::clone(&self.queues);
        let work = async move {
            let known = batch.clone();
            let verdicts = live(actor, async move { settle(&app, queue, &known).await }).await;
            let again = |message: Message, delay: u32| {
                let late = cloud.range(cloud.model.queues.delivery_ms) as i64;
                let tries = message.tries + 1;
                let delay = i64::from(delay) * 1_000 + late;
                world.enqueue(Message { tries, ..message }, delay);
            };
            for (position, message) in batch.into_iter().enumerate() {
                match &verdicts {
                    // Killed: every message of the batch comes again.
                    None => again(message, 0),
                    Some(verdicts) => {
                        if let Settle::Retry { delay_seconds } = verdicts[position] {
                            again(message, delay_seconds);
                        }
                    }
                }
            }
            let waits = world.waiting(queue, cloud.model.queues.delivery_ms.1 as i64);
            let now = world.now();
            let model = &cloud.model.queues;
            let consumers = &mut queues.lock().unwrap()[at(queue)];
            consumers.running -= 1;
            if !model.ramp {
                return;
            }
            if waits {
                consumers.empty_since = now;
                consumers.allowed = (consumers.allowed + 1).min(model.consumers);
            } else if now - consumers.empty_since > IDLE_MS {
                consumers.allowed = 1;
            }
        };
        spawner.spawn_local(work).unwrap();
        true
    }
}

fn at(queue: QueueName) -> usize {
    QUEUES.iter().position(|one| *one == queue).unwrap()
}

/// What the Worker does with a batch: the messages of the control and of the outbound queue run side by side in one
/// invocation, those of the tasks queue have one verdict.
async fn settle(app: &App<World>, queue: QueueName, batch: &[Message]) -> Vec<Settle> {
    let one = async |message: &Message| {
        if message.tries > MOST_TRIES {
            return dispatch::dead_letter(app, "dlq", &message.body).await;
        }
        match queue {
            QueueName::Control => dispatch::control(app, &message.body).await,
            QueueName::Tasks => dispatch::tasks(app, vec![message.body.clone()]).await,
            QueueName::Outbound => dispatch::outbound(app, &message.body, read_job).await,
        }
    };
    let dead = batch.iter().any(|message| message.tries > MOST_TRIES);
    if queue == QueueName::Tasks && !dead {
        let bodies = batch.iter().map(|message| message.body.clone()).collect();
        let verdict = dispatch::tasks(app, bodies).await;
        return vec![verdict; batch.len()];
    }
    join_all(batch.iter().map(one)).await
}
