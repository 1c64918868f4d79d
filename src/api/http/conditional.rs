//! Conditional requests: who names the entity tag of what he has gets 304 and no body, if it is still that.
//!
//! Tags are of the bytes of the answer before it is compressed: a change anywhere changes them.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

/// What a request says of what its sender has.
pub struct Condition(Vec<String>);

impl Condition {
    /// `None` where it says nothing, or where it asks for no reading.
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Condition> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let values = headers.get_all(IF_NONE_MATCH).iter();
        let tags: Vec<String> = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            // Ours are weak; a strong one with the same text matches all the same here (RFC 9110, 13.1.2).
            .map(|tag| tag.trim().trim_start_matches("W/").to_owned())
            .collect();
        (!tags.is_empty()).then_some(Condition(tags))
    }

    /// The response, or in its place that nothing has changed.
    pub fn applied_to(&self, mut response: Response) -> Response {
        let tag = response
            .headers()
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok());
        let opaque = tag.map(|tag| tag.trim_start_matches("W/"));
        let same =
            opaque.is_some_and(|tag| self.0.iter().any(|known| known == tag || known == "*"));
        if same && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(CONTENT_TYPE);
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::api::http::reply;

    fn answered(method: Method, tag: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
        let response = reply::tagged(&"x");
        match Condition::of(&method, &headers) {
            Some(condition) => condition.applied_to(response).status().as_u16(),
            None => response.status().as_u16(),
        }
    }

    #[test]
    fn what_is_the_same_is_not_sent_again() {
        let response = reply::tagged(&"x");
        let tag = response.headers()[ETAG].to_str().unwrap().to_owned();
        let other = reply::tagged(&"y");
        assert_ne!(other.headers()[ETAG].to_str().unwrap(), tag);
        let bare = tag.trim_start_matches("W/").to_owned();
        for same in [tag.clone(), bare, format!("\"a\", {tag}"), "*".into()] {
            assert_eq!(answered(Method::GET, &same), 304, "{same}");
            assert_eq!(answered(Method::HEAD, &same), 304, "{same}");
        }
        for other in ["\"a\"", "", "W/\"a\""] {
            assert_eq!(answered(Method::GET, other), 200, "{other}");
        }
        assert_eq!(answered(Method::POST, &tag), 200);
    }
}
