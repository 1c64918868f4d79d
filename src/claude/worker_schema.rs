//! The form a worker is asked to answer in.
//!
//! With `output: item` that is one document with a result for each id, with `output: chunk` the
//! stage's own schema. Where the API cannot be given the schema, the same is said in words.

use serde_json::{Value, json};

use crate::claude::api_schema::{Unsendable, adapt};
pub use crate::core::plan::spec::Output;

const ITEM_IN_WORDS: &str = include_str!("../../prompts/schema-item.md");
const CHUNK_IN_WORDS: &str = include_str!("../../prompts/schema-chunk.md");

/// A result's schema where the stage has none of its own.
#[must_use]
pub fn default_schema() -> Value {
    json!({
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": false
    })
}

/// The schema for `output_config.format`: adapted to the API, and wrapped for results by id.
///
/// # Errors
/// When the API cannot be given this schema; then the request goes without, and says it
/// [`in_words`].
pub fn wire_format(output: Output, schema: &Value) -> Result<Value, Unsendable> {
    let adapted = adapt(schema)?;
    Ok(match output {
        Output::Chunk => adapted,
        Output::Item => json!({
            "type": "object",
            "properties": {
                "results": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"id": {"type": "string"}, "output": adapted},
                        "required": ["id", "output"],
                        "additionalProperties": false
                    }
                }
            },
            "required": ["results"],
            "additionalProperties": false
        }),
    })
}

/// What [`wire_format`] would have made sure of, as instructions: the whole schema, unadapted.
#[must_use]
pub fn in_words(output: Output, schema: &Value) -> String {
    let frame = match output {
        Output::Item => ITEM_IN_WORDS,
        Output::Chunk => CHUNK_IN_WORDS,
    };
    // Cannot fail: a `Value` has nothing that JSON has not.
    let schema = serde_json::to_string_pretty(schema).unwrap_or_default();
    frame.trim_end().replace("{{ schema }}", &schema)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn results_by_id_wrap_the_adapted_schema() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]});
        let wire = wire_format(Output::Item, &schema).unwrap();
        let entry = &wire["properties"]["results"]["items"];
        assert_eq!(entry["required"], json!(["id", "output"]));
        assert_eq!(entry["properties"]["output"], adapt(&schema).unwrap());
        assert_eq!(
            wire_format(Output::Chunk, &schema).unwrap(),
            adapt(&schema).unwrap()
        );
    }

    #[test]
    fn the_wrapped_schema_is_one_the_api_takes_as_it_is() {
        let wire = wire_format(Output::Item, &default_schema()).unwrap();
        assert_eq!(adapt(&wire).unwrap(), wire);
        assert_eq!(adapt(&default_schema()).unwrap(), default_schema());
    }

    #[test]
    fn what_cannot_be_sent_can_be_said() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(
            wire_format(Output::Item, &schema),
            Err(Unsendable::Recursive)
        );
        for output in [Output::Item, Output::Chunk] {
            let words = in_words(output, &schema);
            assert!(
                words.contains("\"$ref\": \"#\"") && !words.contains("{{"),
                "{words}"
            );
            assert_eq!(words.contains("\"results\""), output == Output::Item);
        }
    }
}
