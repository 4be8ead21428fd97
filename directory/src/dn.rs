//! Distinguished names (RFC 4514), read, normalised and compared.
//!
//! The normalised form has attribute types in lower case under their short names, values in lower case with their white
//! space squeezed, the parts of a multi-valued RDN sorted, and no space around separators. Every character that could be
//! mistaken for a separator is written `\xx`, so a comma in the form always separates two RDNs. Values are compared
//! without regard to case whatever their attribute, as no entry in use is told from another by case alone.
//! Hostile text is bounded: [`DN_OCTETS_MAX`], [`RDNS_MAX`], [`PARTS_MAX`].

use std::{fmt, str, sync::Arc};

use smallvec::SmallVec;

use crate::filter::{
    attribute::{Id, base_of},
    rule::{Ends, Scratch, fold, is_plain},
};

/// Most octets of a DN as text.
pub const DN_OCTETS_MAX: usize = 4096;
/// Most RDNs of a DN.
pub const RDNS_MAX: usize = 64;
/// Most attributes of one RDN.
pub const PARTS_MAX: usize = 8;

/// A distinguished name in normalised form; equal names are equal text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dn(Arc<str>);

/// Why a text is no DN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no DN: {why}")]
pub struct BadDn {
    text: String,
    why: &'static str,
}

impl Dn {
    /// Reads a DN; the empty text is the root.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadDn> {
        let mut out = Scratch::new();
        normalise(text, &mut out)?;
        match str::from_utf8(&out) {
            Ok(normal) => Ok(Self(normal.into())),
            Err(_) => Err(bad(text, "it is no UTF-8")),
        }
    }

    /// The normalised form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root, above every name.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the entry above; none for the root.
    pub fn parent(&self) -> Option<Self> {
        parent_of(&self.0).map(|parent| Self(parent.into()))
    }

    /// Whether this is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        let Some(above) = self.0.strip_suffix(&*ancestor.0) else { return false };
        above.is_empty() || above.ends_with(',') || ancestor.is_root()
    }

    /// The lowest name that both are at or below.
    #[must_use]
    pub(crate) fn common(self, other: &Self) -> Self {
        let mut above = self;
        while !other.is_within(&above)
            && let Some(parent) = above.parent()
        {
            above = parent;
        }
        above
    }

    /// The RDNs in normalised form, the entry's own first.
    pub fn rdns(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split(',').filter(|rdn| !rdn.is_empty())
    }

    /// Every attribute type and value that the name is made of, the entry's own first, values without escapes.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        let pairs = self.rdns().flat_map(|rdn| rdn.split('+'));
        pairs.filter_map(|part| part.split_once('=')).map(|(name, value)| (name, unescaped(value)))
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The normalised name above a normalised name; none for the root.
pub(crate) fn parent_of(normal: &str) -> Option<&str> {
    match normal.split_once(',') {
        Some((_, parent)) => Some(parent),
        None if normal.is_empty() => None,
        None => Some(""),
    }
}

fn bad(text: &str, why: &'static str) -> BadDn {
    BadDn { text: text.chars().take(80).collect(), why }
}

fn unescaped(value: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, hex_pair(after)) {
            (b'\\', Some((octet, after))) => {
                octets.push(octet);
                rest = after;
            }
            _ => {
                octets.push(byte);
                rest = after;
            }
        }
    }
    octets
}

fn hex_pair(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (&[high, low], rest) = text.split_first_chunk::<2>()?;
    Some((digit(high)? << 4 | digit(low)?, rest))
}

/// Appends the normalised form of a DN.
///
/// # Errors
/// What is wrong with the text; `out` then holds half a name.
pub(crate) fn normalise(text: &str, out: &mut Scratch) -> Result<(), BadDn> {
    if text.len() > DN_OCTETS_MAX {
        return Err(bad(text, "it is longer than 4096 octets"));
    }
    let mut rest = trim(text.as_bytes());
    if rest.is_empty() {
        return Ok(());
    }
    for rdn in 0.. {
        if rdn == RDNS_MAX {
            return Err(bad(text, "it has more than 64 RDNs"));
        }
        if rdn > 0 {
            out.push(b',');
        }
        rest = read_rdn(rest, out).map_err(|why| bad(text, why))?;
        match rest.split_first() {
            None => break,
            Some((_, after)) => rest = after,
        }
    }
    Ok(())
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let Some((b' ', rest)) = text.split_first() {
        text = rest;
    }
    text
}

/// Appends one RDN and returns what follows it: nothing, or text that begins with the comma.
fn read_rdn<'a>(text: &'a [u8], out: &mut Scratch) -> Result<&'a [u8], &'static str> {
    let begin = out.len();
    let mut rest = read_part(text, out)?;
    if rest.first() != Some(&b'+') {
        return Ok(rest);
    }
    let mut parts: SmallVec<[Scratch; 2]> = SmallVec::new();
    parts.push(out.drain(begin..).collect());
    while let Some((b'+', after)) = rest.split_first() {
        if parts.len() == PARTS_MAX {
            return Err("one of its RDNs has more than 8 attributes");
        }
        let mut part = Scratch::new();
        rest = read_part(after, &mut part)?;
        parts.push(part);
    }
    parts.sort();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(part);
    }
    Ok(rest)
}

/// Appends one `type=value` and returns what follows it: nothing, or text that begins with a comma or a plus sign.
fn read_part<'a>(text: &'a [u8], out: &mut Scratch) -> Result<&'a [u8], &'static str> {
    let text = trim(text);
    let equals = text.iter().position(|byte| *byte == b'=').ok_or("a part of it has no equals sign")?;
    let (name, rest) = text.split_at(equals);
    let name = str::from_utf8(name).map_err(|_| "an attribute type is no name")?.trim_end_matches(' ');
    let name = name.strip_prefix("OID.").or_else(|| name.strip_prefix("oid.")).unwrap_or(name);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err("an attribute type is no name");
    }
    let known = Id::of(base_of(name)).spelling();
    let begin = out.len();
    out.extend_from_slice(if known.is_empty() { name } else { known }.as_bytes());
    if let Some(kind) = out.get_mut(begin..) {
        kind.make_ascii_lowercase();
    }
    out.push(b'=');
    let rest = trim(rest.get(1..).unwrap_or(&[]));
    if let Some((value, rest)) = plain_string(rest) {
        let begin = out.len();
        out.extend_from_slice(value);
        if let Some(value) = out.get_mut(begin..) {
            value.make_ascii_lowercase();
        }
        return Ok(rest);
    }
    let mut value = Scratch::new();
    let rest = match rest.first() {
        Some(b'"') => read_quoted(rest.get(1..).unwrap_or(&[]), &mut value)?,
        Some(b'#') => read_hex(rest.get(1..).unwrap_or(&[]), &mut value)?,
        _ => read_string(rest, &mut value)?,
    };
    write_value(&value, out);
    Ok(rest)
}

/// A value of ASCII without anything that wants care, and what follows it: by far the most values.
fn plain_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| b",+".contains(byte)).unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(end)?;
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'#' | b';' | b'<' | b'=' | b'>');
    (is_plain(value) && !value.iter().any(is_special)).then_some((value, rest))
}

fn read_escape<'a>(after: &'a [u8], value: &mut Scratch) -> Result<&'a [u8], &'static str> {
    if let Some((octet, rest)) = hex_pair(after) {
        value.push(octet);
        return Ok(rest);
    }
    match after.split_first() {
        Some((&byte, rest)) if b" \"#+,;<=>\\".contains(&byte) => {
            value.push(byte);
            Ok(rest)
        }
        _ => Err("a backslash stands before a special character or two hexadecimal digits"),
    }
}

fn read_string<'a>(mut text: &'a [u8], value: &mut Scratch) -> Result<&'a [u8], &'static str> {
    while let Some((&byte, rest)) = text.split_first() {
        match byte {
            b',' | b'+' => return Ok(text),
            b'\\' => text = read_escape(rest, value)?,
            b'"' | b';' | b'<' | b'>' | 0 => return Err("a special character lacks its backslash"),
            _ => {
                value.push(byte);
                text = rest;
            }
        }
    }
    Ok(text)
}

/// The quoted form of RFC 1779, which RFC 2253 section 4 asks readers to take.
fn read_quoted<'a>(mut text: &'a [u8], value: &mut Scratch) -> Result<&'a [u8], &'static str> {
    while let Some((&byte, rest)) = text.split_first() {
        match byte {
            b'"' => return end_of_value(rest),
            b'\\' => text = read_escape(rest, value)?,
            _ => {
                value.push(byte);
                text = rest;
            }
        }
    }
    Err("a quotation mark is not closed")
}

/// The hexadecimal form of a BER value (RFC 4514 section 2.4). Of a string type, its text; else the octets as they are.
fn read_hex<'a>(mut text: &'a [u8], value: &mut Scratch) -> Result<&'a [u8], &'static str> {
    while let Some((octet, rest)) = hex_pair(text) {
        value.push(octet);
        text = rest;
    }
    if value.is_empty() {
        return Err("a hash sign stands before hexadecimal digits");
    }
    if let [4 | 12 | 19 | 20 | 22, length @ 0..0x80, content @ ..] = value.as_slice()
        && content.len() == usize::from(*length)
    {
        *value = content.into();
    }
    end_of_value(text)
}

fn end_of_value(text: &[u8]) -> Result<&[u8], &'static str> {
    let text = trim(text);
    match text.first() {
        None | Some(b',' | b'+') => Ok(text),
        Some(_) => Err("a value goes on behind its end"),
    }
}

/// Appends a value, folded and escaped.
fn write_value(value: &[u8], out: &mut Scratch) {
    let mut folded = Scratch::new();
    fold(value, true, Ends { start: true, end: true }, &mut folded);
    let is_text = str::from_utf8(&folded).is_ok();
    for (at, &byte) in folded.iter().enumerate() {
        let special = byte < b' '
            || byte == 0x7f
            || b"\"+,;<=>\\".contains(&byte)
            || (at == 0 && byte == b'#')
            || (!is_text && !byte.is_ascii());
        if special {
            let digit = |nibble: u8| b"0123456789abcdef".get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str) -> String {
        Dn::parse(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn equal_names_have_one_form() {
        for (text, expected) in [
            ("UID=Ada , OU=People,dc=ACME", "uid=ada,ou=people,dc=acme"),
            ("userid=ada,2.5.4.11=people,OID.0.9.2342.19200300.100.1.25=acme", "uid=ada,ou=people,dc=acme"),
            ("cn=Ada   B.  Lovelace,o=x", "cn=ada b. lovelace,o=x"),
            ("cn=Lovelace\\, Ada,o=x", "cn=lovelace\\2c ada,o=x"),
            ("cn=Lovelace\\2C Ada,o=x", "cn=lovelace\\2c ada,o=x"),
            ("cn=\"Lovelace, Ada\",o=x", "cn=lovelace\\2c ada,o=x"),
            ("sn=L+cn=A,o=x", "cn=a+sn=l,o=x"),
            ("cn=#0C03416461,o=x", "cn=ada,o=x"),
            ("cn=\\C3\\89cole", "cn=école"),
            ("cn=École", "cn=école"),
            ("cn=\\ff\\00", "cn=\\ff\\00"),
            ("cn=\\#1\\ ", "cn=\\231"),
            ("cn=a=b", "cn=a\\3db"),
            ("cn=", "cn="),
            ("", ""),
        ] {
            assert_eq!(normal(text), expected, "{text}");
            assert_eq!(normal(expected), expected, "the form of {text} is its own form");
        }
    }

    #[test]
    fn what_two_names_are_below_is_found() {
        for (one, other, common) in [
            ("uid=a,ou=p,dc=x", "uid=b,ou=p,dc=x", "ou=p,dc=x"),
            ("dc=x", "uid=b,ou=p,dc=x", "dc=x"),
            ("uid=b,ou=p,dc=x", "dc=x", "dc=x"),
            ("uid=a,dc=xx", "uid=a,dc=x", ""),
            ("uid=a,dc=x", "", ""),
            ("uid=a,dc=x", "uid=a,dc=x", "uid=a,dc=x"),
        ] {
            let [one, other] = [one, other].map(|text| Dn::parse(text).unwrap());
            assert_eq!(one.common(&other).as_str(), common);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let long = format!("cn={}", "a".repeat(DN_OCTETS_MAX));
        let deep = vec!["cn=a"; RDNS_MAX + 1].join(",");
        let wide = ["cn=a"; PARTS_MAX + 1].join("+");
        for (text, why) in [
            ("ada", "equals sign"),
            ("=x", "no name"),
            ("c n=x", "no name"),
            ("cn=x,", "equals sign"),
            ("cn=\"x", "not closed"),
            ("cn=\"x\"y", "goes on"),
            ("cn=#x", "hexadecimal"),
            ("cn=a\\", "backslash"),
            ("cn=a\\zz", "backslash"),
            ("cn=a;b=c", "lacks its backslash"),
            (&long, "4096"),
            (&deep, "64"),
            (&wide, "8 attributes"),
        ] {
            let fault = Dn::parse(text).unwrap_err().to_string();
            assert!(fault.contains(why) && fault.len() < 300, "{fault}");
        }
    }

    #[test]
    fn names_form_a_tree() {
        let dn = |text: &str| Dn::parse(text).unwrap();
        let ada = dn("uid=ada,ou=people,dc=acme");
        assert_eq!(ada.parent(), Some(dn("ou=people,dc=acme")));
        assert_eq!(dn("dc=acme").parent(), Some(dn("")));
        assert_eq!(dn("").parent(), None);
        for above in ["uid=ada,ou=people,dc=acme", "dc=acme", ""] {
            assert!(ada.is_within(&dn(above)), "{above}");
        }
        for beside in ["c=acme", "ou=eople,dc=acme", "uid=b,uid=ada,ou=people,dc=acme", "dc=private"] {
            assert!(!ada.is_within(&dn(beside)), "{beside}");
        }
        assert_eq!(dn("cn=a\\, b,o=x").parent(), Some(dn("o=x")));
        let parts: Vec<_> = dn("cn=a\\, b+sn=c,o=x").parts().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(parts, [("cn".into(), b"a, b".into()), ("sn".into(), b"c".into()), ("o".into(), b"x".to_vec())]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-zé ,+=\\\\#\";0-9]{0,40}") {
            if let Ok(dn) = Dn::parse(&text) {
                prop_assert_eq!(Dn::parse(dn.as_str()), Ok(dn.clone()));
                prop_assert!(dn.parent().is_none_or(|parent| dn.is_within(&parent)));
            }
        }
    }
}
