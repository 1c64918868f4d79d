//! Ids, hashes and seeded choices: everything here is a function of its input,
//! so a run repeats exactly.

use std::hash::{DefaultHasher, Hasher};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SplitMix64: turns a counter or a hash into well-spread bits.
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number in [0, 1) from 53 bits of a hash.
pub fn unit(x: u64) -> f64 {
    (mix(x) >> 11) as f64 / (1u64 << 53) as f64
}

/// SipHash of the bytes: the standard library's, compiled with optimisation
/// even where the stand-in is not.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// 128 bits that stand for a request body: equal bodies are the same request.
pub fn fingerprint(bytes: &[u8]) -> u128 {
    let mut second = DefaultHasher::new();
    second.write_u64(0x5851_f42d_4c95_7f2d);
    second.write(bytes);
    (u128::from(hash(bytes)) << 64) | u128::from(second.finish())
}

/// The same for what a body asks, however that is sent: a mark of the prompt cache and `max_tokens` change nothing about
/// it. Bodies are taken as compact JSON; others are told apart by them all the same.
pub fn question(body: &[u8]) -> u128 {
    let text = String::from_utf8_lossy(body);
    let mut rest = text.as_ref();
    let mut asked = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once(",\"cache_control\":{") {
        asked.push_str(before);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    asked.push_str(rest);
    if let Some((before, after)) = asked.split_once("\"max_tokens\":") {
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        asked = format!("{before}{after}");
    }
    fingerprint(asked.as_bytes())
}

fn base62(seed: u64, length: usize) -> String {
    let mut out = String::with_capacity(length);
    let mut state = seed;
    for _ in 0..length {
        state = mix(state);
        let at = usize::try_from(state % 62).unwrap_or(0);
        out.push(char::from(BASE62.get(at).copied().unwrap_or(b'0')));
    }
    out
}

/// `req_011C…`, as real request ids look.
pub fn request_id(seed: u64) -> String {
    format!("req_011C{}", base62(mix(seed ^ 1), 20))
}

/// `msg_01…`
pub fn message_id(seed: u64) -> String {
    format!("msg_01{}", base62(mix(seed ^ 2), 22))
}

/// Any other id with a prefix, such as `toolu_01` or `msgbatch_01`.
pub fn other_id(prefix: &str, seed: u64) -> String {
    format!("{prefix}{}", base62(mix(seed ^ 3), 22))
}

/// A version 4 UUID from a seed.
pub fn uuid(seed: u64) -> String {
    let a = mix(seed ^ 4);
    let b = mix(seed ^ 5);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}
