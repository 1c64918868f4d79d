//! Expansion: the job's items become the first map stage's tasks, a slice at a time.
//!
//! A slice is one transaction that moves the stage's cursor; done twice, the second fails on the cursor and
//! changes nothing. What each task's first call will cost at worst, and what the ledger knows it by, is settled here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::bodies::{self, sha256_hex};
use super::kit::{Kit, StageKit, nano};
use super::slice::{self, Cut};
use super::{App, AppError, extend, log};
use crate::core::chunk;
use crate::core::plan::Output;
use crate::core::purpose::Purpose;
use crate::core::verdict::Form;
use crate::ports::{Clock, Db, DbError, Ports, Statement};
use crate::store::admission::Body;
use crate::store::inputs;
use crate::store::jobs::{self, JobRow, StageRow};
use crate::store::row::Columns;
use crate::store::tasks::{self, NewTask, Slice};

/// Items and bytes of one slice: its rows go in as one bound text, which D1 takes up to 2 MB of.
const SLICE_ITEMS: u32 = 1_000;
const SLICE_BYTES: usize = 1_000_000;

/// Expands the next slice. False where somebody else was faster.
pub async fn slice<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    job: &JobRow,
    stage: &StageRow,
) -> Result<bool, AppError> {
    let Some(stage_kit) = kit.stage(stage.idx) else {
        return Err(AppError::Unavailable(
            "the stage's plan is not readable".into(),
        ));
    };
    // Pages are cut when they have been read.
    let fetches = kit.fetches(stage.idx);
    let mut cut = match stage_kit.stage.chunk.size() {
        Some(size) if !fetches => slice::cut(app, stage_kit, job, stage, size).await?,
        _ => cut(app, stage_kit, job, stage, fetches).await?,
    };
    if !fetches {
        cut.rows = extend::take(app, stage_kit, job, stage, cut.rows).await?;
    }
    let now = app.ports.clock().now_ms();
    let slice = Slice {
        job: &job.id,
        stage: stage.idx,
        cursor: stage.cursor,
        next_cursor: cut.next_cursor,
        next_index: job.next_index,
        last: cut.last,
        purpose: Purpose::Work,
        level: 0,
        now,
        drive_at: app.drive_at(now),
    };
    let mut statements = tasks::expand(&slice, &cut.rows);
    statements.extend(cut.more);
    statements.extend(tasks::take(&job.id, job.next_index, &cut.rows, now));
    write(app, statements).await
}

/// Writes a slice. False where somebody else was faster.
pub async fn write<P: Ports>(app: &App<P>, statements: Vec<Statement>) -> Result<bool, AppError> {
    match app.ports.db().batch(statements).await {
        Ok(answers) => {
            log::moved(app, &answers, "expanded");
            Ok(true)
        }
        Err(DbError::Guard(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Cuts the next tasks by number of items; with `fetches`, one for each address, which is read before anything is asked.
async fn cut<P: Ports>(
    app: &App<P>,
    stage_kit: &StageKit,
    job: &JobRow,
    stage: &StageRow,
    fetches: bool,
) -> Result<Cut, AppError> {
    let per_chunk = stage_kit.stage.chunk.most_items();
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
        let mut row = new_task(app, stage_kit, &job.id, Form::FRESH, group).await?;
        if fetches {
            // Nothing is known of the call before the page is.
            (row.bytes, row.worst_nano, row.key) = (0, 0, String::new());
        }
        bytes += jobs::to_json(&row).len();
        if bytes > SLICE_BYTES && !rows.is_empty() {
            break;
        }
        taken += u32::try_from(group.len()).unwrap_or(u32::MAX);
        rows.push(row);
    }
    let next_cursor = stage.cursor.saturating_add(taken);
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let to_fetch = fetches.then(|| inputs::to_fetch(&job.id, job.next_index, count));
    Ok(Cut {
        rows,
        next_cursor,
        last: next_cursor >= job.items_total,
        more: to_fetch.into_iter().collect(),
    })
}

/// A task's row, for items in their wire form; its first request will have that form.
pub async fn new_task<P: Ports>(
    app: &App<P>,
    stage: &StageKit,
    job: &str,
    form: Form,
    items: &[Value],
) -> Result<NewTask, AppError> {
    let request = stage.worker_request(form, items, None);
    let ids: Vec<&str> = items
        .iter()
        .filter_map(|item| item.get("id")?.as_str())
        .collect();
    let (body, blob) = bodies::keep(app, &bodies::job_prefix(job), jobs::to_json(items)).await?;
    Ok(NewTask {
        items: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ids: serde_json::json!(ids).to_string(),
        class: stage.model.class.clone(),
        key: stage.key(&request),
        bytes: request.usual_input(&stage.model),
        max_tokens: request.max_tokens,
        worst_nano: nano(request.worst_case(&stage.model)),
        body,
        blob,
        grp: None,
        labelled: stage.stage.output == Output::Chunk,
        tier: stage.tier,
        wire: items.to_vec(),
        taken: None,
    })
}

/// The items `from..to` of a job, in their wire form.
pub async fn items<P: Ports>(
    app: &App<P>,
    job: &str,
    from: u32,
    to: u32,
) -> Result<Vec<Value>, AppError> {
    let answers = app
        .ports
        .db()
        .batch(vec![jobs::pages(job, from, to)])
        .await?;
    let mut items = Vec::new();
    for row in answers
        .first()
        .map(|a| a.rows.as_slice())
        .unwrap_or_default()
    {
        let first = row.count("first");
        let text = bodies::text(app, &Body::read(row, "body", "blob"))
            .await?
            .unwrap_or_default();
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let upto = usize::try_from(to.saturating_sub(first)).unwrap_or(usize::MAX);
        let portion = Portion {
            skip,
            upto,
            into: &mut items,
        };
        let mut page = serde_json::Deserializer::from_str(&text);
        portion
            .deserialize(&mut page)
            .map_err(|_| AppError::Unavailable("a page of input is not readable".into()))?;
    }
    Ok(items)
}

/// Some entries of a list: the others, of which a page may have ten thousand, never become values.
struct Portion<'a> {
    skip: usize,
    upto: usize,
    into: &'a mut Vec<Value>,
}

impl<'de> DeserializeSeed<'de> for Portion<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        list.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Portion<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for place in 0.. {
            if (self.skip..self.upto).contains(&place) {
                match list.next_element()? {
                    Some(item) => self.into.push(item),
                    None => break,
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// What the ledger knows a request by: what is asked, and the whole schema that decides what an answer is.
pub fn ledger_key(identity: &[u8], schema: Option<&Value>) -> String {
    let mut bytes = identity.to_vec();
    bytes.push(0);
    if let Some(schema) = schema {
        bytes.extend_from_slice(schema.to_string().as_bytes());
    }
    sha256_hex(&bytes)
}
