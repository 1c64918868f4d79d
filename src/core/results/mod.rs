//! Results: merged, and looked at for what is odd.

pub mod columns;
pub mod flags;
pub mod merge;
