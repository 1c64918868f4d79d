//! `models.md`: the built-in models with limits and prices.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::docs::markdown::{generated, paragraph, table};
use crate::root;

pub fn page() -> Result<String> {
    let path = root::dir().join("src/claude/models.json");
    let file = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let catalogue: Value = serde_json::from_str(&file).context("models.json is not JSON")?;
    let mut text = generated("`src/claude/models.json`");
    text.push_str("# Models\n\n");
    text.push_str(&paragraph(&format!(
        "The built-in catalogue, as of {}. Prices are dollars for a million tokens. Batches cost half. The variable \
         `MODELS_JSON` lays a JSON merge patch (RFC 7396) over it: use that to add a model, or to correct a price. Do not \
         remove a model that a stored job uses.",
        catalogue.get("as_of").and_then(Value::as_str).unwrap_or("an unknown day")
    )));
    text.push_str("\n## Aliases\n\n");
    let aliases = object(&catalogue, "aliases")
        .map(|(alias, model)| {
            vec![
                format!("`{alias}`"),
                format!("`{}`", model.as_str().unwrap_or_default()),
            ]
        })
        .collect::<Vec<_>>();
    text.push_str(&table(&["alias", "model"], &aliases));
    text.push_str("\n## Prices\n\n");
    let prices = object(&catalogue, "models")
        .flat_map(|(name, model)| price_rows(name, model))
        .collect::<Vec<_>>();
    text.push_str(&table(
        &[
            "model",
            "input",
            "output",
            "cache read",
            "cache write, 5 min",
            "cache write, 1 h",
        ],
        &prices,
    ));
    text.push_str("\n## Limits\n\n");
    let limits = object(&catalogue, "models")
        .map(|(name, model)| limit_row(name, model))
        .collect::<Vec<_>>();
    text.push_str(&table(
        &[
            "model",
            "context",
            "longest answer",
            "shortest prefix for the cache",
            "efforts",
            "rate limit pool",
        ],
        &limits,
    ));
    text.push('\n');
    text.push_str(&paragraph(
        "A web search costs $0.01 besides its tokens. Calls that a workspace keeps in the United States cost a tenth more on \
         most models; reservations assume that surcharge.",
    ));
    Ok(text)
}

fn object<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn price_rows(name: &str, model: &Value) -> Vec<Vec<String>> {
    let row = |label: String, rates: &Value| {
        let mut row = vec![label];
        for rate in [
            "input",
            "output",
            "cache_read",
            "cache_write_5m",
            "cache_write_1h",
        ] {
            // Nano-dollars a token are thousandths of a dollar a million tokens.
            let nano = rates.get(rate).and_then(Value::as_f64).unwrap_or_default();
            row.push(format!("${:.2}", nano / 1_000.0));
        }
        row
    };
    let standard = model.pointer("/prices/standard").unwrap_or(&Value::Null);
    let mut rows = vec![row(format!("`{name}`"), standard)];
    if let Some(long) = model.pointer("/prices/long_prompt") {
        let above = long
            .get("above_tokens")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let rates = long.get("rates").unwrap_or(&Value::Null);
        rows.push(row(
            format!("`{name}`, prompts above {above} tokens"),
            rates,
        ));
    }
    rows
}

fn limit_row(name: &str, model: &Value) -> Vec<String> {
    let number = |field: &str| {
        model
            .get(field)
            .and_then(Value::as_u64)
            .map_or_else(|| "?".to_owned(), |n| n.to_string())
    };
    let efforts: Vec<&str> = model
        .get("efforts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let efforts = if efforts.is_empty() {
        "none".to_owned()
    } else {
        efforts.join(", ")
    };
    let class = model
        .get("class")
        .and_then(Value::as_str)
        .unwrap_or_default();
    vec![
        format!("`{name}`"),
        number("context_tokens"),
        number("max_output_tokens"),
        number("min_cacheable_tokens"),
        efforts,
        format!("`{class}`"),
    ]
}
