//! A world for an end-to-end test: the stand-in and the built Worker in workerd, on free ports and a state
//! of their own, which is gone when the test is.
//!
//! `cargo test -p e2e` sets up what is missing and builds what has changed, once for all tests of a
//! program; `cargo xtask test` has done so already.

pub mod collector;
pub mod pages;

pub use xtask::terminal;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use xtask::build;
use xtask::client::Client;
use xtask::dev::{NO_KEY, claude_vars};
use xtask::setup::{self, Tools};
use xtask::standin::Standin;
use xtask::state::State;
use xtask::worker::{Options, Worker};

/// What a world is made of. [`World::start`] takes the defaults.
#[derive(Default)]
pub struct Builder {
    standin: Vec<String>,
    vars: Vec<(String, String)>,
    cron: Option<Duration>,
    unwell: bool,
}

/// A running Worker and its stand-in.
pub struct World {
    // Ended in this order: the Worker first, so that it does not see its Claude vanish.
    pub worker: Worker,
    pub standin: Standin,
    /// Speaks with the world's token.
    pub client: Client,
}

impl Builder {
    /// An option of the stand-in, for example `["--latency-ms", "200"]`.
    pub fn standin<const N: usize>(mut self, args: [&str; N]) -> Builder {
        self.standin.extend(args.map(str::to_owned));
        self
    }

    /// A variable of the Worker, for example `LEASE_MS`.
    pub fn var(mut self, name: &str, value: impl ToString) -> Builder {
        self.vars.push((name.to_owned(), value.to_string()));
        self
    }

    /// Calls the scheduled handler that often; without it, only [`World::cron`] does.
    pub fn cron(mut self, every: Duration) -> Builder {
        self.cron = Some(every);
        self
    }

    /// Starts it although it is configured wrongly.
    pub fn unwell(mut self) -> Builder {
        self.unwell = true;
        self
    }

    pub fn start(self) -> Result<World> {
        let (tools, program) = ready()?;
        let state = State::temporary("e2e")?;
        let token = state.token()?;
        let standin = Standin::start(&program, state.dir(), &self.standin)?;
        let mut vars = claude_vars(standin.url(), NO_KEY, &token);
        vars.extend(self.vars);
        let options = Options {
            port: 0,
            vars,
            cron: self.cron,
            unwell: self.unwell,
        };
        let worker = Worker::start(&tools, state, options)?;
        let client = Client::new(&worker.url(), Some(&token));
        Ok(World {
            worker,
            standin,
            client,
        })
    }
}

impl World {
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub fn start() -> Result<World> {
        World::builder().start()
    }

    /// One tick of the cron.
    pub fn cron(&self) -> Result<()> {
        self.worker.trigger_cron()
    }

    /// SIGKILL to wrangler and workerd, then a start on the same port and state.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.worker.kill();
        self.worker.restart()
    }

    /// Hands a job in and waits for its end; the job.
    pub fn run_job(&self, body: &Value, within: Duration) -> Result<Value> {
        let job = self.client.submit(body)?;
        self.client.finished(&id_of(&job)?, within)
    }
}

/// The id of a job the API answered.
pub fn id_of(job: &Value) -> Result<String> {
    let id = job.get("id").and_then(Value::as_str);
    id.map(str::to_owned)
        .ok_or_else(|| anyhow!("a job without an id: {job}"))
}

/// So many tickets of four kinds, each of its own.
pub fn tickets(count: usize) -> Vec<String> {
    let kinds = [
        "I was charged twice for my plan",
        "The app crashes when I upload a photo",
        "The password reset mail never comes",
        "My parcel is marked delivered but is not here",
    ];
    kinds
        .into_iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(n, kind)| format!("{kind} (case {n})"))
        .collect()
}

/// How the stand-in plays from now on.
pub fn plays(world: &World, rules: Value) -> Result<()> {
    let control = Client::new(world.standin.url(), None);
    control
        .post("/control/config", &json!({ "rules": rules }))?
        .ok()?;
    Ok(())
}

/// Tools and builds, once for each test program.
fn ready() -> Result<(Tools, std::path::PathBuf)> {
    static READY: OnceLock<Result<(Tools, std::path::PathBuf), String>> = OnceLock::new();
    READY
        .get_or_init(|| {
            let prepare = || -> Result<_> {
                let tools = setup::prepare()?;
                let program = build::all(&tools)?;
                Ok((tools, program))
            };
            prepare().map_err(|error| format!("{error:#}"))
        })
        .clone()
        .map_err(anyhow::Error::msg)
}

/// The command line as a program, compiled once.
pub fn cli() -> Result<std::path::PathBuf> {
    static BUILT: OnceLock<Result<std::path::PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build::cli().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}
