//! `fanwise schedules`: jobs that come in by themselves.

use anyhow::{Result, bail};
use fanwise::app::view::{ScheduleRunView, ScheduleView};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, quoted, typed};
use crate::args::{ScheduleArgs, SchedulesArgs, SchedulesCommand};
use crate::spec;
use crate::terminal::output::{Out, safe, short};

/// As many as a tenant can have by default, and more.
const MOST: usize = 1_000;

pub async fn run(api: &Api, args: SchedulesArgs, out: &Out) -> Result<()> {
    let at = |id: &str| format!("/v1/schedules/{}", quoted(id));
    let change = async |id: String, body: Value| {
        show(api.call(Method::PATCH, &at(&id), Some(&body)).await?, out)
    };
    match args.command.unwrap_or(SchedulesCommand::List) {
        SchedulesCommand::List => list(api, out).await,
        SchedulesCommand::Show { id } => show(api.get(&at(&id)).await?, out),
        SchedulesCommand::Make(args) => {
            let body = body(&args)?;
            for needed in ["cron", "job"] {
                if body.get(needed).is_none() {
                    bail!("the schedule needs --{needed} (or a --file that has it)");
                }
            }
            show(api.post("/v1/schedules", Some(&body)).await?, out)
        }
        SchedulesCommand::Change { id, args } => {
            let body = body(&args)?;
            if body.as_object().is_none_or(|map| map.is_empty()) {
                bail!("nothing is said that could change");
            }
            change(id, body).await
        }
        SchedulesCommand::Pause { id } => change(id, json!({"paused": true})).await,
        SchedulesCommand::Resume { id } => change(id, json!({"paused": false})).await,
        SchedulesCommand::Run { id } => {
            let run = api.post(&format!("{}/run", at(&id)), None).await?;
            if out.json {
                return out.json(&run);
            }
            let run: ScheduleRunView = typed(run)?;
            out.line(format_args!("{id} is run now ({})", safe(&run.state)))
        }
        SchedulesCommand::Delete { id } => {
            api.call(Method::DELETE, &at(&id), None).await?;
            out.note(format!("{id} is deleted; its jobs stay"));
            Ok(())
        }
    }
}

/// The body of a new schedule or a change.
fn body(args: &ScheduleArgs) -> Result<Value> {
    let mut body = match &args.file {
        Some(path) => Value::Object(spec::object_in(path)?),
        None => json!({}),
    };
    let options = [
        ("name", &args.name),
        ("cron", &args.cron),
        ("time_zone", &args.time_zone),
        ("overlap", &args.overlap),
        ("input_url", &args.input_url),
    ];
    for (key, value) in options {
        if let Some(value) = value {
            spec::put(&mut body, key, json!(value))?;
        }
    }
    if let Some(path) = &args.job {
        spec::put(&mut body, "job", Value::Object(spec::object_in(path)?))?;
    }
    spec::set_all(&mut body, &args.set)?;
    Ok(body)
}

async fn list(api: &Api, out: &Out) -> Result<()> {
    let schedules = api.list("/v1/schedules", MOST).await?;
    if out.json {
        return out.json(&schedules);
    }
    let mut rows = Vec::new();
    for schedule in schedules {
        let schedule: ScheduleView = typed(schedule)?;
        let last = schedule.last_runs.first().map(|run| run.state.clone());
        rows.push(vec![
            schedule.id,
            short(&schedule.name, 40),
            schedule.cron,
            schedule.time_zone,
            if schedule.paused {
                "paused".to_owned()
            } else {
                schedule.next_runs.into_iter().next().unwrap_or_default()
            },
            last.unwrap_or_default(),
        ]);
    }
    out.table(
        &["schedule", "name", "cron", "time zone", "next", "last run"],
        rows,
    )
}

fn show(value: Value, out: &Out) -> Result<()> {
    if out.json {
        return out.json(&value);
    }
    let schedule: ScheduleView = typed(value)?;
    out.pairs(&[
        ("schedule", schedule.id),
        ("name", safe(&schedule.name)),
        (
            "cron",
            format!("{} in {}", schedule.cron, schedule.time_zone),
        ),
        ("overlap", schedule.overlap.as_str().to_owned()),
        (
            "paused",
            if schedule.paused {
                "yes".to_owned()
            } else {
                String::new()
            },
        ),
        ("input", schedule.input_url.unwrap_or_default()),
        ("next", schedule.next_runs.join(", ")),
    ])?;
    if schedule.last_runs.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows = schedule.last_runs.into_iter().map(|run| {
        let reason = run
            .reason
            .map(|reason| format!("{}: {}", reason.code, reason.message));
        vec![
            run.due_at,
            run.cause,
            run.state,
            run.job.unwrap_or_default(),
            reason.unwrap_or_default(),
        ]
    });
    out.table(&["due", "cause", "state", "job", "reason"], rows.collect())
}
