//! A whole world for the engine, native and on a virtual clock: SQLite with the migrations and the very SQL that D1
//! runs, blobs, queues, the stand-in's engine for Claude, and one deterministic thread.
//!
//! Time stands still until nothing can go on; then it jumps to whatever comes next: a timer, or a message that is due.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use chrono::{DateTime, Offset as _, TimeZone};
use fanwise::api::read_job;
use fanwise::app::consume::{self, Settle};
use fanwise::app::submit::{Submit, Submitted, submit};
use fanwise::app::{App, sweep};
use fanwise::claude::models::Catalogue;
use fanwise::config::Config;
use fanwise::core::plan::Item;
use fanwise::core::readable::Page;
use fanwise::core::webhook::SigningKey;
use fanwise::ports::{
    Answer, BlobError, Blobs, Claude, Clock, Db, DbError, Entropy, Keys, Log, Outgoing, Ports,
    Queue, QueueError, QueueName, Statement, TransportError, Web, WebRequest, WireRequest,
    WireResponse, Zones,
};
use futures::StreamExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Number, Value, json};
use standin::engine::{End, Engine, Incoming};
use standin::stats::Ended;

use crate::chaos::{Actor, Call, Chaos, Rates, Strike, live};
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

/// A database as the migrations leave it.
fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.set_prepared_statement_cache_capacity(1_024);
    // Or every statement would be planned anew with the values of each of its runs.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .unwrap();
    for migration in fanwise::store::MIGRATIONS {
        conn.execute_batch(&broken(migration)).unwrap();
    }
    conn
}

/// Puts every table back to what stood in it when this was called first.
fn empty(conn: &mut Connection) {
    let tables = |like: &str| -> Vec<(String, String)> {
        let sql = "SELECT 'main', name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'
                   UNION ALL SELECT 'temp', name FROM sqlite_temp_schema WHERE type = 'table' AND name LIKE ?1";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([like], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    let own = |(_, name): &(String, String)| !name.starts_with("first_");
    let first = tables("first_%").iter().any(|table| !own(table));
    let mut sql = String::new();
    for (schema, name) in tables("%").iter().filter(|table| own(table)) {
        if first {
            let _ = writeln!(
                sql,
                "DELETE FROM {schema}.{name}; INSERT INTO {schema}.{name} SELECT * FROM temp.first_{name};"
            );
        } else {
            let _ = writeln!(
                sql,
                "CREATE TEMP TABLE first_{name} AS SELECT * FROM {schema}.{name};"
            );
        }
    }
    if !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK").unwrap();
    }
    conn.execute_batch(&format!("BEGIN; {sql} COMMIT;"))
        .unwrap();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl World {
    pub fn new(seed: u64, claude: standin::Config) -> World {
        World::over(Arc::new(Mutex::new(database())), seed, claude)
    }

    /// A world whose database has tables and triggers of the test's own besides. Such a database is made once for each
    /// thread and emptied for each world: most of a short story's time would go into preparing the same statements.
    pub fn watched(seed: u64, claude: standin::Config, schema: fn() -> String) -> World {
        let known = WATCHED
            .take()
            .filter(|conn| Arc::strong_count(conn) == 1 && !conn.is_poisoned());
        let conn = known.unwrap_or_else(|| {
            let conn = database();
            conn.execute_batch(&schema()).unwrap();
            Arc::new(Mutex::new(conn))
        });
        empty(&mut lock(&conn));
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
            consumers: Mutex::default(),
        };
        World(Arc::new(inner), None)
    }

    /// An engine in this world; variables as in `wrangler.toml`.
    pub fn app(&self, vars: &[(&str, &str)]) -> App<World> {
        let config = Config::from_vars(|name| {
            vars.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        });
        let config = config.unwrap();
        let models = Catalogue::load(config.models_json.as_deref()).unwrap();
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
                                QueueName::Control => consume::control(&app, &body).await,
                                QueueName::Tasks => consume::tasks(&app, vec![body.clone()]).await,
                                QueueName::Outbound => {
                                    consume::outbound(&app, &body, read_job).await
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

    /// Runs a batch as the engine would, at once.
    pub fn batch_now(&self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        let mut conn = lock(&self.0.conn);
        let transaction = conn.transaction().unwrap();
        let answers = statements
            .iter()
            .map(|statement| run(&transaction, statement.sql, &statement.params))
            .collect::<Result<Vec<_>, _>>()?;
        transaction.commit().unwrap();
        Ok(answers)
    }

    /// How SQLite means to carry a statement out.
    pub fn explain(&self, statement: &Statement) -> Vec<String> {
        let conn = lock(&self.0.conn);
        let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let rows = run(&conn, &sql, &statement.params).unwrap().rows;
        rows.iter()
            .map(|row| row["detail"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Runs SQL of the simulation's own.
    pub fn execute(&self, sql: &str) {
        lock(&self.0.conn).execute_batch(sql).unwrap();
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
    use fanwise::core::plan::Mode;
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
        input: fanwise::core::plan::InputKind::Items,
        items: texts
            .iter()
            .enumerate()
            .map(|(n, text)| Item {
                id: format!("item-{}", n + 1),
                fields: [("text".to_owned(), json!(text))].into_iter().collect(),
            })
            .collect(),
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

impl Db for World {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        let lost = || Err(DbError::Unavailable("network connection lost".into()));
        let strike = self.strike(|rates| rates.db, || names(&statements));
        self.sleep(self.latency()).await;
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return lost(),
            _ => {}
        }
        let watching = self.chaos().watching;
        let result = {
            let mut conn = lock(&self.0.conn);
            if watching {
                let mut tick = conn
                    .prepare_cached("UPDATE clock SET seq = seq + 1")
                    .unwrap();
                tick.execute([]).unwrap();
            }
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
        if watching {
            let seen: Vec<String> = {
                let conn = lock(&self.0.conn);
                let mut seen = conn.prepare_cached("SELECT text FROM violations").unwrap();
                let rows = seen.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            };
            for text in seen {
                self.tell(|| format!("  !!! {text}"));
                self.chaos().violations.push(text);
            }
        }
        if let Err(error) = &result {
            self.tell(|| format!("  {error}"));
            if let DbError::Refused(text) = error {
                self.chaos().violations.push(format!("SQL refused: {text}"));
            }
        }
        self.sleep(self.latency()).await;
        match strike {
            Strike::DiesAfter => self.die().await,
            Strike::FailsAfter => lost(),
            _ => result,
        }
    }
}

/// The names that the statements carry in their first lines.
fn names(statements: &[Statement]) -> String {
    let names: Vec<&str> = statements
        .iter()
        .map(|statement| {
            let line = statement.sql.lines().next().unwrap_or_default();
            line.trim_start_matches("-- ")
        })
        .collect();
    format!("db {}", names.join(" "))
}

/// A line of SQL that `cargo xtask simulate --mutations` has broken on purpose: what stood there, and what does now.
static BROKEN: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
    let of = |name: &str| std::env::var(name).ok();
    Some((of("FANWISE_BREAK_SQL")?, of("FANWISE_BREAK_INTO")?))
});

/// The text as it is, or as it was broken.
fn broken(sql: &str) -> Cow<'_, str> {
    match &*BROKEN {
        Some((from, to)) if sql.contains(from.as_str()) => sql.replace(from.as_str(), to).into(),
        _ => sql.into(),
    }
}

fn run(conn: &Connection, sql: &str, params: &[Value]) -> Result<Answer, DbError> {
    let sql = &broken(sql);
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
    // Steps of SQLite's machine, triggers and all: a measure of the rows that it looks at.
    let steps = statement.reset_status(rusqlite::StatementStatus::VmStep);
    Ok(Answer {
        rows,
        rows_read: u64::try_from(steps).unwrap_or(0),
    })
}

impl World {
    async fn place(&self, key: String, body: String, until: i64) -> Result<(), BlobError> {
        let lost = || Err(BlobError("network connection lost".into()));
        let strike = self.strike(|rates| rates.blob, || format!("put {key}"));
        self.sleep(self.latency()).await;
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return lost(),
            _ => {}
        }
        let readable = {
            let mut chaos = self.chaos();
            let lag = chaos.rates.lag;
            self.now()
                + if chaos.dice.chance(lag) {
                    chaos.dice.range(1_000, 60_000) as i64
                } else {
                    0
                }
        };
        let body = if self.0.forgetful.load(Ordering::SeqCst) {
            String::new()
        } else {
            body
        };
        lock(&self.0.blobs)
            .entry(key)
            .and_modify(|known| known.until = until)
            .or_insert(Blob {
                body,
                readable,
                until,
            });
        match strike {
            Strike::DiesAfter => self.die().await,
            Strike::FailsAfter => lost(),
            _ => Ok(()),
        }
    }

    /// A blob that can be read now.
    pub fn blob(&self, key: &str) -> Option<String> {
        let now = self.now();
        lock(&self.0.blobs)
            .get(key)
            .filter(|blob| (blob.readable..blob.until).contains(&now))
            .map(|blob| blob.body.clone())
    }
}

impl Blobs for World {
    async fn put(&self, key: String, body: String) -> Result<(), BlobError> {
        self.place(key, body, i64::MAX).await
    }

    async fn put_for(&self, key: String, body: String, seconds: u64) -> Result<(), BlobError> {
        let until = self.now() + seconds as i64 * 1_000;
        self.place(key, body, until).await
    }

    async fn get(&self, key: String) -> Result<Option<String>, BlobError> {
        let strike = self.strike(|rates| rates.blob, || format!("get {key}"));
        self.sleep(self.latency()).await;
        match strike {
            Strike::DiesBefore | Strike::DiesAfter => self.die().await,
            Strike::FailsBefore => Err(BlobError("network connection lost".into())),
            _ => Ok(self.blob(&key)),
        }
    }

    async fn delete(&self, key: String) -> Result<(), BlobError> {
        lock(&self.0.blobs).remove(&key);
        Ok(())
    }

    /// A few at a time, so that going on is tried.
    async fn list(&self, prefix: String, after: Option<String>) -> Result<Keys, BlobError> {
        const PAGE: usize = 5;
        self.sleep(self.latency()).await;
        let after = after.unwrap_or_default();
        let now = self.now();
        let mut keys: Vec<String> = lock(&self.0.blobs)
            .iter()
            .filter(|(key, blob)| {
                let there = (blob.readable..blob.until).contains(&now);
                key.starts_with(&prefix) && **key > after && there
            })
            .map(|(key, _)| key.clone())
            .take(PAGE + 1)
            .collect();
        let more = keys.len() > PAGE;
        keys.truncate(PAGE);
        Ok(Keys {
            next: keys.last().filter(|_| more).cloned(),
            keys,
        })
    }
}

impl Queue for World {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), QueueError> {
        let strike = self.strike(
            |rates| rates.send,
            || {
                let to: Vec<String> = messages
                    .iter()
                    .map(|m| format!("{}+{}s", name(m.queue), m.delay_seconds))
                    .collect();
                format!("send {}", to.join(" "))
            },
        );
        self.sleep(self.latency().min(5)).await;
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return Err(QueueError("network connection lost".into())),
            _ => {}
        }
        let half = messages.len().div_ceil(2);
        for (position, message) in messages.into_iter().enumerate() {
            if strike == Strike::FailsAfter && position >= half {
                break;
            }
            let copies: Vec<i64> = {
                let mut chaos = self.chaos();
                let rates = chaos.rates.clone();
                let copies = if chaos.dice.chance(rates.lost) {
                    0
                } else {
                    1 + u64::from(chaos.dice.chance(rates.doubled))
                };
                (0..copies)
                    .map(|_| {
                        if chaos.dice.chance(rates.delayed) {
                            chaos.dice.range(100, 90_000) as i64
                        } else {
                            0
                        }
                    })
                    .collect()
            };
            if copies.len() != 1 {
                self.tell(|| format!("  a message comes {} times", copies.len()));
            }
            for late in copies {
                let delay = i64::from(message.delay_seconds) * 1_000 + late;
                self.enqueue(
                    Message {
                        queue: message.queue,
                        body: message.body.clone(),
                        tries: 0,
                    },
                    delay,
                );
            }
        }
        match strike {
            Strike::DiesAfter => self.die().await,
            Strike::FailsAfter => Err(QueueError("network connection lost".into())),
            _ => Ok(()),
        }
    }
}

/// A call that is dropped before its end is seen by Claude as a client that went away.
struct OpenCall {
    world: World,
    number: u64,
    job: String,
    ended: bool,
}

impl OpenCall {
    fn begin(world: &World, number: u64, job: String) -> OpenCall {
        // A consumer that stood still beyond its lease may still be calling: its attempt was given up, and another took its place.
        let open = world.open_attempts(&job);
        let mut running = lock(&world.0.running);
        let (now, most) = running.entry(job.clone()).or_default();
        *now += 1;
        *most = (*most).max((*now).min(open));
        OpenCall {
            world: world.clone(),
            number,
            job,
            ended: false,
        }
    }

    fn end(&mut self, how: Ended) {
        if !self.ended {
            self.ended = true;
            if let Some((now, _)) = lock(&self.world.0.running).get_mut(&self.job) {
                *now -= 1;
            }
            let now = self.world.now() as u64;
            self.world.claude().ended(self.number, how, now);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end(Ended::ClientGone);
    }
}

impl World {
    /// Attempts of a job that are open, whether their calls have begun or not.
    fn open_attempts(&self, job: &str) -> u32 {
        let conn = lock(&self.0.conn);
        let sql = "SELECT in_flight - in_batches AS open FROM jobs WHERE id = ?1";
        let answer = run(&conn, sql, &[Value::from(job)]).unwrap();
        let open = answer.rows.first().and_then(|row| row["open"].as_u64());
        u32::try_from(open.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The most calls of each job that Claude was at.
    pub fn most_running(&self) -> BTreeMap<String, u32> {
        let running = lock(&self.0.running);
        running
            .iter()
            .map(|(job, (_, most))| (job.clone(), *most))
            .collect()
    }

    /// Notes a call that Claude has just been asked.
    fn note_call(&self, request: &WireRequest, number: u64) {
        let header = |wanted: &str| {
            let mut headers = request.headers.iter();
            let found = headers.find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (limited, cost, stops, input, summary) = {
            let claude = self.claude();
            let Some(call) = claude.stats().open_call(number) else {
                return;
            };
            let stops = call
                .fault
                .is_some_and(|fault| STOPS.contains(&fault.as_str()));
            let fault = call.fault.map_or("", standin::faults::Fault::as_str);
            let limited = call.refused.is_some();
            let summary = format!(
                "call {} {}/{}#{} -> {} {fault}{}",
                call.role,
                call.job,
                call.task,
                call.attempt,
                call.status,
                call.refused.map_or("", |which| which.as_str())
            );
            let input = call.usage.limited_input();
            (limited, call.cost_nano, stops, input, summary)
        };
        self.tell(|| summary);
        let now = self.now();
        let mut chaos = self.chaos();
        if let Some(inspect) = chaos.inspect
            && let Err(problem) = inspect(request.body.as_deref().unwrap_or_default())
        {
            chaos.violations.push(format!("P7: {problem}"));
        }
        if let Some(actor) = &self.1 {
            if actor.stopped_at.load(Ordering::SeqCst) < now {
                let name = &actor.name;
                chaos.violations.push(format!(
                    "P6: {name} called after it was told that everything must stop"
                ));
            }
            if stops {
                // It knows once the answer's end has arrived, which is set there.
                actor.stopped_at.fetch_min(i64::MAX - 1, Ordering::SeqCst);
            }
        }
        let body = request.body.as_deref().unwrap_or_default();
        if request.path == "/v1/messages/batches" {
            // What each of them is charged is known when it is answered.
            let sent: Sent = serde_json::from_str(body).unwrap_or_default();
            for one in sent.requests {
                let mut parts = one.custom_id.rsplitn(3, '-');
                let mut part = || parts.next().unwrap_or_default().to_owned();
                chaos.calls.push(Call {
                    attempt: part(),
                    task: part(),
                    job: header("x-fanwise-job"),
                    key: key_of(one.params.get()),
                    limited: false,
                    cost: 0,
                    input: 0,
                });
            }
            return;
        }
        if request.body.is_none() {
            return;
        }
        // In a batch the same request has no `stream`.
        let key = key_of(&body.replace(",\"stream\":true", ""));
        chaos.calls.push(Call {
            job: header("x-fanwise-job"),
            task: header("x-fanwise-task"),
            attempt: header("x-fanwise-attempt"),
            key,
            limited,
            cost,
            input,
        });
    }
}

/// The body that creates a batch.
#[derive(Default, serde::Deserialize)]
struct Sent {
    requests: Vec<SentOne>,
}

#[derive(serde::Deserialize)]
struct SentOne {
    custom_id: String,
    params: Box<serde_json::value::RawValue>,
}

/// Equal for equal requests.
fn key_of(request: &str) -> u128 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    u128::from(hasher.finish())
}

/// Faults that say: nothing of this account will succeed.
const STOPS: [&str; 7] = [
    "spend_limit",
    "contract_spend_limit",
    "usage_limit_400",
    "credit_400",
    "billing",
    "bad_key",
    "on_hold",
];

impl Claude for World {
    async fn send(&self, request: WireRequest) -> Result<WireResponse, TransportError> {
        let lost = || Err(TransportError::Connect("connection lost".into()));
        let strike = self.strike(|rates| rates.claude, || "connect".to_owned());
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => {
                self.sleep(20).await;
                return lost();
            }
            _ => {}
        }
        let mut headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.push(("x-api-key".into(), KEY.into()));
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let incoming = Incoming {
            method: if request.body.is_some() {
                "POST"
            } else {
                "GET"
            }
            .into(),
            path: path.into(),
            query: query.into(),
            headers,
            body: request.body.clone().unwrap_or_default().into(),
            too_large: false,
        };
        let begun = self.now();
        let reply = lock(&self.0.claude).handle(&incoming, begun as u64);
        self.note_call(&request, reply.number);
        let job = request.headers.iter();
        let job = job.filter(|(name, _)| *name == "x-fanwise-job");
        let job = job.map(|(_, value)| value.to_owned()).collect();
        // Calls about batches are none that the job's concurrency counts.
        let job = if path == "/v1/messages" {
            job
        } else {
            String::new()
        };
        let mut connection = OpenCall::begin(self, reply.number, job);
        let dies = strike == Strike::DiesAfter;
        let dies_at_head = dies && self.chaos().dice.chance(0.5);
        self.sleep(reply.opens_ms).await;
        if dies_at_head {
            return self.die().await;
        }
        if strike == Strike::FailsAfter {
            return lost();
        }
        if reply.status == 0 {
            connection.end(Ended::Complete);
            return Err(TransportError::Connect("connection reset".into()));
        }
        let world = self.clone();
        let reset = reply.end == End::Reset;
        let stops = reply.status >= 400;
        let last = reply.pieces.len();
        let connection = Arc::new(Mutex::new(connection));
        let pieces = futures::stream::iter(reply.pieces)
            .map(Some)
            .chain(futures::stream::iter([None]))
            .enumerate()
            .then(move |(position, piece)| {
                let world = world.clone();
                let connection = Arc::clone(&connection);
                async move {
                    let at = piece.as_ref().map_or(reply.ends_ms, |(at, _)| *at);
                    let wait = begun + at as i64 - world.now();
                    world.sleep(u64::try_from(wait).unwrap_or(0)).await;
                    if dies && piece.is_none() {
                        return world.die().await;
                    }
                    match piece {
                        Some((_, bytes)) => {
                            // A reader may stop at the last event without waiting for the end.
                            if position + 1 == last && !reset {
                                lock(&connection).end(Ended::Complete);
                            }
                            Some(Ok(bytes.to_vec()))
                        }
                        None => {
                            lock(&connection).end(Ended::Complete);
                            if let Some(actor) = &world.1
                                && stops
                                && actor.stopped_at.load(Ordering::SeqCst) == i64::MAX - 1
                            {
                                actor.stopped_at.store(world.now(), Ordering::SeqCst);
                            }
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

impl Web for World {
    async fn send(&self, request: WebRequest) -> Result<WireResponse, TransportError> {
        let strike = self.strike(
            |rates| rates.web,
            || format!("web {}", request.url.as_str()),
        );
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return Err(TransportError::Connect("connection lost".into())),
            _ => {}
        }
        let site = self.sites().asked(request);
        self.sleep(site.opens_ms).await;
        match strike {
            Strike::DiesAfter => return self.die().await,
            Strike::FailsAfter => return Err(TransportError::Connect("connection lost".into())),
            _ => {}
        }
        site.answer(self.clone())
    }

    fn decode(&self, bytes: &[u8], charset: &str) -> String {
        crate::sites::decode(bytes, charset)
    }

    async fn read_html(&self, html: String) -> Result<Page, String> {
        Ok(crate::sites::read_html(&html))
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

impl Zones for World {
    fn offset(&self, zone: &str, seconds: i64) -> Option<i32> {
        let zone: chrono_tz::Tz = zone.parse().ok()?;
        let at = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        Some(zone.offset_from_utc_datetime(&at).fix().local_minus_utc())
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
    type Web = World;
    type Clock = World;
    type Zones = World;
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
    fn web(&self) -> &World {
        self
    }
    fn clock(&self) -> &World {
        self
    }
    fn zones(&self) -> &World {
        self
    }
    fn entropy(&self) -> &World {
        self
    }
    fn log(&self) -> &World {
        self
    }
}
