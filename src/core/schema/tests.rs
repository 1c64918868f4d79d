#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn ticket() -> Schema {
    Schema::compile(&json!({
        "type": "object",
        "properties": {
            "category": {"enum": ["billing", "bug", "how_to"]},
            "urgency": {"anyOf": [{"type": "string", "enum": ["low", "high"]}, {"type": "null"}]},
            "amount": {"type": ["number", "null"], "minimum": 0},
            "day": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 3},
            "severity": {"$ref": "#/$defs/severity"}
        },
        "required": ["category"],
        "additionalProperties": false,
        "$defs": {"severity": {"const": "HIGH"}}
    }))
    .unwrap()
}

fn said(result: Result<(), Vec<Fault>>) -> Vec<String> {
    result
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_valid_value_has_no_faults() {
    let value = json!({"category": "bug", "urgency": null, "amount": 3.5, "day": "2026-11-22", "tags": ["a"]});
    assert_eq!(ticket().check(&value), Ok(()));
}

#[test]
fn faults_say_what_is_wrong_and_where() {
    let schema = ticket();
    let cases = [
        (json!({}), "the field `category` is missing"),
        (
            json!({"category": "other"}),
            r#"at /category: is "other", but must be one of "billing", "bug", "how_to""#,
        ),
        (
            json!({"category": "bug", "x": 1, "y": 2}),
            "has fields that are not in the schema: `x`, `y`",
        ),
        (
            json!({"category": "bug", "amount": "5"}),
            "at /amount: must be null or number, not string",
        ),
        (
            json!({"category": "bug", "amount": -1}),
            "at /amount: must be >=0, but got -1",
        ),
        (
            json!({"category": "bug", "tags": ["a", 5]}),
            "at /tags/1: must be string, not number",
        ),
        (
            json!({"category": "bug", "urgency": "never"}),
            r#"at /urgency: is "never", but must be one of "low", "high""#,
        ),
        (
            json!({"category": "bug", "severity": "low"}),
            r#"at /severity: is "low", but must be "HIGH""#,
        ),
        (json!([]), "must be object, not array"),
    ];
    for (value, expected) in cases {
        assert_eq!(said(schema.check(&value)), [expected], "{value}");
    }
    let day = said(schema.check(&json!({"category": "bug", "day": "yesterday"})));
    assert!(
        day[0].starts_with("at /day: 'yesterday' is not valid date"),
        "{day:?}"
    );
}

#[test]
fn faults_are_bounded_in_number_and_length() {
    let schema =
        Schema::compile(&json!({"type": "array", "items": {"enum": ["x".repeat(1_000)]}})).unwrap();
    let faults = schema
        .check(&json!(vec!["y".repeat(5_000); 500]))
        .unwrap_err();
    assert_eq!(faults.len(), MAX_FAULTS);
    assert!(
        faults
            .iter()
            .all(|fault| fault.message.chars().count() <= 300)
    );
}

#[test]
fn letter_case_is_put_right_before_the_check() {
    let value = json!({"category": "How_To ", "urgency": "LOW", "severity": "high"});
    let admitted = ticket().admit(value).unwrap();
    assert_eq!(
        admitted,
        json!({"category": "how_to", "urgency": "low", "severity": "HIGH"})
    );
}

#[test]
fn what_remains_wrong_after_that_is_reported_alone() {
    let faults = ticket()
        .admit(json!({"category": "BUG", "amount": -1}))
        .unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, "/amount");
}

#[test]
fn ambiguous_or_free_strings_are_left_alone() {
    let two = json!({"enum": ["Low", "LOW"]});
    let mut value = json!("low");
    assert!(!normalise_enums(&two, &mut value));
    let free = json!({"anyOf": [{"enum": ["low"]}, {"type": "string"}]});
    let mut value = json!("LOW");
    assert!(!normalise_enums(&free, &mut value));
    let exact = json!({"enum": ["Low", "low"]});
    let mut value = json!("low");
    assert!(!normalise_enums(&exact, &mut value));
    let only = json!({"enum": ["low"]});
    let mut value = json!("low");
    assert!(
        !normalise_enums(&only, &mut value),
        "what is right is no change"
    );
    let listed = json!({"allOf": [{"type": "string"}, {"enum": ["low"]}]});
    let mut value = json!("LOW");
    assert!(normalise_enums(&listed, &mut value));
    assert_eq!(value, "low");
}

#[test]
fn enums_are_found_in_arrays_tuples_and_open_objects() {
    let schema = json!({
        "properties": {"list": {"items": {"enum": ["a"]}, "prefixItems": [{"const": "B"}]}},
        "additionalProperties": {"$ref": "#/properties/list/items"}
    });
    let mut value = json!({"list": ["b", "A", "c"], "other": "A"});
    assert!(normalise_enums(&schema, &mut value));
    assert_eq!(value, json!({"list": ["B", "a", "c"], "other": "a"}));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let mut value = json!("A");
    assert!(!normalise_enums(&json!({"$ref": "#"}), &mut value));
    let schema =
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"a": {"$ref": "#"}}});
    let mut value = json!({"a": {"a": {}}});
    assert!(!normalise_enums(&schema, &mut value));
    for endless in [
        json!({"$ref": "#"}),
        json!({"anyOf": [{"type": "null"}, {"not": {"$ref": "#"}}]}),
    ] {
        let faults = Schema::compile(&endless).unwrap_err();
        assert_eq!(faults[0].message, "the schema refers to itself without end");
    }
    let tree = Schema::compile(
        &json!({"properties": {"left": {"$ref": "#"}, "size": {"type": "integer"}}}),
    )
    .unwrap();
    assert_eq!(
        said(tree.check(&json!({"left": {"left": {"size": "x"}}}))),
        ["at /left/left/size: must be integer, not string"]
    );
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let cases = [
        (json!(7), "a schema must be a JSON object"),
        (json!({"type": "text"}), "at /type:"),
        (
            json!({"properties": {"a": {"minimum": "low"}}}),
            "at /properties/a/minimum: must be number, not string",
        ),
        (json!({"$ref": "#/$defs/gone"}), "a reference leads nowhere"),
        (json!({"$ref": "#gone"}), "a reference leads nowhere"),
        (
            json!({"pattern": "(?=x)"}),
            "at /pattern: is no pattern that can be used here: look-around",
        ),
        (
            json!({"properties": {"a": {"pattern": "("}}}),
            "at /properties/a",
        ),
        (
            json!({"$schema": "https://example.com/mine"}),
            "at /$schema: `https://example.com/mine` is not a dialect",
        ),
        (
            json!({"properties": {"a/b": {"$ref": "https://example.com/x.json"}}}),
            "at /properties/a~1b/$ref: a reference must stay inside",
        ),
        (
            json!({"$ref": "file:///etc/passwd"}),
            "at /$ref: a reference must stay inside",
        ),
        (
            json!({"$ref": "other.json"}),
            "at /$ref: a reference must stay inside",
        ),
        (
            json!({"items": {"$id": "https://example.com/"}}),
            "at /items: `$id`",
        ),
    ];
    for (schema, expected) in cases {
        let faults = Schema::compile(&schema).expect_err(&schema.to_string());
        assert!(
            faults[0].to_string().starts_with(expected),
            "{schema}: {faults:?}"
        );
        assert!(
            !faults
                .iter()
                .any(|fault| fault.to_string().contains("schema.invalid")),
            "{faults:?}"
        );
    }
}

#[test]
fn a_property_may_be_called_like_a_keyword() {
    let schema = json!({"type": "object", "properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}});
    let schema = Schema::compile(&schema).unwrap();
    assert_eq!(
        schema.check(&json!({"$ref": "https://example.com", "$id": "x"})),
        Ok(())
    );
}

#[test]
fn older_drafts_are_known_by_their_name() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"a": {"type": "integer"}},
        "items": [{"$ref": "#/definitions/a"}], "additionalItems": false
    });
    let schema = Schema::compile(&schema).unwrap();
    assert_eq!(schema.check(&json!([1])), Ok(()));
    assert!(schema.check(&json!([1, 2])).is_err());
}

fn chain(length: usize) -> Value {
    let mut defs = Map::new();
    for index in 0..length {
        defs.insert(
            format!("d{index}"),
            json!({"$ref": format!("#/$defs/d{}", index + 1)}),
        );
    }
    defs.insert(format!("d{length}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn schemas_that_would_run_away_are_refused() {
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!({"items": deep});
    }
    let mut wide = Map::new();
    for index in 0..10_001 {
        wide.insert(format!("p{index}"), json!(true));
    }
    // 2^30 parts once written out.
    let mut bomb = Map::new();
    for index in 0..30 {
        let next = json!({"$ref": format!("#/$defs/d{}", index + 1)});
        bomb.insert(
            format!("d{index}"),
            json!({"properties": {"a": next.clone(), "b": next}}),
        );
    }
    bomb.insert("d30".to_owned(), json!({}));
    let mut long = Map::new();
    for index in 0..500 {
        long.insert(
            format!("d{index}"),
            json!({"items": {"$ref": format!("#/$defs/d{}", index + 1)}}),
        );
    }
    long.insert("d500".to_owned(), json!({}));
    let cases = [
        (deep, "nested more than"),
        (json!({"properties": wide}), "parts"),
        (json!({"$ref": "#/$defs/d0", "$defs": bomb}), "written out"),
        (json!({"$ref": "#/$defs/d0", "$defs": long}), "levels deep"),
        (
            chain(20),
            "more than 16 schemas apply to one place, one inside",
        ),
        (chain(200), "in a row"),
        (
            json!({"items": {"$ref": "#"}, "allOf": [{"$ref": "#/$defs/d0"}], "$defs": chain(8)["$defs"]}),
            "of a schema that refers to itself",
        ),
    ];
    for (schema, expected) in cases {
        let faults = Schema::compile(&schema).unwrap_err();
        assert!(faults[0].message.contains(expected), "{faults:?}");
    }
    assert!(Schema::compile(&chain(14)).is_ok());
}

#[test]
fn values_nested_too_deeply_are_refused_unread() {
    let schema = Schema::compile(&json!(true)).unwrap();
    let mut value = json!(1);
    for _ in 0..100 {
        value = json!([value]);
    }
    assert_eq!(
        said(schema.check(&value)),
        ["nested more than 24 levels deep"]
    );
}

/// The deepest recursions the bounds allow, on a stack four times that of Wasm: the frames of an
/// unoptimised native build were measured at about four times those of an optimised one.
#[test]
fn the_deepest_schemas_fit_the_stack() {
    let mut recursive = json!({"items": {"$ref": "#"}});
    for _ in 0..4 {
        recursive = json!({"allOf": [recursive]});
    }
    let mut nested = json!({"type": "string"});
    for _ in 0..30 {
        nested = json!({"items": nested});
    }
    let mut alternatives = json!({"type": "string"});
    for _ in 0..15 {
        alternatives = json!({"anyOf": [alternatives]});
    }
    let mut value = json!([]);
    for _ in 1..MAX_VALUE_DEPTH {
        value = json!([value]);
    }
    let work = move || {
        for schema in [recursive, nested, alternatives] {
            let schema = Schema::compile(&schema).unwrap();
            let _ = schema.check(&value);
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(4 * 1024 * 1024)
        .spawn(work);
    thread.unwrap().join().unwrap();
}

/// Values that look like schemas often enough to get past the first checks.
fn schemaish() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-3i64..5).prop_map(Value::from),
        prop::sample::select(vec![
            "string",
            "object",
            "array",
            "#",
            "#/$defs/a",
            "#/items",
            "x",
            "^a+$",
            "(",
            "date"
        ])
        .prop_map(Value::from),
        Just(Value::Null),
    ];
    scalar.prop_recursive(5, 40, 4, |inner| {
        let keyword = prop::sample::select(vec![
            "type", "items", "properties", "$ref", "$defs", "a", "anyOf", "allOf", "oneOf", "not", "enum", "const",
            "required", "pattern", "format", "minItems", "maxLength", "additionalProperties", "prefixItems", "if", "then",
            "dependentSchemas", "propertyNames", "$anchor", "$id", "$schema", "unevaluatedProperties", "contains",
        ]);
        prop_oneof![
            3 => prop::collection::vec((keyword, inner.clone()), 0..5).prop_map(|pairs| {
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
            }),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_schema_and_no_value_panics(source in schemaish(), mut value in schemaish()) {
        match Schema::compile(&source) {
            Ok(schema) => {
                if let Err(faults) = schema.check(&value) {
                    prop_assert!(!faults.is_empty() && faults.len() <= MAX_FAULTS);
                }
                let _ = schema.admit(value.clone());
            }
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
        normalise_enums(&source, &mut value);
    }

    #[test]
    fn putting_case_right_never_breaks_a_valid_value(
        words in prop::collection::btree_set("[a-zA-Z]{1,4}", 1..5),
        pick in any::<prop::sample::Index>(),
        upper in any::<bool>(),
    ) {
        let words: Vec<String> = words.into_iter().collect();
        let word = pick.get(&words);
        let schema = Schema::compile(&json!({"enum": words})).unwrap();
        prop_assert_eq!(schema.admit(json!(word)).unwrap(), json!(word));
        let drifted = if upper { word.to_uppercase() } else { word.to_lowercase() };
        if let Ok(admitted) = schema.admit(json!(drifted)) {
            prop_assert!(words.iter().any(|known| admitted == known.as_str()));
        }
    }
}
