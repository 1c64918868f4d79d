//! Tables of tasks and attempts: expansion, admission, settling, batches.

pub mod admission;
pub mod batches;
pub mod capabilities;
pub mod prefixes;
pub mod release;
pub mod settle;
pub mod tally;
pub mod tasks;
