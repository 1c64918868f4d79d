//! Output schemas: the rules of the API, and that every schema it accepts is
//! answered with a value that is valid for it, as an independent validator sees
//! it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use boon::{Compiler, Schemas};
use common::*;
use serde_json::{Map, Value, json};

fn refused(schema: Value) -> String {
    let reply = bench().messages(&with_schema(&schema));
    assert_eq!(reply.status, 400, "{schema}");
    let message = json_of(&reply)["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    message
        .strip_prefix("output_config.format.schema: ")
        .map(str::to_owned)
        .unwrap_or(message)
}

fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[test]
fn keywords_outside_the_subset_are_refused_by_name() {
    let of = |inner: Value| refused(object(json!({"a": inner})));
    let rows = [
        (
            json!({"type": "integer", "minimum": 1, "maximum": 5}),
            "For 'integer' type, properties maximum, minimum are not supported",
        ),
        (
            json!({"type": "number", "multipleOf": 2}),
            "For 'number' type, property 'multipleOf' is not supported",
        ),
        (
            json!({"type": "string", "maxLength": 5}),
            "For 'string' type, property 'maxLength' is not supported",
        ),
        (
            json!({"type": "string", "format": "phone"}),
            "For 'string' type, format 'phone' is not supported",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 3}),
            "For 'array' type, property 'maxItems' is not supported",
        ),
        (
            json!({"type": "object", "properties": {}}),
            "For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "For 'object' type, 'additionalProperties: object' is not supported. Please set 'additionalProperties' to false",
        ),
        (
            json!({"oneOf": [{"type": "string"}]}),
            "Schema type 'oneOf' is not supported",
        ),
        (
            json!({"enum": [{"a": 1}]}),
            "'enum' values must be primitives",
        ),
        (
            json!({"$ref": "https://example.com/x.json"}),
            "External '$ref' is not supported: https://example.com/x.json",
        ),
        (
            json!({"allOf": [{"$ref": "#"}]}),
            "'allOf' with '$ref' is not supported",
        ),
    ];
    for (schema, message) in rows {
        assert_eq!(of(schema.clone()), message, "{schema}");
    }
    let many = json!({"type": "array", "items": {"type": "string"}, "minItems": 2});
    assert!(
        of(many)
            .starts_with("For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    );
    for pattern in ["(?=a)b", "(a)\\1", "\\bword\\b"] {
        assert!(
            of(json!({"type": "string", "pattern": pattern})).contains("'pattern'"),
            "{pattern}"
        );
    }
}

#[test]
fn recursion_is_refused() {
    let node = json!({
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
        "required": ["children"],
        "additionalProperties": false,
    });
    let mut schema = object(json!({"root": {"$ref": "#/$defs/Node"}}));
    schema["$defs"] = json!({"Node": node});
    assert_eq!(
        refused(schema),
        "Circular reference detected in schema definitions: Node -> Node. Self-referencing or mutually-referencing definitions are not supported."
    );
}

#[test]
fn optional_and_union_parameters_are_limited() {
    let optional = |n: usize| {
        let properties: Map<String, Value> = (0..n)
            .map(|i| (format!("p{i}"), json!({"type": "string"})))
            .collect();
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    };
    assert_eq!(bench().messages(&with_schema(&optional(24))).status, 200);
    assert!(
        refused(optional(25)).starts_with("Schemas contains too many optional parameters (25)")
    );
    let unions = |n: usize| {
        let nullable = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        let properties: Map<String, Value> = (0..n)
            .map(|i| (format!("p{i}"), nullable.clone()))
            .collect();
        object(Value::Object(properties))
    };
    assert_eq!(bench().messages(&with_schema(&unions(16))).status, 200);
    assert!(
        refused(unions(17))
            .starts_with("Schemas contains too many parameters with union types (17 parameters")
    );
    // Over all strict tools of a request.
    let tool = |name: &str| json!({"name": name, "strict": true, "input_schema": optional(13)});
    let reply = bench().messages(&hello_with(json!({"tools": [tool("a"), tool("b")]})));
    assert!(
        json_of(&reply)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("(26)")
    );
}

#[test]
fn the_older_form_is_accepted_with_its_beta_header() {
    let schema = object(json!({"a": {"type": "string"}}));
    let body = hello_with(json!({"output_format": {"type": "json_schema", "schema": schema}}));
    assert_eq!(bench().messages(&body).status, 400);
    let beta = with_header(
        post("/v1/messages", &body),
        "anthropic-beta",
        "structured-outputs-2025-11-13",
    );
    assert!(answered(&bench().send(&beta)).get("a").is_some());
}

fn is_valid(schema: &Value, value: &Value) -> Result<(), String> {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("s.json", schema.clone()).unwrap();
    let index = compiler
        .compile("s.json", &mut schemas)
        .map_err(|e| e.to_string())?;
    schemas.validate(value, index).map_err(|e| e.to_string())
}

/// Numbers from a seed, for schemas by chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn name(&mut self) -> &'static str {
        const NAMES: &[&str] = &[
            "id",
            "primaryCategory",
            "is_urgent",
            "score",
            "confidence",
            "email",
            "order_number",
            "summary",
            "quotes",
            "example_ids",
            "date",
            "count",
            "language",
            "sentiment",
            "tags",
            "x",
        ];
        NAMES[self.roll(NAMES.len() as u64) as usize]
    }

    fn schema(&mut self, depth: u64) -> Value {
        let formats = [
            "date-time",
            "time",
            "date",
            "duration",
            "email",
            "hostname",
            "uri",
            "ipv4",
            "ipv6",
            "uuid",
        ];
        let patterns = [
            "^[A-Z]{2}-\\d{3}$",
            "^(yes|no)$",
            "^\\S+$",
            "^[a-f0-9]{8}$",
            "^#?[0-9]+(\\.[0-9]+)?$",
        ];
        match self.roll(if depth == 0 { 9 } else { 13 }) {
            0 => json!({"type": "string"}),
            1 => json!({"type": "string", "format": formats[self.roll(10) as usize]}),
            2 => json!({"type": "string", "pattern": patterns[self.roll(5) as usize]}),
            3 => json!({"type": "integer", "description": "from 3 to 9"}),
            4 => json!({"type": "number"}),
            5 => json!({"type": "boolean"}),
            6 => json!({"enum": ["billing", "login", 3, null, true]}),
            7 => json!({"const": "fixed"}),
            8 => json!({"type": ["string", "null"]}),
            9 => {
                json!({"type": "array", "items": self.schema(depth - 1), "minItems": self.roll(2)})
            }
            10 => json!({"anyOf": [self.schema(depth - 1), {"type": "null"}]}),
            11 => json!({"allOf": [self.object(depth - 1)]}),
            _ => self.object(depth - 1),
        }
    }

    fn object(&mut self, depth: u64) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for _ in 0..self.roll(5) {
            let name = self.name();
            if !properties.contains_key(name) && self.roll(5) > 0 {
                required.push(name);
            }
            properties.insert(name.to_owned(), self.schema(depth));
        }
        required.retain(|r| properties.contains_key(*r));
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
}

#[test]
fn every_accepted_schema_gets_a_valid_answer() {
    let mut bench = bench();
    let mut accepted = 0;
    for seed in 0..800 {
        let mut dice = Dice(seed);
        let schema = dice.object(3);
        let texts = [
            "Refund order 4711 of 2026-03-01, write to ann@example.com. It broke!",
            "",
            "日本語のテキスト。とても良い",
        ];
        let mut body = worker(
            &json!([{"id": "a", "text": texts[(seed % 3) as usize]}]),
            &schema,
        );
        body["thinking"] = json!({"type": "disabled"});
        if seed % 2 == 0 {
            body["output_config"]["format"]["schema"] = schema.clone();
        }
        let wanted = body["output_config"]["format"]["schema"].clone();
        let reply = bench.messages(&body);
        if reply.status == 400 {
            // Only the limits on optional and union parameters may refuse it.
            let message = json_of(&reply)["error"]["message"].to_string();
            assert!(
                message.contains("Schemas contains too many"),
                "{message} {schema}"
            );
            continue;
        }
        accepted += 1;
        let value = answered(&reply);
        if let Err(fault) = is_valid(&wanted, &value) {
            panic!("seed {seed}: {fault}\n{wanted:#}\n{value:#}");
        }
    }
    assert!(accepted > 650, "{accepted}");
}

#[test]
fn required_properties_come_first() {
    let schema = json!({
        "type": "object",
        "properties": {"later": {"type": "string"}, "first": {"type": "string"}},
        "required": ["first"],
        "additionalProperties": false,
    });
    let text = said(&bench().messages(&with_schema(&schema)));
    assert!(text.starts_with("{\"first\":"), "{text}");
}

#[test]
fn limits_written_into_descriptions_are_kept() {
    let schema = object(json!({
        "stars": {"type": "integer", "description": "Stars.\n\n{minimum: 1, maximum: 5}"},
        "title": {"type": "string", "description": "{maxLength: 10, minLength: 4}"},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "{minItems: 2, maxItems: 2}"},
        "even": {"type": "integer", "description": "{minimum: 10, maximum: 20, multipleOf: 4}"},
    }));
    let value = answered(&bench().messages(&with_schema(&schema)));
    assert!((1..=5).contains(&value["stars"].as_i64().unwrap()));
    assert!((4..=10).contains(&value["title"].as_str().unwrap().chars().count()));
    assert_eq!(value["tags"].as_array().unwrap().len(), 2);
    assert!([12, 16, 20].contains(&value["even"].as_i64().unwrap()));
}
