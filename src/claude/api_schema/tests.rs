#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::rules::violations;
use super::*;
use crate::core::schema::Schema;

fn adapted(schema: Value) -> Value {
    let adapted = adapt(&schema).unwrap();
    assert_eq!(violations(&adapted), Vec::<String>::new(), "{adapted}");
    adapted
}

#[test]
fn what_the_api_takes_stays_as_it_is() {
    let schema = json!({
        "type": "object",
        "properties": {
            "category": {"enum": ["a", "b", null]},
            "kind": {"const": "x"},
            "day": {"type": "string", "format": "date", "pattern": "^2"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "either": {"type": ["string", "null"], "title": "T", "description": "d"}
        },
        "required": ["category"],
        "additionalProperties": false
    });
    assert_eq!(adapted(schema.clone()), schema);
}

#[test]
fn what_it_does_not_take_is_described() {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer", "minimum": 0, "maximum": 5, "description": "a number", "default": 1},
        "s": {"type": "string", "maxLength": 9, "format": "iri", "pattern": "\\bword"},
        "a": {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": true}
    }, "minProperties": 1});
    assert_eq!(
        adapted(schema),
        json!({"type": "object", "properties": {
            "n": {"type": "integer", "description": "a number\n\n{minimum: 0, maximum: 5, default: 1}"},
            "s": {"type": "string", "description": "{maxLength: 9, format: \"iri\", pattern: \"\\\\bword\"}"},
            "a": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "{minItems: 3, uniqueItems: true}"}
        }, "additionalProperties": false, "description": "{minProperties: 1}"})
    );
}

#[test]
fn literals_stand_without_a_type() {
    assert_eq!(
        adapted(json!({"type": "string", "enum": ["a"]})),
        json!({"enum": ["a"]})
    );
    assert_eq!(
        adapted(json!({"type": "string", "const": "a"})),
        json!({"const": "a"})
    );
    // A list of parts cannot be sent, but can be described.
    let parts = json!({"type": "array", "items": {"type": "integer"}, "enum": [[1], [2]]});
    assert_eq!(adapted(parts)["description"], "{enum: [[1],[2]]}");
}

#[test]
fn choices_become_any_of_and_lend_their_type() {
    let schema = json!({"type": "object", "oneOf": [
        {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
    ]});
    let closed = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name], "additionalProperties": false});
    assert_eq!(
        adapted(schema),
        json!({"anyOf": [closed("a"), closed("b")]})
    );
    let formats = json!({"type": "string", "anyOf": [{"format": "date"}, {"maxLength": 3}]});
    assert_eq!(adapted(formats)["anyOf"][1]["type"], "string");
}

#[test]
fn a_choice_beside_fields_is_a_condition_and_described() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let fitted = adapted(schema);
    assert_eq!(
        fitted["description"],
        "{anyOf: [{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}"
    );
    assert!(fitted.get("anyOf").is_none());
}

#[test]
fn a_list_of_types_with_parts_becomes_a_choice() {
    let schema = json!({"type": ["object", "null"], "properties": {"a": {"type": "integer"}}, "required": ["a"], "description": "d"});
    assert_eq!(
        adapted(schema),
        json!({"anyOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false},
            {"type": "null"}
        ], "description": "d"})
    );
}

#[test]
fn references_are_written_out() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/n", "description": "nearer"},
            "b": {"$ref": "#/properties/a"},
            "c": {"allOf": [{"$ref": "#/$defs/n"}]}
        },
        "$defs": {"n": {"type": "integer", "description": "further"}}
    });
    let number = |text: &str| json!({"type": "integer", "description": text});
    assert_eq!(
        adapted(schema)["properties"],
        json!({"a": number("nearer"), "b": number("nearer"), "c": number("further")})
    );
}

#[test]
fn all_of_objects_is_one_object_with_the_fields_of_all() {
    let schema = json!({
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}, "required": ["b"]}
        ],
        "properties": {"c": {"type": "null"}}
    });
    let fitted = adapted(schema);
    assert_eq!(
        fitted["properties"],
        json!({"c": {"type": "null"}, "a": {"type": "integer"}, "b": {"type": "string"}})
    );
    assert_eq!(fitted["required"], json!(["a", "b"]));
}

#[test]
fn what_cannot_be_sent_says_why() {
    let cases = [
        (
            json!({"type": "object", "properties": {"next": {"$ref": "#"}}}),
            "it refers to itself",
        ),
        (
            json!({"$ref": "https://example.com/x"}),
            "leads out of it or nowhere",
        ),
        (
            json!({"$ref": "#/$defs/gone"}),
            "leads out of it or nowhere",
        ),
        (
            json!({"type": "object"}),
            "the schema allows fields that are not named",
        ),
        (
            json!({"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "number"}}}}),
            "/properties/m allows fields",
        ),
        (
            json!({"type": "object", "patternProperties": {"^x": {}}, "properties": {"a": {"type": "null"}}}),
            "allows fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["b"]}),
            "allows fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "/properties/a has no type",
        ),
        (
            json!({"type": "object", "properties": {"a": true}}),
            "/properties/a has no type",
        ),
        (json!({"type": "array"}), "/items has no type"),
        (json!(true), "the schema has no type"),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}]}),
            "combines schemas",
        ),
        (
            json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
            "combines schemas",
        ),
        (
            json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": false},
            {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": false}]}),
            "combines schemas",
        ),
    ];
    for (schema, expected) in cases {
        let error = adapt(&schema).unwrap_err().to_string();
        assert!(error.contains(expected), "{schema}: {error}");
    }
}

#[test]
fn the_apis_limits_are_kept() {
    let fields = |count: usize, schema: &Value| -> Map<String, Value> {
        (0..count)
            .map(|index| (format!("f{index}"), schema.clone()))
            .collect()
    };
    let text = json!({"type": "string"});
    let either = json!({"type": ["string", "null"]});
    let optional = |count| json!({"type": "object", "properties": fields(count, &text)});
    assert!(adapt(&optional(24)).is_ok());
    assert_eq!(adapt(&optional(25)), Err(Unsendable::TooManyOptional(25)));
    let unions = |count| {
        let names: Vec<String> = (0..count).map(|index| format!("f{index}")).collect();
        json!({"type": "object", "properties": fields(count, &either), "required": names})
    };
    assert!(adapt(&unions(16)).is_ok());
    assert_eq!(adapt(&unions(17)), Err(Unsendable::TooManyUnions(17)));
}

#[test]
fn references_cannot_make_it_grow_without_end() {
    let mut defs = Map::new();
    for index in 0..30 {
        let next = json!({"$ref": format!("#/$defs/d{}", index + 1)});
        defs.insert(
            format!("d{index}"),
            json!({"type": "object", "properties": {"a": next.clone(), "b": next}}),
        );
    }
    defs.insert("d30".to_owned(), json!({"type": "string"}));
    assert_eq!(
        adapt(&json!({"$ref": "#/$defs/d0", "$defs": defs})),
        Err(Unsendable::TooLarge)
    );
    let mut deep = json!({"type": "string"});
    for _ in 0..60 {
        deep = json!({"type": "array", "items": deep});
    }
    assert_eq!(adapt(&deep), Err(Unsendable::TooLarge));
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "maxLength": 4})),
        Just(json!({"type": ["integer", "null"], "minimum": 0})),
        Just(json!({"enum": ["a", "b"]})),
        Just(json!({"const": 3})),
        Just(json!({"type": "boolean"})),
        Just(json!({"$ref": "#/$defs/d"})),
        Just(json!({})),
    ];
    let node = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (
                prop::collection::btree_map("[a-c]", inner.clone(), 0..3),
                any::<bool>()
            )
                .prop_map(|(fields, all)| {
                    let names: Vec<String> = fields.keys().filter(|_| all).cloned().collect();
                    json!({"type": "object", "properties": fields, "required": names})
                }),
            (inner.clone(), 0u8..4).prop_map(
                |(items, least)| json!({"type": "array", "items": items, "minItems": least})
            ),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|forms| json!({"anyOf": forms})),
            prop::collection::vec(inner.clone(), 1..3)
                .prop_map(|forms| json!({"oneOf": forms, "description": "x"})),
            prop::collection::vec(inner, 1..3).prop_map(|forms| json!({"allOf": forms})),
        ]
    });
    (node.clone(), node).prop_map(|(mut schema, definition)| {
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("$defs".to_owned(), json!({"d": definition}));
        }
        schema
    })
}

/// Values of any kind.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("abc")),
        Just(json!(3)),
        Just(json!(null)),
        Just(json!({})),
        Just(json!([]))
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::btree_map("[a-c]", inner.clone(), 0..3)
                .prop_map(|fields| json!(fields)),
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

/// A value that a schema made by [`schema`] probably allows; `dice` makes the choices.
fn sample(
    schema: &Value,
    root: &Value,
    dice: &mut impl Iterator<Item = usize>,
    depth: u8,
) -> Value {
    let roll = dice.next().unwrap_or(0);
    if depth == 0 {
        return json!("a");
    }
    if let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(&pointer[1..]).unwrap();
        return sample(target, root, dice, depth - 1);
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(forms) = schema.get(keyword).and_then(Value::as_array) {
            return sample(&forms[roll % forms.len()], root, dice, depth - 1);
        }
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        let mut samples = all.iter().map(|form| sample(form, root, dice, depth - 1));
        let mut first = samples.next().unwrap();
        for other in samples.collect::<Vec<_>>() {
            if let (Value::Object(fields), Value::Object(more)) = (&mut first, other) {
                fields.extend(more);
            }
        }
        return first;
    }
    match schema.get("type") {
        Some(kind) if kind == "object" => {
            let fields = schema["properties"].as_object().unwrap();
            let all = schema["required"]
                .as_array()
                .is_some_and(|names| !names.is_empty());
            let kept = fields.iter().filter(|_| all || !roll.is_multiple_of(3));
            let fields: Vec<_> = kept.map(|(name, schema)| (name.clone(), schema)).collect();
            fields
                .into_iter()
                .map(|(name, schema)| (name, sample(schema, root, dice, depth - 1)))
                .collect::<Map<_, _>>()
                .into()
        }
        Some(kind) if kind == "array" => {
            let least = schema["minItems"].as_u64().unwrap() as usize;
            (0..least + roll % 2)
                .map(|_| sample(&schema["items"], root, dice, depth - 1))
                .collect::<Vec<_>>()
                .into()
        }
        Some(kind) if kind == "boolean" => json!(roll.is_multiple_of(2)),
        Some(Value::Array(_)) => [json!(null), json!(3)][roll % 2].clone(),
        Some(_) => json!("abc"),
        None => schema.get("const").cloned().unwrap_or(json!("a")),
    }
}

/// Whether every object in a value has only fields that its schema could name.
fn without_unknown_fields(value: &Value, adapted: &Schema) -> bool {
    match adapted.check(value) {
        Ok(()) => true,
        Err(faults) => !faults
            .iter()
            .any(|fault| fault.message.contains("not in the schema")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_is_adapted_keeps_the_apis_rules(schema in schema()) {
        if let Ok(fitted) = adapt(&schema) {
            prop_assert_eq!(violations(&fitted), Vec::<String>::new());
            prop_assert!(Schema::compile(&fitted).is_ok());
            prop_assert_eq!(adapt(&fitted).unwrap(), fitted, "adapting twice changes nothing");
        }
    }

    /// The grammar must not keep the model from an answer our own check would take, unless that
    /// answer has fields the schema does not name.
    #[test]
    fn an_adapted_schema_is_never_stricter_but_about_unnamed_fields(
        schema in schema(),
        dice in prop::collection::vec(0usize..12, 30),
    ) {
        let (Ok(fitted), Ok(whole)) = (adapt(&schema), Schema::compile(&schema)) else {
            return Ok(());
        };
        let value = sample(&schema, &schema, &mut dice.into_iter(), 12);
        let fitted = Schema::compile(&fitted).unwrap();
        if whole.check(&value).is_ok() && without_unknown_fields(&value, &fitted) {
            prop_assert_eq!(fitted.check(&value), Ok(()), "{}", value);
        }
    }

    #[test]
    fn no_json_panics(schema in prop_oneof![schema(), value()]) {
        let _ = adapt(&schema);
    }
}
