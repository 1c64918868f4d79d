//! What reaches a stage: how many items, how many bytes, and of what form; some of it, groups of it.

use serde_json::Value;

use super::learned::Earlier;
use crate::core::estimate::profile::Profile;
use crate::core::estimate::{bytes_read, prompt_tokens_at_most};
use crate::core::plan::spec::ResolvedStage;

/// What reaches a stage: items and their bytes, at least and at most.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) items: (u64, u64),
    pub(super) bytes: (u64, u64),
    /// As usual: items, and bytes of all.
    pub(super) usual: (u64, u64),
    /// Tokens that it has at most where it was written by workers: an answer has no more when it is read than it may have had.
    pub(super) written: Option<u64>,
    /// The schema of what are results.
    pub(super) schema: Option<Value>,
}

impl Flow {
    /// Bytes at most of what is read, as dense as text can be.
    pub(super) fn dense(&self) -> u64 {
        self.bytes.1.min(self.written.map_or(u64::MAX, bytes_read))
    }
}

/// What a stage reads of what the stages before bring: some of it, or beside it what it was made of.
pub(super) fn reads(
    stage: &ResolvedStage,
    flow: &Flow,
    input: &Flow,
    counted: Option<u64>,
    earlier: Option<&Earlier>,
    items: u64,
) -> Flow {
    let mut read = flow.clone();
    if let Some(choice) = stage.choice() {
        // How many are chosen nobody knows before they are there.
        read.items = counted.map_or((0, flow.items.1), |items| (items, items));
        let share = |bytes: u64, of: u64| part(bytes, read.items.1, of);
        read.bytes = match counted {
            Some(_) => (
                share(flow.bytes.0, flow.items.1),
                share(flow.bytes.1, flow.items.0).min(flow.bytes.1),
            ),
            None => (0, flow.bytes.1),
        };
        let likely = || match earlier.and_then(Earlier::items_of_each) {
            Some(share) => (items as f64 * share).round() as u64,
            None => {
                let listed = |field: &str| property(flow, field).and_then(values);
                let share = choice.share(&listed);
                (flow.usual.0 as f64 * share).ceil() as u64
            }
        };
        let usual = counted.unwrap_or_else(likely).min(flow.items.1);
        read.usual = (usual, part(flow.usual.1, usual, flow.usual.0));
    }
    if stage.with_input {
        read.usual.1 += part(input.usual.1, read.usual.0, input.usual.0).min(input.usual.1);
        read.bytes.1 = read.bytes.1.saturating_add(input.bytes.1);
        let shown = prompt_tokens_at_most(input.bytes.1);
        read.written = read.written.map(|tokens| tokens.saturating_add(shown));
    }
    read
}

/// So much of it as `of` is of `whole`.
fn part(of_all: u64, of: u64, whole: u64) -> u64 {
    let part = u128::from(of_all) * u128::from(of) / u128::from(whole.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// How many groups there are: at least, at most, and as usual, as far as the schema of what is grouped, or the profile of the input,
/// tells.
pub(super) fn groups(field: &str, input: &Flow, profile: Option<&Profile>) -> ((u64, u64), u64) {
    let least = input.items.0.min(1);
    let within = |groups: u64| groups.min(input.items.1).max(least);
    if let Some(known) = profile.and_then(|profile| profile.different(field)) {
        return ((within(known), within(known)), within(known));
    }
    match property(input, field).and_then(values) {
        // A value, or none.
        Some(values) => ((least, within(values + 1)), within(values)),
        // Between one group and one for each item: by the size of the number, in the middle.
        None => (
            (least, within(input.items.1)),
            within((input.usual.0 as f64).sqrt().ceil() as u64),
        ),
    }
}

fn property<'a>(flow: &'a Flow, field: &str) -> Option<&'a Value> {
    flow.schema.as_ref()?.pointer("/properties")?.get(field)
}

/// How many values a property can have, where they are listed or counted.
fn values(property: &Value) -> Option<u64> {
    let listed = |property: &Value| {
        let bound = |name: &str| property.get(name)?.as_i64();
        if property.get("type").is_some_and(|kind| kind == "boolean") {
            return Some(2);
        }
        if let (Some(least), Some(most)) = (bound("minimum"), bound("maximum"))
            && property.get("type").is_some_and(|kind| kind == "integer")
        {
            return u64::try_from(most.checked_sub(least)?.checked_add(1)?).ok();
        }
        let values = property.get("enum")?.as_array()?;
        u64::try_from(values.len()).ok()
    };
    listed(property).or_else(|| {
        let forms = property.get("anyOf")?.as_array()?;
        forms.iter().find_map(listed)
    })
}
