//! The form a worker is asked to answer in.
