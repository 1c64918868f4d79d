//! `demo`: a sample job from submit to report, with everything it needs started and ended.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::client::{Client, is_terminal};
use crate::dev::{CRON, NO_KEY, claude_url, claude_vars};
use crate::standin::Standin;
use crate::state::State;
use crate::worker::{Options, Worker, free_now, tell_errors_of};
use crate::{build, report, root, setup, ui};

const LOOK: Duration = Duration::from_millis(200);
/// Nothing may stand still for so long without a word; a call to Claude may take minutes.
const STANDSTILL: Duration = Duration::from_secs(120);
const STANDSTILL_REAL: Duration = Duration::from_secs(900);
/// The stand-in's time for an answer: a small model's, so that there is something to watch.
const PACE_MS: &str = "2500";
const USUAL_PORT: u16 = 8787;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many tickets; above 300 the sample repeats itself under new ids
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub items: u32,
    /// Leave everything running afterwards, to try the API by hand
    #[arg(long)]
    pub keep: bool,
    /// Ask Claude and not the stand-in: costs money; wants ANTHROPIC_API_KEY
    #[arg(long)]
    pub real: bool,
}

pub fn run(args: Args) -> Result<()> {
    let began = Instant::now();
    let key = if args.real {
        real_key()?
    } else {
        NO_KEY.to_owned()
    };
    let job = sample(args.items)?;
    let tools = setup::prepare()?;
    let program = build::all(&tools)?;
    let state = State::temporary("demo")?;
    let token = state.token()?;
    let mut standin = None;
    let url = if args.real {
        claude_url()?
    } else {
        let pace = ["--latency-ms", PACE_MS, "--jitter", "0.5"].map(str::to_owned);
        standin
            .insert(Standin::start(&program, state.dir(), &pace)?)
            .url()
            .to_owned()
    };
    let options = Options {
        port: if free_now(USUAL_PORT) { USUAL_PORT } else { 0 },
        vars: claude_vars(&url, &key, &token),
        cron: Some(CRON),
        ..Options::default()
    };
    let mut worker = Worker::start(&tools, state, options)?;
    tell_errors_of(worker.log());
    ui::say(format!(
        "  ready {} after {}",
        worker.url(),
        ui::took(began.elapsed())
    ));
    ui::say(if args.real {
        "  Claude answers, and your account pays for it."
    } else {
        "  The stand-in on this machine answers, not Claude: it looks at keywords, and nothing is paid."
    });

    let client = Client::new(&worker.url(), Some(&token));
    let submitted = Instant::now();
    let job = client.submit(&job)?;
    let id =
        text(&job, "/id").ok_or_else(|| anyhow!("the Worker answered without a job id: {job}"))?;
    let mut check = || {
        worker.check()?;
        standin.as_mut().map_or(Ok(()), Standin::check)
    };
    let patience = if args.real {
        STANDSTILL_REAL
    } else {
        STANDSTILL
    };
    let job = follow(&client, &id, submitted, patience, &mut check)?;
    let whole = client.report(&id)?;
    for part in report::render(&job, &whole, submitted.elapsed(), !args.real) {
        ui::print(part);
    }
    if args.keep {
        ui::print(still_running(&client, &id, &token));
        loop {
            std::thread::sleep(LOOK);
            check()?;
        }
    }
    drop(worker);
    drop(standin);
    ui::print(
        "Everything that was started has ended.\n\
         Next: `cargo xtask demo --keep` leaves it running, to try the API by hand;\n\
         `cargo xtask dev` runs the Worker for your own jobs; docs/operate/deploy.md says how to deploy it.",
    );
    match text(&job, "/state").as_deref() {
        Some("succeeded" | "partial") => Ok(()),
        state => bail!("the job ended as {}", state.unwrap_or("unknown")),
    }
}

fn real_key() -> Result<String> {
    std::env::var("ANTHROPIC_API_KEY")
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| anyhow!("--real asks Claude, which wants a key; set ANTHROPIC_API_KEY"))
}

/// The sample job with its first `count` tickets.
pub fn sample(count: u32) -> Result<Value> {
    let folder = root::dir().join("samples");
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let mut job: Value = serde_json::from_str(&read("support-tickets.json")?)
        .context("the sample job is not JSON")?;
    let tickets = read("support-tickets.jsonl")?
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).context("a sample ticket is not JSON"))
        .collect::<Result<Vec<Value>>>()?;
    let items = repeated(&tickets, count as usize);
    job.as_object_mut()
        .ok_or_else(|| anyhow!("the sample job is no object"))?
        .insert("input".into(), json!({ "items": items }));
    Ok(job)
}

/// `count` of them; from the second round on, ids carry the round.
fn repeated(tickets: &[Value], count: usize) -> Vec<Value> {
    let rounds = (1_usize..).flat_map(|round| tickets.iter().map(move |ticket| (round, ticket)));
    let anew = |(round, ticket): (usize, &Value)| {
        let mut ticket = ticket.clone();
        if round > 1
            && let Some(id) = ticket.get_mut("id")
        {
            *id = json!(format!("{}-{round}", id.as_str().unwrap_or_default()));
        }
        ticket
    };
    if tickets.is_empty() {
        return Vec::new();
    }
    rounds.take(count).map(anew).collect()
}

/// Shows the progress until the job is terminal; its last form.
fn follow(
    client: &Client,
    id: &str,
    since: Instant,
    patience: Duration,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<Value> {
    let mut display = Display::new();
    let mut last_change = Instant::now();
    let mut last = Value::Null;
    loop {
        check()?;
        let job = client.job(id)?;
        display.show(&job, since.elapsed());
        if is_terminal(&job) {
            display.end();
            return Ok(job);
        }
        let now = json!([job.get("state"), job.get("progress"), job.get("usage")]);
        if now != last {
            last = now;
            last_change = Instant::now();
        } else if last_change.elapsed() > patience {
            display.end();
            bail!(
                "job {id} has stood still for {} s: {job}",
                patience.as_secs()
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// A bar on a terminal; elsewhere a line for each change, at most one a second.
enum Display {
    Bar(ProgressBar),
    Lines { last: String, at: Option<Instant> },
}

impl Display {
    fn new() -> Display {
        if !std::io::stderr().is_terminal() {
            return Display::Lines {
                last: String::new(),
                at: None,
            };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("  {bar:32} {pos}/{len} items   {msg}") {
            bar.set_style(style);
        }
        Display::Bar(bar)
    }

    fn show(&mut self, job: &Value, time: Duration) {
        let number = |path: &str| {
            job.pointer(path)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        let (covered, total) = (
            number("/progress/items/covered"),
            number("/progress/items/total"),
        );
        let words = format!(
            "{}/{} tasks   ${:.4}   {}   {}",
            number("/progress/tasks/succeeded"),
            number("/progress/tasks/total"),
            job.pointer("/cost/spent_usd")
                .and_then(Value::as_f64)
                .unwrap_or_default(),
            ui::took(time),
            text(job, "/state").unwrap_or_default(),
        );
        match self {
            Display::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(covered);
                bar.set_message(words);
            }
            Display::Lines { last, at } => {
                let state = json!([job.get("state"), job.get("progress")]).to_string();
                let soon = at.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
                if *last != state && (!soon || is_terminal(job)) {
                    ui::say(format!("  {covered}/{total} items   {words}"));
                    *last = state;
                    *at = Some(Instant::now());
                }
            }
        }
    }

    fn end(&self) {
        if let Display::Bar(bar) = self {
            bar.abandon();
        }
    }
}

fn still_running(client: &Client, id: &str, token: &str) -> String {
    let base = client.base();
    let auth = format!("-H 'authorization: Bearer {token}'");
    format!(
        "Still running, until Ctrl-C. Look at it in a browser: {base}/#/jobs/{id} (the token is {token});\n\
         or, in another terminal:\n\
         curl -s {auth} {base}/v1/jobs/{id}\n\
         curl -s {auth} '{base}/v1/jobs/{id}/results?format=csv'\n\
         curl -s {auth} {base}/v1/jobs/{id}/tasks/0\n\
         curl -s {auth} -H 'accept: text/markdown' {base}/v1/jobs/{id}/report\n\
         curl -s {auth} -H 'content-type: application/json' {base}/v1/jobs -d '{}'",
        r#"{"task":"Sum up each note in three words","stages":[{"name":"sum","kind":"map","instructions":"Sum it up in three words","output":"item"},{"name":"report","kind":"synthesis","instructions":"Write one sentence"}],"input":{"items":["The parcel came late","The app crashes at start"]}}"#
    )
}

fn text(value: &Value, path: &str) -> Option<String> {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_sample_has_unique_ids() {
        let tickets = [
            json!({"id": "T-1", "text": "a"}),
            json!({"id": "T-2", "text": "b"}),
        ];
        let ids: Vec<String> = repeated(&tickets, 5)
            .iter()
            .map(|item| text(item, "/id").unwrap())
            .collect();
        assert_eq!(ids, ["T-1", "T-2", "T-1-2", "T-2-2", "T-1-3"]);
        assert!(repeated(&[], 5).is_empty());
    }
}
