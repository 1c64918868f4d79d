//! The randomness port on Web Crypto.

use crate::ports::Entropy;

/// `crypto.getRandomValues`.
#[derive(Clone, Copy)]
pub struct WebCrypto;

impl Entropy for WebCrypto {
    /// The runtime refuses randomness only outside of events, where nothing of ours runs. Should it ever
    /// do so, the invocation ends here: ids and leases made of zeros would be those of another one.
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            wasm_bindgen::throw_str("the runtime gives no randomness");
        }
    }
}
