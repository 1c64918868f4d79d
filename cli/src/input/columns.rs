//! Which column is an item's id and which its text: named by the caller, or found by how columns are called and what is in them.

use std::collections::HashSet;
use std::fmt;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fanwise::api::rows::Lines;
use fanwise::api::table::Csv;
use serde_json::Value;

use crate::args::Reading;
use crate::input::read::{first_line, json, open};
use crate::input::rows::{LONGEST_ROW, cells, each_row};
use crate::spec::Object;
use crate::terminal::output::safe;

/// Names of columns that are texts, in the order of preference.
const TEXTS: [&str; 14] = [
    "text",
    "body",
    "message",
    "content",
    "description",
    "comment",
    "review",
    "feedback",
    "query",
    "question",
    "ticket",
    "note",
    "transcript",
    "summary",
];
/// Endings of names of columns that may be ids.
const IDS: [&str; 5] = ["_id", "-id", " id", "key", "number"];
/// The longest id that the Worker takes.
const LONGEST_ID: usize = 128;

/// How columns are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The column that becomes `id`.
    pub id: Option<String>,
    /// The column that becomes `text`.
    pub text: Option<String>,
    /// Of the others, only these.
    only: Option<Vec<String>>,
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "id: {}", safe(id))?,
            None => write!(f, "id: by place")?,
        }
        if let Some(text) = &self.text {
            write!(f, ", text: {}", safe(text))?;
        }
        match self.only.as_deref() {
            Some([]) | None => Ok(()),
            Some(only) => write!(f, ", with {}", safe(&only.join(", "))),
        }
    }
}

impl Columns {
    pub fn of_csv(
        head: &[u8],
        delimiter: Option<u8>,
        reading: &Reading,
        path: Option<&Path>,
    ) -> Result<Columns> {
        let names = header(head, delimiter).context("the header cannot be read")?;
        let unique = |name: &str| {
            let (Some(path), Some(place)) = (path, names.iter().position(|n| n == name)) else {
                return false;
            };
            let Ok(file) = open(path) else { return false };
            let mut ids = Ids::default();
            let (mut all, mut begun) = (true, false);
            let table = Csv::of_records(LONGEST_ROW, delimiter);
            let read = each_row(BufReader::new(file), table, |_, row| {
                let cells = cells(row);
                // Neither the header nor a blank row is an item.
                let counts = begun && cells.iter().any(|cell| !cell.trim().is_empty());
                begun = true;
                all &= !counts || cells.get(place).is_some_and(|id| ids.add(id.as_bytes()));
                Ok(all)
            });
            read.is_ok() && all
        };
        find(&names, reading, unique)
    }

    pub fn of_jsonl(head: &[u8], reading: &Reading, path: Option<&Path>) -> Result<Columns> {
        let first = std::str::from_utf8(first_line(head)).ok();
        let first: Option<Value> = first.and_then(|line| json(line).ok());
        let unique = |name: &str| {
            let Some(file) = path.and_then(|path| open(path).ok()) else {
                return false;
            };
            let mut ids = Ids::default();
            let mut all = true;
            let lines = Lines::new(LONGEST_ROW);
            let read = each_row(BufReader::new(file), lines, |_, value| {
                all &= ids.add_value(value.get(name));
                Ok(all)
            });
            read.is_ok() && all
        };
        find(&fields(first.as_ref()), reading, unique)
    }

    pub fn of_values(values: &[Value], reading: &Reading) -> Result<Columns> {
        let unique = |name: &str| {
            let mut ids = Ids::default();
            values.iter().all(|value| ids.add_value(value.get(name)))
        };
        find(&fields(values.first()), reading, unique)
    }

    /// What a column is called on its way up; none: it stays behind.
    pub fn sent<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.id.as_deref() == Some(name) {
            return Some("id");
        }
        if self.text.as_deref() == Some(name) {
            return Some("text");
        }
        let kept = |only: &Vec<String>| only.iter().any(|kept| kept == name);
        self.only.as_ref().is_none_or(kept).then_some(name)
    }

    /// An item as it goes up.
    pub fn of_value(&self, value: Value) -> Value {
        let Value::Object(map) = value else {
            return value;
        };
        let fields = map.into_iter().filter_map(|(name, value)| {
            let name = self.sent(&name)?.to_owned();
            // Ids are texts; many files have them as numbers.
            let value = match value {
                Value::Number(number) if name == "id" => Value::String(number.to_string()),
                value => value,
            };
            Some((name, value))
        });
        Value::Object(fields.collect::<Object>())
    }
}

/// Ids while they differ.
#[derive(Default)]
struct Ids(HashSet<Vec<u8>>);

impl Ids {
    fn add(&mut self, id: &[u8]) -> bool {
        (1..=LONGEST_ID).contains(&id.len()) && self.0.insert(id.to_vec())
    }

    fn add_value(&mut self, id: Option<&Value>) -> bool {
        match id {
            Some(Value::String(text)) => self.add(text.as_bytes()),
            Some(Value::Number(number)) => self.add(number.to_string().as_bytes()),
            _ => false,
        }
    }
}

fn fields(value: Option<&Value>) -> Vec<String> {
    let map = value.and_then(Value::as_object);
    map.map(|map| map.keys().cloned().collect())
        .unwrap_or_default()
}

/// The names of the columns.
pub fn header(head: &[u8], delimiter: Option<u8>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    each_row(head, Csv::of_records(LONGEST_ROW, delimiter), |_, row| {
        names = cells(row);
        Ok(false)
    })?;
    if names.is_empty() {
        bail!("it is empty");
    }
    Ok(names.iter().map(|name| name.trim().to_owned()).collect())
}

/// Whether a first line names columns that items have.
pub fn looks_like_a_header(names: &[String]) -> bool {
    let known = |name: &String| {
        let name = name.trim().to_lowercase();
        name == "id" || TEXTS.contains(&name.as_str())
    };
    names.iter().any(known)
}

fn find(names: &[String], reading: &Reading, unique: impl Fn(&str) -> bool) -> Result<Columns> {
    let there = |wanted: &String| names.iter().any(|name| name == wanted);
    let named = [&reading.id, &reading.text].into_iter().flatten();
    let mut named = named.chain(&reading.columns);
    if let Some(wanted) = named.find(|wanted| !there(wanted)) {
        bail!(
            "there is no column {wanted:?}; there are: {}",
            names.join(", ")
        );
    }
    let is = |name: &str, wanted: &str| name.trim().eq_ignore_ascii_case(wanted);
    let id = match &reading.id {
        Some(id) => Some(id.clone()),
        None => names
            .iter()
            .find(|name| name.as_str() == "id")
            .or_else(|| names.iter().find(|name| is(name, "id") && !reading.as_is))
            .or_else(|| {
                let like = |name: &str| IDS.iter().any(|end| name.to_lowercase().ends_with(end));
                let mut candidates = names.iter().filter(|_| !reading.as_is);
                candidates.find(|name| like(name) && unique(name))
            })
            .cloned(),
    };
    let others = || names.iter().filter(|name| Some(*name) != id.as_ref());
    let text = match &reading.text {
        Some(text) => Some(text.clone()),
        None if reading.as_is => None,
        None => TEXTS
            .iter()
            .find_map(|wanted| others().find(|name| is(name, wanted)))
            .or_else(|| others().next().filter(|_| others().count() == 1))
            .cloned(),
    };
    if id.is_some() && id == text {
        bail!("a column cannot be both the id and the text");
    }
    let only = (!reading.columns.is_empty()).then(|| reading.columns.clone());
    let columns = Columns { id, text, only };
    // Two columns must not go up under one name.
    for own in ["id", "text"] {
        let mut sent = names.iter().filter(|name| columns.sent(name) == Some(own));
        if let (Some(first), Some(second)) = (sent.next(), sent.next()) {
            bail!(
                "both {first:?} and {second:?} would be `{own}`; say with --columns which others are sent"
            );
        }
    }
    Ok(columns)
}
