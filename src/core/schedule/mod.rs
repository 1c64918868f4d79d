//! What a schedule is made of.

pub mod cron;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The policy for a run that is due while the job of an earlier run is at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits; at most ten do.
    Queue,
    /// It starts beside it.
    Parallel,
}

impl Overlap {
    pub fn as_str(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::Queue => "queue",
            Overlap::Parallel => "parallel",
        }
    }

    pub fn parse(text: &str) -> Option<Overlap> {
        [Overlap::Skip, Overlap::Queue, Overlap::Parallel]
            .into_iter()
            .find(|overlap| overlap.as_str() == text)
    }
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It is about to start, or waits for another run's job or for its input.
    Waiting,
    /// It has become a job.
    Started,
    Skipped,
    /// Its input could not be read, or its job was refused.
    Failed,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Waiting => "waiting",
            RunState::Started => "started",
            RunState::Skipped => "skipped",
            RunState::Failed => "failed",
        }
    }
}

/// Why a run was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was due.
    Cron,
    /// A caller asked for it.
    Caller,
}

/// The format of an input from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputFormat {
    /// With a header: each row is an item, its columns the fields, `id` the id.
    Csv,
    /// Each line is an item.
    Jsonl,
    /// One document.
    Text,
}

impl InputFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            InputFormat::Csv => "csv",
            InputFormat::Jsonl => "jsonl",
            InputFormat::Text => "text",
        }
    }

    pub fn parse(text: &str) -> Option<InputFormat> {
        [InputFormat::Csv, InputFormat::Jsonl, InputFormat::Text]
            .into_iter()
            .find(|format| format.as_str() == text)
    }

    /// What a content type says.
    pub fn of(content_type: &str) -> Option<InputFormat> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/csv" => Some(InputFormat::Csv),
            "application/x-ndjson" | "application/jsonl" => Some(InputFormat::Jsonl),
            "text/plain" => Some(InputFormat::Text),
            _ => None,
        }
    }
}
