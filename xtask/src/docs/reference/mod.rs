//! The reference: pages made from the sources that they describe, so that they cannot be out of date.
//!
//! | page | from |
//! |---|---|
//! | `http-api.md`, `stage-fields.md` | `src/api/openapi/openapi.json` |
//! | `models.md` | `src/claude/models.json` |
//! | `errors.md`, `coverage-reasons.md` | `codes.toml` here, held against the sources by a test |
//! | `configuration.md` | the table in `src/config`, by a test there |
//! | `command-line.md` | clap's own tree, by a test of the crate `fanwise-cli` |

pub mod codes;
pub mod http;
pub mod models;
pub mod stage_fields;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::root;

/// The API as it is served.
pub const OPENAPI: &str = "src/api/openapi/openapi.json";

/// Path and text of every page that is made here.
pub fn all() -> Result<Vec<(PathBuf, String)>> {
    let document = openapi()?;
    let page = |name: &str, text: String| (PathBuf::from("docs/reference").join(name), text);
    Ok(vec![
        page("http-api.md", http::page(&document)),
        page("stage-fields.md", stage_fields::page(&document)),
        page("models.md", models::page()?),
        page("errors.md", codes::errors()?),
        page("coverage-reasons.md", codes::reasons()?),
    ])
}

fn openapi() -> Result<Value> {
    let path = root::dir().join(OPENAPI);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_str(&text).context("openapi.json is not JSON")
}
