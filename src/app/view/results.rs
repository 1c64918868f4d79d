//! The wire form of results, and of items beside their results.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// One line of results: for an item of `output: item`; for all `ids` of a task of `output: chunk`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(untagged)]
pub enum ResultLine {
    Item {
        id: String,
        output: Value,
        task: u32,
    },
    Chunk {
        task: u32,
        /// The id that this result has as an item of the next stage.
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// The value that its items have in the field the stage groups by.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        ids: Vec<String>,
        output: Value,
    },
}

/// An item of the input beside its result: a line of results with `include=input`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct ResultRow {
    pub id: String,
    /// The item's fields; of a document those beside its text, of a page its address.
    #[schema(value_type = Object)]
    pub input: Map<String, Value>,
    /// Null if it is missing.
    pub output: Value,
    pub status: RowStatus,
    /// Why it is missing, or its flags; null if it is `ok`.
    pub reason: Option<String>,
    /// What checks found about the result.
    pub flags: Vec<String>,
    /// The item that this is a part of: a slice of a long text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The task whose one result is that of several items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u32>,
    /// The value that these items have in the field the stage groups by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// `ok`: there is a valid result; `flagged`: there is one, and a check found something about it; `missing`: there is none
/// (so far).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    Ok,
    Flagged,
    Missing,
}

impl RowStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            RowStatus::Ok => "ok",
            RowStatus::Flagged => "flagged",
            RowStatus::Missing => "missing",
        }
    }
}

/// Results, or with `include=input` all items beside them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(untagged)]
pub enum AnyResult {
    Row(ResultRow),
    Result(ResultLine),
}
