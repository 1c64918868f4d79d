//! `attack`: the whole list of bad inputs against the built Worker, and the table that `SECURITY.md` shows.
//!
//! Each input goes out alone, and then all large ones at once. Every answer must be the one that the list names, none may take
//! long, and the same instance must still answer afterwards: an isolate that died has forgotten its peak of memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::bench::world::{Parts, World};
use crate::client::{Answer, Client};
use crate::ui;

#[path = "../../tests/attack/inputs.rs"]
mod inputs;

use inputs::{Attack, HEAD, attacks, named};

/// The longest that any answer may take here, where an upload of megabytes to workerd takes most of it.
const LONGEST: Duration = Duration::from_secs(5);
/// The most memory of WebAssembly that the instance may need: the platform allows 128 MB, JavaScript included.
const MOST_BYTES: u64 = 100_000_000;
/// Bodies from here on are sent again, all at once.
const LARGE: usize = 500_000;
/// So seldom that nothing else goes on.
const CRON: Duration = Duration::from_secs(600);

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Attack the Worker in build/ as it is, without compiling it
    #[arg(long)]
    pub as_built: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let parts = Parts::prepare(args.as_built)?;
    let world = World::start(&parts, "attack", &[], &[], CRON)?;
    let all = attacks();
    let mut wrong = Vec::new();
    let mut slowest = (Duration::ZERO, "");
    ui::print(HEAD);
    for attack in &all {
        let began = Instant::now();
        let answer = send(&world.client, attack)?;
        let took = began.elapsed();
        if took > slowest.0 {
            slowest = (took, attack.kind);
        }
        if took > LONGEST {
            wrong.push(format!("{} took {} ms", attack.kind, took.as_millis()));
        }
        wrong.extend(other(attack, &answer));
        ui::print(attack.row());
    }
    wrong.extend(at_once(&world.client, &all)?);
    if !world.client.healthy() {
        wrong.push("the Worker does not answer any more".to_owned());
    }
    let memory = world
        .memory()
        .context("the Worker does not say how much memory it needed")?;
    if memory > MOST_BYTES {
        wrong.push(format!("the instance needed {memory} bytes"));
    }
    ui::say(format!(
        "{} bad inputs; slowest {} ms ({}); memory {} MB",
        all.len(),
        slowest.0.as_millis(),
        slowest.1,
        memory / 1_000_000
    ));
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("not as the list says:\n{}", wrong.join("\n")),
    }
}

fn send(client: &Client, attack: &Attack) -> Result<Answer> {
    let client = match attack.known {
        true => client.clone(),
        false => client.with_token(None),
    };
    let headers: Vec<(&str, &str)> = attack
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    client.send(attack.method, &attack.path, &headers, &attack.body)
}

/// What an answer has other than the list says.
fn other(attack: &Attack, answer: &Answer) -> Option<String> {
    let problem = answer.json().unwrap_or(Value::Null);
    let wanted = (attack.code.to_owned(), attack.place.to_owned());
    let same = answer.status == attack.status && named(&problem) == wanted;
    (!same).then(|| {
        format!(
            "{}: wants {}, got {} {problem}",
            attack.kind,
            attack.answer(),
            answer.status
        )
    })
}

/// All large ones at once, twice: they may be told to come later, and nothing else.
fn at_once(client: &Client, all: &[Attack]) -> Result<Vec<String>> {
    let large: Vec<&Attack> = all
        .iter()
        .filter(|attack| attack.body.len() >= LARGE)
        .collect();
    let answers: Vec<(&Attack, Result<Answer>)> = std::thread::scope(|scope| {
        let sent: Vec<_> = large
            .iter()
            .chain(&large)
            .map(|attack| (*attack, scope.spawn(|| send(client, attack))))
            .collect();
        sent.into_iter()
            .filter_map(|(attack, thread)| Some((attack, thread.join().ok()?)))
            .collect()
    });
    let mut wrong = Vec::new();
    for (attack, answer) in answers {
        let answer = answer.with_context(|| format!("{} with others", attack.kind))?;
        let later = answer.status == 503 && answer.header("retry-after").is_some();
        wrong.extend(other(attack, &answer).filter(|_| !later));
    }
    Ok(wrong)
}
