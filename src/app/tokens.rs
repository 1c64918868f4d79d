//! Tokens: found for the front door, made, listed, changed and revoked; and how many submits each may send.
//!
//! Who asks is a [`Keeper`]: the operator (the holder of the secret's token) keeps the tokens of all tenants, an
//! admin those of its own. So no tenant's token ever leads to another tenant's jobs.

use super::view::{MadeToken, TokenView};
use super::{App, AppError, query};
use crate::core::admit::Purse;
use crate::core::money::Nano;
use crate::core::time::{day, rfc3339};
use crate::core::token::{self, Scope, TokenHash};
use crate::ports::{Clock, Db, Entropy, Ports};
use crate::store::admission::{AtWork, TokenAtWork};
use crate::store::row::{Columns, Row};
use crate::store::tokens::{self as sql, Changed, NewToken};

/// On whose behalf tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keeper<'a> {
    Operator,
    Admin { tenant: &'a str },
}

impl<'a> Keeper<'a> {
    /// The only tenant whose tokens it sees; `None`: all.
    fn tenant(self) -> Option<&'a str> {
        match self {
            Keeper::Operator => None,
            Keeper::Admin { tenant } => Some(tenant),
        }
    }
}

/// A stored token as the front door needs it.
pub struct Known {
    pub tenant: String,
    pub hash: TokenHash,
    pub scopes: Vec<Scope>,
}

/// The token with this id, unless it is revoked or has expired.
pub async fn find<P: Ports>(app: &App<P>, id: &str) -> Result<Option<Known>, AppError> {
    let now = app.ports.clock().now_ms();
    let rows = query::rows(app, sql::find(id, now)).await?;
    Ok(rows.first().and_then(|row| {
        Some(Known {
            tenant: row.text("tenant"),
            hash: TokenHash::from_hex(&row.text("hash"))?,
            scopes: row.json("scopes").unwrap_or_default(),
        })
    }))
}

/// A token to be made; every value is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// `None`: the keeper's own.
    pub tenant: Option<String>,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Milliseconds since the epoch.
    pub expires_at: Option<i64>,
    pub daily_usd: Option<f64>,
    pub concurrency: Option<u32>,
}

/// Makes a token. Its text is in the answer and nowhere else: only its hash is kept.
pub async fn make<P: Ports>(
    app: &App<P>,
    keeper: Keeper<'_>,
    own_tenant: &str,
    wanted: Wanted,
) -> Result<MadeToken, AppError> {
    let tenant = wanted.tenant.as_deref().unwrap_or(own_tenant);
    if keeper.tenant().is_some_and(|own| own != tenant) {
        return Err(fault(
            "tenant",
            "only the token in the secret FANWISE_TOKEN makes tokens for other tenants",
        ));
    }
    must_be_ahead(app, wanted.expires_at)?;
    let mut random = [0; 32];
    app.ports.entropy().fill(&mut random);
    let id = app.id("tok");
    let text = token::text(&id, random);
    let row = NewToken {
        id: &id,
        tenant,
        hash: &TokenHash::of(&text).to_hex(),
        name: &wanted.name,
        scopes: &scopes_json(&wanted.scopes),
        created_at: app.ports.clock().now_ms(),
        expires_at: wanted.expires_at,
        daily_nano: nano(wanted.daily_usd),
        concurrency: wanted.concurrency,
    };
    app.ports.db().batch(vec![sql::insert(&row)]).await?;
    app.log(
        serde_json::json!({"event": "token_made", "token": id, "tenant": tenant}),
        serde_json::Value::Null,
    );
    Ok(MadeToken {
        token: text,
        about: one(app, keeper, &id).await?,
    })
}

/// One token, without its text.
pub async fn one<P: Ports>(
    app: &App<P>,
    keeper: Keeper<'_>,
    id: &str,
) -> Result<TokenView, AppError> {
    let today = day(app.ports.clock().now_ms());
    let rows = query::rows(app, sql::view(id, keeper.tenant(), &today)).await?;
    rows.first()
        .map(token_view)
        .ok_or(AppError::NotFound("token"))
}

/// Tokens, newest first. `after` is what the last page's cursor held: (created_at in ms, id).
pub async fn list<P: Ports>(
    app: &App<P>,
    keeper: Keeper<'_>,
    after: Option<(i64, String)>,
    limit: u32,
) -> Result<(Vec<TokenView>, Option<(i64, String)>), AppError> {
    let today = day(app.ports.clock().now_ms());
    let statement = sql::views(keeper.tenant(), &today, after, limit.saturating_add(1));
    let mut rows = query::rows(app, statement).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| (row.int("created_at"), row.text("id")));
    Ok((rows.iter().map(token_view).collect(), next))
}

/// A change; what is `None` stays, and `Some(None)` takes a bound away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    pub name: Option<String>,
    pub scopes: Option<Vec<Scope>>,
    pub expires_at: Option<Option<i64>>,
    pub daily_usd: Option<Option<f64>>,
    pub concurrency: Option<Option<u32>>,
}

/// Changes a token; from then on every request and every call is measured by it.
pub async fn change<P: Ports>(
    app: &App<P>,
    keeper: Keeper<'_>,
    id: &str,
    patch: Patch,
) -> Result<TokenView, AppError> {
    must_be_ahead(app, patch.expires_at.flatten())?;
    let today = day(app.ports.clock().now_ms());
    let rows = query::rows(app, sql::view(id, keeper.tenant(), &today)).await?;
    let row = rows.first().ok_or(AppError::NotFound("token"))?;
    let name = patch.name.unwrap_or_else(|| row.text("name"));
    let scopes = patch
        .scopes
        .map_or_else(|| row.text("scopes"), |scopes| scopes_json(&scopes));
    let changed = Changed {
        name: &name,
        scopes: &scopes,
        expires_at: patch
            .expires_at
            .unwrap_or_else(|| row.maybe_int("expires_at")),
        daily_nano: patch
            .daily_usd
            .map_or_else(|| row.maybe_int("daily_nano"), nano),
        concurrency: patch.concurrency.unwrap_or_else(|| {
            row.maybe_int("concurrency")
                .map(|_| row.count("concurrency"))
        }),
    };
    let done = query::rows(app, sql::change(id, keeper.tenant(), &changed)).await?;
    if done.is_empty() {
        return Err(AppError::NotFound("token"));
    }
    one(app, keeper, id).await
}

/// Ends a token for good. Its jobs go on under its caps.
pub async fn revoke<P: Ports>(app: &App<P>, keeper: Keeper<'_>, id: &str) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    let done = query::rows(app, sql::revoke(id, keeper.tenant(), now)).await?;
    if done.is_empty() {
        return Err(AppError::NotFound("token"));
    }
    app.log(
        serde_json::json!({"event": "token_revoked", "token": id}),
        serde_json::Value::Null,
    );
    Ok(())
}

/// Takes one submit of the token's minute (`None`: the secret's), or says in how many milliseconds there is one.
pub async fn take_submit<P: Ports>(
    app: &App<P>,
    token: Option<&str>,
) -> Result<Option<u64>, AppError> {
    let now = app.ports.clock().now_ms();
    let statements = sql::take_submit(token, now, app.config.submits_per_minute);
    let answers = app.ports.db().batch(statements).await?;
    let row = |n: usize| answers.get(n).and_then(|answer| answer.rows.first());
    if row(0).is_some() {
        return Ok(None);
    }
    let wait = row(1).map_or(0.0, |row| row.real("wait_ms"));
    // `as` saturates; a clock that went back must not bar a caller for long.
    Ok(Some(wait.ceil().clamp(1.0, 60_000.0) as u64))
}

/// What tokens with jobs at work have left, and which of them each job draws on.
pub fn purses(jobs: &[AtWork]) -> (Vec<Purse>, Vec<Option<usize>>) {
    let mut tokens: Vec<&TokenAtWork> = Vec::new();
    let mut purse_of = Vec::with_capacity(jobs.len());
    for job in jobs {
        purse_of.push(job.token.as_ref().map(|token| {
            let known = tokens.iter().position(|known| known.id == token.id);
            known.unwrap_or_else(|| {
                tokens.push(token);
                tokens.len() - 1
            })
        }));
    }
    let purse = |token: &&TokenAtWork| Purse {
        in_flight: token.in_flight,
        concurrency: token.concurrency,
        day: token.daily_nano.map(|cap| cap - token.day_nano),
    };
    (tokens.iter().map(purse).collect(), purse_of)
}

fn must_be_ahead<P: Ports>(app: &App<P>, expires_at: Option<i64>) -> Result<(), AppError> {
    if expires_at.is_some_and(|at| at <= app.ports.clock().now_ms()) {
        return Err(fault("expires_at", "must lie in the future"));
    }
    Ok(())
}

fn fault(path: &str, message: &str) -> AppError {
    AppError::Invalid(vec![(path.to_owned(), message.to_owned())])
}

fn nano(usd: Option<f64>) -> Option<i64> {
    usd.map(|usd| Nano::from_usd_floor(usd).0)
}

/// Each once, in the order of their declaration.
fn scopes_json(scopes: &[Scope]) -> String {
    let mut scopes = scopes.to_vec();
    scopes.sort();
    scopes.dedup();
    serde_json::to_string(&scopes).unwrap_or_else(|_| "[]".to_owned())
}

fn token_view(row: &Row) -> TokenView {
    TokenView {
        id: row.text("id"),
        tenant: row.text("tenant"),
        name: row.text("name"),
        scopes: row.json("scopes").unwrap_or_default(),
        created_at: rfc3339(row.int("created_at")),
        expires_at: row.maybe_int("expires_at").map(rfc3339),
        last_submit_at: row.maybe_int("submitted_at").map(rfc3339),
        daily_budget_usd: row.maybe_int("daily_nano").map(|nano| Nano(nano).usd()),
        spent_today_usd: Nano(row.int("spent_today_nano")).usd(),
        concurrency: row
            .maybe_int("concurrency")
            .map(|_| row.count("concurrency")),
    }
}
