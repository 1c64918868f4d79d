//! `/control`: what tests and drills read from the stand-in and tell it.
//!
//! | call | answer |
//! |---|---|
//! | `GET /control/stats?tasks=0` | all counters, per task unless `tasks=0` |
//! | `GET /control/calls?limit=50&bodies=1` | the last calls, newest first |
//! | `GET /control/timeline?class=haiku-5-5` | per second: requests, input, output, refused |
//! | `GET /control/config` | the configuration, with the rules that are left |
//! | `POST /control/config` | changes it; the JSON names what changes |
//! | `POST /control/kill?grace_ms=2000` | the client is being killed now |
//! | `POST /control/reset` | counters, caches and limits start afresh |
//! | `GET /control/faults` | every kind of fault with a line on each |

use std::collections::HashMap;

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};

use crate::{
    faults::Fault,
    http::{Shared, now_ms},
};

type Params = Query<HashMap<String, String>>;

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/control/stats", get(stats))
        .route("/control/calls", get(calls))
        .route("/control/timeline", get(timeline))
        .route("/control/config", get(config).post(configure))
        .route("/control/kill", post(kill))
        .route("/control/reset", post(reset))
        .route("/control/faults", get(faults))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

fn ok(value: &Value) -> Response {
    answer(StatusCode::OK, value)
}

fn number(params: &Params, name: &str, default: u64) -> u64 {
    params
        .get(name)
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

async fn stats(State(shared): State<Shared>, params: Params) -> Response {
    let tasks = number(&params, "tasks", 1) != 0;
    ok(&shared.lock().stats().json(now_ms(), tasks))
}

async fn calls(State(shared): State<Shared>, params: Params) -> Response {
    let limit = usize::try_from(number(&params, "limit", 50)).unwrap_or(usize::MAX);
    let bodies = number(&params, "bodies", 1) != 0;
    ok(&shared.lock().stats().calls(limit, bodies))
}

async fn timeline(State(shared): State<Shared>, params: Params) -> Response {
    let class = params.get("class").map_or("haiku-5-5", String::as_str);
    ok(&shared.lock().stats().timeline(class))
}

async fn config(State(shared): State<Shared>) -> Response {
    let config = shared.lock().config().clone();
    ok(&serde_json::to_value(config).unwrap_or_default())
}

async fn configure(State(shared): State<Shared>, body: Bytes) -> Response {
    let mut engine = shared.lock();
    let changed = serde_json::from_slice::<Value>(&body)
        .map_err(|e| e.to_string())
        .and_then(|changes| engine.config().with(&changes));
    match changed {
        Ok(config) => {
            let shown = serde_json::to_value(&config).unwrap_or_default();
            engine.configure(config);
            ok(&shown)
        }
        Err(fault) => answer(StatusCode::BAD_REQUEST, &json!({ "error": fault })),
    }
}

async fn kill(State(shared): State<Shared>, params: Params) -> Response {
    let grace_ms = number(&params, "grace_ms", 2_000);
    let in_flight = shared.lock().stats_mut().mark(now_ms(), grace_ms);
    ok(&json!({ "in_flight": in_flight }))
}

async fn reset(State(shared): State<Shared>) -> Response {
    shared.lock().reset(now_ms());
    ok(&json!({}))
}

async fn faults() -> Response {
    let all: Map<String, Value> = Fault::ALL
        .iter()
        .map(|f| (f.as_str().to_owned(), f.about().into()))
        .collect();
    ok(&Value::Object(all))
}
