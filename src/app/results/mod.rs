//! Results of map stages: read, counted, checked, and handed to the synthesis.

pub mod aggregate;
pub mod checks;
pub mod citations;
pub mod coverage;
pub mod flags;
pub mod pages;
pub mod reduce_tree;
pub mod rows;
pub mod sample;
pub mod synthesis;
