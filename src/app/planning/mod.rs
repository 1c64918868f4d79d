//! Plans: made by the orchestrator, checked, read, replaced, approved.

pub mod commands;
pub mod feasibility;
pub mod history;
pub mod orchestrator;
