//! The job that a command names: by its id, the beginning of it, or `last`.

use anyhow::{Result, bail};
use fanwise::app::view::JobView;

use crate::api::{Api, PAGE, typed};

/// Length of a job's id: `job_` and 32 digits.
const ID: usize = 36;

/// The id of the job that is meant.
pub async fn resolve(api: &Api, job: &str) -> Result<String> {
    if job == "last" {
        let newest = api.list("/v1/jobs", 1).await?;
        let Some(newest) = newest.into_iter().next() else {
            bail!("there are no jobs yet");
        };
        return Ok(typed::<JobView>(newest)?.id);
    }
    if job.len() >= ID {
        return Ok(job.to_owned());
    }
    let mut found = Vec::new();
    for value in api.list("/v1/jobs", PAGE).await? {
        let view: JobView = typed(value)?;
        let digits = view.id.strip_prefix("job_").unwrap_or_default();
        if view.id.starts_with(job) || digits.starts_with(job) {
            found.push(view.id);
        }
    }
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => bail!("none of the newest {PAGE} jobs has an id that begins with {job:?}"),
        _ => bail!("{} jobs have ids that begin with {job:?}", found.len()),
    }
}
