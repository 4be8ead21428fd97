//! Writing a reply: header, the question as it came, records within a size limit, OPT.
//!
//! Names inside a reply are written in full once, in the question or in RDATA, and pointed at from
//! owners (RFC 1035 section 4.1.4). What does not fit is left out at a record's border; the caller
//! says whether that means TC. Of an additional set nothing is left when it does not fit whole. The OPT record always has its place kept (RFC 6891 section 7).

use smallvec::SmallVec;

use crate::{
    negative,
    node::{Packed, RR_HEAD, SetRef, push_rr},
    query::{HEADER, Query, flag},
    rr::{CLASS_CH, rtype},
    zones::Zone,
};

/// Highest offset that a compression pointer reaches.
const POINTER_MAX: usize = 0x3fff;
/// Names for which addresses are added at most.
const TARGETS_MAX: usize = 64;

/// Where a name that is already in the message stands, and its text.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Offset in the message of the name, written in full.
    pub(crate) at: usize,
    /// The name in lower case.
    pub(crate) name: &'a [u8],
}

/// A section of the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// A reply in the making.
pub(crate) struct Reply<'o> {
    out: &'o mut Vec<u8>,
    limit: usize,
    counts: [u16; 3],
    /// Offsets of names in RDATA whose addresses belong in the additional section.
    pub(crate) targets: SmallVec<[u16; 8]>,
}

impl<'o> Reply<'o> {
    /// Starts a reply with the query's id and question. `limit` is the size without the OPT record.
    pub(crate) fn new(out: &'o mut Vec<u8>, query: &Query<'_>, limit: usize) -> Self {
        out.clear();
        out.extend_from_slice(&query.raw[..query.question_end]);
        Self { out, limit, counts: [0; 3], targets: SmallVec::new() }
    }

    /// Octets written so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Writes a set; `spin` says which record of an address set comes first. False if it did not fit whole.
    #[inline]
    pub(crate) fn set(&mut self, section: Section, owner: Place<'_>, set: SetRef<'_>, spin: u32) -> bool {
        match set {
            SetRef::Packed { rtype, count, body } if owner.at == HEADER => {
                if self.out.len() + body.len() > self.limit {
                    return self.each(section, owner, rtype, set.ttl(), Packed::new(body));
                }
                let start = self.out.len();
                if count > 1 && (rtype == rtype::A || rtype == rtype::AAAA) {
                    let (late, early) =
                        body.split_at(spin as usize % usize::from(count) * (body.len() / usize::from(count)));
                    self.out.extend_from_slice(early);
                    self.out.extend_from_slice(late);
                } else {
                    self.out.extend_from_slice(body);
                }
                self.counts[section as usize] += count;
                if target_offset(rtype).is_some() {
                    self.note_targets(rtype, start, body);
                }
                true
            }
            SetRef::Packed { rtype, body, .. } => self.each(section, owner, rtype, set.ttl(), Packed::new(body)),
            SetRef::Big { rtype, ttl, data } => {
                self.each(section, owner, rtype, ttl, data.iter_from(spin).map(|rdata| &**rdata))
            }
        }
    }

    fn note_targets(&mut self, rtype: u16, start: usize, body: &[u8]) {
        let mut at = start;
        for rdata in Packed::new(body) {
            self.note_target(rtype, at + RR_HEAD);
            at += RR_HEAD + rdata.len();
        }
    }

    fn note_target(&mut self, rtype: u16, rdata_at: usize) {
        if let Some(offset) = target_offset(rtype)
            && rdata_at + offset <= POINTER_MAX
            && self.targets.len() < TARGETS_MAX
        {
            self.targets.push((rdata_at + offset) as u16); // at most POINTER_MAX
        }
    }

    fn each<'a>(
        &mut self,
        section: Section,
        owner: Place<'_>,
        rtype: u16,
        ttl: u32,
        data: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let (start, count) = (self.out.len(), self.counts[section as usize]);
        for rdata in data {
            if !self.record(section, owner, rtype, ttl, rdata) {
                // A part of a set must not be taken for the set: answers say so with TC, additional
                // sets are left out (RFC 2181 section 9).
                if section == Section::Additional {
                    self.out.truncate(start);
                    self.counts[section as usize] = count;
                }
                return false;
            }
        }
        true
    }

    /// Writes one record; false if it does not fit.
    pub(crate) fn record(&mut self, section: Section, owner: Place<'_>, rtype: u16, ttl: u32, rdata: &[u8]) -> bool {
        let start = self.out.len();
        if owner.at <= POINTER_MAX {
            push_rr(self.out, 0xC000 | owner.at as u16, rtype, ttl, rdata);
        } else {
            self.out.extend_from_slice(owner.name);
            push_rr(self.out, 0, rtype, ttl, rdata);
            // The two octets of the pointer that is not there.
            self.out.drain(start + owner.name.len()..start + owner.name.len() + 2);
        }
        if self.out.len() > self.limit || self.counts[section as usize] == u16::MAX {
            self.out.truncate(start);
            return false;
        }
        self.counts[section as usize] += 1;
        self.note_target(rtype, self.out.len() - rdata.len());
        true
    }

    /// Writes the SOA of a negative answer.
    pub(crate) fn soa(&mut self, apex: Place<'_>, zone: &Zone) {
        let end = self.out.len() + 2 + zone.negative.len();
        if apex.at.max(end) > POINTER_MAX {
            let soa = zone.soa.rr(&zone.apex);
            self.record(Section::Authority, apex, rtype::SOA, negative::ttl(&zone.soa), &soa.rdata);
            return;
        }
        if end > self.limit {
            return;
        }
        let at = apex.at as u16; // at most POINTER_MAX
        self.out.extend_from_slice(&(0xC000 | at).to_be_bytes());
        zone.negative.write(self.out, at);
        self.counts[Section::Authority as usize] += 1;
    }

    /// Writes a TXT record of class CH at the question's name; `text` has at most 255 octets.
    pub(crate) fn chaos_text(&mut self, text: &[u8]) {
        push_rr(self.out, 0xC000 | HEADER as u16, rtype::TXT, 0, &[&[text.len() as u8], text].concat());
        let class = self.out.len() - text.len() - 1 - 8;
        self.out[class..class + 2].copy_from_slice(&CLASS_CH.to_be_bytes());
        self.counts[Section::Answer as usize] += 1;
    }

    /// The name that was written in full at `at`.
    pub(crate) fn name_at(&self, at: u16) -> SmallVec<[u8; 64]> {
        let rest = &self.out[usize::from(at)..];
        SmallVec::from_slice(&rest[..crate::name::wire_len(rest).unwrap_or(0)])
    }

    /// Whether the name written in full at `at` is `name`, which is in lower case.
    pub(crate) fn is_name_at(&self, at: usize, name: &[u8]) -> bool {
        // Length octets are no letters, so ignoring case does not touch them.
        self.out.get(at..at + name.len()).is_some_and(|there| there.eq_ignore_ascii_case(name))
    }

    /// Closes the message: OPT, counts and flags. `flags` are added to QR and to the RD and CD of the query.
    pub(crate) fn finish(self, query: &Query<'_>, flags: u16, rcode: u16, opt: Option<&[u8]>) {
        let mut additional = self.counts[2];
        if let Some(opt) = opt {
            self.out.extend_from_slice(opt);
            additional += 1;
        }
        let flags = flag::QR | query.flags() & (flag::RD | flag::CD) | flags | rcode & 0xf;
        self.out[2..4].copy_from_slice(&flags.to_be_bytes());
        let questions = u16::from(query.question_end > HEADER);
        for (at, count) in [(4, questions), (6, self.counts[0]), (8, self.counts[1]), (10, additional)] {
            self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }
}

/// Where in the RDATA of a type a host name stands whose addresses help the client.
fn target_offset(rtype: u16) -> Option<usize> {
    match rtype {
        rtype::NS => Some(0),
        rtype::MX => Some(2),
        rtype::SRV => Some(6),
        _ => None,
    }
}
