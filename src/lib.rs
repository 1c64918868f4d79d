//! Fanwise: fans a large job out to Claude and brings one whole answer back.

pub mod claude;
pub mod core {
    pub mod schema;
}

#[cfg(target_arch = "wasm32")]
mod events {
    use worker::{Context, Env, HttpRequest, Result, event};

    #[event(fetch)]
    async fn fetch(_req: HttpRequest, _env: Env, _ctx: Context) -> Result<worker::Response> {
        worker::Response::ok("{\"status\":\"ok\"}")
    }
}
