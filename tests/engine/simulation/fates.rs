//! What became of the items of a story: each has one fate, results are valid and of what was given, reports rest on what is there, and
//! nobody else sees any of it.

use std::collections::{BTreeMap, BTreeSet};

use fanwise::app::job::commands;
use fanwise::app::planning::commands as planning_commands;
use fanwise::app::read::{jobs, report};
use fanwise::app::results::pages;
use fanwise::app::view::{ResultLine, job};
use fanwise::app::{App, AppError};
use fanwise::core::plan::spec::Limits;
use serde_json::Value;

use super::run::Run;
use super::story::{CATEGORIES, Plan, UNSURE};
use crate::world::World;

/// P1, P7, P10: every item has one fate, every result is valid, and nobody else sees any of it.
pub(super) fn fates(run: &Run, position: usize, id: &str, faults: &mut Vec<String>) {
    let plan = &run.story.jobs[position];
    let (tenant, app) = (plan.tenant, run.app.clone());
    let owned = id.to_owned();
    let given = plan.body.get("stages").cloned();
    let seen = run
        .world
        .block_on(async move { read(&app, tenant, &owned, given).await });
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            faults.push(format!("P1: {id} cannot be read: {error:?}"));
            return;
        }
    };
    let mut fault = |text: String| faults.push(format!("{id} ({}): {text}", seen.state));
    if stranger(run, id) {
        fault("P10: a stranger can read or command it".into());
    }
    let all: BTreeSet<String> = all_in_order(plan).map(|(id, _)| id).collect();
    let maps = seen
        .stages
        .iter()
        .filter(|stage| stage["kind"] == "map")
        .collect::<Vec<_>>();
    if maps.is_empty() && seen.state != "cancelled" && seen.state != "failed" {
        fault("P1: it came to an end without a plan".into());
    }
    let cites = seen.stages.iter().any(|stage| stage["citations"] == true);
    let shown: BTreeSet<String> = seen.results.iter().flatten().flat_map(names).collect();
    let there = |id: &str| all.contains(id) || shown.contains(id);
    for id in seen.cited.iter().filter(|id| cites && !there(id)) {
        fault(format!(
            "P7: the report rests on {id}, which is not there, and nothing says so"
        ));
    }
    let missing: BTreeSet<String> = seen.missing.iter().cloned().collect();
    if missing.len() != seen.missing.len() {
        fault("P1: an item is missing twice".into());
    }
    // The input as the first stage has it: items whole, or all their slices.
    let slices = sliced(run, id);
    let parts: BTreeMap<String, Vec<String>> = all
        .iter()
        .map(|id| match slices.get(id) {
            None => (id.clone(), vec![id.clone()]),
            Some(of) => (id.clone(), (1..=*of).map(|n| format!("{id}#{n}")).collect()),
        })
        .collect();
    let mut read: BTreeSet<String> = parts.values().flatten().cloned().collect();
    // Which of them stand behind an item of the stage that is looked at.
    let mut behind: BTreeMap<String, Vec<String>> = read
        .iter()
        .map(|id| (id.clone(), vec![id.clone()]))
        .collect();
    let mut before: BTreeMap<String, Value> = BTreeMap::new();
    let mut excused: BTreeSet<String> = BTreeSet::new();
    for (stage, lines) in maps.iter().zip(&seen.results) {
        let after: BTreeMap<String, Value> = lines.iter().map(named).collect();
        if !stage["of"].is_null() {
            for (id, wrong) in amended(stage, &before, &after, &seen) {
                fault(format!("P1: {id} after {}: {wrong}", stage["name"]));
            }
            for output in after.values().filter(|output| !valid(output)) {
                fault(format!("P7: {output} is no result of {}", stage["name"]));
            }
            before = after;
            continue;
        }
        // What the condition does not choose is done with: it stays covered, and no later stage has it.
        let passed: BTreeSet<String> = before
            .iter()
            .filter(|(_, output)| !read_by(stage, output))
            .map(|(id, _)| id.clone())
            .collect();
        for id in after.keys().filter(|id| passed.contains(*id)) {
            fault(format!("P7: {id} was not chosen by {}", stage["name"]));
        }
        excused.extend(
            passed
                .iter()
                .filter_map(|id| behind.get(id))
                .flatten()
                .cloned(),
        );
        before = after;
        let mut ids = BTreeSet::new();
        let mut next = BTreeMap::new();
        for line in lines {
            let (name, of, output) = match line {
                ResultLine::Item { id, output, .. } => (id, std::slice::from_ref(id), output),
                ResultLine::Chunk {
                    label, ids, output, ..
                } => (label.as_ref().unwrap(), ids.as_slice(), output),
            };
            if let Some(id) = of.iter().find(|id| !behind.contains_key(*id)) {
                fault(format!(
                    "P7: a result of {} is of {id}, which it was not given",
                    stage["name"]
                ));
            }
            let of: Vec<String> = of
                .iter()
                .filter_map(|id| behind.get(id))
                .flatten()
                .cloned()
                .collect();
            next.insert(name.clone(), of.clone());
            if !valid(output) {
                fault(format!("P7: {output} is no result of {}", stage["name"]));
            }
            for id in &of {
                if !ids.insert(id.clone()) {
                    fault(format!("P1: {id} has two results in {}", stage["name"]));
                }
            }
        }
        read.retain(|id| ids.contains(id) || excused.contains(id));
        behind = next;
    }
    if maps.is_empty() {
        read.clear();
    }
    let mut covered = all.clone();
    covered.retain(|id| parts[id].iter().all(|part| read.contains(part)));
    for (id, _) in all_in_order(plan).filter(|(id, readable)| !readable && covered.contains(id)) {
        fault(format!(
            "P7: {id} has a result, and its page cannot be read"
        ));
    }
    if !covered.is_disjoint(&missing) {
        fault("P1: an item is covered and missing".into());
    }
    if covered.union(&missing).cloned().collect::<BTreeSet<_>>() != all {
        fault(format!(
            "P1: {} covered and {} missing of {} items",
            covered.len(),
            missing.len(),
            all.len()
        ));
    }
    if seen.covered as usize != covered.len() || seen.total as usize != all.len() {
        fault(format!(
            "P1: the report says {} of {} covered, it is {} of {}",
            seen.covered,
            seen.total,
            covered.len(),
            all.len()
        ));
    }
    let whole = missing.is_empty() && seen.left.is_empty();
    match seen.state.as_str() {
        "succeeded" if !whole => fault("P1: succeeded with something missing".into()),
        "partial" if whole => fault("P1: partial with nothing missing".into()),
        "succeeded" | "partial" | "failed" | "cancelled" => {}
        _ => fault("P1: it is not over".into()),
    }
    let wants = seen.stages.iter().any(|stage| stage["kind"] == "synthesis");
    let ended_well = matches!(seen.state.as_str(), "succeeded" | "partial");
    if seen.synthesis != (wants && ended_well) {
        fault("P5: the synthesis is not what the state says".into());
    }
}

/// Whether somebody else can do anything with the job.
fn stranger(run: &Run, id: &str) -> bool {
    let (app, owned) = (run.app.clone(), id.to_owned());
    run.world.block_on(async move {
        let job = job::job(&app, "stranger", &owned).await.is_ok();
        let list = jobs::jobs(&app, "stranger", None, None, 10).await;
        let resumed = commands::resume(&app, "stranger", &owned).await.is_ok();
        let limits = Limits::default();
        let retried = commands::retry(&app, "stranger", &owned, &limits)
            .await
            .is_ok();
        let patch = commands::Patch {
            metadata: Some(serde_json::Map::new()),
            limits: None,
        };
        let patched = commands::patch(&app, "stranger", &owned, patch)
            .await
            .is_ok();
        let ended = commands::cancel(&app, "stranger", &owned).await.is_ok();
        let commanded = resumed || retried || patched || ended;
        commanded
            || job
            || report::report(&app, "stranger", &owned).await.is_ok()
            || pages::results_of(&app, "stranger", &owned, None)
                .await
                .is_ok()
            || !list.unwrap().0.is_empty()
    })
}

/// The items of the input, and whether each can be read.
fn all_in_order(plan: &Plan) -> impl Iterator<Item = (String, bool)> {
    (1..)
        .zip(&plan.readable)
        .map(|(n, readable)| (format!("item-{n}"), *readable))
}

/// Into how many slices items were cut.
fn sliced(run: &Run, job: &str) -> BTreeMap<String, u64> {
    let rows = run.world.query(&format!(
        "SELECT item, slices FROM documents WHERE job = '{job}'"
    ));
    rows.iter()
        .map(|row| {
            (
                row["item"].as_str().unwrap().to_owned(),
                row["slices"].as_u64().unwrap(),
            )
        })
        .collect()
}

/// Its name, and those of what it is made of.
fn names(line: &ResultLine) -> Vec<String> {
    match line {
        ResultLine::Item { id, .. } => vec![id.clone()],
        ResultLine::Chunk { label, ids, .. } => label.iter().chain(ids).cloned().collect(),
    }
}

fn named(line: &ResultLine) -> (String, Value) {
    match line {
        ResultLine::Item { id, output, .. } => (id.clone(), output.clone()),
        ResultLine::Chunk { label, output, .. } => (label.clone().unwrap(), output.clone()),
    }
}

/// What is wrong with results after a stage over some of them: none may be lost or made up, those that were not chosen are as they
/// were, and of those that were each has what it was asked for, or is flagged.
fn amended(
    stage: &Value,
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    seen: &Seen,
) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let ended_well = matches!(seen.state.as_str(), "succeeded" | "partial");
    for id in before.keys().filter(|id| !after.contains_key(*id)) {
        wrong.push((id.clone(), "is lost".to_owned()));
    }
    for (id, output) in after {
        let Some(was) = before.get(id) else {
            wrong.push((id.clone(), "is made up".to_owned()));
            continue;
        };
        let followed = FOLLOWED.iter().all(|field| output.get(field).is_some());
        let by_flag = stage["of"]["flagged"] == true;
        let value = was[stage["of"]["field"].as_str().unwrap_or_default()].as_str();
        let values = stage["of"]["values"].as_array();
        let mut values = values.into_iter().flatten().filter_map(Value::as_str);
        let chosen = values.any(|one| value.is_some_and(|value| value.eq_ignore_ascii_case(one)));
        if !chosen && !by_flag && output != was {
            wrong.push((
                id.clone(),
                format!("was not chosen and is {output}, not {was}"),
            ));
        }
        if chosen && !followed && ended_well && !seen.left.contains(id) {
            wrong.push((
                id.clone(),
                "was chosen, has nothing new, and is not flagged".to_owned(),
            ));
        }
    }
    wrong
}

/// Whether a stage reads a result: the conditions of the stories are about one field with texts.
fn read_by(stage: &Value, output: &Value) -> bool {
    let by = &stage["where"];
    let holds = |by: &Value| {
        let value = output[by["field"].as_str().unwrap_or_default()].as_str();
        let has = |list: &Value| {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(Value::as_str)
                .any(|one| value.is_some_and(|value| value.eq_ignore_ascii_case(one)))
        };
        match (&by["in"], &by["not_in"], &by["exists"]) {
            (Value::Array(_), _, _) => has(&by["in"]),
            (_, Value::Array(_), _) => !has(&by["not_in"]),
            (_, _, Value::Bool(there)) => *there == value.is_some(),
            _ => true,
        }
    };
    match by["any"].as_array() {
        Some(any) => any.iter().any(holds),
        None => holds(by),
    }
}

/// What a caller can read of a job.
struct Seen {
    state: String,
    total: u64,
    covered: u64,
    missing: Vec<String>,
    /// Results that were chosen for a follow-up and did not get it.
    left: BTreeSet<String>,
    /// What the report rests on, without what is flagged as not there.
    cited: Vec<String>,
    synthesis: bool,
    /// Those given, or planned.
    stages: Vec<Value>,
    /// For each map stage.
    results: Vec<Vec<ResultLine>>,
}

/// The ids that a report names.
fn cited(report: &str) -> impl Iterator<Item = &str> {
    let ends = report.split("[[").skip(1);
    ends.filter_map(|rest| rest.split_once("]]").map(|(id, _)| id))
}

async fn read(
    app: &App<World>,
    tenant: &str,
    id: &str,
    given: Option<Value>,
) -> Result<Seen, AppError> {
    let planned = planning_commands::plan(app, tenant, id).await?;
    let stages = given.unwrap_or_else(|| serde_json::to_value(planned.stages).unwrap());
    let stages = stages.as_array().unwrap().clone();
    let view = job::job(app, tenant, id).await?;
    let report = report::report(app, tenant, id).await?;
    let mut results = Vec::new();
    for stage in stages.iter().filter(|stage| stage["kind"] == "map") {
        let of = pages::results_of(app, tenant, id, stage["name"].as_str()).await?;
        let mut of = pages::Results::new(app.clone(), of);
        let mut lines = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = of.portion(after).await?;
            lines.extend(page);
            let Some(next) = next else { break };
            after = Some(next);
        }
        results.push(lines);
    }
    Ok(Seen {
        state: view.state,
        total: report.coverage.total,
        covered: report.coverage.covered,
        missing: report.coverage.missing.into_iter().map(|m| m.id).collect(),
        left: report
            .coverage
            .flagged
            .iter()
            .filter(|one| one.flag == "not_followed_up")
            .map(|one| one.id.clone())
            .collect(),
        cited: cited(report.synthesis.as_str().unwrap_or_default())
            .filter(|id| {
                !report
                    .coverage
                    .flagged
                    .iter()
                    .any(|one| one.flag == "unknown_citation" && one.id == *id)
            })
            .map(str::to_owned)
            .collect(),
        synthesis: !report.synthesis.is_null(),
        stages,
        results,
    })
}

/// Fields of results in plans of the stand-in's, and in the plain plan.
const PLANNED: [&[&str]; 6] = [
    &["topic", "sentiment", "needs_attention", "summary"],
    &["topic", "sentiment", "rating", "summary"],
    &["summary", "key_points", "risks"],
    &["primary_category", "sentiment", "urgency", "issue"],
    &["reason", "act"],
    &["relevance", "topic", "findings", "note"],
];

/// What follow-ups lay over results.
const FOLLOWED: [&str; 2] = ["reason", "act"];

/// Whether an output is one that a stage of the stories asks for.
pub(super) fn valid(output: &Value) -> bool {
    let Some(object) = output.as_object() else {
        return false;
    };
    let mut object = object.clone();
    if object.len() > FOLLOWED.len() && FOLLOWED.iter().all(|field| object.contains_key(*field)) {
        object.retain(|field, _| !FOLLOWED.contains(&field.as_str()));
    }
    let object = &object;
    if PLANNED
        .iter()
        .any(|fields| object.keys().map(String::as_str).eq(fields.iter().copied()))
    {
        return true;
    }
    let repeats = object.get("text").is_some_and(Value::is_string);
    if object.len() != 1 + usize::from(repeats) {
        return false;
    }
    match (object.get("primary_category"), object.get("gist")) {
        (Some(Value::String(category)), None) => {
            category == UNSURE || CATEGORIES.contains(&category.as_str())
        }
        (None, Some(gist)) => gist.is_string(),
        _ => false,
    }
}
