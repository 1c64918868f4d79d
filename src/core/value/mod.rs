//! Small shared values.

pub mod category;
pub mod ids;
pub mod money;
pub mod same_text;
pub mod storage;
pub mod strict_json;
pub mod time;
pub mod token;
