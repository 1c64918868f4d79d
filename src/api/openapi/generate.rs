//! The OpenAPI 3.1 document, made from the handlers and types that serve.
//!
//! It is the same for every build, so it is made once, by the tests, into `openapi.json`, which [`crate::api::openapi::document`] serves: the
//! derived descriptions would be a tenth of the Worker. The test below fails where that file is not what is made here.
//!
//! What all operations share (errors, the request id) is added here in one place instead of being repeated at
//! every handler. Examples are made by the code that makes the real thing, so they cannot go stale.

use serde_json::{Value, json};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{self, Content, ContentBuilder, ObjectBuilder, Paths, Ref, RefOr, Schema};
use utoipa::{Modify, OpenApi, ToSchema};

use super::document;
use crate::api::http::problem;
use crate::api::http::problem::{ApiError, Code, Fault, Problem};
use crate::api::mcp;
use crate::api::routes::control::RetryBody;
use crate::api::routes::schedules::ScheduleBody;
use crate::api::routes::{
    control, deliveries, events, health, jobs, limits, overview, plans, recipes, report, results,
    schedules, submit, tasks, tokens,
};
use crate::api::validate::empty_body::Nothing;
use crate::api::validate::schema_check::SchemaCheck;
use crate::api::validate::submit_body::SubmitBody;
use crate::app::planning::commands::{EstimateView, PlanView};
use crate::app::view::{Cost, ItemCounts, JobView, Progress, TaskCounts, Usage};
use crate::core::value::token::Scope;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fanwise",
        description = "Fans a large job out to Claude and brings one whole answer back. Errors are `application/problem+json` with a stable `code`; every response has `x-request-id`.",
    ),
    servers((url = "/", description = "This service")),
    paths(
        submit::submit,
        jobs::list,
        jobs::get,
        control::change,
        control::delete,
        control::cancel,
        control::pause,
        control::release,
        control::resume,
        control::retry,
        plans::estimate,
        plans::get,
        plans::replace,
        plans::approve,
        recipes::list,
        recipes::get,
        tasks::list,
        tasks::get,
        results::get,
        report::get,
        overview::states,
        overview::timeline,
        events::watch,
        events::ticket,
        tokens::make,
        tokens::list,
        tokens::get,
        tokens::change,
        tokens::revoke,
        mcp::post,
        schedules::list,
        schedules::create,
        schedules::get,
        schedules::change,
        schedules::delete,
        schedules::run,
        deliveries::list,
        deliveries::redeliver,
        deliveries::secret,
        limits::get,
        limits::forget_left_out,
        health::healthz,
        document::document,
    ),
    components(schemas(Problem, Fault, Code, results::Format, results::Include)),
    security(("bearer" = [])),
    tags(
        (name = "jobs", description = "Jobs and what became of them"),
        (name = "plans", description = "Plans, estimates and approval"),
        (name = "tokens", description = "Tokens of callers"),
        (name = "mcp", description = "The same for agents"),
        (name = "schedules", description = "Jobs that come in by themselves"),
        (name = "webhooks", description = "Notifications about jobs"),
        (name = "limits", description = "The account's rate limits"),
        (name = "service", description = "The service itself; no token needed"),
    ),
    modifiers(&Shared),
)]
struct Document;

/// What all operations share.
struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
        for (name, description, example) in problems() {
            let problem = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(Problem::name())))
                .example(serde_json::to_value(example.into_problem(REQUEST_ID.into())).ok());
            let mut response = ResponseBuilder::new()
                .description(description)
                .content(problem::CONTENT_TYPE, problem.build());
            if name == "Unauthorized" {
                response = response.header("www-authenticate", text_header("`Bearer`"));
            }
            let response = response.header("x-request-id", request_id()).build();
            components
                .responses
                .insert(name.to_owned(), RefOr::T(response));
        }
        link(&mut document.paths);
        for (path, item) in &mut document.paths.paths {
            for operation in [&mut item.get, &mut item.post, &mut item.put]
                .into_iter()
                .chain([&mut item.patch, &mut item.delete])
                .flatten()
            {
                complete(path, operation);
            }
        }
    }
}

/// From what makes a thing to all that can be done with it: its id is in the answer.
fn link(paths: &mut Paths) {
    for (makes, below) in [
        ("/v1/jobs", "/v1/jobs/{id}"),
        ("/v1/tokens", "/v1/tokens/{id}"),
        ("/v1/schedules", "/v1/schedules/{id}"),
    ] {
        let with_id = paths
            .paths
            .iter()
            .filter(|(path, _)| path.starts_with(below));
        let operations = with_id
            .flat_map(|(_, item)| [&item.get, &item.post, &item.put, &item.patch, &item.delete]);
        let links: Vec<(String, Link)> = operations
            .flatten()
            .filter_map(|operation| operation.operation_id.clone())
            .map(|name| {
                let link = Link::builder()
                    .operation_id(&name)
                    .parameter("id", "$response.body#/id")
                    .build();
                (name, link)
            })
            .collect();
        let made = paths
            .paths
            .get_mut(makes)
            .and_then(|item| item.post.as_mut());
        let answers = made
            .into_iter()
            .flat_map(|operation| &mut operation.responses.responses);
        for (_, answer) in answers.filter(|(status, _)| ["201", "202"].contains(&status.as_str())) {
            if let RefOr::T(answer) = answer {
                let links = links.iter().cloned();
                answer
                    .links
                    .extend(links.map(|(name, link)| (name, RefOr::T(link))));
            }
        }
    }
}

/// Adds to one operation what follows from its shape.
fn complete(path: &str, operation: &mut Operation) {
    let mut add = |status: &str, name: &str| {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
    };
    if path.starts_with("/v1") || path == "/mcp" {
        add("401", "Unauthorized");
        add("403", "Forbidden");
        add("422", "InvalidRequest");
        add("503", "Unavailable");
    }
    if path == "/healthz" {
        add("401", "Unauthorized");
        add("403", "Forbidden");
        add("422", "InvalidRequest");
    }
    if path.contains('{') {
        add("404", "NotFound");
    }
    if operation.request_body.is_some() {
        add("400", "InvalidJson");
        add("413", "TooLarge");
        add("415", "UnsupportedMediaType");
    }
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else {
            continue;
        };
        let headers = &mut response.headers;
        headers.insert("x-request-id".to_owned(), RefOr::T(request_id()));
        response.content.values_mut().for_each(add_example);
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        // An optional header may be left out, but it cannot be null.
        if let RefOr::T(parameter) = parameter
            && matches!(parameter.parameter_in, ParameterIn::Header)
            && let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        {
            object.schema_type = openapi::Type::String.into();
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.values_mut().for_each(add_example);
        // Where nothing need be said, the body may be left out.
        if [Nothing::name(), RetryBody::name()]
            .into_iter()
            .any(|name| body.content.values().any(|content| holds(content, &name)))
        {
            body.required = Some(openapi::Required::False);
        }
    }
}

fn holds(content: &RefOr<Content>, name: &str) -> bool {
    let RefOr::T(content) = content else {
        return false;
    };
    content.schema == Some(RefOr::Ref(Ref::from_schema_name(name)))
}

/// The types that are hardest to picture.
fn add_example(content: &mut RefOr<Content>) {
    let example = if holds(content, &JobView::name()) {
        serde_json::to_value(job_example()).ok()
    } else if holds(content, &SubmitBody::name()) {
        Some(submit_example())
    } else if holds(content, &PlanView::name()) {
        serde_json::to_value(plans::examples::plan_example()).ok()
    } else if holds(content, &EstimateView::name()) {
        serde_json::to_value(plans::examples::estimate_example()).ok()
    } else if holds(content, &ScheduleBody::name()) {
        Some(schedule_example())
    } else {
        return;
    };
    if let RefOr::T(content) = content {
        content.example = example;
    }
}

const REQUEST_ID: &str = "req_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";

fn text_header(description: &str) -> openapi::Header {
    HeaderBuilder::new()
        .schema(Some(
            ObjectBuilder::new().schema_type(openapi::Type::String),
        ))
        .description(Some(description))
        .build()
}

fn request_id() -> openapi::Header {
    text_header("The caller's own `x-request-id`, or one made here")
}

/// The problem documents that many operations share, each with one that is really sent.
fn problems() -> [(&'static str, &'static str, ApiError); 8] {
    let mut fault = problem::Faults::default();
    fault.add("stages[0].chunk.items", "must be at least 1, is 0");
    [
        (
            "InvalidJson",
            "The body is not JSON",
            ApiError::invalid_json(
                "The body is not valid JSON: expected value at line 1 column 1.",
            ),
        ),
        (
            "Unauthorized",
            "No token, or one that is not known",
            ApiError::unauthorized(),
        ),
        (
            "Forbidden",
            "The token was not made for this",
            ApiError::forbidden(Scope::Run),
        ),
        (
            "NotFound",
            "There is no such thing for this caller",
            ApiError::no_such("job"),
        ),
        (
            "TooLarge",
            "The body is larger than the cap",
            ApiError::too_large(33_554_432, Some("MAX_BODY_BYTES")),
        ),
        (
            "UnsupportedMediaType",
            "The body is of another type",
            ApiError::unsupported_media_type(
                "The body must have the content type application/json.",
            ),
        ),
        (
            "InvalidRequest",
            "Something in the request is wrong; each fault is listed with its path",
            ApiError::invalid(fault),
        ),
        (
            "Unavailable",
            "Something is away (`unavailable`: try again), no token is configured (`auth_not_configured`), or a variable is wrong (`misconfigured`)",
            ApiError::unavailable(""),
        ),
    ]
}

fn submit_example() -> Value {
    json!({
        "task": "Identify the recurring issue patterns in these support tickets",
        "input": {
            "items": [
                "I was charged twice this month.",
                {"id": "T-2", "text": "The export stops at 90 %.", "plan": "pro"}
            ]
        },
        "stages": [
            {
                "name": "classify",
                "kind": "map",
                "instructions": "Classify each ticket by its main category.",
                "output": "item",
                "output_schema": {
                    "type": "object",
                    "properties": {"primary_category": {"type": "string"}},
                    "required": ["primary_category"],
                    "additionalProperties": false
                },
                "chunk": {"items": 25},
                "merge": {"count_by": ["primary_category"]}
            },
            {
                "name": "report",
                "kind": "synthesis",
                "instructions": "Write a short report on the patterns, most frequent first."
            }
        ],
        "limits": {"max_cost_usd": 5.0, "concurrency": 50},
        "metadata": {"team": "support"}
    })
}

/// The plan of the submit, every working day, over what lies at an address then.
fn schedule_example() -> Value {
    let mut job = submit_example();
    if let Some(job) = job.as_object_mut() {
        job.shift_remove("input");
    }
    json!({
        "name": "Tickets of the day",
        "cron": "0 7 * * MON-FRI",
        "time_zone": "Europe/Berlin",
        "overlap": "skip",
        "job": job,
        "input_url": "https://exports.acme.com/tickets.csv",
        "input_format": "csv"
    })
}

fn job_example() -> JobView {
    JobView {
        extends: None,
        id: "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3".to_owned(),
        state: "running".to_owned(),
        run: 1,
        mode: "static".to_owned(),
        task: "Identify the recurring issue patterns in these support tickets".to_owned(),
        recipe: None,
        created_at: "2026-11-22T12:00:00.000Z".to_owned(),
        updated_at: "2026-11-22T12:00:07.250Z".to_owned(),
        finished_at: None,
        stage: Some("classify".to_owned()),
        progress: Progress {
            tasks: TaskCounts {
                total: 12,
                pending: 2,
                queued: 1,
                running: 4,
                succeeded: 5,
                ..TaskCounts::default()
            },
            items: ItemCounts {
                total: 300,
                covered: 125,
                missing: 175,
                blank_rows: 0,
            },
        },
        usage: Usage {
            calls: 9,
            input_tokens: 18_204,
            output_tokens: 5_310,
            ..Usage::default()
        },
        cost: Cost {
            spent_usd: 0.0448,
            reserved_usd: 0.0916,
            limit_usd: Some(5.0),
            ..Cost::default()
        },
        halt: None,
        error: None,
        metadata: serde_json::Map::from_iter([("team".to_owned(), json!("support"))]),
    }
}

/// A line for each operation and each schema, so that a change of one shows as one.
fn lines(document: &Value) -> Result<String, serde_json::Error> {
    fn write(value: &Value, depth: usize, text: &mut String) -> Result<(), serde_json::Error> {
        let Value::Object(fields) = value else {
            text.push_str(&serde_json::to_string(value)?);
            return Ok(());
        };
        let mut before = "{";
        for (name, value) in fields {
            text.push_str(before);
            before = ",";
            if depth > 0 {
                text.push('\n');
            }
            text.push_str(&serde_json::to_string(name)?);
            text.push(':');
            write(value, depth.saturating_sub(1), text)?;
        }
        text.push_str(if fields.is_empty() { "{}" } else { "}" });
        Ok(())
    }
    let mut text = String::new();
    write(document, 3, &mut text)?;
    text.push('\n');
    Ok(text)
}

#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_served_document_is_what_handlers_and_types_say() {
        let made = lines(&serde_json::to_value(Document::openapi()).unwrap()).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi/openapi.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let served = std::fs::read_to_string(path).unwrap_or_default();
        let differs = served
            .lines()
            .zip(made.lines())
            .find(|(served, made)| served != made);
        assert!(
            served == made,
            "src/api/openapi/openapi.json is not what the code says; run `UPDATE_GOLDEN=1 cargo test --lib openapi` and commit it. {differs:?}"
        );
    }

    #[test]
    fn the_examples_fit_their_schemas() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let components = document.get("components").unwrap();
        let cases = [
            (SubmitBody::name(), submit_example()),
            (ScheduleBody::name(), schedule_example()),
            (
                JobView::name(),
                serde_json::to_value(job_example()).unwrap(),
            ),
            (
                PlanView::name(),
                serde_json::to_value(plans::examples::plan_example()).unwrap(),
            ),
            (
                EstimateView::name(),
                serde_json::to_value(plans::examples::estimate_example()).unwrap(),
            ),
        ];
        for (name, example) in cases {
            let mut faults = problem::Faults::default();
            SchemaCheck::new(components, &name)
                .unwrap()
                .check(&example, &mut faults);
            assert_eq!(faults, problem::Faults::default(), "{name}");
        }
    }

    #[test]
    fn problems_fit_their_schema() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let schema = SchemaCheck::new(document.get("components").unwrap(), "Problem").unwrap();
        for (name, _, error) in problems() {
            let mut faults = problem::Faults::default();
            let value = serde_json::to_value(error.into_problem("r".into())).unwrap();
            schema.check(&value, &mut faults);
            assert_eq!(faults, problem::Faults::default(), "{name}");
        }
    }
}
