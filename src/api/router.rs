//! All routes: their addresses and methods, and the layers in front of them.

use axum::Extension;
use axum::Router;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

use crate::api::http::problem::ApiError;
use crate::api::http::state::Api;
use crate::api::http::{guard, headers};
use crate::api::mcp;
use crate::api::openapi::document;
use crate::api::routes::looks::Looks;
use crate::api::routes::{
    control, deliveries, events, health, jobs, limits, overview, plans, recipes, report, results,
    schedules, submit, tasks, tokens,
};
use crate::ports::Ports;

/// All routes, ready to be called with an `http::Request`.
pub fn router<P: Ports>(api: Api<P>) -> Router {
    const READ: &str = "GET, HEAD, OPTIONS";
    const READ_POST: &str = "GET, HEAD, POST, OPTIONS";
    const READ_PUT: &str = "GET, HEAD, PUT, OPTIONS";
    const READ_CHANGE: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";
    const POST: &str = "POST, OPTIONS";
    const DELETE: &str = "DELETE, OPTIONS";
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
            "/jobs/{id}/release",
            allowing(POST, post(control::release::<P>)),
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
        .route(
            "/limits/left_out",
            allowing(DELETE, delete(limits::forget_left_out::<P>)),
        )
        .fallback(no_such_route)
        .layer(from_fn_with_state(api.clone(), guard::guard::<P>));
    let mcp = Router::new()
        .route("/mcp", allowing(POST, post(mcp::post::<P>)))
        .layer(from_fn_with_state(api.clone(), guard::authenticate::<P>));
    Router::new()
        .route("/healthz", allowing(READ, get(health::healthz::<P>)))
        .route("/openapi.json", allowing(READ, get(document::document)))
        .nest("/v1", v1)
        .merge(mcp)
        .fallback(no_such_route)
        .layer(Extension(Looks::default()))
        .layer(from_fn_with_state(api.clone(), headers::complete::<P>))
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

async fn no_such_route() -> ApiError {
    ApiError::no_such_route()
}
