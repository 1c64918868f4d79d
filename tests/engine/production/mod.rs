//! The engine under a model of production: a database that is far away and has one thread, limits for each invocation,
//! many consumers, slow delivery, and isolates that several invocations share.
//!
//! Local workerd has none of this, and the other engine tests run one consumer at a time over a database that
//! answers in 4 ms. Here the same engine, the same SQL and the same stand-in run behind wrappers of the ports, on the
//! virtual clock of [`crate::world`]. Nothing here was compared with a real account: each unknown of the platform is a
//! setting, and the default is the worse of its readings.
//!
//! - [`model`]: the settings, and what each of them stands for
//! - [`cloud`]: the platform: database thread, outages, memory, dice; [`invocation`]: the ports of one invocation
//! - [`pool`]: the six connections of an invocation
//! - [`queues`]: delivery, batches, the autoscaler, kills and deploys
//! - [`gauge`]: idle time with work and room, and claims that bring nothing
//! - [`meter`]: rows written, as D1 counts them
//! - [`cell`]: one job (or several) under one setting, and its figures; [`bill`]: what they cost
//! - [`grid`]: the cells of `cargo xtask bench --production`
//! - [`kept`]: the bounds that `cargo xtask test` asserts
//!
//! To look at one setting: `cargo xtask bench --production --call-ms 10000 --ttft-ms 600 --rtt-ms 30 --items 1000`.

mod bill;
pub mod cell;
mod cloud;
mod gauge;
mod grid;
mod invocation;
mod kept;
pub mod meter;
mod model;
mod pool;
mod queues;
