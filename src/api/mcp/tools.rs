//! What there is to call: names, what a model is told of each, and the schemas of their arguments.

use std::sync::OnceLock;

use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::openapi::document;
use crate::api::validate::submit_body::SubmitBody;

/// A tool that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    ListRecipes,
    EstimateJob,
    RunJob,
    JobStatus,
    JobResults,
    JobReport,
    CancelJob,
}

impl Tool {
    pub const ALL: [Tool; 7] = [
        Tool::ListRecipes,
        Tool::EstimateJob,
        Tool::RunJob,
        Tool::JobStatus,
        Tool::JobResults,
        Tool::JobReport,
        Tool::CancelJob,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Tool::ListRecipes => "list_recipes",
            Tool::EstimateJob => "estimate_job",
            Tool::RunJob => "run_job",
            Tool::JobStatus => "job_status",
            Tool::JobResults => "job_results",
            Tool::JobReport => "job_report",
            Tool::CancelJob => "cancel_job",
        }
    }

    pub fn parse(name: &str) -> Option<Tool> {
        Tool::ALL.into_iter().find(|tool| tool.name() == name)
    }

    fn title(self) -> &'static str {
        match self {
            Tool::ListRecipes => "List the recipes",
            Tool::EstimateJob => "Estimate a job",
            Tool::RunJob => "Run a job",
            Tool::JobStatus => "Look at a job",
            Tool::JobResults => "Read single results",
            Tool::JobReport => "Read the report",
            Tool::CancelJob => "Cancel a job",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Tool::ListRecipes => {
                "Ready plans for common kinds of jobs: their names, what each does, and what its items should be. Give a name to run_job \
                 as `recipe`, and no stages are needed."
            }
            Tool::EstimateJob => {
                "What a job would take, as ranges: calls, tokens, dollars, seconds. Takes the arguments of run_job, costs nothing and \
                 starts nothing."
            }
            Tool::RunJob => {
                "Starts a job over many items and returns its job_id at once. Give the items, what each worker is to do with its chunk \
                 (a `map` stage), and, if one answer is wanted, a `synthesis` stage. It costs money: set limits.max_cost_usd. Give an \
                 idempotency_key so that a repeated call starts nothing twice. Then call job_status."
            }
            Tool::JobStatus => {
                "A job's state, progress and cost, and what to call next. Cheap and quick."
            }
            Tool::JobResults => {
                "Single results of a job's workers, a small page at a time; also while it runs. Most questions are answered by \
                 job_report instead. The link leads to all of them as JSON, JSONL or CSV."
            }
            Tool::JobReport => {
                "The answer of a job that is finished: the synthesis, counts made by the engine, and which items are missing and why. \
                 Shortened where it is long; the link leads to all of it."
            }
            Tool::CancelJob => {
                "Ends a job. Results that exist stay readable; calls under way are still paid."
            }
        }
    }

    fn input_schema(self) -> Value {
        match self {
            Tool::ListRecipes => {
                json!({"type": "object", "properties": {}, "additionalProperties": false})
            }
            Tool::EstimateJob => document::standalone(&SubmitBody::name()),
            Tool::RunJob => run_job_schema(),
            Tool::JobResults => arguments(json!({
                "job_id": job_id(),
                "stage": {"type": "string", "description": "A map stage's name; the last one if left out."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
                "cursor": {"type": "string", "description": "The next_cursor of the page before."},
            })),
            Tool::JobStatus | Tool::JobReport | Tool::CancelJob => {
                arguments(json!({"job_id": job_id()}))
            }
        }
    }

    fn changes_something(self) -> bool {
        matches!(self, Tool::RunJob | Tool::CancelJob)
    }

    fn definition(self) -> Value {
        json!({
            "name": self.name(),
            "title": self.title(),
            "description": self.description(),
            "inputSchema": self.input_schema(),
            "annotations": {
                "readOnlyHint": !self.changes_something(),
                "destructiveHint": self == Tool::CancelJob,
                "idempotentHint": self != Tool::RunJob,
                "openWorldHint": false,
            },
        })
    }
}

/// All tools as `tools/list` answers; made once.
pub fn list() -> &'static Value {
    static LIST: OnceLock<Value> = OnceLock::new();
    LIST.get_or_init(|| Tool::ALL.into_iter().map(Tool::definition).collect())
}

fn job_id() -> Value {
    json!({"type": "string", "pattern": "^job_[0-9a-f]{32}$", "description": "As run_job gave it."})
}

/// All of `properties`, of which only `job_id` is needed.
fn arguments(properties: Value) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": ["job_id"],
        "additionalProperties": false,
    })
}

/// The body of a submit, as the OpenAPI document has it, and a key.
fn run_job_schema() -> Value {
    let mut schema = document::standalone(&SubmitBody::name());
    let key = json!({
        "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$",
        "description": "Names this call: the same key with the same arguments gives the same job.",
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("idempotency_key".to_owned(), key);
    }
    schema
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_listed_once_with_a_schema_that_stands_for_itself() {
        let tools = list().as_array().unwrap();
        assert_eq!(tools.len(), Tool::ALL.len());
        for tool in tools {
            let name = tool["name"].as_str().unwrap();
            assert_eq!(Tool::parse(name).unwrap().name(), name);
            let schema = &tool["inputSchema"];
            assert_eq!(schema["type"], "object", "{name}");
            assert!(!schema.to_string().contains("#/components"), "{name}");
            let mut compiler = boon::Compiler::new();
            compiler
                .add_resource("https://schema.invalid/tool", schema.clone())
                .unwrap();
            let mut schemas = boon::Schemas::new();
            compiler
                .compile("https://schema.invalid/tool", &mut schemas)
                .unwrap();
        }
    }
}
