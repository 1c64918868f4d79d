//! The layers that admit requests.
//!
//! Every route under `/v1` is behind [`guard`], unknown ones included, so that a new route cannot be left open by mistake. `/mcp`
//! is behind [`authenticate`], because there the tool decides which scope is needed.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use super::params;
use super::problem::ApiError;
use super::state::Api;
use crate::core::value::token::Scope;
use crate::ports::Ports;

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
