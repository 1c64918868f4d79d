//! Items that are made on the way: the results of one map stage become the items of the next, all or some, as they are or grouped.
//!
//! Like the first expansion it goes slice by slice, each one transaction that is guarded by the stage's cursor. What was
//! taken is written down with the task it came from (`given`), so that a later run takes only what is new.
//!
//! A stage that groups does so in two passes ([`groups`]); one over some results amends them ([`amend`]).
//!
//! Ids: results of `output: item` keep the ids of their items. A task with one result for all its items has a label
//! (`chunk-7`, `billing#2`), which is the id of that result: the number counts the tasks of the stage.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::{carry_over, from_items, grouped, selected};
use crate::app::stage::choice::{Candidate, choose};
use crate::app::stage::lineage::Amendments;
use crate::app::stage::outputs::{fitting, outputs, room};
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::stage::{input_items, lineage, task_row};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::task::kind::TaskKind;
use crate::core::task::retry_policy::RequestMode;
use crate::core::text::slices::tokens;
use crate::core::value::category;
use crate::ports::{Clock, Ports, Statement};
use crate::store;
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::read::listing;
use crate::store::row::{Columns, Row};
use crate::store::stage::from_results::Given;
use crate::store::stage::{from_results as sql, selected as selected_sql};
use crate::store::task::admission::Body;
use crate::store::task::tasks as store_tasks;
use crate::store::task::tasks::Slice;

/// Tasks whose results one slice reads, and the bytes after which it reads no further. What a slice writes goes in as one
/// bound text of at most 2 MB, and escaping may double what was read.
const READ_TASKS: u32 = 500;
pub const READ_BYTES: u64 = 500_000;
/// Items of a job's input that one slice groups.
const READ_ITEMS: u32 = 500;
/// Bytes of task rows in one slice, and how many: as for the first expansion.
pub const ROWS_BYTES: usize = 900_000;
pub const ROWS: usize = 1_000;

/// Cursor of a stage that has seen all results there are.
const ALL_SEEN: u32 = i32::MAX as u32;

/// Something to be an item of this stage.
pub struct Entry {
    /// The task it is a result of.
    pub from: u32,
    pub id: String,
    pub group: String,
    pub wire: Value,
    pub bytes: usize,
    /// Estimated.
    pub tokens: usize,
}

impl Entry {
    pub fn new(from: u32, id: String, output: Value) -> Entry {
        let wire = as_item(&id, output);
        let mut entry = Entry {
            from,
            id,
            group: String::new(),
            wire,
            bytes: 0,
            tokens: 0,
        };
        entry.measure();
        entry
    }

    pub fn measure(&mut self) {
        let text = self.wire.to_string();
        self.bytes = text.len();
        self.tokens = usize::try_from(tokens(&text)).unwrap_or(usize::MAX);
    }

    /// Shows the item that the result was made of beside it.
    pub fn show(&mut self, item: Value) {
        beside(&mut self.wire, item);
        self.measure();
    }
}

/// What one read brought.
pub struct Found {
    pub entries: Vec<Entry>,
    /// What each task had given before, and whether all it can ever give is there.
    pub tasks: BTreeMap<u32, (Vec<String>, bool)>,
    pub next: u32,
    pub exhausted: bool,
    /// Results that the stage's condition does not choose, by their tasks: they are done with.
    pub passed: BTreeMap<u32, Vec<String>>,
    /// What there is makes chunks, even short ones: a slice looks no further.
    pub cut_short: bool,
}

impl Found {
    pub fn at(cursor: u32) -> Found {
        Found {
            entries: Vec::new(),
            tasks: BTreeMap::new(),
            next: cursor,
            exhausted: false,
            passed: BTreeMap::new(),
            cut_short: false,
        }
    }

    pub fn end(&mut self) {
        self.exhausted = true;
        self.next = ALL_SEEN;
    }
}

/// Expands the next slice of a stage that follows another, or that groups. False where somebody else was faster.
pub async fn slice<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    job: &JobRow,
    stage: &StageRow,
    before: Option<u32>,
) -> Result<bool, AppError> {
    let unreadable = || AppError::Internal("the stage's plan is not readable".into());
    let stage_runtime = runtime.stage(stage.idx).ok_or_else(unreadable)?;
    let stage_of = &stage_runtime.stage;
    let per_chunk = stage_of.chunk.most_items() as usize;
    let statements = match (&stage_of.of, &stage_of.group_by, before) {
        (Some(of), _, Some(_)) => {
            let found = selected::chosen(app, runtime, job, stage, of, per_chunk).await?;
            chunks(app, stage_runtime, job, stage, found).await?
        }
        (_, Some(field), before) => {
            let found = match before {
                Some(before) => results(app, runtime, job, stage, before, Some(field), 1).await?,
                None => input(app, job, stage, field).await?,
            };
            if found.entries.is_empty() && found.exhausted {
                grouped::groups(app, stage_runtime, job, stage).await?
            } else {
                grouped::bundles(app, job, stage, found, before.is_some())
            }
        }
        (_, None, Some(before)) => {
            let found = results(app, runtime, job, stage, before, None, per_chunk).await?;
            chunks(app, stage_runtime, job, stage, found).await?
        }
        (_, None, None) => return from_items::slice(app, runtime, job, stage).await,
    };
    task_row::write(app, statements).await
}

/// The next results of a stage, from task `from` on.
pub async fn read<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    stage: u32,
    from: u32,
) -> Result<Vec<Row>, AppError> {
    let after = i64::from(from) - 1;
    let read = listing::results(&job.id, stage, after, READ_TASKS, READ_BYTES);
    db::rows(app, read).await
}

/// Results of the stage before that were not taken yet, as later stages have amended them: at least `least` of them, where there
/// are so many.
pub async fn results<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    job: &JobRow,
    stage: &StageRow,
    before: u32,
    field: Option<&str>,
    least: usize,
) -> Result<Found, AppError> {
    let (base, amends) = lineage::lineage(runtime, before);
    let own = runtime.stage(stage.idx).map(|runtime| &runtime.stage);
    let with_input = own.is_some_and(|own| own.with_input);
    let filter = own.and_then(|own| own.filter.as_ref());
    let seen_by: Vec<u32> = std::iter::once(base)
        .chain(amends.iter().copied())
        .collect();
    let mut found = Found::at(stage.cursor);
    let mut pages = 0;
    while found.entries.len() < least {
        if pages == selected::READ_PAGES {
            found.cut_short = true;
            break;
        }
        pages += 1;
        let read = sql::to_give(&job.id, base, found.next, READ_TASKS, READ_BYTES);
        let rows = db::rows(app, read).await?;
        let Some(last) = rows.last() else {
            found.end();
            break;
        };
        found.next = last.count("idx").saturating_add(1);
        let amended = Amendments::of(app, &job.id, &amends, &rows).await?;
        let mut page: Vec<Candidate> = Vec::new();
        for row in &rows {
            let idx = row.count("idx");
            let given: Vec<String> = row.json("given").unwrap_or_default();
            let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
            let label = row.text("label");
            for (id, output) in outputs(db::json_of(text), &label) {
                if !given.contains(&id) {
                    let output = amended.over(&id, output);
                    page.push((idx, id, output));
                }
            }
            let whole = row.text("state") == "succeeded";
            found.tasks.insert(idx, (given, whole));
        }
        if let Some(filter) = filter {
            let left = choose(app, &job.id, filter, &seen_by, &mut page).await?;
            for (task, id, _) in left {
                found.passed.entry(task).or_default().push(id);
            }
        }
        let entries = page.into_iter().map(|(idx, id, output)| {
            let group = field.map_or_else(String::new, |field| {
                category::name(output.get(field).unwrap_or(&Value::Null))
            });
            let entry = Entry::new(idx, id, output);
            Entry { group, ..entry }
        });
        let mut entries: Vec<Entry> = entries.collect();
        if with_input
            && let Some(stopped) = selected::show_inputs(app, &job.id, &mut entries).await?
        {
            found.tasks.retain(|task, _| *task < stopped);
            found.next = stopped;
            found.cut_short = true;
            found.entries.extend(entries);
            break;
        }
        found.entries.extend(entries);
    }
    Ok(found)
}

/// A result as an item: its fields stand beside the id, or whole under `output` where one of them is called `id` too.
fn as_item(id: &str, output: Value) -> Value {
    let mut item = Map::new();
    item.insert("id".into(), id.into());
    match output {
        Value::Object(fields) if !fields.contains_key("id") => item.extend(fields),
        other => {
            item.insert("output".into(), other);
        }
    }
    Value::Object(item)
}

/// The same with the item that the result was made of, under `input`.
fn beside(wire: &mut Value, mut item: Value) {
    if let Value::Object(fields) = &mut item {
        fields.shift_remove("id");
    }
    let Value::Object(fields) = wire else { return };
    if fields.contains_key("input") {
        let id = fields.shift_remove("id");
        let output = std::mem::take(fields);
        fields.extend(id.map(|id| ("id".to_owned(), id)));
        fields.insert("output".into(), Value::Object(output));
    }
    fields.insert("input".into(), item);
}

/// The job's own items, for a first stage that groups.
async fn input<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    stage: &StageRow,
    field: &str,
) -> Result<Found, AppError> {
    let from = stage.cursor.min(job.items_total);
    let to = from.saturating_add(READ_ITEMS).min(job.items_total);
    let mut found = Found::at(from);
    found.exhausted = to == from;
    let mut bytes = 0;
    for wire in input_items::items(app, &job.id, from, to).await? {
        let size = wire.to_string().len();
        bytes += size;
        if bytes as u64 > READ_BYTES && !found.entries.is_empty() {
            break;
        }
        found.next += 1;
        found.entries.push(Entry {
            from: 0,
            id: String::new(),
            group: category::name(wire.get(field).unwrap_or(&Value::Null)),
            wire,
            bytes: size,
            tokens: 0,
        });
    }
    Ok(found)
}

/// Results as they are, so many to a chunk.
pub async fn chunks<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    job: &JobRow,
    stage: &StageRow,
    found: Found,
) -> Result<Vec<Statement>, AppError> {
    let chunk = runtime.stage.chunk;
    let per_chunk = chunk.most_items() as usize;
    let room = room(runtime);
    let most_tokens = chunk.tokens.map_or(usize::MAX, |tokens| tokens as usize);
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut taken = 0;
    while let Some(rest) = found.entries.get(taken..).filter(|rest| !rest.is_empty()) {
        let len = fitting(rest.iter().map(|entry| entry.bytes), room, per_chunk);
        let len = fitting(rest.iter().map(|entry| entry.tokens), most_tokens, len);
        // The last chunk may find its missing items in the next slice.
        if len == rest.len() && len < per_chunk && !found.exhausted && !found.cut_short {
            break;
        }
        let items: Vec<Value> = rest.iter().take(len).map(|e| e.wire.clone()).collect();
        let row = task_row::new_task(app, runtime, &job.id, RequestMode::FRESH, &items).await?;
        bytes += store::to_json(&row).len();
        if !rows.is_empty() && (bytes > ROWS_BYTES || rows.len() >= ROWS) {
            break;
        }
        rows.push(row);
        taken += len;
    }
    let next = found
        .entries
        .get(taken)
        .map_or(found.next, |entry| entry.from);
    let last = found.exhausted && taken == found.entries.len();
    let slice = at(app, job, stage, next, last);
    let rows = carry_over::take(app, runtime, job, stage, rows).await?;
    let mut statements = if runtime.stage.amends() {
        let entries = found.entries.get(..taken).unwrap_or_default();
        selected_sql::expand(
            &slice,
            &rows,
            &selected::amends(entries, &rows, job.next_index),
        )
    } else {
        sql::expand(&slice, &rows, &given(&found, taken))
    };
    statements.extend(store_tasks::take(&job.id, job.next_index, &rows, slice.now));
    Ok(statements)
}

pub fn at<'a, P: Ports>(
    app: &App<P>,
    job: &'a JobRow,
    stage: &StageRow,
    next_cursor: u32,
    last: bool,
) -> Slice<'a> {
    let now = app.ports.clock().now_ms();
    Slice {
        job: &job.id,
        stage: stage.idx,
        cursor: stage.cursor,
        next_cursor,
        next_index: job.next_index,
        last,
        purpose: TaskKind::Work,
        level: 0,
        now,
        drive_at: app.drive_at(now),
    }
}

/// What the tasks have given once the first `taken` entries are taken.
pub fn given(found: &Found, taken: usize) -> Vec<Given> {
    let mut left: HashSet<u32> = HashSet::new();
    left.extend(found.entries.iter().skip(taken).map(|entry| entry.from));
    let mut fresh: BTreeMap<u32, Vec<String>> = found.passed.clone();
    for entry in found.entries.iter().take(taken) {
        fresh.entry(entry.from).or_default().push(entry.id.clone());
    }
    fresh
        .into_iter()
        .filter_map(|(idx, ids)| {
            let (before, whole) = found.tasks.get(&idx)?;
            let given = if *whole && !left.contains(&idx) {
                "*".to_owned()
            } else {
                let all: Vec<&String> = before.iter().chain(&ids).collect();
                json!(all).to_string()
            };
            Some(Given { idx, given })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_result_with_an_id_of_its_own_does_not_lose_it() {
        assert_eq!(as_item("a", json!({"k": 1})), json!({"id": "a", "k": 1}));
        let own = as_item("a", json!({"id": "x", "k": 1}));
        assert_eq!(own, json!({"id": "a", "output": {"id": "x", "k": 1}}));
        assert_eq!(as_item("a", json!([1])), json!({"id": "a", "output": [1]}));
    }

    #[test]
    fn the_item_stands_beside_its_result_whatever_the_fields_are_called() {
        let shown = |output: Value| {
            let mut wire = as_item("a", output);
            beside(&mut wire, json!({"id": "a", "text": "t"}));
            wire.to_string()
        };
        assert_eq!(
            shown(json!({"k": 1})),
            r#"{"id":"a","k":1,"input":{"text":"t"}}"#
        );
        let own = r#"{"id":"a","output":{"input":1},"input":{"text":"t"}}"#;
        assert_eq!(shown(json!({"input": 1})), own);
        assert_eq!(
            shown(json!([1])),
            r#"{"id":"a","output":[1],"input":{"text":"t"}}"#
        );
    }

    #[test]
    fn what_a_task_gave_is_written_down_until_it_has_given_all() {
        let entry = |from: u32, id: &str| Entry {
            from,
            id: id.into(),
            group: String::new(),
            wire: Value::Null,
            bytes: 4,
            tokens: 1,
        };
        let found = Found {
            entries: vec![entry(1, "b"), entry(2, "c"), entry(2, "d")],
            tasks: [(1, (vec!["a".to_owned()], false)), (2, (vec![], true))].into(),
            exhausted: true,
            ..Found::at(3)
        };
        let of = |taken| -> Vec<(u32, String)> {
            let given = given(&found, taken);
            given.into_iter().map(|g| (g.idx, g.given)).collect()
        };
        assert_eq!(of(2), [(1, r#"["a","b"]"#.into()), (2, r#"["c"]"#.into())]);
        assert_eq!(of(3)[1], (2, "*".into()));
        // What is not chosen is done with, whether or not its task gives anything.
        let passed = BTreeMap::from([(1, vec!["x".to_owned()]), (2, vec!["y".to_owned()])]);
        let found = Found { passed, ..found };
        let given = |taken| -> Vec<String> {
            let given = super::given(&found, taken);
            given.into_iter().map(|g| g.given).collect()
        };
        assert_eq!(given(0), [r#"["a","x"]"#, r#"["y"]"#]);
        assert_eq!(given(3), [r#"["a","x","b"]"#, "*"]);
    }
}
