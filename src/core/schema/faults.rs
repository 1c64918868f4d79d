//! Faults in words: what a model that must mend its answer, or a caller who sent a schema, reads.

use boon::{CompileError, ErrorKind, ValidationError};
use serde_json::Value;

use super::{Fault, HOME, MAX_FAULTS};

/// The leaves of a tree of validation errors, as faults, at most [`MAX_FAULTS`].
pub(super) fn of(error: &ValidationError<'_, '_>, value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    collect(error, value, &mut faults);
    if faults.is_empty() {
        faults.push(Fault::new("", "does not match the schema"));
    }
    faults
}

fn collect(error: &ValidationError<'_, '_>, value: &Value, faults: &mut Vec<Fault>) {
    if faults.len() >= MAX_FAULTS {
        return;
    }
    match &error.kind {
        ErrorKind::Group
        | ErrorKind::Schema { .. }
        | ErrorKind::Reference { .. }
        | ErrorKind::AllOf
        | ErrorKind::ContentSchema
            if !error.causes.is_empty() =>
        {
            for cause in &error.causes {
                collect(cause, value, faults);
            }
        }
        ErrorKind::AnyOf | ErrorKind::OneOf(None) => match meant(error) {
            Some(branch) => collect(branch, value, faults),
            None => push(
                error,
                "matches none of the allowed forms".to_owned(),
                faults,
            ),
        },
        kind => push(error, wording(kind, value_at(error, value)), faults),
    }
}

/// Of several forms none of which fits, the one that was meant: the only one that does not fail at
/// this very place by its type. That tells an optional value (`anyOf` with null) from a choice.
fn meant<'a, 's, 'v>(error: &'a ValidationError<'s, 'v>) -> Option<&'a ValidationError<'s, 'v>> {
    let here = error.instance_location.tokens.len();
    let mut meant = error.causes.iter().filter(|cause| {
        let wrong_kind = matches!(cause.kind, ErrorKind::Type { .. } | ErrorKind::FalseSchema);
        !(wrong_kind && cause.instance_location.tokens.len() == here)
    });
    let first = meant.next()?;
    meant.next().is_none().then_some(first)
}

fn push(error: &ValidationError<'_, '_>, message: String, faults: &mut Vec<Fault>) {
    faults.push(Fault::new(error.instance_location.to_string(), message));
}

fn value_at<'a>(error: &ValidationError<'_, '_>, value: &'a Value) -> Option<&'a Value> {
    value.pointer(&error.instance_location.to_string())
}

fn wording(kind: &ErrorKind<'_, '_>, got: Option<&Value>) -> String {
    match kind {
        ErrorKind::Type { got, want } => {
            let want: Vec<String> = want.iter().map(|kind| kind.to_string()).collect();
            format!("must be {}, not {got}", want.join(" or "))
        }
        ErrorKind::Required { want } => match want.as_slice() {
            [one] => format!("the field `{one}` is missing"),
            many => format!("the fields {} are missing", names(many)),
        },
        ErrorKind::AdditionalProperties { got } => {
            format!("has fields that are not in the schema: {}", names(got))
        }
        ErrorKind::Enum { want } => {
            let want: Vec<String> = want.iter().map(Value::to_string).collect();
            format!("is {}, but must be one of {}", shown(got), want.join(", "))
        }
        ErrorKind::Const { want } => format!("is {}, but must be {want}", shown(got)),
        ErrorKind::FalseSchema => "must not be there".to_owned(),
        ErrorKind::PropertyName { prop } => {
            format!("has a field `{prop}`, whose name is not allowed")
        }
        ErrorKind::OneOf(Some(_)) => {
            "matches more than one of forms that exclude each other".to_owned()
        }
        ErrorKind::Not => "matches a form that is excluded".to_owned(),
        ErrorKind::RefCycle { .. } => "the schema refers to itself without end".to_owned(),
        ErrorKind::Format {
            want: "regex", err, ..
        } => {
            let reason = err.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            format!("is no pattern that can be used here: {reason}")
        }
        // These name both the bound and what was found.
        other => other.to_string(),
    }
}

fn names<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    names.join(", ")
}

/// A value in a message, cut to a length that leaves room for the rest.
fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::Array(_)) => "an array".to_owned(),
        Some(Value::Object(_)) => "an object".to_owned(),
        Some(value) => crate::core::schema::cut(&value.to_string(), 60),
        None => "something else".to_owned(),
    }
}

/// Why a schema could not be compiled, without our made-up address in it.
pub(super) fn of_compilation(error: &CompileError) -> Fault {
    match error {
        CompileError::JsonPointerNotFound(place) | CompileError::InvalidJsonPointer(place) => {
            Fault::new(
                "",
                format!("a reference leads nowhere: {}", without_home(place)),
            )
        }
        CompileError::AnchorNotFound { reference, .. } => Fault::new(
            "",
            format!("a reference leads nowhere: {}", without_home(reference)),
        ),
        CompileError::InvalidRegex { url, regex, .. } => {
            let path = without_home(url);
            Fault::new(
                path.trim_start_matches('#'),
                format!("cannot use the pattern `{regex}`"),
            )
        }
        CompileError::LoadUrlError { url, .. } | CompileError::UnsupportedDraft { url } => {
            Fault::new(
                "/$schema",
                format!("`{url}` is not a dialect that is known here"),
            )
        }
        other => Fault::new("", without_home(&other.to_string())),
    }
}

fn without_home(text: &str) -> String {
    text.replace(HOME, "")
}

/// A name as a token of a JSON Pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
