//! Names that must not leave: a question for them at a public resolver tells outsiders about the
//! inside and never gets a useful answer. They are answered here.
//!
//! `private` and `public` are no top-level domains of the Internet. Names of ours lie in zones of
//! ours below them; whatever else is asked for there (a product that has no hosts yet, a typing
//! error) does not exist, and a resolver outside could only say the same and learn the name.
//!
//! Not in the list, on purpose: `internal` (cloud providers serve `ec2.internal` and the like from
//! the resolver behind us), `example` (RFC 6761 section 6.5: ordinary for resolvers) and
//! `ipv4only.arpa` (RFC 8880: the resolver behind us may do NAT64).

use super::message::{self, Query};
use crate::{
    name,
    rr::{CLASS_IN, rcode, rtype},
};

/// TTL of answers made here (RFC 6303 section 3 has SOA values of this kind).
const TTL: u32 = 10_800;

/// What is answered at and below a special name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// The loopback addresses (RFC 6761 section 6.3).
    Localhost,
    /// The name does not exist.
    Absent,
    /// The apex exists without data; nothing below it does.
    Empty,
}

/// Special names with the document that makes them so.
const NAMES: &[(&[u8], Special)] = &[
    (b"\x09localhost\0", Special::Localhost),                 // RFC 6761 section 6.3
    (b"\x07invalid\0", Special::Absent),                      // RFC 6761 section 6.4
    (b"\x04test\0", Special::Absent),                         // RFC 6761 section 6.2
    (b"\x05onion\0", Special::Absent),                        // RFC 7686 section 2
    (b"\x05local\0", Special::Absent),                        // RFC 6762 section 22.1: multicast DNS
    (b"\x03alt\0", Special::Absent),                          // RFC 9476
    (b"\x07private\0", Special::Absent),                      // ours, see above
    (b"\x06public\0", Special::Absent),                       // the same
    (b"\x04home\x04arpa\0", Special::Empty),                  // RFC 8375
    (b"\x08resolver\x04arpa\0", Special::Empty),              // RFC 9462 section 8: about this resolver
    (b"\x07service\x04arpa\0", Special::Empty),               // RFC 9665
    (b"\x0210\x07in-addr\x04arpa\0", Special::Empty),         // RFC 6303 section 4.1, private addresses
    (b"\x03168\x03192\x07in-addr\x04arpa\0", Special::Empty), // the same
    (b"\x010\x07in-addr\x04arpa\0", Special::Empty),          // RFC 6303 section 4.2: this network
    (b"\x03127\x07in-addr\x04arpa\0", Special::Empty),        // the same: loopback
    (b"\x03254\x03169\x07in-addr\x04arpa\0", Special::Empty), // the same: link local
    (b"\x012\x010\x03192\x07in-addr\x04arpa\0", Special::Empty), // the same: documentation
    (b"\x03100\x0251\x03198\x07in-addr\x04arpa\0", Special::Empty), // the same
    (b"\x03113\x010\x03203\x07in-addr\x04arpa\0", Special::Empty), // the same
    (b"\x03255\x03255\x03255\x03255\x07in-addr\x04arpa\0", Special::Empty), // the same: broadcast
    (b"\x01d\x01f\x03ip6\x04arpa\0", Special::Empty),         // RFC 6303 section 4.4: unique local
    (b"\x018\x01e\x01f\x03ip6\x04arpa\0", Special::Empty),    // RFC 6303 section 4.5: link local
    (b"\x019\x01e\x01f\x03ip6\x04arpa\0", Special::Empty),    // the same
    (b"\x01a\x01e\x01f\x03ip6\x04arpa\0", Special::Empty),    // the same
    (b"\x01b\x01e\x01f\x03ip6\x04arpa\0", Special::Empty),    // the same
    (b"\x018\x01b\x01d\x010\x011\x010\x010\x012\x03ip6\x04arpa\0", Special::Empty), // RFC 6303 section 4.6: documentation
];

/// Whether a name (wire form, lower case) must not be forwarded: the special name that it lies in, and
/// what is answered there.
pub fn special(name: &[u8]) -> Option<(&[u8], Special)> {
    if let Some(found) = private_172(name).or_else(|| shared_100(name)) {
        return Some((found, Special::Empty));
    }
    if is_zeros_ip6(name) {
        return Some((name, Special::Empty));
    }
    NAMES.iter().find(|(apex, _)| name::is_within(name, apex)).map(|&(apex, special)| (apex, special))
}

/// 16.172.in-addr.arpa to 31.172.in-addr.arpa (RFC 6303 section 4.1).
fn private_172(name: &[u8]) -> Option<&[u8]> {
    below(name, b"\x03172\x07in-addr\x04arpa\0", 16..=31)
}

/// 64.100.in-addr.arpa to 127.100.in-addr.arpa (RFC 7793).
fn shared_100(name: &[u8]) -> Option<&[u8]> {
    below(name, b"\x03100\x07in-addr\x04arpa\0", 64..=127)
}

fn below<'a>(name: &'a [u8], parent: &[u8], numbers: std::ops::RangeInclusive<u8>) -> Option<&'a [u8]> {
    let mut rest = Some(name);
    while let Some(here) = rest {
        rest = name::parent(here);
        if rest == Some(parent) {
            let number: u8 = std::str::from_utf8(name::first_label(here)).ok()?.parse().ok()?;
            return numbers.contains(&number).then_some(here);
        }
    }
    None
}

/// The reverse names of :: and ::1 (RFC 6303 section 4.3).
fn is_zeros_ip6(name: &[u8]) -> bool {
    const SUFFIX: &[u8] = b"\x03ip6\x04arpa\0";
    name.strip_suffix(SUFFIX).is_some_and(|digits| {
        digits.len() == 64
            && digits.chunks(2).skip(1).all(|label| label == b"\x010")
            && matches!(digits.get(..2), Some(b"\x010" | b"\x011"))
    })
}

/// The reply to a query for a name that must not leave; `None` if the name is an ordinary one.
/// `payload` is our size for the OPT.
pub fn local_answer(query: &[u8], payload: u16) -> Option<Vec<u8>> {
    let query = Query::parse(query)?;
    let (apex, special) = special(&query.name).filter(|_| query.class == CLASS_IN)?;
    let address: &[u8] = match (special, query.rtype) {
        (Special::Localhost, rtype::A) => &[127, 0, 0, 1],
        (Special::Localhost, rtype::AAAA) => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => &[],
    };
    let exists = special == Special::Localhost || special == Special::Empty && query.name[..] == apex[..];
    let mut reply = query.reply(if exists { rcode::NOERROR } else { rcode::NXDOMAIN }, false);
    if address.is_empty() {
        message::append_record(&mut reply, 1, apex, rtype::SOA, TTL, &soa(apex));
    } else {
        message::append_record(&mut reply, 0, &query.name, query.rtype, TTL, address);
    }
    query.append_opt(&mut reply, payload, None);
    Some(reply)
}

/// RFC 6303 section 3: the zone as its own server, `nobody.invalid` as the mailbox.
fn soa(apex: &[u8]) -> Vec<u8> {
    let mut data = [apex, b"\x06nobody\x07invalid\0"].concat();
    for value in [1u32, 3600, 1200, 604_800, TTL] {
        data.extend_from_slice(&value.to_be_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn find(text: &str) -> Option<(String, Special)> {
        special(&Name::parse(text).unwrap()).map(|(apex, special)| (name::display(apex), special))
    }

    #[test]
    fn the_table_holds_names() {
        for (apex, _) in NAMES {
            assert_eq!(name::wire_len(apex), Some(apex.len()), "{apex:?}");
            assert_eq!(special(apex).map(|(found, _)| found), Some(*apex), "no name hides another");
        }
    }

    #[test]
    fn names_that_stay() {
        assert_eq!(find("localhost"), Some(("localhost.".into(), Special::Localhost)));
        assert_eq!(find("db.LOCALHOST"), Some(("localhost.".into(), Special::Localhost)));
        assert_eq!(find("printer.local"), Some(("local.".into(), Special::Absent)));
        assert_eq!(find("4.3.2.10.in-addr.arpa"), Some(("10.in-addr.arpa.".into(), Special::Empty)));
        assert_eq!(find("1.20.172.in-addr.arpa"), Some(("20.172.in-addr.arpa.".into(), Special::Empty)));
        assert_eq!(find("db.other.private"), Some(("private.".into(), Special::Absent)));
        assert_eq!(find("public"), Some(("public.".into(), Special::Absent)));
        assert_eq!(find("1.64.100.in-addr.arpa"), Some(("64.100.in-addr.arpa.".into(), Special::Empty)));
        assert_eq!(find("0.0.d.f.ip6.arpa"), Some(("d.f.ip6.arpa.".into(), Special::Empty)));
        let zeros = "0.".repeat(31);
        assert!(find(&format!("1.{zeros}ip6.arpa")).is_some() && find(&format!("0.{zeros}ip6.arpa")).is_some());
        for ordinary in [
            "example.com",
            "ec2.internal",
            "15.172.in-addr.arpa",
            "1.32.172.in-addr.arpa",
            "172.in-addr.arpa",
            "x.172.in-addr.arpa",
            "1.128.100.in-addr.arpa",
            "8.8.8.8.in-addr.arpa",
            "localhost.example",
            "private.example",
            ".",
            "ipv4only.arpa",
            &format!("2.{zeros}ip6.arpa"),
        ] {
            assert_eq!(find(ordinary), None, "{ordinary}");
        }
    }

    #[test]
    fn what_is_answered() {
        let ask = |text: &str, rtype: u16| {
            let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend_from_slice(&Name::parse(text).unwrap());
            query.extend_from_slice(&[(rtype >> 8) as u8, rtype as u8, 0, 1]);
            let reply = local_answer(&query, 1232)?;
            let places = message::places(&reply).unwrap();
            Some((message::rcode_of(&reply), places[0].section, places[0].rtype))
        };
        assert_eq!(ask("localhost", rtype::A), Some((0, 0, rtype::A)));
        assert_eq!(ask("localhost", rtype::AAAA), Some((0, 0, rtype::AAAA)));
        assert_eq!(ask("localhost", rtype::TXT), Some((0, 1, rtype::SOA)));
        assert_eq!(ask("x.test", rtype::A), Some((3, 1, rtype::SOA)));
        assert_eq!(ask("10.in-addr.arpa", rtype::A), Some((0, 1, rtype::SOA)));
        assert_eq!(ask("1.0.0.10.in-addr.arpa", rtype::PTR), Some((3, 1, rtype::SOA)));
        assert_eq!(ask("example.com", rtype::A), None);
    }
}
