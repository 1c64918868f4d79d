//! The Messages API, pure half.

pub mod headers;
