//! What a deployment offers and allows (`recipes`, `limits`), and the manual.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use fanwise::api::recipes::{RecipeView, Recipes};
use fanwise::app::view::{BreakerState, BucketView, LimitsView};

use crate::api::{Api, quoted, typed};
use crate::args::Cli;
use crate::terminal::output::{BOLD, Out, number, safe};

pub async fn recipes(api: &Api, name: Option<&str>, out: &Out) -> Result<()> {
    let path = match name {
        Some(name) => format!("/v1/recipes/{}", quoted(name)),
        None => "/v1/recipes".to_owned(),
    };
    let value = api.get(&path).await?;
    if out.json {
        return out.json(&value);
    }
    if name.is_none() {
        let recipes: Recipes = typed(value)?;
        let rows = recipes.data.into_iter().map(|recipe| {
            let stages: Vec<String> = recipe.stages.into_iter().map(|stage| stage.name).collect();
            vec![
                recipe.name.into_owned(),
                recipe.summary.into_owned(),
                stages.join(", "),
            ]
        });
        return out.table(&["recipe", "what it does", "stages"], rows.collect());
    }
    let recipe: RecipeView = typed(value)?;
    out.pairs(&[
        ("recipe", recipe.name.into_owned()),
        ("title", recipe.title.into_owned()),
        ("what it does", recipe.summary.into_owned()),
        ("input", recipe.input.into_owned()),
        ("task", recipe.task.into_owned()),
    ])?;
    for stage in &recipe.stages {
        let name = safe(&stage.name);
        out.line(format_args!("\n{BOLD}{name}{BOLD:#}"))?;
        out.text(&stage.instructions)?;
        let mut rest = serde_json::to_value(stage)?;
        if let Some(map) = rest.as_object_mut() {
            map.remove("instructions");
        }
        out.text(&serde_json::to_string_pretty(&rest)?)?;
    }
    Ok(())
}

pub async fn limits(api: &Api, out: &Out) -> Result<()> {
    let value = api.get("/v1/limits").await?;
    if out.json {
        return out.json(&value);
    }
    let limits: LimitsView = typed(value)?;
    let breaker = &limits.breaker;
    if breaker.state != BreakerState::Closed {
        let reason = safe(breaker.reason.as_deref().unwrap_or("something is wrong"));
        out.line(match &breaker.until {
            Some(until) => format!("no call goes out ({reason}); it is tried again at {until}"),
            None => format!("one call is tried before others may go ({reason})"),
        })?;
    }
    let rows = limits.classes.into_iter().map(|class| {
        let bucket = |bucket: &BucketView| match class.seen {
            true => format!(
                "{} of {}",
                number(u64::try_from(bucket.free).unwrap_or(0)),
                number(bucket.limit_per_minute)
            ),
            false => "not known yet".to_owned(),
        };
        vec![
            class.class.clone(),
            class.in_flight.to_string(),
            bucket(&class.requests),
            bucket(&class.input_tokens),
            bucket(&class.output_tokens),
            number(class.refused),
            class.slow_until.clone().unwrap_or_default(),
        ]
    });
    out.table(
        &[
            "class",
            "in flight",
            "requests free/min",
            "input tokens free/min",
            "output tokens free/min",
            "refused",
            "held until",
        ],
        rows.collect(),
    )
}

/// The manual page, or all of them into a folder.
pub fn man(folder: Option<&Path>) -> Result<()> {
    let command = Cli::command();
    match folder {
        None => Ok(clap_mangen::Man::new(command).render(&mut std::io::stdout())?),
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("could not make {}", folder.display()))?;
            clap_mangen::generate_to(command, folder)
                .with_context(|| format!("could not write to {}", folder.display()))
        }
    }
}
