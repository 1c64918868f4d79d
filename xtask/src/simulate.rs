//! `simulate`: more stories of the engine's simulation than the test run plays.
//!
//! The simulation itself is a native test (`tests/engine/simulation`): the whole engine over real SQL on a
//! virtual clock, with everything going wrong that can. A seed that breaks a promise prints its transcript
//! and how to replay it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::proc::Group;
use crate::setup::plain;
use crate::{mutations, root, ui};

const LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many stories (10,000); a tenth as many come on top of planned jobs, of cascades of models, of batches, of crowds of consumers and of wide jobs
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// The first one
    #[arg(long, default_value_t = 1)]
    pub start: u64,
    /// Play only this story, as `kind:seed`, and print its whole transcript; kinds: static, dynamic, batch, cascade, crowd, wide
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    pub story: Option<String>,
    /// Break the engine on purpose, one line at a time, and see whether the stories notice (up to 2,000 of each of three
    /// kinds, if no other number is given); with a promise (P3) or a part of a name, only those
    #[arg(long, num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["start", "story"])]
    pub mutations: Option<String>,
}

/// Stories that are played of a broken engine.
const MUTANT_SEEDS: u64 = 2_000;
const SEEDS: u64 = 10_000;
/// The kinds of stories; `tests/engine/simulation` says what each has.
const KINDS: [&str; 6] = ["static", "dynamic", "batch", "cascade", "crowd", "wide"];

pub fn run(args: &Args) -> Result<()> {
    if let Some(only) = &args.mutations {
        let only = (!only.is_empty()).then_some(only.as_str());
        return mutations::run(args.seeds.unwrap_or(MUTANT_SEEDS), only);
    }
    let seeds = args.seeds.unwrap_or(SEEDS);
    let (tests, variables) = match &args.story {
        Some(story) => (
            vec!["simulation::story".to_owned()],
            vec![("SIM", story.clone())],
        ),
        None => {
            let tests = KINDS.map(|kind| format!("simulation::{kind}_jobs_keep_the_promises"));
            let counts = KINDS.map(|kind| match kind {
                "static" => format!("static:{seeds}"),
                kind => format!("{kind}:{}", seeds.div_ceil(10)),
            });
            let variables = vec![
                ("SIM_STORIES", counts.join(",")),
                ("SIM_START", args.start.to_string()),
            ];
            (tests.to_vec(), variables)
        }
    };
    let began = Instant::now();
    let mut cargo = plain("cargo");
    cargo
        .args([
            "test",
            "--locked",
            "--package",
            "fanwise",
            "--test",
            "engine",
        ])
        .args(["--", "--exact", "--nocapture"])
        .args(tests)
        .envs(variables)
        .current_dir(root::dir())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    let mut group = Group::spawn("the simulation", &mut cargo)?;
    let status = loop {
        match group.ended() {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    if !status.success() {
        bail!("the simulation found a broken promise, or could not run");
    }
    if args.story.is_none() {
        ui::print(format!(
            "{} seeds from {} on kept every promise ({}, compiling included)",
            seeds,
            args.start,
            ui::took(began.elapsed())
        ));
    }
    Ok(())
}
