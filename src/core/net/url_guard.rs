//! The outbound guard: which addresses on the web may be asked on a caller's behalf.
//!
//! Callers name URLs to be read and to be notified. Without a guard a Worker would fetch whatever they name, private
//! networks and metadata services included. The check is on the URL as it is written, by the WHATWG parser
//! that `fetch` uses itself, so that both read an address alike: `http://0x7f.1`, `http://2130706433` and `http://[::ffff:7f00:1]`
//! are all loopback here. Each hop of a redirect is checked again.
//!
//! What this cannot see is where a public *name* leads: a Worker cannot resolve names before it fetches. That half is the
//! platform's, by the flag `global_fetch_strictly_public` in `wrangler.toml`.
//!
//! Only the guard makes a [`PublicUrl`], and the port to the web takes nothing else.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The longest URL that is taken, in bytes, after it was parsed.
pub const MAX_URL: usize = 2_048;

/// Ports below 1024 that are for the web. Above, everything but [`OTHER_SERVICES`].
const WEB_PORTS: [u16; 2] = [80, 443];

/// Ports from 1024 up whose services a request of ours could disturb or speak to: those that browsers refuse
/// (the `fetch` standard's "bad ports"), then databases, caches, queues and remote control.
const OTHER_SERVICES: [u16; 39] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669,
    6679, 6697, 10080, // bad ports
    1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5672, 5900, 5985, 5986, 6379, 6443, 9042,
    9092, 10250, 11211, 27017,
];

/// Names that never lead to a public host: special-use names (RFC 6761, 6762, 7686, 8375), what
/// networks call their own inside, metadata services, and services whose names spell private addresses.
const NOT_PUBLIC: [&str; 26] = [
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "domain",
    "test",
    "example",
    "invalid",
    "onion",
    "alt",
    "arpa",
    "cluster",
    "svc",
    "consul",
    "metadata.goog",
    "nip.io",
    "sslip.io",
    "xip.io",
    "localtest.me",
    "lvh.me",
    "vcap.me",
];

/// Azure's platform services, on an address of the public range.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// A URL that may be asked: one that the guard let through, or that the operator set up.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// The URL as it is sent: normalised, without a fragment.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// An address from the deployment's own configuration, which no caller can write: it may be anywhere, but holds neither
    /// password nor query.
    pub fn of_operator(text: &str) -> Option<PublicUrl> {
        let url = Url::parse(text).ok()?;
        let sound = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        sound.then_some(PublicUrl(url))
    }

    /// The host, in lower case.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an address may not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("is not a URL")]
    NotAUrl,
    #[error("is longer than {MAX_URL} bytes")]
    TooLong,
    #[error("must begin with https:// or http://")]
    Scheme,
    #[error("must not hold a user name or password")]
    Credentials,
    #[error("names a port that is not for the web")]
    Port,
    #[error("names a host that is not public")]
    PrivateName,
    #[error("names an address that is not public")]
    PrivateAddress,
}

/// What is let through: public hosts, and the `HOST:PORT` pairs that the operator allowed by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    allowed: Vec<(String, u16)>,
}

impl Guard {
    /// From a list of `HOST:PORT`, by commas or blanks (`FETCH_ALLOW_HOSTS`); IPv6 in brackets. The place of the entry that
    /// cannot be read, from 1, is the error: the entry itself may hold a password.
    pub fn new(list: &str) -> Result<Guard, usize> {
        let allowed = list
            .split([',', ' ', '\t', '\n'])
            .filter(|entry| !entry.is_empty())
            .enumerate()
            .map(|(place, entry)| host_and_port(entry).ok_or(place + 1))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Guard { allowed })
    }

    /// Checks a URL as a caller wrote it.
    pub fn check(&self, text: &str) -> Result<PublicUrl, Refusal> {
        self.let_through(Url::parse(text.trim()).map_err(|_| Refusal::NotAUrl)?)
    }

    /// Checks where a redirect from `from` leads; `location` may be relative.
    pub fn follow(&self, from: &PublicUrl, location: &str) -> Result<PublicUrl, Refusal> {
        let url = from.0.join(location.trim());
        self.let_through(url.map_err(|_| Refusal::NotAUrl)?)
    }

    fn let_through(&self, mut url: Url) -> Result<PublicUrl, Refusal> {
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        url.set_fragment(None);
        if url.as_str().len() > MAX_URL {
            return Err(Refusal::TooLong);
        }
        let port = url.port_or_known_default().ok_or(Refusal::Port)?;
        let host = url.host().ok_or(Refusal::NotAUrl)?;
        if !self.allows(&host, port) {
            public_host(&host)?;
            public_port(port)?;
        }
        Ok(PublicUrl(url))
    }

    fn allows(&self, host: &Host<&str>, port: u16) -> bool {
        let host = host.to_string();
        self.allowed
            .iter()
            .any(|(known, at)| *known == host && *at == port)
    }
}

/// An entry of the allow list, its host as the parser writes it.
fn host_and_port(entry: &str) -> Option<(String, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = Host::parse(host).ok()?;
    Some((host.to_string(), port))
}

fn public_port(port: u16) -> Result<(), Refusal> {
    let web = WEB_PORTS.contains(&port) || (port >= 1_024 && !OTHER_SERVICES.contains(&port));
    web.then_some(()).ok_or(Refusal::Port)
}

fn public_host(host: &Host<&str>) -> Result<(), Refusal> {
    match host {
        Host::Domain(name) => is_public_name(name)
            .then_some(())
            .ok_or(Refusal::PrivateName),
        Host::Ipv4(address) => is_public_v4(*address)
            .then_some(())
            .ok_or(Refusal::PrivateAddress),
        Host::Ipv6(address) => is_public_v6(*address)
            .then_some(())
            .ok_or(Refusal::PrivateAddress),
    }
}

/// A name with a dot inside that does not end in one of [`NOT_PUBLIC`]. The parser has it in lower case already.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let well_formed = name.len() <= 253
        && name.contains('.')
        && name.split('.').all(|label| (1..=63).contains(&label.len()));
    let ends_in = |suffix: &str| {
        name.strip_suffix(suffix)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    well_formed && !NOT_PUBLIC.iter().any(|suffix| ends_in(suffix))
}

/// Globally reachable by the IANA registry of special-purpose addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This network", private, loopback, link-local with every cloud's metadata service.
        (0 | 10 | 127, _, _) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _) => true,
        // Carrier-grade NAT.
        (100, 64..=127, _) => true,
        // Protocol assignments, documentation, the old 6to4 relays, benchmarks.
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) | (198, 18 | 19, _) => {
            true
        }
        // Multicast, reserved, broadcast.
        (224.., _, _) => true,
        _ => false,
    };
    !special && address != AZURE_WIRE_SERVER
}

/// Global unicast (2000::/3) without the parts that carry or stand for other addresses. Everything else (loopback, unique
/// local, link-local, multicast, mapped and translated IPv4) lies outside of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let special = match (a, b) {
        // Protocol assignments, Teredo, ORCHID; documentation; 6to4.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) => true,
        (0x3fff, 0..=0xfff) => true,
        _ => false,
    };
    (0x2000..=0x3fff).contains(&a) && !special
}

#[cfg(test)]
mod tests;
