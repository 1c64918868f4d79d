//! What fills the [`crate::ports`] on Cloudflare: D1, KV, Queues, `fetch`, timers, Web Crypto, the console.
//!
//! The only code besides `lib.rs` that knows `worker`. It decides nothing about jobs: it carries values
//! over the border to JavaScript and back, and turns what JavaScript throws into the errors of the ports.
//! Whatever holds a JavaScript value across an await is wrapped with `worker::send` here, in the
//! adapters: a Worker has one thread, so that promise cannot be broken.
//!
//! - [`d1`], [`kv`], [`queue`], [`claude`], [`web`], [`clock`], [`zones`], [`entropy`], [`log`]: one port each; [`fetch`] under two of them
//! - [`env`]: variables, secrets and bindings become an engine
//! - [`http`]: requests of the runtime become requests of the router, and back
//! - [`messages`]: batches of a queue become calls of the use cases, and verdicts
//! - [`panic`]: what is written down before a panic takes the instance with it
//! - [`rows`], [`pack`], [`verdict`], [`encoding`]: the pure parts of the adapters, tested natively

pub mod encoding;
pub mod pack;
pub mod rows;
pub mod verdict;

#[cfg(target_arch = "wasm32")]
pub mod claude;
#[cfg(target_arch = "wasm32")]
pub mod clock;
#[cfg(target_arch = "wasm32")]
pub mod d1;
#[cfg(target_arch = "wasm32")]
pub mod entropy;
#[cfg(target_arch = "wasm32")]
pub mod env;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
pub mod http;
#[cfg(target_arch = "wasm32")]
mod js;
#[cfg(target_arch = "wasm32")]
pub mod kv;
#[cfg(target_arch = "wasm32")]
pub mod log;
#[cfg(target_arch = "wasm32")]
pub mod messages;
#[cfg(target_arch = "wasm32")]
pub mod panic;
#[cfg(target_arch = "wasm32")]
mod ports;
#[cfg(target_arch = "wasm32")]
pub mod queue;
#[cfg(target_arch = "wasm32")]
pub mod web;
#[cfg(target_arch = "wasm32")]
pub mod zones;

#[cfg(target_arch = "wasm32")]
pub use crate::platform::ports::WorkerPorts;
