//! Whole jobs, from submit to report.

use fanwise::app::read::report;
use fanwise::app::view::job as view_job;
use fanwise::core::job::state::JobState;
use serde_json::{Value, json};

use crate::world::{TENANT, World, job};

pub fn texts(n: usize) -> Vec<String> {
    let kinds = [
        "I was charged twice for my plan",
        "The app crashes when I upload a photo",
        "The password reset mail never comes",
        "My parcel is marked delivered but is not here",
    ];
    (0..n)
        .map(|i| format!("{} (case {i})", kinds[i % kinds.len()]))
        .collect()
}

pub fn stages(chunk: u32) -> Value {
    json!([
        {"name": "classify", "kind": "map", "instructions": "Classify each ticket.", "output": "item",
         "output_schema": {"type": "object", "properties": {
            "primary_category": {"type": "string", "enum": ["billing", "login", "bug", "shipping", "other"]}},
            "required": ["primary_category"], "additionalProperties": false},
         "chunk": {"items": chunk}, "merge": {"count_by": ["primary_category"]}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ])
}

pub fn over(world: &World, id: &str) -> bool {
    world
        .query(&format!("SELECT state FROM jobs WHERE id = '{id}'"))
        .first()
        .and_then(|row| JobState::parse(row["state"].as_str()?))
        .is_some_and(JobState::is_terminal)
}

#[test]
fn a_job_of_300_items_succeeds_and_every_item_is_covered() {
    let world = World::new(
        1,
        standin::Config {
            latency_ms: 200,
            ..Default::default()
        },
    );
    let app = world.app(&[]);
    let submitted = world.submit(&app, job(&texts(300), json!({"stages": stages(25)})));
    let id = submitted.job.id.clone();
    assert_eq!(submitted.job.state, "queued");
    world.run(&app, 60_000, 600_000, || over(&world, &id));
    let (app2, id2) = (app.clone(), id.clone());
    let (view, report) = world.block_on(async move {
        (
            view_job::job(&app2, TENANT, &id2).await.unwrap(),
            report::report(&app2, TENANT, &id2).await.unwrap(),
        )
    });
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(view.progress.tasks.total, 12);
    assert_eq!(view.progress.tasks.succeeded, 12);
    assert_eq!(view.progress.items.covered, 300);
    assert_eq!(view.usage.calls, 13);
    assert!(view.cost.spent_usd > 0.0);
    assert_eq!(view.cost.reserved_usd, 0.0);
    assert_eq!(report.coverage.covered, 300);
    assert!(report.coverage.missing.is_empty());
    let counted: u64 = report.merged.count_by["primary_category"].values().sum();
    assert_eq!(counted, 300);
    assert!(report.synthesis.as_str().unwrap().len() > 50);
}
