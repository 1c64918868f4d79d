//! Items as they come in a body: forms, ids, faults with their places.

use serde_json::json;

use super::*;
use crate::api::http::problem::ApiError;
use crate::config::Config;

fn caps() -> Caps {
    let mut caps = Config::from_vars(|_| None).unwrap().caps;
    caps.item_bytes = 1_000;
    caps
}

/// As a value and as a text the same is said.
fn faults_of(input: Value) -> Vec<String> {
    let text = input.to_string();
    let told = |given: Given<'_>| -> Vec<String> {
        let mut faults = Faults::default();
        read(given, &caps(), false, &mut faults);
        let problem = ApiError::invalid(faults).into_problem(String::new());
        let lines = problem.errors.into_iter();
        lines
            .map(|f| format!("{}: {}", f.path, f.message))
            .collect()
    };
    let of_text = told(Given::Text(&text));
    assert_eq!(told(Given::Value(input)), of_text);
    of_text
}

#[test]
fn strings_and_objects_become_items_in_their_order() {
    let input = json!({"items": ["a", {"id": "T-2", "z": 1, "a": [2]}, {"id": null, "text": "c"}], "text": null});
    let (caps, text) = (caps(), input.to_string());
    for given in [Given::Text(&text), Given::Value(input)] {
        let mut faults = Faults::default();
        let items = read(given, &caps, false, &mut faults).items;
        assert!(faults.is_empty());
        let wire: Vec<String> = items
            .into_iter()
            .map(|item| item.into_wire().to_string())
            .collect();
        assert_eq!(
            wire,
            [
                r#"{"id":"item-1","text":"a"}"#,
                r#"{"id":"T-2","z":1,"a":[2]}"#,
                r#"{"id":"item-3","text":"c"}"#,
            ]
        );
    }
}

#[test]
fn everything_wrong_is_named_at_once() {
    let input = json!({"items": [
        "", " \n", 5, null, {}, {"id": "x"}, {"id": "y", "text": " ", "note": null},
        {"id": 7.5, "a": 1}, {"id": "", "a": 1}, {"id": "a\u{7}", "a": 1},
        {"id": "x".repeat(129), "a": 1}, "x".repeat(999), {"a": "x".repeat(999)}, {"id": "ok", "a": false},
    ], "more": 1});
    assert_eq!(
        faults_of(input),
        [
            "input.more: is not a known field",
            "input.items[0]: is empty",
            "input.items[1]: is empty",
            "input.items[2]: must be a string or an object",
            "input.items[3]: must be a string or an object",
            "input.items[4]: is empty: it needs a field besides `id` that says something",
            "input.items[5]: is empty: it needs a field besides `id` that says something",
            "input.items[6]: is empty: it needs a field besides `id` that says something",
            "input.items[7].id: must be a string or a whole number",
            "input.items[8].id: must not be empty",
            "input.items[9].id: must not hold control characters",
            "input.items[10].id: must have at most 128 characters",
            "input.items[11]: has 1001 bytes as JSON; at most 1000 are allowed (MAX_ITEM_BYTES)",
            "input.items[12]: has 1007 bytes as JSON; at most 1000 are allowed (MAX_ITEM_BYTES)",
        ]
    );
}

#[test]
fn doubled_ids_are_named_with_both_places_defaults_included() {
    let input = json!({"items": [
        {"id": "T", "a": 1}, {"id": "item-3", "a": 1}, "plain", {"id": "T", "a": 2}, {"id": "T", "a": 3},
    ]});
    let note = "(an item without an id has `item-N` by its place)";
    assert_eq!(
        faults_of(input),
        [
            format!("input.items[2].id: the id \"item-3\" is that of input.items[1] too {note}"),
            format!("input.items[3].id: the id \"T\" is that of input.items[0] too {note}"),
            format!("input.items[4].id: the id \"T\" is that of input.items[0] too {note}"),
        ]
    );
}

#[test]
fn other_inputs_are_refused_in_words() {
    let cases = [
        (
            json!([]),
            "input: must be an object with exactly one of `items`, `text`, `documents`, `urls`",
        ),
        (
            json!({}),
            "input: needs exactly one of `items`, `text`, `documents`, `urls`",
        ),
        (json!({"items": []}), "input.items: must not be empty"),
        (
            json!({"items": "a"}),
            "input.items: must be an array of strings and objects",
        ),
        (
            json!({"items": ["a"], "urls": ["u"]}),
            "input: has `items` and `urls`; it must be exactly one of `items`, `text`, `documents`, `urls`",
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(faults_of(input), [expected]);
    }
}

#[test]
fn ids_of_slices_are_refused_where_texts_are_split() {
    let text = r##"{"items": [{"id": "a#1", "text": "x"}, {"id": "a#b", "text": "x"}]}"##;
    let caps = caps();
    let mut faults = Faults::default();
    let taken = read(Given::Text(text), &caps, false, &mut faults);
    assert!(faults.is_empty() && taken.items.into_iter().count() == 2);
    read(Given::Text(text), &caps, true, &mut faults);
    let problem = ApiError::invalid(faults).into_problem(String::new());
    let paths: Vec<&str> = problem.errors.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["input.items[0].id"]);
}

/// Ten bytes of `[[],[],…]` are a hundred as values.
#[test]
fn an_item_far_over_its_cap_is_refused_unread() {
    let many = format!("[{}]", vec!["[]"; 3_000].join(","));
    let caps = caps();
    for (list, entry) in [
        ("items", format!("{{\"a\":{many}}}")),
        ("items", many.clone()),
        ("documents", format!("{{\"text\":\"x\",\"a\":{many}}}")),
        ("documents", many.clone()),
        (
            "urls",
            format!("{{\"url\":\"https://a.org\",\"a\":{many}}}"),
        ),
    ] {
        let text = format!("{{\"{list}\":[{entry}]}}");
        let mut faults = Faults::default();
        read(Given::Text(&text), &caps, false, &mut faults);
        let problem = ApiError::invalid(faults).into_problem(String::new());
        assert!(
            problem.errors[0].message.contains("MAX_ITEM_BYTES"),
            "{list}"
        );
    }
}

#[test]
fn more_doubles_than_are_listed_are_counted() {
    let items: Vec<Value> = (0..500).map(|_| json!({"id": "a", "text": "x"})).collect();
    let text = json!({"items": items}).to_string();
    let (caps, mut faults) = (caps(), Faults::default());
    read(Given::Text(&text), &caps, false, &mut faults);
    let problem = ApiError::invalid(faults).into_problem(String::new());
    assert!(problem.detail.contains("499"), "{}", problem.detail);
    assert!(
        problem
            .errors
            .iter()
            .all(|f| f.message.contains("the id \"a\""))
    );
}

#[test]
fn the_cap_on_items_is_in_the_message() {
    let input = json!({"items": vec!["a"; 100_001]});
    assert_eq!(
        faults_of(input),
        ["input.items: has 100001 items; at most 100000 are allowed (MAX_ITEMS)"]
    );
}

#[test]
fn a_full_load_is_taken() {
    let input = json!({"items": (0..100_000).map(|n| json!({"id": format!("T-{n}"), "text": "some text"})).collect::<Vec<_>>()});
    let (caps, mut faults) = (caps(), Faults::default());
    let text = input.to_string();
    let taken = read(Given::Text(&text), &caps, false, &mut faults);
    assert_eq!(taken.items.into_iter().count(), 100_000);
    assert!(faults.is_empty());
}
