//! Input while it comes in: item by item onto pages, page by page into the blob store, so that what is held of it at a
//! time is a few pages, however large it is.
//!
//! Small input stays in memory until its job is inserted. From the first blob on, a removal stands for what is stored: an
//! intake that is never finished is taken away by the sweep.

use serde_json::{Map, Value};

use crate::app::support::blobs::{job_prefix, sha256_hex};
use crate::app::{App, AppError};
use crate::core::estimate::profile::{Profile, Profiler};
use crate::core::plan::spec::Item;
use crate::core::text::slices;
use crate::core::text::slices::Size;
use crate::ports::{Blobs, Clock, Db, Ports, Statement};
use crate::store::job::input_pages;
use crate::store::job::input_pages::NewPart;
use crate::store::job::jobs::NewPage;

/// Up to here the input of a job stands in the database, in pages of `inline_bytes`: all of them go in as one bound
/// text of at most 2 MB, and escaping may double it.
const INLINE_INPUT: usize = 400_000;
/// Above, in blobs of this size: a slice of expansion reads one or two of them.
const BLOB_PAGE: usize = 1_000_000;
/// A text longer than this is stored in parts. A token is estimated at no more than four bytes, so no part is longer.
const PART_BYTES: usize = 1_000_000;
const PART: Size = Size {
    tokens: 250_000,
    overlap: 0,
};
/// Characters of a text in parts that its profile may show.
const HEAD_CHARS: usize = 2_000;
/// Blobs stored at a time: six connections may wait in one invocation, more would only queue.
const PUTS: usize = 6;
/// An intake that is not finished after so long is given up: nobody uploads 100 MB for an hour.
const PATIENCE_MS: i64 = 3_600_000;

/// The input of a job that is not there yet.
pub struct Intake<P: Ports> {
    app: App<P>,
    tenant: String,
    job: String,
    /// Items taken so far.
    pub items: u32,
    /// Rows of a table that were passed over on the way.
    pub blank_rows: u64,
    /// Bytes on closed pages.
    bytes: usize,
    /// The page that is being filled: a JSON array without its end, and how many items it has.
    page: String,
    on_page: u32,
    pages: Vec<NewPage>,
    parts: Vec<NewPart>,
    blobs: Vec<(String, String)>,
    /// A removal stands for the blobs.
    begun: bool,
    /// Of the text that is coming: what no part has yet, and how many parts there are.
    text: String,
    parts_of_text: u32,
    /// Of that text: bytes in parts, and how it begins.
    text_bytes: u64,
    head: String,
    profiler: Profiler,
    /// A field that no item has had so far.
    lacking: Option<String>,
}

impl<P: Ports> Intake<P> {
    /// `wanted` is a field that some item should have.
    pub fn new(
        app: &App<P>,
        tenant: &str,
        job: &str,
        profiler: Profiler,
        wanted: Option<String>,
    ) -> Intake<P> {
        Intake {
            lacking: wanted,
            app: app.clone(),
            tenant: tenant.to_owned(),
            job: job.to_owned(),
            items: 0,
            blank_rows: 0,
            bytes: 0,
            page: String::new(),
            on_page: 0,
            pages: Vec::new(),
            parts: Vec::new(),
            blobs: Vec::new(),
            begun: false,
            text: String::new(),
            parts_of_text: 0,
            text_bytes: 0,
            head: String::new(),
            profiler,
        }
    }

    /// Takes an item as it is.
    pub async fn add(&mut self, item: Item) -> Result<(), AppError> {
        let item = item.into_wire();
        let text = item.to_string();
        let has = |field: &String| item.get(field).is_some_and(|value| !value.is_null());
        self.lacking = self.lacking.take().filter(|field| !has(field));
        self.profile_item(item, text.len() as u64);
        // With the comma before it and the bracket after it.
        if self.on_page > 0 && self.page.len() + text.len() + 2 > self.page_bytes() {
            self.close_page().await?;
        }
        self.page.push(if self.on_page == 0 { '[' } else { ',' });
        self.page.push_str(&text);
        self.on_page += 1;
        self.items = self.items.saturating_add(1);
        Ok(())
    }

    /// What stands in parts counts too; of its text the profile sees how it begins.
    fn profile_item(&mut self, mut item: Value, bytes: u64) {
        let apart = std::mem::take(&mut self.text_bytes);
        let head = std::mem::take(&mut self.head);
        if apart > 0
            && let Value::Object(fields) = &mut item
        {
            fields.insert("text".to_owned(), Value::String(head));
        }
        self.profiler.add(&item, bytes.saturating_add(apart));
    }

    /// The field that some item should have and none has had so far.
    pub fn lacking(&self) -> Option<&str> {
        self.lacking.as_deref()
    }

    /// What is known of the items so far.
    pub fn profile(&self) -> Profile {
        self.profiler.clone().finish()
    }

    /// Takes a document of any length, whose text comes first.
    pub async fn add_document(&mut self, mut item: Item) -> Result<(), AppError> {
        if let Some(Value::String(text)) = item.fields.shift_remove("text") {
            self.add_text(&text).await?;
        }
        self.end_text(item.id, item.fields).await
    }

    /// More of the text of the document that [`Intake::end_text`] will name.
    pub async fn add_text(&mut self, text: &str) -> Result<(), AppError> {
        let mut rest = text;
        while !rest.is_empty() {
            let room = (2 * PART_BYTES).saturating_sub(self.text.len()).max(4);
            let (now, later) = rest.split_at(rest.floor_char_boundary(room));
            self.text.push_str(now);
            rest = later;
            while self.text.len() > PART_BYTES {
                let end = slices::next(&self.text, 0, PART).map_or(0, |part| part.end);
                let later = self.text.split_off(end);
                let part = std::mem::replace(&mut self.text, later);
                self.add_part(part).await?;
            }
        }
        Ok(())
    }

    /// The document whose text came is this.
    pub async fn end_text(
        &mut self,
        id: String,
        mut fields: Map<String, Value>,
    ) -> Result<(), AppError> {
        let text = std::mem::take(&mut self.text);
        if self.parts_of_text == 0 {
            fields.insert("text".to_owned(), Value::String(text));
        } else if !text.is_empty() {
            self.add_part(text).await?;
        }
        self.parts_of_text = 0;
        self.add(Item { id, fields }).await
    }

    async fn add_part(&mut self, text: String) -> Result<(), AppError> {
        if self.parts_of_text == 0 {
            self.head = text.chars().take(HEAD_CHARS).collect();
        }
        self.text_bytes += text.len() as u64;
        let blob = self.blob(text);
        self.parts.push(NewPart {
            item: self.items,
            n: self.parts_of_text,
            blob,
        });
        self.parts_of_text += 1;
        self.put_if_many().await
    }

    fn page_bytes(&self) -> usize {
        if self.bytes + self.page.len() > INLINE_INPUT {
            BLOB_PAGE
        } else {
            self.app.config.inline_bytes
        }
    }

    async fn close_page(&mut self) -> Result<(), AppError> {
        if self.on_page == 0 {
            return Ok(());
        }
        let mut page = std::mem::take(&mut self.page);
        page.push(']');
        let count = std::mem::take(&mut self.on_page);
        self.bytes += page.len();
        let (body, blob) = self.keep(page);
        self.pages.push(NewPage {
            first: self.items.saturating_sub(count),
            count,
            body,
            blob,
        });
        self.put_if_many().await
    }

    /// A text inline, or on its way to the blob store: `(inline, blob)`.
    fn keep(&mut self, text: String) -> (Option<String>, Option<String>) {
        if text.len() <= self.app.config.inline_bytes && self.bytes <= INLINE_INPUT {
            return (Some(text), None);
        }
        (None, Some(self.blob(text)))
    }

    /// Puts a text among those to be stored, and answers with its key.
    fn blob(&mut self, text: String) -> String {
        let hash = sha256_hex(text.as_bytes());
        let key = format!("{}/{hash}", job_prefix(&self.job));
        self.blobs.push((key.clone(), text));
        key
    }

    async fn put_if_many(&mut self) -> Result<(), AppError> {
        if self.blobs.len() < PUTS {
            return Ok(());
        }
        self.put_all().await
    }

    /// Stores the blobs side by side and lets go of them.
    async fn put_all(&mut self) -> Result<(), AppError> {
        if self.blobs.is_empty() {
            return Ok(());
        }
        if !self.begun {
            let now = self.app.ports.clock().now_ms();
            let until = now.saturating_add(PATIENCE_MS);
            let begin = input_pages::begin(&self.job, &self.tenant, now, until);
            self.app.ports.db().batch(vec![begin]).await?;
            self.begun = true;
        }
        let puts = self
            .blobs
            .drain(..)
            .map(|(key, body)| self.app.ports.blobs().put(key, body));
        for put in futures::future::join_all(puts).await {
            put.map_err(|error| AppError::Unavailable(error.to_string()))?;
        }
        Ok(())
    }

    /// Stores what is left. Answers with the pages, and the statements that make all of it the job's, to go into the
    /// batch that inserts it.
    pub async fn finish(&mut self) -> Result<(Vec<NewPage>, Vec<Statement>), AppError> {
        self.close_page().await?;
        self.put_all().await?;
        let mut statements = Vec::new();
        if self.begun {
            statements.extend(input_pages::end(&self.job, self.app.ports.clock().now_ms()));
        }
        let parts = std::mem::take(&mut self.parts);
        statements.extend(input_pages::insert_parts(&self.job, &parts));
        Ok((std::mem::take(&mut self.pages), statements))
    }

    /// Nothing will come of it. Without this the sweep finds out later.
    pub async fn abandon(&mut self) {
        if self.begun {
            let now = self.app.ports.clock().now_ms();
            let abandon = input_pages::abandon(&self.job, now);
            if let Err(error) = self.app.ports.db().batch(vec![abandon]).await {
                self.app.log_fault("abandon_intake", &error.to_string());
            }
        }
    }
}
