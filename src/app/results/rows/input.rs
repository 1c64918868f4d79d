//! A job's input from its first item to its last: one page is held at a time, and one item of it is taken apart at a time.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::plan::spec::InputKind;
use crate::ports::Ports;
use crate::store::job::jobs;
use crate::store::row::Columns as _;
use crate::store::task::admission::Body;

/// Items in one window, and the bytes after which it takes no further one.
const WINDOW_ITEMS: usize = 1_000;
const WINDOW_BYTES: usize = 400_000;

/// Reads items in their order.
#[derive(Debug, Default)]
pub struct Reader {
    /// Position of the next item.
    next: u32,
    /// The page that holds it, as text, and where in it that item begins.
    text: String,
    at: usize,
    /// Position behind the page's last item.
    end: u32,
}

/// An item of the window: its id, and where its JSON stands on the page.
#[derive(Debug, Clone)]
pub struct Place {
    pub id: String,
    pub json: Range<usize>,
}

impl Reader {
    /// The next items, all of one page; none behind the last. Where it fails, the same may be asked for again.
    pub async fn window<P: Ports>(
        &mut self,
        app: &App<P>,
        job: &str,
    ) -> Result<Vec<Place>, AppError> {
        if self.next >= self.end && !self.turn(app, job).await? {
            return Ok(Vec::new());
        }
        let mut places = Vec::new();
        let begin = self.at;
        while self.next < self.end
            && places.len() < WINDOW_ITEMS
            && self.at.saturating_sub(begin) < WINDOW_BYTES
        {
            let Some((item, json)) = self.item()? else {
                // A page with fewer items than its row says.
                self.next = self.end;
                break;
            };
            let id = match item.get("id") {
                Some(Value::String(id)) => id.clone(),
                _ => String::new(),
            };
            places.push(Place { id, json });
            self.next += 1;
        }
        Ok(places)
    }

    /// The item that stands there, while its page is held.
    pub fn fields(&self, place: &Place, kind: InputKind) -> Map<String, Value> {
        let text = self.text.get(place.json.clone()).unwrap_or_default();
        let mut fields: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        fields.shift_remove("id");
        if kind == InputKind::Documents {
            fields.shift_remove("text");
        }
        fields
    }

    async fn turn<P: Ports>(&mut self, app: &App<P>, job: &str) -> Result<bool, AppError> {
        let read = jobs::pages(job, self.next, self.next.saturating_add(1));
        let rows = db::rows(app, read).await?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
        self.text = text.unwrap_or_default();
        self.at = 0;
        self.end = row.count("first").saturating_add(row.count("count"));
        Ok(self.next < self.end)
    }

    /// The item at `at`, behind the bracket or comma there.
    fn item(&mut self) -> Result<Option<(Value, Range<usize>)>, AppError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches(['[', ',', ' ', '\n']);
        if trimmed.is_empty() || trimmed.starts_with(']') {
            return Ok(None);
        }
        let begin = self.at + (rest.len() - trimmed.len());
        let mut items = serde_json::Deserializer::from_str(trimmed).into_iter::<Value>();
        let item = items
            .next()
            .transpose()
            .map_err(|_| AppError::Internal("a page of input is not readable".into()))?;
        self.at = begin + items.byte_offset();
        Ok(item.map(|item| (item, begin..self.at)))
    }
}

/// Names of fields, in the order in which they first occur, and those inside of them.
#[derive(Debug, Default)]
pub struct Names {
    list: Vec<(String, Names)>,
    at: HashMap<String, usize>,
    /// Some item has a value here that is no object.
    plain: bool,
}

/// Columns of a table: a spreadsheet has 16,384.
const MOST_NAMES: usize = 16_000;

impl Names {
    /// Takes the names of an object, with those of the objects in it where they are to be `deep`. False once there are too many.
    fn add(&mut self, fields: &Map<String, Value>, deep: bool, left: &mut usize) -> bool {
        for (name, value) in fields {
            let at = match self.at.get(name) {
                Some(at) => *at,
                None => {
                    let Some(less) = left.checked_sub(1) else {
                        return false;
                    };
                    *left = less;
                    self.at.insert(name.clone(), self.list.len());
                    self.list.push((name.clone(), Names::default()));
                    self.list.len() - 1
                }
            };
            let Some((_, inside)) = self.list.get_mut(at) else {
                continue;
            };
            match value {
                Value::Object(fields) if deep && !fields.is_empty() => {
                    if !inside.add(fields, deep, left) {
                        return false;
                    }
                }
                Value::Null => {}
                _ => inside.plain = true,
            }
        }
        true
    }

    /// The paths to all values.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.walk(&mut Vec::new(), &mut paths);
        paths
    }

    fn walk(&self, above: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        for (name, inside) in &self.list {
            above.push(name.clone());
            if inside.plain || inside.list.is_empty() {
                paths.push(above.clone());
            }
            inside.walk(above, paths);
            above.pop();
        }
    }
}

/// The fields that items of a job have, without their ids: a table needs them before its first row.
pub async fn names<P: Ports>(
    app: &App<P>,
    job: &str,
    kind: InputKind,
    deep: bool,
) -> Result<Names, AppError> {
    let mut names = Names::default();
    let mut left = MOST_NAMES;
    let mut reader = Reader::default();
    loop {
        let places = reader.window(app, job).await?;
        if places.is_empty() {
            return Ok(names);
        }
        for place in &places {
            if !names.add(&reader.fields(place, kind), deep, &mut left) {
                return Err(AppError::Invalid(vec![(
                    "format".to_owned(),
                    format!(
                        "the items have more than {MOST_NAMES} different fields: no table has so many columns; use `jsonl`"
                    ),
                )]));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(items: &[Value], deep: bool) -> Vec<String> {
        let mut names = Names::default();
        for item in items {
            assert!(names.add(item.as_object().unwrap(), deep, &mut 100));
        }
        names.paths().iter().map(|path| path.join(".")).collect()
    }

    #[test]
    fn columns_stand_in_the_order_in_which_they_first_occur() {
        let items = [
            json!({"b": 1, "a": {"x": 1}}),
            json!({"c": null, "a": {"y": 2}, "b": {}}),
        ];
        assert_eq!(paths(&items, false), ["b", "a", "c"]);
        assert_eq!(paths(&items, true), ["b", "a.x", "a.y", "c"]);
    }

    #[test]
    fn a_field_that_is_sometimes_nested_is_a_column_too() {
        let items = [json!({"a": "plain"}), json!({"a": {"x": [1]}})];
        assert_eq!(paths(&items, true), ["a", "a.x"]);
    }

    #[test]
    fn too_many_names_are_refused() {
        let item = json!({"a": 1, "b": {"c": 1}});
        let mut names = Names::default();
        assert!(!names.add(item.as_object().unwrap(), true, &mut 2));
    }
}
