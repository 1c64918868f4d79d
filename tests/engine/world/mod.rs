//! A whole world for the engine, native and on a virtual clock: SQLite with the migrations and the very SQL that D1
//! runs, blobs, queues, the stand-in's engine for Claude, and one deterministic thread.
//!
//! Time stands still until nothing can go on; then it jumps to whatever comes next: a timer, or a message that is due.

mod claude;
mod db;
mod edges;
mod platform;
mod stores;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use fanwise::api::read_job;
use fanwise::app::dispatch::Settle;
use fanwise::app::job::sweep;
use fanwise::app::submit::{Submit, Submitted, submit};
use fanwise::app::{App, dispatch};
use fanwise::claude::models::Catalogue;
use fanwise::claude::request::opening_headers;
use fanwise::config::Config;
use fanwise::core::net::webhook::SigningKey;
use fanwise::core::plan::spec::Item;
use fanwise::ports::QueueName;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use standin::engine::Engine;

pub use self::platform::{Access, Held, Platform};
use crate::chaos::{Actor, Chaos, Rates, Strike, live};
use crate::sites::Sites;

/// 2026-11-22T12:00:00Z
pub const START: i64 = 1_795_348_800_000;
pub const TENANT: &str = "default";
/// What a round trip to the database takes each way.
const DB_MS: u64 = 2;
/// Must never be seen anywhere but in the header that carries it.
pub const KEY: &str = "sk-ant-SECRET-OF-THE-WORLD";

/// What webhooks are signed with.
pub const COLLECTOR_KEY: &str = "Bearer the SECRET key of the collector";
pub const SIGNING_KEY: &str = "the SECRET signing key of the world";

/// Everything outside the engine.
#[derive(Clone)]
pub struct World(Arc<Inner>, Option<Arc<Actor>>);

struct Inner {
    conn: Arc<Mutex<Connection>>,
    blobs: Mutex<BTreeMap<String, Blob>>,
    /// What is stored is let go of.
    forgetful: AtomicBool,
    messages: Mutex<BTreeMap<(i64, u64), Message>>,
    time: Mutex<Time>,
    random: Mutex<u64>,
    claude: Mutex<Engine>,
    sites: Mutex<Sites>,
    log: Mutex<Vec<Value>>,
    chaos: Mutex<Chaos>,
    /// Calls of each job that Claude is at, and the most there were at a time.
    running: Mutex<BTreeMap<String, (u32, u32)>>,
    /// The headers that open Claude's endpoint.
    opening: Mutex<Vec<(String, String)>>,
    /// The consumers at work that [`World::run`] started.
    consumers: Mutex<Vec<Arc<Actor>>>,
}

struct Blob {
    body: String,
    /// The time from which it can be read, and until when it is kept.
    readable: i64,
    until: i64,
}

/// A message on its way, and how often it came already.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub queue: QueueName,
    pub body: String,
    pub tries: u32,
}

#[derive(Default)]
struct Time {
    now: i64,
    sequence: u64,
    timers: BTreeMap<(i64, u64), Waker>,
}

thread_local! {
    static WATCHED: Cell<Option<Arc<Mutex<Connection>>>> = const { Cell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl World {
    pub fn new(seed: u64, claude: standin::Config) -> World {
        World::over(Arc::new(Mutex::new(db::database())), seed, claude)
    }

    /// A world whose database has tables and triggers of the test's own besides. Such a database is made once for each
    /// thread and emptied for each world: most of a short story's time would go into preparing the same statements.
    pub fn watched(seed: u64, claude: standin::Config, schema: fn() -> String) -> World {
        let known = WATCHED
            .take()
            .filter(|conn| Arc::strong_count(conn) == 1 && !conn.is_poisoned());
        let conn = known.unwrap_or_else(|| {
            let conn = db::database();
            conn.execute_batch(&schema()).unwrap();
            Arc::new(Mutex::new(conn))
        });
        db::empty(&mut lock(&conn));
        WATCHED.set(Some(Arc::clone(&conn)));
        World::over(conn, seed, claude)
    }

    fn over(conn: Arc<Mutex<Connection>>, seed: u64, claude: standin::Config) -> World {
        let inner = Inner {
            conn,
            blobs: Mutex::default(),
            forgetful: AtomicBool::new(false),
            messages: Mutex::default(),
            time: Mutex::new(Time {
                now: START,
                ..Time::default()
            }),
            random: Mutex::new(seed.wrapping_mul(2) + 1),
            claude: Mutex::new(Engine::new(claude, seed, START as u64)),
            sites: Mutex::default(),
            log: Mutex::default(),
            chaos: Mutex::new(Chaos::calm(seed)),
            running: Mutex::default(),
            opening: Mutex::default(),
            consumers: Mutex::default(),
        };
        World(Arc::new(inner), None)
    }

    /// An engine in this world; variables, and constants by their names.
    pub fn app(&self, vars: &[(&str, &str)]) -> App<World> {
        // Most planned jobs of these tests have no cap.
        let vars: Vec<_> = vars
            .iter()
            .copied()
            .chain([("PLANS_WITHOUT_CAP", "true")])
            .collect();
        let config = Config::from_pairs(&vars).unwrap();
        let models = Catalogue::load(config.models_json.as_deref()).unwrap();
        *lock(&self.0.opening) = opening_headers(Some(KEY), config.bearer, &[]);
        App {
            ports: self.clone(),
            config: Arc::new(config),
            models: Arc::new(models),
            signing: SigningKey::new(SIGNING_KEY),
            otlp_headers: vec![("authorization".into(), COLLECTOR_KEY.into())],
        }
    }

    pub fn now(&self) -> i64 {
        lock(&self.0.time).now
    }

    pub fn claude(&self) -> MutexGuard<'_, Engine> {
        lock(&self.0.claude)
    }

    /// The servers of the open web.
    pub fn sites(&self) -> MutexGuard<'_, Sites> {
        lock(&self.0.sites)
    }

    pub fn log_lines(&self) -> Vec<Value> {
        lock(&self.0.log).clone()
    }

    /// From now on blobs are stored without what is in them, so that whoever counts memory counts the engine's alone.
    #[allow(dead_code, reason = "for the tests of memory")]
    pub fn forget_blobs(&self) {
        self.0.forgetful.store(true, Ordering::SeqCst);
    }

    /// The keys of all blobs.
    pub fn blob_keys(&self) -> Vec<String> {
        lock(&self.0.blobs).keys().cloned().collect()
    }

    fn next_random(&self) -> u64 {
        // SplitMix64: enough for ids and dice, the same on every machine.
        let mut state = lock(&self.0.random);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Runs the engine until `done` says so: messages are consumed, cron fires every `sweep_ms`.
    pub fn run(&self, app: &App<World>, sweep_ms: i64, most_ms: i64, done: impl Fn() -> bool) {
        self.run_beside(app, sweep_ms, most_ms, done, std::future::ready(()));
    }

    /// The same, with a future beside the engine that shares its clock.
    pub fn run_beside(
        &self,
        app: &App<World>,
        sweep_ms: i64,
        most_ms: i64,
        done: impl Fn() -> bool,
        beside: impl Future<Output = ()> + 'static,
    ) {
        let mut pool = LocalPool::new();
        let spawner = pool.spawner();
        spawner.spawn_local(beside).unwrap();
        let busy: Arc<Mutex<BTreeMap<&'static str, u32>>> = Arc::default();
        let end = self.now() + most_ms;
        let mut next_sweep = self.now() + sweep_ms;
        loop {
            pool.run_until_stalled();
            if done() {
                return;
            }
            assert!(self.now() < end, "not done in {most_ms} ms of virtual time");
            // Like the local queue: one batch at a time for each queue.
            let due = {
                let mut messages = lock(&self.0.messages);
                let now = self.now();
                let busy = lock(&busy);
                let key = messages
                    .iter()
                    .find(|((at, _), message)| {
                        *at <= now && busy.get(name(message.queue)).copied().unwrap_or(0) == 0
                    })
                    .map(|(key, _)| *key);
                key.and_then(|key| messages.remove(&key))
            };
            if let Some(Message { queue, body, .. }) = due {
                *lock(&busy).entry(name(queue)).or_default() += 1;
                let (world, busy) = (self.clone(), Arc::clone(&busy));
                let actor = Arc::new(Actor::new(name(queue).to_owned(), true));
                lock(&self.0.consumers).push(Arc::clone(&actor));
                let mut app = app.clone();
                app.ports = self.actor(&actor);
                spawner
                    .spawn_local(async move {
                        let work = async {
                            match queue {
                                QueueName::Control => dispatch::control(&app, &body).await,
                                QueueName::Tasks => dispatch::tasks(&app, vec![body.clone()]).await,
                                QueueName::Outbound => {
                                    dispatch::outbound(&app, &body, read_job).await
                                }
                            }
                        };
                        let verdict = live(Arc::clone(&actor), work).await;
                        lock(&world.0.consumers).retain(|other| !Arc::ptr_eq(other, &actor));
                        if let Some(Settle::Retry { delay_seconds }) = verdict {
                            let delay = i64::from(delay_seconds) * 1_000;
                            world.enqueue(
                                Message {
                                    queue,
                                    body,
                                    tries: 1,
                                },
                                delay,
                            );
                        }
                        *lock(&busy).entry(name(queue)).or_default() -= 1;
                    })
                    .unwrap();
                continue;
            }
            let timer = lock(&self.0.time).timers.keys().next().map(|(at, _)| *at);
            let message = lock(&self.0.messages)
                .keys()
                .next()
                .map(|(at, _)| *at)
                .filter(|at| *at > self.now());
            let next = [timer, message, Some(next_sweep)]
                .into_iter()
                .flatten()
                .min();
            self.advance_to(next.unwrap());
            if self.now() >= next_sweep {
                next_sweep = self.now() + sweep_ms;
                let app = app.clone();
                spawner
                    .spawn_local(async move { sweep::sweep(&app).await.unwrap() })
                    .unwrap();
            }
        }
    }

    /// Every consumer dies where it stands; the messages that they were at do not come back.
    pub fn kill_consumers(&self) {
        for actor in std::mem::take(&mut *lock(&self.0.consumers)) {
            actor.kill();
        }
    }

    /// A message falls due after `delay_ms`.
    pub fn enqueue(&self, message: Message, delay_ms: i64) {
        let mut time = lock(&self.0.time);
        time.sequence += 1;
        let key = (time.now + delay_ms, time.sequence);
        lock(&self.0.messages).insert(key, message);
    }

    /// Takes one of the messages that are due and of a queue that `open` lets in; which one, `pick` decides.
    pub fn take_due(
        &self,
        open: impl Fn(QueueName) -> bool,
        pick: impl FnOnce(usize) -> usize,
    ) -> Option<Message> {
        let now = self.now();
        let mut messages = lock(&self.0.messages);
        let due: Vec<_> = messages
            .range(..=(now, u64::MAX))
            .filter(|(_, message)| open(message.queue))
            .map(|(key, _)| *key)
            .collect();
        let key = *due.get(pick(due.len().max(1)))?;
        messages.remove(&key)
    }

    /// Whether a message of that queue is due within `ms`.
    #[allow(dead_code, reason = "for the tests under a model of production")]
    pub fn waiting(&self, queue: QueueName, ms: i64) -> bool {
        let until = self.now() + ms;
        let messages = lock(&self.0.messages);
        let mut due = messages.range(..=(until, u64::MAX));
        due.any(|(_, message)| message.queue == queue)
    }

    /// All messages, as a local queue forgets them when it is killed.
    pub fn forget_messages(&self) -> usize {
        std::mem::take(&mut *lock(&self.0.messages)).len()
    }

    /// When the next message or timer after now is due.
    pub fn next_message(&self) -> Option<i64> {
        let now = self.now();
        let messages = lock(&self.0.messages);
        messages
            .range((now + 1, 0)..)
            .next()
            .map(|((at, _), _)| *at)
    }

    pub fn next_timer(&self) -> Option<i64> {
        lock(&self.0.time).timers.keys().next().map(|(at, _)| *at)
    }

    /// The same world for one who acts in it under a name, and who may die of it.
    pub fn actor(&self, actor: &Arc<Actor>) -> World {
        World(Arc::clone(&self.0), Some(Arc::clone(actor)))
    }

    pub fn chaos(&self) -> MutexGuard<'_, Chaos> {
        lock(&self.0.chaos)
    }

    /// A line of the transcript.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        let mut chaos = lock(&self.0.chaos);
        if let Some(transcript) = &mut chaos.transcript {
            let who = self.1.as_ref().map_or("world", |actor| &actor.name);
            let ms = now - START;
            transcript.push(format!(
                "{:>9}.{:03} {who:<12} {}",
                ms / 1_000,
                ms % 1_000,
                line()
            ));
        }
    }

    /// What strikes an effect that is about to happen.
    fn strike(&self, rate: impl Fn(&Rates) -> f64, what: impl FnOnce() -> String) -> Strike {
        let strike = {
            let mut chaos = lock(&self.0.chaos);
            let rate = rate(&chaos.rates);
            let mortal = self.1.as_ref().is_some_and(|actor| actor.mortal);
            chaos.strike(rate, mortal)
        };
        if strike == Strike::Nothing {
            self.tell(what);
        } else {
            self.tell(|| format!("{} -- {strike:?}", what()));
        }
        strike
    }

    /// The end of a consumer: whoever runs it drops it now.
    async fn die<T>(&self) -> T {
        if let Some(actor) = &self.1 {
            actor.dead.store(true, Ordering::SeqCst);
        }
        std::future::pending().await
    }

    fn latency(&self) -> u64 {
        let mut chaos = lock(&self.0.chaos);
        match chaos.rates.latency {
            0 => DB_MS,
            most => chaos.dice.range(1, most),
        }
    }

    pub fn advance_to(&self, at: i64) {
        let wakers: Vec<Waker> = {
            let mut time = lock(&self.0.time);
            time.now = time.now.max(at);
            let after = (time.now + 1, 0);
            let later = time.timers.split_off(&after);
            std::mem::replace(&mut time.timers, later)
                .into_values()
                .collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Runs one future to its end, time passing as it needs.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let mut pool = LocalPool::new();
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        pool.spawner()
            .spawn_local(async move {
                *lock(&filled) = Some(future.await);
            })
            .unwrap();
        loop {
            pool.run_until_stalled();
            if let Some(value) = lock(&slot).take() {
                return value;
            }
            let timer = lock(&self.0.time).timers.keys().next().map(|(at, _)| *at);
            self.advance_to(timer.expect("the future waits for nothing"));
        }
    }

    pub fn submit(&self, app: &App<World>, job: Submit) -> Submitted {
        let app = app.clone();
        self.block_on(async move { submit(&app, TENANT, job).await.unwrap() })
    }
}

fn name(queue: QueueName) -> &'static str {
    match queue {
        QueueName::Control => "control",
        QueueName::Tasks => "tasks",
        QueueName::Outbound => "outbound",
    }
}

/// A job of texts from the fields of a submit body; without stages it is dynamic.
pub fn job(texts: &[String], body: Value) -> Submit {
    use fanwise::core::plan::spec::Mode;
    let or = |name: &str, default: Value| body.get(name).cloned().unwrap_or(default);
    Submit {
        task: "Find the recurring issues in these support tickets".into(),
        recipe: None,
        mode: if body.get("stages").is_some() || body.get("extends").is_some() {
            Mode::Static
        } else {
            Mode::Dynamic
        },
        planning: serde_json::from_value(or("planning", json!({}))).unwrap(),
        approval: body
            .get("approval")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        stages: serde_json::from_value(or("stages", json!([]))).unwrap(),
        input: fanwise::core::plan::spec::InputKind::Items,
        items: texts
            .iter()
            .enumerate()
            .map(|(n, text)| Item {
                id: format!("item-{}", n + 1),
                fields: [("text".to_owned(), json!(text))].into_iter().collect(),
            })
            .collect(),
        blank_rows: 0,
        limits: serde_json::from_value(body.get("limits").cloned().unwrap_or(json!({}))).unwrap(),
        context: body
            .get("context")
            .and_then(Value::as_str)
            .map(str::to_owned),
        reuse: body.get("reuse").and_then(Value::as_bool).unwrap_or(true),
        delivery: serde_json::from_value(or("delivery", json!("live"))).unwrap(),
        extends: body
            .get("extends")
            .and_then(Value::as_str)
            .map(str::to_owned),
        metadata: Map::new(),
        webhook: serde_json::from_value(body.get("webhook").cloned().unwrap_or(json!(null)))
            .unwrap(),
        idempotency: None,
    }
}
