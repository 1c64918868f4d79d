//! Fills a schema from a text: one value per place, decided by the property's
//! name, its limits and the words of the text. The same text and schema always
//! give the same value, and the value is always valid for the schema.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{
    choice::Choice,
    index,
    words::{self, Bag},
};
use crate::{
    ids,
    schema::{Format, Hints, Node},
};

/// What is written about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub id: Cow<'a, str>,
    pub text: Cow<'a, str>,
    /// The item's own fields, where it came as an object.
    pub item: Option<&'a Map<String, Value>>,
    /// Ids of all items in view, for fields that list them.
    pub ids: &'a [String],
    pub bag: Bag,
}

impl<'a> Subject<'a> {
    pub fn new(
        id: impl Into<Cow<'a, str>>,
        text: impl Into<Cow<'a, str>>,
        ids: &'a [String],
    ) -> Self {
        let text = text.into();
        Self {
            id: id.into(),
            bag: Bag::of(&text),
            text,
            item: None,
            ids,
        }
    }

    fn hash(&self, salt: &str) -> u64 {
        ids::mix(ids::hash(self.text.as_bytes()) ^ ids::hash(salt.as_bytes()))
    }
}

/// A value, and whether the text gave reason for it: without one, a place that
/// may be null is null.
struct Found(Value, bool);

/// How an answer is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// The letter case of enum values slips, as the API does not promise it.
    pub drift: bool,
    /// A strong model decides where a small one says `unsure`.
    pub sure: bool,
}

impl From<bool> for Manner {
    fn from(drift: bool) -> Self {
        Self { drift, sure: false }
    }
}

/// Fills the whole schema.
pub fn fill(node: &Node, subject: &Subject<'_>, manner: impl Into<Manner>) -> Value {
    let Manner { drift, sure } = manner.into();
    Filler { drift, sure }.node(node, subject).0
}

struct Filler {
    drift: bool,
    sure: bool,
}

impl Filler {
    fn node(&self, node: &Node, subject: &Subject<'_>) -> Found {
        match node {
            Node::Null => Found(Value::Null, true),
            Node::Any => Found(words::excerpt(&subject.text, 80).into(), true),
            Node::Const(value) => Found(self.cased(value), true),
            Node::Enum(choice) => self.choice(choice, subject),
            Node::Bool(hints) => {
                let said = hints.name_words.iter().any(|w| subject.bag.has(*w));
                let own = field(subject, &hints.name).and_then(Value::as_bool);
                Found(own.unwrap_or(said).into(), said || own.is_some())
            }
            Node::Integer(hints) => number(hints, subject, true),
            Node::Number(hints) => number(hints, subject, false),
            Node::Text(hints, format) => text(hints, format, subject),
            Node::Array(item, hints) => self.array(item, hints, subject),
            Node::Object(props) => {
                let mut map = Map::new();
                let mut evident = false;
                for prop in props {
                    let Found(value, said) = self.node(&prop.node, subject);
                    evident |= said;
                    map.insert(prop.name.clone(), value);
                }
                Found(Value::Object(map), evident || props.is_empty())
            }
            Node::AnyOf(choices) => self.any_of(choices, subject),
        }
    }

    fn any_of(&self, choices: &[Node], subject: &Subject<'_>) -> Found {
        let nullable = choices.iter().any(|c| matches!(c, Node::Null));
        let mut first = None;
        for choice in choices.iter().filter(|c| !matches!(c, Node::Null)) {
            let found = self.node(choice, subject);
            if found.1 {
                return found;
            }
            first.get_or_insert(found);
        }
        match first {
            Some(found) if !nullable => found,
            _ => Found(Value::Null, false),
        }
    }

    fn choice(&self, choice: &Choice, subject: &Subject<'_>) -> Found {
        let (mut at, said) = choice.pick(&subject.bag);
        let is_unsure = |value: &Value| value == "unsure";
        if self.sure && choice.values.get(at).is_some_and(is_unsure) {
            at = choice
                .values
                .iter()
                .position(|value| !is_unsure(value))
                .unwrap_or(at);
        }
        let value = choice.values.get(at).map_or(Value::Null, |v| self.cased(v));
        Found(value, said)
    }

    /// The value with its first letter in the other case, where told to drift.
    fn cased(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if self.drift => {
                let mut chars = text.chars();
                let first = chars.next().map(|c| {
                    if c.is_lowercase() {
                        c.to_uppercase().to_string()
                    } else {
                        c.to_lowercase().to_string()
                    }
                });
                format!("{}{}", first.unwrap_or_default(), chars.as_str()).into()
            }
            other => other.clone(),
        }
    }

    fn array(&self, item: &Node, hints: &Hints, subject: &Subject<'_>) -> Found {
        let most = hints.max_items.unwrap_or(usize::MAX);
        let mut list: Vec<Value> = match item {
            Node::Enum(choice) => {
                let all = choice.all(&subject.bag);
                all.iter()
                    .filter_map(|at| choice.values.get(*at))
                    .map(|v| self.cased(v))
                    .take(most.min(5))
                    .collect()
            }
            Node::Text(inner, Format::Free) => {
                let limit = inner.max_length.unwrap_or(120);
                let texts: Vec<String> = if lists_ids(&hints.name) {
                    subject.ids.iter().take(5).cloned().collect()
                } else if is_quote(&hints.name) {
                    words::sentences(&subject.text, 2)
                        .into_iter()
                        .map(str::to_owned)
                        .collect()
                } else {
                    words::topics(&subject.text, 3)
                };
                texts
                    .into_iter()
                    .take(most)
                    .map(|t| Value::String(fit(t, inner, limit)))
                    .collect()
            }
            Node::Object(_) | Node::AnyOf(_) => words::sentences(&subject.text, most.min(3))
                .into_iter()
                .map(|sentence| {
                    let part = Subject::new(subject.id.as_ref(), sentence, subject.ids);
                    self.node(item, &part).0
                })
                .collect(),
            _ => vec![self.node(item, subject).0],
        };
        list.truncate(most);
        let evident = !list.is_empty();
        while list.len() < hints.min_items {
            list.push(self.node(item, subject).0);
        }
        Found(Value::Array(list), evident)
    }
}

/// The item's own field of that name.
fn field<'a>(subject: &Subject<'a>, name: &str) -> Option<&'a Value> {
    subject.item?.get(name)
}

fn has_part(name: &str, parts: &[&str]) -> bool {
    name.split('_').any(|p| parts.contains(&p))
}

fn lists_ids(name: &str) -> bool {
    has_part(
        name,
        &[
            "id",
            "ids",
            "examples",
            "items",
            "tickets",
            "refs",
            "references",
            "sources",
        ],
    )
}

fn is_quote(name: &str) -> bool {
    has_part(
        name,
        &[
            "quote",
            "quotes",
            "evidence",
            "excerpt",
            "excerpts",
            "verbatim",
            "snippet",
            "snippets",
            "citation",
            "citations",
        ],
    )
}

fn is_issue(name: &str) -> bool {
    has_part(name, &["issue", "problem", "pattern", "topic", "theme"])
}

fn number(hints: &Hints, subject: &Subject<'_>, whole: bool) -> Found {
    let name = hints.name.as_str();
    let share = has_part(
        name,
        &[
            "confidence",
            "probability",
            "certainty",
            "likelihood",
            "relevance",
        ],
    );
    let (low, high) = match (hints.min, hints.max) {
        (Some(low), Some(high)) => (low, high),
        (Some(low), None) => (low, low + 100.0),
        (None, Some(high)) => (high.min(0.0), high),
        (None, None) if share => (0.0, 1.0),
        (None, None) if has_part(name, &["rating", "stars"]) => (1.0, 5.0),
        (None, None) if has_part(name, &["score", "percent", "percentage"]) => (0.0, 100.0),
        (None, None) => (0.0, f64::MAX),
    };
    let own = field(subject, name).and_then(Value::as_f64);
    let bounded = high < f64::MAX;
    let (raw, evident) = match own.or_else(|| words::number_in(&subject.text).filter(|_| !bounded))
    {
        Some(number) => (number, true),
        None if bounded => {
            // The upper half: models are rarely unsure of themselves.
            let unit = ids::unit(subject.hash(name));
            (low + (high - low) * (0.5 + unit / 2.0), true)
        }
        None => (0.0, false),
    };
    let mut value = raw.clamp(low, high);
    if whole {
        value = value.round().clamp(low.ceil(), high.floor());
    } else {
        value = ((value * 100.0).round() / 100.0).clamp(low, high);
    }
    if let Some(step) = hints.multiple_of {
        value = (value / step).floor() * step;
        if value < low {
            value += step;
        }
    }
    let number = if whole || value.fract() == 0.0 && value.abs() < 1e15 {
        Number::from(value as i64)
    } else {
        Number::from_f64(value).unwrap_or_else(|| Number::from(0))
    };
    Found(Value::Number(number), evident)
}

fn text(hints: &Hints, format: &Format, subject: &Subject<'_>) -> Found {
    let limit = hints.max_length.unwrap_or(usize::MAX);
    let (value, evident) = match format {
        Format::Sample(sample) => return Found(sample.clone().into(), true),
        Format::Named(name) => named(name, subject),
        Format::Free => free(hints, subject),
    };
    Found(fit(value, hints, limit).into(), evident)
}

/// Cuts or pads a text to the lengths allowed.
fn fit(mut text: String, hints: &Hints, limit: usize) -> String {
    if text.chars().count() > limit {
        text = text.chars().take(limit).collect();
    }
    while text.chars().count() < hints.min_length {
        text.push('.');
    }
    text
}

fn token(text: &str, fits: impl Fn(&str) -> bool) -> Option<&str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '<' | '>' | '"'))
        .map(|t| t.trim_end_matches(['.', '!', '?', ':']))
        .find(|t| fits(t))
}

fn is_email(token: &str) -> bool {
    token
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && token.is_ascii())
}

fn is_date(token: &str) -> bool {
    let bytes = token.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    bytes.len() == 10
        && [0, 1, 2, 3, 5, 6, 8, 9].into_iter().all(digit)
        && bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && token.get(5..7).is_some_and(|m| ("01"..="12").contains(&m))
        && token.get(8..10).is_some_and(|d| ("01"..="28").contains(&d))
}

fn named(format: &str, subject: &Subject<'_>) -> (String, bool) {
    let found = |wanted: Option<&str>, other: &str| match wanted {
        Some(token) => (token.to_owned(), true),
        None => (other.to_owned(), false),
    };
    let text = &subject.text;
    match format {
        "date" => found(token(text, is_date), "2026-01-15"),
        "date-time" => match token(text, is_date) {
            Some(date) => (format!("{date}T00:00:00Z"), true),
            None => ("2026-01-15T09:00:00Z".to_owned(), false),
        },
        "time" => found(None, "09:00:00Z"),
        "duration" => found(None, "P1D"),
        "email" => found(token(text, is_email), "someone@example.com"),
        "hostname" => found(None, "example.com"),
        "uri" => {
            let is_url = |t: &str| t.starts_with("https://") && t.is_ascii() && t.len() > 10;
            found(token(text, is_url), "https://example.com/")
        }
        "ipv4" => found(None, "192.0.2.1"),
        "ipv6" => found(None, "2001:db8::1"),
        "uuid" => (ids::uuid(subject.hash("uuid")), false),
        _ => (words::excerpt(text, 60), true),
    }
}

/// Up to so many bytes a field of the item is said again as it is. Nobody repeats a page or a slice of a book.
const LONGEST_OWN: usize = 8_000;

fn free(hints: &Hints, subject: &Subject<'_>) -> (String, bool) {
    let name = hints.name.as_str();
    let own = field(subject, name).and_then(Value::as_str);
    if let Some(own) = own.filter(|own| own.len() <= LONGEST_OWN) {
        return (own.to_owned(), true);
    }
    let text = subject.text.as_ref();
    let or_unknown = |found: Option<&str>| match found {
        Some(token) => (token.to_owned(), true),
        None => ("unknown".to_owned(), false),
    };
    if name == "id" || name.ends_with("_id") && !subject.id.is_empty() {
        (subject.id.to_string(), true)
    } else if let Some(label) = index::issue(&subject.bag).filter(|_| is_issue(name)) {
        (label.to_owned(), true)
    } else if is_quote(name) {
        (
            words::sentences(text, 1)
                .first()
                .copied()
                .unwrap_or(text)
                .to_owned(),
            true,
        )
    } else if has_part(name, &["language", "lang", "locale"]) {
        ("en".to_owned(), true)
    } else if has_part(name, &["email", "mail"]) {
        or_unknown(token(text, is_email))
    } else if has_part(name, &["date", "day", "deadline"]) {
        or_unknown(token(text, is_date))
    } else if has_part(name, &["url", "link", "website"]) {
        or_unknown(token(text, |t| t.starts_with("http")))
    } else if has_part(
        name,
        &[
            "order", "invoice", "number", "amount", "price", "phone", "version",
        ],
    ) {
        or_unknown(token(text, |t| t.bytes().any(|b| b.is_ascii_digit())))
    } else if has_part(
        name,
        &[
            "summary",
            "description",
            "explanation",
            "reason",
            "rationale",
            "reasoning",
            "answer",
            "analysis",
            "text",
            "details",
        ],
    ) {
        (words::excerpt(text, 160), true)
    } else {
        (words::excerpt(text, 60), true)
    }
}
