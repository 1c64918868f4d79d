//! What must hold when a story is over, and of every request on its way: money, limits, the ledger, secrets. What became of its items
//! is looked at in [`super::fates`].

use std::collections::{BTreeMap, BTreeSet};

use fanwise::core::plan::spec::PLAN_STAGE;
use serde_json::Value;

use super::fates::{fates, valid};
use super::run::Run;
use super::watch::COUNTERS;
use super::wide::INWARD;
use crate::world::{KEY, START};

/// All violations at the end.
pub fn end(run: &Run) -> Vec<String> {
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

/// Calls that no server began to answer and that the written rule released: job, task, attempt.
fn released(run: &Run) -> BTreeSet<(String, String, String)> {
    let rows = run.world.query(
        "SELECT job, idx, n FROM attempts WHERE state = 'done' AND batch IS NULL AND IFNULL(status, 599) >= 500
           AND error_class IN ('connection_failed', 'connection_lost', 'timed_out', 'gateway_timeout')",
    );
    let text = |row: &Value, name: &str| {
        row[name]
            .as_str()
            .map_or(row[name].to_string(), str::to_owned)
    };
    let rows = rows.into_iter().map(Value::Object);
    rows.map(|row| (text(&row, "job"), text(&row, "idx"), text(&row, "n")))
        .collect()
}

/// P3: what Claude charged is within every cap the job ever had.
fn caps(run: &Run, faults: &mut Vec<String>) {
    let mut charged: BTreeMap<String, u64> = BTreeMap::new();
    let released = released(run);
    for call in &run.world.chaos().calls {
        let name = (call.job.clone(), call.task.clone(), call.attempt.clone());
        if !released.contains(&name) {
            *charged.entry(call.job.clone()).or_default() += call.cost;
        }
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
    let released = released(run);
    let mut charged: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for call in &run.world.chaos().calls {
        let name = (call.job.clone(), call.task.clone(), call.attempt.clone());
        if !released.contains(&name) {
            *charged.entry(name).or_default() += call.cost;
        }
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
            _ => config.tenant_daily_usd,
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
