//! Results as a table: its columns, and CSV by RFC 4180.

use std::io;

use csv::{Terminator, WriterBuilder};
use serde_json::{Map, Value};

use super::results_cell::{cell, guarded};
use crate::app::results::rows::Line;
use crate::app::view::RowStatus;
use crate::core::plan::spec::Output;

/// Fields, each as the path to it.
pub type Paths = Vec<Vec<String>>;

/// What a column shows of a line.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    Id,
    Task,
    Ids,
    Group,
    From,
    Input(Vec<String>),
    /// A field of the output; all of it with an empty path.
    Output(Vec<String>),
    Flags,
    Status,
    Reason,
}

/// The columns of one stage's results.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<(String, Source)>,
    /// Values of nested objects have columns of their own.
    flat: bool,
}

/// What is known of a stage's results before the first of them.
#[derive(Debug, Clone)]
pub struct Shape {
    pub output: Output,
    pub grouped: bool,
    /// Lines may be slices of items.
    pub sliced: bool,
    /// The fields of the output; `None` where the schema names none: then the output is one column.
    pub fields: Option<Paths>,
    pub flat: bool,
}

impl Table {
    /// A row for each result.
    pub fn of_results(shape: Shape) -> Table {
        let fixed: &[(&str, Source)] = match (shape.output, shape.grouped) {
            (Output::Item, _) => &[("id", Source::Id), ("task", Source::Task)],
            (Output::Chunk, false) => &[("task", Source::Task), ("ids", Source::Ids)],
            (Output::Chunk, true) => &[
                ("task", Source::Task),
                ("ids", Source::Ids),
                ("group", Source::Group),
            ],
        };
        let mut table = Table {
            flat: shape.flat,
            ..Table::default()
        };
        for (name, source) in fixed {
            table.columns.push(((*name).to_owned(), source.clone()));
        }
        for (name, source) in output_columns(shape.fields) {
            let name = match table.has(&name) {
                true => format!("output.{name}"),
                false => name,
            };
            table.columns.push((name, source));
        }
        table
    }

    /// A row for each item: its fields, then those of its result.
    pub fn of_items(shape: Shape, input: Paths, flags: bool) -> Table {
        let mut table = Table {
            flat: shape.flat,
            ..Table::default()
        };
        table.columns.push(("id".to_owned(), Source::Id));
        for path in input {
            table.add(path.join("."), Source::Input(path));
        }
        for (name, source) in output_columns(shape.fields) {
            table.add(name, source);
        }
        if shape.output == Output::Chunk {
            table.add("task".to_owned(), Source::Task);
        }
        if shape.grouped {
            table.add("group".to_owned(), Source::Group);
        }
        if shape.sliced {
            table.add("from".to_owned(), Source::From);
        }
        if flags {
            table.add("_flags".to_owned(), Source::Flags);
        }
        table.add("_status".to_owned(), Source::Status);
        table.add("_reason".to_owned(), Source::Reason);
        table
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|(taken, _)| taken == name)
    }

    /// A column whose name no other has.
    fn add(&mut self, mut name: String, source: Source) {
        while self.has(&name) {
            name.insert_str(0, "out_");
        }
        self.columns.push((name, source));
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The values of a line, column by column.
    pub fn values<'a>(&'a self, line: &'a Line) -> impl Iterator<Item = Value> + 'a {
        self.columns
            .iter()
            .map(|(_, source)| self.value(source, line))
    }

    fn value(&self, source: &Source, line: &Line) -> Value {
        let found = line.found.as_ref();
        let chunk = found.and_then(|found| found.chunk.as_ref());
        match source {
            Source::Id => line.id.as_str().into(),
            Source::Task => found.map(|found| found.task).into(),
            Source::Ids => chunk.map(|chunk| chunk.ids.clone()).into(),
            Source::Group => chunk.and_then(|chunk| chunk.group.clone()).into(),
            Source::From => line.from.clone().into(),
            Source::Input(path) => self.at(path, line.input.as_ref()),
            Source::Output(path) => match found.map(|found| &found.output) {
                None => Value::Null,
                Some(output) if path.is_empty() => output.clone(),
                Some(output) => self.at(path, output.as_object()),
            },
            Source::Flags => match line.flags.is_empty() {
                true => Value::Null,
                false => line.flags.join(", ").into(),
            },
            Source::Status => status(line).0.as_str().into(),
            Source::Reason => status(line).1.into(),
        }
    }

    /// The value at a path; where objects have columns of their own, nothing for those.
    fn at(&self, path: &[String], fields: Option<&Map<String, Value>>) -> Value {
        let (Some((last, above)), Some(mut fields)) = (path.split_last(), fields) else {
            return Value::Null;
        };
        for name in above {
            match fields.get(name).and_then(Value::as_object) {
                Some(inside) => fields = inside,
                None => return Value::Null,
            }
        }
        match fields.get(last) {
            Some(Value::Object(inside)) if self.flat && self.spreads(path, inside) => Value::Null,
            Some(value) => value.clone(),
            None => Value::Null,
        }
    }

    /// Whether another column begins with this path.
    fn spreads(&self, path: &[String], inside: &Map<String, Value>) -> bool {
        !inside.is_empty()
            && self.columns.iter().any(|(_, source)| match source {
                Source::Input(other) | Source::Output(other) => {
                    other.len() > path.len() && other.starts_with(path)
                }
                _ => false,
            })
    }

    pub fn header(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write(out, [self.names().map(guarded).collect()])
    }

    pub fn rows<'a>(
        &self,
        lines: impl IntoIterator<Item = &'a Line>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let rows = lines
            .into_iter()
            .map(|line| self.values(line).map(|value| cell(&value)).collect());
        write(out, rows)
    }
}

fn output_columns(fields: Option<Paths>) -> Vec<(String, Source)> {
    match fields {
        None => vec![("output".to_owned(), Source::Output(Vec::new()))],
        Some(fields) => fields
            .into_iter()
            .map(|path| (path.join("."), Source::Output(path)))
            .collect(),
    }
}

/// Whether an item has a result, and what is wrong.
pub fn status(line: &Line) -> (RowStatus, Option<String>) {
    match (&line.found, line.flags.is_empty()) {
        (None, _) => (RowStatus::Missing, line.reason.clone()),
        (Some(_), true) => (RowStatus::Ok, None),
        (Some(_), false) => (RowStatus::Flagged, Some(line.flags.join(", "))),
    }
}

fn write(out: &mut Vec<u8>, rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(out);
    for row in rows {
        writer.write_record(row)?;
    }
    writer.flush()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::app::results::rows::{Chunk, Found};

    fn shape(output: Output, fields: Option<&[&str]>) -> Shape {
        Shape {
            output,
            grouped: false,
            sliced: false,
            fields: fields.map(paths),
            flat: false,
        }
    }

    fn paths(fields: &[&str]) -> Paths {
        let path = |field: &&str| field.split('.').map(str::to_owned).collect();
        fields.iter().map(path).collect()
    }

    fn line(id: &str, output: Value) -> Line {
        Line {
            id: id.into(),
            from: None,
            input: None,
            found: Some(Found {
                task: 7,
                output,
                chunk: None,
                first: true,
            }),
            reason: None,
            flags: Vec::new(),
        }
    }

    fn with_input(input: Value, mut line: Line) -> Line {
        line.input = input.as_object().cloned();
        line
    }

    fn missing(mut line: Line, reason: &str) -> Line {
        line.found = None;
        line.reason = Some(reason.to_owned());
        line
    }

    fn csv_of(table: &Table, lines: &[Line]) -> String {
        let mut out = Vec::new();
        table.header(&mut out).unwrap();
        table.rows(lines, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_field_with_the_name_of_another_column_says_whose_it_is() {
        let fields = ["s", "nil", "list", "absent", "task"];
        let table = Table::of_results(shape(Output::Item, Some(&fields)));
        let output = json!({"s": "a \"b\"\nc", "nil": null, "list": ["=1"], "task": "own"});
        assert_eq!(
            csv_of(&table, &[line("T,1", output)]),
            "id,task,s,nil,list,absent,output.task\r\n\
             \"T,1\",7,\"a \"\"b\"\"\nc\",,\"[\"\"=1\"\"]\",,own\r\n"
        );
    }

    #[test]
    fn no_results_are_a_header() {
        let table = Table::of_results(shape(Output::Chunk, Some(&["ids", "=x"])));
        assert_eq!(csv_of(&table, &[]), "task,ids,output.ids,'=x\r\n");
    }

    fn chunk(mut line: Line, group: Option<&str>) -> Line {
        if let Some(found) = &mut line.found {
            found.chunk = Some(Arc::new(Chunk {
                label: Some("+x#1".into()),
                group: group.map(str::to_owned),
                ids: vec!["a".into(), "=b".into()],
            }));
        }
        line
    }

    #[test]
    fn a_group_has_a_column_of_its_own() {
        let mut shape = shape(Output::Chunk, Some(&["n"]));
        shape.grouped = true;
        let table = Table::of_results(shape.clone());
        let line = chunk(line("a", json!({"n": 1})), Some("+x"));
        assert_eq!(
            csv_of(&table, std::slice::from_ref(&line)),
            "task,ids,group,n\r\n7,\"[\"\"a\"\",\"\"=b\"\"]\",'+x,1\r\n"
        );
        let table = Table::of_items(shape, paths(&["text"]), false);
        assert_eq!(
            csv_of(&table, &[with_input(json!({"text": "hi"}), line)]),
            "id,text,n,task,group,_status,_reason\r\na,hi,1,7,'+x,ok,\r\n"
        );
    }

    #[test]
    fn items_stand_beside_their_results_and_only_names_that_are_taken_change() {
        let fields = ["text", "topic", "id", "_status", "out_text"];
        let table = Table::of_items(
            shape(Output::Item, Some(&fields)),
            paths(&["text", "n", "_reason"]),
            true,
        );
        let output = json!({"text": "own", "topic": "bug", "id": 1, "_status": "x", "out_text": 2});
        let mut flagged = line("=a", output);
        flagged.flags = vec!["empty".into(), "short".into()];
        let input = json!({"text": "=1+1", "n": -42, "_reason": "theirs"});
        let lines = [
            with_input(input, flagged),
            missing(
                with_input(json!({"text": "hi"}), line("b", Value::Null)),
                "refused",
            ),
        ];
        assert_eq!(
            csv_of(&table, &lines),
            "id,text,n,_reason,out_text,topic,out_id,_status,out_out_text,_flags,out__status,out__reason\r\n\
             '=a,'=1+1,-42,theirs,own,bug,1,x,2,\"empty, short\",flagged,\"empty, short\"\r\n\
             b,hi,,,,,,,,,missing,refused\r\n"
        );
    }

    #[test]
    fn nested_values_have_columns_or_are_json() {
        let input = json!({"who": {"name": "Ann", "tags": ["x"]}, "n": 1});
        let output = json!({"at": {"city": "Ulm"}, "any": {"k": 1}});
        let line = with_input(input, line("a", output));
        let mut shape = shape(Output::Item, Some(&["at.city", "any"]));
        shape.flat = true;
        let table = Table::of_items(
            shape.clone(),
            paths(&["who", "who.name", "who.tags", "n"]),
            false,
        );
        assert_eq!(
            csv_of(&table, std::slice::from_ref(&line)),
            "id,who,who.name,who.tags,n,at.city,any,_status,_reason\r\n\
             a,,Ann,\"[\"\"x\"\"]\",1,Ulm,\"{\"\"k\"\":1}\",ok,\r\n"
        );
        shape.flat = false;
        shape.fields = Some(paths(&["at"]));
        let table = Table::of_items(shape, paths(&["who"]), false);
        assert_eq!(
            csv_of(&table, &[line]),
            "id,who,at,_status,_reason\r\n\
             a,\"{\"\"name\"\":\"\"Ann\"\",\"\"tags\"\":[\"\"x\"\"]}\",\"{\"\"city\"\":\"\"Ulm\"\"}\",ok,\r\n"
        );
    }
}
