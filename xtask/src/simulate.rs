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
use crate::{root, ui};

const LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many stories
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    pub start: u64,
    /// Play only this seed and print its whole transcript
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    pub seed: Option<u64>,
}

pub fn run(args: &Args) -> Result<()> {
    let (test, variables) = match args.seed {
        Some(seed) => ("simulation::one", vec![("SEED", seed)]),
        None => (
            "simulation::every_seed_keeps_the_promises",
            vec![
                ("FANWISE_SEEDS", args.seeds),
                ("FANWISE_SEED_START", args.start),
            ],
        ),
    };
    let began = Instant::now();
    let mut cargo = plain("cargo");
    cargo
        .args(["test", "--package", "fanwise", "--test", "engine"])
        .args([test, "--", "--exact", "--nocapture"])
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
            args.seeds,
            args.start,
            ui::took(began.elapsed())
        ));
    }
    Ok(())
}
