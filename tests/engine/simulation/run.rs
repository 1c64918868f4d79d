//! A story is played: consumers of both queues side by side, callers, cron, and what strikes them.

use std::future::Future;
use std::sync::{Arc, Mutex};

use fanwise::app::dispatch::Settle;
use fanwise::app::job::{commands, sweep};
use fanwise::app::planning::commands as planning_commands;
use fanwise::app::{App, AppError, dispatch, submit};
use fanwise::core::plan::spec::{InputKind, Limits, Stage};
use fanwise::ports::{Clock, QueueName};
use futures::executor::{LocalPool, LocalSpawner};
use futures::task::LocalSpawnExt;
use serde_json::{Map, Value};
use standin::faults::Shares;

use super::story::{Event, Story};
use super::{check, watch};
use crate::chaos::{Actor, Dice, Rates, live};
use crate::world::{Message, START, World, job};

const SWEEP_MS: i64 = 60_000;
/// After this long in a world without faults every job must be over.
const PATIENCE_MS: i64 = 12 * 3_600_000;
/// The same as a platform's `max_retries`.
const MOST_TRIES: u32 = 10;

/// What came of a story.
pub struct Outcome {
    pub violations: Vec<String>,
    pub transcript: Vec<String>,
    pub calls: usize,
    pub strikes: u64,
    pub items: usize,
    pub states: Vec<String>,
    /// How often each of [`watch::REACHED`] was.
    pub reached: Vec<u64>,
    /// Pages of the open web that were asked for.
    pub pages: usize,
    /// Of calls, fates, money and what the dice drew.
    pub fingerprint: u64,
}

#[derive(Default)]
struct Busy {
    control: usize,
    tasks: usize,
    others: usize,
    actors: Vec<Arc<Actor>>,
    ids: Vec<Option<String>>,
    named: u64,
}

/// A story under way.
pub struct Run {
    pub story: Story,
    pub world: World,
    pub app: App<World>,
    spawner: LocalSpawner,
    busy: Arc<Mutex<Busy>>,
    dice: Dice,
    healed: bool,
}

pub fn play(story: Story, record: bool) -> Outcome {
    let mut pool = LocalPool::new();
    let world = World::watched(story.seed, story.claude.clone(), watch::schema);
    let vars: Vec<(&str, &str)> = story
        .vars
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let app = world.app(&vars);
    world.execute(&watch::settings(&app.config));
    for (url, answers) in &story.sites {
        world.sites().set_all(url, answers.clone());
    }
    {
        let mut chaos = world.chaos();
        chaos.rates = story.rates.clone();
        chaos.transcript = record.then(Vec::new);
        chaos.inspect = Some(check::request);
        chaos.watching = true;
    }
    let busy = Busy {
        ids: vec![None; story.jobs.len()],
        ..Busy::default()
    };
    let mut run = Run {
        dice: Dice::new(story.seed, "run"),
        story,
        world,
        app,
        spawner: pool.spawner(),
        busy: Arc::new(Mutex::new(busy)),
        healed: false,
    };
    let ended = run.turn(&mut pool);
    let mut violations = std::mem::take(&mut run.world.chaos().violations);
    if let Err(problem) = ended {
        violations.push(problem);
    }
    if violations.is_empty() {
        // By then the last blob can be read everywhere.
        run.world.advance_to(run.world.now() + 60_000);
        violations = check::end(&run);
        violations.append(&mut run.world.chaos().violations);
    }
    let count = |sql: &str| run.world.query(sql)[0]["n"].as_u64().unwrap();
    let reached = watch::REACHED.iter().map(|(_, sql)| count(sql)).collect();
    let fates = run.world.query(FATES);
    let mut chaos = run.world.chaos();
    let states = run
        .world
        .query("SELECT state FROM jobs ORDER BY id")
        .iter()
        .map(|row| row["state"].as_str().unwrap().to_owned())
        .collect();
    Outcome {
        violations,
        reached,
        pages: run.world.sites().asked.len(),
        transcript: chaos.transcript.take().unwrap_or_default(),
        calls: chaos.calls.len(),
        strikes: chaos.strikes,
        items: run.story.jobs.iter().map(|plan| plan.texts.len()).sum(),
        states,
        fingerprint: fingerprint(&fates, chaos.dice.next()),
    }
}

/// FNV-1a over what became of every task, call and dollar of a story.
fn fingerprint(fates: &[Map<String, Value>], drawn: u64) -> u64 {
    let text = format!("{fates:?} {drawn}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// In an order that no id decides, for ids depend on how often dice were thrown for other things.
const FATES: &str = "SELECT j.state, j.spent_nano, j.unknown_nano, j.saved_nano, j.calls,
  (SELECT group_concat(n) FROM (SELECT t.state || ':' || t.attempts || ':' || t.ids AS n FROM tasks t WHERE t.job = j.id ORDER BY t.idx)) AS tasks
  FROM jobs j ORDER BY j.created_at, j.rowid";

impl Run {
    /// The jobs' ids, in the order of the story.
    pub fn ids(&self) -> Vec<Option<String>> {
        self.busy.lock().unwrap().ids.clone()
    }

    fn turn(&mut self, pool: &mut LocalPool) -> Result<(), String> {
        self.submit_all();
        let mut events = std::mem::take(&mut self.story.events)
            .into_iter()
            .peekable();
        let mut next_sweep = START + SWEEP_MS;
        for _ in 0..400_000 {
            pool.run_until_stalled();
            if !self.world.chaos().violations.is_empty() {
                return Ok(());
            }
            let now = self.world.now() - START;
            if let Some((_, event)) = events.next_if(|(at, _)| *at <= now) {
                self.happen(event);
                continue;
            }
            if now >= self.story.heals_at && !self.healed {
                self.heal();
                continue;
            }
            if self.consume() {
                continue;
            }
            let idle = self.idle();
            if self.healed && idle && self.all_over() {
                return Ok(());
            }
            if now > self.story.heals_at + PATIENCE_MS + 40 * 86_400_000 {
                return Err("P1: a job does not end".into());
            }
            if self.healed && idle {
                self.help();
            }
            let event = events.peek().map(|(at, _)| START + at);
            let heal = (!self.healed).then_some(START + self.story.heals_at);
            let next = [
                self.world.next_timer(),
                self.world.next_message(),
                event,
                heal,
            ]
            .into_iter()
            .flatten()
            .chain([next_sweep])
            .min()
            .unwrap_or(next_sweep);
            self.world.advance_to(next);
            if self.world.now() >= next_sweep {
                next_sweep = self.world.now() + SWEEP_MS;
                self.act("sweep", true, async |app| {
                    let _ = sweep::sweep(&app).await;
                });
            }
        }
        Err("P1: the world turns and turns and comes to no end".into())
    }

    fn idle(&self) -> bool {
        let busy = self.busy.lock().unwrap();
        busy.control + busy.tasks + busy.others == 0
    }

    fn all_over(&self) -> bool {
        if self.ids().iter().any(Option::is_none) {
            return false;
        }
        let open = self.world.query(
            "SELECT (SELECT COUNT(*) FROM jobs WHERE finished_at IS NULL)
               + (SELECT COUNT(*) FROM attempts WHERE state = 'open')
               + (SELECT COUNT(*) FROM batches WHERE state <> 'ended') AS n",
        );
        open[0]["n"] == 0
    }

    /// One who acts in the world, until it is done or dies; `tell` hears how it ended.
    fn spawn<T: 'static>(
        &self,
        actor: Arc<Actor>,
        work: impl Future<Output = T> + 'static,
        tell: impl FnOnce(Option<T>) + 'static,
    ) {
        self.busy.lock().unwrap().actors.push(Arc::clone(&actor));
        let busy = Arc::clone(&self.busy);
        let future = async move {
            let ended = live(Arc::clone(&actor), work).await;
            busy.lock()
                .unwrap()
                .actors
                .retain(|other| !Arc::ptr_eq(other, &actor));
            tell(ended);
        };
        self.spawner.spawn_local(future).unwrap();
    }

    fn actor(&self, kind: &str, mortal: bool) -> (Arc<Actor>, App<World>) {
        let mut busy = self.busy.lock().unwrap();
        busy.named += 1;
        let actor = Arc::new(Actor::new(format!("{kind}-{}", busy.named), mortal));
        let app = App {
            ports: self.world.actor(&actor),
            config: Arc::clone(&self.app.config),
            models: Arc::clone(&self.app.models),
            signing: self.app.signing.clone(),
            otlp_headers: self.app.otlp_headers.clone(),
        };
        (actor, app)
    }

    /// A caller or cron at work.
    fn act<F: Future<Output = ()> + 'static>(
        &self,
        kind: &str,
        mortal: bool,
        work: impl FnOnce(App<World>) -> F,
    ) {
        let (actor, app) = self.actor(kind, mortal);
        self.busy.lock().unwrap().others += 1;
        let busy = Arc::clone(&self.busy);
        self.spawn(actor, work(app), move |_| busy.lock().unwrap().others -= 1);
    }

    fn submit_all(&self) {
        for (position, plan) in self.story.jobs.iter().enumerate() {
            let mut body = job(&plan.texts, plan.body.clone());
            body.input = plan.input;
            if plan.input == InputKind::Urls {
                for item in &mut body.items {
                    let address = item.fields.remove("text").unwrap_or_default();
                    item.fields.insert("url".to_owned(), address);
                }
            }
            body.idempotency = Some((plan.key.clone(), format!("hash of {}", plan.key)));
            let (tenant, at) = (plan.tenant, plan.at as u64);
            let busy = Arc::clone(&self.busy);
            self.act("caller", false, async move |app| {
                app.ports.sleep(at).await;
                loop {
                    match submit::submit(&app, tenant, body.clone()).await {
                        Ok(submitted) => {
                            app.ports
                                .tell(|| format!("job {position} is {}", submitted.job.id));
                            busy.lock().unwrap().ids[position] = Some(submitted.job.id);
                            return;
                        }
                        Err(AppError::Unavailable(_)) => app.ports.sleep(1_000).await,
                        Err(error) => {
                            let line = format!("a submit was refused: {error:?}");
                            app.ports.chaos().violations.push(line);
                            return;
                        }
                    }
                }
            });
        }
    }

    fn happen(&mut self, event: Event) {
        self.world.tell(|| format!("*** {event:?}"));
        match event {
            Event::Restart => {
                let actors = self.busy.lock().unwrap().actors.clone();
                for actor in actors.iter().filter(|actor| actor.mortal) {
                    actor.kill();
                }
                self.world.forget_messages();
            }
            Event::Jump(by) => self.world.advance_to(self.world.now() + by),
            Event::Weather(shares) => self.weather(shares),
            Event::Cancel(job) => self.command(job, Command::Cancel),
            Event::Pause(job) => self.command(job, Command::Pause),
            Event::Resume(job) => self.command(job, Command::Resume),
            Event::Patch(job, limits) => self.command(job, Command::Patch(limits)),
            Event::Retry(job, limits) => self.command(job, Command::Retry(limits)),
        }
    }

    fn weather(&self, faults: Shares) {
        let mut claude = self.world.claude();
        let config = standin::Config {
            faults,
            ..claude.config().clone()
        };
        claude.configure(config);
    }

    fn command(&self, position: usize, command: Command) {
        let Some(id) = self.ids()[position].clone() else {
            return;
        };
        let tenant = self.story.jobs[position].tenant;
        self.act("caller", false, async move |app| {
            for _ in 0..3 {
                let limits = |limits: &Limits| commands::Patch {
                    limits: Some(limits.clone()),
                    metadata: None,
                };
                let done = match &command {
                    Command::Cancel => commands::cancel(&app, tenant, &id).await.map(drop),
                    Command::Pause => commands::pause(&app, tenant, &id).await.map(drop),
                    Command::Resume => commands::resume(&app, tenant, &id).await.map(drop),
                    Command::Approve => planning_commands::approve(&app, tenant, &id)
                        .await
                        .map(drop),
                    Command::Replace(stages) => {
                        let replaced = planning_commands::replace(&app, tenant, &id, stages).await;
                        if let Err(AppError::Invalid(faults)) = &replaced {
                            let line = format!("a replaced plan was refused: {faults:?}");
                            app.ports.chaos().violations.push(line);
                        }
                        replaced.map(drop)
                    }
                    Command::Patch(new) => commands::patch(&app, tenant, &id, limits(new))
                        .await
                        .map(drop),
                    Command::Retry(new) => commands::retry(&app, tenant, &id, new).await.map(drop),
                };
                match done {
                    Err(AppError::Unavailable(_)) => app.ports.sleep(500).await,
                    _ => return,
                }
            }
        });
    }

    /// Nothing goes wrong from here on.
    fn heal(&mut self) {
        self.healed = true;
        self.world.tell(|| "*** the world heals".into());
        self.world.chaos().rates = Rates {
            latency: self.story.rates.latency,
            ..Rates::default()
        };
        self.weather(Shares::default());
    }

    /// Callers go on with what they had halted, or what the budget has.
    fn help(&mut self) {
        let paused = self.world.query(
            "SELECT id, halt->>'$.reason' AS reason, halt->>'$.resumes_at_ms' AS day FROM jobs WHERE halt IS NOT NULL",
        );
        let quota = paused.iter().any(|row| row["reason"] == "quota");
        let ids = self.ids();
        for row in &paused {
            let Some(position) = ids
                .iter()
                .position(|id| id.as_deref() == row["id"].as_str())
            else {
                continue;
            };
            match row["reason"].as_str() {
                Some("user") => self.command(position, Command::Resume),
                Some("approval") => {
                    if let Some(stages) = self.story.jobs[position].replacement.take() {
                        let stages = serde_json::from_value(stages).unwrap();
                        self.command(position, Command::Replace(stages));
                    } else {
                        self.command(position, Command::Approve);
                    }
                }
                Some("budget") if self.dice.chance(0.5) => {
                    let limits = Limits {
                        max_cost_usd: Some(50.0),
                        ..Limits::default()
                    };
                    self.command(position, Command::Patch(limits));
                    self.command(position, Command::Resume);
                }
                Some("budget") => self.command(position, Command::Cancel),
                // The models give no valid answer: a caller tries once more, or gives up.
                Some("answers") if self.dice.chance(0.3) => {
                    self.command(position, Command::Resume);
                }
                Some("answers") => self.command(position, Command::Cancel),
                Some("quota") if self.dice.chance(0.02) => {
                    self.command(position, Command::Resume);
                }
                _ => {}
            }
        }
        // Nothing else happens until the next day either.
        let day = paused.iter().find_map(|row| row["day"].as_i64());
        if let Some(day) = day.filter(|_| self.dice.chance(0.1)) {
            self.world.advance_to(day.max(self.world.now()));
        }
        // A spend limit may last to the end of the month: nothing happens till then but empty sweeps.
        if quota && self.dice.chance(0.02) {
            let until = self.world.query("SELECT until FROM breaker")[0]["until"]
                .as_i64()
                .unwrap();
            self.world.advance_to(until.max(self.world.now()));
        }
    }

    /// Starts a consumer where a message is due and its queue has one to spare.
    fn consume(&mut self) -> bool {
        let (control, tasks) = {
            let busy = self.busy.lock().unwrap();
            (busy.control, busy.tasks)
        };
        let open = |queue| match queue {
            QueueName::Control => control < self.story.control_consumers,
            QueueName::Tasks => tasks < self.story.tasks_consumers,
            // As many as there are messages: each waits for others, not for us.
            QueueName::Outbound => true,
        };
        let dice = &mut self.dice;
        let pick = |due: usize| dice.range(0, due as u64 - 1) as usize;
        let Some(first) = self.world.take_due(open, pick) else {
            return false;
        };
        let mut batch = vec![first];
        let queue = batch[0].queue;
        while queue == QueueName::Tasks && batch.len() < self.story.batch {
            match self.world.take_due(|other| other == queue, |_| 0) {
                Some(more) => batch.push(more),
                None => break,
            }
        }
        let kind = match queue {
            QueueName::Control => "control",
            QueueName::Tasks => "tasks",
            QueueName::Outbound => "outbound",
        };
        let (actor, app) = self.actor(kind, true);
        let busy = Arc::clone(&self.busy);
        {
            let mut busy = busy.lock().unwrap();
            match queue {
                QueueName::Control => busy.control += 1,
                QueueName::Tasks => busy.tasks += 1,
                QueueName::Outbound => {}
            }
        }
        let bodies: Vec<String> = batch.iter().map(|message| message.body.clone()).collect();
        let dead = batch.iter().any(|message| message.tries > MOST_TRIES);
        app.ports.tell(|| format!("takes {}", bodies.join(" ")));
        let work = async move {
            if dead {
                return dispatch::dead_letter(&app, "dlq", &bodies.concat()).await;
            }
            match queue {
                QueueName::Control => dispatch::control(&app, &bodies.concat()).await,
                QueueName::Tasks => dispatch::tasks(&app, bodies).await,
                QueueName::Outbound => {
                    dispatch::outbound(&app, &bodies.concat(), fanwise::api::read_job).await
                }
            }
        };
        let world = self.world.clone();
        let redelivered = self.dice.chance(0.7);
        self.spawn(actor, work, move |ended| {
            {
                let mut busy = busy.lock().unwrap();
                match queue {
                    QueueName::Control => busy.control -= 1,
                    QueueName::Tasks => busy.tasks -= 1,
                    QueueName::Outbound => {}
                }
            }
            let delay = match ended {
                Some(Settle::Ack) => return,
                Some(Settle::Retry { delay_seconds }) => i64::from(delay_seconds) * 1_000,
                None if redelivered => 30_000,
                None => return,
            };
            for message in batch {
                let tries = message.tries + 1;
                world.enqueue(Message { tries, ..message }, delay);
            }
        });
        true
    }
}

enum Command {
    Cancel,
    Pause,
    Resume,
    Approve,
    Replace(Vec<Stage>),
    Patch(Limits),
    Retry(Limits),
}
