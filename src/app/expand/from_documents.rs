//! Expansion of a stage whose chunks are measured in tokens: small items are packed, long texts are split.
//!
//! One turn is one transaction, like any slice of expansion; where it ends inside a long text, the stage remembers
//! where. A text in parts is read part by part: no more than two of them are held at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::stage::runtime::StageRuntime;
use crate::app::stage::task_row::new_task;
use crate::app::support::blobs;
use crate::app::{App, AppError};
use crate::core::task::retry_policy::RequestMode;
use crate::core::text::slices;
use crate::core::text::slices::{Size, Trail, slice_id};
use crate::ports::{Db, Ports, Statement};
use crate::store::job::input_pages::{Owned, Sliced};
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::job::{input_pages, jobs};
use crate::store::row::Columns;
use crate::store::task::admission::Body;
use crate::store::task::tasks::NewTask;
use crate::store::to_json;

/// Items and tasks of one turn, and bytes of its rows: they go in as one bound text, which D1 takes up to 2 MB of, and
/// the last task may be as large as a page.
const TURN_ITEMS: u32 = 1_000;
const TURN_BYTES: usize = 800_000;
/// What the engine adds to a slice: its number, and the headings above it.
const PLACE_TOKENS: u64 = 30;

/// What a turn made of its items.
pub struct Cut {
    pub rows: Vec<NewTask>,
    /// The first item that is not wholly expanded.
    pub next_cursor: u32,
    pub last: bool,
    /// To go into the batch after the tasks.
    pub more: Vec<Statement>,
}

/// Where expansion stands inside an item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Within {
    /// Of a text in parts, and the byte in it at which the next slice begins.
    part: u32,
    at: usize,
    /// Slices that are tasks already, and how many there will be.
    done: u32,
    total: u32,
    trail: Trail,
}

/// Cuts the next tasks from the items at the stage's cursor.
pub async fn cut<P: Ports>(
    app: &App<P>,
    runtime: &StageRuntime,
    job: &JobRow,
    stage: &StageRow,
    size: Size,
) -> Result<Cut, AppError> {
    let end = stage.cursor.saturating_add(TURN_ITEMS).min(job.items_total);
    let answers = app
        .ports
        .db()
        .batch(vec![
            jobs::pages(&job.id, stage.cursor, end),
            input_pages::parts(&job.id, stage.cursor, end),
        ])
        .await?;
    let rows = |n: usize| {
        answers
            .get(n)
            .map(|a| a.rows.as_slice())
            .unwrap_or_default()
    };
    let mut parts: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for row in rows(1) {
        let of_item = parts.entry(row.count("item")).or_default();
        of_item.push(row.text("blob"));
    }
    let within = stage.within.clone();
    let mut turn = Turn {
        app,
        runtime,
        job: &job.id,
        size,
        rows: Vec::new(),
        owned: Vec::new(),
        sliced: Vec::new(),
        bytes: 0,
        first_index: job.next_index,
        group: Vec::new(),
        weight: 0,
        next: stage.cursor,
        within: within.and_then(|within| serde_json::from_value(within).ok()),
    };
    'pages: for row in rows(0) {
        let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
        let page: Vec<Value> = serde_json::from_str(&text.unwrap_or_default())
            .map_err(|_| AppError::Internal("a page of input is not readable".into()))?;
        for (position, item) in (row.count("first")..).zip(page) {
            if position < turn.next || position >= end {
                continue;
            }
            match parts.get(&position) {
                Some(parts) => turn.document(item, &Text::Parts(parts)).await?,
                None => turn.item(item).await?,
            }
            if turn.within.is_some() || turn.full() {
                break 'pages;
            }
        }
    }
    turn.close_group().await?;
    let within = turn
        .within
        .as_ref()
        .map(|within| serde_json::to_value(within).unwrap_or_default());
    Ok(Cut {
        next_cursor: turn.next,
        last: turn.next >= job.items_total && within.is_none(),
        more: input_pages::expanded(
            &job.id,
            stage.idx,
            within.as_ref(),
            &turn.owned,
            &turn.sliced,
        ),
        rows: turn.rows,
    })
}

/// The tasks of one turn as they come together.
struct Turn<'a, P: Ports> {
    app: &'a App<P>,
    runtime: &'a StageRuntime,
    job: &'a str,
    size: Size,
    rows: Vec<NewTask>,
    owned: Vec<Owned>,
    sliced: Vec<Sliced>,
    bytes: usize,
    first_index: u32,
    /// Small items that will be one chunk.
    group: Vec<Value>,
    weight: u64,
    /// The first item that is not wholly taken.
    next: u32,
    within: Option<Within>,
}

/// The text of an item that is split.
enum Text<'a> {
    Whole(&'a str),
    /// Keys of blobs.
    Parts(&'a [String]),
}

impl<P: Ports> Turn<'_, P> {
    fn full(&self) -> bool {
        self.bytes > TURN_BYTES || self.rows.len() >= TURN_ITEMS as usize
    }

    /// An item that is on its page whole.
    async fn item(&mut self, mut item: Value) -> Result<(), AppError> {
        let room = u64::from(self.size.tokens);
        let weight = slices::tokens(&item.to_string());
        if weight > room
            && let Some(field) = long_field(&item, room)
            && let Some(Value::String(text)) = item.get_mut(&field).map(Value::take)
        {
            let text_size = text_size(&item, self.size);
            // What is not longer than a slice is one, whatever stands beside it.
            if slices::tokens(&text) > u64::from(text_size.tokens) {
                return self
                    .split(item, &field, &Text::Whole(&text), text_size)
                    .await;
            }
            if let Some(value) = item.get_mut(&field) {
                *value = Value::String(text);
            }
        }
        let most = self.runtime.stage.chunk.most_items() as usize;
        if self.weight + weight > room || self.group.len() >= most {
            self.close_group().await?;
        }
        self.group.push(item);
        self.weight += weight;
        self.next += 1;
        // Its task is counted as soon as its items are, so that no turn takes in more than it can write.
        if self.weight >= room {
            self.close_group().await?;
        }
        Ok(())
    }

    /// An item whose text is stored in parts.
    async fn document(&mut self, item: Value, text: &Text<'_>) -> Result<(), AppError> {
        let size = text_size(&item, self.size);
        self.split(item, "text", text, size).await
    }

    async fn close_group(&mut self) -> Result<(), AppError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        self.weight = 0;
        self.push(&group, None).await
    }

    async fn push(&mut self, items: &[Value], document: Option<&str>) -> Result<(), AppError> {
        let row = new_task(self.app, self.runtime, self.job, RequestMode::FRESH, items).await?;
        self.bytes += to_json(&row).len();
        if let Some(document) = document {
            let before = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
            self.owned.push(Owned {
                idx: self.first_index.saturating_add(before),
                document: document.to_owned(),
            });
        }
        self.rows.push(row);
        Ok(())
    }

    /// One task for each slice, from where the last turn ended.
    async fn split(
        &mut self,
        item: Value,
        field: &str,
        text: &Text<'_>,
        size: Size,
    ) -> Result<(), AppError> {
        self.close_group().await?;
        if self.full() {
            return Ok(());
        }
        let Value::Object(mut fields) = item else {
            return Ok(());
        };
        fields.shift_remove(field);
        let id = match fields.shift_remove("id") {
            Some(Value::String(id)) => id,
            _ => String::new(),
        };
        let mut within = match self.within.take() {
            Some(within) => within,
            None => Within {
                total: self.count(text, size).await?,
                ..Within::default()
            },
        };
        self.sliced.push(Sliced {
            item: id.clone(),
            slices: within.total,
        });
        let parts = text.count();
        let mut tail = match within.part.checked_sub(1) {
            Some(before) => tail(&self.part(text, before).await?, size),
            None => String::new(),
        };
        while within.part < parts {
            let part = self.part(text, within.part).await?;
            let window = format!("{tail}{part}");
            while let Some(slice) = slices::next(&window, tail.len() + within.at, size) {
                if self.full() {
                    self.within = Some(within);
                    return Ok(());
                }
                let own = window.get(slice.start..slice.end).unwrap_or_default();
                let shown = window.get(slice.from..slice.end).unwrap_or_default();
                let place = Place {
                    number: within.done + 1,
                    of: within.total,
                    section: within.trail.path(own),
                };
                let wire = place.wire(&id, &fields, field, shown);
                self.push(&[wire], Some(&id)).await?;
                within.trail.pass(own);
                within.done += 1;
                within.at = slice.end - tail.len();
            }
            tail = self::tail(&part, size);
            within.part += 1;
            within.at = 0;
        }
        self.next += 1;
        Ok(())
    }

    /// How many slices a text has: cut once for nothing else, so that each can say which of how many it is.
    async fn count(&self, text: &Text<'_>, size: Size) -> Result<u32, AppError> {
        let mut total = 0_usize;
        let mut tail = String::new();
        for number in 0..text.count() {
            let part = self.part(text, number).await?;
            let window = format!("{tail}{part}");
            let mut at = tail.len();
            while let Some(slice) = slices::next(&window, at, size) {
                at = slice.end;
                total += 1;
            }
            tail = self::tail(&part, size);
        }
        Ok(u32::try_from(total).unwrap_or(u32::MAX))
    }

    async fn part(&self, text: &Text<'_>, number: u32) -> Result<String, AppError> {
        let keys = match text {
            Text::Whole(text) => return Ok((*text).to_owned()),
            Text::Parts(keys) => keys,
        };
        let key = keys.get(number as usize).cloned().unwrap_or_default();
        let body = Body {
            inline: None,
            blob: Some(key),
        };
        Ok(blobs::text(self.app, &body).await?.unwrap_or_default())
    }
}

impl Text<'_> {
    fn count(&self) -> u32 {
        match self {
            Text::Whole(_) => 1,
            Text::Parts(keys) => u32::try_from(keys.len()).unwrap_or(u32::MAX),
        }
    }
}

/// Which slice of how many, and under which headings.
pub struct Place {
    pub number: u32,
    pub of: u32,
    pub section: Option<String>,
}

impl Place {
    /// A slice as its worker sees it: the document's other fields stay with it, and win over ours of the same name.
    pub fn wire(
        &self,
        document: &str,
        fields: &Map<String, Value>,
        field: &str,
        text: &str,
    ) -> Value {
        let mut wire = Map::with_capacity(fields.len() + 4);
        wire.insert("id".into(), json!(slice_id(document, self.number)));
        wire.insert(
            "slice".into(),
            json!(format!("{} of {}", self.number, self.of)),
        );
        if let Some(section) = &self.section {
            wire.insert("section".into(), json!(section));
        }
        wire.extend(fields.clone());
        wire.insert(field.to_owned(), json!(text));
        Value::Object(wire)
    }
}

/// The slices of a text that is at hand, as their workers see them; empty where it fits one chunk.
pub fn of_text(item: &Value, size: Size) -> Vec<Value> {
    let Some(text) = item.get("text").and_then(Value::as_str) else {
        return Vec::new();
    };
    if slices::tokens(&item.to_string()) <= u64::from(size.tokens) {
        return Vec::new();
    }
    let mut fields = item.as_object().cloned().unwrap_or_default();
    fields.shift_remove("text");
    let size = text_size(&Value::Object(fields.clone()), size);
    let id = fields.shift_remove("id");
    let id = id.as_ref().and_then(Value::as_str).unwrap_or_default();
    let all: Vec<slices::Slice> = slices::slices(text, size).collect();
    if all.len() < 2 {
        return Vec::new();
    }
    let mut trail = Trail::default();
    (1..)
        .zip(&all)
        .map(|(number, slice)| {
            let own = text.get(slice.start..slice.end).unwrap_or_default();
            let shown = text.get(slice.from..slice.end).unwrap_or_default();
            let place = Place {
                number,
                of: u32::try_from(all.len()).unwrap_or(u32::MAX),
                section: trail.path(own),
            };
            trail.pass(own);
            place.wire(id, &fields, "text", shown)
        })
        .collect()
}

/// The field that is split: `text`, else the longest string, where what stands beside it leaves half of the room.
fn long_field(item: &Value, room: u64) -> Option<String> {
    let fields = item.as_object()?;
    let strings = fields.iter().filter_map(|(name, value)| {
        let text = value.as_str().filter(|_| name != "id")?;
        Some((name, text.len()))
    });
    let (long, _) = strings.max_by_key(|(name, len)| (*name == "text", *len))?;
    let others = fields.iter().filter(|(name, _)| *name != long);
    let others: u64 = others
        .map(|(name, value)| slices::tokens(name) + slices::tokens(&value.to_string()))
        .sum();
    (others * 2 <= room).then(|| long.clone())
}

/// What a slice of the text may have, beside the item's other fields, which each slice repeats.
fn text_size(item: &Value, size: Size) -> Size {
    let others = slices::tokens(&item.to_string()) + PLACE_TOKENS;
    let half = size.tokens / 2;
    let others = u32::try_from(others).unwrap_or(u32::MAX).min(half);
    Size {
        tokens: (size.tokens - others).max(slices::LEAST_TOKENS),
        overlap: size.overlap,
    }
}

/// The end of a part, from which the next one's first slice takes its overlap. A token has at most four bytes.
fn tail(part: &str, size: Size) -> String {
    let from = part.len().saturating_sub(size.overlap as usize * 4);
    part.get(part.ceil_char_boundary(from)..)
        .unwrap_or_default()
        .to_owned()
}
