//! Octets of a request that are no UTF-8, where the codec takes text only.
//!
//! An assertion value may be any octets (RFC 4511 section 4.1.6), such as a certificate. What is compared here is text,
//! so an assertion with other octets is Undefined (section 4.5.1.7), and a name or password of other octets is
//! nobody's. Such parts are overwritten in place before the message is decoded: nothing moves and nothing is
//! allocated. The walk goes no deeper than [`DEPTH_MAX`].

use std::{ops::Range, str};

use super::{
    connection::DEPTH_MAX,
    frame::{self, tag},
};

/// What is no name of an attribute and no part of a DN: a filter with it is Undefined.
const NO_NAME: u8 = b'?';

/// Overwrites what is no text. Returns whether it is a bind with such a password; none if the message is no request
/// that could be decoded.
pub(super) fn make(message: &mut [u8]) -> Option<bool> {
    let whole = element(message, &(0..message.len()))?;
    let id = element(message, &whole.content)?;
    let operation = element(message, &id.rest)?;
    match operation.tag {
        tag::SEARCH => search(message, operation.content).map(|()| false),
        tag::BIND => bind(message, operation.content),
        _ => Some(false),
    }
}

/// An element of a message: its tag, where its content is, and where its siblings behind it are.
struct Element {
    tag: u8,
    content: Range<usize>,
    rest: Range<usize>,
}

fn element(message: &[u8], within: &Range<usize>) -> Option<Element> {
    let (tag, content, rest) = frame::element(message.get(within.clone())?)?;
    let end = within.end - rest.len();
    Some(Element { tag, content: end - content.len()..end, rest: end..within.end })
}

/// Overwrites a text that is none.
fn text(message: &mut [u8], place: &Range<usize>) -> Option<bool> {
    let octets = message.get_mut(place.clone())?;
    let is_text = str::from_utf8(octets).is_ok();
    if !is_text {
        octets.fill(NO_NAME);
    }
    Some(is_text)
}

fn bind(message: &mut [u8], body: Range<usize>) -> Option<bool> {
    let version = element(message, &body)?;
    let name = element(message, &version.rest)?;
    text(message, &name.content)?;
    let password = element(message, &name.rest)?;
    // The mechanisms of SASL have credentials of any octets.
    Some(password.tag == 0x80 && !text(message, &password.content)?)
}

fn search(message: &mut [u8], body: Range<usize>) -> Option<()> {
    let base = element(message, &body)?;
    text(message, &base.content)?;
    // Scope, aliases, size, time, types.
    let mut rest = base.rest;
    for _ in 0..5 {
        rest = element(message, &rest)?.rest;
    }
    let asked = element(message, &rest)?;
    filter(message, &asked, DEPTH_MAX)?;
    let names = element(message, &asked.rest)?;
    let mut rest = names.content;
    while !rest.is_empty() {
        let name = element(message, &rest)?;
        text(message, &name.content)?;
        rest = name.rest;
    }
    Some(())
}

/// Makes the assertions of a filter readable (RFC 4511 section 4.5.1).
fn filter(message: &mut [u8], part: &Element, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match part.tag {
        0xa0..=0xa2 => {
            let mut rest = part.content.clone();
            while !rest.is_empty() {
                let inner = element(message, &rest)?;
                filter(message, &inner, depth)?;
                rest = inner.rest;
            }
        }
        0x87 => {
            text(message, &part.content)?;
        }
        0xa3..=0xa6 | 0xa8 | 0xa9 => assertion(message, part)?,
        _ => return None,
    }
    Some(())
}

/// Makes one assertion readable: if any part of it is no text, its attribute loses its name.
fn assertion(message: &mut [u8], part: &Element) -> Option<()> {
    let mut is_text = true;
    let mut name = None;
    let mut rest = part.content.clone();
    while !rest.is_empty() {
        let inner = element(message, &rest)?;
        rest = inner.rest.clone();
        // The type of an extensible match has a tag of its own; of other assertions it comes first.
        if inner.tag == 0x82 || (part.tag != 0xa9 && name.is_none()) {
            name = Some(inner.content.clone());
        }
        if inner.tag != 0x30 || part.tag != 0xa4 {
            is_text &= text(message, &inner.content)?;
            continue;
        }
        let mut pieces = inner.content;
        while !pieces.is_empty() {
            let piece = element(message, &pieces)?;
            is_text &= text(message, &piece.content)?;
            pieces = piece.rest;
        }
    }
    if let Some(name) = name.filter(|_| !is_text) {
        message.get_mut(name)?.fill(NO_NAME);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use ldap3_proto::{LdapCodec, LdapFilter, proto::LdapOp};
    use tokio_util::codec::Decoder;

    use super::*;
    use crate::filter::Filter;

    fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, 0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], &content].concat()
    }

    fn asked(filter: &[u8]) -> Option<LdapFilter> {
        let fixed = [10, 1, 2, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0];
        let search = wrap(0x63, &[&wrap(4, &[b"dc=acme"]), &fixed, filter, &wrap(0x30, &[])]);
        let mut message = BytesMut::from(&wrap(0x30, &[&[2, 1, 1], &search])[..]);
        assert_eq!(make(&mut message), Some(false));
        match LdapCodec::default().decode(&mut message).ok()??.op {
            LdapOp::SearchRequest(search) => Some(search.filter),
            _ => None,
        }
    }

    #[test]
    fn an_assertion_of_any_octets_is_undefined_and_so_is_its_negation() {
        let der = [0x30, 0x82, 0xff, 0xfe];
        let name = wrap(4, &[b"userCertificate;binary"]);
        let equal = wrap(0xa3, &[&name, &wrap(4, &[&der])]);
        let pieces = wrap(0xa4, &[&name, &wrap(0x30, &[&wrap(0x80, &[&der])])]);
        let rule = wrap(0xa9, &[&wrap(0x82, &[b"userCertificate"]), &wrap(0x83, &[&der])]);
        let nobody = Filter::compile(&LdapFilter::Equality("??".into(), "x".into())).unwrap();
        for odd in [&equal, &pieces, &rule] {
            assert_eq!(Filter::compile(&asked(odd).unwrap()), Ok(nobody.clone()), "{odd:x?}");
        }
        let right = wrap(0xa3, &[&wrap(4, &[b"uid"]), &wrap(4, &["jürgen".as_bytes()])]);
        let both = asked(&wrap(0xa0, &[&right, &wrap(0xa2, &[&equal])])).unwrap();
        let LdapFilter::And(parts) = both else { panic!("{both:?}") };
        assert_eq!(parts[0], LdapFilter::Equality("uid".into(), "jürgen".into()), "text is left alone");
        assert!(matches!(&parts[1], LdapFilter::Not(_)));
    }

    #[test]
    fn a_password_of_any_octets_is_told_from_one_of_question_marks() {
        let bind = |password: &[u8]| {
            let body = wrap(0x60, &[&[2, 1, 3], &wrap(4, &[b"uid=ada"]), &wrap(0x80, &[password])]);
            make(&mut wrap(0x30, &[&[2, 1, 1], &body]))
        };
        assert_eq!(bind(b"??"), Some(false));
        assert_eq!(bind(&[0xff, 0xfe]), Some(true));
    }

    #[test]
    fn broken_messages_are_none() {
        assert_eq!(make(&mut []), None);
        let mut deep = wrap(0x87, &[b"uid"]);
        for _ in 0..=DEPTH_MAX {
            deep = wrap(0xa2, &[&deep]);
        }
        let search = wrap(0x63, &[&wrap(4, &[]), &[10, 1, 2, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0], &deep]);
        assert_eq!(make(&mut wrap(0x30, &[&[2, 1, 1], &search])), None);
    }
}
