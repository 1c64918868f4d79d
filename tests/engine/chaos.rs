//! What goes wrong at the edges of a world, drawn from a seed, and the record of what happened there.
//!
//! Every effect (a database batch, a blob, a message, a call) asks here first what strikes it. Consumers can
//! die at any of them; a story without chaos draws nothing, so plain flows are untouched by it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use crate::world::Platform;

/// SplitMix64: enough for ids and dice, the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one named stream of a seed: a new stream leaves what all others draw as it is.
    pub fn new(seed: u64, stream: &str) -> Dice {
        // FNV-1a: the same number for a name on every machine and with every compiler.
        let name = stream
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ name)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn range(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.range(0, of.len() as u64 - 1) as usize].clone()
    }
}

/// How often what goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// Of database batches, fails before it took effect, and after.
    pub db: f64,
    pub blob: f64,
    pub send: f64,
    /// Of calls: no connection, or one lost after Claude had taken the request.
    pub claude: f64,
    /// Of requests to other people's servers, the same.
    pub web: f64,
    /// A consumer dies at an effect.
    pub crash: f64,
    /// Messages.
    pub lost: f64,
    pub doubled: f64,
    pub delayed: f64,
    /// A blob is not readable for a while after it was written.
    pub lag: f64,
    /// The most milliseconds one way to the database.
    pub latency: u64,
}

/// One who runs: a consumer, a sweep, a caller.
#[derive(Debug)]
pub struct Actor {
    pub name: String,
    pub dead: AtomicBool,
    /// When an answer told it that everything must stop; `i64::MAX` before that.
    pub stopped_at: AtomicI64,
    /// A caller does not die.
    pub mortal: bool,
    pub waker: Mutex<Option<Waker>>,
    /// The invocation it runs in, where the world has a platform with limits.
    pub platform: Option<Arc<dyn Platform>>,
}

impl Actor {
    pub fn new(name: String, mortal: bool) -> Actor {
        Actor {
            name,
            dead: AtomicBool::new(false),
            stopped_at: AtomicI64::new(i64::MAX),
            mortal,
            waker: Mutex::default(),
            platform: None,
        }
    }

    /// The same inside an invocation of a platform.
    pub fn on(self, platform: Arc<dyn Platform>) -> Actor {
        Actor {
            platform: Some(platform),
            ..self
        }
    }

    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// The work of one who may die of it: `None` then, with everything it held dropped.
pub async fn live<T>(actor: Arc<Actor>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    std::future::poll_fn(move |context| {
        *actor.waker.lock().unwrap() = Some(context.waker().clone());
        let dead = || actor.dead.load(Ordering::SeqCst);
        if dead() {
            return Poll::Ready(None);
        }
        match work.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if dead() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What strikes an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    Nothing,
    FailsBefore,
    FailsAfter,
    DiesBefore,
    DiesAfter,
}

/// A call to Claude as the simulation saw it.
#[derive(Debug, Clone)]
pub struct Call {
    pub job: String,
    pub task: String,
    pub attempt: String,
    pub key: u128,
    /// The limiter turned it away.
    pub limited: bool,
    pub cost: u64,
    /// Tokens of input that count against the limit.
    pub input: u64,
}

/// Looks over a text; an error says what is wrong with it.
pub type Inspect = fn(&str) -> Result<(), String>;

/// The dice, and what they did.
#[derive(Debug)]
pub struct Chaos {
    pub dice: Dice,
    pub rates: Rates,
    /// Lines for people; `None` where nobody will read them.
    pub transcript: Option<Vec<String>>,
    pub violations: Vec<String>,
    pub calls: Vec<Call>,
    /// Checks every request that goes out.
    pub inspect: Option<Inspect>,
    pub strikes: u64,
    /// The simulation has put its own tables and triggers beside the engine's.
    pub watching: bool,
}

impl Chaos {
    pub fn calm(seed: u64) -> Chaos {
        Chaos {
            dice: Dice::new(seed, "chaos"),
            rates: Rates::default(),
            transcript: None,
            violations: Vec::new(),
            calls: Vec::new(),
            inspect: None,
            strikes: 0,
            watching: false,
        }
    }

    /// What strikes the next effect of that rate.
    pub fn strike(&mut self, rate: f64, mortal: bool) -> Strike {
        let crash = if mortal { self.rates.crash } else { 0.0 };
        if rate + crash <= 0.0 {
            return Strike::Nothing;
        }
        let drawn = self.dice.unit();
        let after = self.dice.next().is_multiple_of(2);
        let strike = if drawn < crash {
            if after {
                Strike::DiesAfter
            } else {
                Strike::DiesBefore
            }
        } else if drawn < crash + rate {
            if after {
                Strike::FailsAfter
            } else {
                Strike::FailsBefore
            }
        } else {
            Strike::Nothing
        };
        self.strikes += u64::from(strike != Strike::Nothing);
        strike
    }
}
