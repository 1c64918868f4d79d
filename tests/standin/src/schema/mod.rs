//! Output schemas: which the API accepts, and what an answer must look like.
//!
//! `rules` refuses as the API does; `compile` turns a schema into a tree that
//! the answerer walks. Both happen once per distinct schema: thousands of calls
//! share one, and checking it each time would cost more than the answer.

mod compile;
mod fits;
mod pattern;
mod rules;

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

pub use compile::{Format, Hints, Node, Prop, compile};
pub use fits::fits;

use crate::{error::ApiError, ids};

/// Distinct schemas kept; beyond it the cache starts afresh.
const KEPT: usize = 1_024;

/// A schema made ready.
#[derive(Debug)]
pub struct Compiled {
    pub node: Node,
    fault: Option<String>,
    optional: usize,
    unions: usize,
}

/// Counts that the API limits per request, over all its schemas.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    optional: usize,
    unions: usize,
}

impl Limits {
    /// 24 optional and 16 union-typed parameters in all.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.optional > 24 {
            return Err(ApiError::invalid(format!(
                "Schemas contains too many optional parameters ({}), which would make grammar compilation inefficient. Reduce the number of optional parameters in your tool schemas (limit: 24).",
                self.optional
            )));
        }
        if self.unions > 16 {
            return Err(ApiError::invalid(format!(
                "Schemas contains too many parameters with union types ({} parameters with type arrays or anyOf). This causes exponential compilation cost. Reduce the number of nullable or union-typed parameters (limit: 16 parameters with unions).",
                self.unions
            )));
        }
        Ok(())
    }
}

impl Compiled {
    /// Checks and compiles one schema, whatever it holds.
    pub fn new(schema: &Value) -> Self {
        let outcome = rules::check(schema);
        Self {
            node: compile(schema),
            optional: outcome.optional,
            unions: outcome.unions,
            fault: outcome.fault,
        }
    }

    /// Refuses at the given path what the API would, and adds to the counts.
    pub fn accept(&self, path: &str, limits: &mut Limits) -> Result<(), ApiError> {
        if let Some(fault) = &self.fault {
            return Err(ApiError::at(path, fault));
        }
        limits.optional += self.optional;
        limits.unions += self.unions;
        Ok(())
    }
}

/// Schemas seen so far, by the hash of their text.
#[derive(Debug, Default)]
pub struct Cache {
    known: HashMap<u128, Arc<Compiled>>,
}

impl Cache {
    pub fn get(&mut self, schema: &Value) -> Arc<Compiled> {
        let key = ids::fingerprint(schema.to_string().as_bytes());
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let entry = self.known.entry(key);
        Arc::clone(entry.or_insert_with(|| Arc::new(Compiled::new(schema))))
    }
}
