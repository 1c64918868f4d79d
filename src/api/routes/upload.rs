//! `POST /v1/jobs` as `multipart/form-data`: the plan in a part `spec`, then a file in a part `input`, taken in row by row.
//!
//! The same faults are told as of a JSON body, those of rows by their line (`input line 17`). Nothing of the file is held
//! but the row that is being read and the page that is being filled; what was stored of a file with a fault is taken away.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures::{Stream, StreamExt};
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::api::http::body;
use crate::api::http::idempotency::hex;
use crate::api::http::problem::{ApiError, Faults};
use crate::api::validate::documents::TEXT_ID;
use crate::api::validate::entry::default_id;
use crate::api::validate::items::read_one;
use crate::api::validate::rows::{Lines, Row, Text};
use crate::api::validate::submit_body::{PLAN_BYTES, plan, splits};
use crate::api::validate::table::Csv;
use crate::app::submit::input_pages::Intake;
use crate::app::submit::{Owner, Submitted};
use crate::app::{App, submit};
use crate::config::Caps;
use crate::core::plan::spec::{InputKind, Item};
use crate::ports::Ports;

/// A job whose input is a file.
// Never built: its form is for the document alone, its parts are read as they come.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Upload {
    /// The JSON of a submit without its `input`. It must come before the file.
    #[schema(value_type = Object)]
    spec: Value,
    /// `text/csv` with a header (each row is an item, its columns the fields, `id` the id; commas, semicolons or tabs between
    /// columns; blank rows are passed over), `application/x-ndjson` (each line is an item), or `text/plain` (one document with
    /// the id `text`), in UTF-8 or UTF-16.
    #[schema(value_type = String, format = Binary)]
    input: Vec<u8>,
}

/// Whether a body comes in parts; without a boundary between them it does not.
pub fn is_multipart(headers: &HeaderMap) -> bool {
    multer::parse_boundary(content_type(headers)).is_ok()
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE);
    value.and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// Takes a job in as it comes.
pub async fn submit<P: Ports>(
    app: &App<P>,
    owner: Owner<'_>,
    headers: &HeaderMap,
    body: Body,
    key: Option<String>,
) -> Result<Submitted, ApiError> {
    let cap = app.config.caps.upload_bytes;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > cap) {
        return Err(ApiError::too_large(cap, Some("MAX_UPLOAD_BYTES")));
    }
    let boundary = multer::parse_boundary(content_type(headers))
        .map_err(|_| ApiError::fault("content-type", "names no boundary"))?;
    if boundary.len() > BOUNDARY_BYTES {
        let message = format!("names a boundary of more than {BOUNDARY_BYTES} characters");
        return Err(ApiError::fault("content-type", message));
    }
    let limits = SizeLimit::new()
        .whole_stream(cap)
        .for_field("spec", PLAN_BYTES);
    let constraints = Constraints::new().size_limit(limits);
    let head = Arc::new(AtomicUsize::new(HEAD_BYTES));
    let paced = Paced {
        stream: body.into_data_stream(),
        given: false,
        head: Arc::clone(&head),
    };
    let mut parts = Multipart::with_constraints(paced, boundary, constraints);
    let refused = |error| refused(error, cap);

    let mut hash = Sha256::new();
    let mut spec = None;
    loop {
        head.store(HEAD_BYTES, Ordering::Relaxed);
        let Some(part) = parts.next_field().await.map_err(refused)? else {
            break;
        };
        head.store(usize::MAX, Ordering::Relaxed);
        match (part.name().unwrap_or_default(), &spec) {
            ("spec", None) => {
                let bytes = part.bytes().await.map_err(refused)?;
                hash.update(&bytes);
                spec = Some(body::parse(&bytes)?);
            }
            ("spec", Some(_)) => return Err(ApiError::fault("spec", "is there twice")),
            ("input", None) => {
                return Err(ApiError::fault("spec", "must come before the part `input`"));
            }
            ("input", Some(_)) => {
                let spec = spec.take().unwrap_or_default();
                let draft = File::read(app, owner, spec, part, &mut hash, cap).await?;
                drop(parts);
                let idempotency = key.map(|key| (key, hex(&hash.finalize())));
                return Ok(submit::finish(app, draft, idempotency).await?);
            }
            (name, _) => {
                let path = if name.is_empty() { "body" } else { name };
                return Err(ApiError::fault(
                    path,
                    "is not a known part; there are `spec` and `input`",
                ));
            }
        }
    }
    let missing = if spec.is_none() { "spec" } else { "input" };
    Err(ApiError::fault(
        missing,
        "is required, as a part of the body",
    ))
}

fn refused(error: multer::Error, cap: u64) -> ApiError {
    match error {
        multer::Error::StreamSizeExceeded { .. } => {
            ApiError::too_large(cap, Some("MAX_UPLOAD_BYTES"))
        }
        multer::Error::FieldSizeExceeded { .. } => {
            ApiError::fault("spec", format!("has more than {PLAN_BYTES} bytes"))
        }
        multer::Error::StreamReadFailed(source) if source.is::<LongHead>() => {
            ApiError::fault("body", format!("is not multipart/form-data: {source}"))
        }
        error => ApiError::fault("body", format!("is not multipart/form-data: {error}")),
    }
}

/// The longest boundary that RFC 2046 allows.
const BOUNDARY_BYTES: usize = 70;
/// Bytes before the first part, and in the headers of each. The parser searches all of them again whenever more come, so its
/// work grows with their square.
const HEAD_BYTES: usize = 16_384;

#[derive(Debug, thiserror::Error)]
#[error("more than {HEAD_BYTES} bytes come before the content of a part")]
struct LongHead;

/// A body, one piece at a time: the parser would take in all that is there before it looks at any of it.
struct Paced<S> {
    stream: S,
    /// The last poll gave a piece.
    given: bool,
    /// Bytes that may still come before the content of the next part; within a part there is no such bound.
    head: Arc<AtomicUsize>,
}

impl<S, E> Stream for Paced<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = self.head.load(Ordering::Relaxed);
        if room == 0 {
            return Poll::Ready(Some(Err(Box::new(LongHead))));
        }
        let polled = self.stream.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.given = true;
            if room != usize::MAX {
                let room = room.saturating_sub(bytes.len());
                self.head.store(room, Ordering::Relaxed);
            }
        }
        polled.map(|piece| piece.map(|piece| piece.map_err(Into::into)))
    }
}

/// What the rows of a file become.
enum Rows {
    Csv(Box<Csv>),
    Lines(Lines),
    Text(Text),
}

impl Rows {
    /// By the type of the part.
    fn of(part: &Field<'_>, caps: &Caps) -> Result<Rows, ApiError> {
        // Quotes and escapes may double what an item's bytes are in a file.
        let row = caps.item_bytes as usize * 2;
        let essence = part
            .content_type()
            .map(|kind| kind.essence_str().to_owned());
        match essence.as_deref() {
            Some("text/csv") => Ok(Rows::Csv(Box::new(Csv::new(row)))),
            Some("application/x-ndjson" | "application/jsonl") => Ok(Rows::Lines(Lines::new(row))),
            Some("text/plain") => Ok(Rows::Text(Text::default())),
            // The body's own type is right: which of its parts is not must be named.
            _ => {
                let mut faults = Faults::default();
                faults.add(
                    "input",
                    "must have the content type text/csv, application/x-ndjson or text/plain",
                );
                Err(ApiError::invalid(faults))
            }
        }
    }

    fn kind(&self) -> InputKind {
        match self {
            Rows::Text(_) => InputKind::Documents,
            Rows::Csv(_) | Rows::Lines(_) => InputKind::Items,
        }
    }
}

/// A file while it is read.
struct File<'a, P: Ports> {
    caps: &'a Caps,
    splits: bool,
    intake: &'a mut Intake<P>,
    faults: Faults,
    /// Where each id stands, by its hash: for 100,000 of them a few megabytes. Two ids of one hash among so many are less
    /// likely than a broken disk.
    ids: HashMap<u64, u64>,
    rows: u32,
    /// Some text that is not blank has come.
    text: bool,
}

impl<'a, P: Ports> File<'a, P> {
    /// Checks the plan, then takes in the file.
    async fn read(
        app: &'a App<P>,
        owner: Owner<'_>,
        spec: Value,
        mut part: Field<'_>,
        hash: &mut Sha256,
        cap: u64,
    ) -> Result<submit::Draft<P>, ApiError> {
        let config = &app.config;
        let mut rows = Rows::of(&part, &config.caps)?;
        let essence = part
            .content_type()
            .map(|kind| kind.essence_str().to_owned());
        hash.update([0]);
        hash.update(essence.unwrap_or_default());
        hash.update([0]);
        let mut faults = Faults::default();
        let mut spec = spec;
        let mut may_split = false;
        if let Some(map) = spec.as_object_mut() {
            if map.get("input").is_some_and(|input| !input.is_null()) {
                faults.add(
                    "spec.input",
                    "must be left out: the input is a part of its own",
                );
            }
            // Where the document of a submit says `input`, here nothing need be said.
            map.insert("input".to_owned(), Value::Null);
            may_split = splits(map);
        }
        let plan = plan(spec, rows.kind(), config, faults)?;
        let mut draft = submit::begin(app, owner, plan).await?;
        let mut file = File {
            caps: &config.caps,
            splits: may_split,
            intake: &mut draft.intake,
            faults: Faults::default(),
            ids: HashMap::new(),
            rows: 0,
            text: false,
        };
        let read = file.take_in(&mut part, &mut rows, hash, cap).await;
        let outcome = read.and_then(|()| std::mem::take(&mut file.faults).into_result());
        match outcome {
            Ok(()) => Ok(draft),
            Err(error) => {
                draft.intake.abandon().await;
                Err(error)
            }
        }
    }

    async fn take_in(
        &mut self,
        part: &mut Field<'_>,
        rows: &mut Rows,
        hash: &mut Sha256,
        cap: u64,
    ) -> Result<(), ApiError> {
        let mut read = Vec::new();
        while let Some(bytes) = part.chunk().await.map_err(|error| refused(error, cap))? {
            hash.update(&bytes);
            match rows {
                Rows::Csv(csv) => csv.push(&bytes, &mut read),
                Rows::Lines(lines) => lines.push(&bytes, &mut read),
                Rows::Text(text) => match text.push(&bytes) {
                    Ok(text) => {
                        self.text |= !text.trim().is_empty();
                        self.intake.add_text(&text).await?;
                    }
                    Err(problem) => {
                        self.faults.add("input", problem);
                        return Ok(());
                    }
                },
            }
            for row in read.drain(..) {
                self.row(row).await?;
            }
            let broken = match rows {
                Rows::Csv(csv) => csv.is_broken(),
                Rows::Lines(lines) => lines.is_broken(),
                Rows::Text(_) => false,
            };
            if broken || self.faults.is_full() || self.rows > self.caps.items {
                return Ok(());
            }
        }
        match rows {
            Rows::Csv(csv) => csv.finish(&mut read),
            Rows::Lines(lines) => lines.finish(&mut read),
            Rows::Text(text) => {
                match text.finish() {
                    Ok(rest) => {
                        self.text |= !rest.trim().is_empty();
                        self.intake.add_text(&rest).await?;
                    }
                    Err(problem) => {
                        self.faults.add("input", problem);
                        return Ok(());
                    }
                }
                if self.text {
                    let id = TEXT_ID.to_owned();
                    self.intake.end_text(id, Map::new()).await?;
                } else {
                    self.faults.add("input", "is empty");
                }
                return Ok(());
            }
        }
        for row in read {
            self.row(row).await?;
        }
        if let Rows::Csv(csv) = rows {
            self.intake.blank_rows = csv.blank_rows;
        }
        if self.rows == 0 && self.faults.is_empty() {
            let message = match rows {
                Rows::Csv(_) => "holds no items: the first line of CSV is its header",
                Rows::Lines(_) | Rows::Text(_) => "holds no items",
            };
            self.faults.add("input", message);
        }
        Ok(())
    }

    async fn row(&mut self, row: Row) -> Result<(), ApiError> {
        let position = self.rows;
        self.rows = self.rows.saturating_add(1);
        if position == self.caps.items {
            let message = format!("has more than {position} items (MAX_ITEMS)");
            self.faults.add("input", message);
        }
        if position >= self.caps.items {
            return Ok(());
        }
        let here = row.path();
        let value = match row.value {
            Ok(value) => value,
            Err(problem) => {
                self.faults.add(here, problem);
                return Ok(());
            }
        };
        let Some((id, fields)) = read_one(&here, value, self.caps, self.splits, &mut self.faults)
        else {
            return Ok(());
        };
        let id = id.unwrap_or_else(|| default_id(position as usize));
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        if let Some(first) = self.ids.insert(hasher.finish(), row.line) {
            let id = Value::String(id);
            self.faults.add(
                format_args!("{here}.id"),
                format!("the id {id} is that of line {first} too (an item without an id has `item-N` by its place)"),
            );
            return Ok(());
        }
        // Once something is wrong, only faults are still looked for.
        if self.faults.is_empty() {
            self.intake.add(Item { id, fields }).await?;
        }
        Ok(())
    }
}
