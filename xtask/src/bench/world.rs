//! A Worker and its stand-in for a measurement, with a state of their own that goes with them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};

use crate::build;
use crate::client::Client;
use crate::demo;
use crate::dev::{NO_KEY, claude_vars};
use crate::setup::{self, Tools};
use crate::standin::Standin;
use crate::state::State;
use crate::worker::{Options, Worker};

/// What has to be there before anything starts.
pub struct Parts {
    tools: Tools,
    standin: PathBuf,
}

impl Parts {
    pub fn prepare(as_built: bool) -> Result<Parts> {
        let tools = setup::prepare()?;
        let standin = build::measured(&tools, as_built)?;
        Ok(Parts { tools, standin })
    }
}

impl Parts {
    pub fn tools(&self) -> &Tools {
        &self.tools
    }
}

pub struct World {
    // Ended in this order: the Worker first, so that it does not see its Claude vanish.
    pub worker: Worker,
    pub standin: Standin,
    /// Speaks with the world's token.
    pub client: Client,
}

impl World {
    /// `standin` are options of the stand-in, `vars` variables of the Worker; `cron` as in [`Options`].
    pub fn start(
        parts: &Parts,
        name: &str,
        standin: &[String],
        vars: &[(&str, String)],
        cron: Duration,
    ) -> Result<World> {
        let state = State::temporary(name)?;
        let token = state.token()?;
        let standin = Standin::start(&parts.standin, state.dir(), standin)?;
        let mut all = claude_vars(standin.url(), NO_KEY, &token);
        all.extend(
            vars.iter()
                .map(|(name, value)| ((*name).into(), value.clone())),
        );
        let options = Options {
            port: 0,
            vars: all,
            cron: Some(cron),
            ..Options::default()
        };
        let worker = Worker::start(&parts.tools, state, options)?;
        let client = Client::new(&worker.url(), Some(&token));
        Ok(World {
            worker,
            standin,
            client,
        })
    }

    /// The most memory that the Worker's instance has needed since it started, JavaScript aside.
    pub fn memory(&self) -> Option<u64> {
        let health = self.client.get("/healthz?deep=1").ok()?.json().ok()?;
        health.get("memory_bytes")?.as_u64()
    }

    /// The stand-in's control endpoint.
    pub fn control(&self) -> Client {
        Client::new(self.standin.url(), None)
    }
}

/// The sample job with `items` tickets, `chunk` in a task. `name` makes its ids, and so its calls, its own:
/// a job like an earlier one would cost nothing and take no time.
pub fn job(name: &str, items: u32, chunk: u32, limits: Map<String, Value>) -> Result<Value> {
    let mut job = demo::sample(items)?;
    let tickets = job
        .pointer_mut("/input/items")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| anyhow!("the sample job has no items"))?;
    for (number, ticket) in (1..).zip(tickets) {
        if let Some(id) = ticket.get_mut("id") {
            *id = json!(format!("{name}-{number}"));
        }
    }
    let stage = job
        .pointer_mut("/stages/0")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| anyhow!("the sample job has no stage"))?;
    stage.insert("chunk".into(), json!({ "items": chunk }));
    job.as_object_mut()
        .ok_or_else(|| anyhow!("the sample job is no object"))?
        .insert("limits".into(), Value::Object(limits));
    Ok(job)
}

/// The id of a job that the API answered.
pub fn id_of(job: &Value) -> Result<String> {
    let id = job.get("id").and_then(Value::as_str);
    id.map(str::to_owned)
        .ok_or_else(|| anyhow!("a job without an id: {job}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_other_names_share_no_item() {
        let ids = |name: &str| -> Vec<String> {
            let job = job(name, 400, 1, Map::new()).unwrap();
            let items = job.pointer("/input/items").unwrap().as_array().unwrap();
            items
                .iter()
                .map(|item| item.get("id").unwrap().to_string())
                .collect()
        };
        let (first, second) = (ids("a"), ids("b"));
        assert_eq!(first.len(), 400);
        assert!(first.iter().all(|id| !second.contains(id)));
    }
}
