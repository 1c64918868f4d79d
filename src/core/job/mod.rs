//! A job: its states, and whether its calls go live or in batches.

pub mod delivery;
pub mod stage_step;
pub mod state;
