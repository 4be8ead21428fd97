//! Requests on the wire, as far as transfers need them (RFC 1035 section 4).
//!
//! Nothing is allocated for what a message only claims to hold; compression pointers must point
//! backwards, so every walk ends.

use crate::{
    name::{self, NAME_MAX, Name},
    rr::rtype,
};

/// Octets of a header.
pub const HEADER: usize = 12;
/// Opcode of NOTIFY (RFC 1996).
pub const OPCODE_NOTIFY: u8 = 4;

/// A question with what a transfer needs besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The identifier, repeated in every reply.
    pub id: u16,
    /// The opcode, 0 for questions.
    pub opcode: u8,
    /// RD, repeated in replies.
    pub recursion_desired: bool,
    /// The name asked for, in lower case.
    pub name: Name,
    /// The type asked for.
    pub rtype: u16,
    /// The class asked for.
    pub class: u16,
    /// Whether the request has an OPT record (RFC 6891); replies have one then too.
    pub edns: bool,
    /// UDP payload that the client takes, at least 512.
    pub udp_payload: u16,
    /// Serial that an IXFR client has (RFC 1995 section 3).
    pub client_serial: Option<u32>,
    /// The question section as it came: clients compare the case of its letters.
    pub(super) question: Vec<u8>,
}

impl Request {
    /// Reads a request with one question; `None` if it is malformed, a reply, or an IXFR without a SOA.
    pub fn read(message: &[u8]) -> Option<Self> {
        let flags = u16_at(message, 2)?;
        if flags & 0x8000 != 0 || u16_at(message, 4)? != 1 {
            return None;
        }
        let length = name::wire_len(message.get(HEADER..)?)?;
        let question = message.get(HEADER..HEADER + length + 4)?;
        let mut request = Self {
            id: u16_at(message, 0)?,
            opcode: (flags >> 11 & 15) as u8,
            recursion_desired: flags & 0x0100 != 0,
            name: Name::from_wire(&question[..length].to_ascii_lowercase()),
            rtype: u16_at(question, length)?,
            class: u16_at(question, length + 2)?,
            edns: false,
            udp_payload: 512,
            client_serial: None,
            question: question.to_vec(),
        };
        let mut records = Records::new(message)?;
        while let Some(record) = records.next()? {
            match (record.section, record.rtype) {
                (Section::Authority, rtype::SOA) if request.rtype == rtype::IXFR => {
                    let serial = record.rdata.len().checked_sub(20)?;
                    let owner = read_name(message, record.start)?;
                    request.client_serial = Some(u32_at(record.rdata, serial)?).filter(|_| owner == request.name);
                }
                (Section::Additional, rtype::OPT) => {
                    request.edns = true;
                    request.udp_payload = record.class.max(512);
                }
                _ => {}
            }
        }
        (request.rtype != rtype::IXFR || request.client_serial.is_some()).then_some(request)
    }
}

/// Section of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// A record in its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub section: Section,
    /// Where its owner begins.
    pub start: usize,
    /// Where the next record begins.
    pub end: usize,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    pub rdata: &'a [u8],
}

/// Walks the records behind the question section.
pub(super) struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: [u16; 3],
}

impl<'a> Records<'a> {
    pub(super) fn new(message: &'a [u8]) -> Option<Self> {
        let mut at = HEADER;
        for _ in 0..u16_at(message, 4)? {
            at = skip_name(message, at)? + 4;
        }
        let left = [u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?];
        (at <= message.len()).then_some(Self { message, at, left })
    }

    /// `None`: malformed; `Some(None)`: the end, with nothing behind it.
    #[expect(clippy::option_option, reason = "the end and a fault are two things")]
    pub(super) fn next(&mut self) -> Option<Option<Raw<'a>>> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let Some(section) = self.left.iter().position(|count| *count > 0) else {
            return (self.at == self.message.len()).then_some(None);
        };
        self.left[section] -= 1;
        let (message, start) = (self.message, self.at);
        let fixed = skip_name(message, start)?;
        let rdata = fixed + 10;
        let end = rdata + usize::from(u16_at(message, fixed + 8)?);
        self.at = end;
        Some(Some(Raw {
            section: sections[section],
            start,
            end,
            rtype: u16_at(message, fixed)?,
            class: u16_at(message, fixed + 2)?,
            ttl: u32_at(message, fixed + 4)?,
            rdata: message.get(rdata..end)?,
        }))
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Where a name that begins at `at` ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            0xc0..=0xff => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start > NAME_MAX {
            return None;
        }
    }
}

/// The name that begins at `at`, without its compression and in lower case.
pub(super) fn read_name(message: &[u8], mut at: usize) -> Option<Name> {
    let mut out = Vec::with_capacity(64);
    let mut least = at;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => {
                out.push(0);
                return (out.len() <= NAME_MAX).then(|| Name::from_wire(&out));
            }
            1..=63 => {
                let label = message.get(at..at + 1 + usize::from(length))?;
                out.extend(label.iter().map(u8::to_ascii_lowercase));
                at += label.len();
            }
            0xc0..=0xff => {
                let target = usize::from(u16_at(message, at)? & 0x3fff);
                // Strictly backwards each time, so this ends.
                if target >= least {
                    return None;
                }
                (at, least) = (target, target);
            }
            _ => return None,
        }
        if out.len() >= NAME_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question() {
        let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01A\x00\x00\xfc\x00\x01".to_vec();
        message.extend(b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00");
        let request = Request::read(&message).unwrap();
        assert_eq!((request.id, request.opcode, request.rtype, request.class), (0x1234, 0, 252, 1));
        assert_eq!((request.name.to_string().as_str(), request.edns, request.udp_payload), ("a.", true, 4096));
        assert_eq!(&request.question[..3], b"\x01A\x00", "as it came");
        message.push(0);
        assert_eq!(Request::read(&message), None, "octets behind the last record");
        message.truncate(message.len() - 2);
        assert_eq!(Request::read(&message), None, "cut off");
    }

    #[test]
    fn an_ixfr_needs_the_soa_of_its_name() {
        let message = |owner: &[u8]| {
            let mut message = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x01a\x00\x00\xfb\x00\x01".to_vec();
            message.extend(owner);
            message.extend(b"\x00\x06\x00\x01\x00\x00\x00\x00\x00\x18\xc0\x0c\xc0\x0c\x00\x00\x00\x07");
            message.extend([0; 16]);
            message
        };
        assert_eq!(Request::read(&message(b"\xc0\x0c")).unwrap().client_serial, Some(7));
        assert_eq!(Request::read(&message(b"\x01b\x00")), None);
        assert_eq!(Request::read(&message(b"\xc0\x1a")), None, "a pointer to itself");
    }
}
