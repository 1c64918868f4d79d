//! HTTP, the pure half: requests are checked and handed to a use case, its results become responses.
//!
//! Nothing here knows the platform: requests and responses are `http` types, and the engine is an [`App`](crate::app::App)
//! over any ports. So all of it runs natively in tests.
//!
//! Its parts, bottom to top: `http`, `openapi`, `validate`, `routes`, `mcp`, `router.rs`, `mod.rs`. Each part imports only parts
//! below it; a test checks that (`tests/architecture`).
//!
//! - [`http`]: the request, the caller, the response and its errors; used by every route
//! - [`openapi`]: the OpenAPI document as it is served, and (in tests) the code that makes it
//! - [`validate`]: the checks of request bodies, pure
//! - [`routes`]: one file for each resource
//! - [`mcp`]: the same use cases as tools of the Model Context Protocol
//! - [`router`]: addresses, methods and layers
//!
//! To add a route: a handler with `#[utoipa::path]` in [`routes`], a line in [`router`](mod@router), a line in
//! `openapi/generate.rs`. A test fails if one of the two lines is missing.
//!
//! Code outside this folder uses the names that are re-exported here.

mod http;
mod mcp;
mod openapi;
mod router;
mod routes;
mod validate;

pub use crate::api::http::headers::unrouted;
pub use crate::api::http::state::Api;
pub use crate::api::http::{auth, problem};
pub use crate::api::router::router;
pub use crate::api::routes::{health, recipes};
pub use crate::api::validate::scheduled_job::read_job;
pub use crate::api::validate::{encoding, entry, rows, table};
