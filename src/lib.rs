//! Fanwise: fans a large job out to Claude and brings one whole answer back.
//!
//! Its layers, bottom to top: `core`, `config`, `claude`, `ports`, `store`, `app`, `api`, `platform`, `lib.rs`. Each imports only
//! layers below it; a test checks that (`tests/architecture`).
//!
//! - [`core`]: jobs, plans, states and every decision, pure
//! - [`config`]: typed configuration
//! - [`claude`]: the Messages API, pure half
//! - [`ports`]: the edges of the engine, as traits
//! - [`store`]: the SQL and the rows
//! - [`app`]: the use cases, generic over the ports
//! - [`api`]: HTTP, pure half
//! - `platform` (Wasm only): what fills the ports on Cloudflare

pub mod api;
pub mod app;
pub mod claude;
pub mod config;
pub mod core;
pub mod ports;
pub mod store;

#[cfg(any(target_arch = "wasm32", test))]
pub mod platform;

#[cfg(target_arch = "wasm32")]
mod events {
    use tower::ServiceExt;
    use worker::{
        Context, Env, MessageBatch, Result, ScheduleContext, ScheduledEvent, event, web_sys,
    };

    use crate::api::problem::ApiError;
    use crate::api::{health, unrouted};
    use crate::app::job::sweep;
    use crate::platform::clock::EdgeClock;
    use crate::platform::entropy::WebCrypto;
    use crate::platform::http::HttpResponse;
    use crate::platform::{env, http, messages, panic};

    /// When nothing can be done for want of configuration, messages come back after so long.
    const PUT_OFF_SECONDS: u32 = 60;

    #[event(start)]
    fn start() {
        panic::install();
    }

    /// Every request. An error would be a bare 500, so there is none: what cannot be served gets a
    /// problem document.
    #[event(fetch)]
    async fn fetch(raw: web_sys::Request, env: Env, _context: Context) -> Result<HttpResponse> {
        let Some(request) = http::request(&raw) else {
            let message = "has a URL or a header that cannot be read";
            return Ok(answer(Err(ApiError::fault("request", message))));
        };
        let engine = match env::engine(&env) {
            Ok(engine) => engine,
            Err(faults) => {
                let auth = env::auth(&env);
                let told = health::unwell(request.uri(), request.headers(), &auth, &faults);
                return Ok(answer(told));
            }
        };
        let packing = http::Packing::of(&raw);
        let response = engine
            .router
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
        Ok(packing.apply(response))
    }

    fn answer(answer: Result<HttpResponse, ApiError>) -> HttpResponse {
        unrouted(answer, &EdgeClock, &WebCrypto)
    }

    /// A batch of any of the queues. Never an error: one would take the whole instance with it.
    #[event(queue)]
    async fn queue(batch: MessageBatch<()>, env: Env, _context: Context) -> Result<()> {
        match env::engine(&env) {
            Ok(engine) => {
                let app = engine.for_invocation();
                messages::settle(&app, &batch).await;
                app.ports.log.end();
            }
            Err(_) => messages::put_off(&batch, PUT_OFF_SECONDS),
        }
        Ok(())
    }

    /// Every minute: whatever was lost is picked up again.
    #[event(scheduled)]
    async fn scheduled(_event: ScheduledEvent, env: Env, _context: ScheduleContext) {
        let Ok(engine) = env::engine(&env) else {
            return;
        };
        let app = engine.for_invocation();
        if let Err(error) = sweep::sweep(&app).await {
            app.log_fault("sweep", &error.to_string());
        }
        app.ports.log.end();
    }
}
