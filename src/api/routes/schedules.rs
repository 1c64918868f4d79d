//! `/v1/schedules`: jobs that come in by themselves.
//!
//! A schedule holds the body of a submit. It is checked when it is written, by the very checks of a submit, and again
//! with each run, together with the input that was fetched for it: [`read_job`] is what the engine is handed for that.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::http::auth::Caller;
use crate::api::http::cursor::AfterSchedule;
use crate::api::http::params::{NoQuery, Query, ScheduleId};
use crate::api::http::problem::{ApiError, Faults, Problem};
use crate::api::http::state::Api;
use crate::api::http::{body, cursor, reply};
use crate::api::validate::body_check::BodyCheck;
use crate::api::validate::empty_body::{Nothing, nothing};
use crate::api::validate::json_text::json_len;
use crate::api::validate::scheduled_job::read_job;
use crate::api::validate::schema_check::SchemaCheck;
use crate::app;
use crate::app::account::tokens::Spends;
use crate::app::submit::schedules;
use crate::app::submit::schedules::{Fetched, Schedule};
use crate::app::view::{Page, ScheduleRunView, ScheduleView};
use crate::app::{App, submit};
use crate::core::schedule::{InputFormat, Overlap};
use crate::core::value::token::Scope;
use crate::ports::Ports;

/// A schedule's job is one row of the database; a larger input belongs to an address of its own.
const JOB_BYTES: u64 = 500_000;
/// Stands for an address that is there, whatever is wrong with it.
const ANY_URL: &str = "https://example.com/";

static CREATE: BodyCheck = BodyCheck::of::<ScheduleBody>();
static CHANGE: BodyCheck = BodyCheck::of::<ScheduleChange>();

/// A schedule.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSchedule)]
pub struct ScheduleBody {
    #[serde(default)]
    #[schema(max_length = 100)]
    name: Option<String>,
    /// Five fields: minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    /// `@yearly`.
    #[schema(min_length = 1, max_length = 200, examples("0 7 * * MON-FRI"))]
    cron: String,
    /// A name of the IANA database. Default: `UTC`.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_+/-]{0,63}$", examples("Europe/Berlin"))]
    time_zone: Option<String>,
    /// The policy for a run that is due while the job of an earlier run is at work. Default: `skip`.
    #[serde(default)]
    overlap: Option<Overlap>,
    #[serde(default)]
    paused: Option<bool>,
    /// The body of `POST /v1/jobs`; with `input_url`, without its `input`.
    #[schema(value_type = Object)]
    job: Value,
    /// A public address that is read at each run.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 2048)]
    input_url: Option<String>,
    /// The format of the input. Default: by its content type.
    #[serde(default)]
    input_format: Option<InputFormat>,
}

/// The fields to change; a field that is left out stays. Null removes `input_url` and `input_format`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleChange {
    #[schema(max_length = 100)]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    cron: Option<String>,
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]
    time_zone: Option<String>,
    overlap: Option<Overlap>,
    /// Runs that are missed during a pause are not made up.
    paused: Option<bool>,
    #[schema(value_type = Option<Object>)]
    job: Option<Value>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2048)]
    input_url: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<InputFormat>)]
    input_format: Option<Option<InputFormat>>,
}

/// Tells null from nothing.
fn given<'de, D, T>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(from).map(Some)
}

/// List schedules
///
/// Newest first, without what they submit.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    operation_id = "listSchedules",
    tag = "schedules",
    params(
        ("limit" = Option<u32>, Query, description = "Entries on a page.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of schedules", body = Page<ScheduleView>)),
)]
pub async fn list<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit();
    let after = query.cursor();
    let after = after.map(|AfterSchedule { created_ms, id }| (created_ms, id));
    query.end()?;
    let (mut data, next) = schedules::list(&api.app, &caller.tenant, after, limit).await?;
    data.iter_mut()
        .for_each(|view| hide_addresses(view, &caller));
    let next_cursor = next.map(|(created_ms, id)| cursor::write(AfterSchedule { created_ms, id }));
    Ok(reply::ok(&Page { data, next_cursor }))
}

/// Make a schedule
///
/// It is due from now on: its next times are in `next_runs`.
#[utoipa::path(
    post,
    path = "/v1/schedules",
    operation_id = "createSchedule",
    tag = "schedules",
    request_body(content = ScheduleBody, content_type = "application/json"),
    responses(
        (status = 201, description = "The schedule", body = ScheduleView, headers(("location" = String, description = "Its address"))),
        (status = 409, description = "The tenant has the most schedules it may have", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn create<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let cap = body::small(&api.app.config.caps);
    let bytes = body::json_bytes(&headers, body, cap).await?;
    let value = body::parse(&bytes)?;
    let body: ScheduleBody = sound(&api.app, value, CREATE.schema()?, blank())?;
    let schedule = Schedule {
        name: body.name.unwrap_or_default(),
        cron: body.cron,
        time_zone: body.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        overlap: body.overlap.unwrap_or_default(),
        paused: body.paused.unwrap_or_default(),
        job: body.job,
        input_url: body.input_url,
        input_format: body.input_format,
    };
    let made = schedules::create(&api.app, caller.owner(), &schedule).await?;
    let location = HeaderValue::try_from(format!("/v1/schedules/{}", made.id))
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let mut response = reply::with(StatusCode::CREATED, &made);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Get a schedule
///
/// With its next times and its last runs.
#[utoipa::path(
    get,
    path = "/v1/schedules/{id}",
    operation_id = "getSchedule",
    tag = "schedules",
    params(("id" = String, Path, description = "The schedule", pattern = "^sched_[0-9a-f]{32}$")),
    responses((status = 200, description = "The schedule", body = ScheduleView)),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    ScheduleId(id): ScheduleId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let mut schedule = schedules::get(&api.app, &caller.tenant, &id).await?;
    hide_addresses(&mut schedule, &caller);
    Ok(reply::ok(&schedule))
}

/// Change or pause a schedule
#[utoipa::path(
    patch,
    path = "/v1/schedules/{id}",
    operation_id = "changeSchedule",
    tag = "schedules",
    params(("id" = String, Path, description = "The schedule", pattern = "^sched_[0-9a-f]{32}$")),
    request_body(content = ScheduleChange, content_type = "application/json"),
    responses((status = 200, description = "The schedule, changed", body = ScheduleView)),
)]
pub async fn change<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    ScheduleId(id): ScheduleId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let cap = body::small(&api.app.config.caps);
    let bytes = body::json_bytes(&headers, body, cap).await?;
    let value = body::parse(&bytes)?;
    let before = schedules::load(&api.app, &caller.tenant, &id).await?;
    let schema = CHANGE.schema()?;
    let change: ScheduleChange = sound(&api.app, value, schema, before.clone())?;
    let schedule = Schedule {
        name: change.name.unwrap_or(before.name),
        cron: change.cron.unwrap_or(before.cron),
        time_zone: change.time_zone.unwrap_or(before.time_zone),
        overlap: change.overlap.unwrap_or(before.overlap),
        paused: change.paused.unwrap_or(before.paused),
        job: change.job.unwrap_or(before.job),
        input_url: change.input_url.unwrap_or(before.input_url),
        input_format: change.input_format.unwrap_or(before.input_format),
    };
    caller.may_spend(&api.app, Spends::Schedule(&id)).await?;
    let changed = schedules::replace(&api.app, &caller.tenant, &id, &schedule).await?;
    Ok(reply::ok(&changed))
}

/// Delete a schedule
///
/// The jobs that it started stay.
#[utoipa::path(
    delete,
    path = "/v1/schedules/{id}",
    operation_id = "deleteSchedule",
    tag = "schedules",
    params(("id" = String, Path, description = "The schedule", pattern = "^sched_[0-9a-f]{32}$")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn delete<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    ScheduleId(id): ScheduleId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    schedules::delete(&api.app, &caller.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Run a schedule now
///
/// Paused or not, and whatever is at work. The run is in `last_runs` of the schedule, with its job once it has one.
#[utoipa::path(
    post,
    path = "/v1/schedules/{id}/run",
    operation_id = "runSchedule",
    tag = "schedules",
    params(("id" = String, Path, description = "The schedule", pattern = "^sched_[0-9a-f]{32}$")),
    request_body(content = Nothing, content_type = "application/json"),
    responses(
        (status = 202, description = "The run, about to start", body = ScheduleRunView),
        (status = 429, description = "The token submits too often", body = Problem, content_type = "application/problem+json", headers(("retry-after" = u64, description = "Seconds until it may go on"))),
    ),
)]
pub async fn run<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    ScheduleId(id): ScheduleId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    nothing(&api, &headers, body).await?;
    caller.may_spend(&api.app, Spends::Schedule(&id)).await?;
    caller.may_submit(&api.app).await?;
    let run = schedules::run_now(&api.app, &caller.tenant, &id).await?;
    Ok(reply::with(StatusCode::ACCEPTED, &run))
}

/// Paths and queries of addresses may be secret: a caller that only reads sees where they lead.
fn hide_addresses(view: &mut ScheduleView, caller: &Caller) {
    if caller.must(Scope::Run).is_ok() {
        return;
    }
    let webhook = view
        .job
        .as_mut()
        .and_then(|job| job.pointer_mut("/webhook/url"));
    if let Some(Value::String(url)) = webhook {
        *url = server_of(url);
    }
    view.input_url = view.input_url.as_deref().map(server_of);
}

fn server_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// A schedule of which nothing was said.
fn blank() -> Schedule {
    Schedule {
        name: String::new(),
        cron: "@daily".to_owned(),
        time_zone: "UTC".to_owned(),
        overlap: Overlap::default(),
        paused: false,
        job: Value::Null,
        input_url: None,
        input_format: None,
    }
}

/// The body of a schedule, or of a change of `before`; or all that is wrong with it, its job included. What has the wrong shape is
/// named as such, and the rest is looked at all the same.
fn sound<P: Ports, T: DeserializeOwned>(
    app: &App<P>,
    value: Value,
    schema: &SchemaCheck,
    before: Schedule,
) -> Result<T, ApiError> {
    let mut faults = Faults::default();
    schema.check(&value, &mut faults);
    if value.is_object() {
        let schedule = laid_over(before, &value, &faults);
        check(app, &schedule, &mut faults)?;
    }
    faults.into_result()?;
    T::deserialize(value).map_err(|error| ApiError::fault("body", error.to_string()))
}

/// `before` with what a body says of it, as far as that has the right shape.
fn laid_over(before: Schedule, body: &Value, faults: &Faults) -> Schedule {
    fn part<T: DeserializeOwned>(body: &Value, faults: &Faults, name: &str) -> Option<T> {
        let value = body.get(name).filter(|_| !faults.names(name))?;
        Option::deserialize(value).ok().flatten()
    }
    let given = |name: &str| body.get(name).is_some();
    Schedule {
        name: String::new(),
        cron: part(body, faults, "cron").unwrap_or(before.cron),
        time_zone: part(body, faults, "time_zone").unwrap_or(before.time_zone),
        overlap: before.overlap,
        paused: before.paused,
        job: part(body, faults, "job").unwrap_or(before.job),
        input_url: match given("input_url") {
            // That there is one counts all the same.
            true if faults.names("input_url") => Some(ANY_URL.to_owned()),
            true => part(body, faults, "input_url"),
            false => before.input_url,
        },
        input_format: match given("input_format") {
            true => part(body, faults, "input_format"),
            false => before.input_format,
        },
    }
}

/// Adds what is wrong with a schedule, its job included; nothing is said of a job that has no shape at all.
fn check<P: Ports>(app: &App<P>, schedule: &Schedule, faults: &mut Faults) -> Result<(), ApiError> {
    for (path, message) in schedules::faults(app, schedule) {
        faults.add(path, message);
    }
    if schedule.input_url.is_none() && schedule.input_format.is_some() {
        faults.add("input_format", "is for an `input_url`, and there is none");
    }
    let length = json_len(&schedule.job);
    if length > JOB_BYTES {
        let message = format!(
            "has {length} bytes; at most {JOB_BYTES} are allowed: put its input to an `input_url`"
        );
        faults.add("job", message);
    }
    if faults.names("job") {
        return Ok(());
    }
    // What will be fetched is not known yet; anything that can be an item stands for it.
    let stand_in = schedule.input_url.as_ref().map(|_| Fetched {
        format: schedule.input_format.unwrap_or(InputFormat::Jsonl),
        bytes: match schedule.input_format {
            Some(InputFormat::Csv) => b"text\nx\n".to_vec(),
            Some(InputFormat::Text) => b"x".to_vec(),
            Some(InputFormat::Jsonl) | None => b"\"x\"\n".to_vec(),
        },
    });
    let job = match read_job(schedule.job.clone(), stand_in, &app.config) {
        Ok(submit) => submit::check(app, &submit),
        Err(list) => Err(app::AppError::Invalid(list)),
    };
    match job {
        Ok(()) => Ok(()),
        Err(app::AppError::Invalid(list)) => {
            for (path, message) in list {
                faults.add(below_job(&path), message);
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a fault of a submit is in a schedule.
fn below_job(path: &str) -> String {
    match path {
        "body" => "job".to_owned(),
        path if path.starts_with('[') => format!("job{path}"),
        path => format!("job.{path}"),
    }
}
