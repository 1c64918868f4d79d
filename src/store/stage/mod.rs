//! Tables between stages: what one takes of another, checks, flags, the tree before a synthesis.

pub mod carry_over;
pub mod checks;
pub mod flags;
pub mod from_results;
pub mod reduce_tree;
pub mod selected;
