//! What a job keeps about the earlier one that it extends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The earlier job, as far as its results may be taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    pub job: String,
    /// Its map stages, by what their workers are told.
    pub work: BTreeMap<String, u32>,
}
