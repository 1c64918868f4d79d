//! The Messages API, pure half: what goes over the wire, what comes back, and what it costs.
//!
//! Nothing here talks to a network, reads a clock or knows a job. A call is made of four steps,
//! each a module of its own:
//!
//! 1. **Build**: [`models`] (the catalogue: limits, thinking modes, prices), [`request`] (typed
//!    requests, canonical bytes, headers), [`api_schema`] (a JSON Schema made fit for the API) and
//!    [`worker_schema`] (the form a worker is asked to answer in).
//! 2. **Receive**: [`sse`] (bytes to events), [`stream`] (events to one [`response::Message`]),
//!    [`response`] (the message itself, also when not streamed).
//! 3. **Judge**: [`error`] (every way to fail, with the one decision what to do about it),
//!    [`outcome`] (what of a worker's answer can be used).
//! 4. **Learn**: [`rate`] (the limits every response announces), [`headers`].
//!
//! Many calls may go out as one batch ([`batches`]); each of its results is judged as an answer is.

pub mod api_schema;
pub mod batches;
pub mod capabilities;
pub mod error;
pub mod headers;
pub mod models;
pub mod outcome;
pub mod rate;
pub mod request;
pub mod response;
pub mod sse;
pub mod stream;
pub mod worker_schema;
