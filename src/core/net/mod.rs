//! The network, without any: addresses that may be asked, signed messages, traces.

pub mod header_list;
pub mod trace;
pub mod url_guard;
pub mod webhook;
