//! The checks of bodies by the schemas in the OpenAPI document, each compiled when it is first needed, and kept.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use super::numbers::whole_numbers;
use super::schema_check::SchemaCheck;
use crate::api::http::problem::{ApiError, Faults};
use crate::api::openapi::document;

/// The check of one kind of body; a `static` beside its type.
pub struct BodyCheck {
    name: fn() -> Cow<'static, str>,
    adapt: fn(&mut Value, &str),
    made: OnceLock<Result<SchemaCheck, String>>,
}

impl BodyCheck {
    pub const fn of<T: ToSchema>() -> BodyCheck {
        BodyCheck::with::<T>(|_, _| ())
    }

    /// By a schema that differs from the document's: `adapt` changes the document's components, given the schema's name.
    pub const fn with<T: ToSchema>(adapt: fn(&mut Value, &str)) -> BodyCheck {
        BodyCheck {
            name: T::name,
            adapt,
            made: OnceLock::new(),
        }
    }

    pub fn schema(&'static self) -> Result<&'static SchemaCheck, ApiError> {
        self.made
            .get_or_init(|| {
                let name = (self.name)();
                let mut components = document::components().map_err(|e| e.to_string())?;
                (self.adapt)(&mut components, &name);
                SchemaCheck::new(&components, &name)
            })
            .as_ref()
            .map_err(|error| ApiError::unavailable(error.as_str()))
    }
}

/// The value as a body, or everything that is wrong with it.
pub fn checked<T: DeserializeOwned>(
    mut value: Value,
    schema: &SchemaCheck,
    rules: impl FnOnce(&Value, &mut Faults),
) -> Result<T, ApiError> {
    if let Some(map) = value.as_object_mut() {
        whole_numbers(map);
    }
    let mut faults = Faults::default();
    schema.check(&value, &mut faults);
    rules(&value, &mut faults);
    faults.into_result()?;
    T::deserialize(value).map_err(|error| ApiError::fault("body", error.to_string()))
}
