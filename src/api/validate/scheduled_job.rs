//! The job of a schedule: the body of a submit with the input that was fetched for it.

use serde_json::{Value, json};

use super::rows::{Lines, Row, Text};
use super::submit_body;
use super::table::Csv;
use crate::api::http::problem::{ApiError, MAX_LISTED};
use crate::app::submit::Submit;
use crate::app::submit::schedules::Fetched;
use crate::config::{Caps, Config};
use crate::core::schedule::InputFormat;

/// The body of a submit with the input that was fetched for it, checked like any other.
pub fn read_job(
    mut job: Value,
    fetched: Option<Fetched>,
    config: &Config,
) -> Result<Submit, Vec<(String, String)>> {
    let mut blank_rows = 0;
    if let (Some(fetched), Some(map)) = (fetched, job.as_object_mut()) {
        if map.get("input").is_some_and(|input| !input.is_null()) {
            let message = "must be left out: it comes from `input_url`";
            return Err(vec![("input".to_owned(), message.to_owned())]);
        }
        let (input, blank) = input(fetched, &config.caps)?;
        map.insert("input".to_owned(), input);
        blank_rows = blank;
    }
    let submit = submit_body::check(job, config).map_err(ApiError::into_faults)?;
    Ok(Submit {
        blank_rows,
        ..submit
    })
}

/// A file as the `input` of a submit, and how many blank rows it has; what is wrong with its rows is told by their lines.
fn input(fetched: Fetched, caps: &Caps) -> Result<(Value, u64), Vec<(String, String)>> {
    // Quotes and escapes may double what an item's bytes are in a file.
    let most = caps.item_bytes as usize * 2;
    let mut rows = match fetched.format {
        InputFormat::Csv => Rows::Csv(Box::new(Csv::new(most))),
        InputFormat::Jsonl => Rows::Lines(Lines::new(most)),
        InputFormat::Text => {
            let mut reader = Text::default();
            let text = reader
                .push(&fetched.bytes)
                .and_then(|text| Ok(text + &reader.finish()?));
            let text = text.map_err(|problem| vec![("input".to_owned(), problem)])?;
            return Ok((json!({"text": text}), 0));
        }
    };
    let mut found = Found {
        most: caps.items as usize,
        items: Vec::new(),
        faults: Vec::new(),
    };
    // In pieces: a row takes many times its bytes as a value, and a file with too many of them must not become values.
    let mut read = Vec::new();
    for piece in fetched.bytes.chunks(PIECE_BYTES) {
        rows.push(piece, &mut read);
        if found.is_full(&mut read) {
            return Err(found.faults);
        }
    }
    rows.finish(&mut read);
    if found.is_full(&mut read) || !found.faults.is_empty() {
        return Err(found.faults);
    }
    let blank_rows = match &rows {
        Rows::Csv(csv) => csv.blank_rows,
        Rows::Lines(_) => 0,
    };
    Ok((json!({"items": found.items}), blank_rows))
}

/// Bytes of a file that are read at a time.
const PIECE_BYTES: usize = 65_536;

enum Rows {
    Csv(Box<Csv>),
    Lines(Lines),
}

impl Rows {
    fn push(&mut self, bytes: &[u8], rows: &mut Vec<Row>) {
        match self {
            Rows::Csv(csv) => csv.push(bytes, rows),
            Rows::Lines(lines) => lines.push(bytes, rows),
        }
    }

    fn finish(&mut self, rows: &mut Vec<Row>) {
        match self {
            Rows::Csv(csv) => csv.finish(rows),
            Rows::Lines(lines) => lines.finish(rows),
        }
    }
}

/// The rows of a file that were read so far.
struct Found {
    most: usize,
    items: Vec<Value>,
    faults: Vec<(String, String)>,
}

impl Found {
    /// Takes rows in; whether no more are wanted.
    fn is_full(&mut self, rows: &mut Vec<Row>) -> bool {
        for row in rows.drain(..) {
            let here = row.path();
            match row.value {
                _ if self.faults.len() >= MAX_LISTED => return true,
                Ok(_) if self.items.len() == self.most => {
                    let message = format!("has more than {} items (MAX_ITEMS)", self.most);
                    self.faults.push(("input".to_owned(), message));
                    return true;
                }
                Ok(item) => self.items.push(item),
                Err(problem) => self.faults.push((here, problem)),
            }
        }
        false
    }
}
