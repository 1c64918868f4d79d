//! The results of a map stage, as the tasks brought them: read a page at a time, handed out in smaller portions.

use std::collections::VecDeque;

use serde_json::Value;

use super::aggregate;
use crate::app::stage::lineage::{Amendments, map_stages};
use crate::app::stage::loaded;
use crate::app::stage::loaded::Loaded;
use crate::app::support::blobs;
use crate::app::support::db::{json_of, rows};
use crate::app::view::ResultLine;
use crate::app::view::job::owned;
use crate::app::{App, AppError};
use crate::core::plan::spec::Output;
use crate::ports::Ports;
use crate::store::read::listing;
use crate::store::row::{Columns, Row};
use crate::store::task::admission::Body;

/// Which stage's results a caller wants, found before the first page is streamed.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultsOf {
    pub job: String,
    pub stage: u32,
    /// Stages that amend those results, in their order.
    pub amends: Vec<u32>,
    pub output: Output,
    pub grouped: bool,
}

/// The stage of that name, or the last map stage.
pub async fn results_of<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    stage: Option<&str>,
) -> Result<ResultsOf, AppError> {
    Ok(job_results(app, tenant, job, stage).await?.1)
}

/// The same with its job.
pub async fn job_results<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    stage: Option<&str>,
) -> Result<(Loaded, ResultsOf), AppError> {
    owned(app, tenant, job).await?;
    let loaded = loaded::load(app, job)
        .await?
        .ok_or(AppError::NotFound("job"))?;
    let maps = map_stages(&loaded.runtime);
    let found = match stage {
        Some(name) => maps.iter().find(|(_, runtime)| runtime.stage.name == name),
        None => maps.last(),
    };
    let (index, _) = found.ok_or_else(|| {
        let names: Vec<&str> = maps
            .iter()
            .map(|(_, runtime)| runtime.stage.name.as_str())
            .collect();
        AppError::Invalid(vec![(
            "stage".to_owned(),
            format!(
                "is no map stage of this job; there are: {}",
                names.join(", ")
            ),
        )])
    })?;
    let gone = || AppError::Internal("the stage's plan is not readable".into());
    let of = aggregate::results_of(&loaded.runtime, job, *index).ok_or_else(gone)?;
    Ok((loaded, of))
}

/// Tasks and bytes read for one page of results: an invocation has a thousand queries, so that a hundred thousand small
/// results must come in few pages, and 128 MB of memory.
const RESULTS_PAGE: u32 = 500;
pub const RESULTS_BYTES: u64 = 2_000_000;
/// Of a page, so much is taken apart at a time: as values, JSON takes ten times its bytes.
const PORTION_BYTES: usize = 65_536;

/// How many bytes of a page whose results others amend: what those brought comes on top.
const AMENDED_BYTES: u64 = 700_000;

/// Results, and after which task the next ones begin; `None` behind the last.
pub type ResultsPage = (Vec<ResultLine>, Option<u32>);

async fn results_rows<P: Ports>(
    app: &App<P>,
    of: &ResultsOf,
    amended: bool,
    after: Option<u32>,
) -> Result<Vec<Row>, AppError> {
    let after = after.map_or(-1, i64::from);
    let bytes = match amended {
        true => AMENDED_BYTES,
        false => RESULTS_BYTES,
    };
    rows(
        app,
        listing::results(&of.job, of.stage, after, RESULTS_PAGE, bytes),
    )
    .await
}

/// Adds what a task brought, as it was amended; how many bytes that was.
async fn results_in<P: Ports>(
    app: &App<P>,
    row: &Row,
    amended: &Amendments,
    lines: &mut Vec<ResultLine>,
) -> Result<usize, AppError> {
    let task = row.count("idx");
    let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
    let bytes = text.as_ref().map_or(0, String::len);
    match json_of(text) {
        Value::Array(results) => lines.extend(results.into_iter().filter_map(|mut result| {
            let id = result.get("id")?.as_str()?.to_owned();
            let output = amended.over(&id, result.get_mut("output")?.take());
            Some(ResultLine::Item { id, output, task })
        })),
        Value::Object(mut chunk) => {
            let label = row.maybe_text("label");
            let output = chunk.remove("output").unwrap_or(Value::Null);
            lines.push(ResultLine::Chunk {
                task,
                output: amended.over(label.as_deref().unwrap_or_default(), output),
                label,
                group: row.maybe_text("grp"),
                ids: row.json("ids").unwrap_or_default(),
            });
        }
        _ => {}
    }
    Ok(bytes)
}

/// All results from the first to the last, in portions: a page is read at a time, and little of it is taken apart at a time.
pub struct Results<P: Ports> {
    pub app: App<P>,
    pub of: ResultsOf,
    /// Read, and not given out yet.
    rows: VecDeque<Row>,
    amended: Amendments,
    /// The last stage that amends them, where what that one brought is wanted apart; and what it brought.
    last: Option<u32>,
    own: Amendments,
}

impl<P: Ports> Results<P> {
    pub fn new(app: App<P>, of: ResultsOf) -> Results<P> {
        Results {
            app,
            of,
            rows: VecDeque::new(),
            amended: Amendments::default(),
            last: None,
            own: Amendments::default(),
        }
    }

    /// The same as they were before the last stage that amends them; what that one brought is asked for by [`Results::brought`].
    pub fn apart(app: App<P>, mut of: ResultsOf) -> Results<P> {
        let last = of.amends.pop();
        Results {
            last,
            ..Results::new(app, of)
        }
    }

    /// What the last stage has brought for a result of the newest portion.
    pub fn brought(&self, id: &str) -> Option<Value> {
        self.own.get(id)
    }

    /// What comes after that task. Where it fails, the same may be asked for again.
    pub async fn portion(&mut self, after: Option<u32>) -> Result<ResultsPage, AppError> {
        if self.rows.is_empty() {
            let amended = self.last.is_some() || !self.of.amends.is_empty();
            let rows = results_rows(&self.app, &self.of, amended, after).await?;
            self.amended = Amendments::of(&self.app, &self.of.job, &self.of.amends, &rows).await?;
            self.own = Amendments::of(&self.app, &self.of.job, self.last.as_slice(), &rows).await?;
            self.rows = rows.into();
        }
        let (mut lines, mut last, mut bytes) = (Vec::new(), None, 0);
        while bytes < PORTION_BYTES
            && let Some(row) = self.rows.front()
        {
            match results_in(&self.app, row, &self.amended, &mut lines).await {
                Ok(more) => bytes += more,
                // What is there already goes out first.
                Err(_) if last.is_some() => break,
                Err(error) => return Err(error),
            }
            last = Some(row.count("idx"));
            self.rows.pop_front();
        }
        Ok((lines, last))
    }
}
