//! A job is watched to its end: its events as they come, over lost connections; what was asked for is fetched when it is over.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use eventsource_stream::Eventsource as _;
use fanwise::app::planning::commands::PlanView;
use fanwise::app::view::{JobView, LimitsView, Page, ProgressEvent, TaskView};
use futures_util::StreamExt as _;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::{self, Api, is_passing, typed};
use crate::commands::download::{self, OutputKind};
use crate::commands::exit::{self, INTERRUPTED};
use crate::terminal::money;
use crate::terminal::output::{Out, number, plural, safe, short, span, usd};
use crate::terminal::progress::{Display, StageBar};
use crate::terminal::prompt;

/// Between two looks at the account's limits.
const LIMITS: Duration = Duration::from_secs(5);
/// Between two connections, and how many may fail in a row.
const AGAIN: Duration = Duration::from_secs(1);
const FAILURES: u32 = 30;

/// What comes in from the stream.
enum Told {
    Event {
        name: String,
        data: String,
    },
    /// Nothing is left to tell.
    Over,
    Lost(anyhow::Error),
}

/// Reads the events on a task of its own and connects again where a stream ends or breaks.
fn listen(api: Api, job: String) -> mpsc::Receiver<Told> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut last: Option<String> = None;
        let mut failures = 0;
        loop {
            let mut request = api
                .request(Method::GET, &format!("/v1/jobs/{job}/events"))
                .header(ACCEPT, "text/event-stream");
            if let Some(last) = &last {
                request = request.header("last-event-id", last);
            }
            match request.send().await {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                    let _ = sender.send(Told::Over).await;
                    return;
                }
                Ok(response) if is_passing(response.status()) => failures += 1,
                Ok(response) => match api::check(response).await {
                    Err(error) => {
                        let _ = sender.send(Told::Lost(error)).await;
                        return;
                    }
                    Ok(response) => {
                        let mut events = response.bytes_stream().eventsource();
                        while let Some(Ok(event)) = events.next().await {
                            failures = 0;
                            if !event.id.is_empty() {
                                last = Some(event.id);
                            }
                            let over = event.event == "done";
                            let told = Told::Event {
                                name: event.event,
                                data: event.data,
                            };
                            if sender.send(told).await.is_err() || over {
                                return;
                            }
                        }
                    }
                },
                Err(_) => failures += 1,
            }
            if failures > FAILURES {
                let error = anyhow!("the connection is lost; the job goes on: fanwise watch {job}");
                let _ = sender.send(Told::Lost(error)).await;
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
    receiver
}

/// Watches a job until it is over, then shows its report and writes what was asked for; the exit code.
pub async fn to_end(api: &Api, id: &str, outputs: &[PathBuf], out: &Out) -> Result<u8> {
    let view: JobView = typed(api.get(&format!("/v1/jobs/{id}")).await?)?;
    let mut watch = Watch {
        api,
        id,
        out,
        // What happened in earlier runs is history.
        run: view.run,
        seen_run: 1,
        stage: None,
        halt: None,
        display: Display::new(&view),
    };
    let left = watch.follow().await?;
    watch.display.end();
    match left {
        Some(code) => Ok(code),
        None => conclude(api, id, outputs, out).await,
    }
}

struct Watch<'a> {
    api: &'a Api,
    id: &'a str,
    out: &'a Out,
    run: u32,
    seen_run: u32,
    stage: Option<String>,
    /// Why it stands still, to be told once all that has happened is known: what is first heard is history.
    halt: Option<String>,
    display: Display,
}

impl Watch<'_> {
    /// An exit code where we leave before the job is over.
    async fn follow(&mut self) -> Result<Option<u8>> {
        let mut told = listen(self.api.clone(), self.id.to_owned());
        let mut look = tokio::time::interval(LIMITS);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut interrupt = Box::pin(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                told = told.recv() => match told {
                    Some(Told::Event { name, data }) => {
                        if self.event(&name, &data).await? {
                            return Ok(None);
                        }
                    }
                    Some(Told::Over) | None => return Ok(None),
                    Some(Told::Lost(error)) => return Err(error),
                },
                _ = look.tick() => {
                    // Only for show: without it, a part of a line is missing.
                    if let Ok(limits) = self.api.call(Method::GET, "/v1/limits", None).await
                        && let Ok(limits) = typed::<LimitsView>(limits)
                    {
                        self.display.limits(limits);
                    }
                }
                _ = &mut interrupt => {
                    if let Some(code) = self.interrupted().await? {
                        return Ok(Some(code));
                    }
                    interrupt = Box::pin(tokio::signal::ctrl_c());
                }
            }
        }
    }

    /// Whether that was the last one.
    async fn event(&mut self, name: &str, data: &str) -> Result<bool> {
        let data: Value =
            serde_json::from_str(data).with_context(|| format!("an event {name} is no JSON"))?;
        match name {
            "state" => self.state(&data),
            "task_failed" if self.seen_run == self.run => {
                self.display.say(&failure(&data));
            }
            "progress" => self.progress(typed(data)?).await?,
            "done" => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn state(&mut self, data: &Value) {
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        if let Some(run) = data.get("run").and_then(Value::as_u64) {
            self.seen_run = u32::try_from(run).unwrap_or(u32::MAX);
            self.run = self.run.max(self.seen_run);
        }
        if self.seen_run != self.run {
            return;
        }
        let halt = |key: &str| {
            let value = data.pointer(&format!("/halt/{key}"));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let state = text("state");
        self.display.state(state);
        let id = self.id;
        self.halt = match state {
            "paused" => {
                let (reason, detail, resumes) =
                    (halt("reason"), halt("detail"), halt("resumes_at"));
                let on = match resumes.as_str() {
                    "" => format!("fanwise resume {id}"),
                    at => format!("goes on by itself at {at}"),
                };
                Some(format!("paused ({reason}): {}; {on}", safe(&detail)))
            }
            "awaiting_approval" => Some(format!(
                "the plan waits: fanwise plan {id}, then fanwise approve {id}"
            )),
            _ => None,
        };
    }

    async fn progress(&mut self, progress: ProgressEvent) -> Result<()> {
        if progress.stage != self.stage {
            self.stage.clone_from(&progress.stage);
            self.stages().await?;
        }
        if let Some(halt) = self.halt.take() {
            self.display.say(&halt);
        }
        self.display.progress(progress);
        Ok(())
    }

    /// A stage has begun: which stages there are, and how many tasks came before it.
    async fn stages(&mut self) -> Result<()> {
        let id = self.id;
        let plan: PlanView = typed(self.api.get(&format!("/v1/jobs/{id}/plan")).await?)?;
        let mut stages = Vec::new();
        for stage in &plan.stages {
            let first = self.first_task(&stage.name).await?;
            stages.push(StageBar {
                name: stage.name.clone(),
                kind: stage.kind,
                first,
            });
        }
        let planning =
            self.first_task("plan").await?.is_some() && plan.source.as_deref() != Some("caller");
        self.display.stages(stages, u64::from(planning));
        Ok(())
    }

    /// The index of the first task of a stage; none before it has begun.
    async fn first_task(&self, stage: &str) -> Result<Option<u64>> {
        let path = format!(
            "/v1/jobs/{}/tasks?stage={}&limit=1",
            self.id,
            api::quoted(stage)
        );
        let page = match self.api.get(&path).await {
            Ok(page) => page,
            // A stage that is not there yet.
            Err(_) => return Ok(None),
        };
        let page: Page<TaskView> = typed(page)?;
        Ok(page.data.first().map(|task| u64::from(task.index)))
    }

    /// Ctrl-C: what is to become of the job? An exit code where we leave.
    async fn interrupted(&mut self) -> Result<Option<u8>> {
        let id = self.id;
        self.display.hide();
        if !prompt::possible() {
            self.out
                .note(format!("\ndetached; the job goes on: fanwise watch {id}"));
            return Ok(Some(INTERRUPTED));
        }
        self.out.note("");
        let prompt = "The job runs without this window. [d]etach, [c]ancel the job, [W]atch on";
        match prompt::letter(prompt, "wdc").await {
            Ok('c') => {
                self.api
                    .post(&format!("/v1/jobs/{id}/cancel"), None)
                    .await?;
                self.out
                    .note("no new call begins; what is in flight is paid and kept for reuse");
                self.display.unhide();
                Ok(None)
            }
            Ok('w') => {
                self.display.unhide();
                Ok(None)
            }
            // A second Ctrl-C wants to be away.
            Ok(_) | Err(_) => {
                self.out
                    .note(format!("detached; the job goes on: fanwise watch {id}"));
                Ok(Some(0))
            }
        }
    }
}

/// A task that was given up, in a line.
fn failure(data: &Value) -> String {
    let text = |pointer: &str| {
        let value = data.pointer(pointer).and_then(Value::as_str);
        safe(value.unwrap_or_default())
    };
    let ids = data.get("item_ids").and_then(Value::as_array);
    let ids: Vec<&str> = ids
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let items = data.get("items").and_then(Value::as_u64).unwrap_or(0);
    let mut named = ids.join(", ");
    let more = items.saturating_sub(ids.len() as u64);
    if more > 0 && !ids.is_empty() {
        named.push_str(&format!(" and {} more", number(more)));
    } else if ids.is_empty() {
        named = plural(items, "item");
    }
    let task = data.get("task").and_then(Value::as_u64).unwrap_or_default();
    format!(
        "failed: task {task} of {} ({}): {}: {}",
        text("/stage"),
        safe(&named),
        text("/error/code"),
        short(&text("/error/message"), 200),
    )
}

/// The job is over: its end in a line, its report, and its files.
async fn conclude(api: &Api, id: &str, outputs: &[PathBuf], out: &Out) -> Result<u8> {
    let job = api.get(&format!("/v1/jobs/{id}")).await?;
    let view: JobView = typed(job.clone())?;
    out.note(summary(&view));
    if let Some(error) = &view.error {
        out.note(format!("{}: {}", safe(&error.code), safe(&error.message)));
    }
    let mut report_written = false;
    for path in outputs {
        let kind = download::output_kind(path)?;
        report_written |= matches!(kind, OutputKind::Markdown | OutputKind::Json);
        download::save(api, id, path).await?;
        out.note(format!("wrote {}", path.display()));
    }
    if out.json {
        let report = api.get(&format!("/v1/jobs/{id}/report")).await?;
        out.json(&json!({"job": job, "report": report}))?;
    } else if !report_written {
        let path = format!("/v1/jobs/{id}/report");
        let text = api.read(&path, "text/markdown").await?.text().await?;
        out.text(&text)?;
    }
    Ok(exit::of_state(&view.state))
}

/// How a job has ended, in a line.
fn summary(job: &JobView) -> String {
    let items = &job.progress.items;
    let mut text = format!(
        "{}: {} of {} items covered, {}, {}",
        crate::terminal::output::state(&job.state),
        number(items.covered),
        number(items.total),
        plural(job.usage.calls, "call"),
        usd(job.cost.spent_usd),
    );
    if job.cost.possibly_paid_usd > 0.0 {
        text.push_str(&format!(
            " (and possibly {})",
            usd(job.cost.possibly_paid_usd)
        ));
    }
    for saved in money::saved(&job.cost) {
        text.push_str(&format!(", {saved}"));
    }
    if let Some(seconds) = seconds_between(&job.created_at, job.finished_at.as_deref()) {
        text.push_str(&format!(", {}", span(seconds)));
    }
    text
}

fn seconds_between(from: &str, to: Option<&str>) -> Option<u64> {
    let ms = fanwise::core::value::time::parse_rfc3339;
    let length = ms(to?)?.checked_sub(ms(from)?)?;
    u64::try_from(length / 1_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_given_up_is_told_with_the_items_that_it_leaves() {
        let event = |items: u64, ids: &[&str]| {
            failure(&json!({
                "task": 7, "stage": "classify", "items": items, "item_ids": ids,
                "error": {"code": "refused", "message": "the model refused"},
            }))
        };
        let end = ": refused: the model refused";
        assert_eq!(
            event(1, &["T-7"]),
            format!("failed: task 7 of classify (T-7){end}")
        );
        assert_eq!(
            event(10, &["a", "b", "c"]),
            format!("failed: task 7 of classify (a, b, c and 7 more){end}")
        );
        // Of a deployment that does not name them.
        assert_eq!(
            event(2, &[]),
            format!("failed: task 7 of classify (2 items){end}")
        );
    }
}
