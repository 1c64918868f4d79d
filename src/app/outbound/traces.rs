//! A run that is over is told to the operator's collector of traces, where there is one: job, stages, tasks and calls as spans.
//!
//! Spans are made from the rows of the run, which no longer change, a slice of tasks with each message; so nothing waits for a collector, nothing
//! is kept twice, and a crash loses nothing: the slice is told again, under the same ids. What was said and answered is in no span. Calls follow the
//! semantic conventions for generative AI of OpenTelemetry.

use serde_json::json;

use super::http;
use crate::app::support::{db, messages};
use crate::app::{App, AppError};
use crate::core::net::trace;
use crate::core::net::trace::{Kind, Parent, Span};
use crate::core::net::webhook::wait_ms;
use crate::core::task::kind::TaskKind;
use crate::core::value::money::Nano;
use crate::ports::{Clock, Db, Outgoing, Ports, Queue, Statement};
use crate::store::outbound::traces as sql;
use crate::store::row::{Columns, Row};

/// Overdue runs for which one sweep sends messages.
const MOST_DUE: u32 = 100;
/// A collector that cannot read a slice will never read it.
const NEVER: [u16; 3] = [400, 413, 422];

/// What makes a new job one that is traced, by the `traceparent` of its submit.
pub fn begin<P: Ports>(app: &App<P>, job: &str, parent: Option<&str>) -> Option<Statement> {
    app.config.tracing.endpoint.as_ref()?;
    let known = parent.and_then(Parent::parse);
    // What is not recorded where it comes from has no place to stand.
    let told = known.as_ref().is_none_or(|parent| parent.sampled);
    told.then(|| sql::insert(job, parent.filter(|_| known.is_some())))
}

/// Sends the message for a run that has just ended. Lost, the sweep sends it.
pub async fn tell<P: Ports>(app: &App<P>, job: &str) {
    if app.config.tracing.endpoint.is_none() {
        return;
    }
    let now = app.ports.clock().now_ms();
    let sent = match db::rows(app, sql::due_of_job(job, now)).await {
        Ok(rows) => send(app, rows.iter().map(|_| messages::trace(job, 0)).collect()).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        app.log_fault("tell_trace", &format!("{job}: {error}"));
    }
}

/// What cron finds untold.
pub async fn due<P: Ports>(app: &App<P>) -> Result<Vec<Outgoing>, AppError> {
    if app.config.tracing.endpoint.is_none() {
        return Ok(Vec::new());
    }
    let now = app.ports.clock().now_ms();
    let rows = db::rows(app, sql::due(now, MOST_DUE)).await?;
    Ok(rows
        .iter()
        .map(|row| messages::trace(&row.text("job"), 0))
        .collect())
}

async fn send<P: Ports>(app: &App<P>, messages: Vec<Outgoing>) -> Result<(), String> {
    if messages.is_empty() {
        return Ok(());
    }
    let sent = app.ports.queue().send(messages).await;
    sent.map_err(|error| error.to_string())
}

/// One try of the next slice of a run.
pub async fn export<P: Ports>(app: &App<P>, job: &str) -> Result<(), AppError> {
    let tracing = &app.config.tracing;
    let Some(endpoint) = &tracing.endpoint else {
        return Ok(());
    };
    let clock = app.ports.clock();
    let began = clock.now_ms();
    // 1. Taken: nobody else tells it before this try must have ended. A crash leaves it to the sweep after that.
    let held = began.saturating_add_unsigned(tracing.timeout_ms.saturating_mul(2));
    let rows = db::rows(app, sql::claim(job, began, held)).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let told = Told::of(job, row);
    // 2. Read. The rows are those of a run that is over, once the calls that were in flight then have ended.
    let Some((spans, last)) = told.spans(app).await? else {
        let wait = app.config.intervals.lease_ms;
        return again(app, &told, clock.now_ms().saturating_add_unsigned(wait)).await;
    };
    // 3. Sent. A collector that got it twice has the same spans twice.
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(app.otlp_headers.iter().cloned());
    let body = trace::request(&spans).to_string();
    let sent = http::post(app, endpoint, headers, body, tracing.timeout_ms).await;
    // 4. Written down. Lost, it is sent once more.
    let now = clock.now_ms();
    let (problem, asked_for) = match sent {
        Ok(receipt) if (200..300).contains(&receipt.status) => (None, None),
        Ok(receipt) if NEVER.contains(&receipt.status) => {
            let message = format!(
                "{job}: refused with {}: {}",
                receipt.status, receipt.excerpt
            );
            app.log_fault("trace", &message);
            (None, None)
        }
        Ok(receipt) => {
            let problem = format!("the collector answered {}", receipt.status);
            (Some(problem), receipt.retry_after_ms)
        }
        Err(error) => (Some(error.to_string()), None),
    };
    app.log_job(
        job,
        "trace",
        json!({"run": told.run, "spans": spans.len(), "try": told.tries, "problem": problem}),
    );
    if problem.is_some() {
        let hooks = &app.config.webhooks;
        let wait = wait_ms(
            told.began,
            now,
            hooks.backoff_ms,
            hooks.backoff_max_ms,
            app.dice(),
        );
        let wait = wait.max(asked_for.unwrap_or(0).min(hooks.backoff_max_ms));
        return again(app, &told, now.saturating_add_unsigned(wait)).await;
    }
    let Some(last) = last else {
        app.ports.db().batch(vec![sql::done(job, told.run)]).await?;
        return Ok(());
    };
    let statement = sql::advance(job, told.run, told.after, last, now);
    app.ports.db().batch(vec![statement]).await?;
    if let Err(error) = send(app, vec![messages::trace(job, 0)]).await {
        app.log_fault("send_trace", &error);
    }
    Ok(())
}

/// Another try, or the end of trying.
async fn again<P: Ports>(app: &App<P>, told: &Told<'_>, at: i64) -> Result<(), AppError> {
    let last = told
        .began
        .saturating_add_unsigned(app.config.webhooks.retry_ms);
    if at > last {
        app.log_fault(
            "trace",
            &format!("{}: no collector took it; given up", told.job),
        );
        let statement = sql::give_up(told.job, told.run, told.tries);
        app.ports.db().batch(vec![statement]).await?;
        return Ok(());
    }
    let statement = sql::again(told.job, told.run, told.tries, at);
    app.ports.db().batch(vec![statement]).await?;
    let wait = u64::try_from(at - app.ports.clock().now_ms()).unwrap_or(0);
    let message = messages::trace(told.job, messages::delay_seconds(wait));
    if let Err(error) = send(app, vec![message]).await {
        app.log_fault("send_trace", &error);
    }
    Ok(())
}

/// A run on its way to the collector, and how far it has come.
struct Told<'a> {
    job: &'a str,
    run: u32,
    tries: u32,
    began: i64,
    since: i64,
    ended: i64,
    after: i64,
    trace: String,
    parent: Option<String>,
}

impl Told<'_> {
    fn of<'a>(job: &'a str, row: &Row) -> Told<'a> {
        let parent = row.maybe_text("parent").as_deref().and_then(Parent::parse);
        Told {
            job,
            run: row.count("run"),
            tries: row.count("tries"),
            began: row.int("began"),
            since: row.int("since"),
            ended: row.int("ended"),
            after: row.int("after"),
            trace: parent
                .as_ref()
                .map_or_else(|| trace::trace_of(job), |parent| parent.trace.clone()),
            parent: parent.map(|parent| parent.span),
        }
    }

    /// What names the span of a part of this run.
    fn about(&self, part: &str) -> String {
        format!("{}:{}:{part}", self.job, self.run)
    }

    fn of_stage(&self, stage: i64) -> String {
        self.about(&format!("stage {stage}"))
    }

    fn of_task(&self, idx: i64) -> String {
        self.about(&format!("task {idx}"))
    }

    /// The spans of the next slice and its last task; behind the last task, those of stages and job. None while calls are in flight.
    async fn spans<P: Ports>(
        &self,
        app: &App<P>,
    ) -> Result<Option<(Vec<Span>, Option<i64>)>, AppError> {
        let tasks = app.config.tracing.tasks;
        let mut statements = sql::slice(self.job, self.after, self.since, tasks).to_vec();
        statements.extend(sql::frame(self.job, self.since));
        let mut answers = app.ports.db().batch(statements).await?.into_iter();
        let mut rows = || answers.next().unwrap_or_default().rows;
        let (tasks, attempts, job, stages) = (rows(), rows(), rows(), rows());
        let job = job.first().ok_or(AppError::NotFound("job"))?;
        if job.count("in_flight") > 0 {
            return Ok(None);
        }
        let Some(last) = tasks.last().map(|row| row.int("idx")) else {
            return Ok(Some((self.frame(job, &stages), None)));
        };
        let mut spans = Vec::with_capacity(tasks.len() + attempts.len());
        spans.extend(tasks.iter().map(|task| self.task(task, &attempts)));
        spans.extend(attempts.iter().map(|attempt| self.call(attempt)));
        Ok(Some((spans, Some(last))))
    }

    fn frame(&self, job: &Row, stages: &[Row]) -> Vec<Span> {
        let mut spans: Vec<Span> = stages
            .iter()
            .filter_map(|stage| self.stage(stage))
            .collect();
        let began = match self.since {
            0 => job.int("created_at"),
            // A later run began when its first stage did, as far as rows tell.
            _ => spans
                .iter()
                .map(|span| span.began)
                .min()
                .unwrap_or(self.ended),
        };
        let recipe = job.text("recipe");
        let name = format!("invoke_workflow {recipe}").trim_end().to_owned();
        let mut span = Span::new(&self.trace, &self.about("job"), name, began, self.ended);
        span.parent.clone_from(&self.parent);
        span.text("gen_ai.operation.name", "invoke_workflow");
        span.text("gen_ai.provider.name", "anthropic");
        span.text("gen_ai.agent.name", recipe);
        usage(&mut span, job);
        let state = job.text("state");
        span.text("fanwise.job.id", self.job);
        span.int("fanwise.job.run", i64::from(self.run));
        span.text("fanwise.job.state", state.as_str());
        span.text("fanwise.tenant", job.text("tenant"));
        span.int("fanwise.job.items", job.int("items_total"));
        span.int("fanwise.job.calls", job.int("calls"));
        span.float("fanwise.cost_usd", Nano(job.int("spent_nano")).usd());
        if state == "failed" {
            let class = job.maybe_text("error_code");
            span.failed(class.as_deref().unwrap_or("failed"), "the job failed");
        }
        spans.push(span);
        spans
    }

    /// None of a stage in which nothing happened in this run.
    fn stage(&self, row: &Row) -> Option<Span> {
        let began = row.maybe_int("began").or_else(|| row.maybe_int("first"))?;
        let ended = row.maybe_int("ended").unwrap_or(self.ended);
        let name = format!("stage {}", row.text("name"));
        let about = self.of_stage(row.int("idx"));
        let mut span = Span::new(&self.trace, &about, name, began, ended).below(&self.about("job"));
        span.text("fanwise.job.id", self.job);
        span.text("fanwise.stage.name", row.text("name"));
        span.text("fanwise.stage.kind", row.text("kind"));
        for state in ["succeeded", "failed", "skipped", "cancelled"] {
            span.int(&format!("fanwise.stage.{state}"), row.int(state));
        }
        Some(span)
    }

    fn task(&self, row: &Row, attempts: &[Row]) -> Span {
        let idx = row.int("idx");
        let ended = row.maybe_int("finished_at").unwrap_or(self.ended);
        let calls = attempts.iter().filter(|attempt| attempt.int("idx") == idx);
        let began = calls.map(|attempt| attempt.int("started_at")).min();
        let name = format!("task {}", row.text("stage_name"));
        let about = self.of_task(idx);
        let mut span = Span::new(&self.trace, &about, name, began.unwrap_or(ended), ended)
            .below(&self.of_stage(row.int("stage")));
        let state = row.text("state");
        let purpose = TaskKind::parse(&row.text("purpose"));
        span.text("fanwise.job.id", self.job);
        span.int("fanwise.task.index", idx);
        span.text("fanwise.task.state", state.as_str());
        span.text("fanwise.task.purpose", purpose.as_str());
        span.int("fanwise.task.items", row.int("items"));
        if state == "failed" {
            let class = row.maybe_text("error_code");
            span.failed(
                class.as_deref().unwrap_or("failed"),
                "the task was given up",
            );
        }
        span
    }

    /// One call to Claude.
    fn call(&self, row: &Row) -> Span {
        let (idx, n) = (row.int("idx"), row.int("n"));
        let model = row.text("model");
        let began = row.int("started_at");
        let ended = row.maybe_int("finished_at").unwrap_or(self.ended);
        let about = self.about(&format!("task {idx} call {n}"));
        let name = format!("chat {model}");
        let mut span = Span::new(&self.trace, &about, name, began, ended).below(&self.of_task(idx));
        span.kind = Kind::Client;
        span.text("gen_ai.operation.name", "chat");
        span.text("gen_ai.provider.name", "anthropic");
        span.text("gen_ai.request.model", model);
        let reason: Vec<String> = row.maybe_text("stop_reason").into_iter().collect();
        span.texts("gen_ai.response.finish_reasons", &reason);
        usage(&mut span, row);
        if let Some(status) = row.maybe_int("status") {
            span.int("http.response.status_code", status);
        }
        span.text("fanwise.job.id", self.job);
        span.int("fanwise.task.index", idx);
        span.int("fanwise.call.number", n);
        span.text("fanwise.call.role", row.text("role"));
        span.text("fanwise.call.request_id", row.text("request_id"));
        span.float("fanwise.cost_usd", Nano(row.int("cost_nano")).usd());
        match row.maybe_text("error_class") {
            Some(class) => span.failed(&class, "the call failed"),
            None if row.text("state") != "done" => {
                span.failed("unknown", "the end of the call was not seen");
            }
            None => {}
        }
        span
    }
}

/// By the conventions, what came from a cache or went into one is input, too.
fn usage(span: &mut Span, row: &Row) {
    let read = row.int("cache_read_tokens");
    let written = row.int("cache_write_tokens");
    let input = row
        .int("input_tokens")
        .saturating_add(read)
        .saturating_add(written);
    span.int("gen_ai.usage.input_tokens", input);
    span.int("gen_ai.usage.output_tokens", row.int("output_tokens"));
    span.int("gen_ai.usage.cache_read.input_tokens", read);
    span.int("gen_ai.usage.cache_creation.input_tokens", written);
}
