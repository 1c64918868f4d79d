//! The tree before a synthesis: results that are too many for one reader are read in parts, and the synthesis reads what came
//! of that.
//!
//! Each part is a task like any other, of the synthesis stage, with the role `reduce`; a level is expanded in slices, fans
//! in as a stage does, and the next one reads what it brought. How many levels there are follows from the sizes alone. The parts
//! are read by the model of the last map stage: there is much to read and little to weigh, and what it costs stays
//! far below the synthesis. Frequencies never come from here: they are counted by the merge.

use serde_json::{Value, json};

use super::{aggregate, pages};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::outputs::BYTES_PER_TOKEN;
use crate::app::stage::runtime::{StageRuntime, nano};
use crate::app::stage::{lineage, outputs, task_row};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::results::merge::Merger;
use crate::core::task::kind::TaskKind;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::{Clock, Ports};
use crate::store::job::jobs::StageRow;
use crate::store::row::Columns;
use crate::store::stage::reduce_tree as sql;
use crate::store::task::admission::Body;
use crate::store::task::tasks;
use crate::store::task::tasks::{NewTask, Slice};

/// Bytes that one reader gets: some 80,000 tokens, of which it can still give a fair account, and which no model charges as a
/// long prompt.
const PART_BYTES: usize = 200_000;
/// A tree that is not done by then does not bring its input down.
pub const MOST_LEVELS: u32 = 6;
/// What one slice of expansion reads at least, where there is so much.
const READ_BYTES: usize = pages::RESULTS_BYTES as usize;
/// Beyond so many bytes of parts in rows a slice ends: they go in as one bound text of at most 2 MB, and escaping may double it.
const INLINE_BYTES: usize = 500_000;
/// Of what a level brought, so much is read at a time.
const LEVEL_BYTES: u64 = 200_000;
const READ_TASKS: u32 = 500;
/// Cursor of a level whose input was read to its end.
const ALL_READ: u32 = i32::MAX as u32;

/// What one reader costs at worst for each byte it reads, its answer with it.
pub fn nano_per_byte(runtime: &StageRuntime) -> i64 {
    let room = room(runtime).max(1);
    let empty = runtime.worker_request(RequestMode::FRESH, &[], None);
    let fixed = nano(empty.worst_case(&runtime.model));
    let input = nano(runtime.model.prices.worst_case(room as u64, 0, None));
    (fixed.saturating_add(input) / i64::try_from(room).unwrap_or(i64::MAX)).saturating_add(1)
}

/// What a tree over so many bytes is expected to cost: a token has two bytes at the least, and all levels together read one
/// seventh more than the first.
pub fn expected_nano(runtime: &StageRuntime, bytes: u64) -> i64 {
    let levels = i64::try_from(bytes.saturating_add(bytes / 7)).unwrap_or(i64::MAX);
    nano_per_byte(runtime).saturating_mul(levels) / BYTES_PER_TOKEN as i64
}

/// Bytes of results in one part.
pub fn room(runtime: &StageRuntime) -> usize {
    outputs::room(runtime).min(PART_BYTES)
}

/// Something to be read: the task it is from, and what is shown of it.
type Entry = (u32, Value);

/// Expands the next slice of the level that is being worked on. False where somebody else was faster.
pub async fn slice<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<bool, AppError> {
    let runtime = loaded
        .runtime
        .reduce
        .as_ref()
        .ok_or_else(|| AppError::Internal("the plan has no synthesis".into()))?;
    let mut reader = Reader::of(app, loaded, stage);
    let mut parts = Parts::of(room(runtime));
    let mut rows: Vec<NewTask> = Vec::new();
    let (mut bytes, mut inline) = (0, 0);
    let mut from = stage.cursor;
    let mut exhausted = false;
    // A part is written as soon as it is full: as values, what a slice reads would take forty megabytes.
    while bytes <= parts.room.max(READ_BYTES) && inline <= INLINE_BYTES {
        let (entries, next) = reader.read(from).await?;
        let Some(next) = next else {
            exhausted = true;
            break;
        };
        from = next;
        for group in entries.chunk_by(|a, b| a.0 == b.0) {
            bytes += group.iter().map(|(_, value)| len(value)).sum::<usize>();
            for part in parts.add(group) {
                let row = task(app, runtime, loaded, &part).await?;
                inline += row.body.as_ref().map_or(0, String::len);
                rows.push(row);
            }
        }
    }
    let mut left = parts.open.first().map(|(task, _)| *task);
    if exhausted || rows.is_empty() {
        left = None;
        if let Some(part) = parts.rest() {
            rows.push(task(app, runtime, loaded, &part).await?);
        }
    }
    let now = app.ports.clock().now_ms();
    let slice = Slice {
        job: &loaded.job.id,
        stage: stage.idx,
        cursor: stage.cursor,
        next_cursor: if exhausted {
            ALL_READ
        } else {
            left.unwrap_or(from)
        },
        next_index: loaded.job.next_index,
        last: exhausted,
        purpose: TaskKind::Reduce,
        level: stage.level,
        now,
        drive_at: app.drive_at(now),
    };
    task_row::write(app, tasks::expand(&slice, &rows)).await
}

async fn task<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    loaded: &Loaded,
    part: &[Value],
) -> Result<NewTask, AppError> {
    let row = task_row::new_task(app, runtime, &loaded.job.id, RequestMode::FRESH, part).await?;
    Ok(NewTask {
        // Nothing is taken over of what readers say.
        wire: Vec::new(),
        ..row
    })
}

/// What a level reads: results of the last map stage, or what the level below brought.
enum Reader<'a, P: Ports> {
    Results(Box<pages::Results<P>>, Box<Merger>),
    Below(&'a App<P>, &'a Loaded, &'a StageRow),
    Nothing,
}

impl<'a, P: Ports> Reader<'a, P> {
    fn of(app: &'a App<P>, loaded: &'a Loaded, stage: &'a StageRow) -> Reader<'a, P> {
        if stage.level > 1 {
            return Reader::Below(app, loaded, stage);
        }
        let last = lineage::map_stages(&loaded.runtime).pop();
        match last.and_then(|(index, _)| {
            Some((
                index,
                aggregate::results_of(&loaded.runtime, &loaded.job.id, index)?,
            ))
        }) {
            Some((index, of)) => {
                let results = pages::Results::new(app.clone(), of);
                // The same result twice is one too many for a reader; what is the same in slices far apart is read twice.
                let merger = Merger::new(&aggregate::merge_of(&loaded.runtime, index));
                Reader::Results(Box::new(results), Box::new(merger))
            }
            None => Reader::Nothing,
        }
    }

    /// The next entries from task `from` on, and where to read on; `None` at the end. Read on where it says, or begin anew.
    async fn read(&mut self, from: u32) -> Result<(Vec<Entry>, Option<u32>), AppError> {
        match self {
            Reader::Nothing => Ok((Vec::new(), None)),
            Reader::Below(app, loaded, stage) => {
                let from = from.max(stage.look);
                outputs(app, loaded, stage, from, stage.level - 1).await
            }
            Reader::Results(results, merger) => {
                let (lines, last) = results.portion(from.checked_sub(1)).await?;
                let lines = lines
                    .into_iter()
                    .filter(|line| merger.add(aggregate::named(line).1));
                let entries = lines.map(|line| (aggregate::task_of(&line), aggregate::shown(line)));
                Ok((entries.collect(), last.map(|last| last.saturating_add(1))))
            }
        }
    }
}

/// What a level brought, from task `from` on.
pub async fn outputs<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    from: u32,
    level: u32,
) -> Result<(Vec<Entry>, Option<u32>), AppError> {
    let job = &loaded.job.id;
    let read = sql::outputs(job, stage.idx, from, level, READ_TASKS, LEVEL_BYTES);
    let rows = db::rows(app, read).await?;
    let next = rows.last().map(|row| row.count("idx").saturating_add(1));
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
        let label = row.text("label");
        for (id, output) in outputs::outputs(db::json_of(text), &label) {
            entries.push((row.count("idx"), json!({"id": id, "output": output})));
        }
    }
    Ok((entries, next))
}

fn len(value: &Value) -> usize {
    value.to_string().len() + 1
}

/// Entries in parts of at most `room` bytes, cut between tasks wherever a task's own fit.
struct Parts {
    room: usize,
    /// The part that is being filled, and its bytes.
    open: Vec<Entry>,
    bytes: usize,
}

impl Parts {
    fn of(room: usize) -> Parts {
        Parts {
            room,
            open: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a task's entries; the parts that are full now.
    fn add(&mut self, group: &[Entry]) -> Vec<Vec<Value>> {
        let mut full = Vec::new();
        let size: usize = group.iter().map(|(_, value)| len(value)).sum();
        if !self.open.is_empty() && self.bytes + size > self.room {
            full.extend(self.rest());
        }
        if size > self.room {
            let values = group.iter().map(|(_, value)| value.clone()).collect();
            full.extend(outputs::cut(values, self.room, usize::MAX));
        } else {
            self.open.extend_from_slice(group);
            self.bytes += size;
        }
        full
    }

    /// The part that is not full.
    fn rest(&mut self) -> Option<Vec<Value>> {
        self.bytes = 0;
        let open = std::mem::take(&mut self.open);
        (!open.is_empty()).then(|| open.into_iter().map(|(_, value)| value).collect())
    }
}

/// What became of a level.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Size {
    pub tasks: u32,
    /// That brought something.
    pub done: u32,
    pub bytes: u64,
    /// Inputs of the others.
    pub lost: u32,
}

pub async fn size<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    level: u32,
) -> Result<Size, AppError> {
    let read = sql::size(&loaded.job.id, stage.idx, stage.look, level);
    let rows = db::rows(app, read).await?;
    Ok(rows.first().map_or_else(Size::default, |row| Size {
        tasks: row.count("tasks"),
        done: row.count("done"),
        bytes: row.tokens("bytes"),
        lost: row.count("lost"),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn entries(sizes: &[(u32, usize)]) -> Vec<Entry> {
        sizes
            .iter()
            .map(|(task, size)| (*task, json!("x".repeat(*size))))
            .collect()
    }

    #[test]
    fn parts_hold_everything_once_and_are_cut_between_tasks() {
        let all = entries(&[(1, 10), (1, 10), (2, 30), (4, 60), (4, 70), (5, 5)]);
        let mut parts = Parts::of(100);
        let mut full = Vec::new();
        for group in all.chunk_by(|a, b| a.0 == b.0) {
            full.extend(parts.add(group));
        }
        assert_eq!(full.len(), 3);
        assert_eq!(parts.open.first().map(|(task, _)| *task), Some(5));
        full.extend(parts.rest());
        assert_eq!(parts.rest(), None);
        let values: Vec<Value> = all.into_iter().map(|(_, value)| value).collect();
        assert_eq!(full.concat(), values);
    }
}
