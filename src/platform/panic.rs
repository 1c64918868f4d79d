//! What is written down before a panic takes the instance with it.

use std::panic;

/// Called once, when the instance starts. The `worker` crate has a hook of its own, which tells the
/// runtime to renew the instance: whichever is set first, the other calls it.
pub fn install() {
    let first = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        console_error_panic_hook::hook(info);
        first(info);
    }));
}
