//! Plans: as callers write them, as recipes hold them, as the orchestrator makes them.

pub mod carry_over;
pub mod chunk;
pub mod condition;
pub mod fallback;
pub mod planner;
pub mod recipe;
pub mod selected;
pub mod spec;
pub mod told;
