//! HTTP, pure half: what comes in is checked and handed to a use case, what comes out is put into words.
//!
//! Nothing here knows the platform: a request and a response are `http` types, the engine is an [`App`] over
//! any ports, so the whole of it runs natively in tests.
//!
//! - [`problem`]: errors and their documents
//! - [`frame`]: what every response has
//! - [`auth`], [`ticket`]: who is calling
//! - [`conditional`], [`cors`]: what a request says of what its sender has, and where it comes from
//! - [`params`], [`cursor`], [`body`]: what stands in URLs and bodies
//! - [`submit`]: a job comes in, with [`items`], [`documents`], [`shape`] and [`rules`] for its checks, large ones as [`json_text`]
//! - [`upload`]: one whose input is a file, by [`rows`]
//! - [`jobs`], [`tasks`], [`results`] (with [`table`]), [`report`], [`overview`], [`limits`]: what is read
//! - [`events`]: a job is watched
//! - [`tokens`]: who may call
//! - [`mcp`]: all of it as tools of the Model Context Protocol
//! - [`control`]: what is done to a job that exists; [`plans`]: what it will do, and what that takes; [`recipes`]: ready plans
//! - [`health`]: is it up
//! - [`schedules`]: jobs that come in by themselves
//! - [`deliveries`]: what its webhook was told
//! - `openapi`: the document of all that, made by the tests; [`contract`]: it is served, and bodies are held against it
//!
//! To add a route: a handler with `#[utoipa::path]`, a line in [`router`], a line in `openapi`; a test fails
//! where one of the two lines is missing.

use axum::Router;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

pub use self::frame::unrouted;
use self::problem::ApiError;
pub use self::schedules::read_job;
use crate::app::App;
use crate::ports::Ports;

pub mod auth;
mod body;
mod conditional;
mod contract;
mod control;
mod cors;
mod cursor;
mod deliveries;
mod documents;
mod events;
mod frame;
pub mod health;
mod items;
mod jobs;
mod json_text;
mod limits;
mod mcp;
#[cfg(test)]
mod openapi;
mod overview;
mod params;
mod plans;
pub mod problem;
pub mod recipes;
mod reply;
mod report;
mod results;
pub mod rows;
mod rules;
mod schedules;
mod shape;
mod submit;
mod table;
mod tasks;
mod ticket;
mod tokens;
mod upload;

/// What the routes need: the engine, and who may use it.
#[derive(Clone)]
pub struct Api<P: Ports> {
    pub app: App<P>,
    pub auth: auth::Auth,
}

/// All routes, ready to be called with an `http::Request`.
pub fn router<P: Ports>(api: Api<P>) -> Router {
    const READ: &str = "GET, HEAD, OPTIONS";
    const READ_POST: &str = "GET, HEAD, POST, OPTIONS";
    const READ_PUT: &str = "GET, HEAD, PUT, OPTIONS";
    const READ_CHANGE: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";
    const POST: &str = "POST, OPTIONS";
    let jobs = get(jobs::list::<P>).post(submit::submit::<P>);
    let job = get(jobs::get::<P>)
        .patch(control::change::<P>)
        .delete(control::delete::<P>);
    let watch = get(events::watch::<P>).post(events::ticket::<P>);
    let tokens = get(tokens::list::<P>).post(tokens::make::<P>);
    let token = get(tokens::get::<P>)
        .patch(tokens::change::<P>)
        .delete(tokens::revoke::<P>);
    let schedule_list = get(schedules::list::<P>).post(schedules::create::<P>);
    let schedule = get(schedules::get::<P>)
        .patch(schedules::change::<P>)
        .delete(schedules::delete::<P>);
    let v1 = Router::new()
        .route("/jobs", allowing(READ_POST, jobs))
        .route("/jobs/{id}", allowing(READ_CHANGE, job))
        .route(
            "/jobs/{id}/cancel",
            allowing(POST, post(control::cancel::<P>)),
        )
        .route(
            "/jobs/{id}/pause",
            allowing(POST, post(control::pause::<P>)),
        )
        .route(
            "/jobs/{id}/resume",
            allowing(POST, post(control::resume::<P>)),
        )
        .route(
            "/jobs/{id}/retry",
            allowing(POST, post(control::retry::<P>)),
        )
        .route(
            "/jobs/{id}/plan",
            allowing(READ_PUT, get(plans::get::<P>).put(plans::replace::<P>)),
        )
        .route(
            "/jobs/{id}/approve",
            allowing(POST, post(plans::approve::<P>)),
        )
        .route("/recipes", allowing(READ, get(recipes::list::<P>)))
        .route("/recipes/{name}", allowing(READ, get(recipes::get::<P>)))
        .route("/estimates", allowing(POST, post(plans::estimate::<P>)))
        .route("/jobs/{id}/tasks", allowing(READ, get(tasks::list::<P>)))
        .route(
            "/jobs/{id}/tasks/{index}",
            allowing(READ, get(tasks::get::<P>)),
        )
        .route("/jobs/{id}/results", allowing(READ, get(results::get::<P>)))
        .route("/jobs/{id}/report", allowing(READ, get(report::get::<P>)))
        .route(
            "/jobs/{id}/states",
            allowing(READ, get(overview::states::<P>)),
        )
        .route(
            "/jobs/{id}/timeline",
            allowing(READ, get(overview::timeline::<P>)),
        )
        .route("/jobs/{id}/events", allowing(READ_POST, watch))
        .route("/tokens", allowing(READ_POST, tokens))
        .route("/tokens/{id}", allowing(READ_CHANGE, token))
        .route(
            "/jobs/{id}/deliveries",
            allowing(READ, get(deliveries::list::<P>)),
        )
        .route(
            "/jobs/{id}/deliveries/{delivery}/redeliver",
            allowing(POST, post(deliveries::redeliver::<P>)),
        )
        .route(
            "/webhook-secret",
            allowing(READ, get(deliveries::secret::<P>)),
        )
        .route("/schedules", allowing(READ_POST, schedule_list))
        .route("/schedules/{id}", allowing(READ_CHANGE, schedule))
        .route(
            "/schedules/{id}/run",
            allowing(POST, post(schedules::run::<P>)),
        )
        .route("/limits", allowing(READ, get(limits::get::<P>)))
        .fallback(no_such_route)
        .layer(from_fn_with_state(api.clone(), auth::guard::<P>));
    let mcp = Router::new()
        .route("/mcp", allowing(POST, post(mcp::post::<P>)))
        .layer(from_fn_with_state(api.clone(), auth::authenticate::<P>));
    Router::new()
        .route("/healthz", allowing(READ, get(health::healthz::<P>)))
        .route("/openapi.json", allowing(READ, get(contract::document)))
        .nest("/v1", v1)
        .merge(mcp)
        .fallback(no_such_route)
        .layer(from_fn_with_state(api.clone(), frame::frame::<P>))
        .with_state(api)
}

/// Adds what every address has: `OPTIONS`, and a refusal of all other methods; both name those it takes.
/// (`HEAD` comes with `GET`.) The list is spelt out, as it cannot be read from a `MethodRouter`; a test
/// holds it against the OpenAPI document.
fn allowing<S: Clone + Send + Sync + 'static>(
    methods: &'static str,
    router: MethodRouter<S>,
) -> MethodRouter<S> {
    let allow = [(ALLOW, HeaderValue::from_static(methods))];
    let refusal = allow.clone();
    router
        .options(|| async { (StatusCode::NO_CONTENT, allow) })
        .fallback(|| async { (refusal, ApiError::method_not_allowed()) })
}

/// Scheme and host that a request came to; empty where it does not say (natively).
fn origin(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
        _ => String::new(),
    }
}

async fn no_such_route() -> ApiError {
    ApiError::no_such_route()
}
