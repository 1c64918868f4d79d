//! Bearer tokens: their text, their hash, and what they may do.
//!
//! A token is `fw_`, the 32 hex digits of its id, `_`, and 64 hex digits of randomness. The id is no secret: a token is
//! found by it, and then the hashes of both are compared in constant time, so that no lookup by secret bytes can be timed.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

/// Characters of the shortest token that an operator may choose: one that is guessed opens everything.
pub const LEAST_CHARS: usize = 16;

/// The rights of a token. None includes another.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read jobs, tasks, results and reports.
    Read,
    /// Submit jobs, and change, command and delete them.
    Run,
    /// Make and revoke tokens of the same tenant.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Run, Scope::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Admin => "admin",
        }
    }
}

/// SHA-256 of a token. Has no `Debug`: it signs tickets, so it must not reach a log.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    pub fn of(token: &str) -> TokenHash {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// As it is stored; `None` for what no token hashes to.
    pub fn from_hex(text: &str) -> Option<TokenHash> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(TokenHash(bytes))
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// In a time that does not depend on where they differ.
    pub fn matches(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text of the token with this id (`tok_…`), from 32 random bytes.
pub fn text(id: &str, random: [u8; 32]) -> String {
    format!("fw_{}_{}", id.trim_start_matches("tok_"), hex(&random))
}

/// The id that a token names, if it has the form of one.
pub fn id_in(token: &str) -> Option<String> {
    let (id, secret) = token.strip_prefix("fw_")?.split_once('_')?;
    let plain = |text: &str, len: usize| {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.len() == len && text.bytes().all(digit)
    };
    (plain(id, 32) && plain(secret, 64)).then(|| format!("tok_{id}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_id_and_nothing_else_does() {
        let id = crate::core::value::ids::id("tok", 1, [7; 10]);
        let token = text(&id, [171; 32]);
        assert_eq!(token.len(), 100);
        assert_eq!(id_in(&token), Some(id));
        let longer = format!("{token}0");
        let upper = token.to_uppercase();
        for other in [
            "",
            "fw_",
            "fw__",
            "test-token",
            &token[..99],
            &longer,
            &upper,
        ] {
            assert_eq!(id_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_hash_survives_being_stored() {
        let hash = TokenHash::of("a");
        let stored = TokenHash::from_hex(&hash.to_hex()).unwrap();
        assert!(stored.matches(&hash));
        assert!(!stored.matches(&TokenHash::of("b")));
        for broken in ["", "zz", &"+1".repeat(32), &"é".repeat(32)] {
            assert!(TokenHash::from_hex(broken).is_none());
        }
    }

    #[test]
    fn scopes_are_stored_by_their_names() {
        for scope in Scope::ALL {
            let json = serde_json::to_value(scope).unwrap();
            assert_eq!(json, scope.as_str());
        }
    }
}
