//! A task: its kind, the room for its answer, and what follows from an answer or an error.

pub mod answer_room;
pub mod kind;
pub mod retry_policy;
