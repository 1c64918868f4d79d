//! `fanwise tokens`: who may call.

use anyhow::{Context as _, Result, bail};
use fanwise::app::view::{MadeToken, TokenView};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, quoted, typed};
use crate::args::{TokenBounds, TokensArgs, TokensCommand};
use crate::spec::Object;
use crate::terminal::output::{Out, safe, short, usd};

const MOST: usize = 1_000;

pub async fn run(api: &Api, args: TokensArgs, out: &Out) -> Result<()> {
    let at = |id: &str| format!("/v1/tokens/{}", quoted(id));
    match args.command.unwrap_or(TokensCommand::List) {
        TokensCommand::List => list(api, out).await,
        TokensCommand::Show { id } => show(api.get(&at(&id)).await?, out),
        TokensCommand::Make {
            name,
            tenant,
            bounds,
        } => {
            let mut body = bounds_of(&bounds)?;
            body.insert("name".to_owned(), json!(name));
            if let Some(tenant) = tenant {
                body.insert("tenant".to_owned(), json!(tenant));
            }
            let made = api.post("/v1/tokens", Some(&Value::Object(body))).await?;
            if out.json {
                return out.json(&made);
            }
            let made: MadeToken = typed(made)?;
            out.note(format!(
                "{} is made; this is the only time its text is shown:",
                made.about.id
            ));
            out.line(made.token)
        }
        TokensCommand::Change { id, name, bounds } => {
            let mut body = bounds_of(&bounds)?;
            if let Some(name) = name {
                body.insert("name".to_owned(), json!(name));
            }
            if body.is_empty() {
                bail!("nothing is said that could change");
            }
            show(
                api.call(Method::PATCH, &at(&id), Some(&Value::Object(body)))
                    .await?,
                out,
            )
        }
        TokensCommand::Revoke { id } => {
            let left = api.call(Method::DELETE, &at(&id), None).await?;
            out.note(format!(
                "{id} is refused from now on; jobs that it submitted go on"
            ));
            for (field, what) in [
                ("schedules", "schedules that stop at their next run"),
                ("descendants", "tokens that it made, which are still good"),
            ] {
                let ids = left.get(field).and_then(Value::as_array);
                let ids = ids.into_iter().flatten().filter_map(Value::as_str);
                let ids: Vec<&str> = ids.collect();
                if !ids.is_empty() {
                    out.note(format!("{what}: {}", ids.join(", ")));
                }
            }
            Ok(())
        }
    }
}

/// The bounds that are named; `none` takes one away.
fn bounds_of(bounds: &TokenBounds) -> Result<Object> {
    let mut body = Object::new();
    if !bounds.scopes.is_empty() {
        body.insert("scopes".to_owned(), json!(bounds.scopes));
    }
    if let Some(at) = &bounds.expires_at {
        let value = if at == "none" { Value::Null } else { json!(at) };
        body.insert("expires_at".to_owned(), value);
    }
    for (key, option, value) in [
        ("daily_budget_usd", "--daily-budget", &bounds.daily_budget),
        ("concurrency", "--concurrency", &bounds.concurrency),
    ] {
        let Some(text) = value else { continue };
        let value = match text.as_str() {
            "none" => Value::Null,
            text => {
                let number: serde_json::Number = serde_json::from_str(text)
                    .with_context(|| format!("{option} {text}: should be a number or `none`"))?;
                Value::Number(number)
            }
        };
        body.insert(key.to_owned(), value);
    }
    Ok(body)
}

async fn list(api: &Api, out: &Out) -> Result<()> {
    let tokens = api.list("/v1/tokens", MOST).await?;
    if out.json {
        return out.json(&tokens);
    }
    let mut rows = Vec::new();
    for token in tokens {
        let token: TokenView = typed(token)?;
        rows.push(vec![
            token.id.clone(),
            short(&token.name, 40),
            token.tenant.clone(),
            scopes(&token),
            token
                .expires_at
                .clone()
                .unwrap_or_else(|| "never".to_owned()),
            spent(&token),
        ]);
    }
    out.table(
        &[
            "token",
            "name",
            "tenant",
            "scopes",
            "expires",
            "spent today",
        ],
        rows,
    )
}

fn scopes(token: &TokenView) -> String {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.join(",")
}

fn spent(token: &TokenView) -> String {
    let spent = usd(token.spent_today_usd);
    match token.daily_budget_usd {
        Some(budget) => format!("{spent} of {}", usd(budget)),
        None => spent,
    }
}

fn show(value: Value, out: &Out) -> Result<()> {
    if out.json {
        return out.json(&value);
    }
    let token: TokenView = typed(value)?;
    out.pairs(&[
        ("token", token.id.clone()),
        ("name", safe(&token.name)),
        ("tenant", token.tenant.clone()),
        ("scopes", scopes(&token)),
        ("created", token.created_at.clone()),
        (
            "expires",
            token
                .expires_at
                .clone()
                .unwrap_or_else(|| "never".to_owned()),
        ),
        (
            "last submit",
            token.last_submit_at.clone().unwrap_or_default(),
        ),
        ("spent today", spent(&token)),
        (
            "concurrency",
            token.concurrency.map(|n| n.to_string()).unwrap_or_default(),
        ),
    ])
}
