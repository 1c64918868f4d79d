//! Coverage: which items have their results, and why others do not.
//!
//! It always speaks of input items, through all map stages: an item is covered when every stage that reads it, or what was made
//! of it, gave a result. Where a task has one result for many items (`output: chunk`, and so for a group), that result
//! speaks for each of them; where it is missing, or the next stage has none for it, all of them are missing. A stage that amends results
//! takes none away: whom it did not follow up is flagged, and covered as before. What a condition (`where`) does not choose is covered as
//! before too.

use std::collections::HashSet;

use serde_json::Value;

use crate::app::stage::choice::choose;
use crate::app::stage::lineage::{Amendments, lineage, map_stages};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::StageRuntime;
use crate::app::stage::{input_items, outputs};
use crate::app::support::{blobs, db};
use crate::app::view::{ErrorView, Missing};
use crate::app::{App, AppError};
use crate::core::plan::spec::{Output, StageKind};
use crate::core::text::slices::document_of;
use crate::ports::Ports;
use crate::store::job::jobs::StageRow;
use crate::store::read::listing;
use crate::store::row::{Columns, Row};
use crate::store::stage::from_results as sql;
use crate::store::task::admission::Body;

const PAGE: u32 = 200;
/// Items per look at the input that was never expanded.
const INPUT_PAGE: u32 = 1_000;
/// Items that a run has no task for.
pub const NOT_STARTED: &str = "not_started";

/// How many items have their results in every map stage.
pub async fn covered<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<u32, AppError> {
    let amends = |stage: &StageRow| {
        let runtime = loaded.runtime.stage(stage.idx);
        runtime.is_some_and(|runtime| runtime.stage.amends())
    };
    let mut maps = loaded
        .stages
        .iter()
        .filter(|stage| stage.kind == StageKind::Map && !amends(stage));
    match (maps.next(), maps.next()) {
        // The counter of a single stage is exact; of several, the same item may be missing in more than one.
        (Some(only), None) => Ok(only.items_covered),
        _ => {
            let missing = missing(app, loaded).await?.len();
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            Ok(loaded.job.items_total.saturating_sub(missing))
        }
    }
}

/// The items without a result in some map stage, stage by stage in the order of their tasks, each once with the first
/// reason.
pub async fn missing<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Vec<Missing>, AppError> {
    let mut maps = map_stages(&loaded.runtime);
    maps.retain(|(_, runtime)| !runtime.stage.amends());
    let mut found = Found {
        slices: loaded.runtime.spec.slices(),
        ..Found::default()
    };
    if maps.is_empty() {
        // It ended before it had a plan.
        for ids in input_ids(app, loaded, 0).await? {
            found.add(ids, NOT_STARTED);
        }
    }
    for (place, (index, runtime)) in maps.iter().enumerate() {
        let earlier = maps.get(..place).unwrap_or_default();
        let mut after = -1;
        loop {
            let rows = db::rows(app, listing::missing(&loaded.job.id, *index, after, PAGE)).await?;
            let Some(last) = rows.last() else { break };
            after = i64::from(last.count("idx"));
            for row in &rows {
                let (ids, reason) = missing_of(app, row, runtime.stage.output).await?;
                let ids = origins(app, &loaded.job.id, earlier, ids).await?;
                found.add(ids, &reason);
            }
        }
        for ids in never_begun(app, loaded, earlier, *index, runtime).await? {
            let ids = origins(app, &loaded.job.id, earlier, ids).await?;
            found.add(ids, NOT_STARTED);
        }
    }
    Ok(found.missing)
}

/// Missing items, each once.
#[derive(Default)]
struct Found {
    /// Ids may be those of slices: what is missing of a document is the document.
    slices: bool,
    missing: Vec<Missing>,
    named: HashSet<String>,
}

impl Found {
    fn add(&mut self, ids: Vec<String>, reason: &str) {
        for mut id in ids {
            if self.slices {
                id.truncate(document_of(&id).len());
            }
            if self.named.insert(id.clone()) {
                self.missing.push(Missing {
                    id,
                    reason: reason.to_owned(),
                });
            }
        }
    }
}

/// The input items that stand behind items of a stage with those before it.
async fn origins<P: Ports>(
    app: &App<P>,
    job: &str,
    earlier: &[(u32, &StageRuntime)],
    mut ids: Vec<String>,
) -> Result<Vec<String>, AppError> {
    for (index, _) in earlier
        .iter()
        .rev()
        .filter(|(_, runtime)| outputs::renames(runtime))
    {
        let rows = db::rows(app, sql::labelled(job, *index, &ids)).await?;
        ids = rows
            .iter()
            .flat_map(|row| row.json::<Vec<String>>("ids").unwrap_or_default())
            .collect();
    }
    Ok(ids)
}

/// The items of one task that it has no result for, and why.
async fn missing_of<P: Ports>(
    app: &App<P>,
    row: &Row,
    output: Output,
) -> Result<(Vec<String>, String), AppError> {
    let mut ids: Vec<String> = row.json("ids").unwrap_or_default();
    let reason = row
        .json::<ErrorView>("error")
        .map_or_else(|| row.text("state"), |error| error.code);
    if row.count("covered") > 0 {
        if output == Output::Chunk {
            ids.clear();
        } else {
            let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
            let covered: HashSet<String> = covered_ids(&db::json_of(text)).into_iter().collect();
            ids.retain(|id| !covered.contains(id));
        }
    }
    Ok((ids, reason))
}

/// The ids in a stored list of results.
pub fn covered_ids(output: &Value) -> Vec<String> {
    ids_in(output.as_array().into_iter().flatten())
}

fn ids_in<'a>(items: impl Iterator<Item = &'a Value>) -> Vec<String> {
    items
        .filter_map(|item| Some(item.get("id")?.as_str()?.to_owned()))
        .collect()
}

/// The input's ids from a position on, in portions.
async fn input_ids<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    mut from: u32,
) -> Result<Vec<Vec<String>>, AppError> {
    let job = &loaded.job;
    let mut portions = Vec::new();
    while from < job.items_total {
        let to = from.saturating_add(INPUT_PAGE).min(job.items_total);
        portions.push(ids_in(
            input_items::items(app, &job.id, from, to).await?.iter(),
        ));
        from = to;
    }
    Ok(portions)
}

/// The results of these tasks that a stage has not read yet and would read.
async fn still_wanted<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    index: u32,
    runtime: &StageRuntime,
    rows: &[Row],
) -> Result<Vec<String>, AppError> {
    let job = &loaded.job.id;
    let before = map_stages(&loaded.runtime);
    let before = before.iter().rev().find(|(at, _)| *at < index);
    let (base, amends) = lineage(&loaded.runtime, before.map_or(0, |(at, _)| *at));
    let filter = runtime.stage.filter.as_ref();
    let amended = match filter {
        Some(_) => Amendments::of(app, job, &amends, rows).await?,
        None => Amendments::default(),
    };
    let mut left = Vec::new();
    for row in rows {
        let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
        let given: Vec<String> = row.json("given").unwrap_or_default();
        let results = outputs::outputs(db::json_of(text), &row.text("label"));
        let results = results.into_iter().filter(|(id, _)| !given.contains(id));
        left.extend(results.map(|(id, output)| {
            let output = amended.over(&id, output);
            (row.count("idx"), id, output)
        }));
    }
    if let Some(filter) = filter {
        let stages: Vec<u32> = std::iter::once(base).chain(amends).collect();
        choose(app, job, filter, &stages, &mut left).await?;
    }
    Ok(left.into_iter().map(|(_, id, _)| id).collect())
}

/// Items of a stage that no task was ever made for, because the job ended first; in portions.
async fn never_begun<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    earlier: &[(u32, &StageRuntime)],
    index: u32,
    runtime: &StageRuntime,
) -> Result<Vec<Vec<String>>, AppError> {
    let job = &loaded.job;
    let mut portions = Vec::new();
    match earlier.last() {
        None => {
            let stage = loaded.stages.iter().find(|stage| stage.idx == index);
            portions = input_ids(app, loaded, stage.map_or(0, |stage| stage.cursor)).await?;
        }
        Some((before, _)) => {
            let mut after = -1;
            loop {
                let rows = db::rows(app, sql::not_given(&job.id, *before, after, PAGE)).await?;
                let Some(last) = rows.last() else { break };
                after = i64::from(last.count("idx"));
                portions.push(still_wanted(app, loaded, index, runtime, &rows).await?);
            }
        }
    }
    if runtime.stage.group_by.is_some() {
        let mut after = (String::new(), 0);
        loop {
            let read = sql::waiting_bundles(&job.id, index, (&after.0, after.1), PAGE);
            let rows = db::rows(app, read).await?;
            let Some(last) = rows.last() else { break };
            after = (last.text("grp"), last.int("seq"));
            let items = rows
                .iter()
                .flat_map(|row| row.json::<Vec<Value>>("body").unwrap_or_default())
                .collect::<Vec<_>>();
            portions.push(ids_in(items.iter()));
        }
    }
    Ok(portions)
}
