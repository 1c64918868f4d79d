//! `GET /healthz`: is it up; with `?deep=1`, for admins, whether all of it is.
//!
//! A deployment with a wrong variable has no engine, so its deep answer is made by [`unwell`] alone, and only for the holder of the
//! secret's token, as no other can be looked up. It names each variable and says what it wants; what it holds is repeated only
//! where that is short and no secret ([`crate::config`]).

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::http::auth::Auth;
use crate::api::http::params::Query;
use crate::api::http::problem::ApiError;
use crate::api::http::reply;
use crate::api::http::state::Api;
use crate::app::account::health;
use crate::config::ConfigFault;
use crate::core::value::storage::Storage;
use crate::core::value::token::Scope;
use crate::ports::Ports;

/// The service is up.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`; `unwell` where a deep look found something wrong.
    #[schema(examples("ok"))]
    status: &'static str,
    version: &'static str,
    /// Only in a deep check: the parts that were checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
    /// Only in a deep check: the most memory that the answering instance has used since it started, in bytes. The
    /// platform ends an instance that uses more than 128 MB, JavaScript's own share included.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    /// Of a deep look: bytes of the database, of at most 10 GB.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_bytes: Option<u64>,
}

/// One thing that was looked at.
#[derive(Serialize, ToSchema)]
pub struct Check {
    /// `database`, `storage`, `blobs`, or the name of a variable, secret or binding.
    #[schema(examples("database"))]
    name: String,
    ok: bool,
    /// The fault, in a sentence.
    problem: Option<String>,
}

/// Is it up?
///
/// With `deep=1`: whether the configuration holds and everything it names can be reached; needs a token with the scope `admin`.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "service",
    security((), ("bearer" = [])),
    params(("deep" = Option<bool>, Query, description = "Look at everything.")),
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 503, description = "Not all of it is (only of a deep look)", body = Health),
    ),
)]
pub async fn healthz<P: Ports>(
    State(api): State<Api<P>>,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let deep = wants_deep(&mut query);
    query.end()?;
    if deep != Some(true) {
        return Ok(reply::ok(&Health {
            status: "ok",
            version: env!("CARGO_PKG_VERSION"),
            checks: None,
            memory_bytes: None,
            database_bytes: None,
        }));
    }
    let caller = api.auth.admit(&api.app, &headers).await?;
    caller.must(Scope::Admin)?;
    let (found, storage) = health::look(&api.app).await;
    let checks = found.into_iter().map(|(name, problem)| Check {
        name: name.to_owned(),
        ok: problem.is_none(),
        problem,
    });
    // They work, and an operator should change them: no reason to be unwell.
    let warnings = api.app.config.warnings.iter().map(|warning| Check {
        name: warning.name.to_owned(),
        ok: true,
        problem: Some(warning.problem.clone()),
    });
    let secret = api.auth.problem().map(|problem| Check {
        name: "FANWISE_TOKEN".to_owned(),
        ok: false,
        problem: Some(problem),
    });
    let all = checks.chain(secret).chain(warnings);
    Ok(told(all, api.app.ports.memory(), storage))
}

fn wants_deep(query: &mut Query) -> Option<bool> {
    query.parsed("deep", "1 or 0", |text| match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    })
}

fn told(
    checks: impl Iterator<Item = Check>,
    memory_bytes: Option<u64>,
    storage: Option<Storage>,
) -> Response {
    let checks: Vec<Check> = checks.collect();
    let well = checks.iter().all(|check| check.ok);
    let (status, word) = if well {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unwell")
    };
    let health = Health {
        status: word,
        version: env!("CARGO_PKG_VERSION"),
        checks: Some(checks),
        memory_bytes,
        database_bytes: storage.map(|storage| storage.used),
    };
    reply::with(status, &health)
}

/// The answer of a deployment that cannot work as it is set up: what is wrong, for who may know.
pub fn unwell(
    uri: &Uri,
    headers: &HeaderMap,
    auth: &Auth,
    faults: &[ConfigFault],
) -> Result<Response, ApiError> {
    let deep = wants_deep(&mut Query::of(uri.query().unwrap_or_default()));
    if uri.path() != "/healthz" || deep != Some(true) {
        return Err(ApiError::misconfigured());
    }
    auth.operator(headers)?;
    let checks = faults.iter().map(|fault| Check {
        name: fault.name.to_owned(),
        ok: false,
        problem: Some(fault.problem.clone()),
    });
    Ok(told(checks, None, None))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn what_is_misconfigured_is_for_the_operator_to_see() {
        let wrong = [("WORKER_SLOTS", "many"), ("LEASE_MS", "many")];
        let faults = crate::config::Config::from_pairs(&wrong).unwrap_err();
        let auth = Auth::new(Some("the-operators-token"));
        let ask = |uri: &str, token: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(token) = token {
                headers.insert(AUTHORIZATION, token.parse().unwrap());
            }
            unwell(&uri.parse().unwrap(), &headers, &auth, &faults)
                .map_err(|error| error.code.status().as_u16())
        };
        let deep = "/healthz?deep=1";
        for (uri, token, status) in [
            ("/healthz", Some("Bearer the-operators-token"), 503),
            ("/v1/jobs?deep=1", Some("Bearer the-operators-token"), 503),
            (deep, None, 401),
            (deep, Some("Bearer other"), 401),
        ] {
            assert_eq!(ask(uri, token).err(), Some(status), "{uri} {token:?}");
        }
        let told = ask(deep, Some("Bearer the-operators-token")).unwrap();
        assert_eq!(told.status(), 503);
        let body = axum::body::to_bytes(told.into_body(), 10_000);
        let text = futures::executor::block_on(body).unwrap();
        let health: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let names: Vec<&str> = health["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| check["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["LEASE_MS", "WORKER_SLOTS"]);
    }
}
