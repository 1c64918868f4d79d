//! What is done to a job that exists: cancel, pause, approve, and go on by resume or retry.

use anyhow::{Result, bail};
use fanwise::app::view::JobView;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, typed};
use crate::args::AgainArgs;
use crate::commands::job_id::resolve;
use crate::commands::jobs::print;
use crate::commands::watch;
use crate::spec;
use crate::terminal::output::{self, Out};
use crate::terminal::prompt;

/// A command that has nothing to say.
pub async fn plain(api: &Api, job: &str, command: &str, out: &Out) -> Result<u8> {
    let id = resolve(api, job).await?;
    let job = api.post(&format!("/v1/jobs/{id}/{command}"), None).await?;
    told(job, out)?;
    Ok(0)
}

/// The job after a command: its state in a line, or all of it as JSON.
fn told(job: Value, out: &Out) -> Result<()> {
    if out.json {
        return print(job, out);
    }
    let job: JobView = typed(job)?;
    if !out.terminal {
        return out.line(format_args!("{}\t{}", job.id, job.state));
    }
    out.line(format_args!("{} is {}", job.id, output::state(&job.state)))
}

/// New limits, if any are given.
fn limits(args: &AgainArgs) -> Result<Option<Value>> {
    let mut limits = json!({});
    if let Some(dollars) = args.max_cost {
        spec::put(&mut limits, "max_cost_usd", json!(dollars))?;
    }
    spec::set_all(&mut limits, &args.set)?;
    let none = limits.as_object().is_none_or(|map| map.is_empty());
    Ok((!none).then_some(limits))
}

pub async fn retry(api: &Api, args: &AgainArgs, out: &Out) -> Result<u8> {
    let id = resolve(api, &args.job).await?;
    let body = limits(args)?.map(|limits| json!({"limits": limits}));
    let job = api
        .post(&format!("/v1/jobs/{id}/retry"), body.as_ref())
        .await?;
    go_on(api, job, &id, args, out).await
}

/// With new limits, those come first: a job that stands still for want of money would stand still again.
pub async fn resume(api: &Api, args: &AgainArgs, out: &Out) -> Result<u8> {
    let id = resolve(api, &args.job).await?;
    if let Some(limits) = limits(args)? {
        let body = json!({"limits": limits});
        api.call(Method::PATCH, &format!("/v1/jobs/{id}"), Some(&body))
            .await?;
    }
    let job = api.post(&format!("/v1/jobs/{id}/resume"), None).await?;
    go_on(api, job, &id, args, out).await
}

async fn go_on(api: &Api, job: Value, id: &str, args: &AgainArgs, out: &Out) -> Result<u8> {
    if args.watch {
        return watch::to_end(api, id, &[], out).await;
    }
    told(job, out)?;
    Ok(0)
}

pub async fn delete(api: &Api, job: &str, yes: bool, out: &Out) -> Result<()> {
    let id = resolve(api, job).await?;
    if !yes {
        if !prompt::possible() {
            bail!("there is no terminal to ask on: give --yes");
        }
        if prompt::letter(&format!("Delete {id} with its results? [y]es, [N]o"), "ny").await? != 'y'
        {
            out.note("nothing was deleted");
            return Ok(());
        }
    }
    api.call(Method::DELETE, &format!("/v1/jobs/{id}"), None)
        .await?;
    out.note(format!("{id} is deleted"));
    Ok(())
}
