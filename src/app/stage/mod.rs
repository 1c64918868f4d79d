//! What a stage needs for its calls: models, schemas, prompts.

pub mod choice;
pub mod command;
pub mod derived;
pub mod input_items;
pub mod lineage;
pub mod loaded;
pub mod outputs;
pub mod prompts;
pub mod runtime;
pub mod task_row;
