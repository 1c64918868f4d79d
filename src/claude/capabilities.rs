//! Parts of a request that an endpoint may not take: which there are, how a refusal names one, and a request without them.
//!
//! Endpoints that speak Claude's API differ in four optional parts. Some refuse one, which costs a call that is not
//! billed. Some ignore the format of the answer, which shows in answers that do not have it. Either is learned for a
//! model at an endpoint, and later requests leave the part out. The schema is then given in words.

use std::borrow::Cow;

use crate::claude::error::{CallError, ErrorCode};
use crate::claude::request::{MessagesRequest, OutputConfig};

/// A part of a request that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// `output_config.format`
    Format,
    /// `thinking`
    Thinking,
    /// `output_config.effort`
    Effort,
    /// `cache_control`
    Cache,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Format, Part::Thinking, Part::Effort, Part::Cache];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Part::Format => "format",
            Part::Thinking => "thinking",
            Part::Effort => "effort",
            Part::Cache => "cache",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.as_str() == text)
    }

    const fn bit(self) -> u8 {
        match self {
            Part::Format => 1,
            Part::Thinking => 2,
            Part::Effort => 4,
            Part::Cache => 8,
        }
    }

    /// Whether the request has it.
    fn is_in(self, request: &MessagesRequest) -> bool {
        let config = request.output_config.as_ref();
        match self {
            Part::Format => config.is_some_and(|config| config.format.is_some()),
            Part::Effort => config.is_some_and(|config| config.effort.is_some()),
            Part::Thinking => request.thinking.is_some(),
            Part::Cache => request.cache_ttl().is_some(),
        }
    }

    /// How errors call it.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Part::Format => &[
                "output_config.format",
                "output_format",
                "response_format",
                "json_schema",
                "structured output",
            ],
            Part::Effort => &["output_config.effort", "effort"],
            Part::Thinking => &["thinking"],
            Part::Cache => &["cache_control"],
        }
    }
}

/// Parts that are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lacks(u8);

impl Lacks {
    #[must_use]
    pub const fn has(self, part: Part) -> bool {
        self.0 & part.bit() != 0
    }

    #[must_use]
    pub const fn with(self, part: Part) -> Lacks {
        Lacks(self.0 | part.bit())
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As an attempt's row has it; `None` where nothing is left out.
    #[must_use]
    pub fn as_text(self) -> Option<String> {
        let parts = Part::ALL.into_iter().filter(|part| self.has(*part));
        let names: Vec<&str> = parts.map(Part::as_str).collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// Reads [`Self::as_text`]; unknown names are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Lacks {
        let parts = text.split(',').filter_map(Part::parse);
        parts.fold(Lacks::default(), Lacks::with)
    }

    /// The request without these parts; `words` say its schema where it had one.
    #[must_use]
    pub fn applied<'w>(
        self,
        mut request: MessagesRequest,
        words: impl FnOnce() -> Cow<'w, str>,
    ) -> MessagesRequest {
        if self.has(Part::Thinking) {
            request.thinking = None;
        }
        if self.has(Part::Cache) {
            for block in &mut request.system {
                block.cache_control = None;
            }
        }
        if self.has(Part::Effort)
            && let Some(config) = &mut request.output_config
        {
            config.effort = None;
        }
        if self.has(Part::Format) && Part::Format.is_in(&request) {
            request = request.without_format(&words());
        }
        request
            .output_config
            .take_if(|config| *config == OutputConfig::default());
        request
    }
}

/// How endpoints say that they do not take a field, as opposed to what is in it.
const NOT_TAKEN: [&str; 11] = [
    "not permitted",
    "not supported",
    "unsupported",
    "not support",
    "not allowed",
    "not available",
    "not implemented",
    "unknown",
    "unrecognized",
    "unexpected",
    "extra_forbidden",
];

/// The parts of the request that the refusal says are not taken. Empty where it is about something else, or about what a
/// part holds: another schema may be taken.
#[must_use]
pub fn refused(error: &CallError, sent: &MessagesRequest) -> Vec<Part> {
    if !matches!(
        error.code,
        ErrorCode::InvalidRequest | ErrorCode::SchemaRefused
    ) {
        return Vec::new();
    }
    let text = error.message.to_ascii_lowercase();
    if !NOT_TAKEN.iter().any(|words| text.contains(words))
        || text.contains("output_config.format.schema")
    {
        return Vec::new();
    }
    let named = |part: &Part| part.names().iter().any(|name| text.contains(name));
    let is_in = |part: &Part| part.is_in(sent);
    let parts: Vec<Part> = Part::ALL.into_iter().filter(named).filter(is_in).collect();
    if parts.is_empty() && text.contains("output_config") {
        return [Part::Format, Part::Effort]
            .into_iter()
            .filter(is_in)
            .collect();
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::claude::error::classify;
    use crate::claude::headers::Headers;
    use crate::claude::models::Catalogue;
    use crate::claude::request::{CacheTtl, RequestBuilder, Role};

    fn request() -> MessagesRequest {
        let models = Catalogue::load(None).unwrap();
        let model = models.listed("haiku").unwrap();
        RequestBuilder::new(Role::Worker, model, 100)
            .system("Label.")
            .format(Some(json!({"type": "object"})))
            .user("x")
            .build()
            .marked(CacheTtl::FiveMinutes)
    }

    fn refusal(message: &str) -> Vec<Part> {
        let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
        let error = classify(400, &Headers::none(), body.to_string().as_bytes(), 0);
        refused(&error, &request())
    }

    #[test]
    fn a_refusal_names_the_part_that_is_not_taken() {
        let extra = |path: &str| refusal(&format!("{path}: Extra inputs are not permitted"));
        assert_eq!(extra("output_config.format"), [Part::Format]);
        assert_eq!(extra("output_config.effort"), [Part::Effort]);
        assert_eq!(extra("thinking"), [Part::Thinking]);
        assert_eq!(extra("system.0.cache_control"), [Part::Cache]);
        assert_eq!(extra("output_config"), [Part::Format, Part::Effort]);
        assert_eq!(
            refusal("\"thinking.type.disabled\" is not supported for this model."),
            [Part::Thinking]
        );
    }

    #[test]
    fn a_refusal_of_what_a_part_holds_or_of_something_else_names_none() {
        for message in [
            "Schema is too complex for compilation.",
            "output_config.format.schema: property 'minimum' is not supported",
            "messages: text content blocks must be non-empty",
            "This model is not available to your organization",
        ] {
            assert_eq!(refusal(message), [], "{message}");
        }
        // What was not sent cannot be meant.
        let bare = Part::ALL.into_iter().fold(Lacks::default(), Lacks::with);
        let bare = bare.applied(request(), || "words".into());
        let body = json!({"detail": [{"msg": "thinking is not supported"}]}).to_string();
        let error = classify(422, &Headers::none(), body.as_bytes(), 0);
        assert_eq!(refused(&error, &bare), []);
        assert_eq!(refused(&error, &request()), [Part::Thinking]);
    }

    #[test]
    fn what_is_left_out_is_not_in_the_request() {
        for part in Part::ALL {
            assert!(part.is_in(&request()), "{part:?}");
            let without = Lacks::default()
                .with(part)
                .applied(request(), || "the schema in words".into());
            assert!(!part.is_in(&without), "{part:?}");
            let words = without
                .system
                .iter()
                .any(|block| block.text.contains("words"));
            assert_eq!(words, part == Part::Format);
            for other in Part::ALL.into_iter().filter(|other| *other != part) {
                assert!(other.is_in(&without), "{part:?} {other:?}");
            }
            let lacks = Lacks::default().with(part);
            assert_eq!(Lacks::parse(&lacks.as_text().unwrap()), lacks);
        }
        assert_eq!(Lacks::default().as_text(), None);
    }
}
