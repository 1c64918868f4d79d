//! `GET /v1/jobs/{id}/report`: the answer, as JSON or as Markdown.

use axum::extract::State;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use crate::api::http::auth::Caller;
use crate::api::http::params::{JobId, NoQuery};
use crate::api::http::problem::{ApiError, Problem};
use crate::api::http::reply;
use crate::api::http::state::Api;
use crate::app::read::report;
use crate::app::view::Report;
use crate::ports::Ports;

/// Get a job's report
///
/// The synthesis, the merged counts and the coverage. With `Accept: text/markdown` the same as a text to read.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/report",
    operation_id = "getReport",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    responses(
        (status = 200, description = "The report", content((Report = "application/json"), (String = "text/markdown"))),
        (status = 409, description = "The job is not finished yet", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut response = if wants_markdown(&headers) {
        let text = report::markdown(&api.app, &caller.tenant, &id).await?;
        reply::tagged_text("text/markdown; charset=utf-8", text)
    } else {
        reply::tagged(&report::report(&api.app, &caller.tenant, &id).await?)
    };
    let vary = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, vary);
    Ok(response)
}

/// Markdown where it is asked for by name and JSON is not liked as much. What we cannot make (`image/png`) gets
/// JSON: an answer in another form is more use than none.
fn wants_markdown(headers: &HeaderMap) -> bool {
    let mut markdown: f32 = 0.0;
    let mut json: f32 = 0.0;
    let values = headers.get_all(ACCEPT).iter();
    for range in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case("q"))
            .and_then(|(_, q)| q.trim().parse::<f32>().ok())
            .unwrap_or(1.0);
        match name.as_str() {
            "text/markdown" => markdown = markdown.max(weight),
            "application/json" => json = json.max(weight),
            _ => {}
        }
    }
    markdown > json
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_for_those_who_ask_for_it() {
        let cases = [
            ("text/markdown", true),
            ("Text/Markdown; charset=utf-8", true),
            ("text/markdown, */*;q=0.1", true),
            ("text/markdown, application/json;q=0.9", true),
            ("application/json, text/markdown", false),
            ("text/markdown;q=0", false),
            ("text/markdown;q=nonsense", true),
            ("*/*", false),
            ("text/*", false),
            ("image/png", false),
            ("", false),
        ];
        for (accept, markdown) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(wants_markdown(&headers), markdown, "{accept}");
        }
        assert!(!wants_markdown(&HeaderMap::new()));
    }
}
