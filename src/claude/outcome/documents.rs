//! The JSON in a text: the whole of it, or what stands between prose, or what a cut left over.

use std::borrow::Cow;

use serde_json::Value;

use crate::core::value::strict_json;

/// Containers are looked for so deep inside one that cannot be read: an answer's object, its list
/// of results, a result. What lies deeper is part of a result, and no result.
const MAX_DEPTH: usize = 2;

/// An object or array that could be read.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub value: Value,
    /// How many unreadable containers it was found inside of.
    pub depth: usize,
}

/// All that could be read, in its order.
#[derive(Debug, PartialEq)]
pub(super) struct Documents {
    pub found: Vec<Found>,
    /// Why the text is not one document, if it is not.
    pub error: Option<String>,
}

impl Documents {
    pub(super) fn find(text: &str) -> Self {
        let mended = mended(without_fence(text));
        let text = mended.as_ref();
        match read(text) {
            Ok(value) if value.is_object() || value.is_array() => Self {
                found: vec![Found { value, depth: 0 }],
                error: None,
            },
            Ok(_) => Self {
                found: Vec::new(),
                error: Some("neither an object nor an array".to_owned()),
            },
            Err(_) if text.is_empty() => Self {
                found: Vec::new(),
                error: Some("it is empty".to_owned()),
            },
            Err(error) => Self {
                found: search(text),
                error: Some(error.to_string()),
            },
        }
    }

    /// The lists that may hold the results: `{"results": […]}`, or the list alone.
    pub(super) fn lists(&self) -> impl DoubleEndedIterator<Item = &Vec<Value>> {
        let outer = self.found.iter().filter(|found| found.depth < MAX_DEPTH);
        outer.filter_map(|found| match &found.value {
            Value::Array(list) => Some(list),
            value => value.get("results")?.as_array(),
        })
    }
}

/// The text without blanks and a code fence around it.
fn without_fence(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}').trim();
    let Some(inner) = text
        .strip_prefix("```")
        .and_then(|text| text.strip_suffix("```"))
    else {
        return text;
    };
    // The rest of the first line names the language.
    inner
        .split_once('\n')
        .map_or(text, |(_, inner)| inner.trim())
}

/// Tries every container that is not inside one already read. A container that cannot be read is
/// stepped into, with strings and brackets followed as JSON has them. Each byte is parsed at most
/// once for each level, so this takes linear time whatever the text.
fn search(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    let mut in_string = false;
    while let Some(byte) = bytes.get(at) {
        let mut step = 1;
        match (in_string, byte) {
            // Whatever is escaped, it does not end the string.
            (true, b'\\') => step = 2,
            (true, b'"') => in_string = false,
            (true, _) => {}
            // Outside of containers quotes are prose.
            (false, b'"') => in_string = depth > 0,
            (false, b'{' | b'[') => match text
                .get(at..)
                .filter(|_| depth <= MAX_DEPTH)
                .and_then(first)
            {
                Some((value, length)) => {
                    found.push(Found { value, depth });
                    step = length;
                }
                None => depth += 1,
            },
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
        at += step;
    }
    found
}

/// The value a text begins with, and its length.
fn first(text: &str) -> Option<(Value, usize)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = stream.next()?.ok()?;
    // At least the opening bracket was read.
    let length = stream.byte_offset().max(1);
    let exact = text.get(..length).and_then(|whole| read(whole).ok());
    Some((exact.unwrap_or(value), length))
}

/// The text with half characters replaced, one of which would make all of it unreadable.
fn mended(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    strict_json::mend_surrogates(&mut bytes);
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A whole document. Numbers that would lose digits are texts: as an id, and where the schema wants a text, they stay what
/// the model wrote.
fn read(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(&strict_json::exact(text))
}
