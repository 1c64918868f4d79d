//! The ports as one invocation has them: its connections, its counted queries, its part of an isolate's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fanwise::ports::{Answer, BlobError, Clock as _, DbError, Outgoing, QueueError, Statement};
use futures::future::{BoxFuture, FutureExt};
use serde_json::Value;

use super::cloud::{Cloud, Isolate, Memory};
use super::pool::{Permit, Pool};
use crate::chaos::Actor;
use crate::world::{Access, Held, Platform, World};

/// Values of a statement.
const PARAMS: usize = 100;
/// Bytes of a value, and of a row.
const VALUE_BYTES: usize = 2_000_000;
/// Bytes of the text of a statement.
const SQL_BYTES: usize = 100_000;
/// Bytes of the messages of one send.
const SEND_BYTES: usize = 256_000;
/// Between two writes of a key of KV.
const WRITE_MS: i64 = 1_000;
/// How long a miss of KV is remembered.
const MISS_MS: i64 = 60_000;

/// One invocation: a consumer, a request, a run of cron.
#[derive(Debug)]
pub struct Invocation {
    cloud: Arc<Cloud>,
    isolate: Arc<Isolate>,
    connections: Pool,
    queries: AtomicU32,
    kv_operations: AtomicU32,
}

/// Held while a batch is on its way: both are given back when it is dropped.
#[expect(dead_code)]
struct Trip {
    permit: Option<Permit>,
    memory: Memory,
}

impl Invocation {
    /// An actor in an invocation of its own.
    pub fn actor(cloud: &Arc<Cloud>, name: &str) -> Arc<Actor> {
        cloud.state().counts.invocations += 1;
        let isolate = cloud.isolate();
        let invocation = Invocation {
            cloud: Arc::clone(cloud),
            isolate: Arc::clone(&isolate),
            connections: Pool::new(cloud.model.limits.connections),
            queries: AtomicU32::new(0),
            kv_operations: AtomicU32::new(0),
        };
        let actor = Actor::new(name.to_owned(), true).on(Arc::new(invocation));
        let actor = Arc::new(actor);
        isolate.enter(&actor);
        actor
    }

    /// Counts a batch against the limit of the invocation.
    fn count(&self, statements: usize) -> Result<(), DbError> {
        let limits = &self.cloud.model.limits;
        let more = match limits.statements_count {
            true => u32::try_from(statements).unwrap_or(u32::MAX),
            false => 1,
        };
        let all = self.queries.fetch_add(more, Ordering::SeqCst) + more;
        let mut state = self.cloud.state();
        let counts = &mut state.counts;
        counts.batches += 1;
        counts.statements += statements as u64;
        counts.most_queries = counts.most_queries.max(all);
        if all > limits.queries {
            counts.over_limit += 1;
            return Err(overloaded(
                "Too many API requests by single worker invocation.",
            ));
        }
        Ok(())
    }

    async fn go(&self, world: &World, statements: &[Statement]) -> Result<Held, DbError> {
        check(statements)?;
        self.count(statements.len())?;
        let bytes: usize = statements.iter().map(bytes_of).sum();
        let memory = self.memory(bytes, self.cloud.model.isolates.batch_factor);
        let permit = match self.cloud.model.limits.d1_takes_connection {
            true => Some(self.connections.take().await),
            false => None,
        };
        let (there, _) = self.cloud.trip_ms();
        world.sleep(there).await;
        let now = world.now();
        if self.cloud.is_away(now) {
            self.cloud.state().counts.away += 1;
            let (_, back) = self.cloud.trip_ms();
            world.sleep(back).await;
            return Err(lost());
        }
        if self.cloud.queue_ms(now) > self.cloud.model.database.queue_most_ms {
            self.cloud.state().counts.overloaded += 1;
            let (_, back) = self.cloud.trip_ms();
            world.sleep(back).await;
            return Err(overloaded("D1 DB is overloaded. Too many requests queued."));
        }
        Ok(Box::new(Trip { permit, memory }))
    }

    async fn come_back(
        &self,
        world: &World,
        trip: Held,
        statements: &[Statement],
        result: Result<Vec<Answer>, DbError>,
    ) -> Result<Vec<Answer>, DbError> {
        // The statements ran when they arrived; the thread's time is taken in the same order.
        let steps = match &result {
            Ok(answers) => answers.iter().map(|answer| answer.rows_read).sum(),
            // What was rolled back was mostly read before.
            Err(_) => 2_000,
        };
        let done = self.cloud.work(world.now(), steps);
        let mut vanishes = false;
        {
            let mut state = self.cloud.state();
            state.claims.note(statements, &result);
            if moves_tasks(statements) {
                state.gauge.look(world);
            }
            if result.is_ok() {
                let share = self.cloud.model.database.lost_answers;
                vanishes = state.dice.chance(share);
            }
        }
        let answer: usize = result.iter().flatten().map(answer_bytes).sum();
        let factor = self.cloud.model.isolates.batch_factor;
        let _memory = self.memory(answer, factor);
        let wait = u64::try_from(done - world.now()).unwrap_or(0);
        let (_, back) = self.cloud.trip_ms();
        world.sleep(wait + back).await;
        drop(trip);
        if vanishes || self.cloud.is_away(world.now()) {
            return Err(lost());
        }
        result
    }

    async fn access(
        &self,
        world: &World,
        access: Access,
        key: &str,
        bytes: usize,
    ) -> Result<bool, BlobError> {
        let cloud = &self.cloud;
        let operations = self.kv_operations.fetch_add(1, Ordering::SeqCst) + 1;
        if operations > cloud.model.limits.kv_operations {
            cloud.state().counts.over_limit += 1;
            return Err(BlobError(
                "Too many API requests by single Worker invocation.".into(),
            ));
        }
        let _memory = self.memory(bytes, 2);
        let _permit = self.connections.take().await;
        world.sleep(cloud.range(cloud.model.edge_ms)).await;
        let now = world.now();
        let there = world.blob(key).is_some();
        let mut state = cloud.state();
        match access {
            Access::Get => {
                state.counts.kv_reads += 1;
                let remembered = state.missed.get(key).is_some_and(|at| now - at < MISS_MS);
                if !there && !remembered {
                    state.missed.insert(key.to_owned(), now);
                }
                Ok(!remembered)
            }
            Access::List => {
                state.counts.kv_reads += 1;
                Ok(true)
            }
            Access::Put | Access::Delete => {
                state.counts.kv_writes += 1;
                let last = state.written.insert(key.to_owned(), now);
                if last.is_some_and(|last| now - last < WRITE_MS) {
                    return Err(BlobError("KV PUT failed: 429 Too Many Requests".into()));
                }
                Ok(true)
            }
        }
    }

    fn memory(&self, bytes: usize, factor: u64) -> Memory {
        self.isolate.hold(bytes as u64 * factor)
    }
}

impl Platform for Invocation {
    fn batch_goes<'a>(
        &'a self,
        world: &'a World,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<Held, DbError>> {
        self.go(world, statements).boxed()
    }

    fn batch_returns<'a>(
        &'a self,
        world: &'a World,
        trip: Held,
        statements: &'a [Statement],
        result: Result<Vec<Answer>, DbError>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, DbError>> {
        self.come_back(world, trip, statements, result).boxed()
    }

    fn blob<'a>(
        &'a self,
        world: &'a World,
        access: Access,
        key: &'a str,
        bytes: usize,
    ) -> BoxFuture<'a, Result<bool, BlobError>> {
        self.access(world, access, key, bytes).boxed()
    }

    fn sends<'a>(
        &'a self,
        world: &'a World,
        messages: &'a [Outgoing],
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        async move {
            let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
            if bytes > SEND_BYTES {
                return Err(QueueError("413 Payload Too Large".into()));
            }
            let _permit = self.connections.take().await;
            world
                .sleep(self.cloud.range(self.cloud.model.edge_ms))
                .await;
            self.cloud.state().counts.sent += messages.len() as u64;
            Ok(())
        }
        .boxed()
    }

    fn delivery_ms(&self) -> i64 {
        self.cloud.range(self.cloud.model.queues.delivery_ms) as i64
    }

    fn connects<'a>(&'a self, _world: &'a World) -> BoxFuture<'a, Held> {
        async move { Box::new(self.connections.take().await) as Held }.boxed()
    }

    fn holds_call(&self, bytes: usize) -> Held {
        Box::new(self.memory(bytes, self.cloud.model.isolates.call_factor))
    }

    fn call_begins(&self, world: &World, job: &str, running: u32) {
        let now = world.now();
        self.cloud.state().gauge.sent(job, now, running);
    }

    fn call_ends(&self, world: &World, job: &str, running: u32) {
        let now = world.now();
        self.cloud.state().gauge.ended(job, now, running);
    }
}

/// As the adapter of D1 reads it: nobody knows whether the batch ran.
fn lost() -> DbError {
    DbError::Unavailable("D1_ERROR: Network connection lost.".into())
}

/// Nothing ran: less should be sent.
fn overloaded(text: &str) -> DbError {
    DbError::Overloaded(format!("D1_ERROR: {text}"))
}

/// What D1 refuses whatever the database holds.
fn check(statements: &[Statement]) -> Result<(), DbError> {
    for statement in statements {
        let text = |value: &Value| value.as_str().map_or(0, str::len);
        if statement.params.len() > PARAMS {
            return Err(DbError::Refused(
                "too many SQL variables: SQLITE_ERROR".into(),
            ));
        }
        let large = statement
            .params
            .iter()
            .any(|value| text(value) > VALUE_BYTES);
        if large || statement.sql.len() > SQL_BYTES {
            return Err(DbError::Refused(
                "string or blob too big: SQLITE_TOOBIG".into(),
            ));
        }
    }
    Ok(())
}

/// Whether a batch may change how many tasks wait.
fn moves_tasks(statements: &[Statement]) -> bool {
    statements.iter().any(|statement| {
        statement.sql.contains("UPDATE tasks") || statement.sql.contains("INTO tasks")
    })
}

fn bytes_of(statement: &Statement) -> usize {
    let text = |value: &Value| value.as_str().map_or(8, str::len);
    statement.sql.len() + statement.params.iter().map(text).sum::<usize>()
}

fn answer_bytes(answer: &Answer) -> usize {
    let cell = |(name, value): (&String, &Value)| name.len() + value.as_str().map_or(8, str::len);
    answer.rows.iter().flatten().map(cell).sum()
}
