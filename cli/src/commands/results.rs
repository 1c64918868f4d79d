//! A job's results and its report, on the terminal or into a file.

use anyhow::{Result, bail};
use fanwise::app::view::{AnyResult, ResultLine};
use serde_json::{Map, Value};

use crate::api::{Api, quoted};
use crate::args::{ReportArgs, ResultForm, ResultsArgs};
use crate::commands::download;
use crate::commands::download::OutputKind;
use crate::commands::job_id::resolve;
use crate::terminal::output::{Out, number, plain, short};

/// Rows of a table of results: more are for a file.
const ROWS: usize = 200;

pub async fn results(api: &Api, args: &ResultsArgs, out: &Out) -> Result<()> {
    if let Some(path) = &args.output {
        download::check_output(path)?;
    }
    let id = resolve(api, &args.job).await?;
    let mut more = String::new();
    if let Some(stage) = &args.stage {
        more = format!("&stage={}", quoted(stage));
    }
    for (wanted, parameter) in [
        (!args.bare, "&include=input"),
        (args.flags, "&flags=true"),
        (args.flatten, "&flatten=true"),
        (args.bom, "&bom=true"),
    ] {
        if wanted {
            more.push_str(parameter);
        }
    }
    let from = |format: &str| format!("/v1/jobs/{id}/results?format={format}{more}");
    if let Some(path) = &args.output {
        let by_name = match download::output_kind(path)? {
            OutputKind::Csv => ResultForm::Csv,
            OutputKind::Xlsx => ResultForm::Xlsx,
            _ => ResultForm::Jsonl,
        };
        let (format, accept) = match args.format.unwrap_or(by_name) {
            ResultForm::Table => bail!("a table is for the terminal; files are csv, jsonl or xlsx"),
            ResultForm::Csv => ("csv", "text/csv"),
            ResultForm::Jsonl => ("jsonl", "application/x-ndjson"),
            ResultForm::Xlsx => ("xlsx", download::XLSX),
        };
        download::save_from(api, &from(format), accept, path).await?;
        out.note(format!("wrote {}", path.display()));
        return Ok(());
    }
    let form = match args.format {
        Some(form) => form,
        None if out.terminal && !out.json => ResultForm::Table,
        None => ResultForm::Jsonl,
    };
    if out.json && args.format.is_none() {
        return out.json(&api.get(&from("json")).await?);
    }
    match form {
        ResultForm::Csv => stream(api, &from("csv"), "text/csv").await,
        ResultForm::Xlsx if out.terminal => {
            bail!("an .xlsx file is for a file: -o FILE.xlsx")
        }
        ResultForm::Xlsx => stream(api, &from("xlsx"), download::XLSX).await,
        ResultForm::Jsonl => stream(api, &from("jsonl"), "application/x-ndjson").await,
        ResultForm::Table => table(api, &from("jsonl"), out).await,
    }
}

/// To standard output as it comes.
async fn stream(api: &Api, path: &str, accept: &str) -> Result<()> {
    use futures_util::StreamExt as _;
    use std::io::Write as _;
    let mut pieces = api.read(path, accept).await?.bytes_stream();
    while let Some(piece) = pieces.next().await {
        std::io::stdout().lock().write_all(&piece?)?;
    }
    Ok(())
}

/// The first of them, each field a column.
async fn table(api: &Api, path: &str, out: &Out) -> Result<()> {
    let (first, count) = head(api, path).await?;
    let mut columns = vec!["id".to_owned()];
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for line in first {
        let cells = cells(serde_json::from_str(&line)?);
        for name in cells.keys() {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        rows.push(cells);
    }
    // What became of an item is read last.
    columns.sort_by_key(|name| {
        LAST.iter()
            .position(|last| last == name)
            .map_or(0, |at| at + 1)
    });
    let header: Vec<&str> = columns.iter().map(String::as_str).collect();
    let cell = |row: &Map<String, Value>, name: &String| {
        short(&row.get(name).map(plain).unwrap_or_default(), 200)
    };
    let rows = rows
        .iter()
        .map(|row| columns.iter().map(|name| cell(row, name)).collect())
        .collect();
    out.table(&header, rows)?;
    if count > ROWS {
        out.note(format!(
            "the first {ROWS} of {}; all of them: -o FILE.csv",
            number(count as u64)
        ));
    }
    Ok(())
}

/// Columns that stand behind all others.
const LAST: [&str; 2] = ["_status", "_reason"];
/// Characters of a field of the input in a table: it is there to be recognised.
const INPUT_CHARS: usize = 60;

/// The first lines, and how many there are: a job may have more than fit in memory.
async fn head(api: &Api, path: &str) -> Result<(Vec<String>, usize)> {
    use futures_util::StreamExt as _;
    let mut pieces = api.read(path, "application/x-ndjson").await?.bytes_stream();
    let (mut first, mut line, mut count) = (Vec::new(), Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        for byte in piece? {
            if byte != b'\n' {
                if count < ROWS {
                    line.push(byte);
                }
                continue;
            }
            count += 1;
            if first.len() < ROWS {
                first.push(String::from_utf8(std::mem::take(&mut line))?);
            }
        }
    }
    Ok((first, count))
}

/// The columns of a line. A field of the result whose name the item has too gets `out_` before it, as in CSV.
fn cells(line: AnyResult) -> Map<String, Value> {
    let mut cells = Map::new();
    let (id, output) = match line {
        AnyResult::Row(row) => {
            for (name, value) in row.input {
                cells.insert(name, short(&plain(&value), INPUT_CHARS).into());
            }
            cells.insert(LAST[0].to_owned(), row.status.as_str().into());
            cells.insert(LAST[1].to_owned(), row.reason.into());
            (row.id, row.output)
        }
        AnyResult::Result(ResultLine::Item { id, output, .. }) => (id, output),
        AnyResult::Result(ResultLine::Chunk {
            label, ids, output, ..
        }) => (label.unwrap_or_else(|| ids.join(", ")), output),
    };
    let fields = match output {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => Map::from_iter([("output".to_owned(), other)]),
    };
    cells.insert("id".to_owned(), id.into());
    for (mut name, value) in fields {
        while cells.contains_key(&name) {
            name.insert_str(0, "out_");
        }
        cells.insert(name, value);
    }
    cells
}

pub async fn report(api: &Api, args: &ReportArgs, out: &Out) -> Result<()> {
    if let Some(path) = &args.output {
        download::check_output(path)?;
    }
    let id = resolve(api, &args.job).await?;
    if let Some(path) = &args.output {
        download::save(api, &id, path).await?;
        out.note(format!("wrote {}", path.display()));
        return Ok(());
    }
    let path = format!("/v1/jobs/{id}/report");
    if out.json {
        return out.json(&api.get(&path).await?);
    }
    out.text(&api.read(&path, "text/markdown").await?.text().await?)
}
