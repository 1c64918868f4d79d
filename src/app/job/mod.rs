//! A job moves: driven step by step, commanded by its caller, swept by cron, removed.

pub mod commands;
pub mod driver;
pub mod finish;
pub mod remove;
pub mod sweep;
