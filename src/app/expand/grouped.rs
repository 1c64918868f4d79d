//! A stage that groups, in two passes: first each slice puts what it finds into bundles, one for each group; when nothing more is
//! found, group after group becomes a task. No slice holds more than it reads, however large a group is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::carry_over;
use super::from_results::{Found, READ_BYTES, ROWS, ROWS_BYTES, at, given};
use crate::app::stage::outputs::{cut, room};
use crate::app::stage::runtime::StageRuntime;
use crate::app::stage::task_row;
use crate::app::support::db;
use crate::app::{App, AppError};
use crate::core::plan::spec::Output;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::{Ports, Statement};
use crate::store;
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::row::Columns;
use crate::store::stage::from_results as sql;
use crate::store::stage::from_results::Bundle;
use crate::store::task::tasks as store_tasks;

/// First pass of a stage that groups.
pub fn bundles<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    stage: &StageRow,
    found: Found,
    of_results: bool,
) -> Vec<Statement> {
    let taken = found.entries.len();
    let given = if of_results {
        given(&found, taken)
    } else {
        Vec::new()
    };
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in found.entries {
        groups.entry(entry.group).or_default().push(entry.wire);
    }
    let bundles: Vec<Bundle> = groups
        .into_iter()
        .map(|(grp, items)| bundle(grp, items))
        .collect();
    let slice = at(app, job, stage, found.next, false);
    sql::bundle(&slice, &bundles, &given)
}

fn bundle(grp: String, items: Vec<Value>) -> Bundle {
    let body = Value::Array(items).to_string();
    Bundle {
        grp,
        bytes: body.len() as u64,
        body,
    }
}

/// Second pass of a stage that groups: one task for each group, or several where a group is larger than what the model
/// reads at once.
pub async fn groups<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    job: &JobRow,
    stage: &StageRow,
) -> Result<Vec<Statement>, AppError> {
    let room = room(runtime);
    let most = u64::try_from(room).unwrap_or(u64::MAX) + READ_BYTES;
    let limit = u32::try_from(ROWS).unwrap_or(u32::MAX);
    let rows = db::rows(app, sql::bundles(&job.id, stage.idx, limit, most)).await?;
    let read: u64 = rows.iter().map(|row| row.tokens("bytes")).sum();
    // Whether these are all bundles there are; if not, the last group may go on.
    let mut whole = rows.len() < ROWS && read < most;
    let mut of_group: Vec<(String, Vec<Value>, Vec<i64>)> = Vec::new();
    for row in &rows {
        let (grp, seq) = (row.text("grp"), row.int("seq"));
        let items: Vec<Value> = row
            .json("body")
            .ok_or_else(|| AppError::Internal("a bundle is not readable".into()))?;
        match of_group.last_mut().filter(|last| last.0 == grp) {
            Some(last) => {
                last.1.extend(items);
                last.2.push(seq);
            }
            None => of_group.push((grp, items, vec![seq])),
        }
    }
    if !whole && of_group.len() > 1 {
        of_group.pop();
    }
    let unfinished = !whole && of_group.len() == 1;
    let mut tasks = Vec::new();
    let mut taken = Vec::new();
    let mut rest = None;
    let mut bytes = 0;
    for (grp, items, seqs) in of_group {
        let mut cut = cut(items, room, usize::MAX);
        if unfinished && cut.len() > 1 {
            let left = cut.pop().unwrap_or_default();
            let seq = seqs.last().copied().unwrap_or_default();
            rest = Some((bundle(grp.clone(), left), seq));
        }
        let mut rows = Vec::new();
        for items in &cut {
            let mut row =
                task_row::new_task(app, runtime, &job.id, RequestMode::FRESH, items).await?;
            row.grp = Some(grp.clone());
            rows.push(row);
        }
        bytes += store::to_json(&rows).len();
        if bytes > ROWS_BYTES && !tasks.is_empty() {
            whole = false;
            break;
        }
        tasks.extend(rows);
        taken.extend(seqs.into_iter().map(|seq| (grp.clone(), seq)));
    }
    let last = whole && rest.is_none();
    let slice = at(app, job, stage, stage.cursor, last);
    let rest = rest.as_ref().map(|(bundle, seq)| (bundle, *seq));
    if runtime.stage.output == Output::Chunk {
        tasks = carry_over::take(app, runtime, job, stage, tasks).await?;
    }
    let mut statements = sql::expand_groups(&slice, &tasks, &taken, rest);
    statements.extend(store_tasks::take(
        &job.id,
        job.next_index,
        &tasks,
        slice.now,
    ));
    Ok(statements)
}
