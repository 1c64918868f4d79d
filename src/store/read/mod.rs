//! What callers read.

pub mod events;
pub mod listing;
pub mod overview;
pub mod rows;
