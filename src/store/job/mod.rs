//! Tables of jobs: the job itself, its input and plans, what callers and time do to it.

pub mod commands;
pub mod input_pages;
pub mod jobs;
pub mod measures;
pub mod plans;
pub mod removals;
pub mod sweep;
