//! The command line.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    attack, bench, build, demo, dev, docs, drill, pictures, setup, simulate, test, ui,
    verify_claude,
};

/// The project's own commands. Each sets up what it needs; the first one takes some minutes.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// A job of 300 support tickets from submit to report, on this machine
    Demo(demo::Args),
    /// The Worker on this machine, until it is stopped
    Dev(dev::Args),
    /// All tests: native, the stand-in under the official SDKs, end to end in workerd
    Test(test::Args),
    /// More seeds of the engine's simulation than the tests play
    Simulate(simulate::Args),
    /// A job while everything goes wrong, workerd killed included, and the proof of what became of it
    Drill(drill::Args),
    /// Every bad input of the list against the built Worker, and the table of SECURITY.md
    Attack(attack::Args),
    /// How fast and how heavy it is, on this machine
    Bench(bench::Args),
    /// About ten real calls that answer what documents leave open about Claude's API; needs a key
    VerifyClaude(verify_claude::Args),
    /// The reference and the pages of /docs, from their sources; with --check, whether all documents are in order
    Docs(docs::Args),
    /// The pictures of README and guides, taken anew into docs/pictures/
    Pictures,
    /// Only the tools, for later
    Setup,
    /// The Worker as Wasm, into build/; wrangler deploy calls it
    Build,
}

pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Test(args) => test::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Attack(args) => attack::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::VerifyClaude(args) => verify_claude::run(&args),
        Command::Docs(args) => docs::run(&args),
        Command::Pictures => pictures::run(),
        Command::Setup => setup::prepare().map(|_| ui::say("all tools are there")),
        Command::Build => build::worker(&setup::prepare()?),
    }
}
