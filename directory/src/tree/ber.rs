//! The little of BER (X.690, definite lengths) that search results are made of.

use bytes::{BufMut, BytesMut};

pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[APPLICATION 4]`: SearchResultEntry.
pub(crate) const SEARCH_ENTRY: u8 = 0x64;

/// Octets of tag and length in front of `length` octets.
pub(crate) fn header_size(length: usize) -> usize {
    match length {
        0..0x80 => 2,
        0x80..0x100 => 3,
        0x100..0x1_0000 => 4,
        _ => 6,
    }
}

/// Octets of a whole element with `length` octets of content.
pub(crate) fn size(length: usize) -> usize {
    header_size(length) + length
}

/// Appends tag and length. Nothing of more than 4 GiB is ever encoded.
pub(crate) fn header(tag: u8, length: usize, out: &mut BytesMut) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let [first, second, third, fourth] = length.to_be_bytes();
    match length {
        0..0x80 => out.put_slice(&[tag, fourth]),
        0x80..0x100 => out.put_slice(&[tag, 0x81, fourth]),
        0x100..0x1_0000 => out.put_slice(&[tag, 0x82, third, fourth]),
        _ => out.put_slice(&[tag, 0x84, first, second, third, fourth]),
    }
}

/// Appends a primitive element.
pub(crate) fn element(tag: u8, content: &[u8], out: &mut BytesMut) {
    header(tag, content.len(), out);
    out.put_slice(content);
}

/// Appends a PartialAttribute (RFC 4511 section 4.1.7).
pub(crate) fn attribute<'a>(name: &str, values: impl Iterator<Item = &'a [u8]> + Clone, out: &mut BytesMut) {
    let content: usize = values.clone().map(|value| size(value.len())).sum();
    header(SEQUENCE, size(name.len()) + size(content), out);
    element(OCTETS, name.as_bytes(), out);
    header(SET, content, out);
    for value in values {
        element(OCTETS, value, out);
    }
}

/// The length in front of an element's content, and what follows the length.
fn open(element: &[u8]) -> Option<(usize, &[u8])> {
    let (_tag, rest) = element.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    Some((length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest))
}

/// Name and values of a PartialAttribute that was made here.
pub(crate) fn read_attribute(element: &[u8]) -> Option<(&str, Values<'_>)> {
    let (_, list) = open(element)?;
    let (length, rest) = open(list)?;
    let (name, set) = rest.split_at_checked(length)?;
    let (_, values) = open(set)?;
    Some((std::str::from_utf8(name).ok()?, Values(values)))
}

/// The values of a PartialAttribute.
#[derive(Clone)]
pub(crate) struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = open(self.0)?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}

/// The INTEGER of a message id: as few octets as possible.
pub(crate) fn integer(value: i32, out: &mut BytesMut) {
    let octets = value.to_be_bytes();
    let is_needless = |at: &usize| {
        let (this, next) = (octets.get(*at), octets.get(at + 1));
        matches!((this, next), (Some(0), Some(0..0x80)) | (Some(0xff), Some(0x80..)))
    };
    let skip = (0..3).take_while(is_needless).count();
    element(0x02, octets.get(skip..).unwrap_or(&octets), out);
}

/// Octets of [`integer`].
pub(crate) fn integer_size(value: i32) -> usize {
    let bits = 33 - if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    2 + usize::try_from(bits.div_ceil(8)).unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_as_few_octets_as_possible() {
        for (value, expected) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-1, &[2, 1, 255]),
            (-129, &[2, 2, 255, 127]),
            (65_536, &[2, 3, 1, 0, 0]),
            (i32::MAX, &[2, 4, 127, 255, 255, 255]),
            (i32::MIN, &[2, 4, 128, 0, 0, 0]),
        ] {
            let mut out = BytesMut::new();
            integer(value, &mut out);
            assert_eq!((&out[..], out.len()), (expected, integer_size(value)), "{value}");
        }
    }

    #[test]
    fn an_attribute_is_read_as_it_was_written() {
        for values in [&[][..], &[&b""[..]], &[b"a", &[7; 300], &[9; 70_000]]] {
            let mut out = BytesMut::new();
            attribute("uid;x", values.iter().copied(), &mut out);
            let (name, read) = read_attribute(&out).unwrap();
            assert_eq!((name, read.collect::<Vec<_>>()), ("uid;x", values.to_vec()));
            assert!(
                (0..out.len())
                    .all(|end| read_attribute(&out[..end]).is_none_or(|(_, cut)| cut.count() <= values.len()))
            );
        }
    }

    #[test]
    fn lengths_are_definite() {
        for length in [0, 127, 128, 255, 256, 65_535, 65_536, 1 << 25] {
            let mut out = BytesMut::new();
            header(SEQUENCE, length, &mut out);
            assert_eq!(out.len(), header_size(length), "{length}");
        }
    }
}
