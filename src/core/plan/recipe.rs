//! Recipes: named, ready plans for common kinds of job, each one readable file under `prompts/recipes/`.
//!
//! A file begins with a front matter between two lines `---`: the recipe as JSON (which is YAML too), its stages as in a
//! submit but for their instructions. The instructions follow as text, each under a heading `# NAME` of its stage. A
//! recipe is data: whether it is a sound plan is checked where every plan is.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A recipe as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub name: &'static str,
    pub title: String,
    /// Its purpose, in a sentence.
    pub summary: String,
    /// The items that it expects.
    pub input: String,
    /// What the job is for, where its caller names nothing else.
    pub task: String,
    /// In the form of a submit.
    pub stages: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Front {
    title: String,
    summary: String,
    input: String,
    task: String,
    stages: Vec<Map<String, Value>>,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../prompts/recipes/", $name, ".md")))),*]
    };
}

const FILES: [(&str, &str); 7] = files![
    "code-review",
    "competitor-pages",
    "content-qa",
    "financial-documents",
    "product-catalog",
    "research-papers",
    "support-tickets",
];

/// All recipes by name.
pub fn all() -> &'static [Recipe] {
    static ALL: OnceLock<Vec<Recipe>> = OnceLock::new();
    // A test reads every file, so none is left out here.
    ALL.get_or_init(|| {
        FILES
            .iter()
            .filter_map(|(name, text)| read(name, text).ok())
            .collect()
    })
}

/// The recipe of that name.
pub fn find(name: &str) -> Option<&'static Recipe> {
    all().iter().find(|recipe| recipe.name == name)
}

/// Reads a file.
fn read(name: &'static str, text: &str) -> Result<Recipe, String> {
    let (front, sections) = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .ok_or("has no front matter between two lines `---`")?;
    let mut front: Front = serde_json::from_str(front).map_err(|error| error.to_string())?;
    for stage in &mut front.stages {
        let name = stage.get("name").and_then(Value::as_str).unwrap_or("");
        let instructions = section(sections, name)
            .ok_or_else(|| format!("has no section for the stage `{name}`"))?;
        stage.insert("instructions".to_owned(), instructions.into());
    }
    Ok(Recipe {
        name,
        title: front.title,
        summary: front.summary,
        input: front.input,
        task: front.task,
        stages: front.stages,
    })
}

/// The text under `# NAME`, up to the next heading of that level.
fn section(text: &str, name: &str) -> Option<String> {
    let heading = format!("# {name}");
    let mut lines = text.lines().skip_while(|line| *line != heading);
    lines.next()?;
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("# ")).collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

impl Recipe {
    /// The stages with a caller's own fields laid over those of the same name (RFC 7396: `null` takes a field back
    /// to its default).
    ///
    /// # Errors
    /// Position and message of each entry that names no stage of the recipe.
    pub fn with(&self, over: &[Value]) -> Result<Vec<Value>, Vec<(usize, String)>> {
        let mut stages = self.stages.clone();
        let mut faults = Vec::new();
        for (position, entry) in over.iter().enumerate() {
            let name = entry.get("name").and_then(Value::as_str).unwrap_or("");
            let stage = stages
                .iter_mut()
                .find(|stage| stage.get("name").and_then(Value::as_str) == Some(name));
            let (Some(stage), Some(entry)) = (stage, entry.as_object()) else {
                let names: Vec<&str> = self
                    .stages
                    .iter()
                    .filter_map(|stage| stage.get("name")?.as_str())
                    .collect();
                faults.push((
                    position,
                    format!(
                        "names no stage of the recipe `{}`, which has: {}",
                        self.name,
                        names.join(", ")
                    ),
                ));
                continue;
            };
            lay_over(stage, entry);
        }
        if faults.is_empty() {
            Ok(stages.into_iter().map(Value::Object).collect())
        } else {
            Err(faults)
        }
    }
}

/// Field by field; a field is replaced whole, so that nobody has to take a recipe's schema apart to bring another.
fn lay_over(stage: &mut Map<String, Value>, entry: &Map<String, Value>) {
    // One takes the place of the other.
    for (name, other) in [("model", "models"), ("models", "model")] {
        if entry.get(name).is_some_and(|value| !value.is_null()) {
            stage.shift_remove(other);
        }
    }
    for (name, value) in entry {
        if value.is_null() {
            stage.shift_remove(name);
        } else {
            stage.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_file_is_a_recipe_and_every_recipe_has_its_file() {
        for (name, text) in FILES {
            read(name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/prompts/recipes");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let named: Vec<String> = all().iter().map(|r| format!("{}.md", r.name)).collect();
        assert_eq!(files, named);
    }

    #[test]
    fn instructions_are_the_sections_under_the_stages_names() {
        let recipe = find("support-tickets").unwrap();
        let instructions = |n: usize| recipe.stages[n]["instructions"].as_str().unwrap();
        assert!(instructions(0).starts_with("Classify each support ticket"));
        assert!(instructions(1).starts_with("Write a report"));
        assert!(!instructions(0).contains("Write a report"));
        assert!(read("x", "---\n{}\n---\n").is_err());
        assert!(read("x", "no front matter").is_err());
        let without = "---\n{\"title\":\"\",\"summary\":\"\",\"input\":\"\",\"task\":\"\",\"stages\":[{\"name\":\"a\"}]}\n---\n# b\n\ntext";
        assert!(read("x", without).unwrap_err().contains("`a`"));
    }

    #[test]
    fn a_caller_s_fields_take_the_place_of_the_recipe_s() {
        let recipe = find("support-tickets").unwrap();
        let over =
            [json!({"name": "classify", "model": "sonnet", "effort": null, "chunk": {"items": 3}})];
        let stages = recipe.with(&over).unwrap();
        assert_eq!(stages[0]["model"], "sonnet");
        assert_eq!(stages[0]["chunk"], json!({"items": 3}));
        assert!(stages[0].get("effort").is_none());
        assert_eq!(stages[0]["instructions"], recipe.stages[0]["instructions"]);
        assert_eq!(stages[1], Value::Object(recipe.stages[1].clone()));
        let faults = recipe
            .with(&[json!({"name": "sort"}), json!(3)])
            .unwrap_err();
        assert_eq!((faults[0].0, faults[1].0), (0, 1));
        assert!(faults[0].1.contains("classify, report"), "{faults:?}");
    }
}
