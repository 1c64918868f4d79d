//! What a job at work will have cost in the end: what is spent, its open tasks at what those before them took, and what is still to
//! come as its plan expects it.

use serde::Deserialize;

use super::{Expected, ExpectedStage};

/// Tasks of a stage that must be over before the others are reckoned by them.
const LEAST_TASKS: u64 = 3;

/// How a stage stands.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Standing {
    pub name: String,
    /// All its tasks are written; more come only of checks.
    pub expanded: bool,
    pub done: bool,
    /// Tasks that are still to be done, and those that are over.
    pub open: u64,
    pub over: u64,
    pub spent_nano: i64,
}

/// Dollars that are likely still to come. `None` where nothing was expected of the job.
pub fn to_come(stages: &[Standing], rounds: &[Expected]) -> Option<f64> {
    let expected: Vec<&ExpectedStage> = rounds.iter().flat_map(|round| &round.stages).collect();
    if expected.is_empty() {
        return None;
    }
    let rest = stages.iter().filter(|stage| !stage.done).map(|stage| {
        let spent = stage.spent_nano as f64 / 1e9;
        if stage.expanded && stage.over >= LEAST_TASKS {
            return spent / stage.over as f64 * stage.open as f64;
        }
        // A tree has the synthesis' name, a cascade's dearer model its stage's and its own.
        let own = |name: &str| {
            name.strip_prefix(stage.name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
        };
        let parts = expected.iter().filter(|part| own(&part.stage));
        let likely: f64 = parts.filter_map(|part| part.likely_usd).sum();
        (likely - spent).max(0.0)
    });
    Some(rest.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> Expected {
        let part = |stage: &str, likely| ExpectedStage {
            stage: stage.to_owned(),
            likely_usd: Some(likely),
            ..ExpectedStage::default()
        };
        Expected {
            stages: vec![
                part("read", 1.0),
                part("read (sonnet)", 0.5),
                part("report", 0.2),
                part("report", 0.3),
            ],
            ..Expected::default()
        }
    }

    fn rest(stages: &[Standing]) -> f64 {
        to_come(stages, &[round()]).unwrap_or(f64::NAN)
    }

    #[test]
    fn a_job_s_own_tasks_tell_what_the_others_will_take() {
        let read = Standing {
            name: "read".into(),
            ..Standing::default()
        };
        let report = Standing {
            name: "report".into(),
            ..Standing::default()
        };
        let close = |stages: &[Standing], usd: f64| {
            let found = rest(stages);
            assert!((found - usd).abs() < 1e-9, "{found} {usd}");
        };
        // Nothing is known yet but the plan.
        close(&[read.clone(), report.clone()], 2.0);
        // Ten tasks took two cents each: thirty more will.
        let at_work = Standing {
            expanded: true,
            open: 30,
            over: 10,
            spent_nano: 200_000_000,
            ..read.clone()
        };
        close(&[at_work.clone(), report.clone()], 0.6 + 0.5);
        // Of two not much is known: what the plan expects, less what is spent.
        let begun = Standing {
            over: 2,
            spent_nano: 40_000_000,
            ..at_work.clone()
        };
        close(&[begun, report.clone()], 1.5 - 0.04 + 0.5);
        let done = Standing {
            done: true,
            open: 0,
            ..at_work
        };
        close(&[done, report], 0.5);
        assert_eq!(to_come(&[read], &[]), None);
    }
}
