//! How a stand-in behaves: latency, limits, faults. Set by flags at the start
//! and by `POST /control/config` at run time, which changes what it names and
//! leaves the rest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    faults::{Fault, Modes, ONLY_MODES, Rule, Shares},
    limits::Limits,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The only key accepted; without it, any that is not empty.
    pub api_key: Option<String>,
    /// Mean time from a request to the end of its answer.
    pub latency_ms: u64,
    /// Latency varies evenly by this share to both sides.
    pub jitter: f64,
    /// The share of the latency after which the answer begins.
    pub first_byte: f64,
    /// Deltas per text in a stream.
    pub chunks: usize,
    /// Seed of faults and jitter.
    pub seed: u64,
    pub limits: Limits,
    pub faults: Shares,
    /// In force for every call.
    pub modes: Modes,
    /// Tried in order before the shares.
    pub rules: Vec<Rule>,
    /// How long a created batch is in progress.
    pub batch_ms: u64,
    /// All requests of a batch begin together: none finds in the prompt cache what another writes.
    pub batch_cold: bool,
    /// How long a batch that was cancelled takes to end.
    pub batch_cancel_ms: u64,
    /// How long after its creation a batch expires.
    pub batch_expires_ms: u64,
    /// The name of the model in answers, where another one answers than was asked for.
    pub served_model: Option<String>,
    /// No model's context is larger than this.
    pub context_tokens: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: None,
            latency_ms: 0,
            jitter: 0.0,
            first_byte: 0.3,
            chunks: 4,
            seed: 1,
            limits: Limits::default(),
            faults: Shares::default(),
            modes: Modes::default(),
            rules: Vec::new(),
            batch_ms: 2_000,
            batch_cold: false,
            batch_cancel_ms: 0,
            batch_expires_ms: 24 * 60 * 60_000,
            served_model: None,
            context_tokens: None,
        }
    }
}

impl Config {
    /// This configuration with the fields of a JSON object laid over it;
    /// `limits` field by field, everything else whole.
    pub fn with(&self, changes: &Value) -> Result<Self, String> {
        let mut own = serde_json::to_value(self).map_err(|e| e.to_string())?;
        let changes = changes.as_object().ok_or("expected a JSON object")?;
        for (key, value) in changes {
            match (own.get_mut(key), value) {
                (Some(Value::Object(old)), Value::Object(new)) if key == "limits" => {
                    old.extend(new.iter().map(|(k, v)| (k.clone(), v.clone())));
                }
                (Some(old), new) => *old = new.clone(),
                (None, _) => return Err(format!("unknown field `{key}`")),
            }
        }
        let changed: Self = serde_json::from_value(own).map_err(|e| e.to_string())?;
        changed.check()
    }

    /// Refuses values that make no sense.
    pub fn check(self) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&self.jitter) || !(0.0..=1.0).contains(&self.first_byte) {
            return Err("`jitter` and `first_byte` lie between 0 and 1".to_owned());
        }
        let burst = self.limits.burst;
        if !(burst > 0.0 && burst <= 1.0) {
            return Err("`limits.burst` lies above 0 and up to 1".to_owned());
        }
        let by_call = self
            .faults
            .0
            .keys()
            .chain(self.rules.iter().map(|r| &r.fault));
        if let Some(fault) = by_call.copied().find(|f: &Fault| ONLY_MODES.contains(f)) {
            return Err(format!(
                "`{fault}` is about the endpoint, not one call: set it in `modes`"
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_leave_the_rest() {
        let base = Config {
            latency_ms: 200,
            ..Config::default()
        };
        let changed = base
            .with(&json!({
                "limits": {"rpm": 600},
                "faults": "429=0.1",
                "rules": [{"match": {"role": "synthesis"}, "fault": "slow", "times": 1, "ms": 900}]
            }))
            .unwrap();
        assert_eq!((changed.latency_ms, changed.limits.rpm), (200, Some(600)));
        assert_eq!(changed.rules.len(), 1);
        let back = changed
            .with(&json!({"limits": {"rpm": null}, "faults": {}, "rules": []}))
            .unwrap();
        assert_eq!(back, base);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let base = Config::default();
        assert!(
            base.with(&json!({"latncy": 1}))
                .unwrap_err()
                .contains("latncy")
        );
        assert!(base.with(&json!({"limits": {"burst": 0.0}})).is_err());
        assert!(
            base.with(&json!({"rules": [{"fault": "no"}]}))
                .unwrap_err()
                .contains("unknown fault")
        );
    }
}
