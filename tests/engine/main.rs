//! The engine as a whole, natively: the very SQL of D1 on SQLite, a virtual clock, and the stand-in as Claude.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod amends;
mod batch_cache;
mod batches;
mod bill;
mod blocked;
mod caching;
mod chaos;
mod checks;
mod claims;
mod commands;
mod conditions;
mod costs;
mod crash;
mod door;
mod dynamic;
mod estimates;
mod extend;
mod flows;
mod found;
mod gateways;
mod inputs;
mod log;
mod messages;
mod overview;
mod pace;
mod plans;
mod production;
mod quota;
mod removal;
mod schedules;
mod schema;
mod simulation;
mod sites;
mod sizes;
mod sql;
mod stages;
mod storage;
mod tiers;
mod traces;
mod tree;
mod web;
mod webhooks;
mod workers;
mod world;
