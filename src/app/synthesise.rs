//! The fan-in: results are merged deterministically, and the synthesis task is written with what fits.
//!
//! Frequencies are always those of all results. Where the results do not fit the synthesis model's context
//! or what is left of the budget, an even sample stands for them, and both the model and the coverage are told.

use serde_json::{Value, json};

use super::bodies;
use super::drive::Loaded;
use super::kit::{Kit, StageKit, nano};
use super::view::{Merged, Missing, ResultLine, StageMerge};
use super::{App, AppError, query};
use crate::core::merge::Merger;
use crate::core::plan::StageKind;
use crate::core::verdict::Form;
use crate::ports::Ports;
use crate::store::tasks::NewTask;

/// Bytes of text that a token stands for at the least in what workers write; real text has more.
const BYTES_PER_TOKEN: u64 = 2;
/// Kept free of the context for the frame and the coverage.
const CONTEXT_RESERVE: u64 = 8_000;
/// Missing items that the synthesis is told by name.
const MISSING_NAMED: usize = 200;
/// Items that a result for many is said to rest on, by id; beyond them it is said how many they are.
const IDS_NAMED: usize = 50;
/// A synthesis with less room to answer is not worth its money.
const LEAST_TOKENS: u32 = 256;

/// What came of merging.
pub struct Prepared {
    /// What the report is made of: `{"merged", "note"}`.
    pub merged: Value,
    /// The synthesis task, where the plan has one and it can be paid.
    pub task: Option<SynthesisTask>,
    /// Why there is none although the plan has one.
    pub problem: Option<(&'static str, String)>,
}

pub struct SynthesisTask {
    pub stage: u32,
    pub row: NewTask,
}

/// Merges the results of all map stages; with `wanted`, writes the synthesis task for them.
pub async fn prepare<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    wanted: bool,
) -> Result<Prepared, AppError> {
    let job = &loaded.job;
    let synthesis = loaded
        .kit
        .stages
        .iter()
        .enumerate()
        .find(|(_, kit)| kit.stage.kind == StageKind::Synthesis)
        .filter(|_| wanted);
    let room = synthesis.map(|(_, kit)| Room::of(loaded, kit));
    let gathered = gather(app, loaded, room.as_ref().map_or(0, |room| room.bytes)).await?;
    let (coverage, note) = coverage(app, loaded, &gathered).await?;
    let merged = json!({"merged": gathered.merged, "note": note});
    let (Some((index, kit)), Some(room)) = (synthesis, room) else {
        return Ok(Prepared {
            merged,
            task: None,
            problem: None,
        });
    };
    let results = results_json(&gathered, note.as_deref());
    let request =
        kit.synthesis_request(kit.stage.max_tokens, Form::FRESH, &results, &coverage, None);
    let Some(max_tokens) = room.affordable(kit, &request) else {
        return Ok(Prepared {
            merged,
            task: None,
            problem: Some((
                "budget",
                "what is left of the budget does not pay for a synthesis".to_owned(),
            )),
        });
    };
    let request = kit.synthesis_request(max_tokens, Form::FRESH, &results, &coverage, None);
    let input = json!({"results": results, "coverage": coverage}).to_string();
    let (body, blob) = bodies::keep(app, &bodies::job_prefix(&job.id), input).await?;
    Ok(Prepared {
        merged,
        task: Some(SynthesisTask {
            stage: u32::try_from(index).unwrap_or(u32::MAX),
            row: NewTask {
                ids: "[]".to_owned(),
                items: 0,
                class: kit.model.class.clone(),
                key: kit.key(&request),
                bytes: request.input_bound(&kit.model),
                max_tokens,
                worst_nano: nano(request.worst_case(&kit.model)),
                body,
                blob,
                grp: None,
                labelled: false,
            },
        }),
        problem: None,
    })
}

/// What a synthesis may take.
struct Room {
    /// Of results, by context and budget.
    bytes: u64,
    /// Nano-dollars left of the job's budget.
    left: Option<i64>,
}

impl Room {
    fn of(loaded: &Loaded, kit: &StageKit) -> Room {
        let job = &loaded.job;
        let context = kit
            .model
            .context_tokens
            .saturating_sub(u64::from(kit.stage.max_tokens) + CONTEXT_RESERVE)
            .saturating_mul(BYTES_PER_TOKEN);
        let left = job
            .limit_nano
            .map(|limit| limit - job.spent_nano - job.reserved_nano - job.unknown_nano);
        let bytes = match left {
            None => context,
            Some(left) => {
                let empty = kit.synthesis_request(kit.stage.max_tokens, Form::FRESH, "", "", None);
                let fixed = nano(empty.worst_case(&kit.model));
                let per_million = nano(kit.model.prices.worst_case(1_000_000, 0, None)).max(1);
                let affordable = i128::from(left - fixed) * 1_000_000 / i128::from(per_million);
                // A tenth is kept for the coverage and the frequencies.
                context.min(u64::try_from(affordable * 9 / 10).unwrap_or(0))
            }
        };
        Room { bytes, left }
    }

    /// The most tokens the answer may have, at most what the stage wants; `None` where it is not worth it.
    fn affordable(
        &self,
        kit: &StageKit,
        request: &crate::claude::request::MessagesRequest,
    ) -> Option<u32> {
        let wanted = request.max_tokens;
        let Some(left) = self.left else {
            return Some(wanted);
        };
        let worst = nano(request.worst_case(&kit.model));
        if worst <= left {
            return Some(wanted);
        }
        // Rounded so that too many tokens are cut rather than too few.
        let per_token = (nano(kit.model.prices.worst_case(0, 1_000, None)) / 1_000).max(1);
        let over = worst - left;
        let cut = u32::try_from(over / per_token + 1).unwrap_or(u32::MAX);
        wanted
            .checked_sub(cut)
            .filter(|tokens| *tokens >= LEAST_TOKENS)
    }
}

/// Results as the synthesis sees them.
struct Gathered {
    merged: Merged,
    /// JSON of single results.
    lines: Vec<String>,
    /// All there are.
    total: u64,
}

/// Reads every map stage's results once; keeps an even sample of the last stage's of at most `bytes`.
async fn gather<P: Ports>(app: &App<P>, loaded: &Loaded, bytes: u64) -> Result<Gathered, AppError> {
    let mut gathered = Gathered {
        merged: Merged::default(),
        lines: Vec::new(),
        total: 0,
    };
    let maps: Vec<(u32, &StageKit)> = map_stages(&loaded.kit);
    let last = maps.last().map(|(index, _)| *index);
    for (index, kit) in maps {
        let mut merger = Merger::new(&kit.stage.merge);
        let mut sample = Sample::of(bytes);
        let of = query::ResultsOf {
            job: loaded.job.id.clone(),
            stage: index,
            output: kit.stage.output,
            grouped: kit.stage.group_by.is_some(),
            columns: None,
        };
        let mut after = None;
        loop {
            let (lines, next) = query::results_page(app, &of, after).await?;
            if lines.is_empty() {
                break;
            }
            for line in lines {
                let (fresh, text) = match &line {
                    ResultLine::Item { id, output, .. } => {
                        (merger.add(output), json!({"id": id, "output": output}))
                    }
                    ResultLine::Chunk {
                        label, ids, output, ..
                    } => (merger.add(output), chunk_line(label, ids, output)),
                };
                if fresh && Some(index) == last {
                    sample.add(text.to_string());
                }
            }
            let Some(next) = next else { break };
            after = Some(next);
        }
        let merged = merger.finish();
        if Some(index) == last {
            gathered.merged.count_by = merged.count_by.clone();
            gathered.merged.distinct = merged.distinct;
            gathered.total = sample.seen;
            gathered.lines = sample.lines;
        }
        gathered.merged.stages.insert(
            kit.stage.name.clone(),
            StageMerge {
                count_by: merged.count_by,
                distinct: merged.distinct,
                results: merged.results,
            },
        );
    }
    Ok(gathered)
}

/// One result for many items, as the synthesis sees it.
fn chunk_line(label: &Option<String>, ids: &[String], output: &Value) -> Value {
    let named = ids.get(..IDS_NAMED.min(ids.len())).unwrap_or_default();
    let mut line = json!({"id": label, "ids": named, "output": output});
    if let Value::Object(line) = &mut line {
        if label.is_none() {
            line.shift_remove("id");
        }
        if named.len() < ids.len() {
            line.insert("items".into(), ids.len().into());
        }
    }
    line
}

/// The map stages of a plan with their indexes.
pub fn map_stages(kit: &Kit) -> Vec<(u32, &StageKit)> {
    (0u32..)
        .zip(&kit.stages)
        .filter(|(_, stage)| stage.stage.kind == StageKind::Map)
        .collect()
}

/// An even sample in bounded memory: when it grows over its bounds, every second line goes, and from then on
/// only every second, fourth, … line is looked at.
struct Sample {
    most: u64,
    bytes: u64,
    every: u64,
    seen: u64,
    lines: Vec<String>,
}

impl Sample {
    fn of(most: u64) -> Sample {
        Sample {
            most,
            bytes: 0,
            every: 1,
            seen: 0,
            lines: Vec::new(),
        }
    }

    fn add(&mut self, line: String) {
        let position = self.seen;
        self.seen += 1;
        if !position.is_multiple_of(self.every) {
            return;
        }
        self.bytes += line.len() as u64 + 1;
        self.lines.push(line);
        while self.bytes > self.most && !self.lines.is_empty() {
            self.every *= 2;
            let mut keep = false;
            self.lines.retain(|_| {
                keep = !keep;
                keep
            });
            if self.lines.len() == 1 && self.bytes > self.most {
                let only = self
                    .lines
                    .iter()
                    .map(|line| line.len() as u64 + 1)
                    .sum::<u64>();
                if only > self.most {
                    self.lines.clear();
                }
            }
            self.bytes = self.lines.iter().map(|line| line.len() as u64 + 1).sum();
        }
    }
}

fn results_json(gathered: &Gathered, note: Option<&str>) -> String {
    let mut head = json!({"count_by": gathered.merged.count_by, "total": gathered.total});
    if let Value::Object(head) = &mut head {
        if let Some(distinct) = gathered.merged.distinct {
            head.insert("distinct".into(), distinct.into());
        }
        if let Some(note) = note {
            head.insert("note".into(), note.into());
        }
    }
    let mut text = head.to_string();
    // `{…}` becomes `{…,"results":[…]}` without a second copy of every result as a tree.
    text.pop();
    text.push_str(",\"results\":[");
    text.push_str(&gathered.lines.join(","));
    text.push_str("]}");
    text
}

/// The coverage as the synthesis is told, and the note for the report.
async fn coverage<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    gathered: &Gathered,
) -> Result<(String, Option<String>), AppError> {
    let total = u64::from(loaded.job.items_total);
    let missing: Vec<Missing> = super::coverage::missing(app, loaded).await?;
    let shown = gathered.lines.len() as u64;
    let note = (shown < gathered.total).then(|| {
        format!(
            "the synthesis was shown an even sample of {shown} of {} results; the frequencies are of all",
            gathered.total
        )
    });
    let named: Vec<&Missing> = missing.iter().take(MISSING_NAMED).collect();
    let coverage = json!({
        "total": total,
        "covered": total.saturating_sub(missing.len() as u64),
        "missing_total": missing.len(),
        "missing": named,
        "note": note,
    });
    Ok((coverage.to_string(), note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_within_its_bytes() {
        let mut sample = Sample::of(100);
        for n in 0..1_000 {
            sample.add(format!("{n:04}"));
        }
        let bytes: usize = sample.lines.iter().map(|line| line.len() + 1).sum();
        assert!(bytes <= 100 && bytes > 25, "{bytes}");
        assert_eq!(sample.seen, 1_000);
        let numbers: Vec<u64> = sample
            .lines
            .iter()
            .filter_map(|line| line.parse().ok())
            .collect();
        assert!(
            numbers
                .windows(2)
                .all(|pair| matches!(pair, [a, b] if b - a == sample.every))
        );
    }

    #[test]
    fn nothing_is_kept_where_nothing_fits() {
        let mut sample = Sample::of(3);
        for _ in 0..10 {
            sample.add("too long".to_owned());
        }
        assert!(sample.lines.is_empty());
    }
}
