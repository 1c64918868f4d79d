//! Plans: printed with their cost, edited, sent; and what a job would take before there is one.

use anyhow::{Context as _, Result, bail};
use fanwise::app::planning::commands::{EstimateView, PlanView};
use fanwise::app::view::JobView;
use fanwise::core::estimate::alternatives::{Alternative, Way};
use fanwise::core::estimate::{Expected, ExpectedStage, Span};
use fanwise::core::job::delivery::{Choice, Delivery};
use fanwise::core::plan::condition::Condition;
use fanwise::core::plan::spec::{Chunk, Stage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, typed};
use crate::args::{PlanArgs, SpecArgs};
use crate::commands::job_id::resolve;
use crate::input::Input;
use crate::spec;
use crate::terminal::output::{self, Out, drawn, number, plain, plural, safe, span, usd};
use crate::terminal::prompt;

pub async fn plan(api: &Api, args: &PlanArgs, out: &Out) -> Result<()> {
    let id = resolve(api, &args.job).await?;
    let path = format!("/v1/jobs/{id}/plan");
    let mut value = match &args.send {
        Some(file) => {
            // The stages alone, or a plan as it was printed.
            let stages = match spec::value_in(file)? {
                Value::Object(mut map) => map.remove("stages").unwrap_or_default(),
                list => list,
            };
            send(api, &id, &stages).await?
        }
        None => api.get(&path).await?,
    };
    if args.edit {
        let before: PlanView = typed(value)?;
        if edit(api, &id, &before).await?.is_none() {
            out.note("the plan is as it was");
        }
        value = api.get(&path).await?;
    }
    if args.stages {
        return out.json(value.get("stages").unwrap_or(&Value::Null));
    }
    if out.json {
        return out.json(&value);
    }
    let job: JobView = typed(api.get(&format!("/v1/jobs/{id}")).await?)?;
    print(&typed(value)?, job.cost.limit_usd, out, false)
}

async fn send(api: &Api, id: &str, stages: &Value) -> Result<Value> {
    let body = json!({ "stages": stages });
    api.call(Method::PUT, &format!("/v1/jobs/{id}/plan"), Some(&body))
        .await
}

/// Hands the stages to the editor until they are taken or left; the new plan, if there is one.
pub async fn edit(api: &Api, id: &str, plan: &PlanView) -> Result<Option<PlanView>> {
    let mut text = serde_json::to_string_pretty(&plan.stages)?;
    loop {
        let edited = prompt::edit(&text, ".json").await?;
        let Some(edited) = edited.filter(|edited| *edited != text) else {
            return Ok(None);
        };
        let sent = match serde_json::from_str::<Value>(&edited).context("this is not JSON") {
            Ok(stages) => send(api, id, &stages).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(plan) => return Ok(Some(typed(plan)?)),
            Err(error) => {
                eprintln!("{}", safe(&format!("{error:#}")));
                if prompt::letter("[e]dit on, [l]eave the plan as it was", "el").await? == 'l' {
                    return Ok(None);
                }
                text = edited;
            }
        }
    }
}

/// A plan for a person. `aside`: on standard error, beside a question.
pub fn print(plan: &PlanView, limit: Option<f64>, out: &Out, aside: bool) -> Result<()> {
    let mut text = String::new();
    if let Some(source) = &plan.source {
        text.push_str(&format!("plan by the {}\n", safe(source)));
    }
    if let Some(rationale) = &plan.rationale {
        text.push_str(&format!("{}\n", safe(rationale)));
    }
    for fault in plan.rounds.iter().flat_map(|round| &round.faults) {
        text.push_str(&format!("not taken: {}\n", safe(fault)));
    }
    if plan.stages.is_empty() {
        text.push_str("the plan is not made yet\n");
    } else {
        text.push_str(&table(&plan.stages, plan.expected.as_ref(), out, aside)?);
    }
    if let Some(expected) = &plan.expected {
        text.push_str(&total(expected, plan.delivery.as_ref(), limit));
        text.push_str(&others(&plan.alternatives));
    }
    if aside {
        out.note(text.trim_end());
        return Ok(());
    }
    out.line(text.trim_end())
}

fn table(stages: &[Stage], expected: Option<&Expected>, out: &Out, aside: bool) -> Result<String> {
    let header = [
        "stage", "kind", "model", "chunk", "tasks", "calls", "cost", "time",
    ];
    let parts = expected.map_or(&[][..], |expected| &expected.stages);
    let figures = |part: Option<&ExpectedStage>| {
        [
            part.map(|part| counts(part.tasks)),
            part.map(|part| counts(part.calls)),
            part.map(|part| dollars(part.cost_usd.low, part.cost_usd.high)),
            part.map(|part| times(part.seconds)),
        ]
        .map(Option::unwrap_or_default)
    };
    let mut rows = Vec::new();
    for stage in stages {
        let part = parts.iter().find(|part| part.stage == stage.name);
        let chunk = match (&stage.group_by, &stage.chunk) {
            (Some(field), _) => format!("by {field}"),
            (None, Some(chunk)) => chunked(chunk),
            (None, None) => String::new(),
        };
        let chunk = match stage.choice() {
            Some(choice) => format!("{chunk}, {}", chosen(choice)),
            None => chunk,
        };
        let mut rungs = stage.models.iter().flatten().map(String::as_str);
        let first = stage.model.as_deref().or_else(|| rungs.next());
        let mut row = vec![
            stage.name.clone(),
            stage.kind.as_str().to_owned(),
            first.unwrap_or_default().to_owned(),
            chunk,
        ];
        row.extend(figures(part));
        rows.push(row);
        // What the models after the first of a cascade are expected to be handed.
        for model in rungs {
            let name = format!("{} ({model})", stage.name);
            let handed = parts.iter().find(|part| part.stage == name);
            let mut row = vec![
                String::new(),
                String::new(),
                format!("then {model}"),
                String::new(),
            ];
            row.extend(figures(handed));
            rows.push(row);
        }
    }
    if out.terminal || aside {
        return Ok(drawn(&header, rows, output::width()) + "\n");
    }
    let mut text = header.join("\t") + "\n";
    for row in rows {
        text.push_str(&(row.join("\t") + "\n"));
    }
    Ok(safe(&text))
}

/// Which of the results before it a stage is over.
fn chosen(condition: &Condition) -> String {
    let values = |values: &[Value]| {
        let names = values.iter().map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        names.collect::<Vec<_>>().join(" | ")
    };
    let mut words = Vec::new();
    if let Some(field) = &condition.field {
        let texts = condition.values.iter().map(|text| text.as_str().into());
        let among: Vec<Value> = texts.chain(condition.among.iter().cloned()).collect();
        let said = [
            (!among.is_empty()).then(|| format!("{field}: {}", values(&among))),
            (!condition.not_in.is_empty())
                .then(|| format!("{field} not: {}", values(&condition.not_in))),
            condition.min.map(|min| format!("{field} ≥ {min}")),
            condition.max.map(|max| format!("{field} ≤ {max}")),
            condition.exists.map(|there| match there {
                true => format!("has {field}"),
                false => format!("no {field}"),
            }),
        ];
        words.extend(said.into_iter().flatten());
    }
    words.extend(condition.flagged.map(|flagged| match flagged {
        true => "flagged".to_owned(),
        false => "not flagged".to_owned(),
    }));
    for (list, between) in [(&condition.any, " or "), (&condition.all, ", ")] {
        let each: Vec<String> = list.iter().map(chosen).collect();
        words.extend((!each.is_empty()).then(|| format!("({})", each.join(between))));
    }
    words.join(", ")
}

fn chunked(chunk: &Chunk) -> String {
    match (chunk.items, chunk.tokens) {
        (_, Some(tokens)) => format!("{} tokens", number(u64::from(tokens))),
        (Some(items), None) => plural(u64::from(items), "item"),
        (None, None) => String::new(),
    }
}

/// What it all comes to, in the way in which its calls go out, and why that one.
fn total(expected: &Expected, delivery: Option<&Choice>, limit: Option<f64>) -> String {
    let way = delivery.and_then(|choice| match choice.chosen {
        Delivery::Batch => choice.batch,
        _ => choice.live,
    });
    // The time that most batches take, not the longest that one may.
    let seconds = way.map_or(expected.seconds, |way| way.seconds);
    let likely = expected
        .likely_usd
        .map(|likely| match expected.earlier_calls {
            0 => format!(" (likely {})", usd(likely)),
            1 => format!(" (likely {}, from 1 earlier call)", usd(likely)),
            calls => format!(
                " (likely {}, from {} earlier calls)",
                usd(likely),
                number(calls)
            ),
        });
    let mut text = format!(
        "expected: {} calls, {}{}, {}",
        counts(expected.calls),
        dollars(expected.cost_usd.low, expected.cost_usd.high),
        likely.unwrap_or_default(),
        times(seconds),
    );
    if !expected.limits_known {
        text.push_str(" (the account's rate limits are not known yet)");
    }
    match limit {
        Some(limit) => text.push_str(&format!("; never more than {}", usd(limit))),
        None => text.push_str("; no cap (--max-cost sets one)"),
    }
    if let Some(choice) = delivery {
        text.push_str(&format!("\n{}", delivered(choice)));
    }
    text
}

/// How calls go out and why, in a line.
fn delivered(choice: &Choice) -> String {
    let how = match choice.chosen {
        Delivery::Batch => "in batches",
        _ => "live",
    };
    let asked = match choice.asked {
        Delivery::Auto => " (chosen by `auto`)",
        _ => "",
    };
    format!("calls go out {how}{asked}: {}", safe(&choice.why))
}

/// What the same would take in the other ways that there are.
fn others(alternatives: &[Alternative]) -> String {
    let others = alternatives.iter().filter(|other| other.way != Way::Live);
    let lines = others.map(|other| {
        let name = serde_json::to_value(other.way).unwrap_or_default();
        let cost = dollars(other.cost_usd.low, other.cost_usd.high);
        format!("\n  {}: {cost}, {}", plain(&name), times(other.seconds))
    });
    lines.collect()
}

fn counts(span: Span) -> String {
    match span.low == span.high {
        true => number(span.low),
        false => format!("{} to {}", number(span.low), number(span.high)),
    }
}

fn dollars(low: f64, high: f64) -> String {
    let (low, high) = (usd(low), usd(high));
    if low == high {
        low
    } else {
        format!("{low} to {high}")
    }
}

fn times(seconds: Span) -> String {
    let (low, high) = (span(seconds.low), span(seconds.high));
    if low == high {
        low
    } else {
        format!("{low} to {high}")
    }
}

pub async fn estimate(api: &Api, args: SpecArgs, out: &Out) -> Result<()> {
    let mut body = spec::body(&args)?;
    if let Some(path) = &args.input {
        let input = Input::open(path, &args.reading)?;
        out.note(safe(&input.about));
        body.insert("input".to_owned(), input.as_json()?);
    }
    let value = api
        .post("/v1/estimates", Some(&Value::Object(body)))
        .await?;
    if out.json {
        return out.json(&value);
    }
    let view: EstimateView = typed(value)?;
    if view.stages.is_empty() {
        bail!("the deployment named no stages");
    }
    out.line(plural(u64::from(view.items), "item"))?;
    let table = table(&view.stages, Some(&view.expected), out, false)?;
    out.line(table.trim_end())?;
    let total = total(&view.expected, view.delivery.as_ref(), view.limit_usd);
    out.line(total + &others(&view.alternatives))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use fanwise::core::estimate::Dollars;
    use fanwise::core::job::delivery::Way;

    use super::*;

    #[test]
    fn ranges_are_told_once_where_they_are_points() {
        assert_eq!(counts(Span { low: 12, high: 12 }), "12");
        assert_eq!(
            counts(Span {
                low: 4,
                high: 1_300
            }),
            "4 to 1,300"
        );
        assert_eq!(dollars(0.0009, 0.6), "$0.0009 to $0.60");
        assert_eq!(times(Span { low: 5, high: 5 }), "5 s");
    }

    #[test]
    fn each_model_of_a_cascade_has_its_line() {
        let stage: Stage = serde_json::from_value(json!({
            "name": "sort", "kind": "map", "instructions": "Sort.", "chunk": {"items": 1},
            "models": ["claude-haiku-5-5", "claude-sonnet-5-5"],
        }))
        .unwrap();
        let part = |name: &str, calls| ExpectedStage {
            stage: name.to_owned(),
            calls: Span {
                low: calls,
                high: calls,
            },
            ..ExpectedStage::default()
        };
        let expected = Expected {
            stages: vec![part("sort", 60), part("sort (claude-sonnet-5-5)", 24)],
            ..Expected::default()
        };
        let out = Out {
            json: false,
            terminal: false,
        };
        let text = table(&[stage], Some(&expected), &out, false).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
        assert_eq!(
            lines[1][..6],
            ["sort", "map", "claude-haiku-5-5", "1 item", "0", "60"]
        );
        assert_eq!(
            lines[2][..6],
            ["", "", "then claude-sonnet-5-5", "", "0", "24"]
        );
    }

    #[test]
    fn the_total_is_that_of_the_way_in_which_calls_go_out() {
        let expected = Expected {
            calls: Span { low: 7, high: 7 },
            cost_usd: Dollars {
                low: 1.0,
                high: 2.0,
            },
            seconds: Span { low: 10, high: 20 },
            likely_usd: Some(1.25),
            limits_known: true,
            ..Expected::default()
        };
        let half = Way {
            cost_usd: Dollars {
                low: 0.5,
                high: 1.0,
            },
            seconds: Span {
                low: 60,
                high: 3_600,
            },
        };
        let choice = Choice {
            asked: Delivery::Auto,
            chosen: Delivery::Batch,
            why: "there is no deadline".to_owned(),
            batch: Some(half),
            ..Choice::default()
        };
        assert_eq!(
            total(&expected, None, Some(5.0)),
            "expected: 7 calls, $1.00 to $2.00 (likely $1.25), 10 s to 20 s; never more than $5.00"
        );
        // The service reckons with the way; the time is what most batches take.
        let in_batches = Expected {
            cost_usd: half.cost_usd,
            likely_usd: Some(0.63),
            seconds: Span {
                low: 60,
                high: 86_400,
            },
            earlier_calls: 1_200,
            ..expected
        };
        assert_eq!(
            total(&in_batches, Some(&choice), Some(5.0)),
            "expected: 7 calls, $0.50 to $1.00 (likely $0.63, from 1,200 earlier calls), 1 min 0 s to 1 h 0 min; never more than $5.00\n\
             calls go out in batches (chosen by `auto`): there is no deadline"
        );
    }
}
