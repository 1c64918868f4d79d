//! The HTTP API from outside: requests go into the router as the platform would hand them over, and whole
//! answers are asserted. The edges behind it are fakes that know no jobs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod attacks;
mod bad_input;
mod commands;
mod contract;
mod fakes;
mod fuzz;
#[path = "../attack/inputs.rs"]
mod inputs;
mod limits;
mod origins;
mod plans;
mod routes;
mod schedules;
mod upload;
mod webhooks;
