//! The project's own commands and the parts they are made of, which the end-to-end tests use too.
//!
//! - [`cli`]: the command line
//! - [`proc`]: child processes, none of which outlives the one that started them
//! - [`setup`]: brings the tools, pinned and from package registries, into folders that git ignores
//! - [`build`]: the Worker and the stand-in, compiled only when something changed
//! - [`state`]: one state directory of a local run: lock, configuration, secrets, database
//! - [`worker`]: the Worker under `wrangler dev`: start, kill, restart, cron
//! - [`standin`]: the stand-in for Claude as a running process
//! - [`client`]: a small HTTP client for the Worker's API
//! - [`clients`]: clients that others wrote, against a running Worker
//! - [`dev`], [`demo`], [`test`], [`simulate`]: one file for each command
//! - [`pictures`]: the pictures of README and guides, taken anew
//! - [`docs`]: the generated reference, the documents as HTML, and their checks
//! - [`terminal`]: a program in a pseudo-terminal, for the tests and the pictures of the command line
//! - [`mutations`]: whether the simulation notices a broken engine
//! - [`bench`]: how fast and how heavy it is
//! - [`attack`]: bad inputs against the built Worker
//! - [`drill`]: what becomes of a job while everything goes wrong
//! - [`verify_claude`]: what documents leave open, asked of the real API
//! - [`report`]: a finished job as tables
//! - [`tuning`]: the engine's constants, whose names local runs accept as variables
//! - [`ui`]: lines for people

pub mod attack;
pub mod bench;
pub mod build;
pub mod cli;
pub mod client;
pub mod clients;
pub mod demo;
pub mod dev;
pub mod docs;
pub mod drill;
pub mod mutations;
pub mod pictures;
pub mod proc;
pub mod report;
pub mod root;
pub mod setup;
pub mod simulate;
pub mod standin;
pub mod state;
pub mod terminal;
pub mod test;
/// The engine's own file: as a dependency, the engine would bring its whole tree along.
#[path = "../../src/config/tuning.rs"]
pub mod tuning;
pub mod ui;
pub mod verify_claude;
pub mod worker;
