#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::core::estimate::profile::Profiler;

fn profile(items: u32, bytes: u64) -> Profile {
    let mut profiler = Profiler::of_sizes();
    for n in 0..items {
        profiler.add(&json!({"id": format!("item-{n}"), "text": "x"}), bytes);
    }
    profiler.finish()
}

fn bounds(profile: &Profile) -> Bounds<'_> {
    Bounds {
        input: InputKind::Items,
        profile,
        worker: Reach {
            input_tokens: 100_000,
            output_tokens: 128_000,
            usual_output: 4_096,
        },
        strong: Reach {
            input_tokens: 990_000,
            output_tokens: 128_000,
            usual_output: 4_096,
        },
        models: ("fast", "strong"),
        known: &[],
        has_synthesis: false,
    }
}

fn plan() -> Value {
    json!({
        "rationale": "One look at each.",
        "stages": [
            {"name": "classify", "kind": "map", "instructions": "Say what each is.", "output": "item",
             "fields": [
                {"name": "category", "type": "string", "values": ["billing", "bug"], "description": "What it is about"},
                {"name": "amount", "type": "number", "values": [], "description": ""},
                {"name": "topics", "type": "strings", "values": [], "description": ""}],
             "chunk_items": 20, "chunk_tokens": 0, "tier": "worker", "count_by": ["category"]},
            {"name": "report", "kind": "synthesis", "instructions": "Sum up.", "output": "chunk", "fields": [],
             "chunk_items": 0, "chunk_tokens": 0, "tier": "worker", "count_by": []}
        ]
    })
}

fn judged(plan: Value, bounds: &Bounds<'_>) -> Result<Vec<Stage>, Vec<String>> {
    stages(&serde_json::from_value(plan).unwrap(), bounds)
}

#[test]
fn a_sound_plan_becomes_stages() {
    let profile = profile(300, 200);
    let stages = judged(plan(), &bounds(&profile)).unwrap();
    let map = &stages[0];
    assert_eq!(map.chunk, Some(Chunk::of_items(20)));
    assert_eq!(map.model.as_deref(), Some("fast"));
    assert_eq!(map.merge.as_ref().unwrap().count_by, ["category"]);
    let schema = map.output_schema.as_ref().unwrap();
    assert_eq!(schema["required"], json!(["category", "amount", "topics"]));
    assert_eq!(
        schema["properties"]["category"],
        json!({"anyOf": [{"type": "string", "enum": ["billing", "bug"]}, {"type": "null"}], "description": "What it is about"})
    );
    assert_eq!(
        schema["properties"]["amount"],
        json!({"anyOf": [{"type": "number"}, {"type": "null"}]})
    );
    assert_eq!(
        schema["properties"]["topics"],
        json!({"type": "array", "items": {"type": "string"}})
    );
    // The room for an answer holds the results of a whole chunk.
    assert!(map.max_tokens.unwrap() > 4_096);
    // The report is the strong model's, whatever the plan says.
    assert_eq!(stages[1].model.as_deref(), Some("strong"));
    assert_eq!((stages[1].chunk, stages[1].output), (None, None));
}

#[test]
fn every_fault_is_a_sentence_with_its_place() {
    let profile = profile(300, 200);
    let with = |pointer: &str, value: Value| {
        let mut plan = plan();
        *plan.pointer_mut(pointer).unwrap() = value;
        plan
    };
    let many: Vec<Value> = (0..30)
        .map(
            |n| json!({"name": format!("f{n}"), "type": "string", "values": [], "description": ""}),
        )
        .collect();
    let cases = [
        (with("/stages", json!([])), "needs a stage of kind \"map\""),
        (
            with("/stages/0/kind", json!("synthesis")),
            "only one stage of kind \"synthesis\"",
        ),
        (with("/stages/0/name", json!("a b")), "1 to 64 letters"),
        (with("/stages/0/name", json!("plan")), "the name is taken"),
        (
            with("/stages/1/name", json!("classify")),
            "the name is taken",
        ),
        (
            with("/stages/1/instructions", json!(" ")),
            "no instructions",
        ),
        (with("/stages/0/fields", json!([])), "needs fields"),
        (with("/stages/0/fields", json!(many)), "at most 24"),
        (
            with("/stages/0/fields/1/name", json!("category")),
            "there twice",
        ),
        (
            with("/stages/0/fields/1/name", json!("id")),
            "has its id already",
        ),
        (
            with("/stages/0/fields/1/name", json!("a-b")),
            "letters, digits and _",
        ),
        (
            with("/stages/0/fields/1/values", json!(["1"])),
            "only texts can have values",
        ),
        (
            with("/stages/0/fields/0/values", json!(["a", "A"])),
            "must be different",
        ),
        (
            with("/stages/0/count_by", json!(["mood"])),
            "none of its fields",
        ),
        (
            with("/stages/0/chunk_items", json!(0)),
            "needs chunk_items or chunk_tokens",
        ),
        (with("/stages/0/chunk_items", json!(5000)), "at most 200"),
        (
            with("/stages/0/chunk_tokens", json!(9)),
            "cannot both be given",
        ),
        (with("/stages/1/chunk_items", json!(9)), "must be 0"),
    ];
    for (plan, message) in cases {
        let faults = judged(plan, &bounds(&profile)).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.contains(message)),
            "{message}: {faults:?}"
        );
    }
    let faults = judged(
        with("/stages/0/count_by", json!(["mood"])),
        &bounds(&profile),
    )
    .unwrap_err();
    assert_eq!(
        faults,
        ["stages[0] (\"classify\"): count_by names \"mood\", which is none of its fields"]
    );
}

#[test]
fn results_of_a_chunk_must_fit_an_answer() {
    let profile = profile(300, 200);
    let mut wide = plan();
    let fields: Vec<Value> = (0..20)
        .map(
            |n| json!({"name": format!("f{n}"), "type": "string", "values": [], "description": ""}),
        )
        .collect();
    wide["stages"][0]["fields"] = json!(fields);
    wide["stages"][0]["count_by"] = json!([]);
    let faults = judged(wide.clone(), &bounds(&profile)).unwrap_err();
    let most: u64 = faults[0]
        .rsplit_once("at most ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap();
    // The fault names a number that is sound.
    wide["stages"][0]["chunk_items"] = json!(most);
    assert!(judged(wide.clone(), &bounds(&profile)).is_ok());
    wide["stages"][0]["chunk_items"] = json!(most + 1);
    assert!(judged(wide, &bounds(&profile)).is_err());
}

#[test]
fn items_of_a_chunk_must_fit_a_prompt() {
    let profile = profile(100, 40_000);
    let faults = judged(plan(), &bounds(&profile)).unwrap_err();
    assert!(faults[0].contains("one call should read"), "{faults:?}");
    // By tokens, the engine counts the items itself.
    let mut by_tokens = plan();
    by_tokens["stages"][0]["chunk_items"] = json!(0);
    by_tokens["stages"][0]["chunk_tokens"] = json!(50_000);
    let stages = judged(by_tokens, &bounds(&profile)).unwrap();
    let chunk = stages[0].chunk.unwrap();
    assert_eq!((chunk.items, chunk.tokens), (Some(2), Some(50_000)));
}

#[test]
fn at_most_sixteen_fields_can_be_null_and_numbers_come_first() {
    let mut faults = Vec::new();
    let fields: Vec<Field> = (0..20)
        .map(|n| Field {
            name: format!("f{n}"),
            kind: if n >= 17 {
                FieldKind::Boolean
            } else {
                FieldKind::String
            },
            values: if n == 16 {
                vec!["a".into()]
            } else {
                Vec::new()
            },
            description: String::new(),
        })
        .collect();
    let schema = schema(&fields, &mut faults).unwrap();
    let of = |n: usize| &schema["properties"][format!("f{n}")];
    let nullable = (0..20).filter(|n| of(*n).get("anyOf").is_some()).count();
    assert_eq!((nullable, faults.len()), (16, 0));
    assert!((17..20).all(|n| of(n).get("anyOf").is_some()));
    // What cannot be null can be empty.
    assert_eq!(of(16), &json!({"type": "string", "enum": ["a", ""]}));
    assert_eq!(of(15), &json!({"type": "string"}));
}

#[test]
fn added_stages_have_names_of_their_own_and_bring_no_second_report() {
    let profile = profile(10, 200);
    let known = ["classify".to_owned(), "report".to_owned()];
    let later = Bounds {
        known: &known,
        has_synthesis: true,
        ..bounds(&profile)
    };
    let nothing = json!({"rationale": "It is enough.", "stages": []});
    assert_eq!(judged(nothing, &later), Ok(Vec::new()));
    let faults = judged(plan(), &later).unwrap_err();
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("the report's stage is there already"))
    );
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("the name is taken"))
    );
    let mut more = plan();
    more["stages"].as_array_mut().unwrap().pop();
    more["stages"][0]["name"] = json!("closer");
    assert_eq!(judged(more, &later).unwrap().len(), 1);
}

#[test]
fn a_stage_may_be_over_some_of_the_results_before_it() {
    let profile = profile(300, 200);
    let mut plan = plan();
    let mut closer = plan["stages"][0].clone();
    closer["name"] = json!("closer");
    closer["of"] = json!({"field": "category", "values": ["bug"], "flagged": false});
    closer["with_input"] = json!(true);
    plan["stages"].as_array_mut().unwrap().insert(1, closer);
    let stages = judged(plan, &bounds(&profile)).unwrap();
    let of = json!({"field": "category", "values": ["bug"]});
    assert_eq!(json!(stages[1].of), of);
    assert_eq!(stages[1].with_input, Some(true));
    // The first one says nothing of results: neither do answers of the form without these fields.
    assert_eq!((stages[0].of.is_none(), stages[0].with_input), (true, None));
    let none = json!({"field": "", "values": [], "flagged": false});
    let none: crate::core::plan::condition::Condition = serde_json::from_value(none).unwrap();
    assert!(none.planned().is_none());
}

#[test]
fn a_stage_may_read_some_of_the_results_before_it() {
    let profile = profile(300, 200);
    let mut plan = plan();
    let mut closer = plan["stages"][0].clone();
    closer["name"] = json!("closer");
    closer["where"] = json!({"field": "category", "in": ["bug"], "not_in": [], "min": 0, "max": 0, "exists": false, "flagged": false});
    plan["stages"].as_array_mut().unwrap().insert(1, closer);
    let stages = judged(plan, &bounds(&profile)).unwrap();
    let chosen = json!({"field": "category", "in": ["bug"]});
    assert_eq!(json!(stages[1].filter), chosen);
    assert!(stages[0].filter.is_none());
}

#[test]
fn the_default_plan_is_sound_for_any_input() {
    for (items, bytes) in [(1, 10), (100_000, 50), (300, 2_000), (50, 400_000)] {
        let profile = profile(items, bytes);
        let stages = crate::core::plan::fallback::stages(&bounds(&profile));
        assert_eq!(stages.len(), 2);
        let chunk = stages[0].chunk.unwrap().most_items();
        assert!((1..=10).contains(&chunk));
        assert!(bytes < 100_000 || chunk == 1);
        let task = "Find\n\nthe issues ";
        let told = crate::core::plan::told::instructions(task, &stages[0].instructions);
        assert!(told.contains("Find\n\nthe issues\n"));
        let schema = stages[0].output_schema.as_ref().unwrap();
        assert!(schema["properties"].get("findings").is_some());
    }
}

#[test]
fn the_form_of_the_answer_is_the_one_that_is_read() {
    let schema = answer_schema();
    assert!(crate::core::schema::Schema::compile(&schema).is_ok());
    let stage = &schema["properties"]["stages"]["items"];
    let mut named: Vec<&String> = stage["properties"].as_object().unwrap().keys().collect();
    named.sort();
    let plan = plan();
    let mut given: Vec<&String> = plan["stages"][0].as_object().unwrap().keys().collect();
    given.sort();
    // What a plan may say besides is no part of the form that every answer has.
    let mut required: Vec<&str> = stage["required"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(Value::as_str)
        .collect();
    required.sort_unstable();
    assert_eq!(required, given);
    named.retain(|name| !["of", "with_input", "where"].contains(&name.as_str()));
    assert_eq!(named, given);
    // What is sent wants every field but those of a later stage alone.
    let asked = crate::core::plan::planner::asked_schema();
    let asked = asked["properties"]["stages"]["items"]["required"].clone();
    let asked: Vec<&str> = asked
        .as_array()
        .unwrap()
        .iter()
        .flat_map(Value::as_str)
        .collect();
    assert_eq!(asked.len(), given.len() + 1);
    assert!(asked.contains(&"where"));
}

#[test]
fn documents_and_pages_are_cut_by_tokens() {
    let profile = profile(10, 400_000);
    let mut long = plan();
    long["stages"][0]["chunk_items"] = json!(0);
    long["stages"][0]["chunk_tokens"] = json!(4_000);
    for (input, items) in [(InputKind::Documents, 1), (InputKind::Urls, 1)] {
        let of = Bounds {
            input,
            ..bounds(&profile)
        };
        let chunk = judged(long.clone(), &of).unwrap()[0].chunk.unwrap();
        assert_eq!((chunk.items, chunk.tokens), (Some(items), Some(4_000)));
        assert!(
            crate::core::plan::fallback::stages(&of)[0]
                .chunk
                .unwrap()
                .tokens
                .is_some()
        );
        assert!(
            judged(plan(), &of).unwrap()[0]
                .chunk
                .unwrap()
                .tokens
                .is_some()
        );
    }
}
