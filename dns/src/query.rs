//! Reading a query: the header, its one question, and EDNS.
//!
//! Strangers send these bytes. Nothing is allocated, every offset is checked, and whatever is wrong
//! ends as a [`Fault`] that says which answer, if any, the RFCs want.

use smallvec::SmallVec;

use crate::{
    name::NAME_MAX,
    rr::{rcode, rtype},
    table::{Hashed, Index},
};

/// Octets of a DNS header.
pub(crate) const HEADER: usize = 12;

/// Header bits in octets 2 and 3.
pub(crate) mod flag {
    /// Response.
    pub(crate) const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub(crate) const AA: u16 = 0x0400;
    /// Truncated.
    pub(crate) const TC: u16 = 0x0200;
    /// Recursion desired.
    pub(crate) const RD: u16 = 0x0100;
    /// Recursion available.
    pub(crate) const RA: u16 = 0x0080;
    /// Checking disabled.
    pub(crate) const CD: u16 = 0x0010;
    /// Bits of the operation code.
    pub(crate) const OPCODE: u16 = 0x7800;
}

/// EDNS of a query (RFC 6891) as far as we act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns<'a> {
    /// UDP payload that the client takes, at least 512.
    pub(crate) payload: u16,
    /// EDNS version; we know 0.
    pub(crate) version: u8,
    /// DNSSEC OK, copied back (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// DNS cookie option (RFC 7873), with whatever length.
    pub(crate) cookie: Option<&'a [u8]>,
    /// NSID asked for (RFC 5001).
    pub(crate) nsid: bool,
    /// edns-tcp-keepalive sent (RFC 7828).
    pub(crate) keepalive: bool,
}

/// A query that can be answered.
pub(crate) struct Query<'a> {
    /// The whole message.
    pub(crate) raw: &'a [u8],
    name: SmallVec<[u8; 64]>,
    index: Index,
    /// Type asked for.
    pub(crate) qtype: u16,
    /// Class asked for.
    pub(crate) qclass: u16,
    /// Where the question ends.
    pub(crate) question_end: usize,
    /// EDNS, if sent.
    pub(crate) edns: Option<Edns<'a>>,
    /// A TSIG record closes the message.
    pub(crate) signed: bool,
    /// SOA serial of the zone that the client has, from the authority section of an IXFR query.
    pub(crate) ixfr_serial: Option<u32>,
}

impl Query<'_> {
    /// Name asked for, in lower case.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name asked for, ready to be looked up.
    #[inline]
    pub(crate) fn hashed(&self) -> Hashed<'_> {
        Hashed::with(&self.name, &self.index)
    }

    /// Hash of the name asked for.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.index.hash()
    }

    /// Octets that a reply over UDP may have, given our own limit.
    pub(crate) fn udp_limit(&self, ours: u16) -> usize {
        usize::from(self.edns.as_ref().map_or(512, |edns| edns.payload.min(ours).max(512)))
    }

    /// Flags of the header.
    pub(crate) fn flags(&self) -> u16 {
        u16::from_be_bytes([self.raw[2], self.raw[3]])
    }
}

/// Why a message is no query that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Too short for a header, or itself a response: silence, or two servers talk for ever.
    Silence,
    /// The header is answered with this code and nothing else.
    Code(u16),
}

const FORMERR: Fault = Fault::Code(rcode::FORMERR);

/// Records before the additional section that are skipped at most; an IXFR query has one.
const RECORDS_MAX: u16 = 64;

/// Reads a query.
pub(crate) fn parse(raw: &[u8]) -> Result<Query<'_>, Fault> {
    let Some(header) = raw.first_chunk::<HEADER>() else { return Err(Fault::Silence) };
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = number(2);
    if flags & flag::QR != 0 {
        return Err(Fault::Silence);
    }
    if flags & flag::OPCODE != 0 {
        return Err(Fault::Code(rcode::NOTIMP));
    }
    let (questions, others, additional) = (number(4), number(6).saturating_add(number(8)), number(10));
    if questions > 1 || others > RECORDS_MAX || additional > RECORDS_MAX {
        return Err(FORMERR); // RFC 9619
    }
    let mut query = Query {
        raw,
        name: SmallVec::from_slice(&[0]),
        index: Index::of(&[0]),
        qtype: 0,
        qclass: 0,
        question_end: HEADER,
        edns: None,
        signed: false,
        ixfr_serial: None,
    };
    if questions == 1 {
        question(&mut query)?;
    }
    let mut at = query.question_end;
    for _ in 0..others {
        let record = record(raw, at)?;
        if query.qtype == rtype::IXFR && record.rtype == rtype::SOA {
            query.ixfr_serial = soa_serial(raw, &record);
        }
        at = record.end;
    }
    for i in 0..additional {
        let record = record(raw, at)?;
        match record.rtype {
            rtype::OPT if query.edns.is_some() || !record.root_owner => return Err(FORMERR),
            rtype::OPT => query.edns = Some(edns(raw, &record)?),
            rtype::TSIG if i + 1 == additional => query.signed = true,
            rtype::TSIG => return Err(FORMERR), // RFC 8945 section 5.1: it must be the last
            _ => {}
        }
        at = record.end;
    }
    // Without a question only a cookie makes sense (RFC 7873 section 5.4).
    let only_cookie = questions == 0 && query.edns.is_some_and(|edns| edns.cookie.is_some());
    if at != raw.len() || questions == 0 && !only_cookie {
        return Err(FORMERR);
    }
    Ok(query)
}

/// Cuts a reply down to header and question with TC set: the client comes again over TCP.
pub(crate) fn cut_to_question(raw: &[u8], reply: &mut Vec<u8>) {
    let Ok(query) = parse(raw) else { return };
    if reply.len() < query.question_end {
        return;
    }
    reply.truncate(query.question_end);
    reply[2] |= (flag::TC >> 8) as u8;
    reply[6..HEADER].fill(0);
}

fn question(query: &mut Query<'_>) -> Result<(), Fault> {
    let wire = &query.raw[HEADER..];
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at).ok_or(FORMERR)?);
        let next = at + 1 + length;
        // A compression pointer has nothing to point at here, so it is as wrong as a label of 64.
        if length > 63 || next > NAME_MAX {
            return Err(FORMERR);
        }
        at = next;
        if length == 0 {
            break;
        }
    }
    query.name = SmallVec::from_slice(wire.get(..at).ok_or(FORMERR)?);
    // Length octets are below 64, so lowering all octets at once leaves them alone.
    query.name.make_ascii_lowercase();
    query.index = Index::of(&query.name);
    let tail = wire.get(at..at + 4).ok_or(FORMERR)?;
    query.qtype = u16::from_be_bytes([tail[0], tail[1]]);
    query.qclass = u16::from_be_bytes([tail[2], tail[3]]);
    query.question_end = HEADER + at + 4;
    Ok(())
}

/// A record that is looked at only for its frame.
struct Record {
    root_owner: bool,
    rtype: u16,
    class: u16,
    ttl: u32,
    data: usize,
    end: usize,
}

fn record(raw: &[u8], start: usize) -> Result<Record, Fault> {
    let mut at = start;
    loop {
        let length = *raw.get(at).ok_or(FORMERR)?;
        match length {
            0 => break at += 1,
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => break at += 2,
            _ => return Err(FORMERR),
        }
    }
    let head = raw.get(at..at + 10).ok_or(FORMERR)?;
    let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
    let (data, end) = (at + 10, at + 10 + length);
    if end > raw.len() {
        return Err(FORMERR);
    }
    Ok(Record {
        root_owner: at == start + 1,
        rtype: u16::from_be_bytes([head[0], head[1]]),
        class: u16::from_be_bytes([head[2], head[3]]),
        ttl: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        data,
        end,
    })
}

/// The serial stands 20 octets before the end of SOA data, whatever names come first.
fn soa_serial(raw: &[u8], record: &Record) -> Option<u32> {
    let data = &raw[record.data..record.end];
    let numbers = data.len().checked_sub(20)?;
    data.get(numbers..numbers + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn edns<'a>(raw: &'a [u8], record: &Record) -> Result<Edns<'a>, Fault> {
    let mut edns = Edns {
        payload: record.class.max(512),
        version: (record.ttl >> 16) as u8,
        dnssec_ok: record.ttl & 0x8000 != 0,
        cookie: None,
        nsid: false,
        keepalive: false,
    };
    let mut options = &raw[record.data..record.end];
    while !options.is_empty() {
        let (head, rest) = options.split_first_chunk::<4>().ok_or(FORMERR)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(length).ok_or(FORMERR)?;
        match u16::from_be_bytes([head[0], head[1]]) {
            3 => edns.nsid = true,
            10 if edns.cookie.is_none() => edns.cookie = Some(data),
            11 => edns.keepalive = true,
            _ => {} // RFC 6891 section 6.1.2: unknown options are ignored
        }
        options = rest;
    }
    Ok(edns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03WwW\x04acme\x07private\0\0\x01\0\x01";

    fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut message = PLAIN.to_vec();
        change(&mut message);
        message
    }

    fn fault(message: &[u8]) -> Option<Fault> {
        parse(message).err()
    }

    #[test]
    fn a_plain_query() {
        let query = parse(PLAIN).ok().unwrap();
        assert_eq!(query.name(), b"\x03www\x04acme\x07private\0");
        assert_eq!((query.qtype, query.qclass, query.question_end), (1, 1, PLAIN.len()));
        assert!(query.edns.is_none() && !query.signed);
    }

    #[test]
    fn what_is_met_with_silence() {
        assert_eq!(fault(b""), Some(Fault::Silence));
        assert_eq!(fault(&PLAIN[..11]), Some(Fault::Silence));
        assert_eq!(fault(&with(|m| m[2] |= 0x80)), Some(Fault::Silence));
    }

    #[test]
    fn what_is_met_with_a_code() {
        assert_eq!(fault(&with(|m| m[2] |= 0x28)), Some(Fault::Code(rcode::NOTIMP)));
        assert_eq!(fault(&with(|m| m[5] = 2)), Some(FORMERR));
        assert_eq!(fault(&with(|m| m[5] = 0)), Some(FORMERR));
        assert_eq!(fault(&with(|m| m[11] = 1)), Some(FORMERR));
        assert_eq!(fault(&with(|m| m[12] = 0xc0)), Some(FORMERR));
        assert_eq!(fault(&with(|m| m.push(0))), Some(FORMERR));
        for cut in 12..PLAIN.len() {
            assert_eq!(fault(&PLAIN[..cut]), Some(FORMERR), "cut at {cut}");
        }
    }

    #[test]
    fn edns_is_read() {
        let opt = b"\0\0\x29\x01\x00\x00\x01\x80\x00\0\x10\0\x03\0\0\0\x0a\0\x08abcdefgh";
        let message = with(|m| {
            m[11] = 1;
            m.extend_from_slice(opt);
        });
        let edns = parse(&message).ok().unwrap().edns.unwrap();
        assert_eq!((edns.payload, edns.version, edns.dnssec_ok, edns.nsid), (512, 1, true, true));
        assert_eq!(edns.cookie, Some(&b"abcdefgh"[..]));
        let twice = with(|m| {
            m[11] = 2;
            m.extend_from_slice(opt);
            m.extend_from_slice(opt);
        });
        assert_eq!(fault(&twice), Some(FORMERR));
    }
}
