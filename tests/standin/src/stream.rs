//! A message as server-sent events, in the order of the API: `message_start`,
//! per block `content_block_start`, deltas and `content_block_stop`, then
//! `message_delta` with the usage of the whole, and `message_stop`.

use serde_json::{Value, json};

use crate::{
    faults::Fault,
    message::{self, Block, Message},
};

/// Events that go out together, and the share of the answer's time after which
/// they do (0 at the first byte, 1 at the end).
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub share: f64,
    pub data: String,
}

/// Writes one event.
fn event(out: &mut String, name: &str, data: &Value) {
    out.push_str("event: ");
    out.push_str(name);
    out.push_str("\ndata: ");
    out.push_str(&data.to_string());
    out.push_str("\n\n");
}

/// An `error` event, as it comes after the status was sent.
pub fn error_event(error: &Value) -> String {
    let mut out = String::new();
    event(&mut out, "error", error);
    out
}

/// The whole stream; each text comes in about `chunks` deltas.
pub fn pieces(message: &Message, chunks: usize) -> Vec<Piece> {
    let mut parts: Vec<String> = vec![start(message)];
    for (index, block) in message.blocks.iter().enumerate() {
        block_events(&mut parts, index, block, (message, chunks));
        if index == 0 {
            // The API sends a ping after the first block's start.
            if let Some(first) = parts.first_mut() {
                event(first, "ping", &json!({"type": "ping"}));
            }
        }
    }
    if message.effects.has(Fault::UnknownEvents) {
        unknown_events(&mut parts, message.blocks.len());
    }
    if let Some(last) = parts.last_mut() {
        end(last, message);
    }
    if message.effects.has(Fault::EventMessage) {
        for part in &mut parts {
            *part = renamed(part);
        }
    }
    let steps = parts.len().saturating_sub(1).max(1) as f64;
    parts
        .into_iter()
        .enumerate()
        .map(|(index, data)| Piece {
            share: index as f64 / steps,
            data,
        })
        .collect()
}

fn start(message: &Message) -> String {
    let mut out = String::new();
    let mut data = json!({
        "type": "message_start",
        "message": {
            "model": message.name,
            "id": message.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "container": null,
            "diagnostics": null,
            "stop_reason": null,
            "stop_sequence": null,
            "stop_details": null,
        },
    });
    if let (Some(usage), Some(fields)) = (
        message.usage_json(1, false),
        data.get_mut("message").and_then(Value::as_object_mut),
    ) {
        fields.insert("usage".into(), usage);
    }
    event(&mut out, "message_start", &data);
    out
}

fn end(out: &mut String, message: &Message) {
    let has = |fault| message.effects.has(fault);
    if has(Fault::DoneMiddle) {
        out.push_str("data: [DONE]\n\n");
    }
    let mut data = json!({
        "type": "message_delta",
        "delta": {
            "stop_reason": message.stop_reason,
            "stop_sequence": message.stop_sequence,
            "stop_details": message.stop_details,
            "container": null,
        },
    });
    if let (Some(usage), Some(fields)) = (message.delta_usage_json(), data.as_object_mut()) {
        fields.insert("usage".into(), usage);
    }
    event(out, "message_delta", &data);
    if !has(Fault::NoMessageStop) {
        event(out, "message_stop", &json!({"type": "message_stop"}));
    }
    if has(Fault::DoneMarker) {
        out.push_str("data: [DONE]\n\n");
    }
    if has(Fault::NoLastBlank) && out.ends_with("\n\n") {
        out.pop();
    }
}

/// An event, and a block with a delta, of types that no client knows.
fn unknown_events(parts: &mut Vec<String>, index: usize) {
    let mut out = String::new();
    event(
        &mut out,
        "advice",
        &json!({"type": "advice", "note": "an event that came later"}),
    );
    let start = json!({"type": "content_block_start", "index": index, "content_block": message::unknown_block()});
    event(&mut out, "content_block_start", &start);
    let delta = json!({"type": "content_block_delta", "index": index, "delta": {"type": "note_delta", "note": "more"}});
    event(&mut out, "content_block_delta", &delta);
    event(
        &mut out,
        "content_block_stop",
        &json!({"type": "content_block_stop", "index": index}),
    );
    parts.push(out);
}

/// The same events, each under the name `message`.
fn renamed(part: &str) -> String {
    let lines = part
        .split_inclusive('\n')
        .map(|line| match line.starts_with("event: ") {
            true => "event: message\n",
            false => line,
        });
    lines.collect()
}

/// The events of one block. Its start joins the piece before it, so that pieces
/// are as many as deltas.
fn block_events(
    parts: &mut Vec<String>,
    index: usize,
    block: &Block,
    (message, chunks): (&Message, usize),
) {
    let (shape, deltas) = match block {
        Block::ServerTool(block) => match block.get("input") {
            Some(input) => {
                let mut shape = block.clone();
                if let Some(map) = shape.as_object_mut() {
                    map.insert("input".to_owned(), json!({}));
                }
                let text = input.to_string();
                let deltas = split(&text, 2)
                    .into_iter()
                    .map(|t| json!({"type": "input_json_delta", "partial_json": t}));
                (shape, deltas.collect())
            }
            // What a tool brought comes whole with its start.
            None => (block.clone(), Vec::new()),
        },
        Block::Thinking { text, signature } => {
            let mut deltas: Vec<Value> = split(text, 2)
                .into_iter()
                .map(|t| json!({"type": "thinking_delta", "thinking": t}))
                .collect();
            deltas.push(json!({"type": "signature_delta", "signature": signature}));
            (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                deltas,
            )
        }
        Block::Text(text) => {
            let deltas = split(text, chunks)
                .into_iter()
                .map(|t| json!({"type": "text_delta", "text": t}));
            let mut deltas: Vec<Value> = deltas.collect();
            let mut shape = json!({"type": "text", "text": "", "citations": null});
            if message.effects.has(Fault::Citations) {
                shape = json!({"type": "text", "text": "", "citations": []});
                deltas
                    .push(json!({"type": "citations_delta", "citation": message::citation(text)}));
            }
            (shape, deltas)
        }
        Block::ToolUse { id, name, input } => {
            let json_text = input.to_string();
            let deltas = split(&json_text, chunks)
                .into_iter()
                .map(|t| json!({"type": "input_json_delta", "partial_json": t}))
                .collect();
            (
                json!({"type": "tool_use", "id": id, "name": name, "input": {}, "caller": {"type": "direct"}}),
                deltas,
            )
        }
    };
    if let Some(before) = parts.last_mut() {
        let data = json!({"type": "content_block_start", "index": index, "content_block": shape});
        event(before, "content_block_start", &data);
    }
    for delta in deltas {
        let mut out = String::new();
        let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
        event(&mut out, "content_block_delta", &data);
        parts.push(out);
    }
    if let Some(last) = parts.last_mut() {
        event(
            last,
            "content_block_stop",
            &json!({"type": "content_block_stop", "index": index}),
        );
    }
}

/// A text in about so many parts, never inside a character.
fn split(text: &str, chunks: usize) -> Vec<&str> {
    let size = text.len().div_ceil(chunks.max(1)).max(1);
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = size.min(rest.len());
        while !rest.is_char_boundary(at) {
            at += 1;
        }
        let (part, after) = rest.split_at(at);
        out.push(part);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_between_characters() {
        assert_eq!(split("日本語", 2).concat(), "日本語");
        assert_eq!(split("abcdefgh", 4), ["ab", "cd", "ef", "gh"]);
        assert!(split("", 4).is_empty());
    }
}
