//! Stages over some of the results before them: who is chosen, and results as they are after it.
//!
//! Nothing is copied. Such a stage has tasks for what it chose alone; a table says which of them amend results of which
//! task (`amended`), and who reads results lays over them what those tasks brought. So a result that was not chosen costs
//! nothing, and one whose follow-up failed, was skipped or was never begun is there as it was.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::{Entry, Found, outputs};
use crate::app::kit::{self, Kit};
use crate::app::{App, AppError, bodies, gather, query, results};
use crate::core::amend::{self, Of};
use crate::ports::Ports;
use crate::store::admission::Body;
use crate::store::amend::{self as sql, Amends};
use crate::store::jobs::{JobRow, StageRow};
use crate::store::row::{Columns, Row};
use crate::store::tasks::NewTask;

/// Pages of results that one slice looks through, where few are chosen.
const READ_PAGES: usize = 20;
/// Tasks whose inputs are read at a time, and the bytes of them after which a slice takes no further one.
const INPUT_TASKS: usize = 20;
const INPUT_BYTES: usize = 500_000;

/// The stage whose results a map stage of the plan works with, and those that amend them, up to and with itself.
pub fn lineage(kit: &Kit, stage: u32) -> (u32, Vec<u32>) {
    let maps: Vec<(u32, bool)> = gather::map_stages(kit)
        .iter()
        .map(|(index, kit)| (*index, kit.stage.amends()))
        .collect();
    amend::lineage(&maps, stage)
}

/// What stages have brought for some results, by id, in the order of the stages. As texts: JSON taken apart has ten times
/// the bytes.
#[derive(Debug, Default)]
pub struct Amendments(HashMap<String, Vec<String>>);

impl Amendments {
    /// Of results of these tasks, which stand in the order of their indexes.
    pub async fn of<P: Ports>(
        app: &App<P>,
        job: &str,
        stages: &[u32],
        tasks: &[Row],
    ) -> Result<Amendments, AppError> {
        let mut all = Amendments::default();
        let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else {
            return Ok(all);
        };
        let (from, to) = (first.count("idx"), last.count("idx"));
        for stage in stages {
            for row in query::rows(app, sql::brought(job, *stage, from, to)).await? {
                let text = bodies::text(app, &Body::read(&row, "body", "blob")).await?;
                for (id, output) in outputs(query::json_of(text), "") {
                    all.0.entry(id).or_default().push(output.to_string());
                }
            }
        }
        Ok(all)
    }

    /// What the last of them brought for a result.
    pub fn get(&self, id: &str) -> Option<Value> {
        serde_json::from_str(self.0.get(id)?.last()?).ok()
    }

    /// The result with all that was brought for it laid over it.
    pub fn over(&self, id: &str, output: Value) -> Value {
        let brought = self.0.get(id).into_iter().flatten();
        brought
            .filter_map(|text| serde_json::from_str(text).ok())
            .fold(output, amend::over)
    }
}

/// The next results that a stage chooses: as many as make a chunk, where there are so many within what one slice looks through.
pub(super) async fn chosen<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    job: &JobRow,
    stage: &StageRow,
    of: &Of,
    least: usize,
) -> Result<Found, AppError> {
    let (base, mut before) = lineage(kit, stage.idx);
    before.pop();
    let with_input = kit.stage(stage.idx).is_some_and(|kit| kit.stage.with_input);
    let mut seen_by: Vec<u32> = vec![base];
    seen_by.extend(&before);
    let mut found = Found::at(stage.cursor);
    let mut bytes = 0;
    for _ in 0..READ_PAGES {
        let rows = super::read(app, job, base, found.next).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            found.end();
            return Ok(found);
        };
        let (from, to) = (first.count("idx"), last.count("idx"));
        let amended = Amendments::of(app, &job.id, &before, &rows).await?;
        let taken: HashSet<String> = query::rows(app, sql::chosen(&job.id, stage.idx, from, to))
            .await?
            .iter()
            .flat_map(|row| row.json::<Vec<String>>("ids").unwrap_or_default())
            .collect();
        let mut page: Vec<(u32, String, Value)> = Vec::new();
        for row in &rows {
            let text = bodies::text(app, &Body::read(row, "body", "blob")).await?;
            for (id, output) in outputs(query::json_of(text), &row.text("label")) {
                let output = amended.over(&id, output);
                if !taken.contains(&id) && of.chooses(&output, true) {
                    page.push((row.count("idx"), id, output));
                }
            }
        }
        if of.flagged {
            let ids: Vec<&str> = page.iter().map(|(_, id, _)| id.as_str()).collect();
            let flagged = flagged(app, &job.id, &seen_by, &ids).await?;
            page.retain(|(_, id, _)| flagged.contains(id));
        }
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

/// Which of these ids were flagged in any of these stages.
pub async fn flagged<P: Ports>(
    app: &App<P>,
    job: &str,
    stages: &[u32],
    ids: &[&str],
) -> Result<HashSet<String>, AppError> {
    let rows = query::rows(app, sql::flagged(job, stages, ids)).await?;
    Ok(rows.iter().map(|row| row.text("id")).collect())
}

/// Puts beside each result the item that it was made of. Where that is much, the results of later tasks are let go, and
/// the first of those tasks is named.
pub(super) async fn show_inputs<P: Ports>(
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
        for row in query::rows(app, sql::inputs(job, some)).await? {
            let task = row.count("idx");
            if bytes > INPUT_BYTES {
                entries.retain(|entry| entry.from < task);
                return Ok(Some(task));
            }
            let text = bodies::text(app, &Body::read(&row, "body", "blob")).await?;
            let items = query::json_of(text);
            let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
            for entry in entries.iter_mut().filter(|entry| entry.from == task) {
                if let Some(item) = kit::only(items, std::slice::from_ref(&entry.id)).pop() {
                    entry.show(item);
                }
                bytes += entry.bytes;
            }
        }
    }
    Ok(None)
}

/// Which tasks amend results of which, for tasks over these results, the first of them with that index.
pub(super) fn amends(entries: &[Entry], tasks: &[NewTask], first: u32) -> Vec<Amends> {
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
pub async fn count<P: Ports>(app: &App<P>, kit: &Kit, job: &str, of: &Of) -> Result<u64, AppError> {
    let Some((last, _)) = gather::map_stages(kit).pop() else {
        return Ok(0);
    };
    let (base, amends) = lineage(kit, last);
    let mut stages = vec![base];
    stages.extend(amends);
    let Some(read) = gather::results_of(kit, job, last) else {
        return Ok(0);
    };
    let mut results = results::Results::new(app.clone(), read);
    let mut count = 0;
    let mut after = None;
    loop {
        let (lines, next) = results.portion(after).await?;
        let wanted = lines.iter().map(gather::named);
        let wanted = wanted.filter(|(_, output)| of.chooses(output, true));
        let ids: Vec<&str> = wanted.map(|(id, _)| id).collect();
        count += match of.flagged {
            true => flagged(app, job, &stages, &ids).await?.len() as u64,
            false => ids.len() as u64,
        };
        let Some(next) = next else { return Ok(count) };
        after = Some(next);
    }
}
