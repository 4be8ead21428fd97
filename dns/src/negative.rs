//! The SOA record of negative answers, ready to be copied: with names that end as others do written as pointers.
//!
//! The apex stands in the message already, as the end of the name that was asked for, and its servers and
//! mailbox mostly lie below it (RFC 1035 section 4.1.4 allows pointers in SOA data). Where the pointers
//! lead depends on the message, so their places are noted and filled in when the record is written.

use crate::{
    name::{is_within, parent},
    rr::{CLASS_IN, rtype},
    zone::Soa,
};

/// Octets from the type to the data.
const HEAD: usize = 10;
/// A shorter ending than this gains nothing by a pointer.
const SHARED_MIN: usize = 3;

/// A SOA record from its type on.
#[derive(Clone, Default)]
pub(crate) struct Negative {
    bytes: Box<[u8]>,
    pointers: [Option<Pointer>; 2],
}

/// A pointer to be filled in, at an offset from the type.
#[derive(Clone, Copy)]
struct Pointer {
    at: u16,
    to: Target,
}

#[derive(Clone, Copy)]
enum Target {
    /// The apex, wherever it stands.
    Apex,
    /// An offset from the type.
    Here(u16),
}

impl Negative {
    /// With the TTL of negative answers (RFC 2308 section 3: the smaller of TTL and MINIMUM).
    pub(crate) fn new(apex: &[u8], soa: &Soa) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + soa.mname.len() + soa.rname.len() + 20);
        bytes.extend_from_slice(&rtype::SOA.to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        bytes.extend_from_slice(&ttl(soa).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        let server = below_apex(&soa.mname, apex);
        let first = push(&mut bytes, &soa.mname, server);
        // The mailbox may end as the server does, if that is written in full.
        let mailbox =
            below_apex(&soa.rname, apex).or_else(|| ends_like(&soa.rname, &soa.mname).filter(|_| server.is_none()));
        let second = push(&mut bytes, &soa.rname, mailbox);
        for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let length = (bytes.len() - HEAD) as u16; // two names and 20 octets
        bytes[HEAD - 2..HEAD].copy_from_slice(&length.to_be_bytes());
        Self { bytes: bytes.into(), pointers: [first, second] }
    }

    /// Octets from the type on.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends it to a message in which the apex stands at `apex`. Both that and the end of the record must be within
    /// reach of a pointer.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, apex: u16) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for pointer in self.pointers.iter().flatten() {
            let to = match pointer.to {
                Target::Apex => apex,
                Target::Here(offset) => start as u16 + offset,
            };
            let at = start + usize::from(pointer.at);
            out[at..at + 2].copy_from_slice(&(0xC000 | to).to_be_bytes());
        }
    }
}

/// Seconds for which a negative answer holds.
pub(crate) fn ttl(soa: &Soa) -> u32 {
    soa.ttl.min(soa.minimum)
}

/// How many octets of `name` stand before the apex.
fn below_apex(name: &[u8], apex: &[u8]) -> Option<(usize, Target)> {
    (apex.len() >= SHARED_MIN && is_within(name, apex)).then(|| (name.len() - apex.len(), Target::Apex))
}

/// How many octets of `name` stand before what it has in common with `first`, the name at the start of the data.
fn ends_like(name: &[u8], first: &[u8]) -> Option<(usize, Target)> {
    let mut here = Some(name);
    while let Some(ending) = here.filter(|ending| ending.len() >= SHARED_MIN) {
        if is_within(first, ending) {
            let offset = HEAD + first.len() - ending.len();
            return Some((name.len() - ending.len(), Target::Here(offset as u16))); // below 300
        }
        here = parent(ending);
    }
    None
}

/// Writes a name, in full or up to where a pointer goes on.
fn push(bytes: &mut Vec<u8>, name: &[u8], shared: Option<(usize, Target)>) -> Option<Pointer> {
    let Some((own, to)) = shared else {
        bytes.extend_from_slice(name);
        return None;
    };
    bytes.extend_from_slice(&name[..own]);
    let at = bytes.len() as u16; // below 600
    bytes.extend_from_slice(&[0, 0]);
    Some(Pointer { at, to })
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::Message, rr::RData};

    use super::*;
    use crate::name::Name;

    /// Octets of the record from its type on in a reply to the question for `asked`, which must read as what it was.
    fn written(asked: &str, apex: &str, mname: &str, rname: &str) -> usize {
        let name = |text: &str| Name::parse(text).unwrap();
        let (asked, apex, mname, rname) = (name(asked), name(apex), name(mname), name(rname));
        let soa = Soa { ttl: 60, mname, rname, serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 30 };
        let negative = Negative::new(&apex, &soa);
        let mut message = b"\0\x01\x80\0\0\x01\0\0\0\x01\0\0".to_vec();
        message.extend_from_slice(&asked);
        message.extend_from_slice(b"\0\x01\0\x01");
        let at = (12 + asked.len() - apex.len()) as u16;
        message.extend_from_slice(&(0xC000 | at).to_be_bytes());
        negative.write(&mut message, at);
        let read = Message::from_vec(&message).unwrap();
        let RData::SOA(data) = &read.authorities[0].data else { panic!("{read:?}") };
        let texts = [&read.authorities[0].name, &data.mname, &data.rname].map(|name| name.to_ascii());
        assert_eq!(texts, [&apex, &soa.mname, &soa.rname].map(|name| name.to_string()));
        assert_eq!((read.authorities[0].ttl, data.serial, data.minimum), (30, 1, 30));
        negative.len()
    }

    #[test]
    fn names_below_the_apex_point_to_it() {
        let length = written("x.y.acme.private", "acme.private", "ns1.acme.private", "hostmaster.acme.private");
        assert_eq!(length, 10 + (4 + 2) + (11 + 2) + 20);
        assert_eq!(written("acme.private", "acme.private", "acme.private", "acme.private"), 10 + 2 + 2 + 20);
    }

    #[test]
    fn elsewhere_the_mailbox_points_to_the_server() {
        let apex = "10.in-addr.arpa";
        let length = written("1.10.in-addr.arpa", apex, "ns1.acme.private", "hostmaster.acme.private");
        assert_eq!(length, 10 + 18 + (11 + 2) + 20);
        assert_eq!(written(apex, apex, "ns1.acme.private", "ns1.acme.private"), 10 + 18 + 2 + 20);
        assert_eq!(written(apex, apex, "ns1.acme.private", "h.example"), 10 + 18 + 11 + 20, "nothing in common");
        assert_eq!(
            written(apex, apex, "ns.10.in-addr.arpa", "h.arpa"),
            10 + 5 + 8 + 20,
            "a server that ends in a pointer"
        );
        assert_eq!(written("x", ".", "a.", "b."), 10 + 3 + 3 + 20, "the root is as short as it gets");
    }
}
