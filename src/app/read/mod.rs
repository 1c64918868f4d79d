//! What callers read: jobs, tasks, reports, overviews, events.

pub mod cascade_stats;
pub mod events;
pub mod jobs;
pub mod overview;
pub mod report;
