//! HTTP itself, the same for all routes: the caller, the request's address, headers and body, and the response with its
//! errors.
//!
//! - [`state`]: the engine and the known tokens
//! - [`problem`], [`reply`]: errors, and answers without one
//! - [`headers`]: the headers of every response
//! - [`auth`], [`ticket`], [`guard`]: the caller; a ticket in place of a token; the layers that admit requests
//! - [`conditional`], [`cors`], [`idempotency`]: headers of requests
//! - [`params`], [`cursor`], [`body`], [`in_flight`]: addresses and bodies

pub mod auth;
pub mod body;
pub mod conditional;
pub mod cors;
pub mod cursor;
pub mod guard;
pub mod headers;
pub mod idempotency;
pub mod in_flight;
pub mod params;
pub mod problem;
pub mod reply;
pub mod state;
pub mod ticket;
