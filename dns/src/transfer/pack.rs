//! Packing records into messages.
//!
//! Names are compressed against the question, the owner before, the last name in data and the last
//! few parents that were written in full (RFC 1035 section 4.1.4): in a zone, neighbours share most
//! of their labels, and these candidates find nearly all that a full table would. Names in data are compressed for the types of RFC 1035
//! only (RFC 3597 section 4).

use super::message::{HEADER, Request};
use crate::{
    name,
    rr::{CLASS_IN, Rr, rtype},
};

/// Octets after which a message is closed: most of the good of compression, little to hold.
pub(super) const MESSAGE_TARGET: usize = 16 * 1024;
/// Octets that a message may have at most before its signature: 65535 less the room for OPT and TSIG.
pub(super) const MESSAGE_MAX: usize = 65_535 - 700;
/// UDP payload that we announce (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;
/// Offsets above this cannot be pointed at.
const POINTER_MAX: usize = 0x3fff;

/// Slots of names that may be pointed at.
const QUESTION: usize = 0;
const OWNER: usize = 1;
const DATA: usize = 2;
const PARENTS: usize = 3;
const PARENTS_MAX: usize = 4;

/// A name in the message: for each of its labels where in the name it begins, and where in the message.
#[derive(Default)]
struct Seen {
    name: Vec<u8>,
    labels: Vec<(u8, u16)>,
}

/// A message that is being packed.
pub(super) struct Packer {
    out: Vec<u8>,
    records: u16,
    edns: bool,
    seen: [Seen; PARENTS + PARENTS_MAX],
    next_parent: usize,
}

impl Packer {
    /// The header of a reply, and the question if `question` says so.
    pub(super) fn new(request: &Request, question: bool, rcode: u16) -> Self {
        let mut out = Vec::with_capacity(1024);
        let flags = 0x8400 | u16::from(request.opcode) << 11 | u16::from(request.recursion_desired) << 8 | rcode & 15;
        out.extend(request.id.to_be_bytes());
        out.extend(flags.to_be_bytes());
        out.extend([0, u8::from(question), 0, 0, 0, 0, 0, u8::from(request.edns)]);
        let mut seen: [Seen; PARENTS + PARENTS_MAX] = Default::default();
        if question {
            out.extend_from_slice(&request.question);
            // Not in the client's mixed case: names in the data would come out in it (RFC 5936 section 3.4).
            if request.question.starts_with(&request.name) {
                seen[QUESTION].name = request.name.to_vec();
                seen[QUESTION].labels =
                    label_starts(&request.name).map(|at| (at as u8, (HEADER + at) as u16)).collect();
            }
        }
        Self { out, records: 0, edns: request.edns, seen, next_parent: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a record if the message then has at most `limit` octets.
    pub(super) fn push(&mut self, rr: &Rr, limit: usize) -> bool {
        let limit = limit.saturating_sub(if self.edns { 11 } else { 0 });
        let before = self.out.len();
        if self.records == u16::MAX || before + rr.rdata.len() > 2 * limit {
            return false;
        }
        self.name(OWNER, &rr.owner);
        self.out.extend(rr.rtype.to_be_bytes());
        self.out.extend(CLASS_IN.to_be_bytes());
        self.out.extend(rr.ttl.to_be_bytes());
        let at = self.out.len();
        self.out.extend([0, 0]);
        self.data(rr.rtype, &rr.rdata);
        let length = u16::try_from(self.out.len() - at - 2).ok().filter(|_| self.out.len() <= limit);
        let Some(length) = length else {
            // The message is closed now, so what `seen` says of the removed octets is never used.
            self.out.truncate(before);
            return false;
        };
        self.out[at..at + 2].copy_from_slice(&length.to_be_bytes());
        self.records += 1;
        true
    }

    /// The message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out[6..8].copy_from_slice(&self.records.to_be_bytes());
        if self.edns {
            self.out.extend([0, 0, rtype::OPT as u8]);
            self.out.extend(UDP_PAYLOAD.to_be_bytes());
            self.out.extend([0; 6]);
        }
        self.out
    }

    fn data(&mut self, rtype: u16, rdata: &[u8]) {
        let (before, names) = match rtype {
            rtype::NS | rtype::CNAME | rtype::PTR => (0, 1),
            rtype::MX => (2, 1),
            rtype::SOA => (0, 2),
            _ => (rdata.len(), 0),
        };
        let (head, mut rest) = rdata.split_at(before.min(rdata.len()));
        self.out.extend_from_slice(head);
        for _ in 0..names {
            let Some(length) = name::wire_len(rest) else { break };
            let (name, behind) = rest.split_at(length);
            self.name(DATA, name);
            rest = behind;
        }
        self.out.extend_from_slice(rest);
    }

    /// Writes a name with a pointer to the longest part of it that is known, and remembers it in `slot`.
    fn name(&mut self, slot: usize, name: &[u8]) {
        let base = self.out.len();
        let best = (0..self.seen.len())
            .filter_map(|candidate| {
                let (index, cut) = self.seen[candidate].common(name)?;
                Some((cut, candidate, index))
            })
            .min();
        let (cut, mut tail) = match best {
            Some((cut, candidate, index)) => {
                let seen = &self.seen[candidate];
                let from = seen.labels[index].0;
                let tail = seen.labels[index..].iter().map(|(at, to)| (cut as u8 + (at - from), *to)).collect();
                (cut, tail)
            }
            None => (name.len(), Vec::new()),
        };
        self.out.extend_from_slice(&name[..cut]);
        if let Some((_, target)) = tail.first() {
            self.out.extend((0xc000 | target).to_be_bytes());
        }
        let written = label_starts(name).take_while(|at| *at < cut && base + at <= POINTER_MAX);
        let mut labels: Vec<(u8, u16)> = written.map(|at| (at as u8, (base + at) as u16)).collect();
        let new = labels.len();
        labels.append(&mut tail);
        if new >= 2 {
            self.seen[PARENTS + self.next_parent].set(name, &labels[1..]);
            self.next_parent = (self.next_parent + 1) % PARENTS_MAX;
        }
        self.seen[slot].set(name, &labels);
    }
}

impl Seen {
    fn set(&mut self, name: &[u8], labels: &[(u8, u16)]) {
        self.name.clear();
        self.name.extend_from_slice(name);
        self.labels.clear();
        self.labels.extend_from_slice(labels);
    }

    /// The longest ending that this name and `name` share: index of its first label here, and where it begins in `name`.
    fn common(&self, name: &[u8]) -> Option<(usize, usize)> {
        self.labels.iter().enumerate().find_map(|(index, (at, _))| {
            let ending = self.name.get(usize::from(*at)..)?;
            let cut = name.len().checked_sub(ending.len())?;
            let same = name[cut..] == *ending && label_starts(name).any(|start| start == cut);
            same.then_some((index, cut))
        })
    }
}

/// Where the labels of a name begin, without the root.
fn label_starts(name: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = usize::from(*name.get(at).filter(|length| **length > 0)?);
        let start = at;
        at += length + 1;
        Some(start)
    })
}
