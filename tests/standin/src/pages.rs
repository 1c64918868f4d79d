//! Lists in pages, as the API gives them.

use crate::error::ApiError;

/// One page of a list, by `limit`, `after_id` and `before_id`.
pub struct Page<'a, T> {
    pub list: &'a [T],
    pub has_more: bool,
}

/// Pages as every list of the API does.
pub fn page<'a, T>(
    all: &'a [T],
    query: &str,
    id: impl Fn(&T) -> &str,
) -> Result<Page<'a, T>, ApiError> {
    let params = || query.split('&').filter_map(|p| p.split_once('='));
    let param = |name: &str| params().find(|(k, _)| *k == name).map(|(_, v)| v);
    let limit = match param("limit").map(str::parse::<usize>) {
        None => 20,
        Some(Ok(n @ 1..=1_000)) => n,
        Some(_) => return Err(ApiError::at("limit", "Input should be between 1 and 1000")),
    };
    let position = |wanted: &str| all.iter().position(|entry| id(entry) == wanted);
    let from = param("after_id").and_then(position).map_or(0, |at| at + 1);
    let to = param("before_id").and_then(position).unwrap_or(all.len());
    let range = all.get(from..to.max(from)).unwrap_or_default();
    let list = range.get(..limit.min(range.len())).unwrap_or_default();
    Ok(Page {
        list,
        has_more: list.len() < range.len(),
    })
}
