//! What a call of a tool does: the same use cases as the HTTP API, with answers small enough for a model's context.
//!
//! What is wrong with a call is told in the tool's result, not as a protocol error, so that the model reads it and can do better.
//! Every answer says what to call next, and links to the whole over HTTP.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::rpc::Fault;
use super::tools::Tool;
use crate::api::http::auth::Caller;
use crate::api::http::cursor::AfterResult;
use crate::api::http::idempotency::{hex, is_key};
use crate::api::http::problem::ApiError;
use crate::api::http::state::Api;
use crate::api::http::{cursor, params};
use crate::api::validate::submit_body;
use crate::app::job::commands;
use crate::app::planning::commands as planning_commands;
use crate::app::read::report;
use crate::app::results::pages;
use crate::app::submit as jobs;
use crate::app::view::{JobView, ResultLine, job};
use crate::core::job::state::JobState;
use crate::core::plan::recipe;
use crate::core::value::token::Scope;
use crate::ports::Ports;

/// Texts of one answer: about 5,000 tokens.
const MOST_BYTES: usize = 20_000;
/// Missing items that a report names, and values that it counts apart, for each field.
const MOST_LISTED: usize = 25;
/// Results on a page, where the caller does not say.
const PAGE: usize = 20;

/// Who calls, and where from.
pub struct Context<'a, P: Ports> {
    pub api: &'a Api<P>,
    pub caller: &'a Caller,
    /// Scheme and host that links begin with; empty where it is not known.
    pub base: &'a str,
}

/// The result of `tools/call`. A protocol error only where there is no such tool.
pub async fn call<P: Ports>(context: &Context<'_, P>, params: &Value) -> Result<Value, Fault> {
    let name = params
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tool = Tool::parse(name).ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        Fault::invalid_params(format!("there is no tool {name:?}"))
    })?;
    let arguments = match params.get("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(_) => return Err(Fault::invalid_params("`arguments` must be an object")),
    };
    Ok(match context.run(tool, arguments).await {
        Ok(answer) => json!({
            "content": [{"type": "text", "text": answer.to_string()}],
            "structuredContent": answer,
            "isError": false,
        }),
        Err(error) => {
            if let Some(internal) = error.internal() {
                let line =
                    json!({"event": "request_failed", "tool": tool.name(), "error": internal});
                context.api.app.log(line, Value::Null);
            }
            let problem = error.into_problem(String::new());
            let text =
                json!({"code": problem.code, "detail": problem.detail, "errors": problem.errors});
            json!({"content": [{"type": "text", "text": text.to_string()}], "isError": true})
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfJob {
    job_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Results {
    job_id: String,
    stage: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl<P: Ports> Context<'_, P> {
    async fn run(&self, tool: Tool, arguments: Map<String, Value>) -> Result<Value, ApiError> {
        let app = &self.api.app;
        let tenant = self.caller.tenant.as_str();
        match tool {
            Tool::ListRecipes => {
                self.caller.must(Scope::Read)?;
                let Nothing {} = read(arguments)?;
                Ok(recipes())
            }
            Tool::EstimateJob => {
                self.caller.must(Scope::Read)?;
                self.caller.may_submit(app).await?;
                let wanted = submit_body::check(Value::Object(arguments), &app.config)?;
                let estimate = planning_commands::estimate(app, tenant, wanted).await?;
                serde_json::to_value(estimate)
                    .map_err(|error| ApiError::unavailable(error.to_string()))
            }
            Tool::RunJob => {
                self.caller.must(Scope::Run)?;
                self.run_job(arguments).await
            }
            Tool::JobStatus => {
                self.caller.must(Scope::Read)?;
                let id = job_id(read::<OfJob>(arguments)?.job_id)?;
                Ok(self.status(&job::job(app, tenant, &id).await?))
            }
            Tool::JobResults => {
                self.caller.must(Scope::Read)?;
                self.results(read(arguments)?).await
            }
            Tool::JobReport => {
                self.caller.must(Scope::Read)?;
                self.report(&job_id(read::<OfJob>(arguments)?.job_id)?)
                    .await
            }
            Tool::CancelJob => {
                self.caller.must(Scope::Run)?;
                let id = job_id(read::<OfJob>(arguments)?.job_id)?;
                Ok(self.status(&commands::cancel(app, tenant, &id).await?))
            }
        }
    }

    async fn run_job(&self, mut arguments: Map<String, Value>) -> Result<Value, ApiError> {
        let app = &self.api.app;
        self.caller.may_submit(app).await?;
        let key = match arguments.remove("idempotency_key") {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) if is_key(&key) => Some(key),
            Some(_) => {
                let message = "must have 1 to 255 visible ASCII characters";
                return Err(ApiError::fault("idempotency_key", message));
            }
        };
        let body = Value::Object(arguments);
        let idempotency = key.map(|key| {
            let digest = Sha256::digest(body.to_string().as_bytes());
            (key, hex(&digest))
        });
        let wanted = jobs::Submit {
            idempotency,
            ..submit_body::check(body, &app.config)?
        };
        let submitted = jobs::submit(app, self.caller.owner(), wanted).await?;
        Ok(self.status(&submitted.job))
    }

    fn link(&self, job: &str, rest: &str) -> String {
        format!("{}/v1/jobs/{job}{rest}", self.base)
    }

    /// The few facts that decide what to do next.
    fn status(&self, job: &JobView) -> Value {
        let state = JobState::parse(&job.state);
        let next = match state {
            Some(JobState::Paused) => "It waits; `halt` says why and whether it goes on by itself.",
            Some(JobState::AwaitingApproval) => {
                "Its plan waits for a person to approve it, by the link."
            }
            Some(state) if !state.is_terminal() => {
                "It is at work. Call job_status again in 10 to 60 seconds; do not wait for it in between."
            }
            _ => "It is over. Call job_report for the answer, job_results for single results.",
        };
        json!({
            "job_id": job.id,
            "state": job.state,
            "run": job.run,
            "stage": job.stage,
            "items": job.progress.items,
            "tasks": job.progress.tasks,
            "cost": job.cost,
            "halt": job.halt,
            "error": job.error,
            "next": next,
            "link": self.link(&job.id, ""),
        })
    }

    /// A page of results: at most so many, and so many bytes.
    async fn results(&self, wanted: Results) -> Result<Value, ApiError> {
        let app = &self.api.app;
        let job = job_id(wanted.job_id)?;
        let limit = wanted.limit.unwrap_or(PAGE);
        if !(1..=50).contains(&limit) {
            return Err(ApiError::fault(
                "limit",
                "must be a whole number from 1 to 50",
            ));
        }
        let from = match &wanted.cursor {
            None => AfterResult::default(),
            Some(text) => cursor::read(text).ok_or_else(|| {
                ApiError::fault("cursor", "must be a `next_cursor` of this tool, unchanged")
            })?,
        };
        let of = pages::results_of(app, &self.caller.tenant, &job, wanted.stage.as_deref()).await?;
        let mut results = pages::Results::new(app.clone(), of);
        let mut page = Vec::new();
        let mut bytes = 0;
        // The last task that was given whole, and how many lines of the next one were.
        let mut at = from;
        let mut skip = from.lines;
        let next = 'pages: loop {
            let (lines, more) = results.portion(at.task).await?;
            let mut current = None;
            for line in lines {
                let task = task_of(&line);
                if current.is_some_and(|current| current != task) {
                    at = AfterResult {
                        task: current,
                        lines: 0,
                    };
                    skip = 0;
                }
                current = Some(task);
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let line = shortened(&line);
                let size = line.to_string().len();
                if page.len() >= limit || (bytes + size > MOST_BYTES && !page.is_empty()) {
                    break 'pages Some(at);
                }
                at.lines += 1;
                bytes += size;
                page.push(line);
            }
            match more.filter(|more| Some(*more) > at.task) {
                None => break None,
                Some(task) => {
                    at = AfterResult {
                        task: Some(task),
                        lines: 0,
                    }
                }
            }
            skip = 0;
        };
        Ok(json!({
            "job_id": job,
            "data": page,
            "next_cursor": next.map(cursor::write),
            "link": self.link(&job, "/results?format=jsonl"),
        }))
    }

    async fn report(&self, job: &str) -> Result<Value, ApiError> {
        let report = report::report(&self.api.app, &self.caller.tenant, job).await?;
        let mut whole = true;
        let synthesis = match &report.synthesis {
            Value::String(text) => Value::String(cut(text, &mut whole)),
            other if other.to_string().len() > MOST_BYTES => {
                Value::String(cut(&other.to_string(), &mut whole))
            }
            other => other.clone(),
        };
        let counts = report.merged.count_by.iter().map(|(field, values)| {
            let mut values: Vec<(&String, &u64)> = values.iter().collect();
            values.sort_by(|a, b| b.1.cmp(a.1));
            whole &= values.len() <= MOST_LISTED;
            let most = values.into_iter().take(MOST_LISTED);
            let most: Map<String, Value> = most
                .map(|(value, count)| (value.clone(), json!(count)))
                .collect();
            (field.clone(), Value::Object(most))
        });
        let counts: Map<String, Value> = counts.collect();
        let missing = &report.coverage.missing;
        whole &= missing.len() <= MOST_LISTED;
        Ok(json!({
            "job_id": job,
            "synthesis": synthesis,
            "count_by": counts,
            "coverage": {
                "total": report.coverage.total,
                "covered": report.coverage.covered,
                "missing_count": missing.len(),
                "missing": missing.iter().take(MOST_LISTED).collect::<Vec<_>>(),
            },
            "shortened": !whole,
            "link": self.link(job, "/report"),
        }))
    }
}

/// What a model needs to choose one; the stages are at `/v1/recipes`.
fn recipes() -> Value {
    let recipes = recipe::all().iter().map(|recipe| {
        json!({
            "recipe": recipe.name,
            "title": recipe.title,
            "summary": recipe.summary,
            "input": recipe.input,
        })
    });
    json!({"recipes": recipes.collect::<Vec<_>>()})
}

/// Arguments in their form; what is wrong with them is told.
fn read<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, ApiError> {
    T::deserialize(Value::Object(arguments))
        .map_err(|error| ApiError::fault("arguments", error.to_string()))
}

fn task_of(line: &ResultLine) -> u32 {
    match line {
        ResultLine::Item { task, .. } | ResultLine::Chunk { task, .. } => *task,
    }
}

fn job_id(text: String) -> Result<String, ApiError> {
    params::job_id(&text).ok_or_else(|| ApiError::no_such("job"))
}

/// A result; its output as a text with an end that says so, where it is too long for a model.
fn shortened(line: &ResultLine) -> Value {
    let mut value = serde_json::to_value(line).unwrap_or_default();
    if let Some(output) = value.get_mut("output") {
        let text = output.to_string();
        if text.len() > MOST_BYTES {
            *output = Value::String(cut(&text, &mut true));
        }
    }
    value
}

/// At most [`MOST_BYTES`] of a text.
fn cut(text: &str, whole: &mut bool) -> String {
    if text.len() <= MOST_BYTES {
        return text.to_owned();
    }
    *whole = false;
    let mut end = MOST_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} … (shortened)", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut whole = true;
        assert_eq!(cut("short", &mut whole), "short");
        assert!(whole);
        let long = "é".repeat(MOST_BYTES);
        let text = cut(&long, &mut whole);
        assert!(text.starts_with(&"é".repeat(MOST_BYTES / 2 - 1)));
        assert!(text.len() < MOST_BYTES + 40 && !whole);
    }
}
