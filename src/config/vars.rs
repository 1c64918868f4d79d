//! Reads one variable or constant at a time, as its declaration says, and collects the faults.

use std::fmt;

use serde_json::{Map, Value};

use super::ConfigFault;
use super::table::{Kind, RENAMED, TUNING_JSON, Variable};
use super::tuning::{self, TUNING, Tuning};
use crate::core::net::url_guard::{Guard, PublicUrl};

/// Where OTLP over HTTP takes spans.
const TRACES: &str = "/v1/traces";
/// Characters of the longest value that a fault repeats. Numbers and switches are shorter; the shortest secret that is taken, a key that signs
/// webhooks, has 16.
const SHOWN: usize = 12;
/// Characters of the longest unknown name that a fault repeats.
const SHOWN_NAME: usize = 40;

/// Variables by name, and the faults and warnings found so far.
pub(super) struct Vars<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    /// What `TUNING_JSON` changes.
    tuned: Map<String, Value>,
    pub(super) faults: Vec<ConfigFault>,
    pub(super) warnings: Vec<ConfigFault>,
}

impl<'a> Vars<'a> {
    pub(super) fn of(get: &'a dyn Fn(&str) -> Option<String>) -> Vars<'a> {
        let mut vars = Vars {
            get,
            tuned: Map::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        };
        vars.read_tuning();
        vars
    }

    /// Reads `TUNING_JSON`, and refuses constants that are set as variables: they would have no effect.
    fn read_tuning(&mut self) {
        for Tuning { name, .. } in TUNING {
            if self.given(name).is_some() {
                let problem = format_args!("is no variable, set it in {}", TUNING_JSON.name);
                self.fault(name, problem);
            }
        }
        let Some(text) = self.optional(&TUNING_JSON) else {
            return;
        };
        let Ok(tuned) = serde_json::from_str::<Map<String, Value>>(&text) else {
            self.fault(TUNING_JSON.name, format_args!("is no JSON object"));
            return;
        };
        let unknown = tuned.keys().filter(|name| tuning::find(name).is_none());
        let unknown: Vec<String> = unknown.map(|name| shown_name(name)).collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = TUNING.iter().map(|one| one.name).collect();
            self.fault(
                TUNING_JSON.name,
                format_args!(
                    "has unknown names: {}; known are {}",
                    unknown.join(", "),
                    known.join(", ")
                ),
            );
        }
        self.tuned = tuned;
    }

    /// An empty variable counts as not set, so that `wrangler.toml` can list every one of them.
    fn given(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.trim().is_empty())
    }

    /// The text of a variable under its own name, or under an old one with a warning.
    pub(super) fn optional(&mut self, variable: &Variable) -> Option<String> {
        let own = self.given(variable.name);
        for (old, renamed) in RENAMED.iter().filter(|(_, renamed)| renamed == variable) {
            let Some(text) = self.given(old) else {
                continue;
            };
            let new = renamed.name;
            let read = own.is_none();
            let problem = match read {
                true => format!("is the old name of {new}: rename it"),
                false => format!(
                    "is the old name of {new} and is not read, because {new} is set: remove it"
                ),
            };
            self.warnings.push(ConfigFault { name: old, problem });
            if read {
                return Some(text);
            }
        }
        own
    }

    pub(super) fn text(&mut self, variable: &Variable) -> String {
        let given = self.optional(variable);
        match variable.kind {
            Kind::Text { default } | Kind::Model { default } => {
                given.unwrap_or_else(|| default.to_owned())
            }
            _ => self.misdeclared(variable),
        }
    }

    pub(super) fn int(&mut self, variable: &Variable) -> u64 {
        match (self.optional(variable), variable.kind) {
            (None, Kind::Int { default, .. }) => default,
            (
                Some(text),
                Kind::Int {
                    default,
                    least,
                    most,
                },
            ) => self
                .whole(variable.name, &text, least, most)
                .unwrap_or(default),
            _ => self.misdeclared(variable),
        }
    }

    /// A constant, as it is or as `TUNING_JSON` changes it.
    pub(super) fn tuned(&mut self, constant: &Tuning) -> u64 {
        let text = match self.tuned.get(constant.name) {
            None => return constant.value,
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        self.whole(constant.name, &text, constant.least, constant.most)
            .unwrap_or(constant.value)
    }

    fn whole(&mut self, name: &'static str, text: &str, least: u64, most: u64) -> Option<u64> {
        match text.trim().parse::<u64>() {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            _ => {
                let held = held(text);
                self.fault(
                    name,
                    format_args!("{held}, wants a whole number from {least} to {most}"),
                );
                None
            }
        }
    }

    pub(super) fn dollars(&mut self, variable: &Variable) -> Option<f64> {
        let text = self.optional(variable)?;
        match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() && (0.0..=1e6).contains(&value) => Some(value),
            _ => {
                let held = held(&text);
                self.fault(
                    variable.name,
                    format_args!("{held}, wants dollars from 0 to 1000000"),
                );
                None
            }
        }
    }

    pub(super) fn guard(&mut self, variable: &Variable) -> Guard {
        let list = self.optional(variable).unwrap_or_default();
        Guard::new(&list).unwrap_or_else(|place| {
            self.fault(
                variable.name,
                format_args!("its entry {place} is not HOST:PORT, several of them by commas"),
            );
            Guard::default()
        })
    }

    /// An OTLP endpoint as OpenTelemetry's own variable has it: `/v1/traces` is added where it is not there.
    pub(super) fn collector(&mut self, variable: &Variable) -> Option<PublicUrl> {
        let text = self.optional(variable)?;
        let url = text.trim().trim_end_matches('/');
        let whole = match url.ends_with(TRACES) {
            true => url.to_owned(),
            false => format!("{url}{TRACES}"),
        };
        let endpoint = PublicUrl::of_operator(&whole);
        if endpoint.is_none() {
            // The value may hold a password: it is not repeated.
            self.fault(
                variable.name,
                format_args!("wants an http(s) URL without user, query and fragment"),
            );
        }
        endpoint
    }

    pub(super) fn switch(&mut self, variable: &Variable) -> bool {
        let given = self.optional(variable);
        let Kind::Switch { default } = variable.kind else {
            return self.misdeclared(variable);
        };
        match given.as_deref().map(str::trim) {
            None => default,
            Some("true" | "1" | "on") => true,
            Some("false" | "0" | "off") => false,
            Some(text) => {
                let held = held(text);
                self.fault(variable.name, format_args!("{held}, wants true or false"));
                default
            }
        }
    }

    /// One of the words that the table declares.
    pub(super) fn one_of(&mut self, variable: &Variable) -> String {
        let given = self.optional(variable);
        let Kind::OneOf { default, of } = variable.kind else {
            return self.misdeclared(variable);
        };
        let Some(text) = given else {
            return default.to_owned();
        };
        let word = text.trim().to_ascii_lowercase();
        if of.contains(&word.as_str()) {
            return word;
        }
        let held = held(&text);
        self.fault(
            variable.name,
            format_args!("{held}, wants one of {}", of.join(", ")),
        );
        default.to_owned()
    }

    /// Web origins as browsers send them, with commas between; or `*`.
    pub(super) fn origins(&mut self, variable: &Variable) -> Vec<String> {
        let text = self.optional(variable).unwrap_or_default();
        let given = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let origins: Vec<String> = given.map(str::to_owned).collect();
        for (place, _) in (1..).zip(&origins).filter(|(_, origin)| !is_origin(origin)) {
            self.fault(
                variable.name,
                format_args!("its entry {place} is neither `*` nor an origin like https://app.example.com, in lower case; several of them by commas"),
            );
        }
        origins
    }

    /// Read as something else than the table declares. The test that reads the defaults finds it.
    fn misdeclared<T: Default>(&mut self, variable: &Variable) -> T {
        self.fault(
            variable.name,
            format_args!("is declared as {:?}", variable.kind),
        );
        T::default()
    }

    pub(super) fn fault(&mut self, name: &'static str, problem: fmt::Arguments<'_>) {
        self.faults.push(ConfigFault {
            name,
            problem: problem.to_string(),
        });
    }
}

/// What a variable holds, as a fault may say it.
fn held(text: &str) -> String {
    match text.chars().count() {
        count if count > SHOWN => format!("holds {count} characters"),
        _ => format!("is {text:?}"),
    }
}

/// An unknown name, unless it may be a secret in the wrong place.
fn shown_name(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_uppercase() || b == b'_';
    match name.len() <= SHOWN_NAME && name.bytes().all(plain) {
        true => name.to_owned(),
        false => format!("one of {} characters", name.chars().count()),
    }
}

/// `*`, or a scheme and a host, perhaps with a port: just what a browser's `Origin` header holds.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b);
    text == "*" || host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain))
}
