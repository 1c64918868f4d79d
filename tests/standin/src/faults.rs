//! Faults: which there are, when one strikes, and what it does to an answer.
//!
//! A fault strikes by share (`429=0.05`), decided by the seed and the request
//! itself, so that a run repeats; or by a rule that names calls. What the wire
//! does (status, cut, reset) is played by `engine`; what the answer says is
//! spoiled here.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use crate::{
    answer::{Content, plan},
    ids,
};

macro_rules! faults {
    ($($name:ident $text:literal $about:literal),* $(,)?) => {
        /// Every kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault { $(#[doc = $about] $name),* }

        impl Fault {
            /// All kinds, in the order in which shares are laid out.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Fault::$name => $text),* }
            }

            pub fn about(self) -> &'static str {
                match self { $(Fault::$name => $about),* }
            }
        }
    };
}

faults! {
    RateLimit "429" "429 with retry-after, as if a limit were passed",
    Internal "500" "500 api_error",
    Unavailable "503" "503 api_error",
    Timeout "504" "504 timeout_error",
    Overloaded "529" "529 overloaded_error",
    Ramp "ramp" "429 ramp_limit_exceeded with retry-after",
    SpendLimit "spend_limit" "429 enforced_spend_limit_reached without retry-after",
    ContractSpendLimit "contract_spend_limit" "429 contract_spend_limit_reached without retry-after",
    UsageLimit "usage_limit_400" "400: the limit the organisation set itself",
    Credit "credit_400" "400: credit balance too low",
    Billing "billing" "402 billing_error",
    BadKey "bad_key" "401 authentication_error",
    Permission "permission" "403 permission_error",
    OnHold "on_hold" "400 organization_on_hold",
    SchemaRefused "schema_refused" "400: schema too complex",
    TooLong "too_long" "400: prompt is too long",
    TooLarge "413" "413 with a body that is not JSON",
    NonJson "non_json" "502 with an HTML body",
    Reset "reset" "connection closed before any answer",
    ResetMid "reset_mid" "connection broken in the middle of the answer",
    Cut "cut" "stream ends cleanly without message_stop",
    ErrorEvent "error_event" "an error event in the middle of the stream",
    Garbage "garbage" "lines that are no events in the middle of the stream",
    Hang "hang" "no answer for `ms` (default ten minutes)",
    Slow "slow" "ten times the latency, or `ms`",
    SlowFirstByte "slow_first_byte" "nothing until nine tenths of the time",
    Malformed "malformed" "prose and broken JSON instead of JSON",
    SchemaMiss "schema_miss" "JSON that misses the schema",
    Truncate "truncate" "cut at half with stop_reason max_tokens",
    Refusal "refusal" "stop_reason refusal",
    Empty "empty" "no content",
    EnumCase "enum_case" "enum values in other letter case",
    DuplicateId "duplicate_id" "one result twice",
    MissingId "missing_id" "one result left out",
    InventedId "invented_id" "one result, or one citation, under an id that does not exist",
    Shuffled "shuffled" "results in another order",
    Pause "pause" "a turn with a server tool stops with pause_turn, to be gone on with",
    Expired "expired" "a batch's request expires unanswered",
    BadPlan "bad_plan" "a plan that cannot be carried out",
    DearPlan "dear_plan" "a plan with one strong call for each item",
    MoreStages "more_stages" "one more map stage in a plan, also where none was needed",
    FollowUp "follow_up" "one more map stage in a plan, over some of the results before it",
    MarkRefused "mark_refused" "400: a request with cache_control, as some gateways refuse it",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fault {
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text {
            "rate_limit" => "429",
            "overloaded" => "529",
            "invalid_json" => "malformed",
            "case_drift" => "enum_case",
            other => other,
        };
        Self::ALL.iter().copied().find(|f| f.as_str() == text)
    }

    /// Whether the answer, though it came whole, is not one to keep.
    pub fn spoils(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::SchemaMiss
                | Self::Truncate
                | Self::Refusal
                | Self::Empty
                | Self::DuplicateId
                | Self::MissingId
                | Self::InventedId
        )
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("unknown fault '{text}'; known: {}", known())))
    }
}

fn known() -> String {
    let names: Vec<&str> = Fault::ALL.iter().map(|f| f.as_str()).collect();
    names.join(", ")
}

/// Shares of calls that each fault strikes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shares(pub BTreeMap<Fault, f64>);

impl Shares {
    /// Reads `429=0.05,cut=0.01`.
    pub fn parse(spec: &str) -> Result<Self, String> {
        let mut out = BTreeMap::new();
        for part in spec.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, share) = part
                .split_once('=')
                .ok_or_else(|| format!("'{part}': expected FAULT=SHARE"))?;
            let fault = Fault::parse(name.trim())
                .ok_or_else(|| format!("unknown fault '{name}'; known: {}", known()))?;
            let share: f64 = share
                .trim()
                .parse()
                .map_err(|_| format!("'{part}': the share is not a number"))?;
            out.insert(fault, share);
        }
        Self::checked(out)
    }

    fn checked(shares: BTreeMap<Fault, f64>) -> Result<Self, String> {
        if shares.values().any(|s| !(0.0..=1.0).contains(s)) {
            return Err("a share lies between 0 and 1".to_owned());
        }
        if shares.values().sum::<f64>() > 1.000_001 {
            return Err("the shares add up to more than 1".to_owned());
        }
        Ok(Self(shares))
    }

    /// The fault that strikes a call with this hash, if any.
    pub fn draw(&self, hash: u64) -> Option<Fault> {
        let at = ids::unit(hash);
        let mut upto = 0.0;
        for (fault, share) in &self.0 {
            upto += share;
            if at < upto {
                return Some(*fault);
            }
        }
        None
    }
}

impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Spec(String),
            Map(BTreeMap<Fault, f64>),
        }
        match Form::deserialize(deserializer)? {
            Form::Spec(spec) => Self::parse(&spec),
            Form::Map(map) => Self::checked(map),
        }
        .map_err(de::Error::custom)
    }
}

/// Calls that a rule is about; what is not given matches all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    pub job: Option<String>,
    pub task: Option<String>,
    pub role: Option<String>,
    pub attempt: Option<String>,
    pub model: Option<String>,
    /// The path called, such as `/v1/messages/batches`; with a `*` at its end, all that begin so.
    pub path: Option<String>,
    /// An item of this id is in the input.
    pub item_id: Option<String>,
    /// The body contains this text, as written in its JSON.
    pub text: Option<String>,
}

/// "These calls get this fault, so many times."
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default, rename = "match")]
    pub matches: Match,
    pub fault: Fault,
    /// Left to strike; without it, for ever.
    #[serde(default)]
    pub times: Option<u64>,
    /// For `hang` and `slow`.
    #[serde(default)]
    pub ms: Option<u64>,
    #[serde(default)]
    pub retry_after_s: Option<u64>,
}

/// Who is calling, by the `x-fanwise-*` headers; empty where not sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    pub role: &'a str,
    pub job: &'a str,
    pub task: &'a str,
    pub attempt: &'a str,
    pub model: &'a str,
    pub path: &'a str,
}

/// A fault that strikes, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    pub fault: Fault,
    pub ms: Option<u64>,
    pub retry_after_s: Option<u64>,
}

impl Rule {
    fn covers(&self, caller: &Caller<'_>, body: &str) -> bool {
        let m = &self.matches;
        let same =
            |wanted: &Option<String>, given: &str| wanted.as_ref().is_none_or(|w| w == given);
        let holds = |text: &str| body.contains(text);
        same(&m.job, caller.job)
            && same(&m.task, caller.task)
            && same(&m.role, caller.role)
            && same(&m.attempt, caller.attempt)
            && same(&m.model, caller.model)
            && m.path.as_ref().is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(start) => caller.path.starts_with(start),
                None => wanted == caller.path,
            })
            && m.text.as_ref().is_none_or(|t| holds(t))
            // Items stand as JSON inside a JSON string, compact or spaced.
            && m.item_id.as_ref().is_none_or(|id| {
                holds(&format!("\\\"id\\\":\\\"{id}\\\"")) || holds(&format!("\\\"id\\\": \\\"{id}\\\""))
            })
    }
}

/// The first rule that covers the call; one that is used up is removed.
pub fn by_rule(rules: &mut Vec<Rule>, caller: &Caller<'_>, body: &str) -> Option<Strike> {
    let at = rules
        .iter()
        .position(|r| r.times != Some(0) && r.covers(caller, body))?;
    let rule = rules.get_mut(at)?;
    let strike = Strike {
        fault: rule.fault,
        ms: rule.ms,
        retry_after_s: rule.retry_after_s,
    };
    if let Some(times) = rule.times.as_mut() {
        *times -= 1;
        if *times == 0 {
            rules.remove(at);
        }
    }
    Some(strike)
}

/// Puts an id that does not exist in the place of the first one that a report names.
fn cite_nothing(text: &mut String, hash: u64) -> bool {
    let Some((begin, rest)) = text.split_once("[[") else {
        return false;
    };
    let Some((_, end)) = rest.split_once("]]") else {
        return false;
    };
    *text = format!("{begin}[[invented-{}]]{end}", hash % 1_000);
    true
}

/// Spoils an answer's content. Answers whether the fault found something to
/// spoil.
pub fn spoil(fault: Fault, content: &mut Content, hash: u64) -> bool {
    let value = match content {
        Content::Json(value) => value,
        Content::Text(text) if fault == Fault::InventedId => return cite_nothing(text, hash),
        _ => return matches!(fault, Fault::Truncate | Fault::Refusal | Fault::Empty),
    };
    match fault {
        Fault::Malformed => {
            let whole = value.to_string();
            let half: String = whole.chars().take(whole.chars().count() * 2 / 3).collect();
            *content = Content::Text(format!("Sure, here is the result:\n```json\n{half}"));
            true
        }
        Fault::SchemaMiss => match results(value).and_then(|list| chosen(list, hash)) {
            Some(entry) => entry.get_mut("output").is_some_and(miss),
            None => miss(value),
        },
        Fault::DuplicateId => results(value).is_some_and(|list| {
            let copy = chosen(list, hash).cloned();
            list.extend(copy);
            !list.is_empty()
        }),
        Fault::MissingId => results(value).is_some_and(|list| {
            let at = place(list.len(), hash);
            at.map(|at| list.remove(at)).is_some()
        }),
        Fault::InventedId => results(value)
            .and_then(|list| chosen(list, hash))
            .is_some_and(|entry| {
                entry.get_mut("id").is_some_and(|id| {
                    *id = json!(format!("invented-{}", hash % 1_000));
                    true
                })
            }),
        Fault::Shuffled => results(value).is_some_and(|list| {
            list.reverse();
            list.len() > 1
        }),
        Fault::BadPlan => plan::unsound(value),
        Fault::DearPlan => plan::dear(value),
        Fault::MoreStages => plan::longer(value, hash),
        Fault::FollowUp => plan::follow_up(value, hash),
        // Case drift happens where the answer is made.
        Fault::EnumCase | Fault::Truncate | Fault::Refusal | Fault::Empty => true,
        _ => false,
    }
}

fn results(value: &mut Value) -> Option<&mut Vec<Value>> {
    value.get_mut("results")?.as_array_mut()
}

fn place(length: usize, hash: u64) -> Option<usize> {
    let length = u64::try_from(length).ok().filter(|l| *l > 0)?;
    usize::try_from(ids::mix(hash) % length).ok()
}

fn chosen(list: &mut [Value], hash: u64) -> Option<&mut Value> {
    let at = place(list.len(), hash)?;
    list.get_mut(at)
}

/// Takes the first property away and gives an unknown one.
fn miss(value: &mut Value) -> bool {
    let Some(map) = value.as_object_mut() else {
        *value = Value::Object(Map::new());
        return true;
    };
    let first = map.keys().next().cloned();
    first.is_some_and(|key| {
        map.shift_remove(&key);
        map.insert("unasked".to_owned(), json!(42));
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_that_reads_back() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.as_str()), Some(*fault));
            assert!(!fault.about().is_empty());
        }
        assert_eq!(Fault::parse("invalid_json"), Some(Fault::Malformed));
    }

    #[test]
    fn shares_are_kept_over_many_calls() {
        let shares = Shares::parse("429=0.05, 500=0.03, cut=0.02").unwrap();
        let struck = |fault| {
            (0..100_000u64)
                .filter(|h| shares.draw(*h) == Some(fault))
                .count()
        };
        assert!((4_700..5_300).contains(&struck(Fault::RateLimit)));
        assert!((1_800..2_200).contains(&struck(Fault::Cut)));
        assert_eq!(struck(Fault::Hang), 0);
    }

    #[test]
    fn a_bad_spec_says_what_is_wrong() {
        assert!(Shares::parse("429").unwrap_err().contains("FAULT=SHARE"));
        assert!(
            Shares::parse("nonsense=0.1")
                .unwrap_err()
                .contains("unknown fault")
        );
        assert!(
            Shares::parse("429=0.6,500=0.6")
                .unwrap_err()
                .contains("more than 1")
        );
    }

    #[test]
    fn rules_strike_as_often_as_told() {
        let mut rules = vec![Rule {
            matches: Match {
                task: Some("7".into()),
                item_id: Some("T-1".into()),
                ..Match::default()
            },
            fault: Fault::Internal,
            times: Some(2),
            ms: None,
            retry_after_s: None,
        }];
        let caller = Caller {
            task: "7",
            ..Caller::default()
        };
        let body = r#"{"content":"<items>\n[{\"id\":\"T-1\"}]"}"#;
        assert!(by_rule(&mut rules, &caller, "{}").is_none());
        assert!(by_rule(&mut rules, &caller, body).is_some());
        assert!(by_rule(&mut rules, &caller, body).is_some());
        assert!(by_rule(&mut rules, &caller, body).is_none());
        assert!(rules.is_empty());
    }

    #[test]
    fn spoiled_results_are_spoiled_in_one_place() {
        let clean = json!({"results": [
            {"id": "a", "output": {"x": 1}}, {"id": "b", "output": {"x": 2}}, {"id": "c", "output": {"x": 3}}
        ]});
        let spoiled = |fault| {
            let mut content = Content::Json(clean.clone());
            assert!(spoil(fault, &mut content, 5), "{fault}");
            content
        };
        let list = |content| match content {
            Content::Json(value) => value["results"].as_array().unwrap().clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(list(spoiled(Fault::DuplicateId)).len(), 4);
        assert_eq!(list(spoiled(Fault::MissingId)).len(), 2);
        let invented = list(spoiled(Fault::InventedId));
        assert_eq!(
            invented
                .iter()
                .filter(|e| e["id"].as_str().unwrap().starts_with("invented"))
                .count(),
            1
        );
        let missed = list(spoiled(Fault::SchemaMiss));
        assert_eq!(
            missed
                .iter()
                .filter(|e| e["output"].get("unasked").is_some())
                .count(),
            1
        );
        assert!(matches!(spoiled(Fault::Malformed), Content::Text(t) if t.starts_with("Sure")));
    }
}
