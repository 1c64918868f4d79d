//! What is known of an input without reading it again: how much there is, what its fields hold, and a sample.
//!
//! Items are added one at a time, so that an input of any size is profiled in bounded memory while it comes in. The
//! profile is what a plan's cost is worked out from, and what the orchestrator is shown; it decides nothing and knows
//! neither models nor prices.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Fields that are described; an input whose every object has other names would fill the profile otherwise.
const MOST_FIELDS: usize = 40;
/// Different values of a field that are listed before it counts as free text.
const MOST_VALUES: usize = 12;
/// A longer value is free text.
const VALUE_CHARS: usize = 40;
/// Items of the sample, and characters that each shows at most.
const SAMPLE: usize = 16;
const SAMPLE_CHARS: usize = 1_500;

/// An input, in figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    pub items: u32,
    /// Of all items as they stand in a prompt.
    pub bytes: u64,
    pub largest: u64,
    /// Items with nothing but an id and a `text`.
    pub texts: u32,
    /// Items by the power of two that their bytes do not exceed: `sizes[10]` have 513 to 1,024.
    pub sizes: Vec<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Field>,
    /// Whether there are fields beyond those described.
    pub more_fields: bool,
    /// Items spread evenly over the input, cut where they are long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Value>,
}

/// One field over all items.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Field {
    /// Items that have it.
    pub present: u32,
    /// `string`, `number`, `boolean`, `array`, `object`, `null`.
    pub types: BTreeSet<String>,
    /// Of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// Characters of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<u64>,
    /// All values, where they are few and short; empty otherwise.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<String>,
    /// There are more or longer values than are listed.
    pub free: bool,
}

impl Profile {
    /// Bytes of the item in the middle, from above: half of the items have at most so many.
    pub fn median(&self) -> u64 {
        self.share(0.5)
    }

    /// At least this share of the items has at most so many bytes.
    pub fn share(&self, share: f64) -> u64 {
        let wanted = (f64::from(self.items) * share).ceil() as u64;
        let mut seen = 0;
        for (power, count) in self.sizes.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return (1_u64 << power.min(63)).min(self.largest);
            }
        }
        self.largest
    }

    /// How many different values a field has over all items, where that is known; that it is missing, or null, is a value too.
    pub fn different(&self, field: &str) -> Option<u64> {
        let known = self.fields.get(field)?;
        let plain = known
            .types
            .iter()
            .all(|kind| kind == "string" || kind == "null");
        if known.free || !plain {
            return None;
        }
        let none = known.present < self.items || known.types.contains("null");
        Some(known.values.len() as u64 + u64::from(none))
    }

    /// As the orchestrator is shown it; `tokens_per_byte` turns sizes into what it thinks in.
    pub fn told(&self, tokens_per_byte: f64) -> Value {
        let tokens = |bytes: u64| (bytes as f64 * tokens_per_byte).ceil() as u64;
        let average = self.bytes / u64::from(self.items.max(1));
        let mut told = json!({
            "items": self.items,
            "plain_texts": self.texts,
            "tokens": {
                "total": tokens(self.bytes), "average_item": tokens(average), "median_item": tokens(self.median()),
                "nine_of_ten_items_at_most": tokens(self.share(0.9)), "largest_item": tokens(self.largest),
            },
            "fields": self.fields.iter().map(|(name, field)| (name.clone(), field.told(self.items))).collect::<Map<_, _>>(),
            "sample": self.sample,
        });
        if self.more_fields
            && let Value::Object(map) = &mut told
        {
            map.insert("more_fields".into(), true.into());
        }
        told
    }
}

impl Field {
    fn told(&self, items: u32) -> Value {
        let mut told = Map::new();
        told.insert("types".into(), json!(self.types));
        if self.present < items {
            told.insert("present_in".into(), self.present.into());
        }
        if let (Some(least), Some(most)) = (self.least, self.most) {
            told.insert("range".into(), json!([least, most]));
        }
        if !self.free && !self.values.is_empty() {
            told.insert("values".into(), json!(self.values));
        } else if let (Some(shortest), Some(longest)) = (self.shortest, self.longest) {
            told.insert("characters".into(), json!([shortest, longest]));
        }
        Value::Object(told)
    }

    fn add(&mut self, value: &Value) {
        self.present = self.present.saturating_add(1);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !self.types.contains(kind) {
            self.types.insert(kind.to_owned());
        }
        match value {
            Value::Number(number) => {
                let Some(number) = number.as_f64() else {
                    return;
                };
                self.least = Some(self.least.map_or(number, |least| least.min(number)));
                self.most = Some(self.most.map_or(number, |most| most.max(number)));
            }
            Value::String(text) => {
                let chars = text.chars().count() as u64;
                self.shortest = Some(self.shortest.map_or(chars, |least| least.min(chars)));
                self.longest = Some(self.longest.map_or(chars, |most| most.max(chars)));
                if self.free || self.values.contains(text) {
                    return;
                }
                if chars > VALUE_CHARS as u64 || self.values.len() >= MOST_VALUES {
                    self.free = true;
                    self.values.clear();
                } else {
                    self.values.insert(text.clone());
                }
            }
            _ => {}
        }
    }
}

/// Takes items in their order.
#[derive(Debug, Clone)]
pub struct Profiler {
    profile: Profile,
    /// Fields and a sample are wanted too.
    whole: bool,
    /// Of one field its values are wanted.
    only: Option<String>,
    every: u32,
}

impl Profiler {
    /// Sizes only: enough to know what a given plan costs.
    pub fn of_sizes() -> Profiler {
        Profiler {
            profile: Profile::default(),
            whole: false,
            only: None,
            every: 1,
        }
    }

    /// Sizes, and the values of the field that the items are grouped by.
    #[must_use]
    pub fn grouped_by(field: Option<&str>) -> Profiler {
        Profiler {
            only: field.map(str::to_owned),
            ..Profiler::of_sizes()
        }
    }

    /// Sizes, fields and a sample: what a plan is made from.
    pub fn whole() -> Profiler {
        Profiler {
            whole: true,
            ..Profiler::of_sizes()
        }
    }

    /// An item as it stands in a prompt (`id` and its fields), and its bytes there.
    pub fn add(&mut self, item: &Value, bytes: u64) {
        let none = Map::new();
        let fields = item.as_object().unwrap_or(&none);
        let profile = &mut self.profile;
        let position = profile.items;
        profile.items = profile.items.saturating_add(1);
        profile.bytes = profile.bytes.saturating_add(bytes);
        profile.largest = profile.largest.max(bytes);
        let power = bytes.max(1).next_power_of_two().trailing_zeros() as usize;
        if profile.sizes.len() <= power {
            profile.sizes.resize(power + 1, 0);
        }
        if let Some(count) = profile.sizes.get_mut(power) {
            *count = count.saturating_add(1);
        }
        let text = fields.len() == 2 && fields.get("text").is_some_and(Value::is_string);
        profile.texts = profile.texts.saturating_add(u32::from(text));
        if !self.whole {
            let wanted = self
                .only
                .as_ref()
                .and_then(|name| fields.get_key_value(name));
            if let Some((name, value)) = wanted {
                profile.fields.entry(name.clone()).or_default().add(value);
            }
            return;
        }
        for (name, value) in fields.iter().filter(|(name, _)| *name != "id") {
            if let Some(field) = profile.fields.get_mut(name) {
                field.add(value);
            } else if profile.fields.len() < MOST_FIELDS {
                let mut field = Field::default();
                field.add(value);
                profile.fields.insert(name.clone(), field);
            } else {
                profile.more_fields = true;
            }
        }
        if position.is_multiple_of(self.every) {
            profile.sample.push(shown(fields));
            if profile.sample.len() > SAMPLE {
                // Every second goes, and from now on only every second is looked at: it stays spread evenly.
                self.every = self.every.saturating_mul(2);
                let mut keep = false;
                profile.sample.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
        }
    }

    pub fn finish(self) -> Profile {
        self.profile
    }
}

/// An item of the sample: each text cut so that the whole stays readable.
fn shown(fields: &Map<String, Value>) -> Value {
    let each = SAMPLE_CHARS / fields.len().max(1);
    let mut item = Map::with_capacity(fields.len());
    for (name, value) in fields.iter().take(MOST_FIELDS) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(_) | Value::Object(_) => value.to_string(),
            plain => {
                item.insert(name.clone(), plain.clone());
                continue;
            }
        };
        let whole = text.chars().count() <= each.max(40);
        let mut cut: String = text.chars().take(each.max(40)).collect();
        if !whole {
            cut.push('…');
        }
        let value = if whole { value.clone() } else { cut.into() };
        item.insert(name.clone(), value);
    }
    Value::Object(item)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn profile(items: impl Iterator<Item = Value>) -> Profile {
        let mut profiler = Profiler::whole();
        for (n, mut item) in items.enumerate() {
            item["id"] = json!(format!("item-{}", n + 1));
            profiler.add(&item, item.to_string().len() as u64);
        }
        profiler.finish()
    }

    #[test]
    fn fields_show_their_types_ranges_and_values() {
        let plans = ["free", "pro"];
        let profile = profile((0..100).map(|n| {
            let mut item = json!({"text": format!("Case {n}"), "plan": plans[n % 2], "seats": n});
            if n % 4 == 0 {
                item["seats"] = Value::Null;
            }
            item
        }));
        assert_eq!((profile.items, profile.texts), (100, 0));
        let seats = &profile.fields["seats"];
        assert_eq!((seats.least, seats.most), (Some(1.0), Some(99.0)));
        assert!(seats.types.contains("null") && seats.types.contains("number"));
        let plan = &profile.fields["plan"];
        assert_eq!(plan.values.iter().collect::<Vec<_>>(), ["free", "pro"]);
        assert!(profile.fields["text"].free && profile.fields["text"].values.is_empty());
        let told = profile.told(0.5);
        assert_eq!(told["fields"]["plan"]["values"], json!(["free", "pro"]));
        assert_eq!(told["fields"]["text"]["characters"], json!([6, 7]));
    }

    #[test]
    fn a_sample_is_small_and_spread_over_all_of_it() {
        let profile = profile((0..10_000).map(|n| json!({"n": n, "text": "x".repeat(5_000)})));
        let numbers: Vec<u64> = profile
            .sample
            .iter()
            .map(|item| item["n"].as_u64().unwrap())
            .collect();
        assert!(numbers.len() >= SAMPLE / 2 && numbers.len() <= SAMPLE);
        let step = numbers[1] - numbers[0];
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == step));
        assert!(*numbers.last().unwrap() > 7_000, "{numbers:?}");
        assert!(json!(profile.sample).to_string().len() < 32_000);
    }

    #[test]
    fn sizes_are_known_to_a_power_of_two() {
        let profile =
            profile((0..100).map(|n| json!({"text": "x".repeat(if n < 90 { 80 } else { 4_000 })})));
        assert_eq!(profile.median(), 128);
        assert_eq!(profile.share(0.9), 128);
        assert_eq!(profile.share(0.95), profile.largest);
        assert_eq!(profile.sizes.iter().sum::<u32>(), 100);
    }

    #[test]
    fn names_without_end_do_not_fill_it() {
        let profile = profile((0..1_000).map(|n| json!({format!("field {n}"): n})));
        assert_eq!(profile.fields.len(), MOST_FIELDS);
        assert!(profile.more_fields);
    }

    #[test]
    fn groups_are_counted_where_their_field_has_few_values() {
        let of = |items: &[Value]| {
            let mut profiler = Profiler::grouped_by(Some("plan"));
            for item in items {
                profiler.add(item, 10);
            }
            profiler.finish()
        };
        let named = |n: usize| json!({"id": "x", "plan": format!("plan {n}"), "other": n});
        let few: Vec<Value> = (0..30).map(|n| named(n % 3)).collect();
        assert_eq!(of(&few).different("plan"), Some(3));
        assert_eq!(
            (of(&few).different("other"), of(&few).sample.len()),
            (None, 0)
        );
        let with_none = [&few[..], &[json!({"id": "y"})]].concat();
        assert_eq!(of(&with_none).different("plan"), Some(4));
        let many: Vec<Value> = (0..30).map(named).collect();
        assert_eq!(of(&many).different("plan"), None);
        assert_eq!(of(&[json!({"id": "x", "plan": 7})]).different("plan"), None);
    }
}
