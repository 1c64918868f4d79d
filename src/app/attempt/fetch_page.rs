//! A task that reads a page before it asks anything.
//!
//! It is claimed without permit, slot or money, for what its call will cost is not known before the page is. What was read is
//! kept as the task's input, and from then on it is a task like any other: a retry or a repair does not read the page again. A
//! page longer than a chunk becomes several tasks, each for a slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::lock::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::Resolved;
use super::step::Step;
use crate::app::expand::from_documents;
use crate::app::outbound::http;
use crate::app::outbound::http::WebError;
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::stage::task_row::new_task;
use crate::app::support::{blobs, db};
use crate::app::{App, AppError, attempt};
use crate::core::job::state::TaskState;
use crate::core::task::retry_policy::{
    End, FETCH, Next, RequestMode, Standing, Wait, verdict, wait_ms,
};
use crate::core::text::html_to_text;
use crate::core::text::html_to_text::{Kind, Page};
use crate::ports::{Clock, Ports, Web};
use crate::store::job::input_pages::Fetched;
use crate::store::task::admission::Claimed;

/// Pages that wait for their turn in one consumer, for each that is being read: enough that none is idle.
const WAITING: usize = 4;

/// So many pages are read at a time; the others wait here.
#[derive(Debug)]
pub struct Gate {
    places: Vec<Mutex<()>>,
    /// Tasks that came, and those that left.
    came: AtomicUsize,
    left: AtomicUsize,
}

impl Gate {
    pub fn new(at_once: u32) -> Gate {
        Gate {
            places: (0..at_once.max(1)).map(|_| Mutex::new(())).collect(),
            came: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
        }
    }

    /// How many more tasks may come.
    pub fn room(&self) -> usize {
        let inside = self.came.load(Ordering::Relaxed) - self.left.load(Ordering::Relaxed);
        (self.places.len() * (1 + WAITING)).saturating_sub(inside)
    }

    /// Pages that are being read: each may hold a connection.
    pub fn busy(&self) -> u32 {
        let inside = self.came.load(Ordering::Relaxed) - self.left.load(Ordering::Relaxed);
        u32::try_from(inside.min(self.places.len())).unwrap_or(u32::MAX)
    }

    async fn enter(&self) -> Inside<'_> {
        let number = self.came.fetch_add(1, Ordering::Relaxed);
        let mut inside = Inside {
            gate: self,
            place: None,
        };
        if let Some(place) = self.places.get(number % self.places.len()) {
            inside.place = Some(place.lock().await);
        }
        inside
    }
}

struct Inside<'a> {
    gate: &'a Gate,
    place: Option<MutexGuard<'a, ()>>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.place = None;
        self.gate.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads the page of a claimed task.
pub async fn call<P: Ports>(
    app: App<P>,
    runtime: Arc<JobRuntime>,
    task: Claimed,
    gate: Arc<Gate>,
) -> Step {
    let Some(stage) = runtime.stage(task.stage) else {
        return attempt::give_back(&app, &task, "the stage's plan is not readable");
    };
    let input = match blobs::text(&app, &task.input).await {
        Ok(text) => db::json_of(text),
        Err(error) => return attempt::give_back(&app, &task, &error.to_string()),
    };
    let item = input.get(0).cloned().unwrap_or_default();
    let url = item.get("url").and_then(Value::as_str).unwrap_or_default();
    let inside = gate.enter().await;
    let page = page(&app, url).await;
    drop(inside);
    let mut resolved = attempt::blank(&task);
    match page {
        Ok(page) => {
            log(&app, &task, "page_read", json!({"bytes": page.text.len()}));
            let kept = keep(&app, stage, &task, with_page(item, page), &mut resolved).await;
            if let Err(error) = kept {
                return attempt::give_back(&app, &task, &error.to_string());
            }
        }
        Err(error) => {
            log(&app, &task, "page_failed", json!({"error": error.code()}));
            failed(&app, &task, &error, &mut resolved);
        }
    }
    Step::End(Box::new(resolved))
}

/// The page at an address as text.
async fn page<P: Ports>(app: &App<P>, url: &str) -> Result<Page, WebError> {
    let page = http::get(app, url, |kind| html_to_text::kind_of(kind).is_some()).await?;
    if let Some(kind) = html_to_text::not_a_page(&page.bytes) {
        return Err(WebError::Unreadable(format!("it is {kind}")));
    }
    let charset = html_to_text::charset(&page.content_type, &page.bytes);
    let text = app
        .ports
        .web()
        .decode(&page.bytes, charset.as_deref().unwrap_or("utf-8"));
    if html_to_text::is_garbled(&text) {
        let problem = "its bytes are no text in the encoding that it names";
        return Err(WebError::Unreadable(problem.to_owned()));
    }
    let kind = html_to_text::kind_of(&page.content_type);
    drop(page);
    let page = match kind {
        Some(Kind::Html) if html_to_text::has_too_many_elements(&text) => {
            let most = html_to_text::MOST_ELEMENTS;
            return Err(WebError::Unreadable(format!(
                "it has more than {most} elements"
            )));
        }
        Some(Kind::Html) => app
            .ports
            .web()
            .read_html(text)
            .await
            .map_err(WebError::Unreadable)?,
        _ => Page { title: None, text },
    };
    if page.text.trim().is_empty() {
        return Err(WebError::Empty);
    }
    Ok(page)
}

/// The item as its worker sees it: with the page's text, and its title where the caller gave none.
fn with_page(mut item: Value, page: Page) -> Value {
    if let Some(item) = item.as_object_mut() {
        if let Some(title) = page.title
            && !item.contains_key("title")
        {
            item.insert("title".to_owned(), Value::String(title));
        }
        item.insert("text".to_owned(), Value::String(page.text));
    }
    item
}

/// From here on the task asks about what was read.
async fn keep<P: Ports>(
    app: &App<P>,
    stage: &StageRuntime,
    task: &Claimed,
    item: Value,
    resolved: &mut Resolved,
) -> Result<(), AppError> {
    let mut slices = match stage.stage.chunk.size() {
        Some(size) => from_documents::of_text(&item, size),
        None => Vec::new(),
    }
    .into_iter();
    let document = item.get("id").and_then(Value::as_str).unwrap_or_default();
    let (own, document) = match slices.next() {
        None => (item, None),
        Some(first) => {
            let mut others = Vec::with_capacity(slices.len());
            for slice in slices {
                others.push(new_task(app, stage, &task.job, RequestMode::FRESH, &[slice]).await?);
            }
            (first, Some((document.to_owned(), others)))
        }
    };
    let row = new_task(
        app,
        stage,
        &task.job,
        RequestMode::FRESH,
        std::slice::from_ref(&own),
    )
    .await?;
    let moved = &mut resolved.task;
    moved.state = TaskState::Pending.as_str();
    moved.form = RequestMode::FRESH.as_str().to_owned();
    moved.ids = row.ids;
    moved.wanted = None;
    moved.bytes = row.bytes;
    moved.max_tokens = row.max_tokens;
    moved.worst_nano = row.worst_nano;
    moved.key = row.key;
    moved.tries = 0;
    moved.delays = 0;
    moved.not_before = 0;
    resolved.fetched = Some(Fetched {
        task: task.id,
        attempts: task.attempts,
        job: task.job.clone(),
        body: row.body,
        blob: row.blob,
        document,
    });
    Ok(())
}

/// Tried again as often as a call would be, without one being made; or given up, with the reason that the coverage names.
fn failed<P: Ports>(app: &App<P>, task: &Claimed, error: &WebError, resolved: &mut Resolved) {
    let now = app.ports.clock().now_ms();
    let standing = Standing {
        form: RequestMode::FRESH,
        tries: task.tries,
        max_attempts: task.max_attempts,
        delays: 0,
        dearer: false,
    };
    let end = match error.again() {
        Some(after_ms) => End::Failed { after_ms },
        None => End::Hopeless {
            fewer_may: false,
            wanted: 1,
        },
    };
    let row = &mut resolved.task;
    row.form = FETCH.to_owned();
    match verdict(standing, end) {
        Next::Again { tries, wait, .. } => {
            let intervals = &app.config.intervals;
            // A server that names a time beyond all others' is not waited for so long.
            let wait = match wait {
                Wait::For(ms) => Wait::For(ms.min(LONGEST_MS)),
                other => other,
            };
            let ms = wait_ms(
                wait,
                app.dice(),
                intervals.backoff_ms,
                intervals.backoff_max_ms,
            );
            row.state = TaskState::Pending.as_str();
            row.tries = tries;
            row.not_before = now.saturating_add_unsigned(ms.max(1));
        }
        Next::Done | Next::Split { .. } | Next::Up | Next::GiveUp => {
            row.state = TaskState::Failed.as_str();
            row.error =
                Some(json!({"code": error.code(), "message": error.to_string()}).to_string());
            row.finished_at = Some(now);
            row.tries = 0;
        }
    }
}

/// The longest that a site's `retry-after` is kept.
const LONGEST_MS: u64 = 300_000;

fn log<P: Ports>(app: &App<P>, task: &Claimed, event: &str, more: Value) {
    app.log(
        json!({"event": event, "job": task.job, "task": task.idx, "tries": task.tries}),
        more,
    );
}
