//! Who is calling, and what the token allows.
//!
//! Every route under `/v1` stands behind [`guard`], unknown ones included, so that a new route cannot be left
//! open by mistake: a handler gets the tenant only from the [`Caller`] that the guard has put there. `/mcp` stands behind
//! [`authenticate`], as there the tool decides which scope is needed. With no token that is known nobody gets in.
//!
//! There is one token in the secret FANWISE_TOKEN, the operator's; the others are rows, found by the id that they name
//! ([`crate::core::token`]). All are kept and compared as SHA-256: both sides have the same length whatever was sent, and the
//! comparison takes the same time wherever they differ. The token itself is nowhere in memory after start-up, and
//! [`Auth`] and [`Caller`] have no `Debug`.
//!
//! A browser's `EventSource` cannot send headers: for the events of one job, and nothing else, a [`super::ticket`] in the
//! query stands in for the header. A token in a query is no token.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::ApiError;
use super::ticket::Ticket;
use super::{Api, params};
use crate::app::submit::Owner;
use crate::app::tokens::{self, Keeper};
use crate::app::{App, AppError};
use crate::core::token::{self, Scope, TokenHash};
use crate::ports::{Clock, Ports};

/// The tenant of the configured token.
const DEFAULT_TENANT: &str = "default";

/// A request that was let in.
#[derive(Clone)]
pub struct Caller {
    /// Whose jobs it may see; every use case is scoped by it.
    pub tenant: String,
    /// The id of its token; `None`: the operator's.
    pub token: Option<String>,
    scopes: Vec<Scope>,
    /// Signs its tickets.
    pub hash: TokenHash,
}

impl Caller {
    /// Refuses what the token was not made for.
    pub fn must(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(ApiError::forbidden(scope))
        }
    }

    /// On whose behalf it keeps tokens, if it may.
    pub fn keeper(&self) -> Result<Keeper<'_>, ApiError> {
        self.must(Scope::Admin)?;
        Ok(match self.token {
            None => Keeper::Operator,
            Some(_) => Keeper::Admin {
                tenant: &self.tenant,
            },
        })
    }

    /// Whose job a submit of this caller becomes.
    pub fn owner(&self) -> Owner<'_> {
        Owner {
            trace: None,
            tenant: &self.tenant,
            token: self.token.as_deref(),
        }
    }

    /// Counts a submit against the token's minute, before anything of it is read.
    pub async fn may_submit<P: Ports>(&self, app: &App<P>) -> Result<(), ApiError> {
        match tokens::take_submit(app, self.token.as_deref()).await? {
            None => Ok(()),
            Some(wait_ms) => Err(ApiError::rate_limited(wait_ms)),
        }
    }
}

/// What callers are checked against, besides the stored tokens.
#[derive(Clone)]
pub struct Auth {
    configured: Option<TokenHash>,
}

impl Auth {
    /// Takes the secret's text and keeps its hash. Blank means not configured; white space around it (the line
    /// end that `echo … | wrangler secret put` leaves) is no part of it, as a header could not carry it.
    pub fn new(token: Option<&str>) -> Auth {
        let token = token.map(str::trim).filter(|token| !token.is_empty());
        Auth {
            configured: token.map(TokenHash::of),
        }
    }

    /// Lets a request in, or says why not. Where the stored tokens cannot be read nobody gets in by one.
    pub async fn admit<P: Ports>(
        &self,
        app: &App<P>,
        headers: &HeaderMap,
    ) -> Result<Caller, ApiError> {
        if let Ok(operator) = self.operator(headers) {
            return Ok(operator);
        }
        let token = bearer(headers).ok_or_else(|| self.refused())?;
        let hash = TokenHash::of(token);
        let id = token::id_in(token).ok_or_else(|| self.refused())?;
        match stored(app, &id).await? {
            Some(caller) if caller.hash.matches(&hash) => Ok(caller),
            _ => Err(self.refused()),
        }
    }

    /// Lets the operator in, for whom nothing need be looked up.
    pub fn operator(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let hash = bearer(headers).map(TokenHash::of);
        self.configured
            .filter(|known| hash.is_some_and(|hash| known.matches(&hash)))
            .map(operator)
            .ok_or_else(|| self.refused())
    }

    /// Lets a watcher in by the ticket that a caller gave it: as long as it holds, and as long as that caller's own
    /// token does.
    async fn admit_ticket<P: Ports>(
        &self,
        app: &App<P>,
        job: &str,
        text: &str,
    ) -> Result<Caller, ApiError> {
        let ticket = Ticket::parse(text).ok_or_else(|| self.refused())?;
        let caller = match &ticket.token {
            None => self.configured.map(operator),
            Some(id) => stored(app, id).await?,
        };
        caller
            .filter(|caller| ticket.is_signed(&caller.hash, job))
            .filter(|_| ticket.expires_at > app.ports.clock().now_ms())
            .ok_or_else(|| self.refused())
    }

    fn refused(&self) -> ApiError {
        match self.configured {
            Some(_) => ApiError::unauthorized(),
            None => ApiError::auth_not_configured(),
        }
    }
}

fn operator(hash: TokenHash) -> Caller {
    Caller {
        tenant: DEFAULT_TENANT.to_owned(),
        token: None,
        scopes: Scope::ALL.to_vec(),
        hash,
    }
}

async fn stored<P: Ports>(app: &App<P>, id: &str) -> Result<Option<Caller>, AppError> {
    let known = tokens::find(app, id).await?;
    Ok(known.map(|known| Caller {
        tenant: known.tenant,
        token: Some(id.to_owned()),
        scopes: known.scopes,
        hash: known.hash,
    }))
}

/// The token of the one `Authorization` header, if there is exactly one and it is a bearer token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The layer in front of `/v1`. `OPTIONS` passes: it tells nothing but methods, and a browser's preflight
/// cannot bring a token.
pub async fn guard<P: Ports>(
    State(api): State<Api<P>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if request.method() != Method::OPTIONS {
        let path = request.uri().path();
        let path = path.strip_prefix("/v1").unwrap_or(path).to_owned();
        let caller = match ticket_in(&request, &path) {
            Some((job, ticket)) => api.auth.admit_ticket(&api.app, &job, &ticket).await?,
            None => api.auth.admit(&api.app, request.headers()).await?,
        };
        caller.must(needed(request.method(), &path))?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// The layer in front of `/mcp`: who is calling, whatever the scopes.
pub async fn authenticate<P: Ports>(
    State(api): State<Api<P>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if request.method() != Method::OPTIONS {
        let caller = api.auth.admit(&api.app, request.headers()).await?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// The scope that an address under `/v1` needs, by a rule that a new route falls under by itself.
fn needed(method: &Method, path: &str) -> Scope {
    let mut segments = path.split('/').skip(1);
    match segments.next() {
        Some("tokens" | "webhook-secret") => Scope::Admin,
        _ if matches!(*method, Method::GET | Method::HEAD) => Scope::Read,
        // It starts nothing.
        Some("estimates") => Scope::Read,
        // A ticket only reads.
        Some("jobs") if segments.nth(1) == Some("events") => Scope::Read,
        _ => Scope::Run,
    }
}

/// The job and the ticket of a request that watches a job without a header.
fn ticket_in(request: &Request, path: &str) -> Option<(String, String)> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads || request.headers().contains_key(AUTHORIZATION) {
        return None;
    }
    let job = path.strip_prefix("/jobs/")?.strip_suffix("/events")?;
    let ticket = params::Query::of(request.uri().query()?).text("ticket")?;
    Some((job.to_owned(), ticket))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Caller, ApiError> {
        // Absent only on a route that is not behind the guard: closed, then.
        parts
            .extensions
            .get()
            .cloned()
            .ok_or_else(ApiError::unauthorized)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn sent(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        let cases: [(&[&str], Option<&str>); 9] = [
            (&["Bearer s3cret"], Some("s3cret")),
            (&["bearer s3cret"], Some("s3cret")),
            (&["BEARER  s3cret "], Some("s3cret")),
            (&["Bearer"], None),
            (&["Bearer "], None),
            (&["Basic s3cret"], None),
            (&["s3cret"], None),
            (&["Bearer s3cret", "Bearer s3cret"], None),
            (&[], None),
        ];
        for (values, token) in cases {
            assert_eq!(bearer(&sent(values)), token, "{values:?}");
        }
    }

    #[test]
    fn every_address_needs_a_scope() {
        let cases = [
            ("GET", "/jobs", Scope::Read),
            ("HEAD", "/jobs/job_1/tasks/0", Scope::Read),
            ("GET", "/anything/new", Scope::Read),
            ("POST", "/jobs", Scope::Run),
            ("POST", "/jobs/job_1/cancel", Scope::Run),
            ("PATCH", "/jobs/job_1", Scope::Run),
            ("DELETE", "/jobs/job_1", Scope::Run),
            ("POST", "/anything/new", Scope::Run),
            ("GET", "/jobs/job_1/events", Scope::Read),
            ("POST", "/jobs/job_1/events", Scope::Read),
            ("POST", "/estimates", Scope::Read),
            ("PUT", "/jobs/job_1/plan", Scope::Run),
            ("GET", "/tokens", Scope::Admin),
            ("DELETE", "/tokens/tok_1", Scope::Admin),
            ("GET", "/webhook-secret", Scope::Admin),
        ];
        for (method, path, scope) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(needed(&method, path), scope, "{method} {path}");
        }
    }
}
