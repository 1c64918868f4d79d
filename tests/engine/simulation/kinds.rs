//! Kinds of stories: the same story with other jobs, another platform, or other consumers. Each throws dice of its own, so that the
//! others stay as they are when one of them changes.

use fanwise::core::plan::spec::Limits;
use serde_json::json;
use standin::faults::{Fault, Shares};

use super::story::{Event, STOPS, Story, UNSURE, changed, weather};
use crate::chaos::Dice;

impl Story {
    /// The same story with jobs that are planned, by an orchestrator that does not always plan well.
    pub fn dynamic(seed: u64) -> Story {
        let mut story = Story::of(seed);
        let mut dice = Dice::new(seed, "dynamic");
        for plan in &mut story.jobs {
            let body = plan.body.as_object_mut().unwrap();
            body.remove("stages");
            body["limits"]["max_rounds"] = json!(dice.pick(&[0, 1, 1, 2, 3]));
            body.insert("planning".into(), json!({"fallback": dice.chance(0.8)}));
            if dice.chance(0.2) {
                body.insert("approval".into(), json!(true));
            }
        }
        let bad = [
            Fault::BadPlan,
            Fault::DearPlan,
            Fault::MoreStages,
            Fault::MoreStages,
            Fault::Refusal,
            Fault::SchemaMiss,
            Fault::Cut,
        ];
        for _ in 0..dice.pick(&[0, 1, 2, 4]) {
            let rule = json!({
                "match": {"role": "orchestrator"}, "fault": dice.pick(&bad), "times": dice.range(1, 3)});
            let rule = serde_json::from_value(rule).unwrap();
            story.claude.rules.push(rule);
        }
        let mut own = Dice::new(seed, "dynamic.more");
        if own.chance(0.7) {
            let rule = json!({
                "match": {"role": "orchestrator"}, "fault": "follow_up", "times": own.range(1, 4)});
            let rule = serde_json::from_value(rule).unwrap();
            story.claude.rules.push(rule);
        }
        story
    }

    /// The same story with jobs whose calls go out in batches, or as is chosen for them.
    pub fn batch(seed: u64) -> Story {
        let mut story = Story::of(seed);
        let mut dice = Dice::new(seed, "batch");
        let dice = &mut dice;
        for plan in &mut story.jobs {
            let delivery = dice.pick(&["batch", "batch", "batch", "auto", "live"]);
            plan.body["delivery"] = json!(delivery);
            if dice.chance(0.3) {
                plan.body["limits"]["deadline_seconds"] =
                    json!(dice.pick(&[60, 900, 3_600, 36_000]));
            }
        }
        story.claude.batch_ms = dice.pick(&[0, 5_000, 120_000, 1_800_000]);
        story.claude.batch_cancel_ms = dice.pick(&[0, 10_000, 200_000]);
        if dice.chance(0.3) {
            story.claude.batch_expires_ms = dice.pick(&[2_000, 60_000, 900_000]);
        }
        if dice.chance(0.5) {
            let share = dice.pick(&[0.05, 0.3]);
            story.claude.faults.0.insert(Fault::Expired, share);
        }
        for (name, of) in [
            ("BATCH_LEAST", [1, 3, 20]),
            ("BATCH_MAX_REQUESTS", [1, 7, 1_000]),
            ("BATCH_MAX_BYTES", [5_000, 40_000, 16_000_000]),
            ("BATCH_POLL_MS", [1_000, 20_000, 60_000]),
            ("BATCH_EXPECTED_MS", [1_000, 120_000, 3_600_000]),
            ("BATCH_CANCEL_MS", [0, 10_000, 300_000]),
            ("BATCH_SEEK_MS", [0, 60_000, 120_000]),
        ] {
            story.vars.push((name, dice.pick(&of).to_string()));
        }
        // A day's money for which batches of several jobs come at once.
        let mut money = Dice::new(seed, "batch.money");
        if money.chance(0.2) {
            for plan in &mut story.jobs {
                plan.at = 0;
            }
            story.vars.retain(|(name, _)| *name != "ACCOUNT_DAILY_USD");
            story.vars.push(("ACCOUNT_DAILY_USD", "0.5".to_owned()));
        }
        // Early, while something is going on; and late, when only batches are.
        let within = story.heals_at as u64;
        for _ in 0..dice.pick(&[0, 1, 1, 2]) {
            let job = dice.range(0, story.jobs.len() as u64 - 1) as usize;
            let at = dice.range(0, within) as i64;
            let event = match dice.range(0, 4) {
                0 | 1 => Event::Cancel(job),
                2 => Event::Retry(job, changed(dice)),
                3 => Event::Pause(job),
                _ => Event::Restart,
            };
            story.events.push((at, event));
        }
        story.events.sort_by_key(|(at, _)| *at);
        story
    }

    /// The same story with cascades of models, of which the first one is often unsure.
    pub fn cascade(seed: u64) -> Story {
        let mut story = Story::of(seed);
        let mut dice = Dice::new(seed, "cascade");
        for plan in &mut story.jobs {
            let stages = plan.body["stages"].as_array_mut().unwrap();
            for stage in stages.iter_mut().filter(|stage| stage["kind"] == "map") {
                stage["models"] = dice.pick(&[
                    json!(["haiku", "sonnet"]),
                    json!(["haiku", "sonnet"]),
                    json!(["haiku", "sonnet", "opus"]),
                ]);
                let values = stage.pointer_mut("/output_schema/properties/primary_category/enum");
                if let Some(values) = values {
                    *values = json!(["login", "bug", UNSURE]);
                }
            }
            if dice.chance(0.4) {
                plan.body["limits"]["redo_ratio"] = json!(dice.pick(&[0.0, 0.2, 1.0]));
            }
        }
        story
    }

    /// The same story with consumers that get in each other's way: many at once, far from the database, over jobs that ask
    /// for the same, while Claude's answers come fast and may say that everything must stop.
    pub fn crowd(seed: u64) -> Story {
        let mut story = Story::of(seed);
        let mut dice = Dice::new(seed, "crowd");
        let dice = &mut dice;
        story.tasks_consumers = dice.pick(&[3, 5, 8]);
        story.batch = 1;
        story.rates.latency = dice.pick(&[50, 200, 200]);
        story.claude.latency_ms = dice.pick(&[50, 300, 1_000]);
        for (name, of) in [
            ("WORKER_SLOTS", [1, 2, 5]),
            ("GOVERNOR_START", [5, 50, 50]),
            ("LEDGER_DAYS", [30, 30, 30]),
        ] {
            story.vars.retain(|(known, _)| *known != name);
            story.vars.push((name, dice.pick(&of).to_string()));
        }
        let mut first = story.jobs[0].clone();
        first.body["reuse"] = json!(true);
        first.body["limits"]["concurrency"] = json!(dice.pick(&[3, 10, 50]));
        first.at = 0;
        // Items that are alike are one and the same to the ledger only where they are asked for alone.
        if dice.chance(0.5) {
            first.texts = first
                .texts
                .iter()
                .flat_map(|text| [text.clone(), text.clone()])
                .collect();
        }
        // A budget that is nearly spent when they come for the rest of it. Dice of its own, as for what is added anywhere.
        let mut money = Dice::new(seed, "crowd.money");
        if money.chance(0.5) {
            first.body["limits"]["max_cost_usd"] = json!(money.pick(&[0.02, 0.05, 0.1, 0.2]));
            first.body["limits"]["on_budget"] = json!(money.pick(&["finish", "pause"]));
        }
        first.readable.resize(first.texts.len(), true);
        story.jobs[0] = first.clone();
        for _ in 0..money.pick(&[0, 0, 3, 6]) {
            let limits = Limits {
                max_cost_usd: Some(money.pick(&[0.02, 0.05, 0.1, 0.2, 1.0])),
                ..Limits::default()
            };
            let at = money.range(0, 20_000) as i64;
            story.events.push((at, Event::Patch(0, limits)));
        }
        for _ in 0..dice.range(1, 2) {
            let mut twin = first.clone();
            twin.at = dice.range(0, 20_000) as i64;
            twin.key = format!("key-{}", story.jobs.len());
            story.jobs.push(twin);
        }
        if dice.chance(0.8) {
            let mut shares = Shares::default();
            shares.0.insert(dice.pick(&STOPS), dice.pick(&[0.05, 0.2]));
            let from = dice.range(1_000, 20_000) as i64;
            story.events.push((from, Event::Weather(shares)));
            story
                .events
                .push((from + 30_000, Event::Weather(weather(dice))));
        }
        story.events.sort_by_key(|(at, _)| *at);
        story
    }
}
