//! Expansion: the job's items become the first map stage's tasks, a slice at a time.
//!
//! A slice is one transaction that moves the stage's cursor; done twice, the second fails on the cursor and
//! changes nothing. What each task's first call will cost at worst, and what the ledger knows it by, is settled here.

use super::from_documents::Cut;
use super::{carry_over, from_documents};
use crate::app::stage::input_items::items;
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::stage::task_row::{new_task, write};
use crate::app::{App, AppError};
use crate::core::plan::chunk;
use crate::core::task::kind::TaskKind;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::{Clock, Ports};
use crate::store;
use crate::store::job::input_pages;
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::task::tasks;
use crate::store::task::tasks::Slice;

/// Items and bytes of one slice: its rows go in as one bound text, which D1 takes up to 2 MB of.
const SLICE_ITEMS: u32 = 1_000;
const SLICE_BYTES: usize = 1_000_000;

/// Expands the next slice. False where somebody else was faster.
pub async fn slice<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    job: &JobRow,
    stage: &StageRow,
) -> Result<bool, AppError> {
    let Some(stage_runtime) = runtime.stage(stage.idx) else {
        return Err(AppError::Unavailable(
            "the stage's plan is not readable".into(),
        ));
    };
    // Pages are cut when they have been read.
    let fetches = runtime.fetches(stage.idx);
    let mut cut = match stage_runtime.stage.chunk.size() {
        Some(size) if !fetches => from_documents::cut(app, stage_runtime, job, stage, size).await?,
        _ => cut(app, stage_runtime, job, stage, fetches).await?,
    };
    if !fetches {
        cut.rows = carry_over::take(app, stage_runtime, job, stage, cut.rows).await?;
    }
    let now = app.ports.clock().now_ms();
    let slice = Slice {
        job: &job.id,
        stage: stage.idx,
        cursor: stage.cursor,
        next_cursor: cut.next_cursor,
        next_index: job.next_index,
        last: cut.last,
        purpose: TaskKind::Work,
        level: 0,
        now,
        drive_at: app.drive_at(now),
    };
    let mut statements = tasks::expand(&slice, &cut.rows);
    statements.extend(cut.more);
    statements.extend(tasks::take(&job.id, job.next_index, &cut.rows, now));
    write(app, statements).await
}

/// Cuts the next tasks by number of items; with `fetches`, one for each address, which is read before anything is asked.
async fn cut<P: Ports>(
    app: &App<P>,
    stage_runtime: &StageRuntime,
    job: &JobRow,
    stage: &StageRow,
    fetches: bool,
) -> Result<Cut, AppError> {
    let per_chunk = stage_runtime.stage.chunk.most_items();
    let want = chunk::slice_len(stage.cursor, job.items_total, per_chunk, SLICE_ITEMS);
    let items = items(
        app,
        &job.id,
        stage.cursor,
        stage.cursor.saturating_add(want),
    )
    .await?;
    let mut rows = Vec::new();
    let mut taken = 0;
    let mut bytes = 0;
    for group in items.chunks(usize::try_from(per_chunk).unwrap_or(usize::MAX).max(1)) {
        let mut row = new_task(app, stage_runtime, &job.id, RequestMode::FRESH, group).await?;
        if fetches {
            // Nothing is known of the call before the page is.
            (row.bytes, row.worst_nano, row.key) = (0, 0, String::new());
        }
        bytes += store::to_json(&row).len();
        if bytes > SLICE_BYTES && !rows.is_empty() {
            break;
        }
        taken += u32::try_from(group.len()).unwrap_or(u32::MAX);
        rows.push(row);
    }
    let next_cursor = stage.cursor.saturating_add(taken);
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let to_fetch = fetches.then(|| input_pages::to_fetch(&job.id, job.next_index, count));
    Ok(Cut {
        rows,
        next_cursor,
        last: next_cursor >= job.items_total,
        more: to_fetch.into_iter().collect(),
    })
}
