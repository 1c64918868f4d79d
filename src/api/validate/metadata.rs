//! `metadata` in bodies: its schema and its size.

use serde_json::Value;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};

use super::json_text::json_len;
use crate::api::http::problem::Faults;

/// Metadata is returned with every job of a list, so it stays small.
const METADATA_BYTES: u64 = 4_096;

pub fn metadata_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .max_properties(Some(16))
        .description(Some(
            "The caller's own notes, returned with the job; at most 4 KB.",
        ))
        .into()
}

/// The cap on a body's `metadata`; how many fields it may have is said by its schema.
pub fn check_metadata(body: &Value, faults: &mut Faults) {
    if let Some(metadata) = body.get("metadata")
        && json_len(metadata) > METADATA_BYTES
    {
        faults.add(
            "metadata",
            format!("must have at most {METADATA_BYTES} bytes as JSON"),
        );
    }
}
