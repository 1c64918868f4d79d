//! `GET /v1/jobs/{id}/results`: what the workers found, streamed.
//!
//! The use case hands out a bounded portion at a time, and each goes out before the next is read, so memory is the same
//! whatever the job's size. The first one is read before the head is sent: what is wrong by then is a proper
//! error. Later, a portion that cannot be read is tried again, and in the end the answer is broken off, so that no
//! client can take a part for the whole: chunked transfer tells it, and the JSON form lacks its end.

use std::future::Future;
use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::stream;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::results_table::{Shape, Table, status};
use super::results_xlsx::Workbook;
use crate::api::http::auth::Caller;
use crate::api::http::params::{JobId, Query};
use crate::api::http::problem::ApiError;
use crate::api::http::reply;
use crate::api::http::state::Api;
use crate::app::AppError;
use crate::app::results::rows::{Line, Rows, input};
use crate::app::results::{aggregate, pages};
use crate::app::view::{AnyResult, Page, ResultLine, ResultRow};
use crate::core::results::columns::flat;
use crate::ports::{Clock, Log, Ports};

/// A portion that is not there yet (the blob store is only eventually consistent) is asked for again after
/// 0.5, 1, 2 and 4 seconds; a client that waits longer gives up by itself.
const RETRY_MS: [u64; 4] = [500, 1_000, 2_000, 4_000];

/// The media type of XLSX workbooks.
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = ResultsFormat, rename_all = "snake_case")]
pub enum Format {
    Json,
    Jsonl,
    Csv,
    Xlsx,
}

impl Format {
    fn parse(text: &str) -> Option<Format> {
        match text {
            "json" => Some(Format::Json),
            "jsonl" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "xlsx" => Some(Format::Xlsx),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Json => reply::JSON,
            Format::Jsonl => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Xlsx => XLSX,
        }
    }

    fn is_table(self) -> bool {
        matches!(self, Format::Csv | Format::Xlsx)
    }
}

/// The parts that results can include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = ResultsInclude, rename_all = "snake_case")]
pub enum Include {
    Input,
}

/// What a caller asks for.
struct Wanted {
    stage: Option<String>,
    format: Format,
    input: bool,
    flags: bool,
    flat: bool,
    bom: bool,
}

impl Wanted {
    fn read(mut query: Query) -> Result<Wanted, ApiError> {
        let stage = query.text("stage");
        let format = query
            .parsed("format", "`json`, `jsonl`, `csv` or `xlsx`", Format::parse)
            .unwrap_or(Format::Json);
        let include = query.parsed("include", "`input`", |text| {
            (text == "input").then_some(Include::Input)
        });
        let wanted = Wanted {
            stage,
            format,
            input: include == Some(Include::Input),
            flags: query.flag("flags"),
            flat: query.flag("flatten"),
            bom: query.flag("bom"),
        };
        query.end()?;
        Ok(wanted)
    }
}

/// Get a job's results
///
/// All results of one map stage that are there so far, streamed in the order of the input, one for each item
/// (`output: item`) or chunk (`output: chunk`).
///
/// With `include=input` every item of the input is beside its result, those without one too: `status` says whether there
/// is one, `reason` why not. One result for many items is repeated for each, with its `task`. A long text is a line for each of
/// its slices, with the text's id in `from`. Items without a result have the reason `pending` while the job is at work.
///
/// CSV has the columns `id` and `task` (or `task`, `ids` and, where the stage groups, `group`), then the fields of the stage's
/// `output_schema` in their order; a field with one of those names is in the column `output.NAME`. With `include=input` it has
/// `id` and the fields of the items, then those of the schema, then `_flags` on request, and last `_status` and `_reason`; a
/// name that an earlier column has gets `out_` before it. Nested values are JSON, or with `flatten=true` columns of their
/// own, and fields that the schema does not name are left to the other formats. Texts that a spreadsheet would take for a
/// formula (after white space or a semicolon too) get a leading apostrophe; numbers and phone numbers stay as they are.
///
/// XLSX is one sheet with the columns of CSV. Texts are never formulas there and stay as they are; numbers with more than 15 digits
/// are texts. Excel takes at most 32,767 characters in a cell: a longer text is cut.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/results",
    operation_id = "getResults",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("stage" = Option<String>, Query, description = "The name of a map stage; the last one if left out."),
        ("format" = Option<Format>, Query, description = "`json` (one object), `jsonl` (a line for each result), `csv` or `xlsx`; `json` if left out."),
        ("include" = Option<Include>, Query, description = "`input`: every item of the input beside its result."),
        ("flags" = Option<bool>, Query, description = "With `include=input`, tables have the column `_flags`; JSON always has them."),
        ("flatten" = Option<bool>, Query, description = "Nested fields become fields of their own: `a.b`."),
        ("bom" = Option<bool>, Query, description = "CSV begins with a byte order mark, so that Excel reads it as UTF-8."),
    ),
    responses((
        status = 200,
        description = "The results",
        content(
            (Page<AnyResult> = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ),
    )),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(job): JobId,
    query: Query,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(query)?;
    let app = &api.app;
    let stage = wanted.stage.as_deref();
    let (loaded, of) = pages::job_results(app, &caller.tenant, &job, stage).await?;
    let spec = &loaded.runtime.spec;
    let shape = Shape {
        output: of.output,
        grouped: of.grouped,
        sliced: spec.slices(),
        fields: aggregate::columns(&loaded.runtime, &of, wanted.flat),
        flat: wanted.flat,
    };
    let table = match (wanted.format, wanted.input) {
        (format, true) if format.is_table() => {
            let names = input::names(app, &job, spec.input, wanted.flat).await?;
            Table::of_items(shape, names.paths(), wanted.flags)
        }
        (format, false) if format.is_table() => Table::of_results(shape),
        _ => Table::default(),
    };
    let mut source = Rows::new(api.app.clone(), &loaded, of, wanted.input).await?;
    let first = source.portion().await?;
    let pager = Pager {
        source,
        writer: Writer {
            format: wanted.format,
            input: wanted.input,
            flat: wanted.flat,
            bom: wanted.bom,
            table,
            workbook: None,
            wrote: false,
        },
        next: Next::Begin(first),
    };
    let body = Body::from_stream(stream::try_unfold(pager, Pager::step));
    Ok(reply::typed(wanted.format.content_type(), body))
}

/// Where results come from.
trait Source {
    /// The next lines; none behind the last.
    fn portion(&mut self) -> impl Future<Output = Result<Vec<Line>, AppError>> + Send;
    fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send;
    /// Called once, for the log, before the answer is broken off.
    fn gave_up(&self, error: &AppError);
}

impl<P: Ports> Source for Rows<P> {
    fn portion(&mut self) -> impl Future<Output = Result<Vec<Line>, AppError>> + Send {
        Rows::portion(self)
    }

    fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send {
        self.app.ports.clock().sleep(ms)
    }

    fn gave_up(&self, error: &AppError) {
        self.app.ports.log().line(json!({
            "event": "results_broken_off",
            "job": &self.of.job,
            "error": error.to_string(),
        }));
    }
}

/// Where the stream stands.
struct Pager<S> {
    source: S,
    writer: Writer,
    next: Next,
}

enum Next {
    /// The first portion is there, nothing is written.
    Begin(Vec<Line>),
    More,
    Done,
}

impl<S: Source> Pager<S> {
    async fn step(mut self) -> io::Result<Option<(Vec<u8>, Pager<S>)>> {
        let mut bytes = Vec::new();
        let lines = match std::mem::replace(&mut self.next, Next::Done) {
            Next::Begin(lines) => {
                self.writer.begin(&mut bytes)?;
                lines
            }
            Next::More => self.portion().await.map_err(io::Error::other)?,
            Next::Done => return Ok(None),
        };
        if lines.is_empty() {
            self.writer.end(&mut bytes)?;
        } else {
            self.writer.lines(lines, &mut bytes)?;
            self.next = Next::More;
        }
        Ok(Some((bytes, self)))
    }

    async fn portion(&mut self) -> Result<Vec<Line>, &'static str> {
        let mut waits = RETRY_MS.into_iter();
        loop {
            let error = match self.source.portion().await {
                Ok(lines) => return Ok(lines),
                Err(error) => error,
            };
            match (waits.next(), &error) {
                (Some(ms), AppError::Unavailable(_)) => self.source.wait(ms).await,
                _ => {
                    self.source.gave_up(&error);
                    return Err("the results broke off");
                }
            }
        }
    }
}

/// Lines in their format.
struct Writer {
    format: Format,
    input: bool,
    flat: bool,
    bom: bool,
    table: Table,
    /// Of XLSX, from its beginning on.
    workbook: Option<Workbook>,
    /// Whether a line went out, so that the next needs a comma.
    wrote: bool,
}

impl Writer {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.format {
            Format::Json => out.extend_from_slice(b"{\"data\":["),
            Format::Jsonl => {}
            Format::Csv => {
                if self.bom {
                    out.extend_from_slice("\u{feff}".as_bytes());
                }
                self.table.header(out)?;
            }
            Format::Xlsx => self.workbook = Some(Workbook::begin(self.table.names())?),
        }
        Ok(())
    }

    fn lines(&mut self, lines: Vec<Line>, out: &mut Vec<u8>) -> io::Result<()> {
        // Without the input, one result for many items is one line.
        let lines = lines.into_iter().filter(|line| {
            let found = line.found.as_ref();
            self.input || found.is_some_and(|found| found.chunk.is_none() || found.first)
        });
        if self.format == Format::Csv {
            let lines: Vec<Line> = lines.collect();
            return self.table.rows(&lines, out);
        }
        if let Some(workbook) = &mut self.workbook {
            for line in lines {
                workbook.row(self.table.values(&line))?;
            }
            out.extend(workbook.take());
            return Ok(());
        }
        let (input, flat, json) = (self.input, self.flat, self.format == Format::Json);
        for line in lines {
            if json && std::mem::replace(&mut self.wrote, true) {
                out.push(b',');
            }
            match input {
                true => write(&row(line, flat), out)?,
                false => write(&result(line, flat), out)?,
            }
            if !json {
                out.push(b'\n');
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.format == Format::Json {
            out.extend_from_slice(b"],\"next_cursor\":null}");
        }
        if let Some(workbook) = self.workbook.take() {
            out.extend(workbook.end()?);
        }
        Ok(())
    }
}

fn write(line: &impl Serialize, out: &mut Vec<u8>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, line)?)
}

/// An item beside its result.
fn row(line: Line, flatten: bool) -> ResultRow {
    let (status, reason) = status(&line);
    let flattened = |value| if flatten { flat(value) } else { value };
    let input = flattened(Value::Object(line.input.unwrap_or_default()));
    let (output, task, group) = match line.found {
        None => (Value::Null, None, None),
        Some(found) => {
            let task = found.chunk.is_some().then_some(found.task);
            let group = found.chunk.and_then(|chunk| chunk.group.clone());
            (flattened(found.output), task, group)
        }
    };
    ResultRow {
        id: line.id,
        input: match input {
            Value::Object(fields) => fields,
            _ => Map::new(),
        },
        output,
        status,
        reason,
        flags: line.flags,
        from: line.from,
        task,
        group,
    }
}

/// A result alone; `None` where the item has none.
fn result(line: Line, flatten: bool) -> Option<ResultLine> {
    let found = line.found?;
    let output = match flatten {
        true => flat(found.output),
        false => found.output,
    };
    Some(match found.chunk {
        None => ResultLine::Item {
            id: line.id,
            output,
            task: found.task,
        },
        Some(chunk) => ResultLine::Chunk {
            task: found.task,
            label: chunk.label.clone(),
            group: chunk.group.clone(),
            ids: chunk.ids.clone(),
            output,
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::ready;
    use std::sync::Mutex;

    use futures::TryStreamExt;
    use futures::executor::block_on;

    use super::*;
    use crate::app::results::rows::Found;
    use crate::core::plan::spec::Output;

    /// Hands out these answers one by one and remembers what it was asked.
    struct Script {
        answers: Mutex<Vec<Result<Vec<Line>, AppError>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Source for &Script {
        fn portion(&mut self) -> impl Future<Output = Result<Vec<Line>, AppError>> + Send {
            self.asked.lock().unwrap().push("portion".to_owned());
            ready(self.answers.lock().unwrap().remove(0))
        }

        fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send {
            self.asked.lock().unwrap().push(format!("wait {ms}"));
            ready(())
        }

        fn gave_up(&self, error: &AppError) {
            self.asked.lock().unwrap().push(error.to_string());
        }
    }

    fn line(id: &str, task: u32) -> Line {
        Line {
            id: id.into(),
            from: None,
            input: json!({"text": id}).as_object().cloned(),
            found: Some(Found {
                task,
                output: json!({"b": id, "a": {"n": [1]}}),
                chunk: None,
                first: true,
            }),
            reason: None,
            flags: Vec::new(),
        }
    }

    fn writer(format: Format, input: bool) -> Writer {
        let shape = Shape {
            output: Output::Item,
            grouped: false,
            sliced: false,
            fields: Some(vec![vec!["b".into()], vec!["a".into()]]),
            flat: false,
        };
        Writer {
            format,
            input,
            flat: false,
            bom: false,
            table: match input {
                true => Table::of_items(shape, vec![vec!["text".into()]], false),
                false => Table::of_results(shape),
            },
            workbook: None,
            wrote: false,
        }
    }

    /// The whole body, or why it broke off, and what the source was asked.
    fn streamed(
        writer: Writer,
        first: Vec<Line>,
        rest: Vec<Result<Vec<Line>, AppError>>,
    ) -> (Result<String, String>, Vec<String>) {
        let script = Script {
            answers: Mutex::new(rest),
            asked: Mutex::default(),
        };
        let pager = Pager {
            source: &script,
            writer,
            next: Next::Begin(first),
        };
        let body = block_on(stream::try_unfold(pager, Pager::step).try_concat());
        let text = body
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|error| error.to_string());
        let asked = script.asked.into_inner().unwrap();
        (text, asked)
    }

    /// Two portions and the end.
    fn written(writer: Writer) -> String {
        let rest = vec![Ok(vec![line("z", 3)]), Ok(Vec::new())];
        let (text, asked) = streamed(writer, vec![line("x", 0), line("=y", 0)], rest);
        assert_eq!(asked, ["portion", "portion"]);
        text.unwrap()
    }

    #[test]
    fn json_is_one_object_in_the_shape_of_a_list() {
        let value: Value = serde_json::from_str(&written(writer(Format::Json, false))).unwrap();
        let expected: Vec<Value> = [("x", 0), ("=y", 0), ("z", 3)]
            .iter()
            .map(|(id, task)| json!({"id": id, "output": {"b": id, "a": {"n": [1]}}, "task": task}))
            .collect();
        assert_eq!(value, json!({"data": expected, "next_cursor": null}));
    }

    #[test]
    fn jsonl_is_a_line_for_each_result() {
        assert_eq!(
            written(writer(Format::Jsonl, false)),
            "{\"id\":\"x\",\"output\":{\"b\":\"x\",\"a\":{\"n\":[1]}},\"task\":0}\n\
             {\"id\":\"=y\",\"output\":{\"b\":\"=y\",\"a\":{\"n\":[1]}},\"task\":0}\n\
             {\"id\":\"z\",\"output\":{\"b\":\"z\",\"a\":{\"n\":[1]}},\"task\":3}\n"
        );
    }

    #[test]
    fn csv_has_one_header_whatever_the_portions() {
        assert_eq!(
            written(writer(Format::Csv, false)),
            "id,task,b,a\r\n\
             x,0,x,\"{\"\"n\"\":[1]}\"\r\n\
             '=y,0,'=y,\"{\"\"n\"\":[1]}\"\r\n\
             z,3,z,\"{\"\"n\"\":[1]}\"\r\n"
        );
    }

    #[test]
    fn an_item_stands_beside_its_result_or_says_why_it_has_none() {
        let mut missing = line("m", 0);
        missing.found = None;
        missing.reason = Some("refused".into());
        let mut flagged = line("f", 1);
        flagged.flags = vec!["empty".into()];
        let mut writer = writer(Format::Jsonl, true);
        writer.flat = true;
        let (text, _) = streamed(writer, vec![missing, flagged], vec![Ok(Vec::new())]);
        assert_eq!(
            text.unwrap(),
            "{\"id\":\"m\",\"input\":{\"text\":\"m\"},\"output\":null,\"status\":\"missing\",\"reason\":\"refused\",\"flags\":[]}\n\
             {\"id\":\"f\",\"input\":{\"text\":\"f\"},\"output\":{\"b\":\"f\",\"a.n\":[1]},\"status\":\"flagged\",\"reason\":\"empty\",\"flags\":[\"empty\"]}\n"
        );
    }

    #[test]
    fn a_mark_goes_before_the_header_alone() {
        let mut writer = writer(Format::Csv, true);
        writer.bom = true;
        let text = written(writer);
        assert!(text.starts_with("\u{feff}id,text,b,a,_status,_reason\r\n"));
        assert_eq!(text.matches('\u{feff}').count(), 1);
    }

    #[test]
    fn no_results_are_a_whole_document_too() {
        let (text, asked) = streamed(writer(Format::Json, false), Vec::new(), Vec::new());
        assert_eq!(text.unwrap(), "{\"data\":[],\"next_cursor\":null}");
        assert!(asked.is_empty());
    }

    #[test]
    fn a_portion_that_is_not_there_yet_is_asked_for_again() {
        let away = || Err(AppError::Unavailable("not yet".into()));
        let rest = vec![away(), away(), Ok(vec![line("y", 1)]), Ok(Vec::new())];
        let (text, asked) = streamed(writer(Format::Json, false), vec![line("x", 0)], rest);
        assert!(text.unwrap().ends_with("],\"next_cursor\":null}"));
        assert_eq!(
            asked,
            [
                "portion",
                "wait 500",
                "portion",
                "wait 1000",
                "portion",
                "portion"
            ]
        );
    }

    #[test]
    fn what_stays_away_breaks_the_answer_off() {
        let away = || Err(AppError::Unavailable("secret".into()));
        let rest = (0..5).map(|_| away()).collect();
        let (text, asked) = streamed(writer(Format::Json, false), vec![line("x", 0)], rest);
        assert_eq!(text.unwrap_err(), "the results broke off");
        assert_eq!(asked.last().unwrap(), "try again: secret");
        let gone = vec![Err(AppError::NotFound("job"))];
        let (text, asked) = streamed(writer(Format::Jsonl, false), vec![line("x", 0)], gone);
        assert_eq!(text.unwrap_err(), "the results broke off");
        assert_eq!(asked, ["portion", "there is no such job"]);
    }
}
