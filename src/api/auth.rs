//! Who is calling.
//!
//! Every route under `/v1` stands behind [`guard`], unknown ones included, so that a new route cannot be left
//! open by mistake: a handler gets the tenant only from the [`Caller`] that the guard has put there. With no
//! token configured nobody gets in.
//!
//! Tokens are kept and compared as SHA-256: both sides have the same length whatever was sent, and the comparison
//! takes the same time wherever they differ. The token itself is nowhere in memory after start-up, and [`Auth`]
//! has no `Debug`.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Api;
use super::problem::ApiError;
use crate::ports::Ports;

/// The tenant of the configured token.
const DEFAULT_TENANT: &str = "default";

/// A request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose jobs it may see; every use case is scoped by it.
    pub tenant: String,
}

/// What callers are checked against.
#[derive(Clone)]
pub struct Auth {
    configured: Option<[u8; 32]>,
}

impl Auth {
    /// Takes the secret's text and keeps its hash. Blank means not configured; white space around it (the line
    /// end that `echo … | wrangler secret put` leaves) is no part of it, as a header could not carry it.
    pub fn new(token: Option<&str>) -> Auth {
        let token = token.map(str::trim).filter(|token| !token.is_empty());
        Auth {
            configured: token.map(hash),
        }
    }

    /// Lets a request in, or says why not.
    fn admit(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(known) = &self.configured else {
            return Err(ApiError::auth_not_configured());
        };
        let token = bearer(headers).ok_or_else(ApiError::unauthorized)?;
        if bool::from(hash(token).ct_eq(known)) {
            Ok(Caller {
                tenant: DEFAULT_TENANT.to_owned(),
            })
        } else {
            Err(ApiError::unauthorized())
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
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
        let caller = api.auth.admit(request.headers())?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
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
    use crate::api::problem::Code;

    fn sent(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_right_token_is_let_in_and_nothing_else() {
        let auth = Auth::new(Some("s3cret\n"));
        let cases: [(&[&str], bool); 13] = [
            (&["Bearer s3cret"], true),
            (&["bearer s3cret"], true),
            (&["BEARER  s3cret"], true),
            (&["Bearer s3cret "], true),
            (&["Bearer s3cre"], false),
            (&["Bearer s3crets"], false),
            (&["Bearer S3CRET"], false),
            (&["Bearer"], false),
            (&["Bearer "], false),
            (&["Basic s3cret"], false),
            (&["s3cret"], false),
            (&["Bearer s3cret", "Bearer s3cret"], false),
            (&[], false),
        ];
        for (values, let_in) in cases {
            let outcome = auth.admit(&sent(values));
            assert_eq!(outcome.is_ok(), let_in, "{values:?}");
            if let Err(error) = outcome {
                assert_eq!(error.code, Code::Unauthorized);
            }
        }
    }

    #[test]
    fn without_a_configured_token_nobody_is_let_in() {
        for token in [None, Some(""), Some(" \n")] {
            let outcome = Auth::new(token).admit(&sent(&["Bearer "]));
            assert_eq!(outcome.unwrap_err().code, Code::AuthNotConfigured);
        }
    }
}
