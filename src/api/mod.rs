//! HTTP, pure half.
