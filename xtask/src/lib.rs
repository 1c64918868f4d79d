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
//! - [`pictures`]: the README's pictures, taken anew
//! - [`terminal`]: a program in a pseudo-terminal, for the tests and the pictures of the command line
//! - [`mutations`]: whether the simulation notices a broken engine
//! - [`bench`]: how fast and how heavy it is
//! - [`drill`]: what becomes of a job while everything goes wrong
//! - [`report`]: a finished job as tables
//! - [`ui`]: lines for people

pub mod bench;
pub mod build;
pub mod cli;
pub mod client;
pub mod clients;
pub mod demo;
pub mod dev;
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
pub mod ui;
pub mod worker;
