#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn schema() -> Schema {
    Schema::compile(&json!({
        "type": "object",
        "properties": {"label": {"enum": ["bug", "billing"]}, "note": {"type": "string", "maxLength": 40}},
        "required": ["label"],
        "additionalProperties": false
    }))
    .unwrap()
}

fn ids(count: usize) -> Vec<String> {
    (1..=count).map(|index| format!("T-{index}")).collect()
}

fn item(id: &str, label: &str) -> Value {
    json!({"id": id, "output": {"label": label}})
}

fn read_items(text: &str, count: usize) -> Answer {
    read_stopped(text, count, &StopReason::EndTurn)
}

fn read_stopped(text: &str, count: usize, stop: &StopReason) -> Answer {
    let (schema, ids) = (schema(), ids(count));
    read(
        text,
        stop,
        Wanted {
            output: Output::Item,
            schema: &schema,
            ids: &ids,
        },
    )
}

fn valid_ids(answer: &Answer) -> Vec<&str> {
    answer.valid.iter().map(|(id, _)| id.as_str()).collect()
}

fn faults(answer: &Answer) -> Vec<String> {
    answer.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_perfect_answer_has_everything_and_no_faults() {
    let text = json!({"results": [item("T-2", "bug"), item("T-1", "billing")]}).to_string();
    let answer = read_items(&text, 2);
    assert_eq!(
        answer,
        Answer {
            valid: vec![
                ("T-1".into(), json!({"label": "billing"})),
                ("T-2".into(), json!({"label": "bug"}))
            ],
            ..Answer::default()
        }
    );
    assert!(answer.is_complete());
}

#[test]
fn valid_results_are_kept_beside_faulty_ones() {
    let text = json!({"results": [item("T-1", "bug"), item("T-2", "other"), {"id": "T-4", "output": {}}, item("T-9", "bug")]}).to_string();
    let answer = read_items(&text, 4);
    assert_eq!(valid_ids(&answer), ["T-1"]);
    assert_eq!(answer.missing, ["T-2", "T-3", "T-4"]);
    assert_eq!(answer.invented, ["T-9"]);
    assert_eq!(
        faults(&answer),
        [
            "there is no result for `T-3`",
            r#"at /results/T-2/output/label: is "other", but must be one of "bug", "billing""#,
            "at /results/T-4/output: the field `label` is missing",
            "there are results for ids that are not among the items: `T-9`",
        ]
    );
}

#[test]
fn ids_that_the_model_writes_otherwise_are_matched_and_come_back_unchanged() {
    let given = ["A-2 ", "007", "Caf\u{e9}", "zero\u{200b}width", "t-5"].map(str::to_owned);
    let answered = ["A-2", "7", "Cafe\u{301}", "zerowidth", "`T-5`"];
    let results: Vec<Value> = answered.iter().map(|id| item(id, "bug")).collect();
    let text = json!({"results": results}).to_string();
    let schema = schema();
    let wanted = |ids| Wanted {
        output: Output::Item,
        schema: &schema,
        ids,
    };
    let answer = read(&text, &StopReason::EndTurn, wanted(&given));
    let ids: Vec<&str> = answer.valid.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, given.each_ref().map(String::as_str));
    assert!(
        answer.is_complete() && answer.faults.is_empty(),
        "{:?}",
        answer.faults
    );
    // A single item needs no id.
    let one = json!({"results": [item("the ticket", "bug")]}).to_string();
    let answer = read(&one, &StopReason::EndTurn, wanted(&given[..1]));
    assert_eq!(answer.valid[0].0, "A-2 ");
    // What nobody can see is seen in the faults.
    let answer = read("{\"results\": []}", &StopReason::EndTurn, wanted(&given));
    assert!(
        answer.faults[0].message.contains("zero\\u{200b}width"),
        "{:?}",
        answer.faults
    );
}

#[test]
fn long_numbers_keep_their_digits_where_a_text_is_wanted() {
    let schema = Schema::compile(&json!({"type": "object", "properties": {"iban": {"type": "string"}, "n": {"type": "number"}},
        "required": ["iban", "n"], "additionalProperties": false})).unwrap();
    let ids = ["12345678901234567890123".to_owned()];
    let wanted = Wanted {
        output: Output::Item,
        schema: &schema,
        ids: &ids,
    };
    let text = r#"{"results": [{"id": 12345678901234567890123, "output": {"iban": 98765432109876543210987, "n": 0.12345678901234567891}}]}"#;
    let answer = read(text, &StopReason::EndTurn, wanted);
    let output = json!({"iban": "98765432109876543210987", "n": 0.123_456_789_012_345_68});
    assert_eq!(answer.valid, [(ids[0].clone(), output)]);
}

#[test]
fn letter_case_of_listed_values_is_put_right() {
    let text = json!({"results": [item("T-1", "BUG")]}).to_string();
    assert_eq!(read_items(&text, 1).valid[0].1, json!({"label": "bug"}));
}

#[test]
fn fences_and_prose_around_the_json_do_no_harm() {
    let json = json!({"results": [item("T-1", "bug"), item("T-2", "bug")]}).to_string();
    for text in [
        format!("```json\n{json}\n```"),
        format!("```\n{json}```"),
        format!("\u{feff}  {json}\n"),
        format!("Here is what I found [as asked]:\n\n{json}\n\nAnything else {{let me know}}?"),
        format!("Sure! \"Results\":\n```json\n{json}\n```\nDone."),
        format!("{{\"results\": []}} No, wait: {json}"),
    ] {
        let answer = read_items(&text, 2);
        assert!(answer.is_complete(), "{text}: {answer:?}");
    }
}

#[test]
fn lists_lines_and_flat_results_are_understood() {
    let two = [item("T-1", "bug"), item("T-2", "billing")];
    for text in [
        json!(two).to_string(),
        format!("{}\n{}", two[0], two[1]),
        json!({"results": [{"id": "T-1", "label": "bug"}, {"id": "T-2", "label": "billing"}]})
            .to_string(),
    ] {
        let answer = read_items(&text, 2);
        assert!(answer.is_complete(), "{text}: {answer:?}");
    }
    // One item, and no id: whose result it is cannot be doubted.
    assert!(read_items("{\"label\": \"bug\"}", 1).is_complete());
    assert!(!read_items("{\"label\": \"bug\"}", 2).is_complete());
}

#[test]
fn ids_that_came_as_numbers_or_with_blanks_are_recognised() {
    let (schema, ids) = (schema(), vec!["7".to_owned(), " a".to_owned()]);
    let text = json!({"results": [{"id": 7, "output": {"label": "bug"}}, {"id": " a", "output": {"label": "bug"}}]});
    let wanted = Wanted {
        output: Output::Item,
        schema: &schema,
        ids: &ids,
    };
    assert!(read(&text.to_string(), &StopReason::EndTurn, wanted).is_complete());
}

#[test]
fn complete_results_are_saved_from_a_cut_answer() {
    let text = json!({"results": [item("T-1", "bug"), item("T-2", "billing"), item("T-3", "bug")]})
        .to_string();
    let cut = text.find("T-3").unwrap() + 20;
    let answer = read_stopped(&text[..cut], 3, &StopReason::MaxTokens);
    assert_eq!(valid_ids(&answer), ["T-1", "T-2"]);
    assert_eq!(answer.missing, ["T-3"]);
    assert!(answer.truncated);
    assert!(
        faults(&answer)[0].starts_with("the answer was cut off"),
        "{answer:?}"
    );
}

#[test]
fn a_result_that_cannot_be_read_does_not_hide_those_after_it() {
    let broken = r#"{"results": [{"id": "T-1", "output": {"label": "bug", "note": "he said "no" twice"}},
        {"id": "T-2", "output": {"label": "bug"}}, {"id": "T-3", "output": {"label": "bug", "note": \ud800}},
        {"id": "T-4", "output": {"label": "billing"}}]}"#;
    let answer = read_items(broken, 4);
    assert_eq!(valid_ids(&answer), ["T-2", "T-4"]);
    assert_eq!(answer.missing, ["T-1", "T-3"]);
    assert!(
        faults(&answer)[0].starts_with("the answer is not one JSON document: expected"),
        "{answer:?}"
    );
}

#[test]
fn half_a_character_costs_no_result() {
    let text = r#"{"results": [{"id": "T-1", "output": {"label": "bug", "note": "cut \ud83d"}}]}"#;
    let answer = read_items(text, 1);
    let output = json!({"label": "bug", "note": "cut \u{fffd}"});
    assert_eq!(answer.valid, [("T-1".to_owned(), output)]);
    assert!(answer.faults.is_empty(), "{answer:?}");
}

#[test]
fn what_lies_inside_a_broken_result_is_no_result() {
    // The schema's own fields may be called like ours.
    let schema =
        Schema::compile(&json!({"type": "object", "properties": {"parts": {"type": "array"}}}))
            .unwrap();
    let text = r#"{"results": [{"id": "a", "output": {}}, {"id": "b", "output": {"parts": [{"id": "c", "output": {}}], "x": "#;
    let ids = ["a", "b", "c"].map(str::to_owned);
    let answer = read(
        text,
        &StopReason::MaxTokens,
        Wanted {
            output: Output::Item,
            schema: &schema,
            ids: &ids,
        },
    );
    assert_eq!(valid_ids(&answer), ["a"]);
}

#[test]
fn the_same_result_twice_is_one_and_two_different_ones_are_none() {
    let text = json!({"results": [item("T-1", "bug"), item("T-1", "bug"), item("T-2", "bug"), item("T-2", "billing"), item("T-3", "?"), item("T-3", "bug")]}).to_string();
    let answer = read_items(&text, 3);
    assert_eq!(valid_ids(&answer), ["T-1", "T-3"]);
    assert_eq!(answer.missing, ["T-2"]);
    assert_eq!(
        faults(&answer),
        ["at /results/T-2/output: has two different results"]
    );
}

#[test]
fn answers_without_json_say_so() {
    for (text, expected) in [
        ("", "the answer is not one JSON document: it is empty"),
        (
            "I cannot do that.",
            "the answer is not one JSON document: expected value",
        ),
        (
            "\"just text\"",
            "the answer is not one JSON document: neither an object nor an array",
        ),
    ] {
        let answer = read_items(text, 2);
        assert_eq!(answer.missing.len(), 2);
        assert!(faults(&answer)[0].starts_with(expected), "{answer:?}");
        assert_eq!(faults(&answer)[1], "there is no result for `T-1`, `T-2`");
    }
}

#[test]
fn faults_are_bounded_however_many_items() {
    let results: Vec<Value> = ids(500).iter().map(|id| item(id, "wrong")).collect();
    let answer = read_items(&json!({"results": results}).to_string(), 500);
    assert_eq!(answer.missing.len(), 500);
    assert_eq!(answer.faults.len(), MAX_FAULTS);
    let silent = read_items("{\"results\": []}", 500);
    assert!(
        faults(&silent)[0].ends_with("`T-10` and 490 more"),
        "{silent:?}"
    );
}

fn read_chunk(text: &str, schema: &Value, stop: &StopReason) -> Answer {
    let schema = Schema::compile(schema).unwrap();
    let ids = ids(2);
    read(
        text,
        stop,
        Wanted {
            output: Output::Chunk,
            schema: &schema,
            ids: &ids,
        },
    )
}

#[test]
fn a_chunk_has_one_result_or_none() {
    let source = schema().source().clone();
    let answer = read_chunk("Fine: {\"label\": \"Bug\"}", &source, &StopReason::EndTurn);
    assert_eq!(
        (answer.chunk.clone(), answer.is_complete()),
        (Some(json!({"label": "bug"})), true)
    );
    assert!(answer.faults.is_empty());
    let answer = read_chunk("{\"label\": 5}", &source, &StopReason::EndTurn);
    assert_eq!((answer.chunk.clone(), answer.missing.len()), (None, 2));
    assert_eq!(
        faults(&answer),
        [r#"at /label: is 5, but must be one of "bug", "billing""#]
    );
    let answer = read_chunk(
        "{\"label\": \"bug\", \"note\": \"x",
        &source,
        &StopReason::MaxTokens,
    );
    assert!(answer.chunk.is_none() && answer.truncated);
}

#[test]
fn without_a_schema_plain_text_is_a_chunks_result_unless_it_was_cut() {
    let text = "Three of them complain.";
    let answer = read_chunk(text, &default_schema(), &StopReason::EndTurn);
    assert_eq!(answer.chunk, Some(json!({"text": text})));
    assert!(
        read_chunk(text, &default_schema(), &StopReason::MaxTokens)
            .chunk
            .is_none()
    );
    assert!(
        read_chunk(text, schema().source(), &StopReason::EndTurn)
            .chunk
            .is_none()
    );
    assert!(
        read_chunk("  ", &default_schema(), &StopReason::EndTurn)
            .chunk
            .is_none()
    );
}

#[test]
fn bare_text_is_a_result_where_text_was_wanted() {
    let schema = Schema::compile(&default_schema()).unwrap();
    let ids = ids(1);
    let text = json!({"results": [{"id": "T-1", "output": "short"}]}).to_string();
    let answer = read(
        &text,
        &StopReason::EndTurn,
        Wanted {
            output: Output::Item,
            schema: &schema,
            ids: &ids,
        },
    );
    assert_eq!(answer.valid, [("T-1".to_owned(), json!({"text": "short"}))]);
}

#[test]
fn a_hostile_text_takes_linear_time() {
    for text in [
        "[".repeat(200_000),
        "{\"a\":".repeat(50_000),
        "[1,".repeat(60_000),
        "{\"".repeat(100_000),
        "[]".repeat(100_000),
        "[x]".repeat(60_000),
    ] {
        let answer = read_items(&text, 3);
        assert_eq!(answer.missing.len(), 3);
    }
}

/// A mutation of a text: a piece cut out, doubled, or replaced.
fn mutated(text: &str, changes: &[(prop::sample::Index, prop::sample::Index, u8)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (from, length, kind) in changes {
        let from = from.index(characters.len() + 1).min(characters.len());
        let to = (from + length.index(40)).min(characters.len());
        let piece: Vec<char> = characters[from..to].to_vec();
        let with: Vec<char> = match kind % 4 {
            0 => Vec::new(),
            1 => [piece.clone(), piece].concat(),
            2 => "\"{[]},:\\x".chars().collect(),
            _ => piece.into_iter().rev().collect(),
        };
        characters.splice(from..to, with);
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    /// Whatever becomes of an answer on its way: no panic, no result that is not valid or was not
    /// asked for, none twice, and each item either has one or is missing.
    #[test]
    fn nothing_invalid_comes_out_of_a_mutated_answer(
        count in 1usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..5),
        cut in any::<bool>(),
    ) {
        let results: Vec<Value> = ids(count).iter().map(|id| item(id, "bug")).collect();
        let text = mutated(&json!({"results": results}).to_string(), &changes);
        let stop = if cut { StopReason::MaxTokens } else { StopReason::EndTurn };
        let answer = read_stopped(&text, count, &stop);
        let schema = schema();
        for (_, output) in &answer.valid {
            prop_assert_eq!(schema.check(output), Ok(()));
        }
        let mut all: Vec<&str> = valid_ids(&answer);
        all.extend(answer.missing.iter().map(String::as_str));
        all.sort_unstable();
        let mut expected = ids(count);
        expected.sort_unstable();
        prop_assert_eq!(all, expected);
        prop_assert!(answer.faults.len() <= MAX_FAULTS);
        prop_assert!(answer.is_complete() || !answer.faults.is_empty());
    }

    /// However much of an answer's end is lost, every result that stands whole before the cut is
    /// saved.
    #[test]
    fn a_cut_saves_every_whole_result(count in 1usize..12, cut in any::<prop::sample::Index>(), pretty in any::<bool>()) {
        let results: Vec<Value> = ids(count).iter().map(|id| item(id, "bug")).collect();
        let value = json!({"results": results});
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let text = &text[..cut.index(text.len())];
        let whole = text.matches("\"bug\"").count();
        let answer = read_stopped(text, count, &StopReason::MaxTokens);
        // The last one may lack its closing brackets.
        prop_assert!(answer.valid.len() == whole || answer.valid.len() + 1 == whole);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", chunk in any::<bool>()) {
        let (schema, ids) = (schema(), ids(2));
        let output = if chunk { Output::Chunk } else { Output::Item };
        let answer = read(&text, &StopReason::EndTurn, Wanted { output, schema: &schema, ids: &ids });
        prop_assert!(answer.valid.is_empty() || !chunk);
    }
}
