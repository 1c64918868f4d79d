//! A stand-in for Claude's Messages API, for tests, demos and drills. It answers
//! as the API does, refusals included, and never thinks: answers are a function
//! of the request. It knows nothing of the product it serves but the wire form
//! of its calls, and shares no code with it, so that it can judge it.
//!
//! - `validate`, `schema`, `error`: what is refused, in which words
//! - `prompt`, `tokens`, `models`, `cache`: what a call costs
//! - `answer`: what is said; `message`, `stream`: in which form
//! - `limits`, `faults`, `config`: what goes wrong, and when
//! - `engine`, `calls`, `batches`, `refusals`, `script`: one call from bytes to a
//!   timed script, without clock or socket
//! - `stats`: what happened
//! - `http`, `control`: the engine on a socket
//!
//! Tests start one in their own process with [`Standin::start`]; simulations
//! call [`engine::Engine`] with a virtual clock.

// The build without tests keeps the lints on for all but test modules.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod answer;
mod batches;
mod cache;
mod calls;
mod clock;
pub mod config;
mod control;
pub mod engine;
pub mod error;
pub mod faults;
pub mod http;
mod ids;
pub mod limits;
mod message;
pub mod models;
mod pages;
mod prompt;
mod refusals;
pub mod schema;
mod script;
pub mod stats;
mod stream;
pub mod tokens;
pub mod validate;

use std::{io, net::SocketAddr, sync::mpsc, thread};

use tokio::sync::oneshot;

pub use config::Config;
pub use engine::Engine;

/// A running stand-in, on a thread of its own; dropping it stops it.
#[derive(Debug)]
pub struct Standin {
    address: SocketAddr,
    shared: http::Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Standin {
    /// Starts on a free port. It answers when this returns.
    pub fn start(config: Config) -> io::Result<Self> {
        let shared = http::Shared::new(Engine::new(config, 0, http::now_ms()));
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = mpsc::channel();
        let serving = shared.clone();
        let thread = thread::Builder::new()
            .name("standin".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(fault) => {
                        let _ = ready.send(Err(fault));
                        return;
                    }
                };
                runtime.block_on(async move {
                    match http::listen(0).await {
                        Ok((listener, address)) => {
                            let _ = ready.send(Ok(address));
                            tokio::select! {
                                () = http::serve(listener, serving) => {}
                                _ = stopped => {}
                            }
                        }
                        Err(fault) => {
                            let _ = ready.send(Err(fault));
                        }
                    }
                });
            })?;
        let address = started
            .recv()
            .map_err(|_| io::Error::other("the stand-in ended at once"))??;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:PORT`, for `ANTHROPIC_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Counters as `GET /control/stats` gives them.
    pub fn stats(&self) -> serde_json::Value {
        self.shared.lock().stats().json(http::now_ms(), true)
    }

    /// Changes the configuration, as `POST /control/config` does.
    pub fn configure(&self, changes: &serde_json::Value) -> Result<(), String> {
        let mut engine = self.shared.lock();
        let config = engine.config().with(changes)?;
        engine.configure(config);
        Ok(())
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
