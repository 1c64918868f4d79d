//! Tickets: a query parameter that lets a browser's `EventSource` watch one job for a while.
//!
//! A ticket is `TOKEN.EXPIRY.MAC`: whose it is (an id, no secret), until when (milliseconds since the epoch), and HMAC-SHA256
//! over job and expiry, keyed with a hash of the deployment's secret and the caller's own token. So there is no key to
//! configure, nothing is stored, and a ticket ends with the token that it came from. It may stand in logs and histories: all it does is read how one job goes.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::value::token::TokenHash;

/// Stands for the operator's token, which has no id.
const OPERATOR: &str = "operator";

/// A ticket as it was sent; nothing of it is known to be true yet.
pub struct Ticket {
    pub token: Option<String>,
    pub expires_at: i64,
    mac: Vec<u8>,
}

/// A ticket for the events of `job`, signed with a caller's key; `token` is its id, `None` the operator's.
pub fn issue(hash: &TokenHash, token: Option<&str>, job: &str, expires_at: i64) -> Option<String> {
    let mac = signing(hash, job, expires_at)?.finalize();
    let token = token.unwrap_or(OPERATOR);
    let mut text = format!("{token}.{expires_at}.");
    for byte in mac.into_bytes() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

impl Ticket {
    pub fn parse(text: &str) -> Option<Ticket> {
        let mut parts = text.split('.');
        let (token, expires_at, mac) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || token.len() > 64 {
            return None;
        }
        Some(Ticket {
            token: (token != OPERATOR).then(|| token.to_owned()),
            expires_at: expires_at.parse().ok()?,
            mac: TokenHash::from_hex(mac)?.bytes().to_vec(),
        })
    }

    /// Whether the holder of this key gave it out, for this job. In constant time.
    pub fn is_signed(&self, hash: &TokenHash, job: &str) -> bool {
        signing(hash, job, self.expires_at).is_some_and(|mac| mac.verify_slice(&self.mac).is_ok())
    }
}

fn signing(hash: &TokenHash, job: &str, expires_at: i64) -> Option<Hmac<Sha256>> {
    // Never `None`: a key of any length is taken.
    let mut mac = Hmac::<Sha256>::new_from_slice(hash.bytes()).ok()?;
    mac.update(format!("fanwise events\n{job}\n{expires_at}").as_bytes());
    Some(mac)
}
