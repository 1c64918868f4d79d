//! Faults by share of calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::kinds::{Fault, known};
use crate::ids;

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
