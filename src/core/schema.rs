//! JSON Schema: compile, check, put right.
