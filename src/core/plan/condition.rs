//! Conditions on results: which of them a stage reads (`where`), or amends (`of`).
//!
//! A condition names a field and what its value must be, or asks for a flag, or combines others. Everything that one
//! condition says must hold.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::core::value::category::{NULL, name};

/// Conditions inside of conditions.
const DEEPEST: usize = 4;

/// Which results are chosen: all that it says must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(no_recursion)]
pub struct Condition {
    /// A field of those results. One that is a list is chosen by any of its elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    pub field: Option<String>,
    /// The values that choose a result, whatever their letter case; `null` for what has none. The same as `in`, as texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub values: Vec<String>,
    /// The field has one of these values (texts in any letter case, numbers, booleans); `null` for what has none.
    #[serde(rename = "in", skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub among: Vec<Value>,
    /// The field has none of these values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub not_in: Vec<Value>,
    /// The field is a number, at least this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The field is a number, at most this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// True: the field is there and not null. False: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// True: only results that a check flagged. False: only others; in `of` it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flagged: Option<bool>,
    /// At least one of these conditions holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub any: Vec<Condition>,
    /// Each of these conditions holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub all: Vec<Condition>,
}

impl Condition {
    /// Whether a result is chosen.
    pub fn chooses(&self, output: &Value, flagged: bool) -> bool {
        let each = |condition: &Condition| condition.chooses(output, flagged);
        let of_field = |field: &String| self.holds(output.get(field).unwrap_or(&Value::Null));
        !self.says_nothing()
            && self.flagged.is_none_or(|wanted| wanted == flagged)
            && self.field.as_ref().is_none_or(of_field)
            && (self.any.is_empty() || self.any.iter().any(each))
            && self.all.iter().all(each)
    }

    /// Whether what it says of its field holds for a value.
    fn holds(&self, value: &Value) -> bool {
        let elements = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let has = |list: &[Value]| elements.iter().any(|element| contains(list, element));
        let texts = || self.values.iter().map(|text| text.trim().to_lowercase());
        let named = |element: &Value| texts().any(|text| text == name(element).to_lowercase());
        let within = |element: &Value| {
            element.as_f64().is_some_and(|number| {
                self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
            })
        };
        (self.values.is_empty() || elements.iter().any(named))
            && (self.among.is_empty() || has(&self.among))
            && !has(&self.not_in)
            && (self.min.is_none() && self.max.is_none() || elements.iter().any(within))
            && self.exists.is_none_or(|wanted| wanted != value.is_null())
    }

    /// It chooses by what checks have flagged, somewhere in it.
    pub fn asks_flags(&self) -> bool {
        self.flagged.is_some() || self.any.iter().chain(&self.all).any(Condition::asks_flags)
    }

    /// The condition as a stage that amends has it: there, `flagged: false` says nothing.
    #[must_use]
    pub fn of_stage(&self) -> Condition {
        Condition {
            flagged: self.flagged.filter(|wanted| *wanted),
            ..self.clone()
        }
    }

    /// The condition in an answer of the orchestrator, in which 0, false, "" and [] mean none; `None` where all do.
    pub fn planned(&self) -> Option<Condition> {
        let field = self.field.as_deref().map(str::trim);
        let field = field.filter(|field| !field.is_empty());
        let number = |value: Option<f64>| value.filter(|value| *value != 0.0);
        let each = |list: &[Condition]| list.iter().filter_map(Condition::planned).collect();
        let condition = match field {
            Some(field) => Condition {
                field: Some(field.to_owned()),
                min: number(self.min),
                max: number(self.max),
                exists: self.exists.filter(|wanted| *wanted),
                ..self.of_stage()
            },
            None => Condition {
                flagged: self.of_stage().flagged,
                values: self.values.clone(),
                ..Condition::default()
            },
        };
        let condition = Condition {
            any: each(&self.any),
            all: each(&self.all),
            ..condition
        };
        (condition != Condition::default()).then_some(condition)
    }

    /// It says nothing about its field.
    fn is_open(&self) -> bool {
        Condition {
            field: None,
            flagged: None,
            any: Vec::new(),
            all: Vec::new(),
            ..self.clone()
        } == Condition::default()
    }

    fn says_nothing(&self) -> bool {
        self.is_open() && self.flagged.is_none() && self.any.is_empty() && self.all.is_empty()
    }

    /// About what share of results it chooses: `listed` knows how many values a field may have. Hardly any is flagged.
    pub fn share(&self, listed: &dyn Fn(&str) -> Option<u64>) -> f64 {
        const FLAGGED: f64 = 0.05;
        const UNKNOWN: f64 = 0.5;
        let flagged = match self.flagged {
            Some(true) => FLAGGED,
            Some(false) => 1.0 - FLAGGED,
            None => 1.0,
        };
        let of_field = match &self.field {
            None => 1.0,
            Some(field) => {
                let all = listed(field);
                let part = |count: usize| match all {
                    Some(all) => (count as f64 / all.max(1) as f64).min(1.0),
                    None => UNKNOWN,
                };
                let named = self.values.len() + self.among.len();
                match (named, self.not_in.len()) {
                    (0, 0) => UNKNOWN,
                    (0, not) => 1.0 - part(not),
                    (named, _) => part(named),
                }
            }
        };
        let each = |list: &[Condition]| -> Vec<f64> {
            list.iter()
                .map(|condition| condition.share(listed))
                .collect()
        };
        let any: f64 = match self.any.as_slice() {
            [] => 1.0,
            any => each(any).iter().sum::<f64>().min(1.0),
        };
        let all: f64 = each(&self.all).iter().product();
        flagged.min(of_field) * any * all
    }
}

/// Whether a list has a value: numbers by their size, all else by name in any letter case.
fn contains(list: &[Value], value: &Value) -> bool {
    let found = name(value).to_lowercase();
    list.iter()
        .any(|wanted| name(wanted).trim().to_lowercase() == found)
}

/// The results that a condition is about.
pub struct About<'a> {
    /// The stage whose results they are.
    pub stage: &'a str,
    pub schema: Option<&'a Value>,
}

type Report<'a> = dyn FnMut(String, String) + 'a;

/// What is wrong with a condition at a path; `nothing` is what to say where it chooses nothing.
pub fn faults(
    condition: &Condition,
    here: &str,
    about: &About<'_>,
    nothing: &str,
    fault: &mut Report<'_>,
) {
    inside(condition, here, (about, nothing), 1, fault);
}

fn inside(
    condition: &Condition,
    here: &str,
    (about, nothing): (&About<'_>, &str),
    depth: usize,
    fault: &mut Report<'_>,
) {
    if depth > DEEPEST {
        let message = format!("is too deep: conditions may be nested {DEEPEST} times");
        return fault(here.to_owned(), message);
    }
    for (name, list) in [("any", &condition.any), ("all", &condition.all)] {
        for (at, inner) in list.iter().enumerate() {
            let path = format!("{here}.{name}[{at}]");
            inside(inner, &path, (about, nothing), depth + 1, fault);
        }
    }
    let Some(field) = &condition.field else {
        if !condition.is_open() {
            fault(
                format!("{here}.field"),
                "is required where values are given".into(),
            );
        } else if condition.says_nothing() {
            fault(here.to_owned(), nothing.to_owned());
        }
        return;
    };
    if condition.is_open() {
        let list = if here.ends_with("of") { "values" } else { "in" };
        let path = format!("{here}.{list}");
        fault(path, "needs at least one value of the field".into());
    }
    let Some(named) = property(about.schema, field) else {
        let message = format!("is no field of the results of `{}`", about.stage);
        return fault(format!("{here}.field"), message);
    };
    of_field(condition, here, (field, named.as_ref()), fault);
}

/// Values that the field can never have.
fn of_field(
    condition: &Condition,
    here: &str,
    (field, known): (&str, Option<&Value>),
    fault: &mut Report<'_>,
) {
    let texts: Vec<Value> = condition.values.iter().map(|v| v.trim().into()).collect();
    let listed = known.and_then(values);
    for (list, wanted) in [
        ("values", &texts),
        ("in", &condition.among),
        ("not_in", &condition.not_in),
    ] {
        for value in wanted {
            let path = format!("{here}.{list}");
            if value.is_array() || value.is_object() {
                fault(path, format!("{value} is no text, number, boolean or null"));
                continue;
            }
            let Some(listed) = &listed else { continue };
            let found = name(value).trim().to_lowercase();
            if found != NULL && !listed.iter().any(|one| one.to_lowercase() == found) {
                let all = listed.join(", ");
                fault(
                    path,
                    format!("{value} is none of the values that `{field}` can have: {all}"),
                );
            }
        }
    }
    let bounds = [("min", condition.min), ("max", condition.max)];
    for (name, _) in bounds.into_iter().filter(|(_, bound)| bound.is_some()) {
        if known.is_some_and(|known| !may_be_number(known)) {
            let message = format!("`{field}` is never a number");
            fault(format!("{here}.{name}"), message);
        }
    }
    if let (Some(min), Some(max)) = (condition.min, condition.max)
        && min > max
    {
        fault(
            format!("{here}.max"),
            format!("must be at least `min`, which is {min}"),
        );
    }
}

/// The schema of a field; `None` where there can be no such field, an inner `None` where nothing is known of it.
pub fn property(schema: Option<&Value>, field: &str) -> Option<Option<Value>> {
    let Some(schema) = schema else {
        return (field == "text").then_some(None);
    };
    if let Some(known) = schema.get("properties").and_then(|all| all.get(field)) {
        return Some(Some(known.clone()));
    }
    (schema.get("additionalProperties") != Some(&Value::Bool(false))).then_some(None)
}

/// The values that a field can have, or the elements of its list, where they are listed.
fn values(property: &Value) -> Option<Vec<String>> {
    if let Some(listed) = property.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().map(name).collect());
    }
    let forms = property.get("anyOf").and_then(Value::as_array);
    let mut forms = forms.into_iter().flatten();
    forms
        .find_map(values)
        .or_else(|| property.get("items").and_then(values))
}

/// Whether a field, or an element of its list, can be a number as far as its schema says.
fn may_be_number(property: &Value) -> bool {
    if let Some(forms) = ["anyOf", "oneOf"]
        .iter()
        .find_map(|name| property.get(name))
    {
        return forms
            .as_array()
            .is_none_or(|forms| forms.iter().any(may_be_number));
    }
    if let Some(listed) = property.get("enum").and_then(Value::as_array) {
        return listed.iter().any(Value::is_number);
    }
    let of_type = |name: &str| match name {
        "number" | "integer" => true,
        "array" => property.get("items").is_none_or(may_be_number),
        _ => false,
    };
    match property.get("type") {
        Some(Value::String(name)) => of_type(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(of_type),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(value: Value) -> Condition {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn results_are_chosen_by_a_value_by_a_flag_or_by_both() {
        let cause = condition(json!({"field": "cause", "values": ["Billing", "null"]}));
        assert!(cause.chooses(&json!({"cause": "billing"}), false));
        assert!(cause.chooses(&json!({"cause": ["login", "BILLING"]}), false));
        assert!(cause.chooses(&json!({"cause": null}), false));
        assert!(
            cause.chooses(&json!({}), false),
            "what is not there is null"
        );
        assert!(!cause.chooses(&json!({"cause": "login"}), true));
        assert!(!cause.chooses(&json!({"cause": []}), true));
        let flagged = condition(json!({"flagged": true}));
        assert!(flagged.chooses(&json!(1), true) && !flagged.chooses(&json!(1), false));
        let both = condition(json!({"field": "n", "values": ["3"], "flagged": true}));
        assert!(both.chooses(&json!({"n": 3}), true));
        assert!(!both.chooses(&json!({"n": 3}), false) && !both.chooses(&json!({"n": 4}), true));
        assert!(!Condition::default().chooses(&json!({}), true));
    }

    #[test]
    fn each_operator_says_what_a_value_must_be() {
        let cases = [
            (
                json!({"field": "n", "in": [3, "A", true, null]}),
                json!([3, 3.0, "a", true, null]),
                json!([4, "b", false]),
            ),
            (
                json!({"field": "n", "not_in": ["a", 3]}),
                json!(["b", 4, null]),
                json!(["A", 3, ["x", "a"]]),
            ),
            (
                json!({"field": "n", "min": 2}),
                json!([2, 5.5, [1, 3]]),
                json!([1.9, "3", null, []]),
            ),
            (
                json!({"field": "n", "min": -1, "max": 1}),
                json!([0, -1, 1]),
                json!([2, -2, [2, -2]]),
            ),
            (
                json!({"field": "n", "exists": true}),
                json!([0, "", []]),
                json!([null]),
            ),
            (
                json!({"field": "n", "exists": false}),
                json!([null]),
                json!([0]),
            ),
            (
                json!({"any": [{"field": "n", "min": 9}, {"field": "n", "in": ["x"]}]}),
                json!([9, "x"]),
                json!([8, null]),
            ),
            (
                json!({"all": [{"field": "n", "min": 1}, {"field": "n", "max": 3}]}),
                json!([1, 3]),
                json!([0, 4]),
            ),
            (
                json!({"field": "n", "min": 1, "any": [{"flagged": true}, {"field": "n", "in": [2]}]}),
                json!([2]),
                json!([1]),
            ),
            (json!({"flagged": false}), json!([1]), json!([])),
        ];
        for (said, yes, no) in cases {
            let condition: Condition = condition(said.clone());
            for value in yes.as_array().unwrap() {
                assert!(
                    condition.chooses(&json!({"n": value}), false),
                    "{said} {value}"
                );
            }
            for value in no.as_array().unwrap() {
                assert!(
                    !condition.chooses(&json!({"n": value}), false),
                    "{said} {value}"
                );
            }
            let written: Condition = serde_json::from_value(json!(condition)).unwrap();
            assert_eq!(written, condition, "it is read as it is written");
        }
        let missing = condition(json!({"field": "n", "exists": false}));
        assert!(missing.chooses(&json!({}), false) && missing.chooses(&json!("text"), false));
    }

    #[test]
    fn every_fault_of_a_condition_has_its_path() {
        let schema = json!({"type": "object", "additionalProperties": false, "properties": {
            "cause": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "free": {"type": "string"},
            "score": {"type": ["integer", "null"]}, "tags": {"type": "array", "items": {"type": "string"}}}});
        let about = About {
            stage: "read",
            schema: Some(&schema),
        };
        let told = |value: Value| {
            let mut paths = Vec::new();
            let mut fault = |path: String, _: String| paths.push(path);
            faults(
                &condition(value),
                "where",
                &about,
                "chooses nothing",
                &mut fault,
            );
            paths
        };
        for good in [
            json!({"field": "cause", "in": ["A", null]}),
            json!({"field": "score", "min": 1, "max": 1}),
            json!({"any": [{"flagged": false}, {"field": "free", "exists": true}]}),
        ] {
            assert_eq!(told(good.clone()), Vec::<String>::new(), "{good}");
        }
        let deep = json!({"all": [{"all": [{"all": [{"all": [{"flagged": true}]}]}]}]});
        for (bad, path) in [
            (json!({}), "where"),
            (json!({"field": "cause"}), "where.in"),
            (json!({"field": "none", "exists": true}), "where.field"),
            (json!({"min": 1}), "where.field"),
            (json!({"field": "cause", "in": ["c"]}), "where.in"),
            (json!({"field": "cause", "not_in": ["c"]}), "where.not_in"),
            (json!({"field": "free", "in": [{}]}), "where.in"),
            (json!({"field": "free", "min": 1}), "where.min"),
            (json!({"field": "tags", "max": 1}), "where.max"),
            (json!({"field": "score", "min": 2, "max": 1}), "where.max"),
            (
                json!({"any": [{"flagged": true}, {"field": "none", "in": [1]}]}),
                "where.any[1].field",
            ),
            (json!({"all": [{}]}), "where.all[0]"),
            (deep, "where.all[0].all[0].all[0].all[0]"),
        ] {
            assert_eq!(told(bad.clone()), [path], "{bad}");
        }
    }

    #[test]
    fn in_a_plan_nothing_means_none() {
        let none = json!({"field": "", "in": [], "not_in": [], "min": 0, "max": 0, "exists": false, "flagged": false});
        assert_eq!(condition(none).planned(), None);
        let some = json!({"field": " n ", "in": ["a"], "not_in": [], "min": 0, "max": 2, "exists": false, "flagged": false});
        let planned = condition(some).planned().unwrap();
        assert_eq!(
            json!(planned),
            json!({"field": "n", "in": ["a"], "max": 2.0})
        );
    }
}
