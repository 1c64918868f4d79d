//! The Worker as one Wasm module: nothing but what `fanwise` exports, its three events.

#[cfg(target_arch = "wasm32")]
extern crate fanwise as _;
