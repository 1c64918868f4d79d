//! Fanwise: fans a large job out to Claude and brings one whole answer back.
//!
//! - [`core`]: jobs, plans, states and every decision, pure
//! - [`claude`]: the Messages API, pure half
//! - [`ports`]: the edges of the engine, as traits
//! - [`store`]: the SQL and the rows
//! - [`app`]: the use cases, generic over the ports
//! - [`api`]: HTTP, pure half
//! - [`config`]: typed configuration
//! - `platform` (Wasm only): what fills the ports on Cloudflare

pub mod api;
pub mod app;
pub mod claude;
pub mod config;
pub mod core;
pub mod ports;
pub mod store;

#[cfg(target_arch = "wasm32")]
mod events {
    use worker::{Context, Env, HttpRequest, Result, event};

    #[event(fetch)]
    async fn fetch(_req: HttpRequest, _env: Env, _ctx: Context) -> Result<worker::Response> {
        worker::Response::ok("{\"status\":\"ok\"}")
    }
}
