//! The platform: one database thread, its outages, the isolates and their memory, dice, and the counters of a run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::gauge::{Claims, Gauge};
use super::model::Model;
use crate::chaos::{Actor, Dice};
use crate::world::START;

/// Everything that invocations share.
#[derive(Debug)]
pub struct Cloud {
    pub model: Model,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug)]
pub struct State {
    pub dice: Dice,
    /// When the database thread has done all that has arrived, in microseconds since the epoch.
    pub thread_free_us: i64,
    /// When each key of KV was last written, and last missed.
    pub written: HashMap<String, i64>,
    pub missed: HashMap<String, i64>,
    pub isolates: Vec<Arc<Isolate>>,
    pub gauge: Gauge,
    pub claims: Claims,
    pub counts: Counts,
}

/// What a run used, for its figures and its bill.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub batches: u64,
    pub statements: u64,
    /// The thread's time.
    pub busy_us: u64,
    pub invocations: u64,
    pub killed: u64,
    pub kv_reads: u64,
    pub kv_writes: u64,
    /// Messages that were sent, and deliveries.
    pub sent: u64,
    pub delivered: u64,
    /// Refused: over the limit of an invocation, for an outage, for overload.
    pub over_limit: u64,
    pub away: u64,
    pub overloaded: u64,
    pub most_consumers: u32,
    /// The most queries of one invocation.
    pub most_queries: u32,
}

impl Cloud {
    pub fn new(model: Model, seed: u64) -> Arc<Cloud> {
        Arc::new(Cloud {
            state: Mutex::new(State {
                dice: Dice::new(seed, "production"),
                thread_free_us: 0,
                written: HashMap::new(),
                missed: HashMap::new(),
                isolates: Vec::new(),
                gauge: Gauge::default(),
                claims: Claims::default(),
                counts: Counts::default(),
            }),
            model,
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn range(&self, (least, most): (u64, u64)) -> u64 {
        self.state().dice.range(least, most)
    }

    /// Milliseconds to the database, and back.
    pub fn trip_ms(&self) -> (u64, u64) {
        let database = &self.model.database;
        let unit = self.state().dice.unit() * 2.0 - 1.0;
        let trip = database.rtt_ms as f64 * (1.0 + unit * database.jitter);
        let trip = trip.round() as u64;
        (trip / 2, trip - trip / 2)
    }

    /// No way leads to the database now.
    pub fn is_away(&self, now: i64) -> bool {
        let at = now - START;
        let mut outages = self.model.database.outages_ms.iter();
        outages.any(|(from, until)| (*from..*until).contains(&at))
    }

    /// Takes the thread for some steps of SQLite's machine; says when it has done them, in milliseconds.
    pub fn work(&self, now: i64, steps: u64) -> i64 {
        let database = &self.model.database;
        let cost = database.batch_us + steps as i64 * database.step_ns / 1_000;
        let mut state = self.state();
        let free = state.thread_free_us.max(now * 1_000) + cost;
        state.thread_free_us = free;
        state.counts.busy_us += cost as u64;
        (free + 999) / 1_000
    }

    /// How long a batch that arrives now waits for the thread.
    pub fn queue_ms(&self, now: i64) -> i64 {
        (self.state().thread_free_us / 1_000 - now).max(0)
    }

    /// Where the next invocation runs: isolates are filled one after the other, which is the worse case for memory.
    pub fn isolate(&self) -> Arc<Isolate> {
        let isolates = &self.model.isolates;
        let mut state = self.state();
        let roomy = |one: &&Arc<Isolate>| {
            !one.dead.load(Ordering::SeqCst) && one.living() < isolates.invocations
        };
        if let Some(isolate) = state.isolates.iter().find(roomy) {
            return Arc::clone(isolate);
        }
        let isolate = Arc::new(Isolate {
            bytes: AtomicU64::new(isolates.idle_bytes),
            most: AtomicU64::new(isolates.idle_bytes),
            dead: AtomicBool::new(false),
            limit: isolates.bytes,
            actors: Mutex::default(),
        });
        state.isolates.push(Arc::clone(&isolate));
        isolate
    }

    /// The most bytes that any isolate held.
    pub fn peak_bytes(&self) -> u64 {
        let state = self.state();
        let most = state
            .isolates
            .iter()
            .map(|one| one.most.load(Ordering::SeqCst));
        most.max().unwrap_or(0)
    }
}

/// Memory that several invocations share.
#[derive(Debug)]
pub struct Isolate {
    bytes: AtomicU64,
    most: AtomicU64,
    dead: AtomicBool,
    limit: u64,
    actors: Mutex<Vec<Weak<Actor>>>,
}

impl Isolate {
    fn living(&self) -> usize {
        let mut actors = self.actors.lock().unwrap();
        actors.retain(|actor| actor.strong_count() > 0);
        actors.len()
    }

    pub fn enter(&self, actor: &Arc<Actor>) {
        self.actors.lock().unwrap().push(Arc::downgrade(actor));
    }

    /// Takes memory until the result is dropped. Over the limit all invocations of the isolate die.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Memory {
        let now = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most.fetch_max(now, Ordering::SeqCst);
        if now > self.limit {
            self.dead.store(true, Ordering::SeqCst);
            let actors = std::mem::take(&mut *self.actors.lock().unwrap());
            actors
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|actor| actor.kill());
        }
        Memory {
            isolate: Arc::clone(self),
            bytes,
        }
    }
}

/// Bytes of an isolate.
#[derive(Debug)]
pub struct Memory {
    isolate: Arc<Isolate>,
    bytes: u64,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.isolate.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}
