//! A JSON Schema made fit for the API.
