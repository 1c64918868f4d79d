//! Results as a table: CSV by RFC 4180, safe to open in a spreadsheet.

use std::io;

use csv::{Terminator, WriterBuilder};
use serde_json::Value;

use crate::app::view::ResultLine;
use crate::core::plan::Output;

/// The columns of one stage's results.
pub struct Table {
    /// Those that every result has.
    fixed: &'static [&'static str],
    /// The fields of the output; `None` where the schema names none: then the output is one column.
    fields: Option<Vec<String>>,
}

impl Table {
    pub fn new(output: Output, grouped: bool, fields: Option<Vec<String>>) -> Table {
        let fixed: &[&str] = match (output, grouped) {
            (Output::Item, _) => &["id", "task"],
            (Output::Chunk, false) => &["task", "ids"],
            (Output::Chunk, true) => &["task", "ids", "group"],
        };
        Table { fixed, fields }
    }

    pub fn header(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut names: Vec<String> = self.fixed.iter().map(|&name| name.to_owned()).collect();
        match &self.fields {
            None => names.push("output".to_owned()),
            Some(fields) => names.extend(fields.iter().map(|name| {
                if self.fixed.contains(&name.as_str()) {
                    format!("output.{name}")
                } else {
                    guarded(name)
                }
            })),
        }
        write(out, [names])
    }

    pub fn rows(&self, lines: &[ResultLine], out: &mut Vec<u8>) -> io::Result<()> {
        write(out, lines.iter().map(|line| self.row(line)))
    }

    fn row(&self, line: &ResultLine) -> Vec<String> {
        let (mut row, output) = match line {
            ResultLine::Item { id, output, task } => (vec![guarded(id), task.to_string()], output),
            ResultLine::Chunk {
                task,
                group,
                ids,
                output,
                ..
            } => {
                let ids = Value::from(ids.clone()).to_string();
                let mut row = vec![task.to_string(), ids];
                if self.fixed.contains(&"group") {
                    row.push(group.as_deref().map(guarded).unwrap_or_default());
                }
                (row, output)
            }
        };
        match &self.fields {
            None => row.push(cell(output)),
            Some(fields) => row.extend(
                fields
                    .iter()
                    .map(|name| output.get(name).map(cell).unwrap_or_default()),
            ),
        }
        row
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

/// Nothing for null, text as it is, numbers as numbers, anything nested as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => guarded(text),
        other => other.to_string(),
    }
}

/// A spreadsheet takes a cell that begins like this for a formula, and model text comes from whoever wrote the
/// items (OWASP: CSV injection). An apostrophe makes it text.
fn guarded(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn csv_of(table: &Table, lines: &[ResultLine]) -> String {
        let mut out = Vec::new();
        table.header(&mut out).unwrap();
        table.rows(lines, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_of_value_has_its_form() {
        let fields = ["s", "n", "neg", "b", "nil", "list", "absent", "task"];
        let table = Table::new(
            Output::Item,
            false,
            Some(fields.map(str::to_owned).to_vec()),
        );
        let line = ResultLine::Item {
            id: "T,1".into(),
            output: json!({"s": "a \"b\"\nc", "n": 1.5, "neg": -3, "b": true, "nil": null, "list": ["=1"], "task": "own"}),
            task: 7,
        };
        assert_eq!(
            csv_of(&table, &[line]),
            "id,task,s,n,neg,b,nil,list,absent,output.task\r\n\
             \"T,1\",7,\"a \"\"b\"\"\nc\",1.5,-3,true,,\"[\"\"=1\"\"]\",,own\r\n"
        );
    }

    #[test]
    fn no_text_is_a_formula() {
        let table = Table::new(Output::Chunk, false, None);
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"] {
            let line = ResultLine::Chunk {
                task: 0,
                label: None,
                group: None,
                ids: vec!["=a".into()],
                output: json!(text),
            };
            let out = csv_of(&table, &[line]);
            let mut reader = csv::Reader::from_reader(out.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            let cells: Vec<&str> = record.iter().collect();
            assert_eq!(cells, ["0", "[\"=a\"]", &format!("'{text}")]);
        }
    }

    #[test]
    fn no_results_are_a_header() {
        let table = Table::new(Output::Chunk, false, Some(vec!["ids".into(), "=x".into()]));
        assert_eq!(csv_of(&table, &[]), "task,ids,output.ids,'=x\r\n");
    }

    #[test]
    fn a_group_has_a_column_of_its_own() {
        let table = Table::new(Output::Chunk, true, Some(vec!["n".into()]));
        let line = ResultLine::Chunk {
            task: 3,
            label: Some("+x#1".into()),
            group: Some("+x".into()),
            ids: vec!["a".into()],
            output: json!({"n": 1}),
        };
        assert_eq!(
            csv_of(&table, &[line]),
            "task,ids,group,n\r\n3,\"[\"\"a\"\"]\",'+x,1\r\n"
        );
    }
}
