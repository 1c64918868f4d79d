//! The architecture, held against the imports of the sources.
//!
//! - [`layers`]: a folder with a written order imports only what is below it
//! - [`circles`]: circles of imports stay within one folder, and are short
//! - [`rust`], [`script`]: which file imports which

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod circles;
mod layers;
mod lexer;
mod rust;
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// By file, as a path from the top of the repository: the files that it imports, each with one path that says so.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    let path = repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
