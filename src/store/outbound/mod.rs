//! Tables of what goes out: webhooks, traces, schedules.

pub mod deliveries;
pub mod schedules;
pub mod traces;
