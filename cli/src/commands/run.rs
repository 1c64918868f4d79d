//! `fanwise run`: from an input to a report.
//!
//! The job is submitted so that it stops at its plan, the plan is shown with its cost, and only what was agreed to goes on. Nothing is
//! paid before, but the making of a plan where Claude makes it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use fanwise::app::planning::commands::PlanView;
use fanwise::app::view::JobView;
use fanwise::core::job::state::JobState;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::api::{Api, Refused, is_passing, typed};
use crate::args::RunArgs;
use crate::commands::exit::{self, INTERRUPTED};
use crate::commands::{download, plans, watch};
use crate::input::{Feed, Input, feed};
use crate::spec::{self, Object};
use crate::terminal::output::{Out, safe};
use crate::terminal::prompt;

/// Between two looks at a job whose plan is being made.
const LOOK: Duration = Duration::from_millis(400);
/// A submit that came to nothing is sent again this often, under the same key.
const TRIES: u32 = 3;

pub async fn run(api: &Api, args: RunArgs, out: &Out) -> Result<u8> {
    for path in &args.output {
        download::check_output(path)?;
    }
    let asks = !args.yes && !args.approve;
    if asks && !prompt::possible() {
        bail!(
            "there is no terminal to ask on whether the plan may be paid: give --yes, or --approve to leave it waiting"
        );
    }
    let mut body = spec::body(&args.spec)?;
    if asks || args.approve {
        body.insert("approval".to_owned(), json!(true));
    }
    let input = match &args.spec.input {
        Some(path) => Some(Input::open(path, &args.spec.reading)?),
        None => None,
    };
    if let Some(input) = &input {
        out.note(safe(&input.about));
    }
    let key = args
        .key
        .unwrap_or_else(|| format!("fanwise-{}", uuid::Uuid::new_v4().simple()));
    let job = submit(api, &body, input, &key).await?;
    let view: JobView = typed(job.clone())?;
    out.note(format!("{} is accepted", view.id));
    match view.progress.items.blank_rows {
        0 => {}
        1 => out.note("1 blank row of the table is passed over"),
        blank => out.note(format!("{blank} blank rows of the table are passed over")),
    }
    let waits = body.get("approval") == Some(&Value::Bool(true));
    let mut job = job;
    if waits {
        let (now, plan) = tokio::select! {
            planned = planned(api, &view.id) => planned?,
            _ = tokio::signal::ctrl_c() => return Ok(left_waiting(out, &view.id)),
        };
        job = now;
        if let Some(plan) = plan {
            plans::print(
                &plan,
                view.cost.limit_usd,
                &Out {
                    json: false,
                    terminal: true,
                },
                true,
            )?;
            if !asks {
                out.note(format!("the plan waits: fanwise approve {}", view.id));
                tell(&job, &view.id, out)?;
                return Ok(0);
            }
            match agree(api, &view.id, plan, view.cost.limit_usd, out).await? {
                Agreed::Yes => {
                    job = api
                        .post(&format!("/v1/jobs/{}/approve", view.id), None)
                        .await?
                }
                Agreed::No => {
                    api.post(&format!("/v1/jobs/{}/cancel", view.id), None)
                        .await?;
                    out.note("cancelled; nothing of the plan was paid");
                    return Ok(exit::of_state("cancelled"));
                }
                Agreed::Later => return Ok(left_waiting(out, &view.id)),
            }
        }
    }
    if args.detach {
        out.note(format!("fanwise watch {}", view.id));
        tell(&job, &view.id, out)?;
        return Ok(0);
    }
    watch::to_end(api, &view.id, &args.output, out).await
}

/// What a program wants to know of a job that goes on without us.
fn tell(job: &Value, id: &str, out: &Out) -> Result<()> {
    if out.json {
        out.json(job)
    } else {
        out.line(id)
    }
}

fn left_waiting(out: &Out, id: &str) -> u8 {
    out.note(format!(
        "\nthe plan waits and nothing of it is paid: fanwise approve {id}, or fanwise cancel {id}"
    ));
    INTERRUPTED
}

/// Waits until the plan is there; none where the job did not stop at it.
async fn planned(api: &Api, id: &str) -> Result<(Value, Option<PlanView>)> {
    let spinner = bar(None);
    spinner.set_style(ProgressStyle::with_template(
        "{spinner} the plan is being made {elapsed}",
    )?);
    spinner.enable_steady_tick(Duration::from_millis(120));
    loop {
        let job = api.get(&format!("/v1/jobs/{id}")).await?;
        let view: JobView = typed(job.clone())?;
        match JobState::parse(&view.state) {
            Some(JobState::AwaitingApproval) => {
                let plan = api.get(&format!("/v1/jobs/{id}/plan")).await?;
                return Ok((job, Some(typed(plan)?)));
            }
            Some(JobState::Queued | JobState::Planning) => tokio::time::sleep(LOOK).await,
            _ => return Ok((job, None)),
        }
    }
}

enum Agreed {
    Yes,
    No,
    Later,
}

/// Asks until the plan is taken, refused or left.
async fn agree(
    api: &Api,
    id: &str,
    mut plan: PlanView,
    limit: Option<f64>,
    out: &Out,
) -> Result<Agreed> {
    loop {
        // What costs money is never what an empty line says.
        let prompt = "Go on with this plan? [y]es, [N]o, [e]dit it, [s]how it whole";
        let Ok(letter) = prompt::letter(prompt, "nyes").await else {
            return Ok(Agreed::Later);
        };
        match letter {
            'y' => return Ok(Agreed::Yes),
            's' => out.note(safe(&serde_json::to_string_pretty(&plan.stages)?)),
            'e' => match plans::edit(api, id, &plan).await {
                Ok(Some(edited)) => {
                    plan = edited;
                    plans::print(
                        &plan,
                        limit,
                        &Out {
                            json: false,
                            terminal: true,
                        },
                        true,
                    )?;
                }
                Ok(None) => out.note("the plan is as it was"),
                Err(error) => out.error(&error),
            },
            _ => return Ok(Agreed::No),
        }
    }
}

fn bar(length: Option<u64>) -> ProgressBar {
    ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr())
}

/// Hands the job in; its first view.
async fn submit(api: &Api, body: &Object, input: Option<Input>, key: &str) -> Result<Value> {
    let Some(input) = input else {
        let request = |_| {
            let body = Value::Object(body.clone());
            Ok((api.request(Method::POST, "/v1/jobs").json(&body), None))
        };
        return tries(api, key, true, request).await;
    };
    let again = input.again();
    let input = Arc::new(input);
    let request = |_| {
        let up = bar(input.bytes);
        let template = match input.bytes {
            Some(_) => "uploading {bar:30} {bytes}/{total_bytes} {bytes_per_sec}",
            None => "uploading {spinner} {bytes} {bytes_per_sec}",
        };
        up.set_style(ProgressStyle::with_template(template)?);
        let read = {
            let up = up.clone();
            Arc::new(move |bytes| up.inc(bytes))
        };
        let (input, spec) = (Arc::clone(&input), body.clone());
        let content_type = input.content_type();
        let fed = feed(move |into| input.write(&spec, into, read));
        let (piece, failed) = fed.parts();
        let request = api.request(Method::POST, "/v1/jobs");
        let request = match content_type {
            None => request
                .header("content-type", "application/json")
                .body(piece),
            Some(content_type) => {
                let spec = serde_json::to_string(body)?;
                let spec = Part::text(spec).mime_str("application/json")?;
                let file = Part::stream(piece)
                    .file_name("input")
                    .mime_str(content_type)?;
                request.multipart(Form::new().part("spec", spec).part("input", file))
            }
        };
        Ok((request, Some((failed, up))))
    };
    tries(api, key, again, request).await
}

type Under = Option<(Arc<std::sync::Mutex<Option<anyhow::Error>>>, ProgressBar)>;

/// Sends it, and again under the same key where nobody knows what became of it.
async fn tries(
    api: &Api,
    key: &str,
    again: bool,
    request: impl Fn(u32) -> Result<(RequestBuilder, Under)>,
) -> Result<Value> {
    let mut tried = 0;
    loop {
        tried += 1;
        let (request, under) = request(tried)?;
        let sent = api.send(request.header("idempotency-key", key)).await;
        let mut failure = None;
        if let Some((failed, bar)) = under {
            bar.finish_and_clear();
            failure = Feed::failure(&failed);
        }
        let error = match sent {
            Ok(response) => return crate::api::json(response).await,
            Err(error) => error,
        };
        let refused = error.downcast_ref::<Refused>();
        // An answer says more than a body that nobody wanted to the end.
        if let (Some(failure), None) = (failure, refused) {
            return Err(failure.context("nothing was submitted"));
        }
        let passing = refused.is_none_or(|refused| is_passing(refused.status));
        if !passing || !again || tried == TRIES {
            return Err(match refused {
                Some(_) => error,
                None => error.context(format!(
                    "whether the job was taken in is not known; with --key {key} it is not done twice"
                )),
            });
        }
        tokio::time::sleep(Duration::from_secs(u64::from(tried))).await;
    }
}
