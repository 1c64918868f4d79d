//! Stages over some of the results before them: who is chosen, and results as they are after it.
//!
//! Nothing is copied. Such a stage has tasks for what it chose alone; a table says which of them amend results of which
//! task (`amended`), and who reads results lays over them what those tasks brought. So a result that was not chosen costs
//! nothing, and one whose follow-up failed, was skipped or was never begun is there as it was.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::from_results::{Entry, Found};
use crate::app::results::{aggregate, pages};
use crate::app::stage::choice::{Candidate, choose};
use crate::app::stage::lineage::{Amendments, lineage};
use crate::app::stage::outputs::outputs;
use crate::app::stage::runtime::JobRuntime;
use crate::app::stage::{lineage as stage_lineage, runtime};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::plan::condition::Condition;
use crate::ports::Ports;
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::row::Columns;
use crate::store::stage::selected as sql;
use crate::store::stage::selected::Amends;
use crate::store::task::admission::Body;
use crate::store::task::tasks::NewTask;

/// Pages of results that one slice looks through, where few are chosen.
pub const READ_PAGES: usize = 20;
/// Tasks whose inputs are read at a time, and the bytes of them after which a slice takes no further one.
const INPUT_TASKS: usize = 20;
const INPUT_BYTES: usize = 500_000;

/// The next results that a stage chooses: as many as make a chunk, where there are so many within what one slice looks through.
pub async fn chosen<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    job: &JobRow,
    stage: &StageRow,
    of: &Condition,
    least: usize,
) -> Result<Found, AppError> {
    let (base, mut before) = lineage(runtime, stage.idx);
    before.pop();
    let with_input = runtime
        .stage(stage.idx)
        .is_some_and(|runtime| runtime.stage.with_input);
    let mut seen_by: Vec<u32> = vec![base];
    seen_by.extend(&before);
    let mut found = Found::at(stage.cursor);
    let mut bytes = 0;
    for _ in 0..READ_PAGES {
        let rows = crate::app::expand::from_results::read(app, job, base, found.next).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            found.end();
            return Ok(found);
        };
        let (from, to) = (first.count("idx"), last.count("idx"));
        let amended = Amendments::of(app, &job.id, &before, &rows).await?;
        let taken: HashSet<String> = db::rows(app, sql::chosen(&job.id, stage.idx, from, to))
            .await?
            .iter()
            .flat_map(|row| row.json::<Vec<String>>("ids").unwrap_or_default())
            .collect();
        let mut page: Vec<Candidate> = Vec::new();
        for row in &rows {
            let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
            for (id, output) in outputs(db::json_of(text), &row.text("label")) {
                if !taken.contains(&id) {
                    let output = amended.over(&id, output);
                    page.push((row.count("idx"), id, output));
                }
            }
        }
        choose(app, &job.id, of, &seen_by, &mut page).await?;
        found.next = to.saturating_add(1);
        let entries = page
            .into_iter()
            .map(|(from, id, output)| Entry::new(from, id, output));
        let mut entries: Vec<Entry> = entries.collect();
        let stopped = match with_input {
            true => show_inputs(app, &job.id, &mut entries).await?,
            false => None,
        };
        bytes += entries.iter().map(|entry| entry.bytes).sum::<usize>();
        found.entries.extend(entries);
        if let Some(stopped) = stopped {
            found.next = stopped;
            found.cut_short = true;
            return Ok(found);
        }
        if found.entries.len() >= least {
            return Ok(found);
        }
        if bytes > INPUT_BYTES {
            break;
        }
    }
    found.cut_short = true;
    Ok(found)
}

/// Puts beside each result the item that it was made of. Where that is much, the results of later tasks are let go, and
/// the first of those tasks is named.
pub async fn show_inputs<P: Ports>(
    app: &App<P>,
    job: &str,
    entries: &mut Vec<Entry>,
) -> Result<Option<u32>, AppError> {
    let tasks: Vec<u32> = entries
        .iter()
        .map(|entry| entry.from)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut bytes = 0;
    for some in tasks.chunks(INPUT_TASKS) {
        for row in db::rows(app, sql::inputs(job, some)).await? {
            let task = row.count("idx");
            if bytes > INPUT_BYTES {
                entries.retain(|entry| entry.from < task);
                return Ok(Some(task));
            }
            let text = blobs::text(app, &Body::read(&row, "body", "blob")).await?;
            let items = db::json_of(text);
            let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
            for entry in entries.iter_mut().filter(|entry| entry.from == task) {
                if let Some(item) = runtime::only(items, std::slice::from_ref(&entry.id)).pop() {
                    entry.show(item);
                }
                bytes += entry.bytes;
            }
        }
    }
    Ok(None)
}

/// Which tasks amend results of which, for tasks over these results, the first of them with that index.
pub fn amends(entries: &[Entry], tasks: &[NewTask], first: u32) -> Vec<Amends> {
    let bases: HashMap<&str, u32> = entries
        .iter()
        .map(|entry| (entry.id.as_str(), entry.from))
        .collect();
    let mut pairs = BTreeSet::new();
    for (task, row) in (first..).zip(tasks) {
        for item in &row.wire {
            let id = item.get("id").and_then(Value::as_str);
            if let Some(base) = id.and_then(|id| bases.get(id)) {
                pairs.insert(Amends { base: *base, task });
            }
        }
    }
    pairs.into_iter().collect()
}

/// How many of the results of the last map stage so far would be chosen.
pub async fn count<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    job: &str,
    of: &Condition,
) -> Result<u64, AppError> {
    let Some((last, _)) = stage_lineage::map_stages(runtime).pop() else {
        return Ok(0);
    };
    let (base, amends) = lineage(runtime, last);
    let mut stages = vec![base];
    stages.extend(amends);
    let Some(read) = aggregate::results_of(runtime, job, last) else {
        return Ok(0);
    };
    let mut results = pages::Results::new(app.clone(), read);
    let mut count = 0;
    let mut after = None;
    loop {
        let (lines, next) = results.portion(after).await?;
        let named = lines.iter().map(aggregate::named);
        let mut page: Vec<Candidate> = named
            .map(|(id, output)| (0, id.to_owned(), output.clone()))
            .collect();
        choose(app, job, of, &stages, &mut page).await?;
        count += page.len() as u64;
        let Some(next) = next else { return Ok(count) };
        after = Some(next);
    }
}
