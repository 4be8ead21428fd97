//! Answers, written straight into the buffer that goes to the socket.
//!
//! An answer is written in one pass, its length filled in behind. Up to 127 octets the length has the short form; longer
//! ones have the five-octet form (`84` and four octets), which BER allows. Active Directory writes the same, so every
//! client reads it. Entries of the content come with their own, shortest lengths.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use ldap3_proto::proto::LdapResultCode as Code;

use super::frame;
use crate::tree::ber;

/// Tags of the responses (RFC 4511 section 4).
pub(super) mod tag {
    pub(in crate::server) const BIND: u8 = 0x61;
    pub(in crate::server) const ENTRY: u8 = 0x64;
    pub(in crate::server) const DONE: u8 = 0x65;
    pub(in crate::server) const MODIFY: u8 = 0x67;
    pub(in crate::server) const ADD: u8 = 0x69;
    pub(in crate::server) const DELETE: u8 = 0x6b;
    pub(in crate::server) const MODIFY_DN: u8 = 0x6d;
    pub(in crate::server) const COMPARE: u8 = 0x6f;
    pub(in crate::server) const EXTENDED: u8 = 0x78;
}

/// The end of an operation: code, the part of the DN that exists, and a sentence for people.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) code: Code,
    pub(super) matched: String,
    pub(super) text: Cow<'static, str>,
}

impl Outcome {
    /// Success without words.
    pub(super) const SUCCESS: Self = Self { code: Code::Success, matched: String::new(), text: Cow::Borrowed("") };

    /// A code and a sentence.
    pub(super) fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, matched: String::new(), text: text.into() }
    }

    /// noSuchObject with the nearest entry that exists.
    pub(super) fn no_such_object(matched: String) -> Self {
        Self { code: Code::NoSuchObject, matched, text: Cow::Borrowed("") }
    }
}

/// Writes a constructed element around what `content` writes.
pub(super) fn constructed(out: &mut BytesMut, tag: u8, content: impl FnOnce(&mut BytesMut)) {
    out.put_slice(&[tag, 0x84, 0, 0, 0, 0]);
    let start = out.len();
    content(out);
    let length = out.len() - start;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.copy_within(start.., start - 4);
        out.truncate(start - 4 + length);
        if let Some(place) = out.get_mut(start - 5) {
            *place = short;
        }
    } else if let Some(place) = out.get_mut(start - 4..start) {
        place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// Writes an octet string, or another primitive element, in the shortest form.
pub(super) fn octets(out: &mut BytesMut, tag: u8, content: &[u8]) {
    out.put_u8(tag);
    match content.len() {
        length @ 0..=0x7f => out.put_u8(length as u8),
        length @ 0x80..=0xffff => {
            out.put_u8(0x82);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(0x84);
            out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        }
    }
    out.put_slice(content);
}

/// Writes an INTEGER or ENUMERATED.
pub(super) fn integer(out: &mut BytesMut, tag: u8, value: i64) {
    let bytes = value.to_be_bytes();
    let bits = 64 - (if value < 0 { !value } else { value }).leading_zeros() as usize;
    let used = bits / 8 + 1;
    octets(out, tag, bytes.get(8 - used..).unwrap_or(&bytes));
}

/// Writes a whole message around one operation; `controls` writes the controls, if there are any.
pub(super) fn message(out: &mut BytesMut, id: i32, tag: u8, operation: impl FnOnce(&mut BytesMut)) {
    constructed(out, 0x30, |out| {
        integer(out, 0x02, id.into());
        constructed(out, tag, operation);
    });
}

/// Writes a message around each of several operations that are there already, tag and length included.
pub(super) fn operations(out: &mut BytesMut, id: i32, operations: &[u8]) {
    let mut rest = operations;
    while let Some((_, _, behind)) = frame::element(rest) {
        let operation = rest.get(..rest.len() - behind.len()).unwrap_or_default();
        let whole = ber::integer_size(id) + operation.len();
        out.reserve(ber::size(whole));
        ber::header(ber::SEQUENCE, whole, out);
        ber::integer(id, out);
        out.put_slice(operation);
        rest = behind;
    }
}

/// Writes a result without anything else.
pub(super) fn result(out: &mut BytesMut, id: i32, tag: u8, outcome: &Outcome) {
    message(out, id, tag, |out| fields(out, outcome));
}

/// Writes a result with one response control.
pub(super) fn result_with(out: &mut BytesMut, id: i32, tag: u8, outcome: &Outcome, oid: &str, value: &[u8]) {
    constructed(out, 0x30, |out| {
        integer(out, 0x02, id.into());
        constructed(out, tag, |out| fields(out, outcome));
        constructed(out, 0xa0, |out| {
            constructed(out, 0x30, |out| {
                octets(out, 0x04, oid.as_bytes());
                octets(out, 0x04, value);
            });
        });
    });
}

/// Writes an ExtendedResponse (RFC 4511 section 4.12).
pub(super) fn extended(out: &mut BytesMut, id: i32, outcome: &Outcome, name: Option<&str>, value: Option<&[u8]>) {
    message(out, id, tag::EXTENDED, |out| {
        fields(out, outcome);
        if let Some(name) = name {
            octets(out, 0x8a, name.as_bytes());
        }
        if let Some(value) = value {
            octets(out, 0x8b, value);
        }
    });
}

/// Writes the Notice of Disconnection (RFC 4511 section 4.4.1).
pub(super) fn disconnection(out: &mut BytesMut, code: Code, text: impl Into<Cow<'static, str>>) {
    extended(out, 0, &Outcome::new(code, text), Some("1.3.6.1.4.1.1466.20036"), None);
}

/// Writes a SearchResultEntry whose attribute list `attributes` writes.
pub(super) fn entry(out: &mut BytesMut, id: i32, dn: &str, attributes: impl FnOnce(&mut BytesMut)) {
    message(out, id, tag::ENTRY, |out| {
        octets(out, 0x04, dn.as_bytes());
        attributes(out);
    });
}

/// The value of a paged results response (RFC 2696 section 2): an estimate of the whole, and the cookie.
pub(super) fn paged(total: usize, cookie: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    constructed(&mut out, 0x30, |out| {
        integer(out, 0x02, i64::try_from(total).unwrap_or(i64::MAX).min(i64::from(i32::MAX)));
        octets(out, 0x04, cookie);
    });
    out
}

fn fields(out: &mut BytesMut, outcome: &Outcome) {
    integer(out, 0x0a, outcome.code.clone() as i64);
    octets(out, 0x04, outcome.matched.as_bytes());
    octets(out, 0x04, outcome.text.as_bytes());
}

#[cfg(test)]
mod tests {
    use ldap3_proto::{LdapCodec, LdapMsg, proto::LdapOp};
    use tokio_util::codec::Decoder;

    use super::*;

    fn read(mut out: BytesMut) -> LdapMsg {
        let message = LdapCodec::default().decode(&mut out).unwrap().unwrap();
        assert!(out.is_empty());
        message
    }

    #[test]
    fn a_client_reads_what_is_written() {
        let mut out = BytesMut::new();
        let text = "x".repeat(300);
        result(&mut out, 70_000, tag::DONE, &Outcome::new(Code::UnwillingToPerform, text.clone()));
        let message = read(out);
        assert_eq!(message.msgid, 70_000);
        let LdapOp::SearchResultDone(done) = message.op else { panic!("{message:?}") };
        assert_eq!((done.code, done.message), (Code::UnwillingToPerform, text));

        let mut out = BytesMut::new();
        result(&mut out, 1, tag::DONE, &Outcome::SUCCESS);
        assert_eq!(out[..], [0x30, 12, 2, 1, 1, 0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0], "as short as it can be");

        let mut out = BytesMut::new();
        disconnection(&mut out, Code::ProtocolError, "no");
        let LdapOp::ExtendedResponse(notice) = read(out).op else { panic!() };
        assert_eq!(notice.name.as_deref(), Some("1.3.6.1.4.1.1466.20036"));

        let mut out = BytesMut::new();
        result_with(&mut out, 1, tag::DONE, &Outcome::SUCCESS, "1.2.840.113556.1.4.319", &paged(300, b"c"));
        let [ldap3_proto::control::LdapControl::SimplePagedResults { size: 300, cookie }] = &read(out).ctrl[..] else {
            panic!()
        };
        assert_eq!(cookie, b"c");
    }

    #[test]
    fn integers_have_their_shortest_form() {
        for (value, expected) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (255, &[0, 255]),
            (256, &[1, 0]),
            (-1, &[0xff]),
            (-129, &[0xff, 0x7f]),
            (i64::from(i32::MAX), &[0x7f, 0xff, 0xff, 0xff]),
        ] {
            let mut out = BytesMut::new();
            integer(&mut out, 2, value);
            assert_eq!(&out[2..], expected, "{value}");
        }
    }
}
