//! Jobs and their tasks: lists, one job, one task.

use anyhow::Result;
use fanwise::app::view::{AttemptView, JobView, TaskDetail, TaskView};
use serde_json::Value;

use crate::api::{Api, quoted, typed};
use crate::args::{JobsArgs, TasksArgs};
use crate::commands::job_id::resolve;
use crate::terminal::money;
use crate::terminal::output::{self, Out, drawn, number, plain, safe, short, usd};

/// Characters of a text in a table's cell.
const CELL: usize = 60;

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
                output::state(&job.state)
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
                output::state(&task.state)
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
        output::width(),
    );
    out.line(table)?;
    for attempt in &task.attempts {
        out.line("")?;
        print_attempt(attempt, out)?;
    }
    Ok(())
}

fn print_attempt(attempt: &AttemptView, out: &Out) -> Result<()> {
    let ms = fanwise::core::value::time::parse_rfc3339;
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
    let (bold, number) = (output::BOLD, attempt.number);
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
        output::width(),
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
