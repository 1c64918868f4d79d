//! What stands in the URL: ids in the path, parameters in the query.
//!
//! A path that does not hold an id names nothing: 404. A query that holds anything unknown, doubled or out of
//! range is 422 with a fault for each parameter, so that a misspelt filter is never silently ignored.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::Uri;
use axum::http::request::Parts;

use super::cursor;
use super::cursor::Cursor;
use super::problem::{ApiError, Faults};

/// The id of a job in the path.
pub struct JobId(pub String);

/// The id of a token in the path.
pub struct TokenId(pub String);

/// The id of a job and the index of one of its tasks.
pub struct TaskPath {
    pub job: String,
    pub index: u32,
}

/// The id of a schedule in the path.
pub struct ScheduleId(pub String);

/// The id of a job and of one of its deliveries.
pub struct DeliveryPath {
    pub job: String,
    pub delivery: String,
}

/// The id of a job, if it is one.
pub fn job_id(text: &str) -> Option<String> {
    id("job_", text)
}

/// A prefix and 32 lower-case hex digits, as [`crate::core::value::ids`] makes them.
fn id(prefix: &str, text: &str) -> Option<String> {
    let digits = text.strip_prefix(prefix)?;
    let plain = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (digits.len() == 32 && plain).then(|| text.to_owned())
}

/// A whole number as we write it ourselves: digits only, no leading zero.
fn index(text: &str) -> Option<u32> {
    let plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

async fn path_param<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    // Refused where a segment is not UTF-8: then it is no id either.
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<JobId, ApiError> {
        let text = path_param(parts, state, "id").await;
        text.and_then(|text| job_id(&text))
            .map(JobId)
            .ok_or_else(|| ApiError::no_such("job"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TokenId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TokenId, ApiError> {
        let text = path_param(parts, state, "id").await;
        text.and_then(|text| id("tok_", &text))
            .map(TokenId)
            .ok_or_else(|| ApiError::no_such("token"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ScheduleId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ScheduleId, ApiError> {
        let text = path_param(parts, state, "id").await;
        text.and_then(|text| id("sched_", &text))
            .map(ScheduleId)
            .ok_or_else(|| ApiError::no_such("schedule"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TaskPath, ApiError> {
        let JobId(job) = JobId::from_request_parts(parts, state).await?;
        let text = path_param(parts, state, "index").await;
        text.and_then(|text| index(&text))
            .map(|index| TaskPath { job, index })
            .ok_or_else(|| ApiError::no_such("task"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<DeliveryPath, ApiError> {
        let JobId(job) = JobId::from_request_parts(parts, state).await?;
        let text = path_param(parts, state, "delivery").await;
        text.filter(|text| text.len() <= 104 && text.starts_with("msg_"))
            .map(|delivery| DeliveryPath { job, delivery })
            .ok_or_else(|| ApiError::no_such("delivery"))
    }
}

/// The query's parameters. A handler takes out those it knows and then calls [`Query::end`].
pub struct Query {
    pairs: Vec<(String, String)>,
    faults: Faults,
}

/// How many entries a page of a list has.
pub const DEFAULT_LIMIT: u32 = 50;
pub const MAX_LIMIT: u32 = 200;

impl Query {
    /// What is not UTF-8 becomes U+FFFD, which no parameter accepts.
    pub fn of(query: &str) -> Query {
        Query {
            pairs: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            faults: Faults::default(),
        }
    }

    /// The parameter's value as it is; doubled is a fault.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut values = Vec::new();
        self.pairs.retain_mut(|(key, value)| {
            let named = key == name;
            if named {
                values.push(std::mem::take(value));
            }
            !named
        });
        if values.len() > 1 {
            self.faults.add(name, "is given more than once");
            return None;
        }
        values.pop()
    }

    /// The parameter read by `read`; what it does not know is a fault that says what is wanted.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        wants: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.faults.add(name, format!("must be {wants}"));
        }
        value
    }

    /// The name of a state; of another it is said which there are.
    pub fn state<T>(&mut self, all: &[&str], read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.parsed("state", &format!("one of `{}`", all.join("`, `")), read)
    }

    /// `true` or `false`; false where it is left out.
    pub fn flag(&mut self, name: &str) -> bool {
        self.parsed(name, "`true` or `false`", |text| text.parse().ok())
            .unwrap_or(false)
    }

    pub fn limit(&mut self) -> u32 {
        let wants = format!("a whole number from 1 to {MAX_LIMIT}");
        self.parsed("limit", &wants, |text| {
            index(text).filter(|n| (1..=MAX_LIMIT).contains(n))
        })
        .unwrap_or(DEFAULT_LIMIT)
    }

    pub fn cursor<C: Cursor>(&mut self) -> Option<C> {
        self.parsed(
            "cursor",
            "a `next_cursor` of this list, unchanged",
            cursor::read,
        )
    }

    /// What is left is unknown.
    pub fn end(mut self) -> Result<(), ApiError> {
        for (name, _) in &self.pairs {
            let name = name.chars().take(100).collect::<String>();
            self.faults.add(name, "is not a parameter of this address");
        }
        self.faults.into_result()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Self::Rejection> {
        Ok(Query::of(parts.uri.query().unwrap_or_default()))
    }
}

/// For addresses without parameters: any is a fault.
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<NoQuery, ApiError> {
        Query::of(parts.uri.query().unwrap_or_default()).end()?;
        Ok(NoQuery)
    }
}

/// Scheme and host that a request came to; empty where it does not say (natively).
pub fn origin(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
        _ => String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_as_we_make_them_are_ids() {
        let id = crate::core::value::ids::id("job", 1, [7; 10]);
        assert_eq!(job_id(&id), Some(id.clone()));
        let long = format!("{id}0");
        for text in ["", "job_", "7", "job_XYZ", &id.to_uppercase(), &long] {
            assert_eq!(job_id(text), None, "{text}");
        }
    }

    #[test]
    fn an_index_is_a_plain_number() {
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("4294967295"), Some(u32::MAX));
        for text in ["", "00", "01", "+1", "-1", "1.0", "4294967296", "१"] {
            assert_eq!(index(text), None, "{text}");
        }
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let mut query = Query::of("limit=0&state=a&state=b&stat%20e=1&cursor=zzz");
        assert_eq!(query.text("state"), None);
        query.limit();
        assert_eq!(query.cursor::<cursor::AfterTask>(), None);
        let problem = query.end().unwrap_err().into_problem(String::new());
        let paths: Vec<&str> = problem.errors.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["state", "limit", "cursor", "stat e"]);
    }

    #[test]
    fn limits_have_bounds_and_a_default() {
        for (text, expected) in [("", 50), ("limit=1", 1), ("limit=200", 200)] {
            let mut query = Query::of(text);
            assert_eq!(query.limit(), expected);
            assert!(query.end().is_ok());
        }
        for text in [
            "limit=",
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=1e2",
            "limit=%31%00",
        ] {
            let mut query = Query::of(text);
            query.limit();
            assert!(query.end().is_err(), "{text}");
        }
    }
}
