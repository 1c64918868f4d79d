//! Stored outputs as results with ids, and how many of them a later call can read.

use serde_json::Value;

use super::runtime::StageRuntime;
use crate::core::plan::spec::Output;
use crate::core::task::retry_policy::RequestMode;

/// Bytes of text that a token stands for at the least in what workers read; real text has more.
pub const BYTES_PER_TOKEN: u64 = 2;

/// The results in a stored output, with the ids they have as items of a later stage.
pub fn outputs(stored: Value, label: &str) -> Vec<(String, Value)> {
    match stored {
        Value::Array(results) => results
            .into_iter()
            .filter_map(|mut result| {
                let id = result.get("id")?.as_str()?.to_owned();
                Some((id, result.get_mut("output")?.take()))
            })
            .collect(),
        Value::Object(mut chunk) => chunk
            .remove("output")
            .map(|output| (label.to_owned(), output))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// Bytes of items that the stage's model can read at once.
pub fn room(runtime: &StageRuntime) -> usize {
    let empty = runtime.worker_request(RequestMode::FRESH, &[], None);
    let tokens = runtime
        .model
        .context_tokens
        .saturating_sub(u64::from(runtime.stage.max_tokens))
        .saturating_sub(empty.input_bound(&runtime.model));
    usize::try_from(tokens.saturating_mul(BYTES_PER_TOKEN)).unwrap_or(usize::MAX)
}

/// How many from the first on make one chunk: at most `most`, within `room` bytes; one at least.
pub fn fitting(sizes: impl Iterator<Item = usize>, room: usize, most: usize) -> usize {
    let mut bytes = 0_usize;
    let fit = sizes.take(most).take_while(|size| {
        bytes = bytes.saturating_add(size + 1);
        bytes <= room
    });
    fit.count().max(1)
}

/// Items in chunks within `room` bytes and of at most `most`.
pub fn cut(items: Vec<Value>, room: usize, most: usize) -> Vec<Vec<Value>> {
    let mut chunks = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let sizes = rest.iter().map(|item| item.to_string().len());
        let len = fitting(sizes, room, most);
        let tail = rest.split_off(len);
        chunks.push(std::mem::replace(&mut rest, tail));
    }
    chunks
}

/// Whether a stage's results have ids of their own.
pub fn renames(runtime: &StageRuntime) -> bool {
    runtime.stage.output == Output::Chunk
}

/// How a stage's outputs are stored: a list of `{"id","output"}`, or one `{"output"}`.
pub fn stored_output(output: Output, results: Vec<(String, Value)>) -> Value {
    match output {
        Output::Item => results
            .into_iter()
            .map(|(id, output)| serde_json::json!({"id": id, "output": output}))
            .collect(),
        Output::Chunk => results.into_iter().next().map_or(
            Value::Null,
            |(_, output)| serde_json::json!({"output": output}),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chunk_never_exceeds_its_room_unless_one_item_does() {
        let items: Vec<Value> = (0..7)
            .map(|n| json!({"id": n, "t": "x".repeat(n * 10)}))
            .collect();
        let whole: Vec<Value> = cut(items.clone(), 60, 3).concat();
        assert_eq!(whole, items);
        for chunk in cut(items, 60, 3) {
            let bytes: usize = chunk.iter().map(|item| item.to_string().len() + 1).sum();
            assert!(chunk.len() <= 3 && (bytes <= 60 || chunk.len() == 1));
        }
    }
}
