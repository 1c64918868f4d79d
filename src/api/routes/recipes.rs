//! `GET /v1/recipes` and `GET /v1/recipes/{name}`.

use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::http::auth::Caller;
use crate::api::http::params::NoQuery;
use crate::api::http::problem::ApiError;
use crate::api::http::reply;
use crate::api::http::state::Api;
use crate::core::plan::recipe;
use crate::core::plan::recipe::Recipe;
use crate::core::plan::spec::Stage;
use crate::ports::Ports;

/// A ready plan for a common kind of job.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Recipe)]
pub struct RecipeView {
    #[schema(examples("support-tickets"))]
    pub name: Cow<'static, str>,
    pub title: Cow<'static, str>,
    /// Its purpose, in a sentence.
    pub summary: Cow<'static, str>,
    /// The items that it expects.
    pub input: Cow<'static, str>,
    /// The purpose of the job, if the submit names none.
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
