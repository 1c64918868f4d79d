//! `GET /v1/jobs/{id}/results`: what the workers found, streamed.
//!
//! The use case hands out a bounded portion at a time, and each goes out before the next is read, so memory is the same
//! whatever the job's size. The first one is read before the head is sent: what is wrong by then is a proper
//! error. Later, a page that cannot be read is tried again, and in the end the answer is broken off, so that no
//! client can take a part for the whole: chunked transfer tells it, and the JSON form lacks its end.

use std::future::Future;
use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::stream;
use serde_json::json;
use utoipa::ToSchema;

use super::auth::Caller;
use super::params::{JobId, Query};
use super::problem::ApiError;
use super::table::Table;
use super::{Api, reply};
use crate::app::AppError;
use crate::app::results::{self, Results, ResultsPage};
use crate::app::view::{Page, ResultLine};
use crate::ports::{Clock, Log, Ports};

/// A page that is not there yet (the blob store is only eventually consistent) is asked for again after
/// 0.5, 1, 2 and 4 seconds; a client that waits longer gives up by itself.
const RETRY_MS: [u64; 4] = [500, 1_000, 2_000, 4_000];

/// The form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = ResultsFormat, rename_all = "snake_case")]
pub enum Format {
    Json,
    Jsonl,
    Csv,
}

impl Format {
    fn parse(text: &str) -> Option<Format> {
        match text {
            "json" => Some(Format::Json),
            "jsonl" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Json => reply::JSON,
            Format::Jsonl => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// Get a job's results
///
/// All results of one map stage that are there so far, streamed, one for each item (`output: item`) or chunk
/// (`output: chunk`).
///
/// CSV has the columns `id` and `task` (or `task`, `ids` and, where the stage groups, `group`), then the fields of the stage's `output_schema` in their
/// order; a field with one of those names stands under `output.NAME`, nested values are JSON, and fields
/// that the schema does not name are left to the other formats. Texts that begin with `=`, `+`, `-`, `@`, a tab or a
/// carriage return get a leading apostrophe, so that no spreadsheet takes them for a formula; numbers
/// stay as they are.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/results",
    operation_id = "getResults",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("stage" = Option<String>, Query, description = "The name of a map stage; the last one if left out."),
        ("format" = Option<Format>, Query, description = "`json` (one object), `jsonl` (a line for each result) or `csv`; `json` if left out."),
    ),
    responses((
        status = 200,
        description = "The results",
        content(
            (Page<ResultLine> = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        ),
    )),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(job): JobId,
    mut query: Query,
) -> Result<Response, ApiError> {
    let stage = query.text("stage");
    let format = query
        .parsed("format", "`json`, `jsonl` or `csv`", Format::parse)
        .unwrap_or(Format::Json);
    query.end()?;
    let of = results::results_of(&api.app, &caller.tenant, &job, stage.as_deref()).await?;
    let table = Table::new(of.output, of.grouped, of.columns.clone());
    let mut results = Results::new(api.app, of);
    let first = results.portion(None).await?;
    let pager = Pager {
        source: results,
        writer: Writer {
            format,
            table,
            wrote: false,
        },
        next: Next::Begin(first.0, first.1),
    };
    let body = Body::from_stream(stream::try_unfold(pager, Pager::step));
    Ok(reply::typed(format.content_type(), body))
}

/// Where results come from.
trait Source {
    fn page(&mut self, after: u32) -> impl Future<Output = Result<ResultsPage, AppError>> + Send;
    fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send;
    /// Called once, for the log, before the answer is broken off.
    fn gave_up(&self, after: u32, error: &AppError);
}

impl<P: Ports> Source for Results<P> {
    fn page(&mut self, after: u32) -> impl Future<Output = Result<ResultsPage, AppError>> + Send {
        self.portion(Some(after))
    }

    fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send {
        self.app.ports.clock().sleep(ms)
    }

    fn gave_up(&self, after: u32, error: &AppError) {
        self.app.ports.log().line(json!({
            "event": "results_broken_off",
            "job": &self.of.job,
            "after_task": after,
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
    /// The first page is there, nothing is written.
    Begin(Vec<ResultLine>, Option<u32>),
    /// The page after this task.
    Page(u32),
    /// Nothing but the end of the document.
    End,
    Done,
}

impl<S: Source> Pager<S> {
    async fn step(mut self) -> io::Result<Option<(Vec<u8>, Pager<S>)>> {
        let mut bytes = Vec::new();
        let after = match std::mem::replace(&mut self.next, Next::Done) {
            Next::Begin(lines, after) => {
                self.writer.begin(&mut bytes)?;
                self.writer.lines(&lines, &mut bytes)?;
                after
            }
            Next::Page(after) => {
                let (lines, next) = self.page(after).await.map_err(io::Error::other)?;
                self.writer.lines(&lines, &mut bytes)?;
                // A page that leads back would go round for ever.
                next.filter(|next| *next > after)
            }
            Next::End => {
                self.writer.end(&mut bytes);
                return Ok(Some((bytes, self)));
            }
            Next::Done => return Ok(None),
        };
        self.next = after.map_or(Next::End, Next::Page);
        Ok(Some((bytes, self)))
    }

    async fn page(&mut self, after: u32) -> Result<ResultsPage, &'static str> {
        let mut waits = RETRY_MS.into_iter();
        loop {
            let error = match self.source.page(after).await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            match (waits.next(), &error) {
                (Some(ms), AppError::Unavailable(_)) => self.source.wait(ms).await,
                _ => {
                    self.source.gave_up(after, &error);
                    return Err("the results broke off");
                }
            }
        }
    }
}

/// Lines in their format.
struct Writer {
    format: Format,
    table: Table,
    /// Whether a line went out, so that the next needs a comma.
    wrote: bool,
}

impl Writer {
    fn begin(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.format {
            Format::Json => out.extend_from_slice(b"{\"data\":["),
            Format::Jsonl => {}
            Format::Csv => self.table.header(out)?,
        }
        Ok(())
    }

    fn lines(&mut self, lines: &[ResultLine], out: &mut Vec<u8>) -> io::Result<()> {
        match self.format {
            Format::Json => {
                for line in lines {
                    if std::mem::replace(&mut self.wrote, true) {
                        out.push(b',');
                    }
                    serde_json::to_writer(&mut *out, line)?;
                }
            }
            Format::Jsonl => {
                for line in lines {
                    serde_json::to_writer(&mut *out, line)?;
                    out.push(b'\n');
                }
            }
            Format::Csv => self.table.rows(lines, out)?,
        }
        Ok(())
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            out.extend_from_slice(b"],\"next_cursor\":null}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::ready;
    use std::sync::Mutex;

    use futures::TryStreamExt;
    use futures::executor::block_on;
    use serde_json::Value;

    use super::*;
    use crate::core::plan::Output;

    /// Hands out these answers one by one and remembers what it was asked.
    struct Script {
        answers: Mutex<Vec<Result<ResultsPage, AppError>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Source for &Script {
        fn page(
            &mut self,
            after: u32,
        ) -> impl Future<Output = Result<ResultsPage, AppError>> + Send {
            self.asked.lock().unwrap().push(format!("after {after}"));
            ready(self.answers.lock().unwrap().remove(0))
        }

        fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send {
            self.asked.lock().unwrap().push(format!("wait {ms}"));
            ready(())
        }

        fn gave_up(&self, _: u32, error: &AppError) {
            self.asked.lock().unwrap().push(error.to_string());
        }
    }

    fn line(id: &str, task: u32) -> ResultLine {
        ResultLine::Item {
            id: id.into(),
            output: json!({"b": id, "a": {"n": [1]}}),
            task,
        }
    }

    /// The whole body, or why it broke off, and what the source was asked.
    fn streamed(
        format: Format,
        first: ResultsPage,
        rest: Vec<Result<ResultsPage, AppError>>,
    ) -> (Result<String, String>, Vec<String>) {
        let script = Script {
            answers: Mutex::new(rest),
            asked: Mutex::default(),
        };
        let pager = Pager {
            source: &script,
            writer: Writer {
                format,
                table: Table::new(Output::Item, false, Some(vec!["b".into(), "a".into()])),
                wrote: false,
            },
            next: Next::Begin(first.0, first.1),
        };
        let body = block_on(stream::try_unfold(pager, Pager::step).try_concat());
        let text = body
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|error| error.to_string());
        let asked = script.asked.into_inner().unwrap();
        (text, asked)
    }

    /// Three pages, the second of tasks that brought nothing.
    fn written(format: Format) -> String {
        let rest = vec![Ok((Vec::new(), Some(2))), Ok((vec![line("z", 3)], None))];
        let (text, asked) = streamed(format, (vec![line("x", 0), line("=y", 0)], Some(0)), rest);
        assert_eq!(asked, ["after 0", "after 2"]);
        text.unwrap()
    }

    #[test]
    fn json_is_one_object_in_the_shape_of_a_list() {
        let value: Value = serde_json::from_str(&written(Format::Json)).unwrap();
        let expected: Vec<Value> = [line("x", 0), line("=y", 0), line("z", 3)]
            .iter()
            .map(|line| serde_json::to_value(line).unwrap())
            .collect();
        assert_eq!(value, json!({"data": expected, "next_cursor": null}));
    }

    #[test]
    fn jsonl_is_a_line_for_each_result() {
        assert_eq!(
            written(Format::Jsonl),
            "{\"id\":\"x\",\"output\":{\"b\":\"x\",\"a\":{\"n\":[1]}},\"task\":0}\n\
             {\"id\":\"=y\",\"output\":{\"b\":\"=y\",\"a\":{\"n\":[1]}},\"task\":0}\n\
             {\"id\":\"z\",\"output\":{\"b\":\"z\",\"a\":{\"n\":[1]}},\"task\":3}\n"
        );
    }

    #[test]
    fn csv_has_one_header_whatever_the_pages() {
        assert_eq!(
            written(Format::Csv),
            "id,task,b,a\r\n\
             x,0,x,\"{\"\"n\"\":[1]}\"\r\n\
             '=y,0,'=y,\"{\"\"n\"\":[1]}\"\r\n\
             z,3,z,\"{\"\"n\"\":[1]}\"\r\n"
        );
    }

    #[test]
    fn no_results_are_a_whole_document_too() {
        let (text, asked) = streamed(Format::Json, (Vec::new(), None), Vec::new());
        assert_eq!(text.unwrap(), "{\"data\":[],\"next_cursor\":null}");
        assert!(asked.is_empty());
    }

    #[test]
    fn a_page_that_is_not_there_yet_is_asked_for_again() {
        let away = || Err(AppError::Unavailable("not yet".into()));
        let rest = vec![away(), away(), Ok((vec![line("y", 1)], None))];
        let (text, asked) = streamed(Format::Json, (vec![line("x", 0)], Some(0)), rest);
        assert!(text.unwrap().ends_with("],\"next_cursor\":null}"));
        assert_eq!(
            asked,
            ["after 0", "wait 500", "after 0", "wait 1000", "after 0"]
        );
    }

    #[test]
    fn what_stays_away_breaks_the_answer_off() {
        let away = || Err(AppError::Unavailable("secret".into()));
        let rest = (0..5).map(|_| away()).collect();
        let (text, asked) = streamed(Format::Json, (vec![line("x", 0)], Some(0)), rest);
        assert_eq!(text.unwrap_err(), "the results broke off");
        assert_eq!(asked.last().unwrap(), "try again: secret");
        let gone = vec![Err(AppError::NotFound("job"))];
        let (text, asked) = streamed(Format::Jsonl, (Vec::new(), Some(0)), gone);
        assert_eq!(text.unwrap_err(), "the results broke off");
        assert_eq!(asked, ["after 0", "there is no such job"]);
    }

    #[test]
    fn a_page_that_leads_back_is_the_last() {
        let rest = vec![Ok((vec![line("y", 1)], Some(0)))];
        let (text, _) = streamed(Format::Jsonl, (vec![line("x", 0)], Some(0)), rest);
        assert_eq!(text.unwrap().lines().count(), 2);
    }
}
