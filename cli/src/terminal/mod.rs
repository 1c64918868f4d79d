//! The terminal: what a person reads and answers.
//!
//! - [`output`]: tables, lines, colours, what is made safe for a terminal
//! - [`money`]: costs and savings in words
//! - [`progress`]: a job while it runs
//! - [`prompt`] asks questions

pub mod money;
pub mod output;
pub mod progress;
pub mod prompt;
