//! Tokens: found for the front door, made, listed, changed and revoked; and how many submits each may send.
//!
//! Who asks is a [`Keeper`]: the operator (the holder of the secret's token) keeps the tokens of all tenants, an
//! admin those of its own. So no tenant's token ever leads to another tenant's jobs.

use crate::app::support::db;
use crate::app::view::{MadeToken, RevokedToken, TokenView};
use crate::app::{App, AppError};
use crate::core::admission::TokenBudget;
use crate::core::value::money::Nano;
use crate::core::value::time::{day, rfc3339};
use crate::core::value::token;
use crate::core::value::token::{Scope, TokenHash};
use crate::ports::{Clock, Db, Entropy, Ports};
use crate::store::account::tokens as sql;
use crate::store::account::tokens::{Changed, NewToken};
use crate::store::row::{Columns, Row};
use crate::store::task::admission::{AtWork, TokenAtWork};

/// On whose behalf tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keeper<'a> {
    Operator,
    /// `token` is its own id.
    Admin {
        tenant: &'a str,
        token: &'a str,
    },
}

impl<'a> Keeper<'a> {
    /// The only tenant whose tokens it sees; `None`: all.
    fn tenant(self) -> Option<&'a str> {
        match self {
            Keeper::Operator => None,
            Keeper::Admin { tenant, .. } => Some(tenant),
        }
    }

    fn token(self) -> Option<&'a str> {
        match self {
            Keeper::Operator => None,
            Keeper::Admin { token, .. } => Some(token),
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
    let rows = db::rows(app, sql::find(id, now)).await?;
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
    /// Left out: to read and to run, as far as its maker may.
    pub scopes: Option<Vec<Scope>>,
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
    let mut bounds = Bounds {
        scopes: wanted.scopes.clone().unwrap_or_else(|| USUAL.to_vec()),
        expires_at: wanted.expires_at,
        daily_nano: nano(wanted.daily_usd),
        concurrency: wanted.concurrency,
    };
    if let Some(own) = own_bounds(app, keeper).await? {
        // What is left out is as its maker has it.
        if wanted.scopes.is_none() {
            bounds.scopes.retain(|scope| own.scopes.contains(scope));
            if bounds.scopes.is_empty() {
                bounds.scopes.clone_from(&own.scopes);
            }
        }
        bounds.expires_at = bounds.expires_at.or(own.expires_at);
        bounds.daily_nano = bounds.daily_nano.or(own.daily_nano);
        bounds.concurrency = bounds.concurrency.or(own.concurrency);
        bounds.must_be_within(&own)?;
    }
    let mut random = [0; 32];
    app.ports.entropy().fill(&mut random);
    let id = app.id("tok");
    let text = token::text(&id, random);
    let row = NewToken {
        id: &id,
        tenant,
        hash: &TokenHash::of(&text).to_hex(),
        name: &wanted.name,
        scopes: &scopes_json(&bounds.scopes),
        created_at: app.ports.clock().now_ms(),
        expires_at: bounds.expires_at,
        daily_nano: bounds.daily_nano,
        concurrency: bounds.concurrency,
        made_by: keeper.token(),
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
    let rows = db::rows(app, sql::view(id, keeper.tenant(), &today)).await?;
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
    let mut rows = db::rows(app, statement).await?;
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
    if keeper.token() == Some(id) {
        return Err(fault(
            "id",
            "is the token that asks: a token cannot change itself",
        ));
    }
    let today = day(app.ports.clock().now_ms());
    let rows = db::rows(app, sql::view(id, keeper.tenant(), &today)).await?;
    let row = rows.first().ok_or(AppError::NotFound("token"))?;
    let name = patch.name.unwrap_or_else(|| row.text("name"));
    let before = bounds_of(row);
    let bounds = Bounds {
        scopes: patch.scopes.unwrap_or(before.scopes),
        expires_at: patch.expires_at.unwrap_or(before.expires_at),
        daily_nano: patch.daily_usd.map_or(before.daily_nano, nano),
        concurrency: patch.concurrency.unwrap_or(before.concurrency),
    };
    if let Some(own) = own_bounds(app, keeper).await? {
        bounds.must_be_within(&own)?;
    }
    let changed = Changed {
        name: &name,
        scopes: &scopes_json(&bounds.scopes),
        expires_at: bounds.expires_at,
        daily_nano: bounds.daily_nano,
        concurrency: bounds.concurrency,
    };
    let done = db::rows(app, sql::change(id, keeper.tenant(), &changed)).await?;
    if done.is_empty() {
        return Err(AppError::NotFound("token"));
    }
    one(app, keeper, id).await
}

/// What a token may do if its maker does not say.
const USUAL: [Scope; 2] = [Scope::Read, Scope::Run];

/// What a token may do and spend.
struct Bounds {
    scopes: Vec<Scope>,
    expires_at: Option<i64>,
    daily_nano: Option<i64>,
    concurrency: Option<u32>,
}

impl Bounds {
    /// A token gives no right that it does not have.
    fn must_be_within(&self, own: &Bounds) -> Result<(), AppError> {
        fn beyond<T: PartialOrd>(wanted: Option<T>, own: Option<T>) -> bool {
            own.is_some_and(|own| wanted.is_none_or(|wanted| wanted > own))
        }
        let faults = [
            (
                "scopes",
                !self.scopes.iter().all(|scope| own.scopes.contains(scope)),
            ),
            ("expires_at", beyond(self.expires_at, own.expires_at)),
            ("daily_budget_usd", beyond(self.daily_nano, own.daily_nano)),
            ("concurrency", beyond(self.concurrency, own.concurrency)),
        ];
        let message = "goes beyond what the token that asks has itself";
        let faults = faults.into_iter().filter(|(_, wrong)| *wrong);
        let faults: Vec<_> = faults
            .map(|(path, _)| (path.to_owned(), message.to_owned()))
            .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(AppError::Invalid(faults))
        }
    }
}

fn bounds_of(row: &Row) -> Bounds {
    Bounds {
        scopes: row.json("scopes").unwrap_or_default(),
        expires_at: row.maybe_int("expires_at"),
        daily_nano: row.maybe_int("daily_nano"),
        concurrency: row
            .maybe_int("concurrency")
            .map(|_| row.count("concurrency")),
    }
}

/// Those of the token that asks; `None`: the operator's, which has none.
async fn own_bounds<P: Ports>(
    app: &App<P>,
    keeper: Keeper<'_>,
) -> Result<Option<Bounds>, AppError> {
    let Some(token) = keeper.token() else {
        return Ok(None);
    };
    let today = day(app.ports.clock().now_ms());
    let rows = db::rows(app, sql::view(token, keeper.tenant(), &today)).await?;
    let row = rows.first().ok_or(AppError::NotFound("token"))?;
    Ok(Some(bounds_of(row)))
}

/// Ends a token for good, and with it those that it made where that is wanted. Its jobs go on under its caps, its schedules stop
/// at their next run.
pub async fn revoke<P: Ports>(
    app: &App<P>,
    keeper: Keeper<'_>,
    id: &str,
    with_descendants: bool,
) -> Result<RevokedToken, AppError> {
    let now = app.ports.clock().now_ms();
    let done = db::rows(app, sql::revoke(id, keeper.tenant(), now)).await?;
    if done.is_empty() {
        return Err(AppError::NotFound("token"));
    }
    let left = app.ports.db().batch(sql::left_by(id)).await?;
    let ids = |n: usize| -> Vec<String> {
        let rows = left.get(n).map(|answer| answer.rows.as_slice());
        let rows = rows.unwrap_or_default().iter();
        rows.map(|row| row.text("id")).collect()
    };
    let mut revoked = RevokedToken {
        revoked: vec![id.to_owned()],
        descendants: ids(0),
        schedules: ids(1),
    };
    if with_descendants {
        for id in std::mem::take(&mut revoked.descendants) {
            db::rows(app, sql::revoke(&id, keeper.tenant(), now)).await?;
            let left = db::rows(app, sql::left_by(&id).remove(1)).await?;
            revoked
                .schedules
                .extend(left.iter().map(|row| row.text("id")));
            revoked.revoked.push(id);
        }
    }
    app.log(
        serde_json::json!({"event": "token_revoked", "tokens": revoked.revoked}),
        serde_json::Value::Null,
    );
    Ok(revoked)
}

/// Something whose work is paid under the caps of the token that it is of.
#[derive(Debug, Clone, Copy)]
pub enum Spends<'a> {
    Job(&'a str),
    Schedule(&'a str),
}

/// Whether a token with caps would spend under another's.
pub async fn spends_for_another<P: Ports>(
    app: &App<P>,
    token: &str,
    what: Spends<'_>,
) -> Result<bool, AppError> {
    let statement = match what {
        Spends::Job(id) => sql::foreign_job(id, token),
        Spends::Schedule(id) => sql::foreign_schedule(id, token),
    };
    Ok(!db::rows(app, statement).await?.is_empty())
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
pub fn token_budgets(jobs: &[AtWork]) -> (Vec<TokenBudget>, Vec<Option<usize>>) {
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
    let token_budget = |token: &&TokenAtWork| TokenBudget {
        in_flight: token.in_flight,
        concurrency: token.concurrency,
        day: token.daily_nano.map(|cap| cap - token.day_nano),
    };
    (tokens.iter().map(token_budget).collect(), purse_of)
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
        made_by: row.maybe_text("made_by"),
    }
}
