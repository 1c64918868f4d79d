//! The checks of request bodies. They know the configuration, and nothing of jobs that exist.
//!
//! - [`submit_body`]: the body of a submit, checked step by step; [`scheduled_job`]: that of a schedule
//! - [`items`], [`documents`], [`entry`]: its input; [`rows`], [`table`], [`encoding`]: the input
//!   in a file
//! - [`body_check`], [`schema_check`]: any body by its schema in the OpenAPI document; [`empty_body`]: one that says nothing
//! - [`plan_rules`], [`recipe`], [`metadata`], [`numbers`]: parts of bodies
//! - [`json_text`]: large JSON that stays text

pub mod body_check;
pub mod documents;
pub mod empty_body;
pub mod encoding;
pub mod entry;
pub mod items;
pub mod json_text;
pub mod metadata;
pub mod numbers;
pub mod plan_rules;
pub mod recipe;
pub mod rows;
pub mod scheduled_job;
pub mod schema_check;
pub mod submit_body;
pub mod table;
