//! BER as LDAP uses it (RFC 4511 section 5.1): one-octet tags, definite lengths. Reading never copies and never panics.
//!
//! Limits: [`DEPTH_MAX`] levels, [`ELEMENTS_MAX`] elements in a message, lengths of four octets.

/// Levels of nesting in a message; what servers send has seven at most.
const DEPTH_MAX: usize = 16;
/// Elements of one message: a group of 400,000 members fits.
const ELEMENTS_MAX: usize = 500_000;

/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub(super) const OCTETS: u8 = 0x04;
/// ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET.
pub(super) const SET: u8 = 0x31;

/// Octets that are no BER, or not the kind that LDAP allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadBer {
    /// A tag of several octets.
    #[error("a tag of several octets")]
    Tag,
    /// A length that is indefinite, or has more than four octets.
    #[error("a length that is indefinite or too long")]
    Length,
    /// An element that is longer than what it is in.
    #[error("an element that is cut off")]
    Short,
    /// Nested too deeply.
    #[error("more than 16 levels of nesting")]
    Deep,
    /// Too many elements.
    #[error("more than 500,000 elements in a message")]
    Many,
    /// Another element than the one that must stand there.
    #[error("an element that is not the expected one")]
    Unexpected,
}

/// Octets of the header and of the value, once the header is there whole; `None` when more octets are needed.
pub(super) fn header(octets: &[u8]) -> Result<Option<(usize, usize)>, BadBer> {
    let Some(tag) = octets.first() else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(BadBer::Tag);
    }
    let Some(first) = octets.get(1) else { return Ok(None) };
    match first {
        0..=0x7f => Ok(Some((2, usize::from(*first)))),
        0x81..=0x84 => {
            let n = usize::from(first & 0x7f);
            let Some(length) = octets.get(2..2 + n) else { return Ok(None) };
            let length = length.iter().fold(0usize, |sum, octet| sum << 8 | usize::from(*octet));
            Ok(Some((2 + n, length)))
        }
        _ => Err(BadBer::Length),
    }
}

/// Elements, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: tag and value.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, BadBer> {
        let Some(&tag) = self.0.first() else { return Ok(None) };
        let (skip, length) = header(self.0)?.ok_or(BadBer::Short)?;
        let rest = self.0.get(skip..).ok_or(BadBer::Short)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(BadBer::Short)?;
        self.0 = rest;
        Ok(Some((tag, value)))
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], BadBer> {
        match self.next()? {
            Some((found, value)) if found == tag => Ok(value),
            _ => Err(BadBer::Unexpected),
        }
    }

    /// The next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, BadBer> {
        if self.0.first() == Some(&tag) { self.next().map(|found| found.map(|(_, value)| value)) } else { Ok(None) }
    }
}

/// A BOOLEAN's value.
pub(super) fn boolean(value: &[u8]) -> Result<bool, BadBer> {
    match value {
        [octet] => Ok(*octet != 0),
        _ => Err(BadBer::Unexpected),
    }
}

/// The value of an INTEGER or ENUMERATED that is not negative.
pub(super) fn number(value: &[u8]) -> Result<u32, BadBer> {
    match value {
        [first, ..] if first & 0x80 == 0 && value.len() <= 4 => {
            Ok(value.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet)))
        }
        _ => Err(BadBer::Unexpected),
    }
}

/// Whether a whole message is well formed down to its leaves; returns the tag of its operation.
pub(super) fn check(message: &[u8]) -> Result<u8, BadBer> {
    let mut outer = Reader(message);
    let mut body = Reader(outer.expect(SEQUENCE)?);
    let mut elements = 0;
    walk(body, 1, &mut elements)?;
    number(body.expect(INTEGER)?)?;
    body.next()?.map(|(tag, _)| tag).ok_or(BadBer::Short)
}

fn walk(mut reader: Reader<'_>, depth: usize, elements: &mut usize) -> Result<(), BadBer> {
    if depth > DEPTH_MAX {
        return Err(BadBer::Deep);
    }
    while let Some((tag, value)) = reader.next()? {
        *elements += 1;
        if *elements > ELEMENTS_MAX {
            return Err(BadBer::Many);
        }
        if tag & 0x20 != 0 {
            walk(Reader(value), depth + 1, elements)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_definite_and_short() {
        assert_eq!(header(&[0x30]), Ok(None));
        assert_eq!(header(&[0x30, 0x05]), Ok(Some((2, 5))));
        assert_eq!(header(&[0x30, 0x82, 0x01]), Ok(None));
        assert_eq!(header(&[0x30, 0x82, 0x01, 0x00]), Ok(Some((4, 256))));
        assert_eq!(header(&[0x30, 0x80]), Err(BadBer::Length));
        assert_eq!(header(&[0x30, 0x85, 0, 0, 0, 0, 1]), Err(BadBer::Length));
        assert_eq!(header(&[0x1f, 0x85]), Err(BadBer::Tag));
    }

    #[test]
    fn deep_messages_are_refused_without_recursing_into_them() {
        let mut octets = vec![0x02, 0x01, 0x01];
        for _ in 0..17 {
            let inner = std::mem::take(&mut octets);
            octets = vec![0x30, u8::try_from(inner.len()).unwrap()];
            octets.extend(inner);
        }
        assert_eq!(check(&octets), Err(BadBer::Deep));
        assert_eq!(check(&[0x30, 0x05, 0x02, 0x01, 0x07, 0x65, 0x00]), Ok(0x65));
        assert_eq!(check(&[0x30, 0x05, 0x02, 0x01, 0x07, 0x65, 0x01]), Err(BadBer::Short));
        assert_eq!(check(&[0x30, 0x03, 0x02, 0x01, 0x07]), Err(BadBer::Short));
    }
}
