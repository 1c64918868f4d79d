//! The OpenAPI document: the file that is served, and (in tests) the code that makes it from the handlers and types.

pub mod document;
#[cfg(test)]
mod generate;
