//! The routes: one file for each resource. A handler reads the request, calls a use case and answers with its result.
//!
//! - [`submit`], [`upload`]: a job is submitted, as JSON or with a file
//! - [`jobs`], [`tasks`], [`results`] (as a table: [`results_table`], [`results_cell`], [`results_xlsx`]), [`report`], [`overview`]: a job is read
//! - [`events`]: a job is watched; watchers share [`looks`]
//! - [`control`]: a job is cancelled, paused, resumed, retried, changed, deleted
//! - [`plans`], [`recipes`]: plans, estimates and recipes
//! - [`schedules`], [`deliveries`], [`tokens`], [`limits`], [`health`]: the rest of the service

pub mod control;
pub mod deliveries;
pub mod events;
pub mod health;
pub mod jobs;
pub mod limits;
pub mod looks;
pub mod overview;
pub mod plans;
pub mod recipes;
pub mod report;
pub mod results;
mod results_cell;
pub mod results_table;
mod results_xlsx;
pub mod schedules;
pub mod submit;
pub mod tasks;
pub mod tokens;
pub mod upload;
