//! One name and all that stands there, packed into one allocation.
//!
//! Layout after the header: the owner name in wire form, then the RRsets in order of type, each as
//! `type u16, count u16, length u32` (native order) and a body of `length` octets. The body is what
//! an answer carries: whole records whose owner is the compression pointer 0xC00C, so an answer to
//! the question for this name is one copy. Sets of more than [`SMALL_SET_MAX`] records are
//! lists of their own instead, because packing them anew for each new member would cost their size.

use triomphe::{Arc, ThinArc};

use crate::{
    biglist::BigList,
    rr::{CLASS_IN, Rdata, rtype},
    sys,
};

/// Records of a set that is kept packed; larger ones become lists of their own.
pub(crate) const SMALL_SET_MAX: usize = 64;
/// Octets of a record before its RDATA: pointer, type, class, TTL, length.
pub(crate) const RR_HEAD: usize = 12;
const SET_HEAD: usize = 8;

/// The name is the apex of a zone.
pub(crate) const APEX: u8 = 1;
/// A child `*` exists.
pub(crate) const WILDCARD_BELOW: u8 = 2;
/// Names at or below are not ours to answer: NS without being an apex, or below a DNAME.
pub(crate) const CUT: u8 = 4;

/// Fixed part of a node.
pub(crate) struct Head {
    big: Option<Arc<Vec<BigSet>>>,
    /// Direct children that exist.
    pub(crate) children: u32,
    /// Index of the zone.
    pub(crate) zone: u16,
    /// [`APEX`], [`WILDCARD_BELOW`], [`CUT`].
    pub(crate) flags: u8,
    name_len: u8,
}

/// A node; cloning it counts a reference.
#[derive(Clone)]
pub(crate) struct Node(ThinArc<Head, u8>);

/// A set too large to be packed.
#[derive(Clone, PartialEq, Eq)]
struct BigSet {
    rtype: u16,
    ttl: u32,
    data: BigList,
}

/// An RRset as answers see it.
#[derive(Clone, Copy)]
pub(crate) enum SetRef<'a> {
    /// Packed records.
    Packed {
        /// Type of all.
        rtype: u16,
        /// How many.
        count: u16,
        /// The records, owners as 0xC00C.
        body: &'a [u8],
    },
    /// A large set.
    Big {
        /// Type of all.
        rtype: u16,
        /// Time to live in seconds.
        ttl: u32,
        /// RDATA of each, sorted.
        data: &'a BigList,
    },
}

impl Node {
    /// Owner name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.0.slice[..usize::from(self.0.header.header.name_len)]
    }

    /// Has the processor fetch the node.
    #[inline]
    pub(crate) fn prefetch(&self) {
        sys::prefetch(&self.0.header.header);
    }

    /// Fixed part.
    pub(crate) fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// Whether the node is an empty non-terminal (RFC 8499): it exists only because of names below.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets().next().is_none()
    }

    /// The set of one type.
    pub(crate) fn set(&self, rtype: u16) -> Option<SetRef<'_>> {
        self.sets().find(|set| set.rtype() == rtype)
    }

    /// All sets: packed ones in order of type, then large ones.
    pub(crate) fn sets(&self) -> Sets<'_> {
        let big = self.head().big.as_ref().map_or(&[][..], |sets| sets.as_slice());
        Sets { packed: &self.0.slice[usize::from(self.head().name_len)..], big }
    }
}

/// Iterator over the sets of a node.
pub(crate) struct Sets<'a> {
    packed: &'a [u8],
    big: &'a [BigSet],
}

impl<'a> Iterator for Sets<'a> {
    type Item = SetRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<SetRef<'a>> {
        if let Some((head, rest)) = self.packed.split_first_chunk::<SET_HEAD>() {
            let [t0, t1, c0, c1, l0, l1, l2, l3] = *head;
            let (body, rest) = rest.split_at(u32::from_ne_bytes([l0, l1, l2, l3]) as usize);
            self.packed = rest;
            return Some(SetRef::Packed {
                rtype: u16::from_ne_bytes([t0, t1]),
                count: u16::from_ne_bytes([c0, c1]),
                body,
            });
        }
        let (first, rest) = self.big.split_first()?;
        self.big = rest;
        Some(SetRef::Big { rtype: first.rtype, ttl: first.ttl, data: &first.data })
    }
}

impl<'a> SetRef<'a> {
    /// Type of the set.
    pub(crate) fn rtype(&self) -> u16 {
        match *self {
            SetRef::Packed { rtype, .. } | SetRef::Big { rtype, .. } => rtype,
        }
    }

    /// Time to live of the set in seconds.
    pub(crate) fn ttl(&self) -> u32 {
        match *self {
            SetRef::Packed { body, .. } => u32::from_be_bytes([body[6], body[7], body[8], body[9]]),
            SetRef::Big { ttl, .. } => ttl,
        }
    }

    /// RDATA of every record.
    pub(crate) fn data(&self) -> Box<dyn Iterator<Item = &'a [u8]> + Send + 'a> {
        match *self {
            SetRef::Packed { body, .. } => Box::new(Packed { body }),
            SetRef::Big { data, .. } => Box::new(data.iter().map(|rdata| &**rdata)),
        }
    }
}

/// Iterator over the RDATA of packed records.
pub(crate) struct Packed<'a> {
    body: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Over the records of a packed body.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { body }
    }
}

impl<'a> Iterator for Packed<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes([*self.body.get(10)?, *self.body.get(11)?]));
        let (record, rest) = self.body.split_at(RR_HEAD + length);
        self.body = rest;
        Some(&record[RR_HEAD..])
    }
}

/// The records of one type at one name, ready to be changed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    data: Data,
}

#[derive(Clone, PartialEq, Eq)]
enum Data {
    Small(Vec<Rdata>),
    Big(BigList),
}

impl RrSet {
    pub(crate) fn new(rtype: u16, ttl: u32) -> Self {
        Self { rtype, ttl, data: Data::Small(Vec::new()) }
    }

    pub(crate) fn of_one(rtype: u16, ttl: u32, rdata: Rdata) -> Self {
        Self { rtype, ttl, data: Data::Small(vec![rdata]) }
    }

    pub(crate) fn from_ref(set: SetRef<'_>) -> Self {
        let data = match set {
            SetRef::Packed { body, .. } => Data::Small(Packed { body }.map(Rdata::from).collect()),
            SetRef::Big { data, .. } => Data::Big(data.clone()),
        };
        Self { rtype: set.rtype(), ttl: set.ttl(), data }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Small(list) => list.len(),
            Data::Big(list) => list.len(),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = &Rdata> + '_> {
        match &self.data {
            Data::Small(list) => Box::new(list.iter()),
            Data::Big(list) => Box::new(list.iter()),
        }
    }

    pub(crate) fn contains(&self, rdata: &Rdata) -> bool {
        match &self.data {
            Data::Small(list) => list.binary_search(rdata).is_ok(),
            Data::Big(list) => list.contains(rdata),
        }
    }

    /// Adds a record in its place; false if it is there already.
    pub(crate) fn insert(&mut self, rdata: Rdata) -> bool {
        match &mut self.data {
            Data::Small(list) => {
                let Err(at) = list.binary_search(&rdata) else { return false };
                list.insert(at, rdata);
                if list.len() > SMALL_SET_MAX {
                    self.data = Data::Big(list.drain(..).collect());
                }
            }
            Data::Big(list) => return list.insert(rdata),
        }
        true
    }

    /// Takes a record away; false if it is not there.
    pub(crate) fn remove(&mut self, rdata: &Rdata) -> bool {
        match &mut self.data {
            Data::Small(list) => {
                let Ok(at) = list.binary_search(rdata) else { return false };
                list.remove(at);
            }
            Data::Big(list) => {
                if !list.remove(rdata) {
                    return false;
                }
                // Half of the limit, so that a set at the border does not change its form with every change.
                if list.len() <= SMALL_SET_MAX / 2 {
                    self.data = Data::Small(list.iter().cloned().collect());
                }
            }
        }
        true
    }
}

/// Packs a node. `sets` are in order of type and none is empty.
pub(crate) fn pack(name: &[u8], zone: u16, flags: u8, children: u32, sets: &[RrSet]) -> Node {
    let mut bytes = Vec::with_capacity(name.len() + sets.len() * 64);
    bytes.extend_from_slice(name);
    let mut big = Vec::new();
    for set in sets {
        match &set.data {
            Data::Small(list) => pack_set(&mut bytes, set, list),
            Data::Big(data) => big.push(BigSet { rtype: set.rtype, ttl: set.ttl, data: data.clone() }),
        }
    }
    let head = Head {
        big: (!big.is_empty()).then(|| Arc::new(big)),
        children,
        zone,
        flags,
        name_len: name.len() as u8, // at most 255, see `name::NAME_MAX`
    };
    Node(ThinArc::from_header_and_slice(head, &bytes))
}

fn pack_set(out: &mut Vec<u8>, set: &RrSet, list: &[Rdata]) {
    let length: usize = list.iter().map(|rdata| RR_HEAD + rdata.len()).sum();
    out.extend_from_slice(&set.rtype.to_ne_bytes());
    out.extend_from_slice(&(list.len() as u16).to_ne_bytes());
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    for rdata in list {
        push_rr(out, 0xC00C, set.rtype, set.ttl, rdata);
    }
}

/// Appends one record whose owner is a compression pointer.
pub(crate) fn push_rr(out: &mut Vec<u8>, owner: u16, rtype: u16, ttl: u32, rdata: &[u8]) {
    out.extend_from_slice(&owner.to_be_bytes());
    out.extend_from_slice(&rtype.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(rdata);
}

/// Whether `sets` make their owner a place below which the zone does not answer by itself.
pub(crate) fn cuts(sets: &[RrSet], is_apex: bool) -> bool {
    sets.iter().any(|set| set.rtype == rtype::DNAME || set.rtype == rtype::NS && !is_apex)
}
