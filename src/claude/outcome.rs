//! What of a worker's answer can be used.
