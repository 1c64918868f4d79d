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
    /// Play only this seed and print its whole transcript
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    pub seed: Option<u64>,
    /// With --seed: whose story that is
    #[arg(long, requires = "seed", value_parser = ["one", "planned", "tiered", "batched", "crowded", "wide"], default_value = "one")]
    pub of: String,
    /// Break the engine on purpose, one line at a time, and see whether the stories notice (up to 2,000 of each of three
    /// kinds, if no other number is given); with a promise (P3) or a part of a name, only those
    #[arg(long, num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["start", "seed"])]
    pub mutations: Option<String>,
}

/// Stories that are played of a broken engine.
const MUTANT_SEEDS: u64 = 2_000;
const SEEDS: u64 = 10_000;

pub fn run(args: &Args) -> Result<()> {
    if let Some(only) = &args.mutations {
        let only = (!only.is_empty()).then_some(only.as_str());
        return mutations::run(args.seeds.unwrap_or(MUTANT_SEEDS), only);
    }
    let seeds = args.seeds.unwrap_or(SEEDS);
    let (tests, variables) = match args.seed {
        Some(seed) => (
            vec![format!("simulation::{}", args.of)],
            vec![("SEED", seed)],
        ),
        None => (
            [
                "",
                "_when_jobs_are_planned",
                "_when_models_follow_one_another",
                "_when_calls_go_in_batches",
                "_when_consumers_meet",
                "_when_jobs_are_wide",
            ]
            .map(|of| format!("simulation::every_seed_keeps_the_promises{of}"))
            .to_vec(),
            vec![
                ("FANWISE_SEEDS", seeds),
                ("FANWISE_PLANNED_SEEDS", seeds.div_ceil(10)),
                ("FANWISE_TIERED_SEEDS", seeds.div_ceil(10)),
                ("FANWISE_BATCHED_SEEDS", seeds.div_ceil(10)),
                ("FANWISE_CROWDED_SEEDS", seeds.div_ceil(10)),
                ("FANWISE_WIDE_SEEDS", seeds.div_ceil(10)),
                ("FANWISE_SEED_START", args.start),
            ],
        ),
    };
    let began = Instant::now();
    let mut cargo = plain("cargo");
    cargo
        .args(["test", "--package", "fanwise", "--test", "engine"])
        .args(["--", "--exact", "--nocapture"])
        .args(tests)
        .envs(variables.iter().map(|(name, n)| (name, n.to_string())))
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
    if args.seed.is_none() {
        ui::print(format!(
            "{} seeds from {} on kept every promise ({}, compiling included)",
            seeds,
            args.start,
            ui::took(began.elapsed())
        ));
    }
    Ok(())
}
