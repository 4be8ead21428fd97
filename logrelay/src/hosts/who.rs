//! Who a sender is to us.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Serialize, Serializer};

use crate::labels::Labels;

/// Octets of a name in a header that tell senders apart (RFC 5424 section 6: HOSTNAME has at most 255).
const NAME_MAX: usize = 255;

/// Identity of a sender. In order: hosts of the inventory by name first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// A host of the inventory: `name.zone.product`.
    Host(Arc<str>),
    /// A host that the inventory does not know, by the name in the header that a trusted relay sent.
    Header(Arc<str>),
    /// A sender that the inventory does not know.
    Address(IpAddr),
    /// This machine: local sockets and files.
    Local,
    /// Everyone for whom there was no place of their own.
    Others,
}

impl Who {
    /// A host of the inventory.
    pub fn host(labels: &Labels) -> Self {
        Self::Host(format!("{}.{}.{}", labels.name, labels.zone, labels.product).into())
    }

    /// A name in a header: in lower case, without control characters, 255 octets at most.
    pub fn header(name: &[u8]) -> Self {
        Self::Header(header_name(name).into())
    }

    /// An address; IPv4 within IPv6 (RFC 4291 section 2.5.5.2) is IPv4.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }

    /// The word for what kind of sender it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Header(_) => "header",
            Self::Address(_) => "address",
            Self::Local => "local",
            Self::Others => "others",
        }
    }

    /// Whether it is, or was, a host of the inventory.
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// One octet for the kind, then the name or the address.
    pub(super) fn key(&self) -> Vec<u8> {
        let (kind, name) = match self {
            Self::Host(name) => (b'h', name.as_bytes()),
            Self::Header(name) => (b'n', name.as_bytes()),
            Self::Address(IpAddr::V4(v4)) => return [&b"4"[..], &v4.octets()].concat(),
            Self::Address(IpAddr::V6(v6)) => return [&b"6"[..], &v6.octets()].concat(),
            Self::Local => (b'l', &b""[..]),
            Self::Others => (b'o', &b""[..]),
        };
        [&[kind], name].concat()
    }

    /// The key of a host, without making its `Who` first.
    pub(super) fn host_key(labels: &Labels) -> Vec<u8> {
        [&b"h"[..], labels.name.as_bytes(), b".", labels.zone.as_bytes(), b".", labels.product.as_bytes()].concat()
    }

    /// What `key` was made from.
    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (kind, name) = key.split_first()?;
        let text = || std::str::from_utf8(name).ok().map(Arc::from);
        Some(match kind {
            b'h' => Self::Host(text()?),
            b'n' => Self::Header(text()?),
            b'4' => Self::Address(<[u8; 4]>::try_from(name).ok()?.into()),
            b'6' => Self::Address(<[u8; 16]>::try_from(name).ok()?.into()),
            b'l' if name.is_empty() => Self::Local,
            _ => return None,
        })
    }
}

/// A name as it may stand in a report.
pub(super) fn header_name(name: &[u8]) -> String {
    let name = name.get(..NAME_MAX).unwrap_or(name);
    let plain = |c: char| if c.is_control() { '?' } else { c.to_ascii_lowercase() };
    let mut text: String = String::from_utf8_lossy(name).chars().map(plain).collect();
    // What is no UTF-8 became longer.
    text.truncate(text.floor_char_boundary(NAME_MAX));
    if text.is_empty() { "-".into() } else { text }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) | Self::Header(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
            Self::Local => f.write_str("(local)"),
            Self::Others => f.write_str("(others)"),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_who_it_is() {
        let labels = Labels { name: "web01".into(), zone: "us-east-1b".into(), ..Labels::default() };
        let labels = Labels { product: "acme".into(), ..labels };
        let all = [
            Who::host(&labels),
            Who::header(b"FW-1"),
            Who::address("::ffff:10.0.0.1".parse().unwrap()),
            Who::address("2001:db8::1".parse().unwrap()),
            Who::Local,
        ];
        for who in &all {
            assert_eq!(Who::from_key(&who.key()).as_ref(), Some(who));
        }
        assert_eq!(all[0].key(), Who::host_key(&labels));
        let texts: Vec<String> = all.iter().map(Who::to_string).collect();
        assert_eq!(texts, ["web01.us-east-1b.acme", "fw-1", "10.0.0.1", "2001:db8::1", "(local)"]);
        for damaged in [&b""[..], b"x", b"4123", b"h\xff", b"l1", b"o"] {
            assert_eq!(Who::from_key(damaged), None);
        }
    }

    #[test]
    fn names_in_headers_are_bounded_and_harmless() {
        assert_eq!(header_name(b""), "-");
        assert_eq!(header_name(b"a\nb\x1b["), "a?b?[");
        assert!(header_name(&[0xff; 1000]).len() <= NAME_MAX);
        assert_eq!(header_name(&[b'A'; 1000]), "a".repeat(NAME_MAX));
    }
}
