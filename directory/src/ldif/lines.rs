//! Lines of LDIF: folding undone, comments left out, `name: value` taken apart (RFC 2849, "Formal Syntax", notes 2 to 4).

use std::borrow::Cow;

use data_encoding::BASE64;

use super::{LdifError, VALUE_MAX};

/// A line that means something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The end of a record.
    Blank,
    /// `name: value`.
    Pair {
        /// As written: an attribute description, `dn`, `version`, `changetype`.
        name: String,
        /// The value, base64 undone.
        value: Vec<u8>,
    },
}

/// The lines of a file, each with the number of the line it begins at.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        // Editors of some systems begin a file with a byte order mark.
        Self { rest: octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets), number: 0 }
    }

    /// The next line of the file, without its end.
    fn physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = self.rest.iter().position(|octet| *octet == b'\n');
        let (line, rest) = match end {
            Some(at) => (self.rest.get(..at)?, self.rest.get(at + 1..)?),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The next line with those that continue it.
    fn logical(&mut self) -> Option<(usize, Cow<'a, [u8]>)> {
        let first = self.physical()?;
        let number = self.number;
        let mut whole = Cow::Borrowed(first);
        if !first.is_empty() {
            while self.rest.first() == Some(&b' ') {
                let more = self.physical()?;
                if whole.len() <= VALUE_MAX {
                    whole.to_mut().extend_from_slice(more.get(1..).unwrap_or_default());
                }
            }
        }
        Some((number, whole))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, Result<Line, LdifError>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, line) = self.logical()?;
            match line.first() {
                None => return Some((number, Ok(Line::Blank))),
                Some(b'#') => {}
                Some(_) => return Some((number, pair(number, &line))),
            }
        }
    }
}

fn pair(number: usize, line: &[u8]) -> Result<Line, LdifError> {
    let wrong = |text: &str| Err(LdifError::at(number, text));
    if line.len() > VALUE_MAX {
        return wrong("the value is longer than 16 MiB; leave it out");
    }
    if line == b"-" {
        return wrong(
            "this is part of a change record; the file must hold entries, as slapcat and ldapsearch write them",
        );
    }
    if line.first() == Some(&b' ') {
        return wrong(
            "the line begins with a blank but continues nothing; remove the blank or the empty line before it",
        );
    }
    let Some(colon) = line.iter().position(|octet| *octet == b':') else {
        return wrong("there is no colon; write NAME: VALUE, and begin a continued line with one blank");
    };
    let (name, rest) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_description(name)) else {
        return wrong(
            "the name before the colon is no attribute; names have letters, digits, hyphens, dots and options",
        );
    };
    let value = match rest.first() {
        Some(b'<') => {
            return wrong("a value by URL is not read; put the value itself here, as base64 behind two colons");
        }
        Some(b':') => {
            let text: Vec<u8> = rest.iter().skip(1).copied().filter(|octet| *octet != b' ').collect();
            match BASE64.decode(&text) {
                Ok(value) => value,
                Err(_) => return wrong("the value behind the two colons is no base64"),
            }
        }
        _ => {
            let begin = rest.iter().position(|octet| *octet != b' ').unwrap_or(rest.len());
            let value = rest.get(begin..).unwrap_or_default();
            if std::str::from_utf8(value).is_err() {
                return wrong(
                    "the value is not UTF-8; convert the file, or write the value as base64 behind two colons",
                );
            }
            value.to_vec()
        }
    };
    Ok(Line::Pair { name: name.to_owned(), value })
}

/// Whether text is an attribute description (RFC 4512 section 2.5): a name or an OID, and options.
fn is_description(text: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-.;_=".contains(&octet);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(allowed)
}
