//! What a schema cannot say about a plan: how its stages stand together.

use super::schema_check::below;
use crate::api::http::problem::Faults;
use crate::config::Caps;
use crate::core::plan::selected;
use crate::core::plan::spec::{Chunk, InputKind, Mode, Stage, StageKind};
use crate::core::schema::Schema;

/// Who makes the plan: whoever is named, else the caller who gave stages, else the orchestrator.
pub fn mode(named: Option<Mode>, has_stages: bool, faults: &mut Faults) -> Mode {
    match (named, has_stages) {
        (Some(Mode::Dynamic), true) => faults.add(
            "mode",
            "the stages of a `dynamic` job are made for it: leave out `stages` and `recipe`",
        ),
        (Some(Mode::Static), false) => faults.add(
            "stages",
            "is required where `mode` is `static` and no `recipe` is named",
        ),
        _ => {}
    }
    named.unwrap_or(if has_stages {
        Mode::Static
    } else {
        Mode::Dynamic
    })
}

/// Adds a fault for each rule that the plan breaks.
pub fn check(stages: &[Stage], input: InputKind, caps: &Caps, faults: &mut Faults) {
    let cap = usize::try_from(caps.stages).unwrap_or(usize::MAX);
    if stages.len() > cap {
        let count = stages.len();
        faults.add(
            "stages",
            format!("has {count} stages; at most {cap} are allowed (MAX_STAGES)"),
        );
    }
    order(stages, faults);
    fields_of_results(stages, input, faults);
    for (index, path, message) in selected::faults(stages) {
        faults.add(format_args!("stages[{index}].{path}"), message);
    }
    for (index, stage) in stages.iter().enumerate() {
        let here = format!("stages[{index}]");
        let same_name = |other: &Stage| other.name == stage.name;
        if let Some(first) = stages.iter().take(index).position(same_name) {
            faults.add(
                format_args!("{here}.name"),
                format!("is the name of stages[{first}] too"),
            );
        }
        fields(&here, stage, faults);
        context(
            &format!("{here}.context"),
            stage.context.as_deref(),
            caps,
            faults,
        );
        if let Some(given) = &stage.chunk {
            chunk(&format!("{here}.chunk"), given, input, faults);
        }
    }
}

/// Reference material goes into every call.
pub fn context(here: &str, text: Option<&str>, caps: &Caps, faults: &mut Faults) {
    let (len, most) = (text.map_or(0, str::len), caps.context_bytes as usize);
    if len > most {
        faults.add(
            here,
            format!("has {len} bytes; at most {most} are allowed (MAX_CONTEXT_BYTES)"),
        );
    }
}

/// What a chunk may hold.
fn chunk(here: &str, chunk: &Chunk, input: InputKind, faults: &mut Faults) {
    if chunk.items.is_none() && chunk.tokens.is_none() {
        faults.add(here, "needs `items` or `tokens`");
    }
    match (chunk.overlap, chunk.tokens) {
        (Some(overlap), Some(tokens)) if overlap > tokens / 2 => faults.add(
            format_args!("{here}.overlap"),
            format!("must be at most half of `tokens`, which is {}", tokens / 2),
        ),
        (Some(overlap), None) if overlap > 0 && input == InputKind::Items => {
            faults.add(format_args!("{here}.overlap"), "needs `tokens`");
        }
        _ => {}
    }
    if input == InputKind::Urls && chunk.items.is_some_and(|items| items > 1) {
        faults.add(
            format_args!("{here}.items"),
            "pages go one to a worker; with `tokens`, long ones go to several",
        );
    }
}

/// Map stages, then perhaps one synthesis.
fn order(stages: &[Stage], faults: &mut Faults) {
    let last = stages.len().saturating_sub(1);
    let mut maps = 0;
    let mut syntheses = 0;
    for (index, stage) in stages.iter().enumerate() {
        let message = match stage.kind {
            // Not a word of the API: no body can hold it.
            StageKind::Plan => None,
            StageKind::Map => {
                maps += 1;
                None
            }
            StageKind::Synthesis => {
                syntheses += 1;
                if syntheses > 1 {
                    Some("there can be only one `synthesis`")
                } else {
                    (index != last).then_some("a `synthesis` must be the last stage")
                }
            }
        };
        if let Some(message) = message {
            faults.add(format_args!("stages[{index}].kind"), message);
        }
    }
    // An empty list has been named by the schema.
    if maps == 0 && !stages.is_empty() {
        faults.add("stages", "needs a `map` stage");
    }
}

/// A stage groups by a field that the results before it have, and counts fields of its own.
fn fields_of_results(stages: &[Stage], input: InputKind, faults: &mut Faults) {
    let mut before: Option<Stage> = None;
    for (index, stage) in stages.iter().enumerate() {
        if stage.kind != StageKind::Map {
            continue;
        }
        if let Some(field) = &stage.group_by {
            if stage.chunk.is_some() {
                faults.add(
                    format_args!("stages[{index}].chunk"),
                    "is not taken with `group_by`: one task has one group",
                );
            }
            if before.is_none() && input != InputKind::Items {
                faults.add(
                    format_args!("stages[{index}].group_by"),
                    "wants items: texts and pages are split before anything of them is known",
                );
            }
            if let Some(before) = before.as_ref().filter(|before| !may_have(before, field)) {
                faults.add(
                    format_args!("stages[{index}].group_by"),
                    format!("is no field of the results of `{}`", before.name),
                );
            }
        }
        let results = match before {
            // Results that it amends keep their fields.
            Some(before) if stage.of.is_some() => Stage {
                output_schema: Some(selected::schema_over(
                    before.output_schema.as_ref(),
                    stage.output_schema.as_ref(),
                )),
                ..before
            },
            _ => stage.clone(),
        };
        counted(index, stage, &results, faults);
        before = Some(results);
    }
}

/// What is no field is null in every result: nothing would be counted, and all but one would be taken for the same.
fn counted(index: usize, stage: &Stage, results: &Stage, faults: &mut Faults) {
    let Some(merge) = &stage.merge else { return };
    for (list, names) in [
        ("count_by", &merge.count_by),
        ("dedupe_by", &merge.dedupe_by),
    ] {
        for (at, name) in names.iter().enumerate() {
            let here = format!("stages[{index}].merge.{list}[{at}]");
            if name.trim().is_empty() {
                faults.add(here, "must be the name of a field");
            } else if !may_have(results, name) {
                faults.add(here, "is no field of the stage's results");
            }
        }
    }
}

/// Whether results of the stage may have that field, as far as its schema says.
fn may_have(stage: &Stage, field: &str) -> bool {
    let Some(schema) = &stage.output_schema else {
        return field == "text";
    };
    let closed = schema.get("additionalProperties") == Some(&serde_json::Value::Bool(false));
    let named = schema.get("properties").and_then(|all| all.get(field));
    named.is_some() || !closed || schema.get("patternProperties").is_some()
}

/// Whether the API takes it for a tool: a name without a scheme, after which a path may come.
fn is_domain(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    let well_formed = |label: &str| {
        let mut letters = label.chars();
        !label.is_empty() && letters.all(|letter| letter.is_alphanumeric() || letter == '-')
    };
    !text.contains(char::is_whitespace) && host.split('.').all(well_formed)
}

/// The fields of one stage.
fn fields(here: &str, stage: &Stage, faults: &mut Faults) {
    let cascade = stage
        .models
        .as_ref()
        .is_some_and(|models| !models.is_empty());
    if stage.kind == StageKind::Synthesis {
        if stage.instructions.is_empty() {
            faults.add(format_args!("{here}.instructions"), "is required");
        }
        let given = [
            ("output", stage.output.is_some()),
            ("chunk", stage.chunk.is_some()),
            ("group_by", stage.group_by.is_some()),
            ("merge", stage.merge.is_some()),
            ("verify", stage.verify.is_some()),
            ("models", cascade),
            (
                "tools",
                stage.tools.as_ref().is_some_and(|tools| !tools.is_empty()),
            ),
        ];
        for (name, _) in given.into_iter().filter(|(_, given)| *given) {
            faults.add(format_args!("{here}.{name}"), "only a `map` stage has this");
        }
    }
    if stage.kind == StageKind::Map && stage.citations == Some(true) {
        faults.add(
            format_args!("{here}.citations"),
            "only a `synthesis` has this",
        );
    }
    if cascade && stage.model.is_some() {
        faults.add(
            format_args!("{here}.model"),
            "is not taken with `models`, whose first entry is the model that is asked first",
        );
    }
    if let Some(tools) = &stage.tools {
        let named = [
            ("web_search", &tools.web_search),
            ("web_fetch", &tools.web_fetch),
        ];
        for (name, tool) in named {
            let Some(tool) = tool else { continue };
            if !tool.allowed_domains.is_empty() && !tool.blocked_domains.is_empty() {
                faults.add(
                    format_args!("{here}.tools.{name}.blocked_domains"),
                    "is not taken with `allowed_domains`",
                );
            }
            let lists = [
                ("allowed_domains", &tool.allowed_domains),
                ("blocked_domains", &tool.blocked_domains),
            ];
            for (list, domains) in lists {
                for (at, _) in domains.iter().enumerate().filter(|(_, d)| !is_domain(d)) {
                    faults.add(
                        format_args!("{here}.tools.{name}.{list}[{at}]"),
                        "must be a domain, such as example.com or example.com/blog, without https://",
                    );
                }
            }
            if name == "web_search" && tool.max_content_tokens.is_some() {
                faults.add(
                    format_args!("{here}.tools.{name}.max_content_tokens"),
                    "only `web_fetch` has this",
                );
            }
        }
    }
    // What is no object has been named by the body's own schema.
    if let Some(schema) = stage.output_schema.as_ref().filter(|s| s.is_object())
        && let Err(found) = Schema::compile(schema)
    {
        for fault in found {
            let path = below(&format!("{here}.output_schema"), &fault.path);
            faults.add(path, fault.message);
        }
    }
}
