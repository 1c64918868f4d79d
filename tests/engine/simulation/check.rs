//! What must hold when a story is over, and of every request on its way.

use std::collections::{BTreeMap, BTreeSet};

use fanwise::app::view::ResultLine;
use fanwise::app::{App, AppError, control, plan, query, report, results};
use fanwise::core::plan::{Limits, PLAN_STAGE};
use futures::executor::LocalPool;
use serde_json::Value;

use super::run::Run;
use super::story::{CATEGORIES, Plan, UNSURE};
use super::watch::COUNTERS;
use super::wide::INWARD;
use crate::world::{KEY, START, World};

/// All violations at the end.
pub fn end(run: &Run, _pool: &mut LocalPool) -> Vec<String> {
    let mut faults = Vec::new();
    for (what, sql) in COUNTERS {
        for row in run.world.query(sql) {
            faults.push(format!("P1/P5 {what}: {}", Value::Object(row)));
        }
    }
    paid_twice(run, &mut faults);
    caps(run, &mut faults);
    days(run, &mut faults);
    ledger(run, &mut faults);
    limiter(run, &mut faults);
    concurrency(run, &mut faults);
    secrets(run, &mut faults);
    guard(run, &mut faults);
    for (position, id) in run.ids().into_iter().enumerate() {
        let Some(id) = id else {
            faults.push(format!("P1: job {position} was never accepted"));
            continue;
        };
        fates(run, position, &id, &mut faults);
    }
    faults
}

/// P2: once a result is recorded, no call asks for it again.
fn paid_twice(run: &Run, faults: &mut Vec<String>) {
    if run.app.config.ledger_days == 0 {
        return;
    }
    let rows = run.world.query(
        "SELECT a.job, a.idx, a.n, a.stage, a.tenant, j.reuse, p.spec->>('$.stages[' || a.stage || '].max_tokens') AS most, o.seq AS opened, r.seq AS recorded
         FROM attempts a JOIN jobs j ON j.id = a.job JOIN specs p ON p.job = a.job LEFT JOIN opened o ON o.attempt = a.id
           LEFT JOIN recorded r ON r.attempt = a.id WHERE j.reuse = 1",
    );
    let mut keys = BTreeMap::new();
    for call in &run.world.chaos().calls {
        let name = (call.job.clone(), call.task.clone(), call.attempt.clone());
        keys.insert(name, call.key);
    }
    type Seen = (i64, Option<i64>, String);
    // What is asked, by whom, and how long its caller lets the answer be.
    let mut asked: BTreeMap<(String, u128, String), Vec<Seen>> = BTreeMap::new();
    // Plans that could not be carried out are forgotten, so that they may be asked for again.
    let forgotten = !run.story.claude.rules.is_empty();
    for row in &rows {
        if forgotten && row["stage"] == PLAN_STAGE {
            continue;
        }
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let name = (text("job"), row["idx"].to_string(), row["n"].to_string());
        let Some(key) = keys.get(&name) else {
            continue;
        };
        let what = format!("{}/{}#{}", name.0, name.1, name.2);
        let seen = (
            row["opened"].as_i64().unwrap(),
            row["recorded"].as_i64(),
            what,
        );
        let question = (text("tenant"), *key, row["most"].to_string());
        asked.entry(question).or_default().push(seen);
    }
    for calls in asked.values() {
        let Some(first) = calls.iter().filter(|c| c.1.is_some()).min_by_key(|c| c.1) else {
            continue;
        };
        for again in calls.iter().filter(|c| Some(c.0) > first.1) {
            faults.push(format!(
                "P2: {} was paid for by {} and recorded before",
                again.2, first.2
            ));
        }
    }
}

/// What each request of a batch was charged: job, task, attempt, and how much.
fn batched(run: &Run) -> Vec<(String, String, String, u64)> {
    let rows = run.world.query("SELECT id, job FROM batches");
    let jobs: BTreeMap<&str, &str> = rows
        .iter()
        .map(|row| (row["id"].as_str().unwrap(), row["job"].as_str().unwrap()))
        .collect();
    let claude = run.world.claude();
    let answers = claude.stats().batch_answers().iter();
    answers
        .map(|answer| {
            let mut parts = answer.custom_id.rsplitn(3, '-');
            let mut part = || parts.next().unwrap().to_owned();
            let (attempt, task, batch) = (part(), part(), part());
            let job = jobs[batch.as_str()].to_owned();
            (job, task, attempt, answer.cost_nano)
        })
        .collect()
}

/// P3: what Claude charged is within every cap the job ever had.
fn caps(run: &Run, faults: &mut Vec<String>) {
    let mut charged: BTreeMap<String, u64> = BTreeMap::new();
    for call in &run.world.chaos().calls {
        *charged.entry(call.job.clone()).or_default() += call.cost;
    }
    for (job, _, _, cost) in batched(run) {
        *charged.entry(job).or_default() += cost;
    }
    let rows = run
        .world
        .query("SELECT job, MAX(nano) AS nano, SUM(nano IS NULL) AS free FROM caps GROUP BY job");
    for row in rows.iter().filter(|row| row["free"] == 0) {
        let spent = charged
            .get(row["job"].as_str().unwrap())
            .copied()
            .unwrap_or(0);
        let cap = row["nano"].as_u64().unwrap();
        if spent > cap {
            faults.push(format!(
                "P3: Claude charged {spent} for {}, its cap is {cap}",
                row["job"]
            ));
        }
    }
}

/// P3: what Claude charged for the calls of a day is within the day's caps.
fn days(run: &Run, faults: &mut Vec<String>) {
    let config = &run.app.config;
    let mut charged: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for call in &run.world.chaos().calls {
        let name = (call.job.clone(), call.task.clone(), call.attempt.clone());
        *charged.entry(name).or_default() += call.cost;
    }
    for (job, task, attempt, cost) in batched(run) {
        *charged.entry((job, task, attempt)).or_default() += cost;
    }
    let mut spent: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in run
        .world
        .query("SELECT job, idx, n, day, tenant FROM attempts")
    {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let name = (text("job"), row["idx"].to_string(), row["n"].to_string());
        let cost = charged.get(&name).copied().unwrap_or(0);
        *spent.entry((text("day"), text("tenant"))).or_default() += cost;
        *spent.entry((text("day"), "*".to_owned())).or_default() += cost;
    }
    for ((day, tenant), cost) in spent {
        let cap = match tenant.as_str() {
            "*" => config.account_daily_usd,
            _ => config.token_daily_usd,
        };
        if cap.is_some_and(|cap| cost as f64 > cap * 1e9) {
            faults.push(format!("P3: Claude charged {cost} on {day} for {tenant}"));
        }
    }
}

/// P7 and P10: only whole and valid answers are kept for reuse, and used by none but the tenant who paid.
fn ledger(run: &Run, faults: &mut Vec<String>) {
    // Later, entries may have been forgotten.
    if run.world.now() < START + 29 * 86_400_000 {
        let unpaid = run.world.query(
            "SELECT t.job, t.idx FROM tasks t JOIN jobs j ON j.id = t.job WHERE t.state = 'succeeded' AND t.attempts = 0
               AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.tenant = j.tenant AND l.key = t.key)
               -- A plan that could not be carried out is taken out of the ledger, once it was answered with.
               AND NOT EXISTS (SELECT 1 FROM tasks p JOIN jobs o ON o.id = p.job
                 WHERE o.tenant = j.tenant AND p.key = t.key AND p.stage = 1000 AND p.attempts > 0)",
        );
        for row in unpaid {
            faults.push(format!(
                "P10: {row:?} was answered with what its tenant never paid for"
            ));
        }
    }
    for row in run.world.query("SELECT key, body, blob FROM ledger") {
        let body = match (row["body"].as_str(), row["blob"].as_str()) {
            (Some(body), _) => Some(body.to_owned()),
            (None, Some(blob)) => run.world.blob(blob),
            (None, None) => None,
        };
        let Some(body) = body else {
            faults.push(format!("P2: the ledger's {} cannot be read", row["key"]));
            continue;
        };
        // A synthesis is plain text.
        if body.starts_with(['{', '[']) && !whole(&body) {
            faults.push(format!("P7: {body} is kept for reuse"));
        }
    }
}

/// Whether a text is an answer of which nothing is missing.
fn whole(body: &str) -> bool {
    let Ok(answer) = serde_json::from_str::<Value>(body) else {
        return false;
    };
    match answer["results"].as_array() {
        Some(results) => results
            .iter()
            .all(|result| result["id"].is_string() && !result["output"].is_null()),
        // As it came: letter case is mended when it is read. What checks and readers of a tree answer has fields of its own.
        None => {
            let ours = ["primary_category", "gist"];
            let answer = serde_json::from_str(&body.to_lowercase()).unwrap_or(answer);
            valid(&answer) || ours.iter().all(|field| answer.get(field).is_none())
        }
    }
}

/// P4: once a class is known, the limiter has nothing to refuse.
fn limiter(run: &Run, faults: &mut Vec<String>) {
    let rows = run.world.query(
        "SELECT a.job, a.idx, a.n, a.class FROM attempts a JOIN opened o ON o.attempt = a.id
           JOIN seen s ON s.class = a.class WHERE o.seq > s.seq",
    );
    let known: BTreeSet<(String, String, String)> = rows
        .iter()
        .map(|row| {
            let job = row["job"].as_str().unwrap().to_owned();
            (job, row["idx"].to_string(), row["n"].to_string())
        })
        .collect();
    let chaos = run.world.chaos();
    // A call about as large as a whole bucket can only be tried.
    let limits = run.story.claude.limits;
    let burst = limits
        .itpm
        .map_or(f64::MAX, |itpm| itpm as f64 * limits.burst);
    if chaos
        .calls
        .iter()
        .any(|call| call.input as f64 > burst / 2.0)
    {
        return;
    }
    let refused: Vec<_> = chaos
        .calls
        .iter()
        .filter(|call| call.limited)
        .map(|call| (call.job.clone(), call.task.clone(), call.attempt.clone()))
        .filter(|name| known.contains(name))
        .collect();
    if !refused.is_empty() {
        faults.push(format!(
            "P4: the limiter refused {} calls of classes that were known, the first {:?}",
            refused.len(),
            refused[0]
        ));
    }
}

/// P4: Claude is never at more calls of a job than its callers ever allowed, whoever claimed how many ahead.
fn concurrency(run: &Run, faults: &mut Vec<String>) {
    let most = run.world.most_running();
    // Callers change it, and calls that are under way then go on.
    let allowed = "SELECT job, MAX(calls) AS calls FROM allowed GROUP BY job";
    for row in run.world.query(allowed) {
        let (Some(id), Some(allowed)) = (row["job"].as_str(), row["calls"].as_u64()) else {
            continue;
        };
        let most = most.get(id).copied().unwrap_or(0);
        if u64::from(most) > allowed {
            faults.push(format!(
                "P4: Claude was at {most} calls of {id}, which allows {allowed}"
            ));
        }
    }
}

/// P9: no key, and no payload, where none belongs.
fn secrets(run: &Run, faults: &mut Vec<String>) {
    for line in run.world.log_lines() {
        let line = line.to_string();
        if line.contains(KEY) || line.contains("(case ") || line.contains("\"response\":") {
            faults.push(format!("P9: {line}"));
        }
    }
    let rows = run.world.query(&format!(
        "SELECT 1 FROM attempts WHERE instr(COALESCE(error, '') || COALESCE(response, ''), '{KEY}')
         UNION ALL SELECT 1 FROM jobs WHERE instr(COALESCE(error, '') || COALESCE(halt, ''), '{KEY}')
         UNION ALL SELECT 1 FROM dead_letters WHERE instr(body, '{KEY}')"
    ));
    if !rows.is_empty() {
        faults.push("P9: the key stands in a row".into());
    }
}

/// P9: nobody is sent to addresses that are not public, nor with somebody's password.
fn guard(run: &Run, faults: &mut Vec<String>) {
    let sites = run.world.sites();
    let asked = sites.asked.iter().map(|request| request.url.as_str());
    for url in asked.filter(|url| INWARD.contains(url) || url.contains('@')) {
        faults.push(format!("P9: {url} was asked"));
    }
}

/// P1, P7, P10: every item has one fate, every result is valid, and nobody else sees any of it.
fn fates(run: &Run, position: usize, id: &str, faults: &mut Vec<String>) {
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
    let (app, owned) = (run.app.clone(), id.to_owned());
    let stranger = run.world.block_on(async move {
        let job = query::job(&app, "stranger", &owned).await.is_ok();
        let list = query::jobs(&app, "stranger", None, None, 10).await;
        let resumed = control::resume(&app, "stranger", &owned).await.is_ok();
        let limits = Limits::default();
        let retried = control::retry(&app, "stranger", &owned, &limits)
            .await
            .is_ok();
        let patch = control::Patch {
            metadata: Some(serde_json::Map::new()),
            limits: None,
        };
        let patched = control::patch(&app, "stranger", &owned, patch)
            .await
            .is_ok();
        let ended = control::cancel(&app, "stranger", &owned).await.is_ok();
        let commanded = resumed || retried || patched || ended;
        commanded
            || job
            || report::report(&app, "stranger", &owned).await.is_ok()
            || results::results_of(&app, "stranger", &owned, None)
                .await
                .is_ok()
            || !list.unwrap().0.is_empty()
    });
    if stranger {
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
        read.retain(|id| ids.contains(id));
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
    let planned = plan::plan(app, tenant, id).await?;
    let stages = given.unwrap_or_else(|| serde_json::to_value(planned.stages).unwrap());
    let stages = stages.as_array().unwrap().clone();
    let view = query::job(app, tenant, id).await?;
    let report = report::report(app, tenant, id).await?;
    let mut results = Vec::new();
    for stage in stages.iter().filter(|stage| stage["kind"] == "map") {
        let of = results::results_of(app, tenant, id, stage["name"].as_str()).await?;
        let mut of = results::Results::new(app.clone(), of);
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
fn valid(output: &Value) -> bool {
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

/// P7: a synthesis, or a reader of its tree, is shown valid results alone, each item's once.
pub fn request(body: &str) -> Result<(), String> {
    if !body.contains("<results>\\n") {
        return Ok(());
    }
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    match body["requests"].as_array() {
        Some(requests) => requests.iter().try_for_each(|one| shown(&one["params"])),
        None => shown(&body),
    }
}

fn shown(body: &Value) -> Result<(), String> {
    let message = &body["messages"][0]["content"];
    let text = match message {
        Value::String(text) => text.clone(),
        blocks => blocks[0]["text"].as_str().unwrap_or_default().to_owned(),
    };
    if !text.contains("<results>\n") {
        return Ok(());
    }
    let inside = text
        .split_once("<results>\n")
        .and_then(|(_, rest)| rest.split_once("\n</results>"))
        .map(|(inside, _)| inside)
        .ok_or("a synthesis without its results")?;
    let given: Value = serde_json::from_str(inside).map_err(|error| error.to_string())?;
    let mut seen = BTreeSet::new();
    for result in given["results"].as_array().into_iter().flatten() {
        // A reader's findings go on in the place of the results they are made of.
        let findings = result["output"]["findings"].is_array();
        if !(findings || valid(&result["output"])) {
            return Err(format!("{result} was shown to the synthesis"));
        }
        let id = result.get("id").or_else(|| result.get("ids"));
        if !seen.insert(id.map(Value::to_string)) {
            return Err(format!("{result} was shown to the synthesis twice"));
        }
    }
    Ok(())
}
