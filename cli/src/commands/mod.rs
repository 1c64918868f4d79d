//! The commands: one file for each group.
//!
//! - [`login`]: the deployment to speak to
//! - [`run`], [`watch`]: a job from its file to its report; its events while it runs
//! - [`jobs`], [`results`], [`download`]: jobs and tasks; results and reports, as files too
//! - [`plans`], [`control`]: plans and estimates; a job is cancelled, paused, resumed, retried, deleted
//! - [`schedules`], [`tokens`], [`service`]: the rest of the deployment
//! - [`job_id`], [`exit`]: the job that a command names; exit codes

pub mod control;
mod download;
mod exit;
pub mod job_id;
pub mod jobs;
pub mod login;
pub mod plans;
pub mod results;
pub mod run;
pub mod schedules;
pub mod service;
pub mod tokens;
pub mod watch;
