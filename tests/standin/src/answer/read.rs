//! Reads what a request asks: the items a worker got, the results a synthesis
//! got, or the plain text of anyone else.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fill::Subject;

/// How instructions say that each item has a result of its own.
const BY_ITEM: &str = "{\"results\": [{\"id\"";
/// A chunk's texts are read up to here when they are answered as a whole.
const CHUNK_TEXT: usize = 8_000;

/// The parts of a conversation that matter for an answer.
#[derive(Debug, Default)]
pub struct Reading {
    /// The array between `<items>` and `</items>`.
    pub items: Option<Vec<Value>>,
    /// The JSON between `<results>` and `</results>`.
    pub results: Option<Value>,
    /// What stood between `<coverage>` and `</coverage>`.
    pub coverage: Option<Value>,
    /// The last user message's text.
    pub asked: String,
    /// A JSON schema written out in the instructions, for calls that could not
    /// ask for it in `output_config`.
    pub written_schema: Option<Value>,
    /// It is that of one item's output, in a list of results by id.
    pub written_by_item: bool,
}

impl Reading {
    pub fn of(body: &Value, look_for_schema: bool) -> Self {
        let mut out = Self::default();
        let messages = body.get("messages").and_then(Value::as_array);
        for message in messages.into_iter().flatten() {
            let user = message.get("role").is_some_and(|r| r == "user");
            if user && let Some(content) = message.get("content") {
                out.asked.clear();
                each_text(content, |text| out.take(text));
            }
        }
        if look_for_schema {
            let mut take = |text: &str| {
                if out.written_schema.is_none() {
                    out.written_schema = schema_in(text);
                    out.written_by_item = text.contains(BY_ITEM);
                }
            };
            body.get("system")
                .into_iter()
                .for_each(|s| each_text(s, &mut take));
            let asked = messages
                .into_iter()
                .flatten()
                .filter_map(|m| m.get("content"));
            asked.for_each(|content| each_text(content, &mut take));
        }
        out
    }

    fn take(&mut self, text: &str) {
        if self.items.is_none() {
            self.items = between(text, "items")
                .and_then(|json| serde_json::from_str::<Vec<Value>>(json).ok());
        }
        if let Some(json) = between(text, "results") {
            self.results = Some(loose(json));
        }
        if let Some(json) = between(text, "coverage") {
            self.coverage = Some(loose(json));
        }
        if self.asked.len() < CHUNK_TEXT {
            self.asked.push_str(text);
            self.asked.push('\n');
        }
    }

    /// The ids of the items, as written.
    pub fn ids(&self) -> Vec<String> {
        let items = self.items.iter().flatten();
        items
            .enumerate()
            .map(|(index, item)| id_of(item, index))
            .collect()
    }
}

/// JSON where it is JSON, the text itself where not.
fn loose(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn each_text(content: &Value, mut found: impl FnMut(&str)) {
    match content {
        Value::String(text) => found(text),
        Value::Array(blocks) => {
            for block in blocks
                .iter()
                .filter(|b| b.get("type").is_some_and(|t| t == "text"))
            {
                if let Some(text) = block.get("text").and_then(Value::as_str) {
                    found(text);
                }
            }
        }
        _ => {}
    }
}

/// What stands between a line `<tag>` and the next line `</tag>`.
pub fn between<'t>(text: &'t str, tag: &str) -> Option<&'t str> {
    let start = line_at(text, 0, &format!("<{tag}>"))?;
    let end = line_at(text, start.1, &format!("</{tag}>"))?;
    text.get(start.1..end.0).map(str::trim)
}

/// Start and end of the first line that holds exactly the given text.
fn line_at(text: &str, from: usize, line: &str) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = at + text.get(at..)?.find(line)?;
        let end = found + line.len();
        let starts = found == 0 || text.as_bytes().get(found - 1) == Some(&b'\n');
        let ends = matches!(text.as_bytes().get(end), None | Some(b'\n' | b'\r'));
        if starts && ends {
            return Some((found, end));
        }
        at = end;
    }
}

/// The first JSON object in a text that looks like a schema.
fn schema_in(text: &str) -> Option<Value> {
    let mut at = 0;
    while let Some(found) = text.get(at..)?.find('{') {
        let from = at + found;
        let mut stream = serde_json::Deserializer::from_str(text.get(from..)?).into_iter::<Value>();
        if let Some(Ok(value)) = stream.next() {
            if value.get("properties").is_some_and(Value::is_object) {
                return Some(value);
            }
            at = from + stream.byte_offset().max(1);
        } else {
            at = from + 1;
        }
    }
    None
}

/// An item's id; one without gets its place.
pub fn id_of(item: &Value, index: usize) -> String {
    match item.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => format!("item-{}", index + 1),
    }
}

/// The subject an item makes: its `text`, or all its fields in turn.
pub fn subject<'a>(item: &'a Value, index: usize, ids: &'a [String]) -> Subject<'a> {
    let id = match item.get("id") {
        Some(Value::String(id)) => Cow::Borrowed(id.as_str()),
        _ => Cow::Owned(id_of(item, index)),
    };
    let Some(map) = item.as_object() else {
        let text = item
            .as_str()
            .map_or_else(|| Cow::Owned(item.to_string()), Cow::Borrowed);
        return Subject::new(id, text, ids);
    };
    let mut subject = Subject::new(id, item_text(map), ids);
    subject.item = Some(map);
    subject
}

/// An item's prose: its headline and its text where fields are named so, else
/// all its fields. A channel or a date beside a text is not what it says.
fn item_text(map: &Map<String, Value>) -> Cow<'_, str> {
    const HEADS: &[&str] = &["subject", "title", "headline", "summary"];
    const BODIES: &[&str] = &[
        "text",
        "body",
        "content",
        "message",
        "description",
        "comment",
        "review",
        "question",
    ];
    let prose = |names: &[&str]| {
        names
            .iter()
            .find_map(|n| map.get(*n).and_then(Value::as_str))
    };
    match (prose(HEADS), prose(BODIES)) {
        (None, Some(body)) => Cow::Borrowed(body),
        (Some(head), Some(body)) => {
            let ended = head.trim_end().ends_with(['.', '!', '?']);
            let stop = if ended { "" } else { "." };
            Cow::Owned(format!("{}{stop} {body}", head.trim()))
        }
        (_, None) => {
            let mut out = String::new();
            map.iter()
                .filter(|(k, _)| *k != "id")
                .for_each(|(_, v)| gather(v, &mut out));
            Cow::Owned(out)
        }
    }
}

fn gather(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => {
            out.push_str(text.trim());
            let ended = text.trim_end().ends_with(['.', '!', '?']);
            out.push_str(if ended { " " } else { ". " });
        }
        Value::Array(list) => list.iter().for_each(|v| gather(v, out)),
        Value::Object(map) => map.values().for_each(|v| gather(v, out)),
        Value::Number(number) => {
            out.push_str(&number.to_string());
            out.push(' ');
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// All items as one subject.
pub fn chunk<'a>(items: &'a [Value], ids: &'a [String]) -> Subject<'a> {
    if let [only] = items {
        return subject(only, 0, ids);
    }
    let mut text = String::new();
    for item in items {
        if text.len() > CHUNK_TEXT {
            break;
        }
        match item.as_object() {
            Some(map) => text.push_str(&item_text(map)),
            None => gather(item, &mut text),
        }
        text.push('\n');
    }
    Subject::new(
        ids.first().map(String::as_str).unwrap_or_default(),
        text,
        ids,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_found_only_on_lines_of_their_own() {
        let text = "Classify <items> in this list:\n<items>\n[{\"id\":\"T-1\",\"text\":\"see <items> and </items> here\"}]\n</items>\nDone.";
        let body = json!({"messages": [{"role": "user", "content": text}]});
        let reading = Reading::of(&body, false);
        assert_eq!(reading.ids(), ["T-1"]);
    }

    #[test]
    fn a_repair_reads_the_items_of_the_first_message() {
        let body = json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "<items>\n[{\"id\":\"a\",\"text\":\"x\"}]\n</items>"}]},
            {"role": "assistant", "content": "{\"results\":["},
            {"role": "user", "content": "Your output was cut off."}
        ]});
        let reading = Reading::of(&body, false);
        assert_eq!(reading.ids(), ["a"]);
        assert!(reading.asked.contains("cut off"));
    }

    #[test]
    fn a_schema_in_the_instructions_is_found() {
        let body = json!({"messages": [], "system": "Answer {as told}. Schema:\n{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}\nThanks"});
        let schema = Reading::of(&body, true).written_schema.unwrap();
        assert!(schema.get("properties").is_some());
    }
}
