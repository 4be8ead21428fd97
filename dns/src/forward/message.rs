//! Messages in wire form (RFC 1035 section 4): where their records are, queries taken apart,
//! replies put together.
//!
//! Nothing is decoded that need not be: a forwarded reply is kept as it came, with the places of
//! its TTLs. All reading is bounded by the message; whatever does not parse is `None`.

use crate::{
    name,
    rr::{rcode, rtype},
};

/// Octets of the header.
pub const HEADER: usize = 12;
pub(super) const FLAG_QR: u8 = 0x80;
pub(super) const FLAG_TC: u8 = 0x02;
const FLAG_RD: u8 = 0x01;
const FLAG_RA: u8 = 0x80;
pub(super) const FLAG_AD: u8 = 0x20;
const FLAG_CD: u8 = 0x10;
const OPTION_EDE: u16 = 15;

/// Extended DNS errors (RFC 8914 section 4) that a forwarder gives.
#[allow(missing_docs)]
pub mod ede {
    pub const STALE_ANSWER: u16 = 3;
    pub const STALE_NXDOMAIN_ANSWER: u16 = 19;
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub const NETWORK_ERROR: u16 = 23;
}

/// Where one record lies in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First octet of the owner.
    pub start: usize,
    /// First octet of the type; class, TTL and length follow.
    pub fixed: usize,
    /// First octet of the RDATA.
    pub rdata: usize,
    /// First octet after the record.
    pub end: usize,
    /// 0 answer, 1 authority, 2 additional.
    pub section: u8,
    /// Type.
    pub rtype: u16,
    /// Class; the payload size of an OPT.
    pub class: u16,
    /// TTL; the flags of an OPT.
    pub ttl: u32,
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*message.get(at..)?.first_chunk()?))
}

pub(super) fn put_u16(message: &mut [u8], at: usize, value: u16) {
    if let Some(place) = message.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The octet after the name at `at`, whether or not it ends in a pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start > name::NAME_MAX {
            return None;
        }
    }
}

/// The end of the question section of a message with one question.
pub(crate) fn question_end(message: &[u8]) -> Option<usize> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let end = HEADER + name::wire_len(message.get(HEADER..)?)? + 4;
    (message.len() >= end).then_some(end)
}

/// All records of a message with one question; `None` if it does not hold what its counts say.
pub fn places(message: &[u8]) -> Option<Vec<Place>> {
    let mut at = question_end(message)?;
    let mut places = Vec::new();
    for section in 0..3u8 {
        for _ in 0..u16_at(message, 6 + 2 * usize::from(section))? {
            let fixed = skip_name(message, at)?;
            let rdata = fixed + 10;
            let end = rdata + usize::from(u16_at(message, fixed + 8)?);
            if end > message.len() {
                return None;
            }
            places.push(Place {
                start: at,
                fixed,
                rdata,
                end,
                section,
                rtype: u16_at(message, fixed)?,
                class: u16_at(message, fixed + 2)?,
                ttl: u32_at(message, fixed + 4)?,
            });
            at = end;
        }
    }
    Some(places)
}

/// Response code in the header; its high bits are in OPT and not looked at.
pub fn rcode_of(message: &[u8]) -> u16 {
    u16::from(message.get(3).copied().unwrap_or_default() & 0x0f)
}

/// Seconds for which all of a reply holds: the smallest TTL, for a negative one as RFC 2308
/// section 5 has it. `None` where nothing says so.
pub fn smallest_ttl(message: &[u8]) -> Option<u32> {
    let places = places(message)?;
    let records = || places.iter().filter(|place| place.rtype != rtype::OPT);
    let smallest = records().map(|place| lifetime(place.ttl)).min()?;
    if is_negative(message, &places) {
        let soa = records().find(|place| place.section == 1 && place.rtype == rtype::SOA)?;
        return Some(smallest.min(u32_at(message, soa.end.checked_sub(4)?)?));
    }
    Some(smallest)
}

/// Whether the reply says that the name or the type does not exist. A chain of CNAME whose end
/// does not exist counts too, and is told by its SOA (RFC 2308 section 2).
pub(super) fn is_negative(message: &[u8], places: &[Place]) -> bool {
    rcode_of(message) == rcode::NXDOMAIN
        || !places.iter().any(|place| place.section == 0)
        || places.iter().any(|place| place.section == 1 && place.rtype == rtype::SOA)
            && u16_at(message, 6).is_some_and(|count| count > 0)
            && !places.iter().any(|place| place.section == 0 && place.rtype == asked_type(message))
}

fn asked_type(message: &[u8]) -> u16 {
    question_end(message).and_then(|end| u16_at(message, end - 4)).unwrap_or_default()
}

/// RFC 2181 section 8: a TTL with the highest bit set is zero.
pub(super) fn lifetime(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// A query taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The client's identifier.
    pub id: u16,
    /// The question section as sent: name, type, class.
    pub question: Vec<u8>,
    /// Name in lower case.
    pub name: Vec<u8>,
    /// Type asked for.
    pub rtype: u16,
    /// Class asked for.
    pub class: u16,
    /// Recursion desired.
    pub rd: bool,
    /// The client understands AD (RFC 6840 section 5.7).
    pub ad: bool,
    /// Checking disabled.
    pub cd: bool,
    /// What the client's OPT says.
    pub edns: Option<Edns>,
}

/// What a client's OPT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The client wants DNSSEC records.
    pub dnssec: bool,
}

impl Query {
    /// Takes a query with one question apart.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let places = places(message)?;
        let question = message.get(HEADER..question_end(message)?)?;
        let (name, fixed) = question.split_at_checked(question.len() - 4)?;
        let edns = places.iter().find(|place| place.section == 2 && place.rtype == rtype::OPT);
        Some(Self {
            id: u16_at(message, 0)?,
            name: name.to_ascii_lowercase(),
            rtype: u16_at(fixed, 0)?,
            class: u16_at(fixed, 2)?,
            question: question.to_vec(),
            rd: message.get(2)? & FLAG_RD != 0,
            ad: message.get(3)? & FLAG_AD != 0,
            cd: message.get(3)? & FLAG_CD != 0,
            edns: edns.map(|opt| Edns { dnssec: opt.ttl & 0x8000 != 0 }),
        })
    }

    /// A reply without records.
    pub fn reply(&self, rcode: u16, ad: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.question.len() + 64);
        out.extend_from_slice(&self.id.to_be_bytes());
        out.push(FLAG_QR | if self.rd { FLAG_RD } else { 0 });
        let ad = if ad { FLAG_AD } else { 0 };
        let cd = if self.cd { FLAG_CD } else { 0 };
        out.push(FLAG_RA | ad | cd | (rcode & 0x0f) as u8);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.question);
        out
    }

    /// Appends an OPT if the client sent one: our payload size, DO as sent, an extended error.
    pub fn append_opt(&self, reply: &mut Vec<u8>, payload: u16, error: Option<(u16, &str)>) {
        let Some(edns) = self.edns else { return };
        let options = error.map(|(code, text)| extended_error(code, text)).unwrap_or_default();
        reply.extend_from_slice(&[0, 0, rtype::OPT as u8]);
        reply.extend_from_slice(&payload.to_be_bytes());
        reply.extend_from_slice(&[0, 0, if edns.dnssec { 0x80 } else { 0 }, 0]);
        reply.extend_from_slice(&(options.len() as u16).to_be_bytes());
        reply.extend_from_slice(&options);
        let additional = u16_at(reply, 10).unwrap_or_default();
        put_u16(reply, 10, additional + 1);
    }
}

/// An extended error as an EDNS option (RFC 8914 section 2). The texts are ours and short.
pub(crate) fn extended_error(code: u16, text: &str) -> Vec<u8> {
    let length = (2 + text.len()) as u16;
    [&OPTION_EDE.to_be_bytes()[..], &length.to_be_bytes(), &code.to_be_bytes(), text.as_bytes()].concat()
}

/// Adds options in wire form to the OPT, which is the last record of a reply that
/// [`Query::append_opt`] has closed. A reply without one stays as it is.
pub fn append_options(reply: &mut Vec<u8>, options: &[u8]) {
    let last = places(reply).and_then(|places| places.last().copied());
    let Some(opt) = last.filter(|last| last.rtype == rtype::OPT && last.end == reply.len()) else { return };
    let Ok(length) = u16::try_from(opt.end - opt.rdata + options.len()) else { return };
    put_u16(reply, opt.fixed + 8, length);
    reply.extend_from_slice(options);
}

/// Cuts a reply to `size` octets at the border of a record. The OPT stays; TC is set when an answer
/// or authority record is lost (RFC 2181 section 9: lost additional data need not be told). A reply
/// that fits or does not parse is left alone.
pub fn truncate(reply: &mut Vec<u8>, size: usize) {
    if reply.len() <= size {
        return;
    }
    let (Some(places), Some(start)) = (places(reply), question_end(reply)) else { return };
    let opt = places.iter().rfind(|place| place.rtype == rtype::OPT);
    let opt_bytes = opt.and_then(|opt| reply.get(opt.start..opt.end)).unwrap_or_default().to_vec();
    let room = size.saturating_sub(opt_bytes.len());
    let mut whole: Vec<&Place> =
        places.iter().take_while(|place| place.rtype != rtype::OPT && place.end <= room).collect();
    // Of an additional set all or nothing stays (RFC 2181 section 9).
    if let Some(first_lost) = places.get(whole.len()).filter(|place| place.section == 2) {
        while whole.last().is_some_and(|last| same_set(reply, last, first_lost)) {
            whole.pop();
        }
    }
    let end = whole.last().map_or(start, |place| place.end);
    let mut lost = false;
    for section in 0..3u8 {
        let count = whole.iter().filter(|place| place.section == section).count();
        let before = places.iter().filter(|place| place.section == section).count();
        lost |= section < 2 && count < before;
        let opts = usize::from(section == 2 && !opt_bytes.is_empty());
        put_u16(reply, 6 + 2 * usize::from(section), (count + opts) as u16);
    }
    reply.truncate(end);
    reply.extend_from_slice(&opt_bytes);
    if lost && let Some(flags) = reply.get_mut(2) {
        *flags |= FLAG_TC;
    }
}

/// Whether two records of a message are of one set, as far as their owners are written alike.
fn same_set(message: &[u8], a: &Place, b: &Place) -> bool {
    (a.section, a.rtype, a.class) == (b.section, b.rtype, b.class)
        && message.get(a.start..a.fixed) == message.get(b.start..b.fixed)
}

/// Appends one record of class IN to section 0, 1 or 2; sections must be filled in order.
pub(super) fn append_record(reply: &mut Vec<u8>, section: usize, owner: &[u8], rtype: u16, ttl: u32, rdata: &[u8]) {
    let fixed = [&rtype.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes(), &(rdata.len() as u16).to_be_bytes()].concat();
    append_encoded(reply, section, &[owner, &fixed, rdata].concat());
}

/// Appends a record in wire form, counted in section 0, 1 or 2.
pub(super) fn append_encoded(reply: &mut Vec<u8>, section: usize, record: &[u8]) {
    reply.extend_from_slice(record);
    let at = 6 + 2 * section;
    let count = u16_at(reply, at).unwrap_or_default();
    put_u16(reply, at, count.saturating_add(1));
}

/// Sets the counts of the three sections.
pub(super) fn set_counts(reply: &mut [u8], counts: [u16; 3]) {
    for (section, count) in counts.into_iter().enumerate() {
        put_u16(reply, 6 + 2 * section, count);
    }
}

/// Sets the response code in the header.
pub(crate) fn set_rcode(reply: &mut [u8], rcode: u16) {
    if let Some(flags) = reply.get_mut(3) {
        *flags = *flags & 0xf0 | (rcode & 0x0f) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::kept::Kept, *};
    use crate::name::Name;

    fn question(name: &str, rtype: u16) -> Vec<u8> {
        [&Name::parse(name).unwrap()[..], &rtype.to_be_bytes(), &[0, 1]].concat()
    }

    fn query(name: &str, edns: bool) -> Query {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(question(name, rtype::A));
        if edns {
            append_encoded(&mut bytes, 2, &[0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0]);
        }
        Query::parse(&bytes).unwrap()
    }

    /// An upstream's reply with `answers` addresses, TTLs 100, 101 and so on, and an OPT.
    fn upstream(name: &str, answers: u8) -> Vec<u8> {
        let mut reply = query(name, false).reply(rcode::NOERROR, true);
        for n in 0..answers {
            append_record(&mut reply, 0, &[0xc0, 12], rtype::A, 100 + u32::from(n), &[192, 0, 2, n]);
        }
        append_encoded(&mut reply, 2, &[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        reply
    }

    fn negative(rcode: u16, ttl: u32, minimum: u32) -> Vec<u8> {
        let mut reply = query("x.example", false).reply(rcode, false);
        let mut soa = b"\0\0".to_vec();
        for value in [1, 2, 3, 4, minimum] {
            soa.extend_from_slice(&u32::to_be_bytes(value));
        }
        append_record(&mut reply, 1, &[0], rtype::SOA, ttl, &soa);
        reply
    }

    #[test]
    fn a_reply_is_passed_on_with_its_own_question_and_less_time() {
        let kept = Kept::parse(&upstream("www.example", 2), &question("www.example", rtype::A)).unwrap();
        assert_eq!((kept.ttl, kept.negative), (Some(100), false));
        let mut asked = query("www.example", true);
        asked.question = [b"\x03wWw\x07eXAMPLE\0".as_slice(), &[0, 1, 0, 1]].concat();
        let mut reply = kept.write(&asked, |ttl| ttl - 10);
        asked.append_opt(&mut reply, 1232, Some((3, "old")));
        assert_eq!(reply[..2], [0xab, 0xcd]);
        assert_eq!(reply[2], FLAG_QR | FLAG_RD, "neither AA nor TC");
        assert_eq!(reply[3], FLAG_RA | FLAG_AD);
        assert_eq!(reply[12..12 + asked.question.len()], asked.question, "0x20 case is kept");
        let places = places(&reply).unwrap();
        assert_eq!(places.iter().map(|place| place.ttl).collect::<Vec<_>>(), [90, 91, 0x8000]);
        let opt = places[2];
        assert_eq!((opt.rtype, opt.class, opt.end), (rtype::OPT, 1232, reply.len()));
        assert_eq!(reply[opt.rdata..], [0, 15, 0, 5, 0, 3, b'o', b'l', b'd']);
        let plain = query("www.example", false);
        assert_eq!(kept.write(&plain, |ttl| ttl)[3], FLAG_RA, "AD only for those who understand it");
    }

    #[test]
    fn what_is_no_reply_to_the_question() {
        let good = upstream("www.example", 1);
        let asked = question("www.example", rtype::A);
        assert!(Kept::parse(&good, &question("www.example", rtype::AAAA)).is_none());
        assert!(Kept::parse(&good, &question("ww2.example", rtype::A)).is_none());
        let mut truncated = good.clone();
        truncated[2] |= FLAG_TC;
        assert!(Kept::parse(&truncated, &asked).is_none());
        for length in 0..good.len() {
            assert!(Kept::parse(&good[..length], &asked).is_none(), "cut at {length}");
        }
    }

    #[test]
    fn what_stands_behind_the_opt_is_left_out() {
        let mut reply = upstream("www.example", 1);
        append_record(&mut reply, 2, &[0], rtype::A, 5, &[192, 0, 2, 9]);
        let kept = Kept::parse(&reply, &question("www.example", rtype::A)).unwrap();
        assert_eq!(places(&kept.write(&query("www.example", false), |ttl| ttl)).unwrap().len(), 1);
    }

    #[test]
    fn negative_lifetimes() {
        assert_eq!(smallest_ttl(&negative(rcode::NXDOMAIN, 300, 60)), Some(60));
        assert_eq!(smallest_ttl(&negative(rcode::NOERROR, 30, 60)), Some(30));
        assert_eq!(smallest_ttl(&query("x.example", false).reply(rcode::NXDOMAIN, false)), None);
        assert_eq!(smallest_ttl(&upstream("www.example", 3)), Some(100));
        let mut chain = query("x.example", false).reply(rcode::NOERROR, false);
        append_record(&mut chain, 0, &[0xc0, 12], rtype::CNAME, 500, b"\x01y\0");
        append_record(&mut chain, 1, &[0], rtype::SOA, 400, &[&[0, 0][..], &[0; 19], &[50]].concat());
        assert_eq!(smallest_ttl(&chain), Some(50), "a CNAME to a name without the type");
    }

    #[test]
    fn truncation_keeps_whole_records_and_the_opt() {
        let full = upstream("www.example", 10);
        let base = HEADER + question("www.example", rtype::A).len();
        for size in base + 11..full.len() {
            let mut reply = full.clone();
            truncate(&mut reply, size);
            let fitting = (size - base - 11) / 16;
            assert_eq!(reply.len(), base + 16 * fitting + 11, "size {size}");
            let places = places(&reply).unwrap();
            assert_eq!(places.len(), fitting + 1);
            assert_eq!(places.last().unwrap().rtype, rtype::OPT);
            assert_ne!(reply[2] & FLAG_TC, 0);
        }
        let mut reply = full.clone();
        truncate(&mut reply, full.len());
        assert_eq!(reply, full);
    }

    #[test]
    fn lost_additional_data_needs_no_tc() {
        let mut reply = query("www.example", false).reply(rcode::NOERROR, false);
        append_record(&mut reply, 0, &[0xc0, 12], rtype::A, 5, &[192, 0, 2, 1]);
        let enough = reply.len();
        append_record(&mut reply, 2, &[0xc0, 12], rtype::A, 5, &[192, 0, 2, 2]);
        truncate(&mut reply, enough);
        assert_eq!((reply.len(), reply[2] & FLAG_TC, places(&reply).unwrap().len()), (enough, 0, 1));
    }

    #[test]
    fn additional_sets_are_kept_whole() {
        let mut reply = query("www.example", true).reply(rcode::NOERROR, false);
        append_record(&mut reply, 2, &[0xc0, 12], rtype::AAAA, 5, &[0; 16]);
        let first_set = reply.len();
        for last in 1..4 {
            append_record(&mut reply, 2, &[0xc0, 12], rtype::A, 5, &[192, 0, 2, last]);
        }
        query("www.example", true).append_opt(&mut reply, 1232, None);
        let almost = reply.len() - 1;
        truncate(&mut reply, almost);
        assert_eq!((reply.len(), reply[2] & FLAG_TC), (first_set + 11, 0));
        assert_eq!(places(&reply).unwrap().last().unwrap().rtype, rtype::OPT);
    }

    #[test]
    fn options_are_added_to_the_opt() {
        let (asked, mut reply) = (query("www.example", true), upstream("www.example", 1));
        append_options(&mut reply, b"\0\x03\0\x01x");
        let opt = *places(&reply).unwrap().last().unwrap();
        assert_eq!((opt.rtype, opt.end, &reply[opt.end - 5..]), (rtype::OPT, reply.len(), &b"\0\x03\0\x01x"[..]));
        let mut plain = asked.reply(rcode::NOERROR, false);
        let before = plain.clone();
        append_options(&mut plain, b"\0\x03\0\x01x");
        assert_eq!(plain, before);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes: Vec<u8>, size in 0usize..600) {
            Query::parse(&bytes);
            smallest_ttl(&bytes);
            Kept::parse(&bytes, &question("a", 1));
            truncate(&mut bytes, size);
        }

        /// Damage in a real reply is noticed or harmless; what is written again parses.
        #[test]
        fn damaged_replies_never_panic(damage in prop::collection::vec((0usize..300, any::<u8>()), 1..8), size in 12usize..300) {
            let mut reply = upstream("www.example", 5);
            for (at, value) in damage {
                let at = at % reply.len();
                reply[at] = value;
            }
            if let Some(kept) = Kept::parse(&reply, &question("www.example", rtype::A)) {
                let asked = query("www.example", true);
                let mut out = kept.write(&asked, |ttl| ttl);
                asked.append_opt(&mut out, 1232, None);
                prop_assert!(places(&out).is_some());
                truncate(&mut out, size);
                prop_assert!(places(&out).is_some());
            }
            crate::forward::local_answer(&reply, 1232);
            truncate(&mut reply, size);
        }
    }
}
