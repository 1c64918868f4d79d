//! Webhooks: who is told what about a job, in which form, and how a message is signed.
//!
//! The signature is that of the Standard Webhooks specification: `v1,` and the base64 of an HMAC-SHA256 over
//! `ID.TIMESTAMP.BODY`. Knows nothing of how a message gets to its receiver.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

/// An event that a webhook can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum WebhookEvent {
    /// A run is over: `succeeded`, `partial`, `failed` or `cancelled`. Once for each run.
    #[serde(rename = "job.finished")]
    Finished,
    /// The job stands still until somebody or time lets it go on.
    #[serde(rename = "job.paused")]
    Paused,
    /// The job has a plan and waits for it to be approved.
    #[serde(rename = "job.awaiting_approval")]
    AwaitingApproval,
}

/// The form of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// Standard Webhooks: `{"type","timestamp","data"}`, signed.
    #[default]
    Standard,
    /// `{"text"}` as Slack's incoming webhooks take it; not signed, as nobody there would look.
    Slack,
}

impl WebhookFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            WebhookFormat::Standard => "standard",
            WebhookFormat::Slack => "slack",
        }
    }

    pub fn parse(text: &str) -> Option<WebhookFormat> {
        match text {
            "standard" => Some(WebhookFormat::Standard),
            "slack" => Some(WebhookFormat::Slack),
            _ => None,
        }
    }
}

/// The address that is notified about a job, and the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// A public address. Redirects are not followed.
    #[schema(min_length = 1, max_length = 2048)]
    pub url: String,
    #[serde(default = "finished")]
    #[schema(min_items = 1, max_items = 3)]
    pub events: Vec<WebhookEvent>,
    #[serde(default)]
    pub format: WebhookFormat,
}

fn finished() -> Vec<WebhookEvent> {
    vec![WebhookEvent::Finished]
}

/// The deployment's secret, from which each tenant's key follows. Has no `Debug` that shows it.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

/// A tenant's own key.
pub struct TenantKey([u8; 32]);

impl SigningKey {
    /// Too short a secret could be guessed from one signature.
    pub const MIN_BYTES: usize = 16;

    /// `None` where the secret is too short. White space around it is no part of it.
    pub fn new(secret: &str) -> Option<SigningKey> {
        let secret = secret.trim();
        (secret.len() >= SigningKey::MIN_BYTES).then(|| SigningKey(secret.as_bytes().to_vec()))
    }

    /// Nothing is stored: the same secret and tenant give the same key.
    pub fn of_tenant(&self, tenant: &str) -> TenantKey {
        TenantKey(hmac(&self.0, &[b"fanwise webhooks of ", tenant.as_bytes()]))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl TenantKey {
    /// As receivers are given it.
    pub fn secret(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The value of the header `webhook-signature`.
    pub fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let seconds = seconds.to_string();
        let parts = [
            id.as_bytes(),
            b".",
            seconds.as_bytes(),
            b".",
            body.as_bytes(),
        ];
        format!("v1,{}", STANDARD.encode(hmac(&self.0, &parts)))
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is taken; were it not, an all-zero key of ours would be no better than this.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Slack reads `<…>` as links and `&…;` as entities.
pub fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// How long to wait after a failed try: as long as all tries before it took together, so each wait is about twice the
/// one before. `dice` (0..1) spreads receivers that failed together by a fifth.
pub fn wait_ms(since: i64, now: i64, first: u64, most: u64, dice: f64) -> u64 {
    let elapsed = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
    let wait = elapsed.clamp(first, most.max(first));
    // Far below 2^53: the configuration bounds it.
    (wait as f64 * (0.9 + 0.2 * dice)) as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_what_the_reference_libraries_make() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let parts: [&[u8]; 1] = [b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}"];
        assert_eq!(
            STANDARD.encode(hmac(&key, &parts)),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_tenant_has_a_key_of_its_own_and_always_the_same() {
        let key = SigningKey::new(" a secret of some length\n").unwrap();
        let again = SigningKey::new("a secret of some length").unwrap();
        assert_eq!(key.of_tenant("a").secret(), again.of_tenant("a").secret());
        assert_ne!(key.of_tenant("a").secret(), key.of_tenant("b").secret());
        let secret = key.of_tenant("a").secret();
        let bytes = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        assert_eq!(bytes.len(), 32);
        assert_eq!(format!("{key:?}"), "SigningKey");
        for short in ["", "   \n", "fifteen letters"] {
            assert!(SigningKey::new(short).is_none(), "{short:?}");
        }
    }

    #[test]
    fn waits_double_and_reach_over_a_day_in_some_twenty_tries() {
        let (mut now, mut tries, day) = (0_i64, 0, 86_400_000_i64);
        let mut before = 0;
        while now < day {
            let wait = wait_ms(0, now, 5_000, 14_400_000, 0.5);
            assert!(wait >= before && wait <= 14_400_000);
            before = wait;
            now += i64::try_from(wait).unwrap();
            tries += 1;
        }
        assert!((15..25).contains(&tries), "{tries}");
        assert_eq!(wait_ms(0, 0, 5_000, 14_400_000, 0.0), 4_500);
        assert!(wait_ms(10, 0, 5_000, 1_000, 1.0) >= 5_000);
    }
}
