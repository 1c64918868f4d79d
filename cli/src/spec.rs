//! The body of a submit, as far as it is not input: a file, the options for what is said most often, and `--set` for all else.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::args::SpecArgs;

/// A JSON object.
pub type Object = Map<String, Value>;

/// The body that the options describe.
pub fn body(args: &SpecArgs) -> Result<Object> {
    let mut body = match &args.job {
        Some(path) => object_in(path)?,
        None => Object::new(),
    };
    if let Some(recipe) = &args.recipe {
        body.insert("recipe".to_owned(), json!(recipe));
    }
    if let Some(task) = &args.task {
        body.insert("task".to_owned(), json!(task));
    }
    let mut value = Value::Object(body);
    if let Some(dollars) = args.max_cost {
        put(&mut value, "limits.max_cost_usd", json!(dollars))?;
    }
    set_all(&mut value, &args.set)?;
    let Value::Object(body) = value else {
        bail!("the body is no JSON object");
    };
    if args.input.is_some() && body.contains_key("input") {
        bail!("there are two inputs: the one named, and `input` in the body");
    }
    if args.input.is_none() && !body.contains_key("input") {
        bail!("say what to read: a file, a folder, or `-` for standard input");
    }
    if ["recipe", "task", "stages"]
        .iter()
        .all(|key| !body.contains_key(*key))
    {
        bail!(
            "say what to do with it: --recipe NAME (`fanwise recipes` lists them), --task TEXT, or --job FILE"
        );
    }
    Ok(body)
}

/// A file that holds a JSON object; `-` is standard input.
pub fn object_in(path: &Path) -> Result<Object> {
    match value_in(path)? {
        Value::Object(map) => Ok(map),
        _ => bail!("{} holds no JSON object", path.display()),
    }
}

pub fn value_in(path: &Path) -> Result<Value> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("could not read standard input")?
    } else {
        std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?
    };
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// `KEY=VALUE` each, one after the other.
pub fn set_all(value: &mut Value, settings: &[String]) -> Result<()> {
    for setting in settings {
        let (path, text) = setting
            .split_once('=')
            .ok_or_else(|| anyhow!("--set {setting}: should be KEY=VALUE"))?;
        let new = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        put(value, path, new).with_context(|| format!("--set {setting}"))?;
    }
    Ok(())
}

/// Puts a value where the path leads; what is missing on the way is made. In a list, a step is a place (`[0]`) or the name of
/// an entry, which is added where there is none.
pub fn put(value: &mut Value, path: &str, new: Value) -> Result<()> {
    let mut here = value;
    let mut so_far = String::new();
    for step in path.replace('[', ".[").split('.') {
        if step.is_empty() {
            bail!("{path:?} has an empty step");
        }
        if here.is_null() {
            let list = so_far == "stages" || so_far.ends_with(".stages") || step.starts_with('[');
            *here = if list { json!([]) } else { json!({}) };
        }
        here = match here {
            Value::Object(map) => map.entry(step).or_insert(Value::Null),
            Value::Array(list) => entry(list, step)
                .ok_or_else(|| anyhow!("`{so_far}` is a list and has no place {step}"))?,
            _ => bail!("`{so_far}` has no fields"),
        };
        if !so_far.is_empty() && !step.starts_with('[') {
            so_far.push('.');
        }
        so_far.push_str(step);
    }
    *here = new;
    Ok(())
}

fn entry<'a>(list: &'a mut Vec<Value>, step: &str) -> Option<&'a mut Value> {
    let place = match step.strip_prefix('[') {
        Some(digits) => digits.strip_suffix(']')?.parse().ok()?,
        None => {
            let named = |entry: &Value| entry.get("name").and_then(Value::as_str) == Some(step);
            let found = list.iter().position(named);
            found.unwrap_or_else(|| {
                list.push(json!({"name": step}));
                list.len() - 1
            })
        }
    };
    if place == list.len() {
        list.push(Value::Null);
    }
    list.get_mut(place)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn set(body: Value, settings: &[&str]) -> Result<Value> {
        let mut body = body;
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        set_all(&mut body, &settings)?;
        Ok(body)
    }

    #[test]
    fn settings_are_laid_over_the_body_one_after_the_other() {
        let body = json!({"recipe": "support-tickets", "limits": {"concurrency": 5}});
        let settings = [
            "limits.max_cost_usd=2.5",
            "limits.concurrency=20",
            "stages.classify.chunk.items=5",
            "stages.classify.model=sonnet",
            "stages.report.instructions=Two = sentences.",
            "metadata.team=\"7\"",
            "reuse=false",
        ];
        let expected = json!({
            "recipe": "support-tickets",
            "limits": {"concurrency": 20, "max_cost_usd": 2.5},
            "stages": [
                {"name": "classify", "chunk": {"items": 5}, "model": "sonnet"},
                {"name": "report", "instructions": "Two = sentences."},
            ],
            "metadata": {"team": "7"},
            "reuse": false,
        });
        assert_eq!(set(body, &settings).unwrap(), expected);
    }

    #[test]
    fn lists_are_reached_by_name_and_by_place() {
        let body = json!({"stages": [{"name": "a"}, {"name": "b"}]});
        let settings = [
            "stages.b.model=opus",
            "stages[0].model=haiku",
            "stages[2].name=c",
        ];
        let expected = json!({"stages": [
            {"name": "a", "model": "haiku"}, {"name": "b", "model": "opus"}, {"name": "c"}]});
        assert_eq!(set(body, &settings).unwrap(), expected);
        // The job of a schedule.
        let expected = json!({"job": {"stages": [{"name": "a", "model": "opus"}]}});
        assert_eq!(
            set(json!({}), &["job.stages.a.model=opus"]).unwrap(),
            expected
        );
    }

    #[test]
    fn what_leads_nowhere_is_told() {
        for (settings, message) in [
            (["task"], "should be KEY=VALUE"),
            (["task.x=1"], "`task` has no fields"),
            (["a..b=1"], "has an empty step"),
            (
                ["stages[7].model=x"],
                "`stages` is a list and has no place [7]",
            ),
        ] {
            let error = set(json!({"task": "t"}), &settings).unwrap_err();
            assert!(format!("{error:#}").contains(message), "{error:#}");
        }
    }
}
