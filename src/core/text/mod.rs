//! Texts: cut into slices, read out of pages, searched for citations.

pub mod citations;
pub mod expansion;
pub mod html_to_text;
pub mod slices;
