//! Requests to other servers: pages, webhooks, a collector of traces.

pub mod http;
pub mod traces;
pub mod webhooks;
