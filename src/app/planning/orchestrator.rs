//! A dynamic job is planned: the orchestrator is asked, its answer judged, corrected once, and put to work; after the
//! last planned stage it is asked again, as often as the caller allows.
//!
//! The question is a task of a stage of its own, so it has lease, attempts, budget, permits and ledger like any other.
//! What is decided here is what to ask and what becomes of the answer. Each step is one guarded transaction.

use serde_json::{Value, json};

use super::feasibility::{Judged, bounds, chosen, judge, left_usd, reads, with_stages};
use super::history;
use crate::app::estimate::{Known, figures};
use crate::app::expand::enqueue;
use crate::app::results::{aggregate, flags};
use crate::app::stage::loaded::{Loaded, Step};
use crate::app::stage::prompts;
use crate::app::stage::runtime::{StageRuntime, nano};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError, estimate, submit};
use crate::core::estimate::profile::Profile;
use crate::core::estimate::usual_tokens_per_byte;
use crate::core::job::stage_step::StageState;
use crate::core::job::state::JobState;
use crate::core::plan::fallback;
use crate::core::plan::planner::PLAN;
use crate::core::plan::spec::{InputKind, Limits, Mode, PLAN_STAGE, ResolvedStage, Stage};
use crate::core::task::retry_policy::RequestMode;
use crate::ports::{Db, DbError, Ports};
use crate::store::job::jobs::JobRow;
use crate::store::job::plans::Round;
use crate::store::job::{jobs as job_jobs, measures, plans};
use crate::store::read::listing;
use crate::store::row::Columns;
use crate::store::task::admission::Body;
use crate::store::task::tasks;
use crate::store::task::tasks::NewTask;

/// Bytes of results that the orchestrator is shown when it is asked again.
const DIGEST_BYTES: u64 = 24_000;
/// What added stages read.
const READS: &str = "An added stage reads the results of the stage before it, under the ids of their items: all of them, or those that `of` or `where` chooses; the fields of a result, and only with `with_input` what the worker who gave it had read of it, which after the first map stage is the item itself. So tell its workers what those fields mean.";

/// What the newest task of the planning stage brought.
struct Said {
    /// The round that was asked for.
    round: u32,
    message: String,
    /// What was wrong with the answer before this one.
    corrected: Option<Vec<String>>,
    /// The answer, or why there is none.
    answer: Result<Value, String>,
}

/// A job in `planning` without stages: asked, waited for, judged.
pub async fn plan<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
    let Some(row) = loaded.stages.iter().find(|stage| stage.idx == PLAN_STAGE) else {
        return Ok(no_stage());
    };
    let (_, profile) = history::history(app, &loaded.job.id).await?;
    if row.state == StageState::Waiting {
        let spec = &loaded.runtime.spec;
        let limits = limits_told(&loaded.job, &spec.limits);
        let told = told(&profile, spec.input);
        let message = prompts::plan_message(&spec.task, &limits, &told);
        return ask(app, loaded, 0, message, None, now).await;
    }
    if !row.is_done() {
        enqueue::pump(app, &loaded.job.id).await?;
        return Ok(Step::Rest);
    }
    let said = said(app, loaded).await?;
    let judged = match &said.answer {
        Ok(answer) => judge(app, loaded, &profile, answer).await?,
        Err(reason) => {
            return without(app, loaded, &profile, &said, vec![reason.clone()], now).await;
        }
    };
    match judged {
        Judged::Sound { rationale, stages } => {
            let round = round(
                0,
                "orchestrator",
                rationale,
                said.corrected.unwrap_or_default(),
                now,
            );
            take(app, loaded, &profile, &stages, round).await
        }
        Judged::Unsound(faults) if said.corrected.is_none() => {
            correct(app, loaded, said, faults, now).await
        }
        Judged::Unsound(faults) => without(app, loaded, &profile, &said, faults, now).await,
    }
}

/// The round that is due now that every stage of the plan is done; `None` where the work goes on to its end.
pub async fn due<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Option<u32>, AppError> {
    let spec = &loaded.runtime.spec;
    let most = spec.limits.max_rounds.unwrap_or(0);
    let bounded = submit::may_add_stages(app, loaded.job.limit_nano);
    if spec.mode != Mode::Dynamic || most == 0 || !bounded {
        return Ok(None);
    }
    let (rounds, _) = history::history(app, &loaded.job.id).await?;
    // A plan that the orchestrator did not make, or was content with, is not thought over again.
    let open = rounds
        .last()
        .is_some_and(|last| last.source == "orchestrator" && !last.stages.is_empty());
    let next = rounds.last().map_or(0, |last| last.round + 1);
    Ok((open && next <= most).then_some(next))
}

/// Asks the orchestrator what to add to what has come of its plan.
pub async fn ask_again<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    round: u32,
    now: i64,
) -> Result<Step, AppError> {
    let spec = &loaded.runtime.spec;
    let (_, profile) = history::history(app, &loaded.job.id).await?;
    let digest = aggregate::digest(app, loaded, DIGEST_BYTES).await?;
    // A stage may be added over what was flagged.
    for (stage, found) in &digest.flags {
        flags::write_flags(app, &loaded.job.id, *stage, found).await?;
    }
    let limits = limits_told(&loaded.job, &spec.limits);
    let stages: Vec<Value> = spec.stages.iter().map(stage_told).collect();
    let so_far = prompts::SoFar {
        stages: &Value::Array(stages),
        results: &digest.results,
        coverage: &digest.coverage,
        reads: READS,
    };
    let told = told(&profile, spec.input);
    let message = prompts::replan_message(&spec.task, &limits, &told, &so_far);
    ask(app, loaded, round, message, None, now).await
}

/// A running job that is thought over: `None` once that is settled and the work goes on to its end.
pub async fn again<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    now: i64,
) -> Result<Option<Step>, AppError> {
    let Some(row) = loaded.stages.iter().find(|stage| stage.idx == PLAN_STAGE) else {
        return Ok(Some(no_stage()));
    };
    if !row.is_done() {
        enqueue::pump(app, &loaded.job.id).await?;
        return Ok(Some(Step::Rest));
    }
    let said = said(app, loaded).await?;
    let (rounds, profile) = history::history(app, &loaded.job.id).await?;
    if rounds.iter().any(|round| round.round == said.round) {
        return Ok(None);
    }
    let judged = match &said.answer {
        Ok(answer) => judge(app, loaded, &profile, answer).await?,
        Err(reason) => Judged::Unsound(vec![reason.clone()]),
    };
    let (rationale, stages, faults) = match judged {
        Judged::Sound { rationale, stages } => {
            (rationale, stages, said.corrected.unwrap_or_default())
        }
        Judged::Unsound(faults) if said.corrected.is_none() && said.answer.is_ok() => {
            return correct(app, loaded, said, faults, now).await.map(Some);
        }
        Judged::Unsound(faults) => {
            let mut all = said.corrected.unwrap_or_default();
            all.extend(faults);
            let rationale = "nothing was added: no sound answer came".to_owned();
            (rationale, Vec::new(), all)
        }
    };
    let round = round(said.round, "orchestrator", rationale, faults, now);
    take(app, loaded, &profile, &stages, round).await.map(Some)
}

fn no_stage() -> Step {
    Step::Fail {
        code: "internal",
        message: "the job has no stage to plan in".to_owned(),
    }
}

/// Writes the question as a task, in the place where the job stands, and moves the job to the planning stage.
async fn ask<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    round: u32,
    message: String,
    correction: Option<Value>,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let Some(runtime) = &loaded.runtime.plan else {
        return Ok(no_stage());
    };
    let input = json!({"round": round, "message": message, "correction": correction});
    let row = question(app, job, runtime, &input).await?;
    let mut statements = vec![
        job_jobs::guard_at(&job.id, job.run, job.state, job.stage),
        plans::stand_at(&job.id, PLAN_STAGE, now, app.drive_at(now)),
        job_jobs::open_stage(&job.id, PLAN_STAGE),
    ];
    let at = app.drive_at(now);
    let slice = tasks::Slice::of_one(&job.id, PLAN_STAGE, job.next_index, now, at);
    statements.extend(tasks::expand(&slice, &[row]));
    match app.ports.db().batch(statements).await {
        Ok(_) => app.log_job(
            &job.id,
            "asked",
            json!({"round": round, "again": correction.is_some()}),
        ),
        // Somebody else was faster, or the job was paused or cancelled.
        Err(DbError::Guard(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Step::Again)
}

async fn question<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    runtime: &StageRuntime,
    input: &Value,
) -> Result<NewTask, AppError> {
    let request = runtime.plan_request(runtime.stage.max_tokens, RequestMode::FRESH, input, None);
    let prefix = blobs::job_prefix(&job.id);
    let (body, blob) = blobs::keep(app, &prefix, input.to_string()).await?;
    Ok(NewTask {
        ids: "[]".to_owned(),
        items: 0,
        class: runtime.model.class.clone(),
        key: runtime.key(&request),
        bytes: request.input_bound(&runtime.model),
        max_tokens: request.max_tokens,
        worst_nano: nano(request.worst_case(&runtime.model)),
        body,
        blob,
        grp: None,
        labelled: false,
        tier: 0,
        wire: Vec::new(),
        taken: None,
    })
}

/// The one round of correction: the answer and all that is wrong with it.
async fn correct<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    said: Said,
    faults: Vec<String>,
    now: i64,
) -> Result<Step, AppError> {
    let answer = said.answer.unwrap_or_default().to_string();
    let correction = json!({"answer": answer, "faults": faults});
    ask(app, loaded, said.round, said.message, Some(correction), now).await
}

/// What the newest question brought.
async fn said<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Said, AppError> {
    let id = &loaded.job.id;
    let rows = db::rows(app, listing::stage_task(id, PLAN_STAGE)).await?;
    let gone = || AppError::Internal("the planning task is not readable".into());
    let newest = rows.first().ok_or_else(gone)?;
    let whole = app
        .ports
        .db()
        .batch(listing::task(id, newest.count("idx")))
        .await?;
    let row = whole
        .first()
        .and_then(|answer| answer.rows.first())
        .ok_or_else(gone)?;
    let input = db::json_of(blobs::text(app, &Body::read(row, "body", "blob")).await?);
    let output = blobs::text(app, &Body::read(row, "output", "output_blob")).await?;
    let answer = if row.text("state") == "succeeded" {
        db::json_of(output)
            .get_mut("output")
            .map(Value::take)
            .ok_or_else(gone)
            .map(Ok)?
    } else {
        let error: Option<Value> = row.json("error");
        let reason = error
            .as_ref()
            .and_then(|error| error.get("message"))
            .and_then(Value::as_str)
            .unwrap_or("no reason is known");
        Err(format!("no plan came: {reason}"))
    };
    let faults = input.pointer("/correction/faults").cloned();
    Ok(Said {
        round: input
            .get("round")
            .and_then(Value::as_u64)
            .and_then(|round| u32::try_from(round).ok())
            .unwrap_or(0),
        message: input
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        corrected: faults.and_then(|faults| serde_json::from_value(faults).ok()),
        answer,
    })
}

/// No sound plan came: a plain one stands in, or the job fails, as its caller wished.
async fn without<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    profile: &Profile,
    said: &Said,
    faults: Vec<String>,
    now: i64,
) -> Result<Step, AppError> {
    let spec = &loaded.runtime.spec;
    let mut all = said.corrected.clone().unwrap_or_default();
    all.extend(faults);
    // So that another job, or a retry, is not answered with the same from the ledger.
    let forget = plans::forget_answers(&loaded.job.id, PLAN_STAGE);
    app.ports.db().batch(vec![forget]).await?;
    let fallback = spec
        .planning
        .as_ref()
        .and_then(|planning| planning.fallback);
    if fallback == Some(false) {
        let message = format!("no sound plan came: {}", all.join("; "));
        return Ok(Step::Fail {
            code: "planning_failed",
            message,
        });
    }
    let stages = fallback::stages(&bounds(app, loaded, profile, &[])?);
    let rationale = "The orchestrator's plan could not be used, so a plain one stands in: each item is read for what it contributes to the task, and a report brings that together.";
    let round = round(0, "default", rationale.to_owned(), all, now);
    take(app, loaded, profile, &stages, round).await
}

fn round(round: u32, source: &str, rationale: String, faults: Vec<String>, at: i64) -> Round {
    Round {
        round,
        source: source.to_owned(),
        rationale: Some(rationale),
        stages: Vec::new(),
        faults,
        expected: None,
        at,
    }
}

/// Adds the stages to the job and keeps the round. The first ones make it a job with a plan; later ones are worked on
/// next.
async fn take<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    profile: &Profile,
    stages: &[Stage],
    mut round: Round,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let from = u32::try_from(loaded.runtime.spec.stages.len()).unwrap_or(u32::MAX);
    round.stages = stages.iter().map(|stage| stage.name.clone()).collect();
    let mut statements = vec![job_jobs::guard_at(&job.id, job.run, job.state, job.stage)];
    if !stages.is_empty() {
        let runtime = with_stages(
            app,
            loaded,
            submit::resolve_stages(
                app,
                stages,
                reads(&loaded.runtime.spec),
                &loaded.runtime.spec.task,
            )?,
        )?;
        let spec = &runtime.spec;
        let known = Known::of(app, &job.tenant, &runtime).await?;
        let counted = chosen(app, loaded, stages).await?;
        let mut figures = figures(
            app,
            &runtime,
            profile,
            &spec.limits,
            &known,
            counted.as_ref(),
        );
        figures.retain(|figure| {
            round.stages.contains(&figure.stage) || (from == 0 && figure.stage == PLAN)
        });
        let expected = estimate::delivered(app, &runtime, &figures, job.deadline_at);
        round.expected = Some(expected);
        statements.extend(plans::set_stages(
            &job.id,
            &spec.stages,
            from,
            &submit::classes(app, spec),
            submit::synthesis_price(&runtime),
        ));
        statements.push(measures::set_shapes(
            &job.id,
            &estimate::shapes(&job.tenant, &runtime),
        ));
        if job.state == JobState::Running {
            let drive_at = app.drive_at(round.at);
            statements.push(job_jobs::next_stage(
                &job.id, PLAN_STAGE, from, round.at, drive_at,
            ));
        }
    }
    statements.push(plans::keep(&job.id, &round));
    match app.ports.db().batch(statements).await {
        Ok(_) => app.log_job(
            &job.id,
            "planned",
            json!({"round": round.round, "source": round.source, "stages": round.stages, "faults": round.faults.len()}),
        ),
        Err(DbError::Guard(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Step::Again)
}

/// The profile as the orchestrator is told it, with what the items are.
fn told(profile: &Profile, input: InputKind) -> Value {
    let mut told = profile.told(usual_tokens_per_byte());
    let kind = match input {
        InputKind::Items => "items",
        InputKind::Documents => "documents: long ones are cut into slices by tokens",
        InputKind::Urls => {
            "addresses of web pages: workers read the pages, which are not seen here, cut into slices by tokens"
        }
    };
    if let Value::Object(map) = &mut told {
        map.shift_insert(0, "kind".into(), kind.into());
    }
    told
}

/// The caller's limits, in words. Figures that differ from run to run of the same job would make every question a new
/// one, so what the ledger has saved counts as spent and dollars have two digits.
fn limits_told(job: &JobRow, limits: &Limits) -> String {
    let mut lines = Vec::new();
    lines.push(match left_usd(job) {
        Some(left) => format!(
            "- dollars, for all that is still to do: at most {}",
            two_digits(left)
        ),
        None => "- dollars: no cap is set; be frugal all the same".to_owned(),
    });
    if let Some(seconds) = limits.deadline_seconds {
        lines.push(format!("- time, from the submit on: {seconds} seconds"));
    }
    if let Some(ratio) = limits.min_success_ratio.filter(|ratio| *ratio > 0.0) {
        let percent = (ratio * 100.0).round();
        lines.push(format!("- items that must have a result: {percent} %"));
    }
    lines.join("\n")
}

/// Rounded down to two digits that mean something.
fn two_digits(usd: f64) -> f64 {
    if usd <= 0.0 {
        return 0.0;
    }
    let scale = 10_f64.powi(1 - usd.log10().floor() as i32);
    ((usd * scale).floor() / scale * 1e9).round() / 1e9
}

/// A stage of the plan, as the orchestrator is reminded of it.
fn stage_told(stage: &ResolvedStage) -> Value {
    let mut told = json!({
        "name": stage.name, "kind": stage.kind.as_str(), "instructions": stage.instructions,
        "output_schema": stage.output_schema, "chunk": stage.chunk, "count_by": stage.merge.count_by,
    });
    for (name, choice) in [("of", &stage.of), ("where", &stage.filter)] {
        if let (Value::Object(told), Some(choice)) = (&mut told, choice) {
            told.insert(name.into(), json!(choice));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::two_digits;

    #[test]
    fn dollars_have_two_digits_and_are_never_more() {
        let cases = [
            (5.0, 5.0),
            (4.987, 4.9),
            (12.99, 12.0),
            (0.012_39, 0.012),
            (0.0, 0.0),
        ];
        for (usd, shown) in cases {
            assert!((two_digits(usd) - shown).abs() < 1e-9, "{usd}");
        }
    }
}
