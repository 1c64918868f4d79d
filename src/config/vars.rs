//! One variable at a time, by the kind of what it should hold; and what is said where it does not.

use std::fmt;

use super::ConfigFault;
use crate::core::guard::{Guard, PublicUrl};

/// Where OTLP over HTTP takes spans.
const TRACES: &str = "/v1/traces";
/// Characters of the longest value that a fault repeats. Numbers and switches are shorter; the shortest secret that is taken, a key that signs
/// webhooks, has 16.
const SHOWN: usize = 12;

/// Variables by name, and the faults found so far.
pub(super) struct Vars<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    pub(super) faults: Vec<ConfigFault>,
}

impl<'a> Vars<'a> {
    pub(super) fn of(get: &'a dyn Fn(&str) -> Option<String>) -> Vars<'a> {
        Vars {
            get,
            faults: Vec::new(),
        }
    }

    /// An empty variable counts as not set, so that `wrangler.toml` can list every one of them.
    pub(super) fn optional(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn text(&self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn int(&mut self, name: &'static str, default: u64, least: u64, most: u64) -> u64 {
        let Some(text) = self.optional(name) else {
            return default;
        };
        match text.trim().parse::<u64>() {
            Ok(value) if (least..=most).contains(&value) => value,
            _ => {
                self.fault(
                    name,
                    format_args!(
                        "{}, wants a whole number from {least} to {most}",
                        held(&text)
                    ),
                );
                default
            }
        }
    }

    pub(super) fn dollars(&mut self, name: &'static str) -> Option<f64> {
        let text = self.optional(name)?;
        match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() && (0.0..=1e6).contains(&value) => Some(value),
            _ => {
                self.fault(
                    name,
                    format_args!("{}, wants dollars from 0 to 1000000", held(&text)),
                );
                None
            }
        }
    }

    pub(super) fn guard(&mut self, name: &'static str) -> Guard {
        let list = self.optional(name).unwrap_or_default();
        Guard::new(&list).unwrap_or_else(|place| {
            self.fault(
                name,
                format_args!("its entry {place} is not HOST:PORT, several of them by commas"),
            );
            Guard::default()
        })
    }

    /// An OTLP endpoint as OpenTelemetry's own variable has it: `/v1/traces` is added where it is not there.
    pub(super) fn collector(&mut self, name: &'static str) -> Option<PublicUrl> {
        let text = self.optional(name)?;
        let url = text.trim().trim_end_matches('/');
        let whole = match url.ends_with(TRACES) {
            true => url.to_owned(),
            false => format!("{url}{TRACES}"),
        };
        let endpoint = PublicUrl::of_operator(&whole);
        if endpoint.is_none() {
            // The value may hold a password: it is not repeated.
            self.fault(
                name,
                format_args!("wants an http(s) URL without user, query and fragment"),
            );
        }
        endpoint
    }

    pub(super) fn switch(&mut self, name: &'static str, default: bool) -> bool {
        match self.optional(name).as_deref().map(str::trim) {
            None => default,
            Some("true" | "1" | "on") => true,
            Some("false" | "0" | "off") => false,
            Some(text) => {
                let held = held(text);
                self.fault(name, format_args!("{held}, wants true or false"));
                default
            }
        }
    }

    /// Web origins as browsers send them, with commas between; or `*`.
    pub(super) fn origins(&mut self, name: &'static str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        let given = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let origins: Vec<String> = given.map(str::to_owned).collect();
        for (place, _) in (1..).zip(&origins).filter(|(_, origin)| !is_origin(origin)) {
            self.fault(
                name,
                format_args!("its entry {place} is neither `*` nor an origin like https://app.example.com, in lower case; several of them by commas"),
            );
        }
        origins
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

/// `*`, or a scheme and a host, perhaps with a port: just what a browser's `Origin` header holds.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b);
    text == "*" || host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain))
}
