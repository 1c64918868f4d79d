//! Who is calling, and what the token allows.
//!
//! A handler gets the tenant only from the [`Caller`] that a layer of [`crate::api::http::guard`] has put there. Without a
//! known token no request gets in.
//!
//! There is one token in the secret FANWISE_TOKEN, the operator's; the others are rows, found by the id that they name
//! ([`crate::core::value::token`]). All are kept and compared as SHA-256: both sides have the same length whatever was sent, and the
//! comparison takes the same time wherever they differ. The token itself is nowhere in memory after start-up, and
//! [`Auth`] and [`Caller`] have no `Debug`.
//!
//! A browser's `EventSource` cannot send headers: for the events of one job, and nothing else, a [`crate::api::http::ticket`] in the
//! query stands in for the header. A token in a query is no token.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::problem::ApiError;
use super::ticket::Ticket;
use crate::app::account::tokens;
use crate::app::account::tokens::{Keeper, Spends};
use crate::app::submit::Owner;
use crate::app::{App, AppError};
use crate::core::value::token;
use crate::core::value::token::{Scope, TokenHash};
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
    /// What its token is compared with.
    hash: TokenHash,
    /// Signs its tickets. It follows from the secret as well, so that a copy of the database signs none.
    pub signing: TokenHash,
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
        Ok(match &self.token {
            None => Keeper::Operator,
            Some(token) => Keeper::Admin {
                tenant: &self.tenant,
                token,
            },
        })
    }

    /// Refuses a token with caps what would be paid under another token's: a run of its schedule, a retry, higher limits or
    /// a plan of its job.
    pub async fn may_spend<P: Ports>(
        &self,
        app: &App<P>,
        what: Spends<'_>,
    ) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        match tokens::spends_for_another(app, token, what).await? {
            true => Err(ApiError::not_your_budget()),
            false => Ok(()),
        }
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
    /// The secret holds a token that is easily guessed, so it opens nothing.
    too_short: bool,
}

impl Auth {
    /// Takes the secret's text and keeps its hash. Blank means not configured; white space around it (the line
    /// end that `echo … | wrangler secret put` leaves) is no part of it, as a header could not carry it.
    pub fn new(token: Option<&str>) -> Auth {
        let token = token.map(str::trim).filter(|token| !token.is_empty());
        let long = token.filter(|token| token.chars().count() >= token::LEAST_CHARS);
        Auth {
            configured: long.map(TokenHash::of),
            too_short: token.is_some() && long.is_none(),
        }
    }

    /// What is wrong with the secret, for an admin.
    pub fn problem(&self) -> Option<String> {
        let least = token::LEAST_CHARS;
        self.too_short.then(|| {
            format!("has fewer than {least} characters, so it is not accepted: set a longer one")
        })
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
            Some(caller) if caller.hash.matches(&hash) => Ok(self.signing_with_secret(caller)),
            _ => Err(self.refused()),
        }
    }

    /// Lets the operator in, for whom nothing need be looked up.
    pub fn operator(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let hash = bearer(headers).map(TokenHash::of);
        self.configured
            .filter(|known| hash.is_some_and(|hash| known.matches(&hash)))
            .map(|known| self.signing_with_secret(operator(known)))
            .ok_or_else(|| self.refused())
    }

    /// Lets a watcher in by the ticket that a caller gave it: as long as it holds, and as long as that caller's own
    /// token does.
    pub async fn admit_ticket<P: Ports>(
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
            .map(|caller| self.signing_with_secret(caller))
            .filter(|caller| ticket.is_signed(&caller.signing, job))
            .filter(|_| ticket.expires_at > app.ports.clock().now_ms())
            .ok_or_else(|| self.refused())
    }

    fn signing_with_secret(&self, caller: Caller) -> Caller {
        let Some(secret) = &self.configured else {
            return caller;
        };
        let both = format!(
            "fanwise tickets\n{}\n{}",
            secret.to_hex(),
            caller.hash.to_hex()
        );
        Caller {
            signing: TokenHash::of(&both),
            ..caller
        }
    }

    fn refused(&self) -> ApiError {
        match self.configured {
            Some(_) => ApiError::unauthorized(),
            None if self.too_short => ApiError::token_too_short(token::LEAST_CHARS),
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
        signing: hash,
    }
}

async fn stored<P: Ports>(app: &App<P>, id: &str) -> Result<Option<Caller>, AppError> {
    let known = tokens::find(app, id).await?;
    Ok(known.map(|known| Caller {
        tenant: known.tenant,
        token: Some(id.to_owned()),
        scopes: known.scopes,
        hash: known.hash,
        signing: known.hash,
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
    fn a_secret_that_is_easily_guessed_opens_nothing() {
        let short = Auth::new(Some("fifteen-letters"));
        let sent = sent(&["Bearer fifteen-letters"]);
        let refused = short.operator(&sent).err().unwrap();
        assert_eq!(refused.code.status(), 503);
        let faults = format!("{:?}", refused.into_faults());
        assert!(faults.contains("fewer than 16"), "{faults}");
        assert!(short.problem().is_some());
        let headers = |token: &str| self::sent(&[&format!("Bearer {token}")]);
        let long = Auth::new(Some(" sixteen-letters!\n"));
        assert!(long.operator(&headers("sixteen-letters!")).is_ok());
        assert!(long.problem().is_none() && Auth::new(None).problem().is_none());
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
}
