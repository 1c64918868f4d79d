//! How a job stands, on standard error: bars on a terminal, a line now and then elsewhere.
//!
//! The tasks of a stage are those after the last one of the stage before, because stages are worked on one after the other; so the counts of the whole
//! job say how far the current stage is.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use fanwise::app::view::{JobView, LimitsView, ProgressEvent};
use fanwise::core::plan::spec::StageKind;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::money;
use crate::terminal::output::{self, number, plural, safe, span, usd};

/// Rates are those of the last minute.
const WINDOW: Duration = Duration::from_secs(60);
/// From fewer than so many seconds no rate is worked out.
const LEAST_SECONDS: f64 = 2.0;
/// Where there are no bars, a line comes after so much of the items, or after so long.
const STEP_PERCENT: u64 = 10;
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Where the terminal does not say how wide it is.
const WIDTH: usize = 80;
const INDENT: &str = "  ";
const BETWEEN: &str = " · ";

/// How often the sign of life moves.
const TICK: Duration = Duration::from_millis(120);

/// A stage as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageBar {
    pub name: String,
    pub kind: StageKind,
    /// The index of its first task; none before it has begun.
    pub first: Option<u64>,
}

pub struct Display {
    job: String,
    bars: Option<Bars>,
    state: String,
    stages: Vec<StageBar>,
    /// Tasks that planned: they have indexes too, and are in no count.
    planning: u64,
    limits: Option<LimitsView>,
    pace: Pace,
    last: Option<ProgressEvent>,
    /// The last plain line: when, and at which percent.
    line: Option<(Instant, u64)>,
}

struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    stages: Vec<ProgressBar>,
    items: ProgressBar,
    status: ProgressBar,
}

impl Display {
    pub fn new(job: &JobView) -> Display {
        let terminal = std::io::stderr().is_terminal();
        Display {
            job: job.id.clone(),
            bars: terminal.then(|| Bars::new(&job.id)),
            state: job.state.clone(),
            stages: Vec::new(),
            planning: 0,
            limits: None,
            pace: Pace::default(),
            last: None,
            line: None,
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(line);
            }
            None => eprintln!("{line}"),
        }
    }

    pub fn state(&mut self, state: &str) {
        let changed = self.state != state;
        self.state = state.to_owned();
        match &self.bars {
            Some(bars) => bars.head(&self.job, &self.state),
            None if changed => eprintln!("{} is {}", self.job, safe(state)),
            None => {}
        }
    }

    pub fn stages(&mut self, stages: Vec<StageBar>, planning: u64) {
        self.planning = planning;
        if let Some(bars) = &mut self.bars
            && !self
                .stages
                .iter()
                .map(|s| &s.name)
                .eq(stages.iter().map(|s| &s.name))
        {
            bars.lay_out(&stages);
        }
        self.stages = stages;
        self.pace = Pace::default();
    }

    pub fn limits(&mut self, limits: LimitsView) {
        self.limits = Some(limits);
        self.draw();
    }

    pub fn progress(&mut self, progress: ProgressEvent) {
        self.state.clone_from(&progress.state);
        let stage = self.current(&progress);
        let done = stage.map_or(0, |at| self.counts(at, &progress).0);
        self.pace.add(Instant::now(), progress.calls, done);
        self.last = Some(progress);
        self.draw();
    }

    fn current(&self, progress: &ProgressEvent) -> Option<usize> {
        let name = progress.stage.as_deref()?;
        self.stages.iter().position(|stage| stage.name == name)
    }

    /// Done and all tasks of a stage.
    fn counts(&self, at: usize, progress: &ProgressEvent) -> (u64, u64) {
        let tasks = &progress.progress.tasks;
        let done = tasks.succeeded + tasks.failed + tasks.skipped + tasks.cancelled;
        let before = |at: usize| {
            let first = self.stages.get(at).and_then(|stage| stage.first);
            first.map(|first| first.saturating_sub(self.planning))
        };
        let Some(from) = before(at) else {
            return (0, 0);
        };
        match before(at + 1) {
            // The next stage has begun, so all of this one is over.
            Some(next) if next <= tasks.total => (next - from.min(next), next - from.min(next)),
            _ => (done.saturating_sub(from), tasks.total.saturating_sub(from)),
        }
    }

    fn draw(&mut self) {
        let Some(progress) = &self.last else { return };
        let current = self.current(progress);
        let left = current.and_then(|at| {
            let (done, all) = self.counts(at, progress);
            let map = self.stages.get(at)?.kind == StageKind::Map;
            self.pace
                .seconds_left(all.saturating_sub(done))
                .filter(|_| map)
        });
        let parts = status(progress, &self.pace, left, self.limits.as_ref());
        let items = &progress.progress.items;
        let Some(bars) = &self.bars else {
            let percent = (items.covered * 100).checked_div(items.total).unwrap_or(0);
            let due = self.line.is_none_or(|(at, last)| {
                percent >= last + STEP_PERCENT || at.elapsed() >= LINE_EVERY
            });
            if due && items.total > 0 {
                self.line = Some((Instant::now(), percent - percent % STEP_PERCENT));
                let stage = progress.stage.as_deref().unwrap_or(&progress.state);
                eprintln!(
                    "{}: {} of {} items covered, {}",
                    safe(stage),
                    number(items.covered),
                    number(items.total),
                    parts.join(BETWEEN)
                );
            }
            return;
        };
        bars.head(&self.job, &self.state);
        for (at, bar) in bars.stages.iter().enumerate() {
            let (done, all) = self.counts(at, progress);
            let synthesis = self
                .stages
                .get(at)
                .is_some_and(|s| s.kind == StageKind::Synthesis);
            let now = current == Some(at);
            let past = current.is_some_and(|current| at < current);
            let message = match (now, synthesis) {
                (true, true) => "at work".to_owned(),
                (true, false) => format!("{} of {} tasks", number(done), number(all)),
                (false, _) if past && all > 0 => format!("{} tasks", number(all)),
                (false, _) if past => "done".to_owned(),
                (false, _) => "waits".to_owned(),
            };
            let (position, length) = match (past, now && !synthesis) {
                (true, _) => (1, 1),
                (_, true) => (done, all.max(1)),
                _ => (0, 1),
            };
            bar.set_length(length);
            bar.set_position(position);
            bar.set_message(message);
        }
        bars.items.set_length(items.total.max(1));
        bars.items.set_position(items.covered);
        bars.items.set_message(format!(
            "{} of {} covered",
            number(items.covered),
            number(items.total)
        ));
        bars.status.set_message(fit(&parts, bars.width()));
    }

    /// Out of the way of a question.
    pub fn hide(&mut self) {
        if let Some(bars) = &self.bars {
            bars.head.disable_steady_tick();
            let _ = bars.all.clear();
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    pub fn unhide(&mut self) {
        if let Some(bars) = &self.bars {
            bars.head.enable_steady_tick(TICK);
            bars.all.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.draw();
    }

    pub fn end(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.head.disable_steady_tick();
            let _ = bars.all.clear();
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl Bars {
    fn new(job: &str) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let line = |template: &str| {
            let bar = ProgressBar::no_length();
            bar.set_style(style(template));
            bar
        };
        let head = all.add(line("{spinner} {msg}"));
        let items = all.add(line("  {prefix} {bar:30.green} {msg}"));
        let status = all.add(line("  {msg}"));
        items.set_prefix("items");
        head.set_message(job.to_owned());
        head.enable_steady_tick(TICK);
        Bars {
            all,
            head,
            stages: Vec::new(),
            items,
            status,
        }
    }

    /// Columns beside the indent.
    fn width(&self) -> usize {
        let size = console::Term::stderr().size_checked();
        size.map_or(WIDTH, |(_, columns)| usize::from(columns))
            .saturating_sub(INDENT.len())
    }

    fn head(&self, job: &str, state: &str) {
        let state = match console::colors_enabled_stderr() {
            true => output::state(state),
            false => safe(state),
        };
        self.head.set_message(format!("{job} {state}"));
    }

    /// One bar for each stage, above that of the items.
    fn lay_out(&mut self, stages: &[StageBar]) {
        for bar in self.stages.drain(..) {
            self.all.remove(&bar);
        }
        let widest = stages.iter().map(|stage| stage.name.chars().count()).max();
        let widest = widest.unwrap_or(0).max("items".len());
        for stage in stages {
            let bar = self
                .all
                .insert_before(&self.items, ProgressBar::no_length());
            bar.set_style(style("  {prefix} {bar:30.cyan} {msg}"));
            bar.set_prefix(format!("{:widest$}", safe(&stage.name)));
            self.stages.push(bar);
        }
        self.items.set_prefix(format!("{:widest$}", "items"));
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours, and a test reads them.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━╌")
}

/// Calls in flight, the rate, the money, the time.
fn status(
    progress: &ProgressEvent,
    pace: &Pace,
    left: Option<u64>,
    limits: Option<&LimitsView>,
) -> Vec<String> {
    let running = plural(progress.progress.tasks.running, "call");
    let mut parts = match progress.state.as_str() {
        // The counts are those of map stages.
        "synthesizing" => vec!["the report is being written".to_owned()],
        _ => vec![format!("{running} in flight")],
    };
    if let Some(rate) = pace.calls_per_minute() {
        // Of the class that is most in use.
        let class = limits.and_then(|limits| {
            let seen = limits.classes.iter().filter(|class| class.seen);
            seen.max_by_key(|class| class.in_flight)
        });
        parts.push(match class {
            Some(class) => format!(
                "{} of {} requests/min",
                number(rate),
                number(class.requests.limit_per_minute)
            ),
            None => format!("{} requests/min", number(rate)),
        });
    }
    parts.push(match progress.cost.limit_usd {
        Some(limit) => format!("{} of {}", usd(progress.cost.spent_usd), usd(limit)),
        None => usd(progress.cost.spent_usd),
    });
    let failed = progress.progress.tasks.failed;
    if failed > 0 {
        parts.push(format!("{} failed", number(failed)));
    }
    if let Some(seconds) = left {
        parts.push(format!("about {} left", span(seconds)));
    }
    parts.extend(money::by_cache(&progress.cost));
    parts
}

/// The parts in as few lines as hold them; none is broken by a line's end.
fn fit(parts: &[String], width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let wide = |text: &str| text.chars().count();
    for part in parts {
        match lines.last_mut() {
            Some(line) if wide(line) + wide(BETWEEN) + wide(part) <= width => {
                line.push_str(BETWEEN);
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
    }
    lines.join(&format!("\n{INDENT}"))
}

/// How fast it went lately.
#[derive(Debug, Default)]
struct Pace {
    /// When, calls so far, tasks of this stage done so far.
    samples: VecDeque<(Instant, u64, u64)>,
}

impl Pace {
    fn add(&mut self, now: Instant, calls: u64, done: u64) {
        self.samples.push_back((now, calls, done));
        // One sample stays from before the window, so that it is always as wide.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, ..)| now.duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Calls and tasks per second.
    fn rates(&self) -> Option<(f64, f64)> {
        let (from, calls, done) = self.samples.front()?;
        let (to, calls_now, done_now) = self.samples.back()?;
        let seconds = to.duration_since(*from).as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        (seconds >= LEAST_SECONDS).then(|| (rate(*calls_now, *calls), rate(*done_now, *done)))
    }

    fn calls_per_minute(&self) -> Option<u64> {
        self.rates().map(|(calls, _)| (calls * 60.0).round() as u64)
    }

    fn seconds_left(&self, tasks: u64) -> Option<u64> {
        let (_, rate) = self.rates()?;
        (rate > 0.0 && tasks > 0).then(|| (tasks as f64 / rate).ceil() as u64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fanwise::app::view::{Cost, ItemCounts, Progress, TaskCounts, Usage};
    use serde_json::json;

    use super::*;

    fn at(done: u64, total: u64, calls: u64) -> ProgressEvent {
        ProgressEvent {
            state: "running".into(),
            run: 1,
            stage: Some("causes".into()),
            progress: Progress {
                tasks: TaskCounts {
                    total,
                    running: 4,
                    succeeded: done,
                    ..TaskCounts::default()
                },
                items: ItemCounts {
                    total: 300,
                    covered: 125,
                    missing: 175,
                    blank_rows: 0,
                },
            },
            calls,
            usage: Usage::default(),
            cost: Cost {
                spent_usd: 0.42,
                limit_usd: Some(5.0),
                ..Cost::default()
            },
        }
    }

    fn display() -> Display {
        let job = json!({"id": "job_1", "state": "running", "run": 1, "mode": "static", "task": "t", "recipe": null,
            "created_at": "", "updated_at": "", "finished_at": null, "stage": null,
            "progress": {"tasks": TaskCounts::default(), "items": ItemCounts::default()},
            "usage": {"calls": 0, "input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
            "cost": Cost::default(), "halt": null, "error": null, "metadata": {}});
        let mut display = Display::new(&serde_json::from_value(job).unwrap());
        display.bars = None;
        let stage = |name: &str, kind, first| StageBar {
            name: name.into(),
            kind,
            first,
        };
        display.stages(
            vec![
                stage("classify", StageKind::Map, Some(1)),
                stage("causes", StageKind::Map, Some(13)),
                stage("report", StageKind::Synthesis, None),
            ],
            1,
        );
        display
    }

    #[test]
    fn counts_of_the_job_say_how_far_each_stage_is() {
        let display = display();
        // 12 tasks of the first stage, 20 of the second, of which 7 are done; the planning task is in no count.
        let now = at(19, 32, 19);
        assert_eq!(display.counts(0, &now), (12, 12));
        assert_eq!(display.counts(1, &now), (7, 20));
        assert_eq!(display.counts(2, &now), (0, 0));
    }

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        let second = |s| begin + Duration::from_secs(s);
        assert_eq!(pace.calls_per_minute(), None);
        pace.add(second(0), 0, 0);
        assert_eq!(pace.calls_per_minute(), None);
        pace.add(second(10), 100, 20);
        assert_eq!(pace.calls_per_minute(), Some(600));
        assert_eq!(pace.seconds_left(10), Some(5));
        assert_eq!(pace.seconds_left(0), None);
        pace.add(second(70), 160, 80);
        pace.add(second(130), 160, 80);
        // Nothing happened in the last minute.
        assert_eq!(pace.calls_per_minute(), Some(0));
        assert_eq!(pace.seconds_left(10), None);
    }

    #[test]
    fn the_status_names_flight_rate_money_and_time() {
        let limits: LimitsView = serde_json::from_value(json!({
            "classes": [
                {"class": "opus", "seen": true, "in_flight": 0, "window": null, "requests": {"limit_per_minute": 50, "free": 1, "capacity": 1, "full_at": null},
                 "input_tokens": {"limit_per_minute": 0, "free": 0, "capacity": 0, "full_at": null}, "output_tokens": {"limit_per_minute": 0, "free": 0, "capacity": 0, "full_at": null},
                 "refused": 0, "slow_until": null},
                {"class": "haiku", "seen": true, "in_flight": 4, "window": null, "requests": {"limit_per_minute": 1000, "free": 1, "capacity": 1, "full_at": null},
                 "input_tokens": {"limit_per_minute": 0, "free": 0, "capacity": 0, "full_at": null}, "output_tokens": {"limit_per_minute": 0, "free": 0, "capacity": 0, "full_at": null},
                 "refused": 0, "slow_until": null}],
            "breaker": {"state": "closed", "reason": null, "until": null}
        }))
        .unwrap();
        let mut pace = Pace::default();
        let begin = Instant::now();
        pace.add(begin, 0, 0);
        pace.add(begin + Duration::from_secs(60), 312, 60);
        let parts = status(&at(19, 32, 312), &pace, Some(125), Some(&limits));
        assert_eq!(
            parts.join(BETWEEN),
            "4 calls in flight · 312 of 1,000 requests/min · $0.42 of $5.00 · about 2 min 5 s left"
        );
        let mut cached = at(19, 32, 312);
        cached.cost.cache_saved_usd = 0.25;
        let parts = status(&cached, &pace, None, None);
        assert_eq!(
            parts.last().map(String::as_str),
            Some("$0.25 saved by the prompt cache")
        );
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_in_the_next_between_two_parts() {
        let parts = ["4 calls in flight", "$0.42 of $5.00", "about 2 min left"].map(str::to_owned);
        assert_eq!(
            fit(&parts, 80),
            "4 calls in flight · $0.42 of $5.00 · about 2 min left"
        );
        assert_eq!(
            fit(&parts, 40),
            "4 calls in flight · $0.42 of $5.00\n  about 2 min left"
        );
        assert_eq!(fit(&parts, 5).lines().count(), 3);
        assert_eq!(fit(&[], 80), "");
    }

    #[test]
    fn the_templates_are_sound() {
        for template in [
            "{spinner} {msg}",
            "  {prefix} {bar:30.green} {msg}",
            "  {msg}",
        ] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
