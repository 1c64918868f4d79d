//! What is read of jobs: lists, one job, its tasks, its results, its report.

use anyhow::{Result, bail};
use fanwise::app::view::{AttemptView, JobView, ResultLine, TaskDetail, TaskView};
use serde_json::{Map, Value};

use crate::api::{Api, PAGE, quoted, typed};
use crate::args::{JobsArgs, ReportArgs, ResultForm, ResultsArgs, TasksArgs};
use crate::money;
use crate::out::{self, Out, drawn, number, plain, safe, short, usd};
use crate::watch;

/// Characters of a text in a table's cell.
const CELL: usize = 60;
/// Rows of a table of results: more are for a file.
const ROWS: usize = 200;
/// Length of a job's id: `job_` and 32 digits.
const ID: usize = 36;

/// The id of the job that is meant.
pub async fn resolve(api: &Api, job: &str) -> Result<String> {
    if job == "last" {
        let newest = api.list("/v1/jobs", 1).await?;
        let Some(newest) = newest.into_iter().next() else {
            bail!("there are no jobs yet");
        };
        return Ok(typed::<JobView>(newest)?.id);
    }
    if job.len() >= ID {
        return Ok(job.to_owned());
    }
    let mut found = Vec::new();
    for value in api.list("/v1/jobs", PAGE).await? {
        let view: JobView = typed(value)?;
        let digits = view.id.strip_prefix("job_").unwrap_or_default();
        if view.id.starts_with(job) || digits.starts_with(job) {
            found.push(view.id);
        }
    }
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => bail!("none of the newest {PAGE} jobs has an id that begins with {job:?}"),
        _ => bail!("{} jobs have ids that begin with {job:?}", found.len()),
    }
}

pub async fn list(api: &Api, args: &JobsArgs, out: &Out) -> Result<()> {
    let path = match &args.state {
        Some(state) => format!("/v1/jobs?state={}", quoted(state)),
        None => "/v1/jobs".to_owned(),
    };
    let jobs = api.list(&path, args.limit).await?;
    if out.json {
        return out.json(&jobs);
    }
    let mut rows = Vec::new();
    for job in jobs {
        let job: JobView = typed(job)?;
        let items = &job.progress.items;
        rows.push(vec![
            job.id,
            job.state,
            format!("{}/{}", number(items.covered), number(items.total)),
            usd(job.cost.spent_usd),
            job.created_at
                .get(..16)
                .unwrap_or_default()
                .replace('T', " "),
            short(&job.task, CELL),
        ]);
    }
    out.table(
        &["job", "state", "covered", "spent", "created (UTC)", "task"],
        rows,
    )
}

pub async fn show(api: &Api, job: &str, out: &Out) -> Result<()> {
    let id = resolve(api, job).await?;
    let value = api.get(&format!("/v1/jobs/{id}")).await?;
    print(value, out)
}

/// One job.
pub fn print(value: Value, out: &Out) -> Result<()> {
    if out.json {
        return out.json(&value);
    }
    let job: JobView = typed(value)?;
    let tasks = &job.progress.tasks;
    let states = [
        ("pending", tasks.pending),
        ("queued", tasks.queued),
        ("running", tasks.running),
        ("succeeded", tasks.succeeded),
        ("failed", tasks.failed),
        ("skipped", tasks.skipped),
        ("cancelled", tasks.cancelled),
    ];
    let states: Vec<String> = states
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", number(*count)))
        .collect();
    let items = &job.progress.items;
    let halt = job.halt.as_ref().map(|halt| {
        let on = halt
            .resumes_at
            .as_ref()
            .map(|at| format!("; goes on at {at}"));
        safe(&format!(
            "{}: {}{}",
            halt.reason,
            halt.detail,
            on.unwrap_or_default()
        ))
    });
    let error = job.error.as_ref();
    let metadata = (!job.metadata.is_empty()).then(|| Value::Object(job.metadata.clone()));
    out.pairs(&[
        ("job", job.id.clone()),
        (
            "state",
            if out.terminal {
                out::state(&job.state)
            } else {
                job.state.clone()
            },
        ),
        ("halt", halt.unwrap_or_default()),
        (
            "error",
            error
                .map(|e| safe(&format!("{}: {}", e.code, e.message)))
                .unwrap_or_default(),
        ),
        ("task", safe(&job.task)),
        ("recipe", job.recipe.clone().unwrap_or_default()),
        ("stage", job.stage.clone().unwrap_or_default()),
        (
            "items",
            format!(
                "{} of {} covered, {} missing",
                number(items.covered),
                number(items.total),
                number(items.missing)
            ),
        ),
        (
            "tasks",
            format!("{}: {}", number(tasks.total), states.join(", ")),
        ),
        ("usage", money::used(&job.usage)),
        ("cost", money::whole(&job.cost)),
        (
            "run",
            if job.run > 1 {
                job.run.to_string()
            } else {
                String::new()
            },
        ),
        ("created", job.created_at.clone()),
        ("finished", job.finished_at.clone().unwrap_or_default()),
        (
            "metadata",
            metadata.map(|m| safe(&m.to_string())).unwrap_or_default(),
        ),
    ])
}

pub async fn tasks(api: &Api, args: &TasksArgs, out: &Out) -> Result<()> {
    let id = resolve(api, &args.job).await?;
    let mut path = format!("/v1/jobs/{id}/tasks");
    let filters = [("state", &args.state), ("stage", &args.stage)];
    let filters = filters
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (at, (name, value)) in filters.enumerate() {
        path.push_str(&format!(
            "{}{name}={}",
            if at == 0 { '?' } else { '&' },
            quoted(value)
        ));
    }
    let tasks = api.list(&path, args.limit).await?;
    if out.json {
        return out.json(&tasks);
    }
    let mut rows = Vec::new();
    for task in tasks {
        let task: TaskView = typed(task)?;
        let error = task
            .error
            .map(|error| format!("{}: {}", error.code, error.message));
        rows.push(vec![
            task.index.to_string(),
            task.stage,
            task.purpose,
            task.state,
            task.attempts.to_string(),
            short(&task.item_ids.join(", "), CELL),
            short(&error.unwrap_or_default(), CELL),
        ]);
    }
    out.table(
        &[
            "task", "stage", "purpose", "state", "calls", "items", "error",
        ],
        rows,
    )
}

pub async fn task(api: &Api, job: &str, index: u32, out: &Out) -> Result<()> {
    let id = resolve(api, job).await?;
    let value = api.get(&format!("/v1/jobs/{id}/tasks/{index}")).await?;
    if out.json {
        return out.json(&value);
    }
    let task: TaskDetail = typed(value)?;
    let error = task.error.as_ref();
    out.pairs(&[
        (
            "task",
            format!("{} of stage {} ({})", task.index, task.stage, task.purpose),
        ),
        (
            "state",
            if out.terminal {
                out::state(&task.state)
            } else {
                task.state.clone()
            },
        ),
        ("items", safe(&task.item_ids.join(", "))),
        (
            "error",
            error
                .map(|e| safe(&format!("{}: {}", e.code, e.message)))
                .unwrap_or_default(),
        ),
    ])?;
    out.line("")?;
    // Side by side in any case: this is for eyes, and --json is there for programs.
    let (input, output) = (pretty(&task.input), pretty(&task.output));
    let table = drawn(
        &["input", "output"],
        vec![vec![input, output]],
        out::width(),
    );
    out.line(table)?;
    for attempt in &task.attempts {
        out.line("")?;
        print_attempt(attempt, out)?;
    }
    Ok(())
}

fn print_attempt(attempt: &AttemptView, out: &Out) -> Result<()> {
    let ms = fanwise::core::time::parse_rfc3339;
    let took = attempt
        .finished_at
        .as_deref()
        .and_then(ms)
        .zip(ms(&attempt.started_at));
    let mut facts = vec![
        format!("{} by {}", attempt.role, attempt.model),
        attempt.state.clone(),
    ];
    facts.extend(attempt.status.map(|status| format!("HTTP {status}")));
    facts.extend(attempt.stop_reason.clone());
    facts.push(format!(
        "{} tokens in, {} out",
        number(
            attempt.input_tokens
                + attempt.cache_read_input_tokens
                + attempt.cache_creation_input_tokens
        ),
        number(attempt.output_tokens)
    ));
    facts.push(usd(attempt.cost_usd));
    facts.extend(took.map(|(to, from)| format!("{:.1} s", (to - from) as f64 / 1_000.0)));
    facts.extend(attempt.request_id.clone());
    let (bold, number) = (out::BOLD, attempt.number);
    out.line(format_args!(
        "{bold}call {number}{bold:#}  {}",
        safe(&facts.join(" · "))
    ))?;
    if let Some(error) = attempt.error_class.as_ref().or(attempt.error.as_ref()) {
        let text = attempt.error.as_deref().unwrap_or_default();
        out.line(format_args!("  {}: {}", safe(error), safe(text)))?;
    }
    let request = request_text(&attempt.request);
    let response = attempt.response.clone().unwrap_or_default();
    out.line(drawn(
        &["request", "response"],
        vec![vec![request, response]],
        out::width(),
    ))
}

/// What a request says, in its own words: the system's part and the turns.
fn request_text(request: &Value) -> String {
    let texts = |content: &Value| match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks
                .iter()
                .filter_map(|block| block.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        other => plain(other),
    };
    if request.is_null() {
        return "(no longer kept)".to_owned();
    }
    let mut text = String::new();
    if let Some(system) = request.get("system") {
        text.push_str(&format!("[system]\n{}\n\n", texts(system)));
    }
    for message in request
        .get("messages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let content = message.get("content").map(texts).unwrap_or_default();
        text.push_str(&format!("[{role}]\n{content}\n\n"));
    }
    text.trim_end().to_owned()
}

fn pretty(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

pub async fn results(api: &Api, args: &ResultsArgs, out: &Out) -> Result<()> {
    if let Some(path) = &args.output {
        watch::check_output(path)?;
    }
    let id = resolve(api, &args.job).await?;
    let stage = args
        .stage
        .as_ref()
        .map(|stage| format!("&stage={}", quoted(stage)));
    let from = |format: &str| {
        format!(
            "/v1/jobs/{id}/results?format={format}{}",
            stage.as_deref().unwrap_or_default()
        )
    };
    if let Some(path) = &args.output {
        let csv = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let (format, accept) = match (args.format, csv) {
            (Some(ResultForm::Table), _) => {
                bail!("a table is for the terminal; files are csv or jsonl")
            }
            (Some(ResultForm::Csv), _) | (None, true) => ("csv", "text/csv"),
            _ => ("jsonl", "application/x-ndjson"),
        };
        watch::save_from(api, &from(format), accept, path).await?;
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
    let text = api.read(path, "application/x-ndjson").await?.text().await?;
    let mut columns: Vec<String> = Vec::new();
    let mut lines: Vec<(String, Map<String, Value>)> = Vec::new();
    let count = text.lines().count();
    for line in text.lines().take(ROWS) {
        let (id, output) = match serde_json::from_str(line)? {
            ResultLine::Item { id, output, .. } => (id, output),
            ResultLine::Chunk {
                label, ids, output, ..
            } => (label.unwrap_or_else(|| ids.join(", ")), output),
        };
        let fields = match output {
            Value::Object(fields) => fields,
            other => Map::from_iter([("output".to_owned(), other)]),
        };
        for name in fields
            .keys()
            .filter(|name| !columns.contains(name))
            .collect::<Vec<_>>()
        {
            columns.push(name.clone());
        }
        lines.push((id, fields));
    }
    let header: Vec<&str> = std::iter::once("id")
        .chain(columns.iter().map(String::as_str))
        .collect();
    let rows = lines
        .iter()
        .map(|(id, fields)| {
            let cells = columns
                .iter()
                .map(|name| fields.get(name).map(plain).unwrap_or_default());
            std::iter::once(id.clone())
                .chain(cells)
                .map(|cell| short(&cell, 200))
                .collect()
        })
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

pub async fn report(api: &Api, args: &ReportArgs, out: &Out) -> Result<()> {
    if let Some(path) = &args.output {
        watch::check_output(path)?;
    }
    let id = resolve(api, &args.job).await?;
    if let Some(path) = &args.output {
        watch::save(api, &id, path).await?;
        out.note(format!("wrote {}", path.display()));
        return Ok(());
    }
    let path = format!("/v1/jobs/{id}/report");
    if out.json {
        return out.json(&api.get(&path).await?);
    }
    out.text(&api.read(&path, "text/markdown").await?.text().await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_read_as_what_was_said() {
        let request = json!({"model": "m", "system": [{"type": "text", "text": "You sort."}],
            "messages": [{"role": "user", "content": "items"}, {"role": "assistant", "content": [{"type": "text", "text": "[]"}]}]});
        assert_eq!(
            request_text(&request),
            "[system]\nYou sort.\n\n[user]\nitems\n\n[assistant]\n[]"
        );
        assert_eq!(request_text(&Value::Null), "(no longer kept)");
    }
}
