//! Domain names in wire form, in lower case.
//!
//! Layout (RFC 1035 section 3.1): length octet and label, repeated, closed by a zero octet; at
//! most 255 octets in all. Names here are never compressed and always lower case, so equality of
//! bytes is equality of names (RFC 4343).

use std::{borrow::Borrow, fmt, ops::Deref};

/// Octets that a name has at most (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 255;
/// Labels that a name has at most: 127 of one octet and the root.
pub const LABELS_MAX: usize = 128;

/// A name, owned.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Two dots in a row, or a leading dot.
    #[error("{0:?} has an empty label")]
    EmptyLabel(String),
    /// A label of more than 63 octets.
    #[error("{0:?} has a label of more than 63 octets")]
    LongLabel(String),
    /// More than 255 octets.
    #[error("{0:?} is longer than 255 octets")]
    Long(String),
    /// A backslash without what must follow it.
    #[error("{0:?} has an incomplete escape")]
    Escape(String),
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Takes bytes that are known to be a name in lower case, such as a part of another name.
    pub fn from_wire(wire: &[u8]) -> Self {
        debug_assert!(wire_len(wire) == Some(wire.len()), "not a whole name: {wire:?}");
        Self(wire.into())
    }

    /// Reads a name from text, with or without the trailing dot; `\.` and `\DDD` escape (RFC 1035 section 5.1).
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text == "." || text.is_empty() {
            return Ok(Self::root());
        }
        let mut out = Vec::with_capacity(text.len() + 2);
        let mut start = 0;
        out.push(0);
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => {
                    close_label(&mut out, start, text)?;
                    start = out.len();
                    if bytes.peek().is_some() {
                        out.push(0);
                    }
                    continue;
                }
                b'\\' => out.push(unescape(&mut bytes).ok_or_else(|| BadName::Escape(text.into()))?),
                _ => out.push(byte.to_ascii_lowercase()),
            }
        }
        if start < out.len() {
            close_label(&mut out, start, text)?;
        }
        out.push(0);
        if out.len() > NAME_MAX {
            return Err(BadName::Long(text.into()));
        }
        Ok(Self(out.into()))
    }

    /// `label.suffix`; `None` when that would be too long.
    pub fn child(label: &[u8], suffix: &[u8]) -> Option<Self> {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n))?;
        if label.len() + 1 + suffix.len() > NAME_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(label.len() + 1 + suffix.len());
        out.push(length);
        out.extend(label.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(suffix);
        Some(Self(out.into()))
    }
}

fn close_label(out: &mut [u8], start: usize, text: &str) -> Result<(), BadName> {
    let length = out.len() - start - 1;
    out[start] = match length {
        0 => return Err(BadName::EmptyLabel(text.into())),
        1..=63 => length as u8,
        _ => return Err(BadName::LongLabel(text.into())),
    };
    Ok(())
}

fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first.to_ascii_lowercase());
    }
    let digit = |b: u8| b.is_ascii_digit().then(|| u32::from(b - b'0'));
    let value = digit(first)? * 100 + digit(bytes.next()?)? * 10 + digit(bytes.next()?)?;
    Some(u8::try_from(value).ok()?.to_ascii_lowercase())
}

/// Length of the uncompressed name at the start of `wire`, its closing zero included; `None` if
/// there is none within 255 octets.
pub fn wire_len(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at)?);
        if length > 63 || at + length >= NAME_MAX {
            return None;
        }
        at += length + 1;
        if length == 0 {
            return Some(at);
        }
    }
}

/// The name without its first label; `None` for the root.
pub fn parent(wire: &[u8]) -> Option<&[u8]> {
    match wire.first() {
        Some(0) | None => None,
        Some(&length) => wire.get(usize::from(length) + 1..),
    }
}

/// The first label, without its length octet; empty for the root.
pub fn first_label(wire: &[u8]) -> &[u8] {
    wire.first().and_then(|&n| wire.get(1..1 + usize::from(n))).unwrap_or(&[])
}

/// Whether `name` is `suffix` or lies below it.
pub fn is_within(name: &[u8], suffix: &[u8]) -> bool {
    let mut rest = Some(name);
    while let Some(here) = rest {
        if here.len() <= suffix.len() {
            return here == suffix;
        }
        rest = parent(here);
    }
    false
}

/// The name as text with a trailing dot, escaped as in zone files.
pub fn display(wire: &[u8]) -> String {
    let mut out = String::with_capacity(wire.len());
    let mut rest = Some(wire);
    while let Some(here) = rest {
        for &byte in first_label(here) {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    out.push('\\');
                    out.push(char::from(byte));
                }
                0x21..=0x7e => out.push(char::from(byte)),
                _ => out.push_str(&format!("\\{byte:03}")),
            }
        }
        out.push('.');
        rest = parent(here).filter(|next| next.len() > 1);
    }
    out
}

impl Deref for Name {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire() {
        let name = Name::parse("Dev-1.us-east-1b.acme.private").unwrap();
        assert_eq!(&name[..7], b"\x05dev-1\x0a");
        assert_eq!(name.to_string(), "dev-1.us-east-1b.acme.private.");
        assert_eq!(Name::parse("a\\.b.c.").unwrap().to_string(), "a\\.b.c.");
        assert_eq!(Name::parse("a\\032b").unwrap().to_string(), "a\\032b.");
        assert_eq!(Name::parse(".").unwrap(), Name::root());
        assert_eq!(Name::root().to_string(), ".");
        assert!(matches!(Name::parse("a..b"), Err(BadName::EmptyLabel(_))));
        assert!(matches!(Name::parse(".a"), Err(BadName::EmptyLabel(_))));
        assert!(matches!(Name::parse(&"a".repeat(64)), Err(BadName::LongLabel(_))));
        assert!(matches!(Name::parse(&"a.".repeat(128)), Err(BadName::Long(_))));
        assert!(matches!(Name::parse("a\\"), Err(BadName::Escape(_))));
    }

    #[test]
    fn suffixes() {
        let name = Name::parse("b.a.private").unwrap();
        let apex = Name::parse("a.private").unwrap();
        assert!(is_within(&name, &apex) && is_within(&apex, &apex) && is_within(&name, &Name::root()));
        assert!(!is_within(&apex, &name) && !is_within(&Name::parse("ba.private").unwrap(), &apex));
        assert_eq!(parent(&name), Some(&*apex));
        assert_eq!(first_label(&name), b"b");
    }

    #[test]
    fn length_of_hostile_names() {
        assert_eq!(wire_len(&[]), None);
        assert_eq!(wire_len(&[5, b'a']), None);
        assert_eq!(wire_len(&[0xc0, 12]), None);
        assert_eq!(wire_len(&[[1, b'a'].repeat(127).as_slice(), &[0]].concat()), Some(255));
        assert_eq!(wire_len(&[[1, b'a'].repeat(128).as_slice(), &[0]].concat()), None);
    }
}
