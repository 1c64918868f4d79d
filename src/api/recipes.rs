//! `GET /v1/recipes` and `GET /v1/recipes/{name}`, and a recipe's part in the body of a submit.

use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::auth::Caller;
use super::params::NoQuery;
use super::problem::{ApiError, Faults};
use super::{Api, reply};
use crate::core::plan::Stage;
use crate::core::recipe::{self, Recipe};
use crate::ports::Ports;

/// A ready plan for a common kind of job.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Recipe)]
pub struct RecipeView {
    #[schema(examples("support-tickets"))]
    pub name: Cow<'static, str>,
    pub title: Cow<'static, str>,
    /// What it does, in a sentence.
    pub summary: Cow<'static, str>,
    /// What its items should be.
    pub input: Cow<'static, str>,
    /// What the job is for, where the submit names nothing else.
    pub task: Cow<'static, str>,
    pub stages: Vec<Stage>,
}

/// All recipes.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Recipes {
    pub data: Vec<RecipeView>,
}

fn view(recipe: &'static Recipe) -> RecipeView {
    RecipeView {
        name: recipe.name.into(),
        title: recipe.title.as_str().into(),
        summary: recipe.summary.as_str().into(),
        input: recipe.input.as_str().into(),
        task: recipe.task.as_str().into(),
        // A test reads every stage, so none is left out here.
        stages: recipe
            .stages
            .iter()
            .filter_map(|stage| Stage::deserialize(Value::Object(stage.clone())).ok())
            .collect(),
    }
}

/// List the recipes
///
/// Each is a whole plan. A submit that names one with `recipe` needs no `stages`; stages that it gives all the same are
/// laid over the recipe's stages of the same name, field by field.
#[utoipa::path(
    get,
    path = "/v1/recipes",
    operation_id = "listRecipes",
    tag = "plans",
    responses((status = 200, description = "All of them", body = Recipes)),
)]
pub async fn list<P: Ports>(
    State(_): State<Api<P>>,
    _: Caller,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let data = recipe::all().iter().map(view).collect();
    Ok(reply::ok(&Recipes { data }))
}

/// Get a recipe
#[utoipa::path(
    get,
    path = "/v1/recipes/{name}",
    operation_id = "getRecipe",
    tag = "plans",
    params(("name" = String, Path, description = "Its name", example = "support-tickets")),
    responses((status = 200, description = "The recipe", body = RecipeView)),
)]
pub async fn get<P: Ports>(
    State(_): State<Api<P>>,
    _: Caller,
    Path(name): Path<String>,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let recipe = recipe::find(&name).ok_or_else(|| ApiError::no_such("recipe"))?;
    Ok(reply::ok(&view(recipe)))
}

/// Puts the recipe that a body names into it: its task where the body has none, its stages with the body's laid over
/// them. Gives back its name; what the body has is checked afterwards like any other.
pub fn apply(body: &mut Map<String, Value>, faults: &mut Faults) -> Option<&'static str> {
    // What is no text is named by the body's schema.
    let name = body.get("recipe").and_then(Value::as_str)?.to_owned();
    let Some(recipe) = recipe::find(&name) else {
        let known: Vec<&str> = recipe::all().iter().map(|recipe| recipe.name).collect();
        faults.add(
            "recipe",
            format!("is not known; there are: {}", known.join(", ")),
        );
        // That it would have brought a task need not be told on top of that.
        body.entry("task").or_insert_with(|| name.into());
        return None;
    };
    let task = body.entry("task").or_insert(Value::Null);
    if task.is_null() {
        *task = recipe.task.clone().into();
    }
    let over = match body.get_mut("stages") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(over)) => std::mem::take(over),
        // Named by the body's schema.
        Some(_) => return Some(recipe.name),
    };
    match recipe.with(&over) {
        Ok(stages) => {
            body.insert("stages".to_owned(), stages.into());
        }
        Err(wrong) => {
            for (position, message) in wrong {
                faults.add(format_args!("stages[{position}].name"), message);
            }
            // The rest is checked as if these were not there.
            let stages = recipe.stages.iter().cloned().map(Value::Object);
            body.insert("stages".to_owned(), stages.collect());
        }
    }
    Some(recipe.name)
}
