//! The account: its tokens, what its limits are, whether all of it works.

pub mod health;
pub mod limits;
pub mod storage;
pub mod tokens;
