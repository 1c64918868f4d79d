//! Input becomes tasks: items, documents, results of an earlier stage or job; waiting tasks are queued.

pub mod carry_over;
pub mod enqueue;
pub mod from_documents;
pub mod from_items;
pub mod from_results;
pub mod grouped;
pub mod selected;
