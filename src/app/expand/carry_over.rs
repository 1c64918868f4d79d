//! A job that extends an earlier one: what the earlier one found out about the same item, by the same stage, is taken over
//! without a call.
//!
//! The same stage is one whose workers are told the same: instructions, schema, model (all of a cascade), output, whatever its
//! name and place. The same item is one of the same content. In a stage with a result for each item, results are taken over
//! item by item, however the chunks are made up; in one with a result for a chunk, only chunks that are the same as a whole.
//!
//! First the earlier job's results are copied, under a hash of what each was made of (`earlier`); until that is done its rows
//! are not removed, even where its caller has deleted it. Then expansion looks each item up: what is known becomes tasks
//! that are done already, what is not makes chunks of its own. Pages are read again, since nobody knows whether they have
//! changed; where they have not, the ledger answers.

use std::collections::HashMap;

use serde_json::Value;

use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::StageRuntime;
use crate::app::stage::{outputs, runtime, task_row};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::plan::carry_over::Extension;
use crate::core::plan::chunk;
use crate::core::plan::spec::Output;
use crate::core::task::retry_policy::RequestMode;
use crate::core::text::slices;
use crate::ports::{Db, DbError, Ports};
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::row::{Columns, Row};
use crate::store::stage::carry_over as sql;
use crate::store::stage::carry_over::Copied;
use crate::store::task::admission::Body;
use crate::store::task::tasks::{NewTask, Taken};

/// Tasks and bytes of one look at the earlier job: what it brings goes in as one bound text of at most 2 MB, and escaping
/// may double it.
const READ_TASKS: u32 = 300;
const READ_BYTES: u64 = 700_000;
/// Items in one task whose results were taken over, and the bytes after which it takes no further one.
const TAKEN_ITEMS: usize = 100;
const TAKEN_BYTES: usize = 60_000;

/// The stage of the earlier job that does the same as this one.
pub fn stage_of(extension: &Extension, runtime: &StageRuntime) -> Option<u32> {
    extension.work.get(&identity(runtime)).copied()
}

/// What decides about a stage's results, besides the items.
pub fn identity(runtime: &StageRuntime) -> String {
    let empty = runtime.worker_request(RequestMode::FRESH, &[], None);
    let stage = &runtime.stage;
    let what = format!(
        "{}\n{:?}\n{}",
        runtime.key(&empty),
        stage.output,
        stage.models.join(",")
    );
    blobs::sha256_hex(what.as_bytes())
}

/// What an item is known by. An id that only says where it stood says nothing about it.
fn item_key(item: &Value) -> String {
    let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
    if !chunk::is_place(id) {
        return key(&item.to_string());
    }
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.shift_remove("id");
    }
    key(&item.to_string())
}

fn chunk_key(items: &[Value]) -> String {
    key(&Value::Array(items.to_vec()).to_string())
}

fn key(text: &str) -> String {
    let mut hash = blobs::sha256_hex(text.as_bytes());
    hash.truncate(32);
    hash
}

/// The next results of the earlier job are copied. False where nothing is left to be copied.
pub async fn copy<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<bool, AppError> {
    let job = &loaded.job;
    let Some(extension) = job.extends.as_ref().filter(|_| job.extending) else {
        return Ok(false);
    };
    let next = loaded.stages.iter().find_map(|stage| {
        let from = u32::try_from(stage.earlier).ok()?;
        let runtime = loaded.runtime.stage(stage.idx)?;
        Some((stage, runtime, stage_of(extension, runtime)?, from))
    });
    let statements = match next {
        None => vec![sql::guard(&job.id), sql::all_copied(&job.id)],
        Some((stage, runtime, of, from)) => {
            let read = sql::results(
                &extension.job,
                &job.tenant,
                of,
                from,
                READ_TASKS,
                READ_BYTES,
            );
            let rows = db::rows(app, read).await?;
            let next = rows.last().map(|row| row.count("idx").saturating_add(1));
            let mut copied = Vec::new();
            for row in &rows {
                results_of(app, &job.id, runtime, row, &mut copied).await?;
            }
            let mut statements = vec![sql::guard_at(&job.id, stage.idx, stage.earlier)];
            statements.push(sql::copy(&job.id, stage.idx, &copied));
            statements.push(sql::copied_to(&job.id, stage.idx, next));
            statements
        }
    };
    match app.ports.db().batch(statements).await {
        Ok(_) | Err(DbError::Guard(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The results of one task of the earlier job, each under what it was made of.
async fn results_of<P: Ports>(
    app: &App<P>,
    job: &str,
    runtime: &StageRuntime,
    row: &Row,
    copied: &mut Vec<Copied>,
) -> Result<(), AppError> {
    let ids: Vec<String> = row.json("ids").unwrap_or_default();
    let input = db::json_of(blobs::text(app, &Body::read(row, "input", "input_blob")).await?);
    // A half's other half is in its input still.
    let items = runtime::only(
        input.as_array().map(Vec::as_slice).unwrap_or_default(),
        &ids,
    );
    let output = db::json_of(blobs::text(app, &Body::read(row, "body", "blob")).await?);
    let results = outputs::outputs(output, "");
    let share = i64::try_from(results.len().max(1)).unwrap_or(i64::MAX);
    let nano = row.int("nano") / share;
    let by_id: HashMap<&str, &Value> = items
        .iter()
        .filter_map(|item| Some((item.get("id")?.as_str()?, item)))
        .collect();
    for (id, result) in results {
        let key = match runtime.stage.output {
            Output::Chunk => chunk_key(&items),
            Output::Item => match by_id.get(id.as_str()) {
                Some(item) => item_key(item),
                None => continue,
            },
        };
        let text = result.to_string();
        let (body, blob) = blobs::keep(app, &blobs::job_prefix(job), text).await?;
        copied.push(Copied {
            key,
            body,
            blob,
            nano,
        });
    }
    Ok(())
}

/// What is known of an item, or of a chunk.
pub struct Known {
    result: Value,
    nano: i64,
}

/// New tasks of a stage with what the earlier job knows taken out of them: that stands in tasks which are done already, the
/// others ask for the rest alone. Tasks of one item stay where they are in the list.
pub async fn take<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    job: &JobRow,
    stage: &StageRow,
    rows: Vec<NewTask>,
) -> Result<Vec<NewTask>, AppError> {
    let extends = job.extends.as_ref();
    if extends.is_none_or(|extension| stage_of(extension, runtime).is_none()) || rows.is_empty() {
        return Ok(rows);
    }
    let per_item = runtime.stage.output == Output::Item;
    let keys: Vec<Vec<String>> = rows
        .iter()
        .map(|row| match per_item {
            true => row.wire.iter().map(item_key).collect(),
            false => vec![chunk_key(&row.wire)],
        })
        .collect();
    let known = known(app, &job.id, stage.idx, &keys.concat()).await?;
    if known.is_empty() {
        return Ok(rows);
    }
    let mut kept = Vec::with_capacity(rows.len());
    let mut fresh: Vec<Value> = Vec::new();
    let mut more: Vec<(Value, &Known)> = Vec::new();
    for (mut row, keys) in rows.into_iter().zip(keys) {
        if !per_item {
            if let Some(known) = keys.first().and_then(|key| known.get(key)) {
                let results = vec![(String::new(), known.result.clone())];
                settle(app, runtime, job, &mut row, results, known.nano).await?;
            }
            kept.push(row);
            continue;
        }
        let found: Vec<Option<&Known>> = keys.iter().map(|key| known.get(key)).collect();
        // Perhaps a slice, which its document knows by its place in the list.
        let alone = found.len() == 1 && runtime.stage.chunk.tokens.is_some();
        let full = found.len() >= runtime.stage.chunk.most_items() as usize;
        if found.iter().all(Option::is_none) && (alone || full) {
            kept.push(row);
        } else if alone {
            let known = found.into_iter().flatten();
            let pairs = row.wire.clone().into_iter().zip(known).collect();
            taken(app, runtime, job, &mut row, pairs).await?;
            kept.push(row);
        } else {
            for (item, found) in row.wire.into_iter().zip(found) {
                match found {
                    Some(known) => more.push((item, known)),
                    None => fresh.push(item),
                }
            }
        }
    }
    for chunk in chunks(fresh, runtime) {
        kept.push(task_row::new_task(app, runtime, &job.id, RequestMode::FRESH, &chunk).await?);
    }
    let mut pairs = Vec::new();
    let mut bytes = 0;
    let mut groups = Vec::new();
    for (item, known) in more {
        bytes += item.to_string().len();
        pairs.push((item, known));
        if pairs.len() >= TAKEN_ITEMS || bytes >= TAKEN_BYTES {
            groups.push(std::mem::take(&mut pairs));
            bytes = 0;
        }
    }
    groups.push(pairs);
    for pairs in groups.into_iter().filter(|pairs| !pairs.is_empty()) {
        let items: Vec<Value> = pairs.iter().map(|(item, _)| item.clone()).collect();
        let mut row = task_row::new_task(app, runtime, &job.id, RequestMode::FRESH, &items).await?;
        taken(app, runtime, job, &mut row, pairs).await?;
        kept.push(row);
    }
    Ok(kept)
}

/// Chunks as the stage wants them, of items that are left over from many.
fn chunks(items: Vec<Value>, runtime: &StageRuntime) -> Vec<Vec<Value>> {
    let most = runtime.stage.chunk.most_items() as usize;
    let tokens = runtime.stage.chunk.tokens.map_or(u64::MAX, u64::from);
    let room = outputs::room(runtime) as u64;
    let mut chunks: Vec<Vec<Value>> = Vec::new();
    let (mut weight, mut bytes) = (0, 0);
    for item in items {
        let text = item.to_string();
        let (own, len) = (slices::tokens(&text), text.len() as u64 + 1);
        match chunks.last_mut() {
            Some(last) if last.len() < most && weight + own <= tokens && bytes + len <= room => {
                last.push(item);
                weight += own;
                bytes += len;
            }
            _ => {
                chunks.push(vec![item]);
                (weight, bytes) = (own, len);
            }
        }
    }
    chunks
}

/// A task of items whose results are all known.
async fn taken<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    job: &JobRow,
    row: &mut NewTask,
    pairs: Vec<(Value, &Known)>,
) -> Result<(), AppError> {
    let nano = pairs.iter().map(|(_, known)| known.nano).sum();
    let results = pairs
        .into_iter()
        .map(|(item, known)| {
            let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
            (id.to_owned(), known.result.clone())
        })
        .collect();
    settle(app, runtime, job, row, results, nano).await
}

async fn settle<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    job: &JobRow,
    row: &mut NewTask,
    results: Vec<(String, Value)>,
    nano: i64,
) -> Result<(), AppError> {
    let text = outputs::stored_output(runtime.stage.output, results).to_string();
    let bytes = text.len() as u64;
    let (body, blob) = blobs::keep(app, &blobs::job_prefix(&job.id), text).await?;
    row.taken = Some(Taken {
        body,
        blob,
        bytes,
        nano,
    });
    Ok(())
}

pub async fn known<P: Ports>(
    app: &App<P>,
    job: &str,
    stage: u32,
    keys: &[String],
) -> Result<HashMap<String, Known>, AppError> {
    let mut known = HashMap::new();
    for row in db::rows(app, sql::known(job, stage, keys)).await? {
        let text = blobs::text(app, &Body::read(&row, "body", "blob")).await?;
        let one = Known {
            result: db::json_of(text),
            nano: row.int("nano"),
        };
        known.insert(row.text("key"), one);
    }
    Ok(known)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_known_by_its_content_and_by_an_id_that_is_its_own() {
        let key = |id: &str, text: &str| item_key(&json!({"id": id, "text": text}));
        assert_eq!(key("item-3", "a"), key("item-4", "a"));
        assert_ne!(key("item-3", "a"), key("item-3", "b"));
        assert_ne!(key("T-3", "a"), key("T-4", "a"));
        assert_ne!(key("item-x", "a"), key("item-y", "a"));
    }
}
