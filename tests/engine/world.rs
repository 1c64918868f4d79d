//! A whole world for the engine, native and on a virtual clock: SQLite with the migrations and the very SQL that D1
//! runs, blobs, queues, the stand-in's engine for Claude, and one deterministic thread.
//!
//! Time stands still until nothing can go on; then it jumps to whatever comes next: a timer, or a message that is due.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use fanwise::app::consume::{self, Settle};
use fanwise::app::submit::{Submit, Submitted, submit};
use fanwise::app::{App, sweep};
use fanwise::claude::models::Catalogue;
use fanwise::config::Config;
use fanwise::core::plan::Item;
use fanwise::ports::{
    Answer, BlobError, Blobs, Claude, Clock, Db, DbError, Entropy, Log, Outgoing, Ports, Queue,
    QueueError, QueueName, Statement, TransportError, WireRequest, WireResponse,
};
use futures::StreamExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Number, Value, json};
use standin::engine::{End, Engine, Incoming};

/// 2026-11-22T12:00:00Z
pub const START: i64 = 1_795_348_800_000;
pub const TENANT: &str = "default";
/// What a round trip to the database takes each way.
const DB_MS: u64 = 2;

/// Everything outside the engine.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    conn: Mutex<Connection>,
    blobs: Mutex<BTreeMap<String, String>>,
    messages: Mutex<BTreeMap<(i64, u64), (QueueName, String)>>,
    time: Mutex<Time>,
    random: Mutex<u64>,
    claude: Mutex<Engine>,
    log: Mutex<Vec<Value>>,
}

#[derive(Default)]
struct Time {
    now: i64,
    sequence: u64,
    timers: BTreeMap<(i64, u64), Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl World {
    pub fn new(seed: u64, claude: standin::Config) -> World {
        let conn = Connection::open_in_memory().unwrap();
        for migration in fanwise::store::MIGRATIONS {
            conn.execute_batch(migration).unwrap();
        }
        World(Arc::new(Inner {
            conn: Mutex::new(conn),
            blobs: Mutex::default(),
            messages: Mutex::default(),
            time: Mutex::new(Time {
                now: START,
                ..Time::default()
            }),
            random: Mutex::new(seed.wrapping_mul(2) + 1),
            claude: Mutex::new(Engine::new(claude, seed, START as u64)),
            log: Mutex::default(),
        }))
    }

    /// An engine in this world; variables as in `wrangler.toml`.
    pub fn app(&self, vars: &[(&str, &str)]) -> App<World> {
        let config = Config::from_vars(|name| {
            vars.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        });
        App {
            ports: self.clone(),
            config: Arc::new(config.unwrap()),
            models: Arc::new(Catalogue::load(None).unwrap()),
        }
    }

    pub fn now(&self) -> i64 {
        lock(&self.0.time).now
    }

    pub fn claude(&self) -> MutexGuard<'_, Engine> {
        lock(&self.0.claude)
    }

    pub fn log_lines(&self) -> Vec<Value> {
        lock(&self.0.log).clone()
    }

    /// A query of the test's own.
    pub fn query(&self, sql: &str) -> Vec<Map<String, Value>> {
        let conn = lock(&self.0.conn);
        run(&conn, sql, &[]).unwrap().rows
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
        let mut pool = LocalPool::new();
        let spawner = pool.spawner();
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
                    .find(|((at, _), (queue, _))| {
                        *at <= now && busy.get(name(*queue)).copied().unwrap_or(0) == 0
                    })
                    .map(|(key, _)| *key);
                key.and_then(|key| messages.remove(&key))
            };
            if let Some((queue, body)) = due {
                *lock(&busy).entry(name(queue)).or_default() += 1;
                let (app, world, busy) = (app.clone(), self.clone(), Arc::clone(&busy));
                spawner
                    .spawn_local(async move {
                        let verdict = match queue {
                            QueueName::Control => consume::control(&app, &body).await,
                            QueueName::Tasks => consume::tasks(&app, vec![body.clone()]).await,
                        };
                        if let Settle::Retry { delay_seconds } = verdict {
                            world.enqueue(queue, body, delay_seconds);
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

    fn enqueue(&self, queue: QueueName, body: String, delay_seconds: u32) {
        let mut time = lock(&self.0.time);
        time.sequence += 1;
        let key = (time.now + i64::from(delay_seconds) * 1_000, time.sequence);
        lock(&self.0.messages).insert(key, (queue, body));
    }

    fn advance_to(&self, at: i64) {
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
    }
}

/// A job of texts with one map stage and a synthesis, from the fields of a submit body.
pub fn job(texts: &[String], body: Value) -> Submit {
    Submit {
        task: "Find the recurring issues".into(),
        mode: fanwise::core::plan::Mode::Static,
        stages: serde_json::from_value(body["stages"].clone()).unwrap(),
        items: texts
            .iter()
            .enumerate()
            .map(|(n, text)| Item {
                id: format!("item-{}", n + 1),
                fields: [("text".to_owned(), json!(text))].into_iter().collect(),
            })
            .collect(),
        limits: serde_json::from_value(body.get("limits").cloned().unwrap_or(json!({}))).unwrap(),
        reuse: body.get("reuse").and_then(Value::as_bool).unwrap_or(true),
        metadata: Map::new(),
        idempotency: None,
    }
}

impl Db for World {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        self.sleep(DB_MS).await;
        let result = {
            let mut conn = lock(&self.0.conn);
            let transaction = conn.transaction().unwrap();
            let answers: Result<Vec<Answer>, DbError> = statements
                .iter()
                .map(|statement| run(&transaction, statement.sql, &statement.params))
                .collect();
            if answers.is_ok() {
                transaction.commit().unwrap();
            }
            answers
        };
        self.sleep(DB_MS).await;
        result
    }
}

fn run(conn: &Connection, sql: &str, params: &[Value]) -> Result<Answer, DbError> {
    let refuse = |error: rusqlite::Error| {
        let text = error.to_string();
        if text.contains("guard failed") {
            DbError::Guard(text)
        } else {
            DbError::Refused(format!("{text} in {sql}"))
        }
    };
    let mut statement = conn.prepare_cached(sql).map_err(refuse)?;
    for (index, value) in params.iter().enumerate() {
        let value = match value {
            Value::Null => Sql::Null,
            Value::Bool(value) => Sql::Integer(i64::from(*value)),
            // As D1 binds them: JavaScript knows only floats, and SQLite stores whole ones as integers.
            Value::Number(number) => match number.as_f64() {
                Some(real) if real.fract() == 0.0 && real.abs() < 9e15 => Sql::Integer(real as i64),
                Some(real) => Sql::Real(real),
                None => Sql::Null,
            },
            Value::String(text) => Sql::Text(text.clone()),
            other => panic!("{other} cannot be bound"),
        };
        statement
            .raw_bind_parameter(index + 1, value)
            .map_err(refuse)?;
    }
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = Vec::new();
    {
        let mut raw = statement.raw_query();
        while let Some(row) = raw.next().map_err(refuse)? {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                let value = match row.get::<_, Sql>(index).map_err(refuse)? {
                    Sql::Null => Value::Null,
                    Sql::Integer(value) => json!(value),
                    Sql::Real(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
                    Sql::Text(value) => Value::String(value),
                    Sql::Blob(_) => panic!("no blobs in rows"),
                };
                object.insert(name.clone(), value);
            }
            rows.push(object);
        }
    }
    let steps = statement.reset_status(rusqlite::StatementStatus::FullscanStep);
    Ok(Answer {
        rows,
        rows_read: u64::try_from(steps).unwrap_or(0),
    })
}

impl Blobs for World {
    async fn put(&self, key: String, body: String) -> Result<(), BlobError> {
        self.sleep(DB_MS).await;
        lock(&self.0.blobs).insert(key, body);
        Ok(())
    }

    async fn get(&self, key: String) -> Result<Option<String>, BlobError> {
        self.sleep(DB_MS).await;
        Ok(lock(&self.0.blobs).get(&key).cloned())
    }

    async fn delete(&self, key: String) -> Result<(), BlobError> {
        lock(&self.0.blobs).remove(&key);
        Ok(())
    }
}

impl Queue for World {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), QueueError> {
        self.sleep(1).await;
        for message in messages {
            self.enqueue(message.queue, message.body, message.delay_seconds);
        }
        Ok(())
    }
}

impl Claude for World {
    async fn send(&self, request: WireRequest) -> Result<WireResponse, TransportError> {
        let mut headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.push(("x-api-key".into(), "sk-test".into()));
        let incoming = Incoming {
            method: "POST".into(),
            path: request.path.into(),
            query: String::new(),
            headers,
            body: request.body.into(),
            too_large: false,
        };
        let begun = self.now();
        let reply = lock(&self.0.claude).handle(&incoming, begun as u64);
        self.sleep(reply.opens_ms).await;
        if reply.status == 0 {
            return Err(TransportError::Connect("connection reset".into()));
        }
        let world = self.clone();
        let reset = reply.end == End::Reset;
        let number = reply.number;
        let pieces = futures::stream::iter(reply.pieces)
            .map(Some)
            .chain(futures::stream::iter([None]))
            .then(move |piece| {
                let world = world.clone();
                async move {
                    let at = piece.as_ref().map_or(reply.ends_ms, |(at, _)| *at);
                    let wait = begun + at as i64 - world.now();
                    world.sleep(u64::try_from(wait).unwrap_or(0)).await;
                    match piece {
                        Some((_, bytes)) => Some(Ok(bytes.to_vec())),
                        None => {
                            let now = world.now() as u64;
                            world
                                .claude()
                                .ended(number, standin::stats::Ended::Complete, now);
                            reset.then(|| Err(TransportError::Cut("connection reset".into())))
                        }
                    }
                }
            })
            .filter_map(std::future::ready);
        Ok(WireResponse {
            status: reply.status,
            headers: reply.headers.into_iter().collect(),
            body: pieces.boxed(),
        })
    }
}

impl Clock for World {
    fn now_ms(&self) -> i64 {
        self.now()
    }

    fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send {
        let world = self.clone();
        let mut key = None;
        std::future::poll_fn(move |context| {
            let mut time = lock(&world.0.time);
            let (at, _) = *key.get_or_insert_with(|| {
                time.sequence += 1;
                (time.now + ms as i64, time.sequence)
            });
            if at <= time.now {
                return Poll::Ready(());
            }
            if let Some(key) = key {
                time.timers.insert(key, context.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_random().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

impl Log for World {
    fn line(&self, record: Value) {
        lock(&self.0.log).push(record);
    }
}

impl Ports for World {
    type Db = World;
    type Blobs = World;
    type Queue = World;
    type Claude = World;
    type Clock = World;
    type Entropy = World;
    type Log = World;

    fn db(&self) -> &World {
        self
    }
    fn blobs(&self) -> &World {
        self
    }
    fn queue(&self) -> &World {
        self
    }
    fn claude(&self) -> &World {
        self
    }
    fn clock(&self) -> &World {
        self
    }
    fn entropy(&self) -> &World {
        self
    }
    fn log(&self) -> &World {
        self
    }
}
